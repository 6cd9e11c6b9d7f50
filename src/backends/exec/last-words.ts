import { sanitizeText } from '../../protocols/sanitize.ts';

const KEPT_BYTES = 512;
const TOLD_CHARS_MAX = 200;

/** The end of what a command said, for the cause of its end. */
export class LastWords {
  readonly #kept = Buffer.alloc(KEPT_BYTES);
  #length = 0;

  keep(bytes: Uint8Array): void {
    const piece = bytes.subarray(Math.max(0, bytes.length - KEPT_BYTES));
    const staying = Math.min(this.#length, KEPT_BYTES - piece.length);
    this.#kept.copyWithin(0, this.#length - staying, this.#length);
    this.#kept.set(piece, staying);
    this.#length = staying + piece.length;
  }

  /** The last line that is not blank, safe to show; null: it said nothing. */
  get line(): string | null {
    const text = sanitizeText(this.#kept.toString('utf8', 0, this.#length));
    const lines = text.split(/[\r\n]+/).map((line) => line.trim());
    const last = lines.findLast((line) => line !== '');
    return last === undefined ? null : last.slice(-TOLD_CHARS_MAX);
  }

  /** `; it said "..."`, or nothing. */
  get told(): string {
    const { line } = this;
    return line === null ? '' : `; it said "${line}"`;
  }
}
