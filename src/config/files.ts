import { readdirSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { globMatches } from '../core/names.ts';
import { formatProblem, type Problem } from './problems.ts';
import { fileSchema, includedFileSchema, includeSchema } from './schema.ts';
import { parseYamlFile, type Path, type YamlFile } from './yaml-file.ts';
import { readValue, unknownKeys } from './zod-problems.ts';

/** How files are read; tests hand in their own. Both throw as node:fs does. */
export interface FileAccess {
  readFile: (path: string) => string;
  /** Names in a directory. */
  listDirectory: (path: string) => readonly string[];
}

export const diskFiles: FileAccess = {
  readFile: (path) => readFileSync(path, 'utf8'),
  listDirectory: (path) => readdirSync(path),
};

/** One file of the configuration, its top level checked for unknown keys. */
export interface Source {
  file: YamlFile;
  /** Absolute. */
  path: string;
  isMain: boolean;
  /** The top level; empty when the file is empty or broken. */
  top: Readonly<Record<string, unknown>>;
}

export interface Sources {
  /** The main file first, then what it includes, in order, each once. */
  all: readonly Source[];
  /** False when a file could not be read or parsed: then what is not found may be in there. */
  isComplete: boolean;
}

/** Reads the main file and everything it includes. `shownAs` is how its problems name it. */
export function readSources(
  mainPath: string,
  shownAs: string,
  access: FileAccess,
  problems: Problem[],
): Sources {
  const all: Source[] = [];
  let isComplete = true;

  function read(path: string, name: string, chain: readonly string[], refuse: Refuse): void {
    if (chain.includes(path)) {
      refuse(
        `${name} includes itself by way of ${[...chain, path].map((link) => `"${link}"`).join(', ')}; expected no loop`,
      );
      return;
    }
    if (all.some((source) => source.path === path)) return;
    const text = readText(access, path, name, refuse);
    if (text === null) {
      isComplete = false;
      return;
    }
    const file = parseYamlFile(name, text, problems);
    if (!file.isWhole) isComplete = false;
    const isMain = chain.length === 0;
    const source = { file, path, isMain, top: topOf(file, isMain, problems) };
    all.push(source);
    const patterns = readIncludes(source, problems);
    for (const [index, pattern] of patterns.entries()) {
      const complain: Refuse = (what) => {
        problems.push(file.problem(['include', index], 'value', `include[${index + 1}]: ${what}`));
      };
      const nextChain = [...chain, path];
      for (const found of expand(pattern, dirname(path), access)) {
        const shown = isAbsolute(pattern) ? found : join(dirname(name), relativeTo(path, found));
        read(found, shown, nextChain, complain);
      }
    }
  }

  read(mainPath, shownAs, [], (what) => {
    problems.push({ file: shownAs, line: 1, column: 1, severity: 'error', text: what });
  });
  return { all, isComplete };
}

/** An entry of `ports`, `users` or `profiles`, wherever it stands. */
export interface Entry {
  name: string;
  file: YamlFile;
  /** Directory that relative paths in it start from. */
  directory: string;
  path: Path;
  raw: unknown;
}

/** The entries of one section in all files, names that differ in case only reported as doubled. */
export function entriesOf(
  sources: readonly Source[],
  section: 'ports' | 'users' | 'profiles',
  problems: Problem[],
): Entry[] {
  const entries: Entry[] = [];
  const seen = new Map<string, Entry>();
  for (const { file, path, top } of sources) {
    const value = top[section];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'object' || Array.isArray(value)) {
      problems.push(
        file.problem(
          [section],
          'value',
          `${section}: expected a map: a name, ":" and its settings`,
        ),
      );
      continue;
    }
    for (const [name, raw] of Object.entries(value as Record<string, unknown>)) {
      const entry = { name, file, directory: dirname(path), path: [section, name], raw };
      const first = seen.get(name.toLowerCase());
      if (first) {
        problems.push(
          file.problem(
            entry.path,
            'key',
            `${section}.${name}: already defined at ${placeOf(first)}${first.name === name ? '' : ` as "${first.name}"`}; expected a name of its own (case does not count)`,
          ),
        );
        continue;
      }
      seen.set(name.toLowerCase(), entry);
      entries.push(entry);
    }
  }
  return entries;
}

/** A field as written, also of an entry that has problems. */
export function rawField(entry: Entry, key: string): unknown {
  const { raw } = entry;
  return typeof raw === 'object' && raw !== null && Object.hasOwn(raw, key)
    ? (raw as Record<string, unknown>)[key]
    : undefined;
}

/** `fairlead.yaml:4:3` */
export function placeOf(
  entry: Entry,
  path: Path = entry.path,
  at: 'key' | 'value' = 'key',
): string {
  return formatProblem(entry.file.problem(path, at, '')).slice(0, -': '.length);
}

/** The system's words for a failed call: `no such file or directory`. */
export function reasonOf(error: unknown): string {
  const { errno } = error as NodeJS.ErrnoException;
  const known = errno === undefined ? undefined : getSystemErrorMap().get(errno);
  return known?.[1] ?? (error instanceof Error ? error.message : String(error));
}

type Refuse = (what: string) => void;

function readText(access: FileAccess, path: string, name: string, refuse: Refuse): string | null {
  try {
    return access.readFile(path);
  } catch (error) {
    refuse(`${name} cannot be read: ${reasonOf(error)}; expected a configuration file`);
    return null;
  }
}

function topOf(
  file: YamlFile,
  isMain: boolean,
  problems: Problem[],
): Readonly<Record<string, unknown>> {
  if (file.value === null) return {};
  if (typeof file.value !== 'object' || Array.isArray(file.value)) {
    problems.push(
      file.problem(
        [],
        'value',
        'this is no configuration; expected a map with ports, users and listen',
      ),
    );
    return {};
  }
  const top = file.value as Record<string, unknown>;
  const unknown = Object.keys(top).filter((key) => !Object.hasOwn(fileSchema.shape, key));
  problems.push(...unknownKeys(isMain ? fileSchema : includedFileSchema, unknown, file, []));
  if (!isMain) {
    for (const key of Object.keys(top)) {
      if (unknown.includes(key) || Object.hasOwn(includedFileSchema.shape, key)) continue;
      problems.push(
        file.problem(
          [key],
          'key',
          `${key}: belongs into the main file; expected ${Object.keys(includedFileSchema.shape).join(', ')}`,
        ),
      );
    }
  }
  return top;
}

function readIncludes(source: Source, problems: Problem[]): readonly string[] {
  const value = source.top['include'];
  if (value === undefined || value === null) return [];
  return readValue(includeSchema, value, source.file, ['include'], problems) ?? [];
}

/** Paths of a pattern, sorted; a plain path is given back whether it exists or not. */
function expand(pattern: string, directory: string, access: FileAccess): string[] {
  const parts = resolve(directory, pattern).split('/').slice(1);
  let found = [''];
  for (const part of parts) {
    if (!/[*?[]/.test(part)) found = found.map((parent) => `${parent}/${part}`);
    else found = found.flatMap((parent) => namesLike(part, parent, access));
  }
  return found;
}

/** As a shell does: `*` finds no hidden file. */
function namesLike(pattern: string, parent: string, access: FileAccess): string[] {
  let names: readonly string[];
  try {
    names = access.listDirectory(parent === '' ? '/' : parent);
  } catch {
    return []; // no such directory: the pattern matches nothing, which is fine
  }
  return names
    .filter((name) => !name.startsWith('.') || pattern.startsWith('.'))
    .filter((name) => matchesSafely(pattern, name))
    .sort()
    .map((name) => `${parent}/${name}`);
}

function matchesSafely(pattern: string, name: string): boolean {
  try {
    return globMatches(pattern, name);
  } catch {
    return pattern === name; // `[z-a]` is no range
  }
}

function relativeTo(fromFile: string, path: string): string {
  const directory = `${dirname(fromFile)}/`;
  return path.startsWith(directory) ? path.slice(directory.length) : path;
}
