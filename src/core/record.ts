import type { FormattedLineSettings, SignalStates } from './line-settings.ts';

/**
 * What the log holds, one by one and in order (DESIGN 2). `seq` numbers the records of a port in
 * its epoch, every kind counted; `offset` counts the rx bytes read before this record. The numbers
 * of the kinds are stored for ever: never change or reuse one.
 */
export const RECORD_KINDS = {
  rx: 1,
  tx: 2,
  'tx-text': 3,
  break: 4,
  'line-error': 5,
  signals: 6,
  gap: 7,
  mark: 8,
  'clock-step': 9,
  up: 10,
  down: 11,
  attached: 12,
  detached: 13,
  'took-over': 14,
  line: 15,
  garbled: 16,
} as const;

export type RecordKind = keyof typeof RECORD_KINDS;

/**
 * What went wrong on the wire. `parity`, `framing`: the rx byte that follows the record is the bad
 * one (but of CDC-ACM adapters, which only count: it came in the 200 ms before); with `count` over 1
 * the errors were too many for a record each, and lie before it. `overrun`:
 * the UART or the driver lost at least `count` bytes here. `break`: BREAKs beyond those with a record
 * of their own.
 */
export interface LineError {
  error: 'parity' | 'framing' | 'overrun' | 'break';
  count: number;
  /**
   * Too many for a record each: all of them, be it only one, lie between this rx offset and the
   * record. Set by the port, never by a backend.
   */
  from?: number;
}

export interface RecordHead {
  epoch: number;
  seq: number;
  /** rx bytes read from the port in this epoch before this record. */
  offset: number;
  /** Microseconds since the Unix epoch. */
  atUs: number;
}

export type RecordBody =
  /** Bytes from the device, as one read returned them. */
  | { kind: 'rx'; bytes: Uint8Array }
  /** Bytes to the device. `bytes` is empty when input is masked: then only `count` is known. */
  | { kind: 'tx'; session: number; count: number; bytes: Uint8Array }
  /** Typed bytes that the device echoed within 2 s, so they were no secret. */
  | { kind: 'tx-text'; session: number; bytes: Uint8Array }
  /** BREAK: `session` null when the device sent it. */
  | { kind: 'break'; session: number | null; durationMs: number | null }
  | ({ kind: 'line-error' } & LineError)
  | { kind: 'signals'; signals: SignalStates; session: number | null }
  /**
   * rx bytes from..to of this epoch are missing. `count` null: nobody can know how many. `seqs`: the
   * record stands for this many seq numbers, its own and those of the records lost with the bytes.
   */
  | { kind: 'gap'; from: number; to: number; count: number | null; reason: string; seqs: number }
  | { kind: 'mark'; text: string }
  | { kind: 'clock-step'; stepUs: number }
  | { kind: 'up'; detail: string }
  | { kind: 'down'; why: string }
  | {
      kind: 'attached';
      session: number;
      user: string;
      remote: string;
      frontend: string;
      mode: 'write' | 'view';
    }
  | { kind: 'detached'; session: number; why: string }
  /** Write went to `session`; `from` had it before (null: nobody). */
  | { kind: 'took-over'; session: number; from: number | null }
  | { kind: 'line'; line: FormattedLineSettings; session: number | null }
  /**
   * The rx bytes from..to of this epoch were sent at other line settings than the port's: nothing was
   * changed. `looksLike` null: no settings explain them. `confidence` 0 to 1.
   */
  | {
      kind: 'garbled';
      from: number;
      to: number;
      looksLike: FormattedLineSettings | null;
      confidence: number;
    };

export type LogRecord = RecordHead & RecordBody;

/** How many seq numbers a record stands for: 1, but for a gap that swallowed records. */
export function seqsOf(record: RecordBody): number {
  return record.kind === 'gap' ? record.seqs : 1;
}

/** How far a record moves the offset: its rx bytes, or the bytes a gap covers. */
export function offsetsOf(record: RecordBody): number {
  if (record.kind === 'rx') return record.bytes.length;
  return record.kind === 'gap' ? record.to - record.from : 0;
}
