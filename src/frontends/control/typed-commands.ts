/**
 * Remembers what was typed last, to tell whether a command that the daemon wants run here was. The
 * daemon has other rights than the user of this process: what it asks for alone is not run.
 */
export class TypedCommands {
  /** Bytes as latin1. */
  #line = '';
  #last: string | null = null;

  /** Input on its way to the daemon. */
  note(bytes: Uint8Array): void {
    for (const byte of bytes) this.#key(byte);
  }

  /** Whether the line typed last was the escape key `|`, two bytes before it, and this command. */
  wasTyped(command: string): boolean {
    const typed = this.#last;
    if (typed === null) return false;
    return keyEnds(typed).some((end) => text(typed.slice(end)) === command.trim());
  }

  #key(byte: number): void {
    switch (byte) {
      case CR:
      case LF:
        this.#last = this.#line;
        this.#line = '';
        return;
      case BACKSPACE:
      case DELETE:
        this.#line = this.#line.replace(/(?:[\xc0-\xff][\x80-\xbf]+|[^])$/, '');
        return;
      case CTRL_U:
        this.#line = this.#line.slice(0, keyEnds(this.#line).at(-1) ?? 0);
        return;
      default:
        this.#line += String.fromCharCode(byte);
        if (this.#line.length > LINE_BYTES_MAX) this.#line = this.#line.slice(-LINE_BYTES_MAX / 2);
    }
  }
}

/** Where a command may begin: behind the two bytes of an escape prefix and `|`. */
function keyEnds(line: string): number[] {
  return [...line.matchAll(/[\x00-\x1f\x7f][^]\|/g)].map((match) => match.index + match[0].length);
}

/** Without keys that leave no text: arrows and the like. */
function text(typed: string): string {
  const plain = typed.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|O[A-Z])/g, '').replaceAll('\t', '');
  return Buffer.from(plain, 'latin1').toString('utf8').trim();
}

const LINE_BYTES_MAX = 8_192;
const CR = 0x0d;
const LF = 0x0a;
const BACKSPACE = 0x08;
const DELETE = 0x7f;
const CTRL_U = 0x15;
