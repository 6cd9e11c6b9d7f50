import { LinePrompt } from './line-prompt.ts';
import type { PromptOptions } from './line-prompt.ts';

/** Typed before the next question is asked. */
const AHEAD_BYTES_MAX = 1_024;

/**
 * Questions to a person, one after the other. As long as it is open everything that is typed is for
 * it and nothing reaches the device.
 */
export class Dialog {
  readonly #print: (bytes: Uint8Array) => void;
  #prompt: LinePrompt | null = null;
  #answer: ((bytes: Uint8Array | null) => void) | null = null;
  #ahead: Uint8Array[] = [];
  #aheadBytes = 0;
  #isOver = false;

  constructor(print: (bytes: Uint8Array) => void) {
    this.#print = print;
  }

  feed(chunk: Uint8Array): void {
    if (this.#prompt === null) {
      if (this.#aheadBytes + chunk.length > AHEAD_BYTES_MAX) return;
      this.#aheadBytes += chunk.length;
      this.#ahead.push(chunk);
      return;
    }
    const answer = this.#prompt.feed(chunk);
    if (answer) this.#answered(answer.bytes);
  }

  /** Trimmed; null: cancelled, or nothing was typed. */
  async ask(question: string, options: PromptOptions = {}): Promise<string | null> {
    const bytes = await this.#ask(question, options);
    const text = bytes === null ? '' : Buffer.from(bytes).toString().trim();
    return text === '' ? null : text;
  }

  async confirm(question: string): Promise<boolean> {
    const bytes = await this.#ask(`${question} (y/n)`, { confirms: true });
    return bytes !== null;
  }

  /** So many keys as they are typed, control characters too. */
  keys(question: string, keys: number): Promise<Uint8Array | null> {
    return this.#ask(question, { keys });
  }

  /** The session is over: whoever waits for an answer gets none. */
  close(): void {
    this.#isOver = true;
    this.#answered(null);
  }

  #ask(question: string, options: PromptOptions): Promise<Uint8Array | null> {
    if (this.#isOver) return Promise.resolve(null);
    this.#prompt = new LinePrompt(question, options, this.#print);
    return new Promise((resolve) => {
      this.#answer = resolve;
      const ahead = this.#ahead;
      this.#ahead = [];
      this.#aheadBytes = 0;
      for (const chunk of ahead) this.feed(chunk);
    });
  }

  #answered(bytes: Uint8Array | null): void {
    const answer = this.#answer;
    this.#prompt = null;
    this.#answer = null;
    answer?.(bytes);
  }
}
