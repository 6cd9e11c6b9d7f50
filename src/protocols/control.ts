/**
 * Framing of the local control socket, between the `fairlead` command and the daemon. One
 * connection runs one verb. A frame is a type byte, a big-endian u32 length, and at most 64 KiB of
 * payload. Output and input are each under credit: the sender may have no more bytes under way
 * than the receiver has granted, so a slow reader stalls nothing but its own verb, and an interrupt
 * or a resize still gets through.
 */
export type ControlFrame =
  /** Client, first and once. */
  | { kind: 'hello'; hello: ControlHello }
  /** Client; spends input credit. */
  | { kind: 'stdin'; bytes: Uint8Array }
  /** Client: nothing more comes on stdin. */
  | { kind: 'stdin-end' }
  /** Client: the terminal's size changed. */
  | { kind: 'resize'; columns: number; rows: number }
  /** Client: SIGINT and the like; the verb should stop. */
  | { kind: 'interrupt' }
  /** Client: so many bytes of stdout and stderr were passed on. */
  | { kind: 'output-credit'; bytes: number }
  /** Daemon; both spend output credit. */
  | { kind: 'stdout'; bytes: Uint8Array }
  | { kind: 'stderr'; bytes: Uint8Array }
  /** Daemon: so many more bytes of stdin may be sent. None is granted until a verb listens. */
  | { kind: 'input-credit'; bytes: number }
  /** Daemon: put the terminal into raw mode, or back. */
  | { kind: 'raw-mode'; on: boolean }
  /** Daemon, last: the verb's exit code. */
  | { kind: 'exit'; code: number }
  /** Daemon: stop as CTRL-Z does. Answered by `resumed` when the process goes on. */
  | { kind: 'suspend' }
  | { kind: 'resumed' }
  /** Daemon: run a command line that the user typed; one at a time. Ends with the client's `pipe-exit`. */
  | { kind: 'pipe-open'; command: string }
  /** Daemon: the command's standard input; spends pipe credit of its direction. */
  | { kind: 'pipe-input'; bytes: Uint8Array }
  /** Daemon: nothing more comes on its standard input. */
  | { kind: 'pipe-end' }
  /** Daemon: end the command. */
  | { kind: 'pipe-stop' }
  /** Client: what the command printed; spends pipe credit of its direction. */
  | { kind: 'pipe-output'; bytes: Uint8Array }
  /** Both: so many bytes of the other's were taken. */
  | { kind: 'pipe-credit'; bytes: number }
  /** Client: all output was sent, and this is the exit status. */
  | { kind: 'pipe-exit'; code: number };

export interface ControlHello {
  version: number;
  argv: readonly string[];
  columns: number;
  rows: number;
  isTerminal: boolean;
  /** IANA name. */
  timeZone: string;
  /** Progress may be drawn on standard error; `inputBytes`: length of standard input, where known. */
  progress?: { inputBytes: number | null };
}

export const CONTROL_VERSION = 2;
export const CONTROL_PAYLOAD_BYTES_MAX = 65_536;
/** Output that may be under way before the client granted any. */
export const CONTROL_OUTPUT_CREDIT_BYTES = 262_144;
/** Input granted when a verb begins to listen. */
export const CONTROL_INPUT_CREDIT_BYTES = 65_536;
/** Each way between a piped command and the daemon, to begin with. */
export const CONTROL_PIPE_CREDIT_BYTES = 65_536;

export type ControlEvent =
  | { kind: 'frame'; frame: ControlFrame }
  /** Not our protocol; nothing after this is decoded. */
  | { kind: 'malformed'; why: string };

/** Bytes of a frame that is not complete yet, at most one frame; null after malformed input. */
export interface ControlState {
  readonly pending: Uint8Array | null;
}

export const CONTROL_START: ControlState = { pending: new Uint8Array(0) };

/**
 * Total: every byte sequence decodes, in any chunking, to the same events. The bytes of an event
 * are a view of `input` or of the state: use or copy them before the next call.
 */
export function decodeControl(
  state: ControlState,
  input: Uint8Array,
): { state: ControlState; events: ControlEvent[] } {
  const events: ControlEvent[] = [];
  if (state.pending === null) return { state, events };
  const bytes = state.pending.length === 0 ? input : join(state.pending, input);
  let at = 0;
  while (bytes.length - at >= HEAD_BYTES) {
    const length = readU32(bytes, at + 1);
    const kind = KINDS[bytes[at]!];
    const problem =
      kind === undefined
        ? `frame type ${bytes[at]}`
        : length > CONTROL_PAYLOAD_BYTES_MAX
          ? `a frame of ${length} bytes`
          : null;
    if (problem === null && bytes.length - at - HEAD_BYTES < length) break;
    const payload = bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
    const frame = problem === null ? decodePayload(kind!, payload) : null;
    if (frame === null) {
      events.push({ kind: 'malformed', why: problem ?? `the payload of a ${kind} frame` });
      return { state: { pending: null }, events };
    }
    events.push({ kind: 'frame', frame });
    at += HEAD_BYTES + length;
  }
  return { state: { pending: bytes.slice(at) }, events };
}

/** One frame as bytes. `bytes` of stdin, stdout and stderr: at most `CONTROL_PAYLOAD_BYTES_MAX`. */
export function encodeControl(frame: ControlFrame): Uint8Array {
  const payload = encodePayload(frame);
  if (payload.length > CONTROL_PAYLOAD_BYTES_MAX) {
    throw new RangeError(`a ${frame.kind} frame of ${payload.length} bytes`);
  }
  const bytes = new Uint8Array(HEAD_BYTES + payload.length);
  bytes[0] = KINDS.indexOf(frame.kind);
  writeU32(bytes, 1, payload.length);
  bytes.set(payload, HEAD_BYTES);
  return bytes;
}

const HEAD_BYTES = 5;

/** Position is the type byte: never reorder within a version. 0 is no frame. */
const KINDS: readonly (ControlFrame['kind'] | undefined)[] = [
  undefined,
  'hello',
  'stdin',
  'stdin-end',
  'resize',
  'interrupt',
  'output-credit',
  'stdout',
  'stderr',
  'input-credit',
  'raw-mode',
  'exit',
  'suspend',
  'resumed',
  'pipe-open',
  'pipe-input',
  'pipe-end',
  'pipe-stop',
  'pipe-output',
  'pipe-credit',
  'pipe-exit',
];

function encodePayload(frame: ControlFrame): Uint8Array {
  switch (frame.kind) {
    case 'hello':
      return new TextEncoder().encode(JSON.stringify(frame.hello));
    case 'pipe-open':
      return new TextEncoder().encode(frame.command);
    case 'stdin':
    case 'stdout':
    case 'stderr':
    case 'pipe-input':
    case 'pipe-output':
      return frame.bytes;
    case 'stdin-end':
    case 'interrupt':
    case 'suspend':
    case 'resumed':
    case 'pipe-end':
    case 'pipe-stop':
      return new Uint8Array(0);
    case 'resize':
      return Uint8Array.of(
        frame.columns >> 8,
        frame.columns & 255,
        frame.rows >> 8,
        frame.rows & 255,
      );
    case 'output-credit':
    case 'input-credit':
    case 'pipe-credit': {
      const bytes = new Uint8Array(4);
      writeU32(bytes, 0, frame.bytes);
      return bytes;
    }
    case 'raw-mode':
      return Uint8Array.of(frame.on ? 1 : 0);
    case 'exit':
    case 'pipe-exit':
      return Uint8Array.of(frame.code & 255);
  }
}

/** null: the payload does not fit its kind. */
function decodePayload(kind: ControlFrame['kind'], payload: Uint8Array): ControlFrame | null {
  switch (kind) {
    case 'hello': {
      const hello = decodeHello(payload);
      return hello && { kind, hello };
    }
    case 'pipe-open': {
      const command = decodeText(payload);
      return command === null ? null : { kind, command };
    }
    case 'stdin':
    case 'stdout':
    case 'stderr':
    case 'pipe-input':
    case 'pipe-output':
      return { kind, bytes: payload };
    case 'stdin-end':
    case 'interrupt':
    case 'suspend':
    case 'resumed':
    case 'pipe-end':
    case 'pipe-stop':
      return payload.length === 0 ? { kind } : null;
    case 'resize':
      if (payload.length !== 4) return null;
      return {
        kind,
        columns: payload[0]! * 256 + payload[1]!,
        rows: payload[2]! * 256 + payload[3]!,
      };
    case 'output-credit':
    case 'input-credit':
    case 'pipe-credit':
      return payload.length === 4 ? { kind, bytes: readU32(payload, 0) } : null;
    case 'raw-mode':
      return payload.length === 1 && payload[0]! <= 1 ? { kind, on: payload[0] === 1 } : null;
    case 'exit':
    case 'pipe-exit':
      return payload.length === 1 ? { kind, code: payload[0]! } : null;
  }
}

/** null: not UTF-8. */
function decodeText(payload: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload);
  } catch {
    return null;
  }
}

function decodeHello(payload: Uint8Array): ControlHello | null {
  let value: unknown;
  try {
    value = JSON.parse(decodeText(payload) ?? '');
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const fields = value as Record<string, unknown>;
  const { version, argv, columns, rows, isTerminal, timeZone } = fields;
  if (!isCount(version) || !isCount(columns) || !isCount(rows)) return null;
  if (typeof isTerminal !== 'boolean' || typeof timeZone !== 'string') return null;
  if (!Array.isArray(argv) || !argv.every((word) => typeof word === 'string')) return null;
  const hello = { version, argv, columns, rows, isTerminal, timeZone };
  if (fields.progress === undefined) return hello;
  const progress = decodeProgress(fields.progress);
  return progress && { ...hello, progress };
}

function decodeProgress(value: unknown): { inputBytes: number | null } | null {
  if (typeof value !== 'object' || value === null) return null;
  const { inputBytes } = value as Record<string, unknown>;
  if (inputBytes === null) return { inputBytes };
  const isLength = Number.isSafeInteger(inputBytes) && (inputBytes as number) >= 0;
  return isLength ? { inputBytes: inputBytes as number } : null;
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535;
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

function readU32(bytes: Uint8Array, at: number): number {
  return (
    bytes[at]! * 0x1000000 + bytes[at + 1]! * 0x10000 + bytes[at + 2]! * 0x100 + bytes[at + 3]!
  );
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
