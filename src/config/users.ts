import { resolve } from 'node:path';
import { didYouMean, globMatches, NAME_PATTERN } from '../core/names.ts';
import { BUILT_IN_ROLES, type User } from '../core/user.ts';
import { parsePasswordHash } from '../auth/password.ts';
import { formatPublicKey, parseAuthorizedKeys, PUBLIC_KEY_EXPECTED } from '../auth/ssh-keys.ts';
import { placeOf, rawField, reasonOf, type Entry, type FileAccess, type Source } from './files.ts';
import type { Problem } from './problems.ts';
import { inWords, isPath, isPortPattern, roleSchema, userSchema } from './schema.ts';
import { readValue } from './zod-problems.ts';

/** What users are checked against. */
export interface UserContext {
  access: FileAccess;
  isComplete: boolean;
  /** Names in `roles`, right or wrong. */
  roles: readonly string[];
  groups: ReadonlySet<string>;
  portNames: readonly string[];
  /** Users kept in the database. */
  databaseUsers: readonly string[];
  /** User of the raw door, who needs no way to log in. */
  rawUser: string | null;
  problems: Problem[];
}

/** Reads `users`; those with problems in their shape are left out, but for the other checks. */
export function readUsers(entries: readonly Entry[], context: UserContext): User[] {
  const users: User[] = [];
  const unixUsers = new Map<string, string>();
  for (const entry of entries) {
    const { problems } = context;
    const before = problems.length;
    checkName(entry, context);
    const value = readValue(userSchema, entry.raw, entry.file, entry.path, problems);
    checkRole(entry, context);
    checkPatterns(entry, context);
    checkUnixUser(entry, unixUsers, problems);
    const fileKeys = keysInFile(entry, context);
    const filePassword = passwordInFile(entry, context);
    if (!value) continue;
    const user = {
      name: entry.name,
      role: value.role,
      ports: value.ports,
      keys: [...value.keys, ...fileKeys],
      password: value.password ?? filePassword,
      unix: value.unix ?? null,
      from: value.from,
    };
    const hasError = problems.slice(before).some(({ severity }) => severity === 'error');
    if (!hasError) warnOfNoWayIn(entry, user, context);
    users.push(user);
  }
  return users;
}

/** Reads `roles` of the main file. */
export function readRoles(
  main: Source | undefined,
  problems: Problem[],
): Record<string, readonly string[]> {
  const roles: Record<string, readonly string[]> = {};
  const value = main?.top['roles'];
  if (!main || value === undefined || value === null) return roles;
  if (typeof value !== 'object' || Array.isArray(value)) {
    const text = 'roles: expected a map: a name, ":" and a list of rights';
    problems.push(main.file.problem(['roles'], 'value', text));
    return roles;
  }
  for (const [name, raw] of Object.entries(value)) {
    const path = ['roles', name];
    const rights = readValue(roleSchema, raw, main.file, path, problems);
    if (!NAME_PATTERN.test(name) || Object.hasOwn(BUILT_IN_ROLES, name)) {
      const what = NAME_PATTERN.test(name) ? 'is built in' : 'is no name';
      const text = `roles.${name}: "${name}" ${what}; expected a name of its own`;
      problems.push(main.file.problem(path, 'key', text));
    } else if (rights) roles[name] = rights;
  }
  return roles;
}

function checkName(entry: Entry, { databaseUsers, problems }: UserContext): void {
  const { name, file, path } = entry;
  if (!NAME_PATTERN.test(name)) {
    const text = `users.${name}: "${name}" is no name; expected letters, digits, ".", "_" and "-", at most 64, the first a letter or digit`;
    problems.push(file.problem(path, 'key', text));
  }
  const twin = databaseUsers.find((other) => other.toLowerCase() === name.toLowerCase());
  if (twin === undefined) return;
  const text = `users.${name}: "${twin}" is also a user in the database; expected one of the two (this file counts)`;
  problems.push(file.problem(path, 'key', text));
}

function checkRole(entry: Entry, context: UserContext): void {
  const role = rawField(entry, 'role');
  const known = [...new Set([...Object.keys(BUILT_IN_ROLES), ...context.roles])];
  if (typeof role !== 'string' || known.includes(role)) return;
  const text = `users.${entry.name}.role: no role "${role}"; expected ${inWords(known)}${didYouMean(role, known)}`;
  context.problems.push(entry.file.problem([...entry.path, 'role'], 'value', text));
}

function checkPatterns(entry: Entry, context: UserContext): void {
  const { isComplete, groups, portNames, problems } = context;
  const patterns = rawField(entry, 'ports');
  if (!isComplete || !Array.isArray(patterns)) return;
  for (const [index, pattern] of (patterns as unknown[]).entries()) {
    if (typeof pattern !== 'string' || !isPortPattern(pattern)) continue;
    const path = [...entry.path, 'ports', index];
    const shown = `users.${entry.name}.ports[${index + 1}]`;
    if (pattern.startsWith('@')) {
      const known = [...groups].map((group) => `@${group}`);
      if (known.some((group) => group.toLowerCase() === pattern.toLowerCase())) continue;
      const text = `${shown}: no port has the group "${pattern.slice(1)}"; expected a group of some port${didYouMean(pattern, known)}`;
      problems.push(entry.file.problem(path, 'value', text));
    } else if (pattern !== '*' && !portNames.some((port) => globMatches(pattern, port))) {
      const text = `${shown}: "${pattern}" names no port${didYouMean(pattern, portNames)}`;
      problems.push(entry.file.problem(path, 'value', text, 'warning'));
    }
  }
}

function checkUnixUser(entry: Entry, seen: Map<string, string>, problems: Problem[]): void {
  const unix = rawField(entry, 'unix');
  if (typeof unix !== 'string') return;
  const first = seen.get(unix);
  seen.set(unix, first ?? entry.name);
  if (first === undefined) return;
  const text = `users.${entry.name}.unix: "${unix}" is already ${first}; expected one user for each unix user`;
  problems.push(entry.file.problem([...entry.path, 'unix'], 'value', text));
}

function keysInFile(entry: Entry, context: UserContext): string[] {
  const file = readSecret(entry, 'keysFile', 'public keys', context);
  if (!file) return [];
  const keys: string[] = [];
  for (const line of parseAuthorizedKeys(file.text)) {
    if ('key' in line) keys.push(formatPublicKey(line.key));
    else {
      const text = `${line.wrong}; expected ${PUBLIC_KEY_EXPECTED} (${file.namedAt})`;
      context.problems.push({
        file: file.path,
        line: line.line,
        column: 1,
        severity: 'error',
        text,
      });
    }
  }
  return keys;
}

function passwordInFile(entry: Entry, context: UserContext): string | null {
  if (rawField(entry, 'password') !== undefined && rawField(entry, 'passwordFile') !== undefined) {
    const text = `users.${entry.name}.passwordFile: there is a password, too; expected one of the two`;
    context.problems.push(entry.file.problem([...entry.path, 'passwordFile'], 'key', text));
    return null;
  }
  const file = readSecret(entry, 'passwordFile', 'the hash of a password', context);
  if (!file) return null;
  const hash = file.text.trim();
  if (parsePasswordHash(hash)) return hash;
  const text = `this is no scrypt hash; expected one line made by "fairlead user hash" (${file.namedAt})`;
  context.problems.push({ file: file.path, line: 1, column: 1, severity: 'error', text });
  return null;
}

/** Null when the user has no such key, or when the file cannot be read, which is reported. */
function readSecret(
  entry: Entry,
  key: 'keysFile' | 'passwordFile',
  content: string,
  { access, problems }: UserContext,
): { text: string; path: string; namedAt: string } | null {
  const named = rawField(entry, key);
  if (typeof named !== 'string' || !isPath(named)) return null;
  const keyPath = [...entry.path, key];
  const path = resolve(entry.directory, named);
  try {
    const namedAt = `${key} of ${entry.name}, ${placeOf(entry, keyPath, 'value')}`;
    return { text: access.readFile(path), path, namedAt };
  } catch (error) {
    const text = `users.${entry.name}.${key}: "${named}" cannot be read: ${reasonOf(error)}; expected a readable file with ${content}`;
    problems.push(entry.file.problem(keyPath, 'value', text));
    return null;
  }
}

function warnOfNoWayIn(entry: Entry, user: User, { rawUser, problems }: UserContext): void {
  const hasWay = user.keys.length > 0 || user.password !== null || user.unix !== null;
  if (hasWay || rawUser === user.name) return;
  const text = `users.${user.name}: cannot log in: has no key, no password and no unix user`;
  problems.push(entry.file.problem(entry.path, 'key', text, 'warning'));
}
