import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The project's own directory, wherever the compiled tests lie. */
export const PROJECT = findProject(import.meta.dirname);

/** Downloads and what is made of them; kept between runs, ignored by git. */
export const CACHE = join(PROJECT, '.cache');

function findProject(directory: string): string {
  const file = join(directory, 'package.json');
  if (existsSync(file)) {
    const { name } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string };
    if (name === 'fairlead') return directory;
  }
  const parent = dirname(directory);
  if (parent === directory) throw new Error(`no fairlead package above ${import.meta.dirname}`);
  return findProject(parent);
}
