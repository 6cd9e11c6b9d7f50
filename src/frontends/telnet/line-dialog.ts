/** Where a dialog is shown. */
export interface DialogScreen {
  write(bytes: Uint8Array): void;
  /** The client leaves it to us to show what is typed. */
  isEchoing(): boolean;
}

export interface Question {
  prompt: string;
  /** Nothing of the answer is shown. */
  isSecret: boolean;
  /** What is typed beyond this is dropped. */
  bytesMax: number;
}

/** `interrupted`: ^C. `left`: ^D on an empty line. */
export type LineAnswer = { line: string } | 'interrupted' | 'left';

/**
 * Asks for lines on a terminal that sends every key: with backspace, ^U and ^C, and echo by us. What
 * is typed ahead waits for its question, and what follows the last answer is handed back.
 */
export class LineDialog {
  readonly #screen: DialogScreen;
  #typed: number[] = [];
  /** Echo that is not written yet. */
  readonly #shown: number[] = [];
  #question: { asked: Question; answer: (answer: LineAnswer) => void } | null = null;
  #input: Uint8Array = new Uint8Array(0);
  #taken: ((rest: Uint8Array) => void) | null = null;
  #isAfterCr = false;
  #isClosed = false;

  constructor(screen: DialogScreen) {
    this.#screen = screen;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  ask(asked: Question): Promise<LineAnswer> {
    this.#screen.write(Buffer.from(asked.prompt));
    return new Promise((answer) => {
      this.#typed = [];
      this.#question = { asked, answer };
      this.#consume();
    });
  }

  /** Resolves when all of it was used, or with what is left when the dialog is over. One at a time. */
  take(bytes: Uint8Array): Promise<Uint8Array> {
    return new Promise((taken) => {
      this.#input = bytes;
      this.#taken = taken;
      if (this.#isClosed) this.#handBack();
      else this.#consume();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#handBack();
  }

  #consume(): void {
    let at = 0;
    while (this.#question !== null && at < this.#input.length) this.#type(this.#input[at++]!);
    this.#input = this.#input.subarray(at);
    if (this.#shown.length > 0) this.#screen.write(Buffer.from(this.#shown.splice(0)));
    if (this.#input.length === 0) this.#handBack();
  }

  #handBack(): void {
    // The LF of an Enter that came as CR LF is not for the device.
    if (this.#isAfterCr && this.#isClosed && this.#input.length > 0) {
      this.#isAfterCr = false;
      if (this.#input[0] === LF || this.#input[0] === NUL) this.#input = this.#input.subarray(1);
    }
    const taken = this.#taken;
    this.#taken = null;
    taken?.(this.#input);
  }

  #type(byte: number): void {
    const isEndOfEnter = this.#isAfterCr && (byte === LF || byte === NUL);
    this.#isAfterCr = byte === CR;
    if (isEndOfEnter) return;
    const { isSecret, bytesMax } = this.#question!.asked;
    switch (byte) {
      case CR:
      case LF:
        return this.#answer({ line: Buffer.from(this.#typed).toString('utf8') });
      case CTRL_C:
        return this.#answer('interrupted');
      case CTRL_D:
        if (this.#typed.length === 0) this.#answer('left');
        return;
      case BACKSPACE:
      case DELETE:
        return this.#erase(1);
      case CTRL_U:
        return this.#erase(Number.POSITIVE_INFINITY);
    }
    if (byte < SPACE || this.#typed.length >= bytesMax) return;
    this.#typed.push(byte);
    if (!isSecret) this.#echo(byte);
  }

  #answer(answer: LineAnswer): void {
    const { answer: resolve } = this.#question!;
    this.#question = null;
    this.#echo(CR, LF);
    resolve(answer);
  }

  #erase(characters: number): void {
    for (; characters > 0 && this.#typed.length > 0; characters--) {
      // A character of UTF-8 goes as a whole.
      while (isContinuation(this.#typed.pop())) continue;
      if (!this.#question!.asked.isSecret) this.#echo(BACKSPACE, SPACE, BACKSPACE);
    }
  }

  #echo(...shown: readonly number[]): void {
    if (this.#screen.isEchoing()) this.#shown.push(...shown);
  }
}

const NUL = 0x00;
const CTRL_C = 0x03;
const CTRL_D = 0x04;
const BACKSPACE = 0x08;
const LF = 0x0a;
const CR = 0x0d;
const CTRL_U = 0x15;
const SPACE = 0x20;
const DELETE = 0x7f;

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
