import { NAME_PATTERN } from '../../core/names.ts';

/**
 * What the user name of an SSH login asks for (DESIGN 7): `USER`, `USER:PORT`, `USER:PORT:view`,
 * `PORT`, `PORT:view`, or any of them with `+` for `:`, which scp and URLs take for themselves.
 */
export interface LoginName {
  /** First word: a user, or else a port. */
  first: string;
  /** The words after it. */
  rest: readonly string[];
}

/** What was asked for once it is clear who asks. */
export interface Destination {
  user: string;
  port: string | null;
  options: readonly string[];
}

/** null: nothing that could be a name of ours; nobody has it. */
export function parseLoginName(text: string): LoginName | null {
  if (text.length > LOGIN_NAME_CHARACTERS_MAX || !/^[\x21-\x7e]+$/.test(text)) return null;
  const separator = /[:+]/.exec(text)?.[0];
  const [first = '', ...rest] = separator === undefined ? [text] : text.split(separator);
  if (!NAME_PATTERN.test(first)) return null;
  if (rest.length > 0 && !NAME_PATTERN.test(rest[0]!)) return null;
  return { first, rest };
}

/** `isUser`: the first word is one. Else it is a port, and the key named `user`. */
export function destinationOf(name: LoginName, user: string, isUser: boolean): Destination {
  if (!isUser) return { user, port: name.first, options: name.rest };
  return { user, port: name.rest[0] ?? null, options: name.rest.slice(1) };
}

/**
 * The arguments of `attach` for a destination; null when an option is none we know.
 */
export function attachArguments(port: string, options: readonly string[]): string[] | null {
  const known = options.every((option) => option === 'view' || option === 'force');
  return known ? ['attach', port, ...options.map((option) => `--${option}`)] : null;
}

const LOGIN_NAME_CHARACTERS_MAX = 255;
