import { resolve } from 'node:path';
import { formatPublicKey, parseAuthorizedKeys, PUBLIC_KEY_EXPECTED } from '../auth/ssh-keys.ts';
import { placeOf, rawField, reasonOf, type Entry, type FileAccess } from './files.ts';
import type { Problem } from './problems.ts';
import { isPath } from './shapes.ts';
import { pathInWords } from './zod-problems.ts';

/** Reads the files that keys of a configuration name; what is wrong with one goes to `problems`. */
export interface FileReading {
  access: FileAccess;
  problems: Problem[];
}

/** The public keys of the file that `key` of an entry names, one on each line; none without that key. */
export function keysInFile(entry: Entry, key: string, { access, problems }: FileReading): string[] {
  const file = textOfFile(entry, key, 'public keys', { access, problems });
  if (!file) return [];
  const keys: string[] = [];
  for (const line of parseAuthorizedKeys(file.text)) {
    if ('key' in line) keys.push(formatPublicKey(line.key));
    else {
      const text = `${line.wrong}; expected ${PUBLIC_KEY_EXPECTED} (${file.namedAt})`;
      problems.push({ file: file.path, line: line.line, column: 1, severity: 'error', text });
    }
  }
  return keys;
}

/**
 * The one line of the file that `KEYFile` names, where `KEY` itself is not given.
 * `read` gives the value or what is wrong with it.
 */
export function secretInFile(
  entry: Entry,
  key: string,
  words: { content: string; article: string; expected: string },
  read: (line: string) => { value: string } | { wrong: string },
  { access, problems }: FileReading,
): string | null {
  const fileKey = `${key}File`;
  if (rawField(entry, key) !== undefined && rawField(entry, fileKey) !== undefined) {
    const text = `${pathInWords([...entry.path, fileKey])}: there is ${words.article} ${key}, too; expected one of the two`;
    problems.push(entry.file.problem([...entry.path, fileKey], 'key', text));
    return null;
  }
  const file = textOfFile(entry, fileKey, words.content, { access, problems });
  if (!file) return null;
  const result = read(file.text.trim());
  if ('value' in result) return result.value;
  const text = `${result.wrong}; expected ${words.expected} (${file.namedAt})`;
  problems.push({ file: file.path, line: 1, column: 1, severity: 'error', text });
  return null;
}

/** Null when there is no such key, or when the file cannot be read, which is reported. */
function textOfFile(
  entry: Entry,
  key: string,
  content: string,
  { access, problems }: FileReading,
): { text: string; path: string; namedAt: string } | null {
  const named = rawField(entry, key);
  if (typeof named !== 'string' || !isPath(named)) return null;
  const keyPath = [...entry.path, key];
  const path = resolve(entry.directory, named);
  try {
    const namedAt = `${key} of ${entry.name}, ${placeOf(entry, keyPath, 'value')}`;
    return { text: access.readFile(path), path, namedAt };
  } catch (error) {
    const text = `${pathInWords(keyPath)}: "${named}" cannot be read: ${reasonOf(error)}; expected a readable file with ${content}`;
    problems.push(entry.file.problem(keyPath, 'value', text));
    return null;
  }
}
