import type { VerbIo } from '../core/frontend.ts';

export interface LineInput {
  /** The terminal is raw: it shows nothing by itself, and what edits a line is done here. */
  raw: boolean;
  /** Show what is typed. */
  echo: boolean;
  /** Longer lines are cut. */
  bytesMax: number;
}

/** Lines of input, for a verb that asks. `close` gives the input back. */
export class TerminalLines {
  readonly #io: VerbIo;
  readonly #input: LineInput;
  readonly #waiting: string[] = [];
  #bytes: number[] = [];
  #take: ((line: string | null) => void) | null = null;
  #isOver = false;
  #lastWasCr = false;

  constructor(io: VerbIo, input: LineInput) {
    this.#io = io;
    this.#input = input;
    io.onInput((bytes) => this.#hear(bytes), input.raw);
    io.signal.addEventListener('abort', this.#interrupted, { once: true });
    if (io.signal.aborted) this.#over();
  }

  /** null: interrupted, or the input ended. */
  next(): Promise<string | null> {
    return new Promise((resolve) => {
      const line = this.#waiting.shift();
      if (line !== undefined) resolve(line);
      else if (this.#isOver) resolve(null);
      else this.#take = resolve;
    });
  }

  close(): void {
    this.#io.signal.removeEventListener('abort', this.#interrupted);
    this.#io.onInput(null, false);
  }

  readonly #interrupted = (): void => this.#over();

  async #hear(bytes: Uint8Array | null): Promise<void> {
    if (bytes === null) {
      if (this.#bytes.length > 0) this.#endLine();
      return this.#over();
    }
    let shown = '';
    for (const byte of bytes) shown += this.#key(byte);
    if (this.#input.echo && this.#input.raw && shown !== '') {
      await this.#io.writeError(shown).catch(() => {}); // whoever asks hears of it by its own write
    }
  }

  /** Returns what a terminal is to show for it. */
  #key(byte: number): string {
    const { raw, bytesMax } = this.#input;
    const isSecondOfPair = byte === LF && this.#lastWasCr;
    this.#lastWasCr = byte === CR;
    if (isSecondOfPair) return '';
    if (byte === CR || byte === LF) {
      this.#endLine();
      return '\r\n';
    }
    if (raw && (byte === CTRL_C || byte === CTRL_D)) {
      this.#over();
      return '\r\n';
    }
    if (raw && (byte === BACKSPACE || byte === DELETE)) return this.#erase();
    if (raw && byte === CTRL_U) {
      let shown = '';
      while (this.#bytes.length > 0) shown += this.#erase();
      return shown;
    }
    if (this.#bytes.length >= bytesMax) return '';
    this.#bytes.push(byte);
    return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '';
  }

  /** The last character, which may be several bytes of UTF-8. */
  #erase(): string {
    let byte = this.#bytes.pop();
    const wasShown = byte !== undefined && byte >= 0x20 && byte < 0x7f;
    while (byte !== undefined && (byte & 0xc0) === 0x80) byte = this.#bytes.pop();
    return wasShown ? '\b \b' : '';
  }

  #endLine(): void {
    const line = Buffer.from(this.#bytes).toString('utf8');
    this.#bytes = [];
    if (this.#take) this.#take(line);
    else this.#waiting.push(line);
    this.#take = null;
  }

  #over(): void {
    this.#isOver = true;
    this.#take?.(null);
    this.#take = null;
  }
}

const CR = 0x0d;
const LF = 0x0a;
const CTRL_C = 0x03;
const CTRL_D = 0x04;
const CTRL_U = 0x15;
const BACKSPACE = 0x08;
const DELETE = 0x7f;
