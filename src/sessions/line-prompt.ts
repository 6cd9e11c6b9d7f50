import { keyName } from './escape-keys.ts';

/** What was typed at a prompt; null: cancelled. */
export type PromptAnswer = { bytes: Uint8Array | null };

export interface PromptOptions {
  /** What TAB may complete the last word to. */
  words?: readonly string[];
  /** `?` as the first key lists the words. */
  lists?: boolean;
  /** Ends after so many keys, whatever they are, instead of with Enter. */
  keys?: number;
  /** Ends with y, or with n and what cancels; other keys do nothing. */
  confirms?: boolean;
}

/** Characters that one may type; more are not taken. */
export const PROMPT_BYTES_MAX = 200;
const LISTED_MAX = 100;

/**
 * A question in the terminal of a person, and a small line editor for the answer: backspace, ^U,
 * TAB, Enter; ^C or ESC cancels. Knows nothing of where its bytes come from and go to.
 */
export class LinePrompt {
  readonly #question: string;
  readonly #options: PromptOptions;
  readonly #print: (bytes: Uint8Array) => void;
  #typed: number[] = [];

  constructor(question: string, options: PromptOptions, print: (bytes: Uint8Array) => void) {
    this.#question = question;
    this.#options = options;
    this.#print = print;
    this.#say(`\r\n[fairlead: ${question} `);
  }

  /**
   * Takes what was typed; null: not done yet. What follows the end of the answer in the same chunk
   * is thrown away: a paste is no answer to the next question.
   */
  feed(chunk: Uint8Array): PromptAnswer | null {
    if (this.#options.keys !== undefined) return this.#feedKeys(chunk, this.#options.keys);
    if (chunk[0] === ESC && chunk.length > 1) return null; // an arrow, a function key
    if (this.#options.confirms) return this.#feedConfirmation(chunk);
    for (const byte of chunk) {
      switch (byte) {
        case CR:
        case LF:
          return this.#done(Uint8Array.from(this.#typed));
        case CTRL_C:
        case ESC:
          return this.#done(null);
        case BS:
        case DEL:
          this.#erase();
          break;
        case CTRL_U:
          while (this.#typed.length > 0) this.#erase();
          break;
        case TAB:
          this.#complete();
          break;
        default:
          if (byte === QUESTION && this.#typed.length === 0 && this.#options.lists) {
            this.#list(this.#options.words ?? []);
          } else if (byte >= 0x20) this.#take(byte);
      }
    }
    return null;
  }

  #feedKeys(chunk: Uint8Array, keys: number): PromptAnswer | null {
    for (const byte of chunk) {
      this.#typed.push(byte);
      this.#say(keyName(String.fromCharCode(byte)));
      if (this.#typed.length === keys) return this.#done(Uint8Array.from(this.#typed));
    }
    return null;
  }

  #feedConfirmation(chunk: Uint8Array): PromptAnswer | null {
    for (const byte of chunk) {
      const key = String.fromCharCode(byte);
      if (!/[yn\r\n\x03\x1b]/i.test(key)) continue;
      const isYes = key.toLowerCase() === 'y';
      this.#say(isYes ? 'yes]\r\n' : 'no]\r\n');
      return { bytes: isYes ? Uint8Array.of(byte) : null };
    }
    return null;
  }

  #take(byte: number): void {
    if (this.#typed.length >= PROMPT_BYTES_MAX) return;
    this.#typed.push(byte);
    this.#print(Uint8Array.of(byte));
  }

  /** A character of UTF-8 goes as a whole. */
  #erase(): void {
    if (this.#typed.length === 0) return;
    while ((this.#typed.pop()! & 0xc0) === 0x80 && this.#typed.length > 0);
    this.#say('\b \b');
  }

  #complete(): void {
    const line = Buffer.from(this.#typed).toString();
    const word = /[^\s,]*$/.exec(line)![0];
    const fitting = (this.#options.words ?? []).filter((each) => begins(each, word));
    if (fitting.length === 0) return;
    const common = fitting.reduce(commonBeginning);
    for (const byte of Buffer.from(common.slice(word.length))) this.#take(byte);
    if (fitting.length > 1 && common.length === word.length) this.#list(fitting);
  }

  #list(words: readonly string[]): void {
    const shown = words.slice(0, LISTED_MAX);
    const more = words.length > shown.length ? ` and ${words.length - shown.length} more` : '';
    this.#say(`\r\n${shown.join('  ')}${more || (words.length === 0 ? 'none' : '')}`);
    this.#say(`\r\n[fairlead: ${this.#question} `);
    this.#print(Uint8Array.from(this.#typed));
  }

  #done(bytes: Uint8Array | null): PromptAnswer {
    this.#say(bytes === null ? ' cancelled]\r\n' : ']\r\n');
    return { bytes };
  }

  #say(text: string): void {
    this.#print(Buffer.from(text));
  }
}

const CTRL_C = 0x03;
const BS = 0x08;
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const CTRL_U = 0x15;
const ESC = 0x1b;
const QUESTION = 0x3f;
const DEL = 0x7f;

/** Names are compared without case (DESIGN 2). */
function begins(word: string, beginning: string): boolean {
  return word.toLowerCase().startsWith(beginning.toLowerCase());
}

function commonBeginning(a: string, b: string): string {
  let end = 0;
  while (end < a.length && a[end]!.toLowerCase() === b[end]?.toLowerCase()) end++;
  return a.slice(0, end);
}
