import { writeSync } from 'node:fs';

/**
 * Writes to a pty's master without waiting: node:tty would spin in the event loop while the program
 * does not read. What does not fit waits here; the session's credit bounds it.
 */
export class PtyOutput {
  readonly #fd: number;
  readonly #waiting: { bytes: Uint8Array; done: () => void }[] = [];
  #retry: NodeJS.Timeout | null = null;
  #retryMs = RETRY_MIN_MS;
  #isClosed = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** `done` once the kernel has it all; never after `close`. */
  write(bytes: Uint8Array, done: () => void): void {
    this.#waiting.push({ bytes, done });
    if (this.#retry === null) this.#writeWaiting();
  }

  /** Forgets what waits. */
  close(): void {
    this.#isClosed = true;
    this.#waiting.length = 0;
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  #writeWaiting(): void {
    this.#retry = null;
    for (let first = this.#waiting[0]; first && !this.#isClosed; first = this.#waiting[0]) {
      const count = tryWrite(this.#fd, first.bytes);
      if (count < first.bytes.length) {
        first.bytes = first.bytes.subarray(count);
        this.#retryMs = count > 0 ? RETRY_MIN_MS : Math.min(2 * this.#retryMs, RETRY_MAX_MS);
        this.#retry = setTimeout(() => this.#writeWaiting(), this.#retryMs);
        return;
      }
      this.#waiting.shift();
      first.done();
    }
  }
}

/** A program that reads makes room for some 10 KB at a time. */
const RETRY_MIN_MS = 1;
const RETRY_MAX_MS = 50;

/** Nothing, when the line is full; nor when the program just left: reading tells that. */
function tryWrite(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN' || code === 'EIO') return 0;
    throw error;
  }
}
