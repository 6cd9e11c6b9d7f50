import type { BackendSink } from '../../core/backend.ts';
import { realTimers } from '../../ports/timers.ts';
import type { Timers } from '../../ports/timers.ts';
import { decodeParmrk, endParmrk } from './parmrk.ts';
import type { ParmrkDecoded, ParmrkHeld, ParmrkMark } from './parmrk.ts';

/** Reads once into the memory it is given, as `BackendSink.rxInto` asks for it. */
export type ReadInto = (memory: Buffer, start: number, lengthMax: number) => number;

/** What is to be known of an error besides its mark. */
export interface ErrorSource {
  /** The driver may have counted errors since it was last asked. */
  refresh(): void;
  /** Which error the next bad byte had, as well as can be told. */
  errorOfBadByte(): 'parity' | 'framing';
  /** A BREAK came as a mark. */
  breakShown(): void;
}

type Counted = 'parity' | 'framing' | 'break';

/** Errors with a record of their own: so many at once, then so many a second. */
const OWN_RECORDS_MAX = 32;
const OWN_RECORDS_PER_SECOND = 2;
/** Errors beyond those are counted in one record of each kind so often. */
const SUMMARY_MS = 1_000;

/**
 * The input of a tty that marks errors (PARMRK). Bytes go where they would go without marks, straight
 * into the spool; a read with a mark in it is cut there: the bytes before the mark, the event, the
 * bytes after it, all of it before `receive` returns.
 *
 * What a kill -9 can do in a read with a ff in it, and in no other: during read(2) itself the log gets
 * the marks as the raw bytes ff 00 00, ff 00 c and ff ff; in the microseconds from there to the end of
 * `receive` what follows the first mark, less than the 4 KB of one read, is in no log; and so is a mark
 * that a read cut in two, at most two bytes of it, until the next read.
 *
 * A flood of marks costs a bounded number of records: errors over the budget are counted.
 */
export class MarkedInput {
  readonly #sink: Pick<BackendSink, 'rx' | 'rxInto' | 'event'>;
  readonly #source: ErrorSource;
  readonly #timers: Timers;
  #held: ParmrkHeld = 0;
  #ownRecords = OWN_RECORDS_MAX;
  #ownRecordsAtMs: number;
  /** Beyond the budget, not yet told. */
  readonly #untold: Record<Counted, number> = { parity: 0, framing: 0, break: 0 };
  #cancelTimer: (() => void) | null = null;
  #isStopped = false;

  constructor(
    sink: Pick<BackendSink, 'rx' | 'rxInto' | 'event'>,
    source: ErrorSource,
    timers: Timers = realTimers,
  ) {
    this.#sink = sink;
    this.#source = source;
    this.#timers = timers;
    this.#ownRecordsAtMs = timers.nowMs();
  }

  /** One read. Returns what `read` returned: how many bytes the tty gave, marks included. */
  receive(read: ReadInto): number {
    let count = 0;
    let given = 0;
    let decoded: ParmrkDecoded | null = null;
    this.#sink.rxInto((memory, start, lengthMax) => {
      count = read(memory, start, lengthMax);
      if (count <= 0) return count;
      const input = memory.subarray(start, start + count);
      if (this.#held === 0 && !input.includes(0xff)) return count;
      decoded = decodeParmrk(this.#held, input);
      this.#held = decoded.held;
      given = Math.min(decoded.marks[0]?.at ?? decoded.bytes.length, lengthMax);
      memory.set(decoded.bytes.subarray(0, given), start);
      // What is left of the read behind it must not be taken for bytes: core/spool.ts.
      if (given < count) memory[start + given] = 0xff;
      return given;
    });
    if (decoded !== null) this.#deliver(decoded, given);
    return count;
  }

  /** The device left: what is held back of a mark, and what was only counted, is told now. */
  end(): void {
    if (this.#isStopped) return;
    const rest = endParmrk(this.#held);
    this.#held = 0;
    if (rest.length > 0) this.#sink.rx(rest);
    this.#summarize(true);
    this.stop();
  }

  /** No call to the sink after this. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }

  #deliver({ bytes, marks }: ParmrkDecoded, given: number): void {
    let from = given;
    const giveUpTo = (to: number): void => {
      if (to > from && !this.#isStopped) this.#sink.rx(bytes.subarray(from, to));
      from = Math.max(from, to);
    };
    if (marks.length > 0) this.#source.refresh();
    for (const mark of marks) {
      const error = this.#errorOf(mark);
      if (!this.#takeOwnRecord()) {
        this.#untold[error]++;
        this.#cancelTimer ??= this.#timers.after(SUMMARY_MS, this.#onTimer);
        continue;
      }
      giveUpTo(mark.at);
      this.#summarize(false);
      if (this.#isStopped) return;
      this.#sink.event(
        error === 'break' ? { kind: 'break' } : { kind: 'line-error', error, count: 1 },
      );
    }
    giveUpTo(bytes.length);
  }

  #errorOf(mark: ParmrkMark): Counted {
    if (mark.kind === 'bad') return this.#source.errorOfBadByte();
    this.#source.breakShown();
    return 'break';
  }

  #takeOwnRecord(): boolean {
    const nowMs = this.#timers.nowMs();
    const earned = Math.floor(((nowMs - this.#ownRecordsAtMs) * OWN_RECORDS_PER_SECOND) / 1_000);
    if (earned > 0) {
      this.#ownRecords = Math.min(OWN_RECORDS_MAX, this.#ownRecords + earned);
      this.#ownRecordsAtMs = nowMs;
    }
    if (this.#ownRecords === 0) return false;
    this.#ownRecords--;
    return true;
  }

  readonly #onTimer = (): void => {
    this.#cancelTimer = null;
    this.#summarize(false);
  };

  /**
   * Tells the errors that got no record of their own; they lie before it. One parity or framing error
   * alone would be taken for that of the byte to come: it waits for a second one, or for the end.
   */
  #summarize(isLast: boolean): void {
    for (const error of ['parity', 'framing', 'break'] as const) {
      const count = this.#untold[error];
      if (this.#isStopped || count === 0) continue;
      if (count === 1 && error !== 'break' && !isLast) continue;
      this.#untold[error] = 0;
      this.#sink.event({ kind: 'line-error', error, count });
    }
  }
}
