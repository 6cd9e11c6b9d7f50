import type { BinarySession } from './binary-session.ts';

/** A line that says nothing for this long after the input has said what it had to say. */
export const LAST_WORDS_MS = 2_000;

/**
 * What becomes of a program's session when its client has sent all it wanted and still listens (a
 * half-close: `echo x | nc`, `echo x | ssh -W db1:1`). Write goes to the next in turn at once,
 * behind the input already given. A serial line never ends by itself, so the session does: when the
 * device took the input, and then was silent for 2 s, and the client has all that came. A client that
 * ended its input without a byte (`nc host port </dev/null`) is a listener and stays.
 */
export class LastWords {
  readonly #silenceMs: number;
  readonly #end: () => void;
  #timer: NodeJS.Timeout | null = null;
  /** Pieces of output that the client did not take yet. */
  #unwritten = 0;
  #hasInput = false;
  #isAwaited = false;
  #isOver = false;

  /** `end` is called once, unless `stop` was. */
  constructor(end: () => void, silenceMs = LAST_WORDS_MS) {
    this.#end = end;
    this.#silenceMs = silenceMs;
  }

  /** The device said something; call what this returns once the client took it. */
  said(done: () => void): () => void {
    this.#unwritten++;
    this.#wait();
    return () => {
      this.#unwritten--;
      this.#wait();
      done();
    };
  }

  /** The client sent something. */
  gaveInput(): void {
    this.#hasInput = true;
  }

  /** The client ended its input. */
  async inputEnded(session: BinarySession): Promise<void> {
    await session.view();
    if (!this.#hasInput) return;
    await session.inputDelivered();
    this.#isAwaited = true;
    this.#wait();
  }

  stop(): void {
    this.#isOver = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  #wait(): void {
    if (!this.#isAwaited || this.#isOver) return;
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#unwritten > 0) return;
    this.#timer = setTimeout(() => {
      this.stop();
      this.#end();
    }, this.#silenceMs);
  }
}
