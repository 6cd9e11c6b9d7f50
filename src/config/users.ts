import { didYouMean, globMatches, NAME_PATTERN } from '../core/names.ts';
import { BUILT_IN_ROLES, type User } from '../core/user.ts';
import { parsePasswordHash } from '../auth/password.ts';
import { rawField, type Entry, type Source } from './files.ts';
import { keysInFile, secretInFile, type FileReading } from './named-files.ts';
import type { Problem } from './problems.ts';
import { inWords, isPortPattern } from './shapes.ts';
import { readTotpSecret, roleSchema, TOTP_EXPECTED, userSchema } from './user-schema.ts';
import { readValue } from './zod-problems.ts';

/** What users are checked against. */
export interface UserContext extends FileReading {
  isComplete: boolean;
  /** Names in `roles`, right or wrong. */
  roles: readonly string[];
  groups: ReadonlySet<string>;
  portNames: readonly string[];
  /** Users kept in the database. */
  databaseUsers: readonly string[];
  /** Users that doors and exposed ptys let in, who need no way to log in. */
  doorUsers: readonly string[];
  /** Certificates of SSH or TLS may admit any user. */
  hasCertificates: boolean;
}

/** Reads `users`; those with problems in their shape are left out, but for the other checks. */
export function readUsers(entries: readonly Entry[], context: UserContext): User[] {
  const users: User[] = [];
  const unixUsers = new Map<string, string>();
  const principals = new Map<string, string>();
  const names = [...entries.map((entry) => entry.name), ...context.databaseUsers];
  for (const entry of entries) {
    const { problems } = context;
    const before = problems.length;
    checkName(entry, context);
    const value = readValue(userSchema, entry.raw, entry.file, entry.path, problems);
    checkRole(entry, context);
    checkPatterns(entry, context);
    checkUnixUser(entry, unixUsers, problems);
    checkPrincipals(entry, names, principals, problems);
    const fileKeys = keysInFile(entry, 'keysFile', context);
    const filePassword = passwordInFile(entry, context);
    const fileTotp = totpInFile(entry, context);
    if (!value) continue;
    const user: User = {
      name: entry.name,
      role: value.role,
      ports: value.ports,
      keys: [...value.keys, ...fileKeys],
      password: value.password ?? filePassword,
      unix: value.unix ?? null,
      from: value.from,
      totp: value.totp ?? fileTotp,
      principals: value.principals,
      escape: value.escape,
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

function passwordInFile(entry: Entry, context: UserContext): string | null {
  const words = {
    content: 'the hash of a password',
    article: 'a',
    expected: 'one line made by "fairlead user hash"',
  };
  const read = (line: string): { value: string } | { wrong: string } =>
    parsePasswordHash(line) ? { value: line } : { wrong: 'this is no scrypt hash' };
  return secretInFile(entry, 'password', words, read, context);
}

function totpInFile(entry: Entry, context: UserContext): string | null {
  const content = 'the secret of one-time codes';
  const words = { content, article: 'a', expected: TOTP_EXPECTED };
  return secretInFile(entry, 'totp', words, readTotpSecret, context);
}

/** A certificate that admits two users leaves open who it was. */
function checkPrincipals(
  entry: Entry,
  names: readonly string[],
  seen: Map<string, string>,
  problems: Problem[],
): void {
  const principals = rawField(entry, 'principals');
  if (!Array.isArray(principals)) return;
  for (const [index, principal] of (principals as unknown[]).entries()) {
    if (typeof principal !== 'string') continue;
    const holder = names.includes(principal) ? principal : seen.get(principal);
    seen.set(principal, holder ?? entry.name);
    if (holder === undefined || holder === entry.name) continue;
    const text = `users.${entry.name}.principals[${index + 1}]: "${principal}" also admits ${holder}: a certificate with it is good for both`;
    const path = [...entry.path, 'principals', index];
    problems.push(entry.file.problem(path, 'value', text, 'warning'));
  }
}

function warnOfNoWayIn(entry: Entry, user: User, context: UserContext): void {
  const { doorUsers, hasCertificates, problems } = context;
  const warn = (what: string): void => {
    const text = `users.${user.name}${what}`;
    problems.push(entry.file.problem(entry.path, 'key', text, 'warning'));
  };
  const hasWay = user.keys.length > 0 || user.password !== null || user.unix !== null;
  if (!hasWay && !hasCertificates && !doorUsers.includes(user.name)) {
    warn(': cannot log in: has no key, no password and no unix user');
  }
  if (user.totp !== null && user.password === null) {
    warn(': one-time codes are asked for after a password, and there is none');
  }
}
