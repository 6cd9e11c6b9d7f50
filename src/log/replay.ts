/**
 * Plays what a port said with the times at which it said it. Knows nothing of terminals, the log or
 * the clock of this machine: it takes batches from a source, waits by the timer given, and writes.
 *
 * Play time starts at 0 with the first piece and grows by the recorded time from piece to piece: a
 * step back in time counts as 0, an idle stretch as `idleMaxUs` at most. Speed divides the waiting,
 * never the play time, so seeks mean the same at every speed.
 */
export class Replay<Mark> {
  readonly #source: ReplaySource<Mark>;
  readonly #timer: ReplayTimer;
  readonly #output: ReplayOutput;
  readonly #idleMaxUs: number;
  #speed: number;

  readonly #queue: TimedPiece[] = [];
  #fetching: Promise<void> | null = null;
  #sourceIsAtEnd = false;
  /** Of the last piece fetched; where the next batch goes on. */
  #fetched: Timeline = { playUs: 0, atUs: null, bytes: 0 };
  #checkpoints: Checkpoint<Mark>[] = [];

  /** Play time `playUs` was, or will be, reached at `ms` of the timer. */
  #anchor = { ms: 0, playUs: 0 };
  #last: TimedPiece | null = null;
  /** What the screen holds goes up to here. */
  #playedUs = 0;
  /** Up to here without waiting. */
  #fastForwardUs: number | null = null;
  #isPaused = false;
  #isHeld = false;
  #holdIsStale = false;
  #isStopped = false;
  #steps = 0;
  #seekUs: number | null = null;
  #wake: () => void = () => {};

  constructor(
    source: ReplaySource<Mark>,
    timer: ReplayTimer,
    output: ReplayOutput,
    options: ReplayOptions = {},
  ) {
    this.#source = source;
    this.#timer = timer;
    this.#output = output;
    this.#speed = clampSpeed(options.speed ?? 1);
    this.#idleMaxUs = options.idleMaxUs ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Resolves at the end of the source (unless paused there: a seek back is still possible), or on
   * `stop`. Rejects when source or output do.
   */
  async run(): Promise<'ended' | 'stopped'> {
    this.#anchor = { ms: this.#timer.nowMs(), playUs: 0 };
    for (;;) {
      if (this.#isStopped) {
        if (this.#isHeld) await this.#release();
        return 'stopped';
      }
      if (this.#seekUs !== null) {
        await this.#seek(this.#seekUs);
        continue;
      }
      await this.#fill();
      if (this.#isStopped || this.#seekUs !== null) continue;
      const head = this.#queue[0];
      if (this.#fastForwardUs !== null) await this.#fastForward(this.#fastForwardUs, head);
      else if (this.#isPaused && (this.#steps === 0 || !head)) await this.#hold();
      else if (this.#isHeld) await this.#release();
      else if (!head) return 'ended';
      else if (this.#steps > 0) {
        this.#steps--;
        this.#anchor = { ms: this.#timer.nowMs(), playUs: head.playUs };
        await this.#writeUntil(head.playUs, 1);
      } else await this.#play(head);
    }
  }

  /** Where it is: for a person to read, and to start the next replay from. */
  place(): ReplayPlace {
    const playUs = this.#nowPlayUs();
    const last = this.#last;
    return {
      playUs,
      atUs: last === null ? null : last.piece.atUs + Math.max(0, playUs - last.playUs),
      epoch: last?.piece.epoch ?? null,
      offset: last === null ? null : last.piece.offset + last.piece.bytes.length,
      speed: this.#speed,
      isPaused: this.#isPaused,
    };
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#anchor = { ms: this.#timer.nowMs(), playUs: this.#nowPlayUs() };
    this.#isPaused = true;
    this.#wake();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#anchor.ms = this.#timer.nowMs();
    this.#isPaused = false;
    this.#steps = 0;
    this.#wake();
  }

  /** When paused: the next piece, whatever its time. */
  step(): void {
    if (!this.#isPaused) return;
    this.#steps++;
    this.#wake();
  }

  /** Seconds of play time, forward or back. Several add up. */
  seekBy(seconds: number): void {
    const from = this.#seekUs ?? this.#fastForwardUs ?? this.#nowPlayUs();
    this.#seekUs = Math.max(0, from + seconds * 1_000_000);
    this.#wake();
  }

  setSpeed(speed: number): void {
    this.#anchor = { ms: this.#timer.nowMs(), playUs: this.#nowPlayUs() };
    this.#speed = clampSpeed(speed);
    this.#holdIsStale = this.#isHeld;
    this.#wake();
  }

  get speed(): number {
    return this.#speed;
  }

  stop(): void {
    this.#isStopped = true;
    this.#wake();
  }

  async #play(head: TimedPiece): Promise<void> {
    const dueMs = this.#anchor.ms + (head.playUs - this.#anchor.playUs) / 1000 / this.#speed;
    const delayMs = dueMs - this.#timer.nowMs();
    if (delayMs > 0) await this.#wait(Math.min(delayMs, WAIT_MS_MAX));
    else await this.#writeUntil(Math.max(head.playUs, this.#clockUs()));
  }

  async #fastForward(targetUs: number, head: TimedPiece | undefined): Promise<void> {
    if (head && head.playUs <= targetUs) {
      await this.#writeUntil(targetUs);
      return;
    }
    this.#anchor = { ms: this.#timer.nowMs(), playUs: head ? targetUs : this.#playedUs };
    this.#fastForwardUs = null;
  }

  async #hold(): Promise<void> {
    this.#steps = 0;
    if (!this.#isHeld || this.#holdIsStale) {
      this.#isHeld = true;
      this.#holdIsStale = false;
      return this.#output.hold(this.place());
    }
    await this.#wait(null);
  }

  async #release(): Promise<void> {
    this.#isHeld = false;
    await this.#output.release();
  }

  /** Writes what is queued up to this play time as one, then takes it from the queue. */
  async #writeUntil(playUs: number, piecesMax = Number.POSITIVE_INFINITY): Promise<void> {
    let count = 0;
    let bytes = 0;
    for (const timed of this.#queue) {
      if (timed.playUs > playUs || count >= piecesMax || bytes >= WRITE_BYTES_MAX) break;
      bytes += timed.piece.bytes.length;
      count++;
    }
    const pieces = this.#queue.splice(0, count);
    this.#last = pieces.at(-1)!;
    this.#playedUs = this.#last.playUs;
    await this.#output.write(joined(pieces, bytes));
  }

  async #seek(targetUs: number): Promise<void> {
    this.#seekUs = null;
    if (this.#isHeld) await this.#release();
    this.#fastForwardUs = targetUs;
    if (targetUs >= this.#playedUs) return;
    if (this.#fetching) await this.#fetching;
    const before = this.#checkpoints.findLast((checkpoint) => checkpoint.playUs <= targetUs);
    const enough = (before?.bytes ?? 0) - REBUILD_BYTES;
    const checkpoint =
      this.#checkpoints.findLast((candidate) => candidate.bytes <= enough) ?? this.#checkpoints[0]!;
    this.#source.goTo(checkpoint.mark);
    this.#checkpoints = this.#checkpoints.slice(0, this.#checkpoints.indexOf(checkpoint));
    this.#fetched = checkpoint;
    this.#playedUs = checkpoint.playUs;
    this.#queue.length = 0;
    this.#sourceIsAtEnd = false;
    await this.#output.restart();
  }

  /** What the timer says; may be ahead of what could be written. */
  #clockUs(): number {
    const { ms, playUs } = this.#anchor;
    if (this.#isPaused) return playUs;
    return playUs + Math.max(0, (this.#timer.nowMs() - ms) * 1000 * this.#speed);
  }

  /** Waiting for a slow terminal or source does not move the place past what was not played. */
  #nowPlayUs(): number {
    const next = this.#queue[0]?.playUs ?? this.#playedUs;
    return Math.max(this.#anchor.playUs, Math.min(this.#clockUs(), next));
  }

  /** Holds a batch in hand and fetches the next one ahead. */
  async #fill(): Promise<void> {
    if (this.#queue.length === 0) {
      while (this.#queue.length === 0 && !this.#sourceIsAtEnd) await this.#fetch();
    } else if (this.#queue.length < QUEUE_LOW && !this.#sourceIsAtEnd && !this.#fetching) {
      // Awaited by the next `#fill` that finds the queue empty; a failure surfaces there.
      this.#fetch().catch(() => {});
    }
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchBatch().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }

  async #fetchBatch(): Promise<void> {
    const batch = await this.#source.next();
    if (batch === null) {
      this.#sourceIsAtEnd = true;
      return;
    }
    this.#checkpoints.push({ ...this.#fetched, mark: batch.mark });
    if (this.#checkpoints.length > CHECKPOINTS_MAX) {
      this.#checkpoints = this.#checkpoints.filter((_, index) => index % 2 === 0);
    }
    for (const piece of batch.pieces) {
      const { playUs, atUs, bytes } = this.#fetched;
      const passedUs = atUs === null ? 0 : Math.max(0, piece.atUs - atUs);
      const timed = { piece, playUs: playUs + Math.min(passedUs, this.#idleMaxUs) };
      this.#fetched = {
        playUs: timed.playUs,
        atUs: piece.atUs,
        bytes: bytes + piece.bytes.length,
      };
      this.#queue.push(timed);
    }
  }

  /** Until the time is up or something was asked for. */
  #wait(delayMs: number | null): Promise<void> {
    return new Promise((resolve) => {
      let cancel = (): void => {};
      this.#wake = () => {
        cancel();
        this.#wake = () => {};
        resolve();
      };
      if (delayMs !== null) cancel = this.#timer.after(delayMs, () => this.#wake());
    });
  }
}

/** What a port said in one read. */
export interface ReplayPiece {
  atUs: number;
  epoch: number;
  offset: number;
  bytes: Uint8Array;
}

/** `Mark`: whatever names the place of a batch to the source. */
export interface ReplaySource<Mark> {
  /** The next batch, bounded; null at the end. */
  next(): Promise<{ mark: Mark; pieces: ReplayPiece[] } | null>;
  /** `next` gives the batch of this mark again. */
  goTo(mark: Mark): void;
}

/** A clock that never steps, and its timer. */
export interface ReplayTimer {
  nowMs(): number;
  /** Calls `run` once after `delayMs`; returns its cancellation. */
  after(delayMs: number, run: () => void): () => void;
}

/** Calls come one at a time, each after the one before it resolved. */
export interface ReplayOutput {
  write(bytes: Uint8Array): Promise<void>;
  /** A seek back: what follows begins at an earlier point, on a clear screen. */
  restart(): Promise<void>;
  /** Paused, here. */
  hold(place: ReplayPlace): Promise<void>;
  /** Goes on after `hold`. */
  release(): Promise<void>;
}

export interface ReplayOptions {
  /** Default 1; kept within `REPLAY_SPEED_MIN..MAX`. */
  speed?: number;
  /** Longest wait in play time. Default: none. */
  idleMaxUs?: number;
}

export interface ReplayPlace {
  playUs: number;
  /** Recorded time; null before the first piece. */
  atUs: number | null;
  epoch: number | null;
  /** Of the next byte. */
  offset: number | null;
  speed: number;
  isPaused: boolean;
}

export const REPLAY_SPEED_MIN = 1 / 16;
export const REPLAY_SPEED_MAX = 1024;

interface TimedPiece {
  piece: ReplayPiece;
  playUs: number;
}

interface Timeline {
  playUs: number;
  atUs: number | null;
  bytes: number;
}

interface Checkpoint<Mark> extends Timeline {
  mark: Mark;
}

/** After a seek back this much is played at once, so that the screen is whole again. */
const REBUILD_BYTES = 65_536;
const WRITE_BYTES_MAX = 65_536;
const QUEUE_LOW = 256;
/** Timers hold no more than 31 bits; what is still to wait is waited for again. */
const WAIT_MS_MAX = 86_400_000;
const CHECKPOINTS_MAX = 8192;

function clampSpeed(speed: number): number {
  return Math.min(REPLAY_SPEED_MAX, Math.max(REPLAY_SPEED_MIN, speed));
}

function joined(pieces: readonly TimedPiece[], length: number): Uint8Array {
  if (pieces.length === 1) return pieces[0]!.piece.bytes;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const { piece } of pieces) {
    bytes.set(piece.bytes, at);
    at += piece.bytes.length;
  }
  return bytes;
}
