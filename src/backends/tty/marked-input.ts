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

type ErrorKind = 'parity' | 'framing' | 'break';

/** Errors whose place is kept: so many at once, then so many a second. */
const PLACED_MAX = 32;
const PLACED_PER_SECOND = 16;

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
 * A flood of marks does not cut the bytes into single ones: of those beyond a budget a read tells the
 * count at its end.
 */
export class MarkedInput {
  readonly #sink: Pick<BackendSink, 'rx' | 'rxInto' | 'event'>;
  readonly #source: ErrorSource;
  readonly #timers: Pick<Timers, 'nowMs'>;
  #held: ParmrkHeld = 0;
  #placesLeft = PLACED_MAX;
  #placesAtMs: number;
  #isStopped = false;

  constructor(
    sink: Pick<BackendSink, 'rx' | 'rxInto' | 'event'>,
    source: ErrorSource,
    timers: Pick<Timers, 'nowMs'> = realTimers,
  ) {
    this.#sink = sink;
    this.#source = source;
    this.#timers = timers;
    this.#placesAtMs = timers.nowMs();
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

  /** The device left: what is held back of a mark is told now. */
  end(): void {
    const rest = endParmrk(this.#held);
    this.#held = 0;
    if (rest.length > 0 && !this.#isStopped) this.#sink.rx(rest);
    this.stop();
  }

  /** No call to the sink after this. */
  stop(): void {
    this.#isStopped = true;
  }

  #deliver({ bytes, marks }: ParmrkDecoded, given: number): void {
    let from = given;
    const giveUpTo = (to: number): void => {
      if (to <= from || this.#isStopped) return;
      this.#sink.rx(bytes.subarray(from, to));
      from = to;
    };
    const { placed, counts } = this.#place(marks);
    for (const { at, error } of placed) {
      giveUpTo(at);
      if (error === 'break') this.#tell({ kind: 'break' });
      else this.#tell({ kind: 'line-error', error, count: 1 });
    }
    giveUpTo(bytes.length);
    for (const [error, count] of counts) this.#tell({ kind: 'line-error', error, count });
  }

  #tell(event: Parameters<BackendSink['event']>[0]): void {
    if (!this.#isStopped) this.#sink.event(event);
  }

  /** Which marks are told where they stand, and how many of each kind are only counted. */
  #place(marks: readonly ParmrkMark[]): {
    placed: { at: number; error: ErrorKind }[];
    counts: Map<ErrorKind, number>;
  } {
    if (marks.length > 0) this.#source.refresh();
    const known = marks.map(({ at, kind }) => ({
      at,
      error: this.#errorOf(kind),
      hasPlace: this.#takePlace(),
    }));
    const counts = new Map<ErrorKind, number>();
    for (const { error, hasPlace } of known) {
      if (!hasPlace) counts.set(error, (counts.get(error) ?? 0) + 1);
    }
    // A lone count would be taken for that of the next byte (core/record.ts): it has its place too.
    for (const [error, count] of counts) if (count === 1) counts.delete(error);
    const placed = known.filter(({ error, hasPlace }) => hasPlace || !counts.has(error));
    return { placed, counts };
  }

  #errorOf(kind: ParmrkMark['kind']): ErrorKind {
    if (kind === 'bad') return this.#source.errorOfBadByte();
    this.#source.breakShown();
    return 'break';
  }

  #takePlace(): boolean {
    const nowMs = this.#timers.nowMs();
    const earned = Math.floor(((nowMs - this.#placesAtMs) * PLACED_PER_SECOND) / 1_000);
    if (earned > 0) {
      this.#placesLeft = Math.min(PLACED_MAX, this.#placesLeft + earned);
      this.#placesAtMs = nowMs;
    }
    if (this.#placesLeft === 0) return false;
    this.#placesLeft--;
    return true;
  }
}
