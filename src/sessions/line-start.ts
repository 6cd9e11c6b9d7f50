/**
 * Whether what was written last ended a line: then a line of our own needs no line break before it.
 * A line feed alone does not go back to the first column.
 */
export class LineStart {
  #last = '';

  wrote(bytes: Uint8Array): void {
    this.#last = (this.#last + Buffer.from(bytes.subarray(-2)).toString('latin1')).slice(-2);
  }

  /** Our own output without the line break it begins with, where there is no need for it. */
  trim(bytes: Uint8Array): Uint8Array {
    const isNeeded = this.#last !== '\r\n' && this.#last !== '\n\r';
    return !isNeeded && bytes[0] === CR && bytes[1] === LF ? bytes.subarray(2) : bytes;
  }
}

const LF = 0x0a;
const CR = 0x0d;
