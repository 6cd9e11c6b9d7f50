import { Worker } from 'node:worker_threads';

export interface FloodPlan {
  tcpPort: number;
  count: number;
  /** Addresses that they come from, in turn. */
  sources: readonly string[];
}

/** What a flood's thread tells of itself. */
export interface FloodCounts {
  /** Connected, or turned away. */
  tried: number;
  /** Closed by the other side, of those. */
  closed: number;
}

/** So many sockets to one door that never say a word, on a thread of their own. */
export class SilentFlood {
  readonly #worker: Worker;
  #counts: FloodCounts = { tried: 0, closed: 0 };
  readonly #count: number;
  #isStopped = false;
  readonly #waiting = new Set<() => void>();
  /** Of any clock, when the last one was closed. */
  closedAtMs = Number.NaN;

  constructor(plan: FloodPlan) {
    this.#count = plan.count;
    this.#worker = new Worker(new URL('./silent-worker.js', import.meta.url), { workerData: plan });
    this.#worker.on('message', (counts: FloodCounts) => {
      this.#counts = counts;
      if (counts.closed === this.#count) this.closedAtMs = performance.now();
      this.#wake();
    });
    this.#worker.once('exit', () => {
      this.#isStopped = true;
      this.#wake();
    });
  }

  get counts(): FloodCounts {
    return this.#counts;
  }

  /** Those that are open. */
  get held(): number {
    return this.#counts.tried - this.#counts.closed;
  }

  /** Resolves when each was let in or turned away. */
  tried(): Promise<void> {
    return this.#until(({ tried }) => tried === this.#count);
  }

  /** Resolves when so many were closed; by default all. */
  closed(count = this.#count): Promise<void> {
    return this.#until(({ closed }) => closed >= count);
  }

  /** Ends what is left of it. */
  async stop(): Promise<void> {
    await this.#worker.terminate();
  }

  async #until(isSo: (counts: FloodCounts) => boolean): Promise<void> {
    while (!isSo(this.#counts)) {
      if (this.#isStopped) throw new Error('the flood was stopped');
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

/** So many addresses of this machine that nobody else uses; `block`: 1 to 254. */
export function sourceAddresses(block: number, count: number): string[] {
  return Array.from(
    { length: count },
    (_, index) => `127.${block}.${Math.floor(index / 250)}.${(index % 250) + 1}`,
  );
}
