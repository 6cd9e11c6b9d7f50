import * as z from 'zod';
import { didYouMean } from '../core/names.ts';
import type { Problem } from './problems.ts';
import { inWords, keysOfLaterVersions } from './shapes.ts';
import type { Path, YamlFile } from './yaml-file.ts';

/** A value of a file against its schema; every problem is reported at its place. Null when there is any. */
export function readValue<T extends z.ZodType>(
  schema: T,
  value: unknown,
  file: YamlFile,
  path: Path,
  problems: Problem[],
): z.output<T> | null {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  for (const issue of result.error.issues) {
    problems.push(...problemsOf(issue, schema, value, file, path));
  }
  return null;
}

/** Problems of keys a map has and its schema has not; for maps whose parts are read one by one. */
export function unknownKeys(
  schema: z.ZodType,
  keys: readonly string[],
  file: YamlFile,
  path: Path,
): Problem[] {
  const known = schema instanceof z.ZodObject ? Object.keys(schema.shape as object) : [];
  const later = keysOfLaterVersions.get(schema as z.ZodObject)?.keys ?? [];
  return keys.map((key) => {
    const place = [...path, key];
    const shown = pathInWords(place);
    if (later.includes(key)) {
      return file.problem(
        place,
        'key',
        `${shown}: not in this version; expected ${inWords(known)}`,
      );
    }
    const near = didYouMean(key, known);
    return file.problem(place, 'key', `${shown}: unknown key; expected ${inWords(known)}${near}`);
  });
}

/** `ports.db1.line` */
export function pathInWords(path: Path): string {
  return path.reduce<string>((words, part) => {
    if (typeof part === 'number') return `${words}[${part + 1}]`;
    return words === '' ? part : `${words}.${part}`;
  }, '');
}

function problemsOf(
  issue: z.core.$ZodIssue,
  schema: z.ZodType,
  value: unknown,
  file: YamlFile,
  base: Path,
): Problem[] {
  const inside = issue.path as (string | number)[];
  const path: Path = [...base, ...inside];
  const given = valueAt(value, inside);
  if (issue.code === 'unrecognized_keys') {
    return unknownKeys(schemaAt(schema, inside), issue.keys, file, path);
  }
  if (issue.code === 'invalid_union') {
    const branch = branchFor(issue, given);
    if (branch) {
      return branch.flatMap((deeper) =>
        problemsOf(prefixed(deeper, inside), schema, value, file, base),
      );
    }
  }
  const expected = `; expected ${issue.message}`;
  if (given === undefined) {
    const key = String(inside.at(-1) ?? '');
    const owner = path.slice(0, -1);
    return [file.problem(owner, 'key', `${pathInWords(owner)}: "${key}" is missing${expected}`)];
  }
  const what =
    (issue.code === 'custom' && (issue.params?.['what'] as string | undefined)) ||
    (given === null ? 'is empty' : `${isSecret(path) ? 'this' : show(given)} does not fit`);
  const near =
    issue.code === 'invalid_value' && typeof given === 'string'
      ? didYouMean(given, issue.values.map(String))
      : '';
  const shown = pathInWords(path);
  const text = `${shown === '' ? '' : `${shown}: `}${what}${expected}${near}`;
  return [file.problem(path, given === null ? 'key' : 'value', text)];
}

/** The branch of a union that the value was meant for: the one that complains about its inside. */
function branchFor(
  issue: z.core.$ZodIssueInvalidUnion,
  given: unknown,
): readonly z.core.$ZodIssue[] | null {
  if (given === null || given === undefined) return null;
  const fits = issue.errors.filter(
    (branch) => !branch.some(({ code, path }) => path.length === 0 && code.startsWith('invalid_')),
  );
  return fits.length === 1 ? fits[0]! : null;
}

function prefixed(issue: z.core.$ZodIssue, path: readonly (string | number)[]): z.core.$ZodIssue {
  return { ...issue, path: [...path, ...issue.path] };
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Record<string | number, unknown>)[part];
  }
  return at;
}

/** The schema of the map at a path, through optionals, transforms and unions. */
function schemaAt(schema: z.ZodType, path: Path): z.ZodType {
  let at = schema;
  for (const part of path) {
    const around = bare(at, typeof part === 'number');
    if (around instanceof z.ZodObject) {
      at = (around.shape as Record<string, z.ZodType>)[String(part)] ?? around;
    } else if (around instanceof z.ZodArray) at = around.element as z.ZodType;
    else if (around instanceof z.ZodRecord) at = around.valueType as z.ZodType;
  }
  return bare(at, false);
}

/** Of a union its list or its map: unions of ours have one of each at most. */
function bare(schema: z.ZodType, isList: boolean): z.ZodType {
  if (schema instanceof z.ZodPipe) return bare(schema.in as z.ZodType, isList);
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  ) {
    return bare(schema.unwrap() as z.ZodType, isList);
  }
  if (schema instanceof z.ZodUnion) {
    const options = (schema.options as z.ZodType[]).map((option) => bare(option, isList));
    const kinds = isList ? [z.ZodArray] : [z.ZodObject, z.ZodRecord];
    return options.find((option) => kinds.some((kind) => option instanceof kind)) ?? schema;
  }
  return schema;
}

/** Never repeated, however wrong. */
function isSecret(path: Path): boolean {
  return ['password', 'totp'].includes(String(path.at(-1)));
}

const SHOWN_CHARS_MAX = 60;

function show(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a map';
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value); // NaN has no JSON
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}...` : text;
}
