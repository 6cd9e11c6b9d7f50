import type { Writable } from 'node:stream';

/** Output kept here beyond what the kernel takes; a `write` over it is refused until it drains. */
export const STREAM_OUTPUT_BYTES_MAX = 65_536;

/** What a line writes to a stream of Node's: bounded, and telling when there is room again. */
export class StreamOutput {
  readonly #stream: Writable;
  readonly #writable: () => void;
  /** Taken, not yet with the kernel. */
  #waitingBytes = 0;
  #isRefused = false;
  #isOver = false;

  /** `writable` is called once there is room after a write that took less than all. */
  constructor(stream: Writable, writable: () => void) {
    this.#stream = stream;
    this.#writable = writable;
  }

  /** As `Backend.write`. */
  write(bytes: Uint8Array): number {
    if (this.#isOver) return 0;
    const count = Math.min(STREAM_OUTPUT_BYTES_MAX - this.#waitingBytes, bytes.length);
    this.#isRefused = count < bytes.length;
    if (count === 0) return 0;
    this.#waitingBytes += count;
    // A copy: the stream may hold it after the caller used its memory for something else.
    this.#stream.write(Buffer.from(bytes.subarray(0, count)), () => this.#passedOn(count));
    return count;
  }

  /** Takes nothing more, and tells nothing. What was taken stays with the stream. */
  stop(): void {
    this.#isOver = true;
  }

  /** A piece left for the kernel. Not 'drain': it is not emitted after a write that did not wait. */
  #passedOn(bytes: number): void {
    this.#waitingBytes -= bytes;
    if (this.#isOver || !this.#isRefused) return;
    if (this.#waitingBytes > STREAM_OUTPUT_BYTES_MAX / 2) return;
    this.#isRefused = false;
    this.#writable();
  }
}
