/**
 * Hands input to a verb's one listener, chunk by chunk and in order, and stops its source while
 * the listener is busy or while too much waits for a listener. Chunks are never merged: an escape
 * key counts only as a chunk of its own (DESIGN 7).
 */
export class InputGate {
  readonly #source: InputSource;
  readonly #waiting: (Uint8Array | null)[] = [];
  #waitingBytes = 0;
  #listener: InputListener | null = null;
  #isBusy = false;
  #isStopped = false;

  constructor(source: InputSource) {
    this.#source = source;
  }

  setListener(listener: InputListener | null): void {
    this.#listener = listener;
    void this.#deliver();
  }

  get hasListener(): boolean {
    return this.#listener !== null;
  }

  /** `null`: end of input. */
  push(bytes: Uint8Array | null): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes?.length ?? 0;
    void this.#deliver();
    this.#regulate();
  }

  async #deliver(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#listener !== null && this.#waiting.length > 0) {
      const bytes = this.#waiting.shift() as Uint8Array | null;
      try {
        const pending = this.#listener(bytes);
        if (pending !== undefined) {
          this.#regulate();
          await pending;
        }
      } catch (error) {
        this.#source.failed(error);
      }
      if (bytes !== null) {
        this.#waitingBytes -= bytes.length;
        this.#source.consumed(bytes.length);
      }
    }
    this.#isBusy = false;
    this.#regulate();
  }

  #regulate(): void {
    const stop = this.#isBusy || this.#waitingBytes >= INPUT_WAITING_BYTES_MAX;
    if (stop === this.#isStopped) return;
    this.#isStopped = stop;
    if (stop) this.#source.pause();
    else this.#source.resume();
  }
}

export type InputListener = (bytes: Uint8Array | null) => Promise<void> | void;

export interface InputSource {
  pause(): void;
  resume(): void;
  /** The listener is through with this many bytes. */
  consumed(bytes: number): void;
  /** The listener threw. */
  failed(error: unknown): void;
}

/** Input typed ahead of a listener; then the source is stopped. */
const INPUT_WAITING_BYTES_MAX = 65_536;
