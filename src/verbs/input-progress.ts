import type { VerbIo } from '../core/frontend.ts';

const DRAW_MS = 200;
/** A rate is that of the last so many milliseconds: a device that has become slow shows. */
const RATE_MS = 5_000;

/**
 * How far a long input is, drawn over one line of standard error where the caller has a terminal
 * there, and nowhere else. `nowMs` is monotonic.
 */
export class InputProgress {
  readonly #io: VerbIo;
  readonly #name: string;
  readonly #nowMs: () => number;
  readonly #beganMs: number;
  #drawnMs = Number.NEGATIVE_INFINITY;
  #hasDrawn = false;
  #bytes = 0;
  #marks: { atMs: number; bytes: number }[];

  constructor(io: VerbIo, name: string, nowMs: () => number = () => performance.now()) {
    this.#io = io;
    this.#name = name;
    this.#nowMs = nowMs;
    this.#beganMs = nowMs();
    this.#marks = [{ atMs: this.#beganMs, bytes: 0 }];
  }

  /** So many bytes more are done. */
  async add(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (!this.#io.progress) return;
    const nowMs = this.#nowMs();
    if (nowMs - this.#drawnMs < DRAW_MS) return;
    this.#drawnMs = nowMs;
    this.#marks.push({ atMs: nowMs, bytes: this.#bytes });
    while (this.#marks.length > 2 && nowMs - this.#marks[1]!.atMs >= RATE_MS) this.#marks.shift();
    await this.#draw(this.#line(nowMs));
  }

  /** It is over, whether all of it was done or not. */
  async end(): Promise<void> {
    if (!this.#io.progress || !this.#hasDrawn) return;
    const took = formatDuration((this.#nowMs() - this.#beganMs) / 1_000);
    await this.#draw(`${this.#name}: ${this.#bytes} bytes in ${took}\n`);
  }

  #line(nowMs: number): string {
    const total = this.#io.progress?.inputBytes ?? null;
    const oldest = this.#marks[0]!;
    const seconds = (nowMs - oldest.atMs) / 1_000;
    const rate = seconds > 0 ? (this.#bytes - oldest.bytes) / seconds : 0;
    const words = [`${this.#name}: ${this.#bytes}`];
    if (total !== null && total > 0) {
      words.push(`of ${total} bytes (${Math.min(100, Math.floor((this.#bytes / total) * 100))} %)`);
    } else {
      words.push('bytes');
    }
    if (rate > 0) words.push(`${Math.round(rate)} B/s`);
    if (rate > 0 && total !== null && total > this.#bytes) {
      words.push(`${formatDuration((total - this.#bytes) / rate)} left`);
    }
    return `${words[0]} ${words.slice(1).join(', ')}`;
  }

  async #draw(text: string): Promise<void> {
    this.#hasDrawn = true;
    await this.#io.writeError(`\r${text.replace(/\n?$/, '\x1b[K$&')}`);
  }
}

/** `8 s`, `3 min 15 s`, `2 h 5 min` */
function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
