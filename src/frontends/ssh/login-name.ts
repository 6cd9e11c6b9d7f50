import { Fault } from '../../core/fault.ts';
import { NAME_PATTERN, sameName } from '../../core/names.ts';

/**
 * What the user name of an SSH login asks for (DESIGN 7): `USER`, `USER:PORT`, `USER:PORT:view`,
 * `PORT`, `PORT:view`, or any of them with `+` for `:`, which scp and URLs take for themselves. The
 * first of the two in the name is the separator; so a time with colons in it goes with `+`.
 */
export interface LoginName {
  /** First word: a user, or else a port. */
  first: string;
  /** The words after it. */
  rest: readonly string[];
}

/** The one port behind a door of its own, at base + n. */
export interface DoorPort {
  name: string;
  aliases: readonly string[];
}

/** What was asked for once it is clear who asks. */
export interface Destination {
  user: string;
  port: string | null;
  options: readonly string[];
}

/**
 * null: nothing that could be a name of ours; nobody has it. `door`: the port whose door it came
 * through, so that options may follow the user at once; null: the door of all ports.
 */
export function parseLoginName(text: string, door: DoorPort | null): LoginName | null {
  if (text.length > LOGIN_NAME_CHARACTERS_MAX || !/^[\x21-\x7e]+$/.test(text)) return null;
  const separator = /[:+]/.exec(text)?.[0];
  const [first = '', ...rest] = separator === undefined ? [text] : text.split(separator);
  if (!NAME_PATTERN.test(first)) return null;
  const [second] = rest;
  const isSound =
    second === undefined || NAME_PATTERN.test(second) || (door !== null && /^[a-z]+=/.test(second));
  return isSound ? { first, rest } : null;
}

/**
 * `isUser`: the first word is one. Else it is a port, and the key named `user`. null: it is not the
 * port of this door.
 */
export function destinationOf(
  { first, rest }: LoginName,
  user: string,
  isUser: boolean,
  door: DoorPort | null,
): Destination | null {
  if (door === null) {
    if (!isUser) return { user, port: first, options: rest };
    return { user, port: rest[0] ?? null, options: rest.slice(1) };
  }
  if (!isUser && !isNameOf(door, first)) return null;
  // USER:PORT is what fingers know; at the port's own door it says nothing new.
  const isRepeated = isUser && rest[0] !== undefined && isNameOf(door, rest[0]);
  return { user, port: door.name, options: isRepeated ? rest.slice(1) : rest };
}

export function isNameOf(door: DoorPort, text: string): boolean {
  return [door.name, ...door.aliases].some((name) => sameName(name, text));
}

/**
 * The arguments of `attach` for a destination.
 * @throws Fault USAGE naming the option that is none, and those there are.
 */
export function attachArguments(port: string, options: readonly string[]): string[] {
  const argv = ['attach', port];
  for (const [index, option] of options.entries()) {
    const [name = '', ...values] = option.split('=');
    const value = values.length === 0 ? null : values.join('=');
    const isPlain = value === null && (name === 'view' || name === 'force' || name === 'wait');
    const isCount = name === 'replay' && isReplayCount(value ?? '');
    const isTime = name === 'from' && value !== null && value !== '';
    if (isPlain) argv.push(`--${name}`);
    else if (isCount || isTime) argv.push(`--${name}`, value!);
    else throw new Fault('USAGE', explain(option, options.slice(0, index)));
  }
  return argv;
}

function isReplayCount(text: string): boolean {
  return /^\d{1,6}$/.test(text) && Number(text) >= 1 && Number(text) <= REPLAY_LINES_MAX;
}

function explain(option: string, before: readonly string[]): string {
  const hint = before.some((one) => one.startsWith('from='))
    ? '; if it belongs to the time, put + between all words: user+port+from=03:12'
    : '';
  return (
    `"${option}" is no option of a login name; after the port may come view, force, wait, ` +
    `replay=LINES (1 to ${REPLAY_LINES_MAX}) and from=TIME${hint}`
  );
}

const LOGIN_NAME_CHARACTERS_MAX = 255;
const REPLAY_LINES_MAX = 100_000;
