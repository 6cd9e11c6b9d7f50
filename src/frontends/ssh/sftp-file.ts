import { setImmediate as turn } from 'node:timers/promises';
import type { LogPlace, LogReader } from '../../core/log-reader.ts';
import type { Caller } from '../../core/user.ts';
import { LogFormatter } from '../../log/format.ts';
import { LogRange } from '../../log/range.ts';

export interface SftpFileOptions {
  fromUs: number;
  /** Exclusive; null: whatever comes. */
  untilUs: number | null;
  format: 'text' | 'raw';
  /** Aborted when the client leaves: a read under way rejects. */
  signal: AbortSignal;
}

/**
 * A stretch of a port's log as a file, made while it is read. It only ever grows at its end, so that
 * an interrupted copy can be taken up again. Reading on costs what is read; reading before the
 * last WINDOW_BYTES begins anew from the start.
 */
export class SftpFile {
  static async open(
    log: LogReader,
    caller: Caller,
    uuid: string,
    options: SftpFileOptions,
  ): Promise<SftpFile> {
    const { fromUs, untilUs } = options;
    const from: LogPlace = { at: 'time', us: fromUs };
    const until: LogPlace | null = untilUs === null ? null : { at: 'time', us: untilUs };
    const range = await LogRange.open(log, caller, uuid, from, until);
    return new SftpFile(range, options);
  }

  readonly #range: LogRange;
  readonly #start: LogRange['cursor'];
  readonly #options: SftpFileOptions;
  #formatter: LogFormatter;
  /** The last of what was made, in order; the first begins at `#windowAt`. */
  #window: Uint8Array[] = [];
  #windowAt = 0;
  #madeBytes = 0;
  #isWhole = false;

  private constructor(range: LogRange, options: SftpFileOptions) {
    this.#range = range;
    this.#start = range.cursor;
    this.#options = options;
    this.#formatter = newFormatter(options);
  }

  /** Up to `length` bytes; fewer only at the end as it is now, none at or beyond it. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset < this.#windowAt) this.#rewind();
    while (this.#madeBytes < offset + length && (await this.#make())) this.#forgetBefore(offset);
    const parts: Uint8Array[] = [];
    let at = this.#windowAt;
    for (const bytes of this.#window) {
      const part = bytes.subarray(Math.max(0, offset - at), Math.max(0, offset + length - at));
      if (part.length > 0) parts.push(part);
      at += bytes.length;
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** Bytes of the whole file as it is now, found by reading it: not to be mixed with `read`. */
  async size(): Promise<number> {
    while (await this.#make()) {
      this.#window = [];
      this.#windowAt = this.#madeBytes;
    }
    return this.#madeBytes;
  }

  /** Makes the next piece. False: there is no more for now. */
  async #make(): Promise<boolean> {
    while (!this.#isWhole) {
      this.#options.signal.throwIfAborted();
      const { records, atEnd } = await this.#range.next(BATCH_BYTES);
      await turn(); // others have their turn, whatever thread the log is read on
      const pieces = [this.#formatter.push(records)];
      if (this.#range.isEnded) {
        pieces.push(this.#formatter.end());
        this.#isWhole = true;
      }
      const made = pieces.filter((piece) => piece.length > 0);
      for (const piece of made) this.#madeBytes += piece.length;
      this.#window.push(...made);
      if (made.length > 0) return true;
      if (atEnd) return false;
    }
    return false;
  }

  #forgetBefore(offset: number): void {
    for (let first = this.#window[0]; first !== undefined; first = this.#window[0]) {
      const endsAt = this.#windowAt + first.length;
      if (endsAt > offset || this.#madeBytes - endsAt < WINDOW_BYTES) return;
      this.#window.shift();
      this.#windowAt = endsAt;
    }
  }

  #rewind(): void {
    this.#range.goTo(this.#start);
    this.#formatter = newFormatter(this.#options);
    this.#window = [];
    this.#windowAt = 0;
    this.#madeBytes = 0;
    this.#isWhole = false;
  }
}

/** Payload of the records formatted in one go: 1 ms or 2. */
const BATCH_BYTES = 65_536;
/** Kept of what was read already, for requests that come out of order. */
const WINDOW_BYTES = 262_144;

function newFormatter({ format }: SftpFileOptions): LogFormatter {
  return new LogFormatter(format, { timeZone: 'UTC', tx: false });
}
