import type { Timers } from './timers.ts';

/** Live bytes of one port for these sessions. */
export interface LiveFrame {
  sessions: readonly number[];
  epoch: number;
  offset: number;
  atUs: number;
  bytes: Uint8Array;
}

/** With more frames than this in `GATHER_MS` a port streams: nobody waits for an echo. */
const FRAMES_AT_ONCE_MAX = 4;
/** What is less work than this in that time, each frame for each session, can go on as it comes. */
const WRITES_AT_ONCE_MAX = 40;
/** As long as the capture thread lets a line fill that streams. */
const GATHER_MS = 10;
/** Frames that were gathered are one of at most this size, so that credit returns by and by. */
const GATHERED_BYTES_MAX = 16_384;

/**
 * The live bytes of one port on their way to its sessions. Frames go on at once while they are few;
 * of a port that streams to many those of 10 ms go on as one. Fifty readers cost fifty writes for
 * each frame, whatever its size: with a frame for every poller event their thread would have time for
 * nothing else, and each of them would lag until it is too slow.
 */
export class FrameGatherer {
  readonly #timers: Timers;
  readonly #handOn: (frame: LiveFrame) => void;
  #sinceMs = Number.NEGATIVE_INFINITY;
  /** Since then; while the port streams, since the timer was set. */
  #frames = 0;
  #writes = 0;
  #streams = false;
  #held: { first: LiveFrame; parts: Uint8Array[]; bytes: number } | null = null;

  constructor(timers: Timers, handOn: (frame: LiveFrame) => void) {
    this.#timers = timers;
    this.#handOn = handOn;
  }

  add(frame: LiveFrame): void {
    if (this.#streams) this.#frames++;
    else this.#count(frame);
    if (this.#streams) this.#hold(frame);
    else this.#handOn(frame);
  }

  /** Hands on what is held: something comes that must not overtake it. */
  flush(): void {
    const held = this.#held;
    if (held === null) return;
    this.#held = null;
    const { first, parts } = held;
    this.#handOn(parts.length === 1 ? first : { ...first, bytes: Buffer.concat(parts) });
  }

  #count({ sessions }: LiveFrame): void {
    const nowMs = this.#timers.nowMs();
    if (nowMs - this.#sinceMs > GATHER_MS) {
      this.#sinceMs = nowMs;
      this.#frames = this.#writes = 0;
    }
    this.#frames++;
    this.#writes += sessions.length;
    if (this.#frames <= FRAMES_AT_ONCE_MAX || this.#writes <= WRITES_AT_ONCE_MAX) return;
    this.#streams = true;
    this.#gather(1);
  }

  #gather(frames: number): void {
    this.#frames = frames;
    this.#timers.after(GATHER_MS, () => {
      this.flush();
      // One frame in that time is no more than the capture thread's own sweep gives.
      if (this.#frames > 1) this.#gather(0);
      else this.#streams = false;
    });
  }

  #hold(frame: LiveFrame): void {
    const held = this.#held;
    if (held !== null && this.#follows(held.first, held.bytes, frame)) {
      held.parts.push(frame.bytes);
      held.bytes += frame.bytes.length;
      return;
    }
    this.flush();
    this.#held = { first: frame, parts: [frame.bytes], bytes: frame.bytes.length };
  }

  #follows(first: LiveFrame, bytes: number, next: LiveFrame): boolean {
    return (
      next.epoch === first.epoch &&
      next.offset === first.offset + bytes &&
      bytes + next.bytes.length <= GATHERED_BYTES_MAX &&
      next.sessions.length === first.sessions.length &&
      next.sessions.every((session, index) => session === first.sessions[index])
    );
  }
}
