import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface ProbePlan {
  tcpPort: number;
  /** What a client of a door with TLS shows; null: the door has none. */
  tls: { ca: Uint8Array; cert: Uint8Array; key: Uint8Array } | null;
}

export interface EchoReport {
  count: number;
  worstMs: number;
  /** Of an own timer, so how much of `worstMs` may be this machine's and not the daemon's. */
  ownStallMs: number;
}

/**
 * Types a key at a raw door every few milliseconds and waits for its echo, on a thread of its own: the
 * worst echo is what the daemon's threads were stalled at most, plus what this machine adds.
 */
export class EchoProbe {
  readonly #worker: Worker;
  readonly #failed: Promise<never>;

  private constructor(worker: Worker) {
    this.#worker = worker;
    this.#failed = once(worker, 'error').then(([error]) => {
      throw error;
    });
    this.#failed.catch(() => undefined); // whoever asks for a report hears of it
  }

  /** Resolves when the first echo came. */
  static async start(plan: ProbePlan): Promise<EchoProbe> {
    const worker = new Worker(new URL('./echo-worker.js', import.meta.url), { workerData: plan });
    const probe = new EchoProbe(worker);
    await probe.#message();
    return probe;
  }

  /** Of the time since the last report. Rejects when the port is gone. */
  async report(): Promise<EchoReport> {
    this.#worker.postMessage('report');
    return (await this.#message()) as EchoReport;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }

  async #message(): Promise<unknown> {
    const [message] = (await Promise.race([once(this.#worker, 'message'), this.#failed])) as [
      unknown,
    ];
    return message;
  }
}
