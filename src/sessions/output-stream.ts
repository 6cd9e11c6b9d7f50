import type { Attached, SessionEvent } from '../core/attach.ts';
import type { Journal } from '../core/clock.ts';
import type { LogPlace, LogReader } from '../core/log-reader.ts';
import type { Caller } from '../core/user.ts';
import type { Timers } from '../ports/timers.ts';
import { sanitize, startSanitizer } from '../protocols/sanitize.ts';
import { QUERIES_START, stripQueries } from '../protocols/terminal-queries.ts';
import type { QueryState } from '../protocols/terminal-queries.ts';
import { History } from './history.ts';
import type { StreamPlace } from './history.ts';
import { notice, skippedNotice } from './notices.ts';
import { SCREEN_BYTES, restoreScreen } from './screen.ts';
import type { TerminalSize } from './screen.ts';
import type { Teller } from './teller.ts';

/** History that may be under way to the client at once. */
const HISTORY_BYTES_MAX = 65_536;
const HISTORY_PIECE_BYTES = 32_768;
/** Notices that may wait for the history before them. */
const HELD_NOTICES_MAX = 100;
/** Replays that may wait for each other. */
const WORKS_MAX = 10;

/** What goes to the client in order: bytes and what is told between them. */
export type StreamItem =
  Extract<SessionEvent, { kind: 'frame' | 'skipped' | 'epoch' }> | { kind: 'notice'; text: string };

export interface StreamOptions {
  attached: Attached;
  caller: Caller;
  log: LogReader;
  journal: Journal;
  timers: Timers;
  teller: Teller;
  write(bytes: Uint8Array, done: () => void): void;
  /** The client took so many bytes of frames. */
  credit(bytes: number): void;
  /** Whether there is a terminal at the far end, which might answer what a device asks. */
  isTerminal: boolean;
}

/**
 * One port's output on its way to one client: history from the log and live bytes without a seam,
 * notices in their place, nothing that makes a terminal answer but what the writer is to see live.
 */
export class OutputStream {
  readonly #options: StreamOptions;
  #isClosed = false;
  #isTerminal: boolean;

  /** Items wait while the stream's turn is the log's, or somebody types an answer. */
  #waiting: StreamItem[] = [];
  #heldNotices = 0;
  #isHolding = true;
  #works: (() => Promise<void>)[] = [];
  #isWorking = false;

  #history: History | null = null;
  #historyBytes = 0;
  #historyMayGoOn: (() => void) | null = null;
  /** Everything before this place was delivered, or told to be missing. */
  #at: StreamPlace;
  /** The log is followed up to here; a skip that begins here is filled from it. Null: joined. */
  #joinsAt: number | null = null;
  /** Each hole to fill must be smaller, or a client slower than its port would never see it live. */
  #fillBytesMax = Number.POSITIVE_INFINITY;

  #answers = false;
  #queries: QueryState = QUERIES_START;
  #diverted: ((bytes: Uint8Array) => Promise<void> | void) | null = null;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#isTerminal = options.isTerminal;
    const { epoch, offset } = options.attached;
    this.#at = { epoch, offset };
  }

  /** The client writes: what the device asks its terminal goes through. */
  set answers(answers: boolean) {
    this.#answers = answers;
  }

  /** Everything before this place was delivered, nothing after it; null: the log is being read. */
  get place(): StreamPlace | null {
    return this.#isHolding ? null : this.#at;
  }

  /** The client turned out to be a program: bytes go to it as they are. */
  becomeProgram(): void {
    this.#isTerminal = false;
  }

  /** Begins with history from a place, or with nothing. Items wait until then. */
  begin(from: LogPlace | null): void {
    this.#run(async () => {
      if (from !== null) await this.#joinHistory(from);
    });
  }

  /** Goes on where another stream of the same port stopped. */
  resume(place: StreamPlace): void {
    const { epoch, offset } = this.#at;
    if (place.epoch !== epoch || place.offset < offset) {
      this.begin({ at: 'offset', ...place });
      return;
    }
    this.#at = place;
    this.begin(null);
  }

  /**
   * Begins with the screen as it stands; `greet` is called between what scrolled off and what
   * is seen, with `greetingRows` left for it.
   */
  beginWithScreen(size: TerminalSize, greet: () => void, greetingRows: () => number): void {
    this.#run(() => this.#joinScreen(size, greet, greetingRows));
  }

  /** The last lines once more, from the log. */
  replay(lines: number): void {
    if (this.#works.length >= WORKS_MAX) return this.#options.teller.leaveOut();
    this.#run(async () => {
      this.#options.teller.must(lines === 1 ? 'the last line:' : `the last ${lines} lines:`);
      await this.#joinHistory({ at: 'last-lines', lines });
    });
  }

  /** What comes meanwhile waits, within the session's credit. */
  hold(until: Promise<unknown>): void {
    this.#run(async () => {
      await until.catch(() => undefined);
    });
  }

  /** Bytes of the device go there instead, as they are; null: to the client again. */
  divert(to: ((bytes: Uint8Array) => Promise<void> | void) | null): void {
    this.#diverted = to;
  }

  /** Delivers it, or has it wait its turn. */
  next(item: StreamItem): void {
    if (this.#isClosed) return;
    if (!this.#isHolding) {
      if (item.kind === 'skipped' && this.#mayFill(item)) this.#run(() => this.#fill(item));
      else this.#deliver(item);
    } else if (item.kind === 'notice' && ++this.#heldNotices > HELD_NOTICES_MAX) {
      this.#options.teller.leaveOut();
    } else this.#waiting.push(item);
  }

  /** Nothing more is written. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
    this.#works = [];
    this.#historyMayGoOn?.();
  }

  #deliver(item: StreamItem): void {
    switch (item.kind) {
      case 'frame': {
        if (this.#joinsAt !== null && item.offset >= this.#joinsAt) this.#joinsAt = null;
        const { epoch, offset, bytes } = item;
        const from = this.#unseenFrom(epoch, offset);
        this.#at = { epoch, offset: Math.max(offset + bytes.length, from) };
        this.#deliverBytes(bytes.subarray(from - offset), bytes.length);
        break;
      }
      case 'skipped': {
        const from = this.#unseenFrom(item.epoch, item.from);
        if (from >= item.to) break;
        this.#begunAnewAt({ epoch: item.epoch, offset: item.to });
        this.#options.teller.must(skippedNotice(from, item.to));
        break;
      }
      case 'epoch':
        this.#begunAnewAt({ epoch: item.epoch, offset: item.offset });
        this.#options.teller.must('continuity is not proven here: a new epoch begins');
        break;
      case 'notice':
        this.#heldNotices = Math.max(0, this.#heldNotices - 1);
        this.#options.teller.tell(item.text);
    }
  }

  /** What lies before was seen already, if the stream began at a later place. */
  #unseenFrom(epoch: number, offset: number): number {
    return epoch === this.#at.epoch ? Math.max(this.#at.offset, offset) : offset;
  }

  #deliverBytes(bytes: Uint8Array, creditBytes: number): void {
    const { write, credit } = this.#options;
    const taken = (): void => credit(creditBytes);
    if (this.#diverted) {
      const passed = this.#diverted(bytes);
      if (passed) void passed.then(taken, taken);
      else taken();
      return;
    }
    const isAsked = this.#answers || !this.#isTerminal;
    if (isAsked) this.#release();
    const shown = isAsked ? bytes : this.#strip(bytes);
    if (shown.length > 0) write(shown, taken);
    else taken();
  }

  #begunAnewAt(place: StreamPlace): void {
    this.#joinsAt = null;
    this.#at = place;
    this.#queries = QUERIES_START;
  }

  #strip(bytes: Uint8Array): Uint8Array {
    const step = stripQueries(this.#queries, bytes);
    this.#queries = step.state;
    return step.bytes;
  }

  /** What was begun and withheld goes out as it is: its end comes live, to whom it is meant for. */
  #release(): void {
    const { held } = this.#queries;
    this.#queries = QUERIES_START;
    if (held.length === 0 || this.#isClosed) return;
    this.#options.write(Uint8Array.from(held), () => undefined);
  }

  // The turn of the log, or of a question.

  /** Runs one work after the other while live items wait, then lets them follow. */
  #run(work: () => Promise<void>): void {
    this.#works.push(work);
    this.#isHolding = true;
    if (!this.#isWorking) void this.#work();
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    while (!this.#isClosed) {
      const work = this.#works.shift();
      if (work) {
        await work();
        continue;
      }
      const item = this.#waiting.shift();
      if (!item) break;
      if (item.kind === 'skipped' && this.#mayFill(item)) await this.#fill(item);
      else this.#deliver(item);
    }
    this.#isWorking = false;
    this.#isHolding = false;
  }

  async #joinHistory(from: LogPlace): Promise<void> {
    const live = this.#at;
    this.#queries = QUERIES_START;
    try {
      const sink = {
        write: (bytes: Uint8Array) => this.#writeHistory(bytes),
        notice: (text: string) => this.#options.teller.must(text),
      };
      this.#history = await History.begin(this.#source(), sink, from, live);
      if (await this.#history.deliver(live)) this.#joinsAt = this.#endOfHeldFrames(live.offset);
    } catch (error) {
      this.#historyFailed(error);
    }
    this.#joined();
  }

  async #joinScreen(
    size: TerminalSize,
    greet: () => void,
    greetingRows: () => number,
  ): Promise<void> {
    const live = this.#at;
    let tail: Tail | null = new Tail();
    const sink = {
      write: async (bytes: Uint8Array) => {
        if (tail === null) return this.#writeHistory(bytes);
        tail.add(bytes);
        return !this.#isClosed;
      },
      notice: (text: string) => {
        // One who watched would have seen it there.
        if (tail === null) this.#options.teller.must(text);
        else tail.add(notice(text));
      },
    };
    try {
      const last = { at: 'last-bytes', bytes: SCREEN_BYTES } as const;
      this.#history = await History.begin(this.#source(), sink, last, live);
      const isOpen = await this.#history.deliver(live);
      const bytes = tail.take();
      tail = null;
      await this.#showScreen(bytes, size, greet, greetingRows);
      if (isOpen) this.#joinsAt = this.#endOfHeldFrames(live.offset);
      greet();
    } catch (error) {
      greet();
      this.#historyFailed(error);
    }
    this.#joined();
  }

  async #showScreen(
    bytes: Uint8Array,
    size: TerminalSize,
    greet: () => void,
    greetingRows: () => number,
  ): Promise<void> {
    if (bytes.length === 0) return;
    this.#queries = QUERIES_START;
    const safe = this.#strip(bytes);
    const { timers, attached, journal } = this.#options;
    try {
      const { older, screen } = await restoreScreen(safe, size, greetingRows(), timers);
      await this.#writePieces(older);
      greet();
      await this.#writePieces(screen);
    } catch (error) {
      const { session, port } = attached;
      journal.warn({ session, port, err: error }, 'screen could not be restored');
      greet();
      this.#options.teller.must('the screen cannot be shown as it stands; its last lines:');
      await this.#writePieces(lastLines(safe, size.rows));
    }
  }

  /** History is through; an unfinished sequence goes on live. */
  #joined(): void {
    if (this.#answers || !this.#isTerminal) this.#release();
  }

  /** A skip that began while the log was read is no hole: the log goes on there. */
  #mayFill({ from, to }: { from: number; to: number }): boolean {
    return this.#history !== null && from === this.#joinsAt && to - from <= this.#fillBytesMax;
  }

  async #fill({ epoch, from, to }: { epoch: number; from: number; to: number }): Promise<void> {
    this.#fillBytesMax = (to - from) / 2;
    this.#joinsAt = null;
    try {
      if (await this.#history!.deliverFrom({ epoch, offset: from }, { epoch, offset: to })) {
        this.#joinsAt = this.#endOfHeldFrames(to);
      }
    } catch (error) {
      this.#historyFailed(error);
    }
    this.#at = { epoch, offset: to };
    this.#joined();
  }

  /** Where the frames that wait end: there a skip began, if one did. */
  #endOfHeldFrames(from: number): number {
    let end = from;
    for (const item of this.#waiting) {
      if (item.kind === 'frame') end = item.offset + item.bytes.length;
      else if (item.kind !== 'notice') break;
    }
    return end;
  }

  #source(): { log: LogReader; caller: Caller; uuid: string } {
    const { log, caller, attached } = this.#options;
    return { log, caller, uuid: attached.uuid };
  }

  #historyFailed(error: unknown): void {
    const { session, port } = this.#options.attached;
    this.#history = null;
    this.#joinsAt = null;
    this.#options.journal.warn({ session, port, err: error }, 'history could not be read');
    const why = error instanceof Error ? error.message : String(error);
    this.#options.teller.must(`no history: ${why}`);
  }

  #writeHistory(bytes: Uint8Array): Promise<boolean> {
    return this.#writePieces(this.#isTerminal ? this.#strip(bytes) : bytes);
  }

  async #writePieces(bytes: Uint8Array): Promise<boolean> {
    for (let from = 0; from < bytes.length; from += HISTORY_PIECE_BYTES) {
      const piece = bytes.subarray(from, from + HISTORY_PIECE_BYTES);
      while (this.#historyBytes + piece.length > HISTORY_BYTES_MAX && !this.#isClosed) {
        await new Promise<void>((resolve) => (this.#historyMayGoOn = resolve));
      }
      if (this.#isClosed) return false;
      this.#historyBytes += piece.length;
      this.#options.write(piece, () => {
        this.#historyBytes -= piece.length;
        this.#historyMayGoOn?.();
      });
    }
    return !this.#isClosed;
  }
}

/** The end of what is added, bounded. */
class Tail {
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #isCut = false;

  add(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes > 2 * SCREEN_BYTES) this.#cut();
  }

  take(): Uint8Array {
    this.#cut();
    const bytes = Buffer.concat(this.#parts);
    // Where it was cut may be within a sequence, which would be shown as text.
    const lineEnd = this.#isCut ? bytes.subarray(0, CUT_BYTES_MAX).indexOf(LF) : -1;
    return bytes.subarray(lineEnd + 1);
  }

  #cut(): void {
    if (this.#bytes < SCREEN_BYTES) return;
    this.#isCut = true;
    this.#parts = [Buffer.concat(this.#parts).subarray(-SCREEN_BYTES)];
    this.#bytes = SCREEN_BYTES;
  }
}

const LF = 0x0a;
const CUT_BYTES_MAX = 1_024;

/** As plain text. */
function lastLines(bytes: Uint8Array, rows: number): Uint8Array {
  const text = Buffer.from(sanitize(startSanitizer('text'), bytes).bytes).toString();
  return Buffer.from(text.split('\n').slice(-rows).join('\r\n'));
}
