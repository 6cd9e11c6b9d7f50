import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { configJsonSchemaText, configPage } from './describe.ts';

/** Writes config/fairlead.schema.json and docs/config.md: `node dist/src/config/generate.js`. */
const root = packageRoot(import.meta.dirname);
writeFileSync(join(root, 'config/fairlead.schema.json'), configJsonSchemaText());
writeFileSync(join(root, 'docs/config.md'), configPage());

function packageRoot(directory: string): string {
  const file = join(directory, 'package.json');
  if (existsSync(file)) {
    const { name } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string };
    if (name === 'fairlead') return directory;
  }
  return packageRoot(dirname(directory));
}
