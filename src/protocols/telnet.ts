import { Buffer } from 'node:buffer';

/** Verbs of option negotiation (RFC 854). */
export type TelnetVerb = 'will' | 'wont' | 'do' | 'dont';

/** Commands of one byte: RFC 854; `eof`, `suspend`, `abort` RFC 1184; `eor` RFC 885. */
export type TelnetCommand = keyof typeof COMMAND_CODES;

export type TelnetEvent =
  /** Bytes as they were sent, IAC undoubled; those next to each other in one input are one event. */
  | { kind: 'data'; bytes: Uint8Array }
  | { kind: 'command'; command: TelnetCommand }
  | { kind: 'negotiate'; verb: TelnetVerb; option: number }
  | { kind: 'subnegotiation'; option: number; bytes: Uint8Array }
  /** A subnegotiation of over 512 bytes: none of it is kept. */
  | { kind: 'oversized'; option: number }
  /** IAC before a byte that it does not go with. */
  | { kind: 'malformed' };

export type TelnetState =
  | { at: 'data' | 'command' | 'sub-option' }
  | { at: 'verb'; verb: TelnetVerb }
  | {
      at: 'sub-data' | 'sub-command';
      option: number;
      /** null: too many, the rest is skipped. */
      bytes: Uint8Array | null;
    };

/** More than any option of ours needs; what is longer is dropped. */
export const SUBNEGOTIATION_BYTES_MAX = 512;

export const TELNET_START: TelnetState = { at: 'data' };

/**
 * Telnet framing (RFC 854, RFC 855). Total: every byte sequence decodes, in any chunking, to the
 * same events. Knows nothing of sockets or of what an option means.
 *
 * IAC before a byte that is no command is `malformed`, and the byte is data: of a Synch Linux takes the
 * urgent byte out of the stream, and where that is the DM, its IAC stands before the data that follow.
 */
export function decodeTelnet(
  start: TelnetState,
  input: Uint8Array,
): { state: TelnetState; events: TelnetEvent[] } {
  const events: TelnetEvent[] = [];
  const data: Uint8Array[] = [];
  let state = start;
  const emit = (event: TelnetEvent): void => {
    if (data.length > 0) events.push({ kind: 'data', bytes: joined(data.splice(0)) });
    events.push(event);
  };
  for (let at = 0; at < input.length;) {
    const byte = input[at]!;
    switch (state.at) {
      case 'data': {
        const iac = input.indexOf(IAC, at);
        const end = iac < 0 ? input.length : iac;
        if (end > at) data.push(input.subarray(at, end));
        if (iac >= 0) state = { at: 'command' };
        at = iac < 0 ? end : end + 1;
        continue;
      }
      case 'command':
        if (byte === IAC) data.push(input.subarray(at, at + 1));
        else if (byte < FIRST_COMMAND || byte === SE) {
          emit({ kind: 'malformed' });
          if (byte !== SE) data.push(input.subarray(at, at + 1));
        } else if (byte !== SB && VERBS[byte] === undefined) {
          emit({ kind: 'command', command: COMMANDS[byte]! });
        }
        state = afterCommand(byte);
        break;
      case 'verb':
        emit({ kind: 'negotiate', verb: state.verb, option: byte });
        state = TELNET_START;
        break;
      case 'sub-option':
        state = { at: 'sub-data', option: byte, bytes: new Uint8Array(0) };
        break;
      case 'sub-data': {
        const iac = input.indexOf(IAC, at);
        const end = iac < 0 ? input.length : iac;
        state = grown(state, input.subarray(at, end), emit);
        if (iac >= 0) state = { ...state, at: 'sub-command' };
        at = iac < 0 ? end : end + 1;
        continue;
      }
      case 'sub-command':
        if (byte === IAC) {
          state = grown({ ...state, at: 'sub-data' }, input.subarray(at, at + 1), emit);
          break;
        }
        if (byte === SE) {
          const { option, bytes } = state;
          if (bytes !== null) emit({ kind: 'subnegotiation', option, bytes });
          state = TELNET_START;
          break;
        }
        // Its end is missing: what was begun is dropped, and the command counts by itself.
        emit({ kind: 'malformed' });
        state = { at: 'command' };
        continue;
    }
    at++;
  }
  if (data.length > 0) events.push({ kind: 'data', bytes: joined(data) });
  return { state, events };
}

/** Doubles IAC. Returns `bytes` itself when there is none. */
export function encodeTelnet(bytes: Uint8Array): Uint8Array {
  let iac = bytes.indexOf(IAC);
  if (iac < 0) return bytes;
  let count = 0;
  for (; iac >= 0; iac = bytes.indexOf(IAC, iac + 1)) count++;
  const encoded = Buffer.allocUnsafe(bytes.length + count);
  let to = 0;
  for (let from = 0; from < bytes.length;) {
    const next = bytes.indexOf(IAC, from);
    const end = next < 0 ? bytes.length : next + 1;
    encoded.set(bytes.subarray(from, end), to);
    to += end - from;
    if (next >= 0) encoded[to++] = IAC;
    from = end;
  }
  return encoded;
}

export function encodeNegotiation(verb: TelnetVerb, option: number): Uint8Array {
  return Uint8Array.of(IAC, VERB_CODES[verb], option);
}

export function encodeSubnegotiation(option: number, bytes: Uint8Array): Uint8Array {
  const encoded = encodeTelnet(bytes);
  return Buffer.concat([Uint8Array.of(IAC, SB, option), encoded, Uint8Array.of(IAC, SE)]);
}

export function encodeCommand(command: TelnetCommand): Uint8Array {
  return Uint8Array.of(IAC, COMMAND_CODES[command]);
}

/**
 * What a network virtual terminal sends, as the device is to have it: its Enter comes as CR NUL or CR
 * LF (RFC 854) and is CR. Not for BINARY. `afterCr` is the state: false to begin with.
 */
export function fromNvt(
  afterCr: boolean,
  bytes: Uint8Array,
): { afterCr: boolean; bytes: Uint8Array } {
  if (bytes.length === 0) return { afterCr, bytes };
  if (!afterCr && !bytes.includes(CR)) return { afterCr: false, bytes };
  const kept = Buffer.allocUnsafe(bytes.length);
  let count = 0;
  for (const byte of bytes) {
    if (!afterCr || (byte !== NUL && byte !== LF)) kept[count++] = byte;
    afterCr = byte === CR;
  }
  return { afterCr, bytes: kept.subarray(0, count) };
}

/**
 * The device's output as a network virtual terminal is to have it: a CR that no LF follows becomes CR
 * NUL (RFC 854). Not for BINARY. A CR goes out at once; its NUL comes with the byte after it.
 */
export function toNvt(
  afterCr: boolean,
  bytes: Uint8Array,
): { afterCr: boolean; bytes: Uint8Array } {
  if (bytes.length === 0) return { afterCr, bytes };
  let bare = 0;
  let wasCr = afterCr;
  for (const byte of bytes) {
    if (wasCr && byte !== LF) bare++;
    wasCr = byte === CR;
  }
  if (bare === 0) return { afterCr: wasCr, bytes };
  const encoded = Buffer.allocUnsafe(bytes.length + bare);
  let to = 0;
  for (const byte of bytes) {
    if (afterCr && byte !== LF) encoded[to++] = NUL;
    encoded[to++] = byte;
    afterCr = byte === CR;
  }
  return { afterCr, bytes: encoded };
}

const NUL = 0;
const LF = 10;
const CR = 13;
const SE = 240;
const SB = 250;
const IAC = 255;

const COMMAND_CODES = {
  eof: 236,
  suspend: 237,
  abort: 238,
  eor: 239,
  nop: 241,
  dm: 242,
  break: 243,
  ip: 244,
  ao: 245,
  ayt: 246,
  ec: 247,
  el: 248,
  ga: 249,
} as const;
const FIRST_COMMAND = COMMAND_CODES.eof;
const VERB_CODES: Readonly<Record<TelnetVerb, number>> = {
  will: 251,
  wont: 252,
  do: 253,
  dont: 254,
};

const COMMANDS: Readonly<Record<number, TelnetCommand>> = Object.fromEntries(
  Object.entries(COMMAND_CODES).map(([command, code]) => [code, command as TelnetCommand]),
);
const VERBS: Readonly<Record<number, TelnetVerb>> = Object.fromEntries(
  Object.entries(VERB_CODES).map(([verb, code]) => [code, verb as TelnetVerb]),
);

function afterCommand(byte: number): TelnetState {
  const verb = VERBS[byte];
  if (verb !== undefined) return { at: 'verb', verb };
  return byte === SB ? { at: 'sub-option' } : TELNET_START;
}

type Subnegotiation = Extract<TelnetState, { option: number }>;

function grown(
  state: Subnegotiation,
  more: Uint8Array,
  emit: (event: TelnetEvent) => void,
): Subnegotiation {
  const { option, bytes } = state;
  if (bytes === null || more.length === 0) return state;
  if (bytes.length + more.length <= SUBNEGOTIATION_BYTES_MAX) {
    return { ...state, bytes: joined([bytes, more]) };
  }
  emit({ kind: 'oversized', option });
  return { ...state, bytes: null };
}

/** A copy, unless there is but one. */
function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}
