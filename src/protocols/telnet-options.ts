import type { TelnetVerb } from './telnet.ts';

/** Options we speak, by their number. Whatever else is asked for is refused. */
export const TELNET_OPTIONS = {
  /** RFC 856 */
  binary: 0,
  /** RFC 857 */
  echo: 1,
  /** RFC 858 */
  suppressGoAhead: 3,
  /** RFC 1091 */
  terminalType: 24,
  /** RFC 1073 */
  windowSize: 31,
  /** RFC 2217 */
  comPort: 44,
} as const;

/** Whose option it is: `us`: we do it (WILL); `them`: the peer does (we say DO). */
export type Side = 'us' | 'them';

export interface Negotiation {
  verb: TelnetVerb;
  option: number;
}

/** Options that may be on, by side. */
export type Supported = Readonly<Record<Side, ReadonlySet<number>>>;

/**
 * RFC 1143's states, `want-no` and `want-yes` with the opposite queued or not. What is not in the
 * map is `no`.
 */
export type OptionState =
  'no' | 'yes' | 'want-no' | 'want-no-then-yes' | 'want-yes' | 'want-yes-then-no';
export type OptionStates = Readonly<Record<Side, ReadonlyMap<number, OptionState>>>;

export const NO_OPTIONS: OptionStates = { us: new Map(), them: new Map() };

export interface OptionStep {
  states: OptionStates;
  /** What to say. */
  send: Negotiation[];
  /** The option went on or off. */
  changed: { side: Side; option: number; isOn: boolean } | null;
}

export function isOn(states: OptionStates, side: Side, option: number): boolean {
  return states[side].get(option) === 'yes';
}

/**
 * The peer said something of an option: the Q method of RFC 1143. It answers only what changes a
 * state or has to be refused, so two such sides cannot loop.
 */
export function hearNegotiation(
  states: OptionStates,
  { verb, option }: Negotiation,
  supported: Supported,
): OptionStep {
  const side = verb === 'will' || verb === 'wont' ? 'them' : 'us';
  const before = states[side].get(option) ?? 'no';
  const [after, says] =
    verb === 'will' || verb === 'do'
      ? afterYes(before, supported[side].has(option))
      : AFTER_NO[before];
  return step(states, side, option, after, says);
}

/** We want an option on, or off. */
export function askOption(
  states: OptionStates,
  side: Side,
  option: number,
  wanted: boolean,
): OptionStep {
  const before = states[side].get(option) ?? 'no';
  const [after, says] = (wanted ? AFTER_WANTED : AFTER_UNWANTED)[before];
  return step(states, side, option, after, says);
}

/** Columns and rows of NAWS (RFC 1073); null: not four bytes. 0 stands for "unknown". */
export function parseWindowSize(bytes: Uint8Array): { columns: number; rows: number } | null {
  if (bytes.length !== 4) return null;
  const [columnsHigh, columns, rowsHigh, rows] = bytes as unknown as [
    number,
    number,
    number,
    number,
  ];
  return { columns: columnsHigh * 256 + columns, rows: rowsHigh * 256 + rows };
}

/** Asks for the terminal's type (RFC 1091 SEND). */
export const TERMINAL_TYPE_SEND = Uint8Array.of(1);

/** The name in a TERMINAL-TYPE IS, lower case; null: it is none. */
export function parseTerminalType(bytes: Uint8Array): string | null {
  if (bytes[0] !== 0) return null;
  const name = String.fromCharCode(...bytes.subarray(1)).toLowerCase();
  // The names that RFC 1091 allows are shorter than this and have no other characters.
  return /^[a-z0-9./+_-]{1,40}$/.test(name) ? name : null;
}

/** What was said of options lately; the time is the caller's, in milliseconds of any clock. */
export type Chatter = readonly number[];
export const CHATTER_MAX = 100;
export const CHATTER_WINDOW_MS = 10_000;

/** One thing more was said. null: that is over 100 in 10 s, the connection is to be ended. */
export function hearChatter(chatter: Chatter, nowMs: number): Chatter | null {
  const recent = chatter.filter((atMs) => nowMs - atMs < CHATTER_WINDOW_MS);
  return recent.length < CHATTER_MAX ? [...recent, nowMs] : null;
}

type Says = 'yes' | 'no' | null;
type Transitions = Readonly<Record<OptionState, readonly [OptionState, Says]>>;

function afterYes(before: OptionState, isSupported: boolean): readonly [OptionState, Says] {
  if (before === 'no') return isSupported ? ['yes', 'yes'] : ['no', 'no'];
  return AFTER_YES[before];
}

/** A WILL or DO came. An answer to what we did not ask (`want-no`) is the peer's error. */
const AFTER_YES: Readonly<Record<Exclude<OptionState, 'no'>, readonly [OptionState, Says]>> = {
  yes: ['yes', null],
  'want-no': ['no', null],
  'want-no-then-yes': ['yes', null],
  'want-yes': ['yes', null],
  'want-yes-then-no': ['want-no', 'no'],
};

/** A WONT or DONT came. */
const AFTER_NO: Transitions = {
  no: ['no', null],
  yes: ['no', 'no'],
  'want-no': ['no', null],
  'want-no-then-yes': ['want-yes', 'yes'],
  'want-yes': ['no', null],
  'want-yes-then-no': ['no', null],
};

const AFTER_WANTED: Transitions = {
  no: ['want-yes', 'yes'],
  yes: ['yes', null],
  'want-no': ['want-no-then-yes', null],
  'want-no-then-yes': ['want-no-then-yes', null],
  'want-yes': ['want-yes', null],
  'want-yes-then-no': ['want-yes', null],
};

const AFTER_UNWANTED: Transitions = {
  no: ['no', null],
  yes: ['want-no', 'no'],
  'want-no': ['want-no', null],
  'want-no-then-yes': ['want-no', null],
  'want-yes': ['want-yes-then-no', null],
  'want-yes-then-no': ['want-yes-then-no', null],
};

const VERB_FOR: Readonly<Record<Side, Readonly<Record<'yes' | 'no', TelnetVerb>>>> = {
  us: { yes: 'will', no: 'wont' },
  them: { yes: 'do', no: 'dont' },
};

function step(
  states: OptionStates,
  side: Side,
  option: number,
  after: OptionState,
  says: Says,
): OptionStep {
  const before = states[side].get(option) ?? 'no';
  const wasOn = before === 'yes';
  const isNowOn = after === 'yes';
  return {
    states:
      after === before ? states : { ...states, [side]: new Map(states[side]).set(option, after) },
    send: says === null ? [] : [{ verb: VERB_FOR[side][says], option }],
    changed: wasOn === isNowOn ? null : { side, option, isOn: isNowOn },
  };
}
