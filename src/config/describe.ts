import * as z from 'zod';
import { fileSchema } from './schema.ts';

/** JSON Schema (draft 7) of fairlead.yaml, for editors. From the schemas that read the file. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-7' });
  const { $schema, ...rest } = schema as Record<string, unknown>;
  return { $schema, title: 'fairlead.yaml', ...rest };
}

/** docs/config.md: every key with its meaning and default, from the same schemas. */
export function configPage(): string {
  const root = configJsonSchema() as Described;
  const sections = Object.entries(root.properties ?? {}).map(([key, section]) =>
    [`## \`${key}\``, '', describe(section), '', ...keysOf(section, key)].join('\n').trimEnd(),
  );
  const shared = Object.entries(root.definitions ?? {}).map(([name, section]) =>
    [`## In \`${name}\``, '', describe(section), '', ...keysOf(section, name)].join('\n').trimEnd(),
  );
  return `${[intro, ...sections, ...shared].join('\n\n')}\n`;
}

/** Text of config/fairlead.schema.json, laid out as prettier does. */
export function configJsonSchemaText(): string {
  return `${layOut(configJsonSchema(), '', 0)}\n`;
}

const intro = `# The configuration file

<!-- Made by src/config/generate.ts from the schemas; change those. -->

One YAML file: the one named by \`--config\`, else \`./fairlead.yaml\`, else
\`/etc/fairlead/fairlead.yaml\`. A commented example is \`config/fairlead.example.yaml\`; editors find
every key in \`config/fairlead.schema.json\`.

An unknown key or a wrong value is refused with its file, line and column; \`fairlead check\` lists all
of them, \`fairlead reload\` then applies the file whole or not at all. Paths are relative to the file
they stand in.`;

interface Described {
  description?: string;
  default?: unknown;
  properties?: Record<string, Described>;
  additionalProperties?: Described | boolean;
  /** Of a list, what stands in it. */
  items?: Described;
  anyOf?: Described[];
  required?: string[];
  /** What stands in several places, by name. */
  definitions?: Record<string, Described>;
  type?: string;
}

/** The keys of a section, and of the maps inside it, as lists. */
function keysOf(section: Described, path: string): string[] {
  const map = mapIn(section);
  if (!map) return mapIn(section.items ?? {}) ? keysOf(section.items!, `${path}[]`) : [];
  if (typeof map.additionalProperties === 'object') {
    const inner = mapIn(map.additionalProperties);
    return inner ? keysOf(inner, `${path}.NAME`) : [];
  }
  const lines = Object.entries(map.properties ?? {}).map(
    ([key, value]) =>
      `- \`${key}\`${map.required?.includes(key) ? ' (required)' : ''}: ${describe(value)}`,
  );
  const deeper = Object.entries(map.properties ?? {}).flatMap(([key, value]) => {
    const inner = keysOf(value, `${path}.${key}`);
    return inner.length === 0 ? [] : ['', `### \`${path}.${key}\``, '', ...inner];
  });
  return [...lines, ...deeper];
}

function mapIn(schema: Described): Described | undefined {
  const hasKeys = (part: Described): boolean =>
    part.properties !== undefined || typeof part.additionalProperties === 'object';
  return hasKeys(schema) ? schema : schema.anyOf?.find(hasKeys);
}

function describe(schema: Described): string {
  const text = schema.description ?? '';
  const { default: value } = schema;
  const isShown = ['string', 'number', 'boolean'].includes(typeof value);
  return isShown ? `${text} Default: \`${String(value)}\`.` : text;
}

const COLUMNS_MAX = 100;

/** A list of plain values goes on one line if it fits; a map never does. */
function layOut(value: unknown, indent: string, column: number): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const isPlain = value.every((item) => typeof item !== 'object');
    const line = `[${value.map((item) => JSON.stringify(item)).join(', ')}]`;
    if (isPlain && column + line.length < COLUMNS_MAX) return line;
    return `[\n${value.map((item) => inner + layOut(item, inner, inner.length)).join(',\n')}\n${indent}]`;
  }
  const entries = Object.entries(value).map(([key, part]) => {
    const head = `${inner}${JSON.stringify(key)}: `;
    return head + layOut(part, inner, head.length);
  });
  return entries.length === 0 ? '{}' : `{\n${entries.join(',\n')}\n${indent}}`;
}
