import {
  closeSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { isMap, parseDocument, type Node } from 'yaml';
import { Fault } from '../core/fault.ts';
import { diskFiles, entriesOf, rawField, readSources, reasonOf, type Entry } from './files.ts';
import { loadConfig, type LoadOptions } from './load.ts';
import { freeNumbers } from './ports.ts';

/** A number that was written into a file. */
export interface AssignedNumber {
  port: string;
  n: number;
  /** The file that now says so. */
  file: string;
}

/**
 * `check --assign`: gives each port without `n` the lowest free number and writes it into the file
 * that defines the port. Only these few characters are inserted: comments, order and layout stay.
 * A file is replaced whole or not at all.
 * @throws Fault CONFIG_INVALID when the configuration has problems or would have (a numbered door
 * that overlaps another), when the numbers run out, or when a port is written such that nothing can be inserted (an alias); nothing is written then.
 */
export function assignNumbers(path: string, options: LoadOptions = {}): AssignedNumber[] {
  const { settings } = loadConfig(path, options);
  const access = { ...diskFiles, ...options };
  const { all } = readSources(resolve(path), path, access, []);
  const entries = entriesOf(all, 'ports', []);
  const free = freeNumbers(new Set(settings.ports.flatMap((port) => port.n ?? [])));
  const assigned: AssignedNumber[] = [];
  const insertions = new Map<string, Insertion[]>();
  for (const entry of entries) {
    if (rawField(entry, 'n') !== undefined) continue;
    const n = free.shift();
    if (n === undefined) throw refusal(entry, 'no number from 1 to 999 is free');
    assigned.push({ port: entry.name, n, file: entry.file.name });
    const list = insertions.get(entry.file.name) ?? [];
    insertions.set(entry.file.name, [...list, { entry, n }]);
  }

  const rewritten = new Map<string, string>();
  for (const source of all) {
    const wanted = insertions.get(source.file.name) ?? [];
    if (wanted.length === 0) continue;
    rewritten.set(source.path, insertNumbers(access.readFile(source.path), wanted));
  }
  checkNumbered(path, options, rewritten, entries, assigned);
  for (const [file, text] of rewritten) replaceFile(file, text);
  return assigned;
}

interface Insertion {
  entry: Entry;
  n: number;
}

/** The text with `n: ...` as the first key of each port. */
function insertNumbers(text: string, insertions: readonly Insertion[]): string {
  const document = parseDocument(text, { uniqueKeys: false });
  const edits = insertions.map(({ entry, n }) => {
    const node = document.getIn(entry.path, true) as Node | undefined;
    if (!isMap(node) || !node.range) throw refusal(entry, 'is no map of its own to write n into');
    const at = node.range[0];
    if (node.flow) {
      const isSpaced = /\s/.test(text[at + 1] ?? '');
      return { at: at + 1, insert: isSpaced ? ` n: ${n},` : `n: ${n}, ` };
    }
    const indent = text.slice(text.lastIndexOf('\n', at - 1) + 1, at);
    if (/[^ ]/.test(indent)) {
      throw refusal(entry, 'starts in the middle of a line, where n cannot be written');
    }
    return { at, insert: `n: ${n}${text.includes('\r\n') ? '\r\n' : '\n'}${indent}` };
  });
  return edits
    .sort((a, b) => b.at - a.at)
    .reduce((result, { at, insert }) => result.slice(0, at) + insert + result.slice(at), text);
}

/** Reads the configuration as it would be: right, and with these numbers. */
function checkNumbered(
  path: string,
  options: LoadOptions,
  rewritten: ReadonlyMap<string, string>,
  entries: readonly Entry[],
  assigned: readonly AssignedNumber[],
): void {
  const readFile = options.readFile ?? diskFiles.readFile;
  const { settings } = loadConfig(path, {
    ...options,
    readFile: (file) => rewritten.get(file) ?? readFile(file),
  });
  for (const { port, n } of assigned) {
    if (settings.ports.find(({ name }) => name === port)?.n === n) continue;
    const entry = entries.find(({ name }) => name === port)!;
    throw refusal(entry, 'is written such that n cannot be inserted');
  }
}

function refusal(entry: Entry, what: string): Fault {
  const text = `ports.${entry.name}: ${what}; expected n to be set by hand`;
  const { file, line, column } = entry.file.problem(entry.path, 'key', text);
  return new Fault('CONFIG_INVALID', `${file}:${line}:${column}: ${text}`);
}

/** By a new file beside it, so that a full disk leaves the old one; a link stays a link. */
function replaceFile(path: string, text: string): void {
  const target = realpathSync(path);
  const temporary = `${target}.new-${process.pid}`;
  try {
    const descriptor = openSync(temporary, 'wx', statSync(target).mode & 0o777);
    try {
      const bytes = Buffer.from(text);
      for (let written = 0; written < bytes.length;)
        written += writeSync(descriptor, bytes, written);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new Fault('CONFIG_INVALID', `${path} cannot be written: ${reasonOf(error)}`, error);
  }
}
