import * as z from 'zod';
import { Fault } from '../core/fault.ts';
import { globMatches, isPortName, NAME_PATTERN } from '../core/names.ts';
import { parseCidr } from '../auth/cidr.ts';
import { formatPublicKey, parseAuthorizedKey, PUBLIC_KEY_EXPECTED } from '../auth/ssh-keys.ts';
import { parseAddress, parseDurationMs } from './units.ts';

/*
 * What the schemas are built from. Two conventions tie them to zod-problems.ts: a schema's error
 * message is what was expected (it follows the word "expected"), and a transform that refuses says
 * what is wrong in `params.what`. Descriptions become docs/config.md and the editors' JSON Schema.
 */

/** Keys of DESIGN 6 that a later version brings, by the map they stand in: refused, but not as unknown. */
export const keysOfLaterVersions = z.registry<{ keys: readonly string[] }>();

/** Reads a text, or says what is wrong with it (null: that it does not fit). */
type Reader<T> = (text: string) => Right<T> | Wrong;
type Right<T> = { value: T };
type Wrong = { wrong: string | null };

export function text<T>(expected: string, read: Reader<T>) {
  return z
    .string({ error: () => expected })
    .transform((input, context) => pass(read(input), expected, input, context));
}

export function textOrNumber<T>(expected: string, read: Reader<T>) {
  return z
    .union([z.string(), z.number()], { error: () => expected })
    .transform((input, context) => pass(read(String(input)), expected, input, context));
}

function pass<T>(
  result: Right<T> | Wrong,
  expected: string,
  input: unknown,
  context: z.core.$RefinementCtx,
): T {
  if ('value' in result) return result.value;
  context.issues.push({ code: 'custom', message: expected, params: { what: result.wrong }, input });
  return z.NEVER;
}

export function wrong(what: string | null = null): Wrong {
  return { wrong: what };
}

export function orWrong<T>(value: T | null): Right<T> | Wrong {
  return value === null ? wrong() : { value };
}

/** A text that has to look right and is kept as it is. */
export function checkedText(expected: string, isRight: (input: string) => boolean) {
  return text(expected, (input) => (isRight(input) ? { value: input } : wrong()));
}

export function oneOf<const T extends readonly [string, ...string[]]>(...words: T) {
  return z.enum(words, { error: () => inWords(words) });
}

export function wholeNumber(min: number, max: number) {
  const error = (): string => `a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

export function listOf<T extends z.ZodType>(item: T, expected: string) {
  return z.array(item, { error: () => expected });
}

/** A map with these keys and no others. */
export function map<T extends z.core.$ZodShape>(
  expected: string,
  shape: T,
  later: readonly string[] = [],
) {
  const schema = z.strictObject(shape, { error: () => expected });
  keysOfLaterVersions.add(schema, { keys: later });
  return schema;
}

/** A map that says exactly one of these. */
export function oneKeyOf<T extends z.ZodObject>(schema: T, keys: readonly string[]) {
  return schema.superRefine((value, context) => {
    const said = keys.filter((key) => (value as Record<string, unknown>)[key] !== undefined);
    if (said.length === 1) return;
    const what = said.length === 0 ? `says neither ${keys.join(' nor ')}` : `says both`;
    const message = `one of ${keys.join(' and ')}`;
    context.addIssue({ code: 'custom', message, params: { what } });
  });
}

/** A map with any keys of this look; whoever reads it checks them. */
export function mapByName<T extends z.ZodType>(expected: string, pattern: RegExp, value: T) {
  const key = z.string().meta({ pattern: pattern.source });
  return z.record(key, value, { error: () => expected });
}

/** Null for the word `none`. */
export function orNone<T extends z.ZodType>(schema: T, expected: string) {
  return z
    .union([z.literal('none'), schema], { error: () => expected })
    .transform((value) => (value === 'none' ? null : (value as z.output<T>)));
}

/** Milliseconds. */
export function duration(minMs: number, maxMs: number, expected: string) {
  return text(expected, (given) => {
    const ms = parseDurationMs(given);
    return orWrong(ms !== null && ms >= minMs && ms <= maxMs ? ms : null);
  });
}

/** `a, b or c` */
export function inWords(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** "~" is the shell's to fill in. */
export function isPath(input: string): boolean {
  return input !== '' && !input.startsWith('~') && !input.includes('\0');
}

/** Where a bare word would be a mistake: `ttyS0`. */
function isDevicePath(input: string): boolean {
  return /^(\/|\.\.?\/)./.test(input) && isPath(input);
}

/** A pattern of port names, or `@group`. */
export function isPortPattern(input: string): boolean {
  if (input.startsWith('@')) return NAME_PATTERN.test(input.slice(1));
  if (!/^[A-Za-z0-9._*?[\]!-]{1,64}$/.test(input)) return false;
  if (/\[(?!!?[^\]]+\])|(?<!\[!?[^[\]]+)\]/.test(input)) return false;
  try {
    globMatches(input, '');
    return true;
  } catch {
    return false; // a range upside down: [z-a]
  }
}

const unixNamePattern = /^[A-Za-z0-9_][A-Za-z0-9._$-]{0,63}$/;
export const NAME_EXPECTED =
  'a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit';

export const path = checkedText('a path (relative to this file; "~" is not filled in)', isPath);
export const devicePath = (example: string) =>
  checkedText(`a path from "/", "./" or "../", such as ${example}`, isDevicePath);
export const name = checkedText(NAME_EXPECTED, (input) => NAME_PATTERN.test(input));
export const portName = checkedText(`${NAME_EXPECTED}, not all digits`, isPortName);
export const unixName = (expected: string) =>
  checkedText(expected, (input) => unixNamePattern.test(input));
export const cidr = text('an address or block such as 10.0.0.0/8 or 2001:db8::/32', (input) => {
  const block = parseCidr(input);
  return 'wrong' in block ? block : { value: input };
});
export const cidrs = listOf(cidr, 'a list of address blocks');
export const address = (example: string) =>
  text(`host:port, such as ${example} or "[::1]:8022"`, (input) => orWrong(parseAddress(input)));
export const publicKey = text(PUBLIC_KEY_EXPECTED, (given) => {
  try {
    return { value: formatPublicKey(parseAuthorizedKey(given)) };
  } catch (error) {
    if (error instanceof Fault) return wrong(error.message);
    throw error;
  }
});
/** A program and its arguments, never a shell's line. */
export const command = listOf(
  z.string({ error: () => 'a word of the command (quote numbers)' }),
  'a list of the command and its arguments; no shell reads it',
).min(1, { error: () => 'a command' });
/** What a door or an exposed pty does when somebody writes already. */
export const busy = oneOf('refuse', 'view', 'takeover');
export const busyText =
  'What a client gets while somebody writes: `refuse` (nothing), `view` (it reads, and writes when the writer leaves) or `takeover`.';

const PROSE_BYTES_MAX = 4096;

/** A text for people's terminals, as written; null when empty, or `none`. */
export const prose = orNone(
  text(
    `a text of at most ${PROSE_BYTES_MAX} bytes with no control characters but newline and tab, or none`,
    (given) => {
      const kept = given.replace(/\n+$/, '');
      const bytes = Buffer.byteLength(kept);
      if (bytes > PROSE_BYTES_MAX) return wrong(`${bytes} bytes are too many`);
      const control = /[^\P{Cc}\n\t]/u.exec(kept)?.[0];
      if (control === undefined) return { value: kept === '' ? null : kept };
      const code = control.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
      return wrong(`the control character U+${code} cannot be shown`);
    },
  ),
  `a text of at most ${PROSE_BYTES_MAX} bytes, or none`,
);
