import type { Sweep } from './tty/sweep.ts';

/** A line's reads are looked at over so long. */
const WINDOW_MS = 10;
/** Of this at most so much goes to one line: the others must not feel its flood. */
const BUSY_MS_MAX = 3;
/** With more in a window the line floods (1.6 MB/s), and waits while the store is behind. */
const FLOOD_BYTES = 16_384;

/**
 * Keeps a peer on a network or a pipe that sends as fast as it can from taking the capture thread
 * for itself. A line held off is not read: its sender feels that, and no byte is lost.
 */
export class ReadPace {
  readonly #sweep: Sweep;
  readonly #goOn: () => void;
  #sinceMs = 0;
  #busyMs = 0;
  #bytes = 0;
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;

  /** `goOn` is called when a line held off may be read again. */
  constructor(sweep: Sweep, goOn: () => void) {
    this.#sweep = sweep;
    this.#goOn = goOn;
  }

  /** Hands on a read by `take`; false: read no more until `goOn`. */
  read(count: number, take: () => void): boolean {
    const startMs = performance.now();
    if (startMs - this.#sinceMs > WINDOW_MS) {
      this.#sinceMs = startMs;
      this.#busyMs = 0;
      this.#bytes = 0;
    }
    take();
    this.#bytes += count;
    if (this.#isStopped || this.#bytes < FLOOD_BYTES) return true;
    if (this.#sweep.holdOff(this.#resume)) return false;
    const nowMs = performance.now();
    this.#busyMs += nowMs - startMs;
    if (this.#busyMs < BUSY_MS_MAX) return true;
    this.#timer ??= setTimeout(this.#resume, this.#sinceMs + WINDOW_MS - nowMs);
    return false;
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  readonly #resume = (): void => {
    this.#timer = null;
    if (!this.#isStopped) this.#goOn();
  };
}
