import { RECORD_KINDS, type RecordBody, type RecordKind } from '../core/record.ts';
import { ByteReader, damaged, VARINT_BYTES_MAX, writeVarint } from './bytes.ts';

/**
 * A record's body as the bytes that the spool and the log keep. rx: the bytes themselves. tx:
 * varint session, varint count, bytes. tx-text: varint session, bytes. All others are rare: compact
 * JSON of their fields, so that a log file stays readable for ever.
 */
export function encodeBody(body: RecordBody): Uint8Array {
  switch (body.kind) {
    case 'rx':
      return body.bytes;
    case 'tx':
      return withNumbers([body.session, body.count], body.bytes);
    case 'tx-text':
      return withNumbers([body.session], body.bytes);
    default:
      return Buffer.from(JSON.stringify({ ...body, kind: undefined }), 'utf8');
  }
}

/**
 * The inverse of `encodeBody`. Total: any payload gives a body or a Fault. Bytes of rx, tx and
 * tx-text are views of `payload`.
 * @throws Fault LOG_DAMAGED.
 */
export function decodeBody(kind: RecordKind, payload: Uint8Array): RecordBody {
  if (kind === 'rx') return { kind, bytes: payload };
  if (kind === 'tx') {
    const reader = new ByteReader(payload);
    return { kind, session: reader.varint(), count: reader.varint(), bytes: reader.rest() };
  }
  if (kind === 'tx-text') {
    const reader = new ByteReader(payload);
    return { kind, session: reader.varint(), bytes: reader.rest() };
  }
  return decodeFields(kind, parseFields(payload));
}

const KIND_NAMES = new Map(
  Object.entries(RECORD_KINDS).map(([name, code]) => [code as number, name as RecordKind]),
);

/** The kind of a stored number; null when no Fairlead up to this one has written it. */
export function kindOfCode(code: number): RecordKind | null {
  return KIND_NAMES.get(code) ?? null;
}

type Fields = Record<string, unknown>;
type OtherKind = Exclude<RecordKind, 'rx' | 'tx' | 'tx-text'>;

function decodeFields(kind: OtherKind, fields: Fields): RecordBody {
  switch (kind) {
    case 'break':
      return {
        kind,
        session: orNull(fields, 'session', count),
        durationMs: orNull(fields, 'durationMs', number),
      };
    case 'line-error':
      return {
        kind,
        error: oneOf(fields, 'error', ['parity', 'framing', 'overrun', 'break']),
        count: count(fields, 'count'),
        ...(fields.from === undefined ? {} : { from: count(fields, 'from') }),
      };
    case 'signals':
      return { kind, signals: signals(fields), session: orNull(fields, 'session', count) };
    case 'gap': {
      const [from, to] = [count(fields, 'from'), count(fields, 'to')];
      const seqs = count(fields, 'seqs');
      if (to < from || seqs < 1) throw damaged('a gap record covers less than nothing');
      const reason = text(fields, 'reason');
      return { kind, from, to, count: orNull(fields, 'count', count), reason, seqs };
    }
    case 'mark':
      return { kind, text: text(fields, 'text') };
    case 'clock-step':
      return { kind, stepUs: number(fields, 'stepUs') };
    case 'up':
      return { kind, detail: text(fields, 'detail') };
    case 'down':
      return { kind, why: text(fields, 'why') };
    case 'attached':
      return {
        kind,
        session: count(fields, 'session'),
        user: text(fields, 'user'),
        remote: text(fields, 'remote'),
        frontend: text(fields, 'frontend'),
        mode: oneOf(fields, 'mode', ['write', 'view']),
      };
    case 'detached':
      return { kind, session: count(fields, 'session'), why: text(fields, 'why') };
    case 'took-over':
      return { kind, session: count(fields, 'session'), from: orNull(fields, 'from', count) };
    case 'line':
      return {
        kind,
        line: text(fields, 'line'),
        session: orNull(fields, 'session', count),
      };
    case 'garbled': {
      const [from, to] = [count(fields, 'from'), count(fields, 'to')];
      if (to < from) throw damaged('a garbled stretch ends before it begins');
      const looksLike = orNull(fields, 'looksLike', text);
      return { kind, from, to, looksLike, confidence: number(fields, 'confidence') };
    }
  }
}

function withNumbers(numbers: readonly number[], bytes: Uint8Array): Uint8Array {
  const payload = Buffer.allocUnsafe(numbers.length * VARINT_BYTES_MAX + bytes.length);
  let at = 0;
  for (const value of numbers) at = writeVarint(payload, at, value);
  payload.set(bytes, at);
  return payload.subarray(0, at + bytes.length);
}

function parseFields(payload: Uint8Array): Fields {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString());
  } catch {
    throw damaged('a record is not readable');
  }
  if (typeof value !== 'object' || value === null) throw damaged('a record is not readable');
  return value as Fields;
}

function count(fields: Fields, name: string): number {
  const value = fields[name];
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw wrong(name);
  return value as number;
}

function number(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number') throw wrong(name);
  return value;
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw wrong(name);
  return value;
}

function oneOf<Word extends string>(fields: Fields, name: string, words: readonly Word[]): Word {
  const value = fields[name];
  const word = words.find((one) => one === value);
  if (word === undefined) throw wrong(name);
  return word;
}

function orNull<Value>(
  fields: Fields,
  name: string,
  read: (fields: Fields, name: string) => Value,
): Value | null {
  return fields[name] === null ? null : read(fields, name);
}

const SIGNAL_NAMES = ['dtr', 'rts', 'cts', 'dsr', 'dcd', 'ri'] as const;

function signals(fields: Fields): Partial<Record<(typeof SIGNAL_NAMES)[number], boolean>> {
  const stored = fields.signals;
  if (typeof stored !== 'object' || stored === null) throw wrong('signals');
  const states: Partial<Record<(typeof SIGNAL_NAMES)[number], boolean>> = {};
  for (const name of SIGNAL_NAMES) {
    const value = (stored as Fields)[name];
    if (typeof value === 'boolean') states[name] = value;
    else if (value !== undefined) throw wrong('signals');
  }
  return states;
}

function wrong(name: string) {
  return damaged(`a record has no valid "${name}"`);
}
