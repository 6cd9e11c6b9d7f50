import { RESET_MODES } from './screen.ts';

/**
 * What of the state of a client's terminal decides how Fairlead's own lines are written, and what is
 * left behind at the end. It is shown all that the client is sent.
 */
export class TerminalTrace {
  /** The last bytes, in which a sequence may have begun. */
  #tail = '';
  #hadSequences = false;
  #isAlternate = false;
  #isOrigin = false;

  wrote(bytes: Uint8Array): void {
    const hasSequences = bytes.includes(ESC);
    if (hasSequences || this.#tail.includes('\x1b')) {
      this.#hadSequences = true;
      this.#look(this.#tail + Buffer.from(bytes).toString('latin1'));
    }
    const end = Buffer.from(bytes.subarray(-TAIL_BYTES)).toString('latin1');
    this.#tail = (this.#tail + end).slice(-TAIL_BYTES);
  }

  /**
   * Our own output without the line break it begins with, where the terminal is at the start of a
   * line already. A line feed alone does not go back to the first column.
   */
  trim(bytes: Uint8Array): Uint8Array {
    const isAtStart = this.#tail.endsWith('\r\n') || this.#tail.endsWith('\n\r');
    return isAtStart && bytes[0] === CR && bytes[1] === LF ? bytes.subarray(2) : bytes;
  }

  /** What brings the terminal back from what a device did to it; empty when it did nothing. */
  restore(): Uint8Array {
    if (!this.#hadSequences) return new Uint8Array();
    this.#hadSequences = false;
    // What moves the cursor is only for who needs it: to where it was before, and to the first column.
    const origin = this.#isOrigin ? '\x1b[?6l\x1b[999;1H' : '';
    return Buffer.from(origin + (this.#isAlternate ? '\x1b[?1049l' : '') + RESET_MODES);
  }

  #look(text: string): void {
    for (const [, modes, isSet] of text.matchAll(SCREEN_CHANGES)) {
      if (modes === undefined) this.#isAlternate = this.#isOrigin = false;
      for (const mode of modes?.split(';') ?? []) {
        if (['47', '1047', '1049'].includes(mode)) this.#isAlternate = isSet === 'h';
        if (mode === '6') this.#isOrigin = isSet === 'h';
      }
    }
  }
}

const LF = 0x0a;
const CR = 0x0d;
const ESC = 0x1b;
const TAIL_BYTES = 32;
/** A reset of the terminal, or private modes set or reset (xterm's ctlseqs: RIS, DECSET, DECRST). */
const SCREEN_CHANGES = /\x1b(?:c|\[\?([\d;]*)([hl]))/g;
