import assert from 'node:assert/strict';
import { checkConfig, type LoadOptions } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problems.ts';
import type { Settings } from '../../src/core/settings.ts';

const MISSING = { errno: -2, code: 'ENOENT' };

/** Files in memory, under `/etc/fairlead/`; `fairlead.yaml` is the main one. An Error is thrown when read. */
export function inMemory(files: Readonly<Record<string, string | Error>>): LoadOptions {
  const paths = new Map(Object.entries(files).map(([name, text]) => [absolute(name), text]));
  return {
    readFile(path) {
      const text = paths.get(path);
      if (typeof text === 'string') return text;
      throw text ?? Object.assign(new Error('ENOENT'), MISSING);
    },
    listDirectory(path) {
      const inside = [...paths.keys()].filter((name) => name.startsWith(`${path}/`));
      if (inside.length === 0) throw Object.assign(new Error('ENOENT'), MISSING);
      return [...new Set(inside.map((name) => name.slice(path.length + 1).split('/')[0]!))];
    },
    verbs: ['check', 'log', 'ports'],
    machines: ['linux', 'router'],
  };
}

function absolute(name: string): string {
  return name.startsWith('/') ? name : `/etc/fairlead/${name}`;
}

const MAIN = '/etc/fairlead/fairlead.yaml';

/** Problems of files in memory, the directory left out: `fairlead.yaml:1:1: ...`. */
export function problemsOf(
  files: Readonly<Record<string, string | Error>> | string,
  options: LoadOptions = {},
): string[] {
  const all = typeof files === 'string' ? { 'fairlead.yaml': files } : files;
  const { problems } = checkConfig(MAIN, { ...inMemory(all), ...options });
  return problems.map((problem) => formatProblem(problem).replaceAll('/etc/fairlead/', ''));
}

/** Settings of files in memory that must have no problem at all. */
export function settingsOf(
  files: Readonly<Record<string, string | Error>> | string,
  options: LoadOptions = {},
): Settings {
  const all = typeof files === 'string' ? { 'fairlead.yaml': files } : files;
  const { settings, problems } = checkConfig(MAIN, { ...inMemory(all), ...options });
  assert.deepEqual(problems.map(formatProblem), []);
  assert.ok(settings);
  return settings;
}
