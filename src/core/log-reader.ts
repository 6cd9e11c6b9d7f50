import type { LogRecord } from './record.ts';
import type { Caller } from './user.ts';

/** The next record wanted of a port: epochs in order, seq within. */
export interface LogCursor {
  epoch: number;
  seq: number;
}

/** One stretch of a port's log with provable continuity. */
export interface LogEpoch {
  epoch: number;
  firstSeq: number;
  /** One after the last committed record. */
  nextSeq: number;
  firstOffset: number;
  /** Offset of the next rx byte. */
  endOffset: number;
  firstUs: number;
  lastUs: number;
}

export interface LogPort {
  uuid: string;
  name: string;
  /** Oldest first; empty: nothing logged yet. */
  epochs: LogEpoch[];
  /** The caller lacks `tx` here: what was typed is withheld. */
  withholdsTx?: true;
}

export type LogPlace =
  | { at: 'start' }
  | { at: 'end' }
  /** In `epoch`, or in the newest that holds the offset. The record that contains it. */
  | { at: 'offset'; offset: number; epoch?: number }
  /** The first record at or after this time (in the order of the log). */
  | { at: 'time'; us: number }
  /** So many rx bytes before the end. */
  | { at: 'last-bytes'; bytes: number }
  /** So many lines (ended by LF) before the end. */
  | { at: 'last-lines'; lines: number }
  /** The start of the newest boot: the last start banner of a known system. */
  | { at: 'boot' };

export interface LogBatch {
  records: LogRecord[];
  next: LogCursor;
  /** Nothing committed after `next` at the time of reading. */
  atEnd: boolean;
}

/**
 * The committed log, read from a cursor. Pull only, stateless on the far side, so the same contract
 * holds in-thread, across a MessagePort and with no daemon at all. Authorizes `view`, and `tx` for
 * the text of tx records (without it their `bytes` come empty and tx-text records are left out).
 */
export interface LogReader {
  /** Ports the caller may view, or the one named (name, alias, unique prefix, or uuid). @throws Fault PORT_UNKNOWN. */
  ports(caller: Caller, name?: string): Promise<LogPort[]>;
  /** @throws Fault LOG_NOT_FOUND when the log holds no such place. */
  locate(caller: Caller, uuid: string, place: LogPlace): Promise<LogCursor>;
  /** Records from `from` on, whole records, about `bytesMax` of payload (at least one record). */
  read(caller: Caller, uuid: string, from: LogCursor, bytesMax: number): Promise<LogBatch>;
  /** Resolves true when something is committed at or after `from`, false after `timeoutMs`. */
  changed(caller: Caller, uuid: string, from: LogCursor, timeoutMs: number): Promise<boolean>;
}
