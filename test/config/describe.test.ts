import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { configJsonSchema, configJsonSchemaText, configPage } from '../../src/config/describe.ts';

function packageRoot(directory = import.meta.dirname): string {
  return existsSync(join(directory, 'package.json')) ? directory : packageRoot(dirname(directory));
}

interface Node {
  description?: string;
  properties?: Record<string, Node>;
  additionalProperties?: Node | boolean;
  items?: Node;
  anyOf?: Node[];
  definitions?: Record<string, Node>;
}

/** Every key of the file with its schema. */
function* keysIn(node: Node, path: string): Generator<[string, Node]> {
  for (const [key, value] of Object.entries(node.properties ?? {})) {
    yield [`${path}${key}`, value];
    yield* keysIn(value, `${path}${key}.`);
  }
  if (typeof node.additionalProperties === 'object') {
    yield* keysIn(node.additionalProperties, `${path}NAME.`);
  }
  if (node.items) yield* keysIn(node.items, path);
  for (const branch of node.anyOf ?? []) yield* keysIn(branch, path);
  for (const [name, shared] of Object.entries(node.definitions ?? {})) {
    yield* keysIn(shared, `${name}.`);
  }
}

describe('what is generated from the schemas', () => {
  it('is what lies in config/ and docs/ (else run node dist/src/config/generate.js)', () => {
    const root = packageRoot();
    const schema = readFileSync(join(root, 'config/fairlead.schema.json'), 'utf8');
    assert.equal(schema, configJsonSchemaText());
    assert.deepEqual(JSON.parse(schema), configJsonSchema());
    assert.equal(readFileSync(join(root, 'docs/config.md'), 'utf8'), configPage());
  });

  it('describes every key, and names it on the page', () => {
    const page = configPage();
    const keys = [...keysIn(configJsonSchema(), '')];
    assert.ok(keys.length > 200, String(keys.length));
    for (const shared of [
      'steps',
      'tasks',
      'breaks',
      'tls',
      'idle',
      'onOpen',
      'onDetach',
      'pace',
    ]) {
      assert.ok(page.includes(`## In \`${shared}\``), shared);
    }
    for (const [path, node] of keys) {
      assert.ok(node.description, path);
      assert.ok(page.includes(`\`${path.split('.').at(-1)}\``), path);
    }
  });
});
