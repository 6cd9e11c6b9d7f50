/** A command is started no more often than this in a minute, however quickly it ends. */
export const STARTS_MAX = 10;
const WINDOW_MS = 60_000;

/** Keeps a command that ends at once from being started again and again. */
export class StartGuard {
  readonly #nowMs: () => number;
  #startsAtMs: number[] = [];
  #isHurried = false;
  #howItEnded = 'it ended each time';

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** The command is to be started: null, and it is counted; or why it is not, and when. */
  begin(): string | null {
    const nowMs = this.#nowMs();
    this.#startsAtMs = this.#startsAtMs.filter((atMs) => nowMs - atMs < WINDOW_MS);
    if (this.#startsAtMs.length >= STARTS_MAX && !this.#isHurried) {
      const waitMs = this.#startsAtMs.at(-STARTS_MAX)! + WINDOW_MS - nowMs;
      return `started ${this.#startsAtMs.length} times within a minute, the last time it ${this.#howItEnded}; next start in ${Math.ceil(waitMs / 1_000)} s`;
    }
    this.#isHurried = false;
    this.#startsAtMs.push(nowMs);
    return null;
  }

  /** `how`: `ended with status 1`. */
  ended(how: string): void {
    this.#howItEnded = how;
  }

  /** The next start is made in any case: a person asks for it. */
  hurry(): void {
    this.#isHurried = true;
  }
}
