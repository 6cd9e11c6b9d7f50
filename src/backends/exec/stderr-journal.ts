import type { Journal } from '../../core/clock.ts';
import { sanitizeText } from '../../protocols/sanitize.ts';

const LINES_MAX = 20;
const WINDOW_MS = 60_000;
const LINE_CHARS_MAX = 300;

/** What a command says on its standard error, line by line in the journal: safe to show, and bounded. */
export class StderrJournal {
  readonly #journal: Journal;
  readonly #fields: object;
  readonly #nowMs: () => number;
  #line = '';
  #lines = 0;
  #leftOut = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;

  constructor(journal: Journal, fields: object, nowMs: () => number = () => performance.now()) {
    this.#journal = journal;
    this.#fields = fields;
    this.#nowMs = nowMs;
  }

  hear(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const newline = bytes.indexOf(0x0a, at);
      const end = newline === -1 ? bytes.length : newline;
      const room = LINE_CHARS_MAX - this.#line.length;
      if (room > 0) {
        const piece = bytes.subarray(at, Math.min(end, at + room));
        this.#line += Buffer.from(piece).toString('latin1');
      }
      if (newline !== -1) this.#tell();
      at = end + 1;
    }
  }

  /** Nothing more will come. */
  end(): void {
    this.#tell();
    this.#tellLeftOut();
  }

  #tell(): void {
    const line = this.#line;
    this.#line = '';
    if (line === '') return;
    const nowMs = this.#nowMs();
    if (nowMs - this.#sinceMs >= WINDOW_MS) {
      this.#tellLeftOut();
      this.#sinceMs = nowMs;
      this.#lines = 0;
    }
    if (++this.#lines > LINES_MAX) {
      this.#leftOut++;
      return;
    }
    const text = sanitizeText(Buffer.from(line, 'latin1').toString('utf8')).trim();
    if (text !== '')
      this.#journal.warn({ ...this.#fields, text }, 'command said on standard error');
  }

  #tellLeftOut(): void {
    if (this.#leftOut === 0) return;
    this.#journal.warn(
      { ...this.#fields, lines: this.#leftOut },
      'command said more on standard error than is kept',
    );
    this.#leftOut = 0;
  }
}
