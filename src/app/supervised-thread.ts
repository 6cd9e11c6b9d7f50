import { once } from 'node:events';
import { Worker, type TransferListItem } from 'node:worker_threads';
import type { Journal } from '../core/clock.ts';

/** How often a supervised thread must beat, and how long it may not, before it is ended. */
export const BEAT_EVERY_MS = 500;
const SILENT_MS_MAX = 5_000;
/** The same before its first beat, while it loads its modules: a slow machine takes its time. */
const LOADING_MS_MAX = 60_000;
const CHECK_EVERY_MS = 500;
/** Short-lived frames and pages: V8's default of 48 MB would all be touched before it is used again. */
const YOUNG_GENERATION_MB = 6;
const RESPAWN_DELAYS_MS = [50, 500, 2_000, 5_000];
/** A thread that lived this long starts its delays afresh. */
const STEADY_MS = 60_000;

export interface ThreadStart {
  workerData: object;
  transfer: TransferListItem[];
  /** Called when this incarnation ended, however it did: free what it held. */
  ended(): void;
}

/**
 * A thread that may hang or die without harm: its heartbeat is watched from the capture thread, a
 * silent one is terminated and started anew (DESIGN 3). Ready when it says `ready`.
 */
export class SupervisedThread {
  readonly #file: URL;
  readonly #name: string;
  readonly #journal: Journal;
  readonly #prepare: (beat: Int32Array) => ThreadStart;
  readonly #replaced: () => void;
  #worker: Worker | null = null;
  #isStopping = false;
  #failures = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: {
    name: string;
    file: URL;
    journal: Journal;
    /** Makes what one incarnation needs: fresh ports, current settings. `beat` is its heartbeat. */
    prepare: (beat: Int32Array) => ThreadStart;
    /** Called when a replacement is ready. */
    replaced?(): void;
  }) {
    this.#name = options.name;
    this.#file = options.file;
    this.#journal = options.journal;
    this.#prepare = options.prepare;
    this.#replaced = () => options.replaced?.();
  }

  /** Starts the thread and resolves when it is ready for work (or has failed: it is being restarted). */
  async start(): Promise<void> {
    const beat = new Int32Array(new SharedArrayBuffer(4));
    const start = this.#prepare(beat);
    const startedAtMs = performance.now();
    const worker = new Worker(this.#file, {
      workerData: { ...start.workerData, beat },
      transferList: start.transfer,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    this.#worker = worker;
    worker.on('error', (error) => {
      this.#journal.error({ thread: this.#name, err: error }, 'thread failed');
    });
    const stopWatching = this.#watchBeat(worker, beat);
    worker.once('exit', () => {
      stopWatching();
      start.ended();
      if (this.#worker === worker) this.#worker = null;
      if (!this.#isStopping) this.#respawn(performance.now() - startedAtMs);
    });
    await Promise.race([readyOf(worker), once(worker, 'exit')]);
  }

  post(message: unknown, transfer: TransferListItem[] = []): void {
    this.#worker?.postMessage(message, transfer);
  }

  /** Asks the thread to stop, then ends it. */
  async stop(timeoutMs: number): Promise<void> {
    this.#isStopping = true;
    if (this.#timer) clearTimeout(this.#timer);
    const worker = this.#worker;
    if (!worker) return;
    const exited = once(worker, 'exit');
    worker.postMessage({ stop: true });
    const deadline = setTimeout(() => void worker.terminate(), timeoutMs);
    await exited;
    clearTimeout(deadline);
  }

  #respawn(livedMs: number): void {
    this.#failures = livedMs > STEADY_MS ? 0 : this.#failures + 1;
    const delayMs = RESPAWN_DELAYS_MS[Math.min(this.#failures, RESPAWN_DELAYS_MS.length - 1)]!;
    this.#timer = setTimeout(() => {
      const beganMs = performance.now();
      void this.start().then(() => {
        const durationMs = Math.round(performance.now() - beganMs);
        this.#journal.warn({ thread: this.#name, durationMs }, 'thread started anew');
        this.#replaced();
      });
    }, delayMs);
  }

  #watchBeat(worker: Worker, beat: Int32Array): () => void {
    let seen = Atomics.load(beat, 0);
    let seenAtMs = performance.now();
    let checkedAtMs = seenAtMs;
    const timer = setInterval(() => {
      const nowMs = performance.now();
      const count = Atomics.load(beat, 0);
      // A pause of this very thread (a suspended machine) is no silence of the other.
      if (count !== seen || nowMs - checkedAtMs > 4 * CHECK_EVERY_MS) {
        seen = count;
        seenAtMs = nowMs;
      }
      checkedAtMs = nowMs;
      if (nowMs - seenAtMs > (seen === 0 ? LOADING_MS_MAX : SILENT_MS_MAX)) {
        clearInterval(timer);
        this.#journal.error(
          { thread: this.#name, durationMs: Math.round(nowMs - seenAtMs) },
          'thread hangs, ending it',
        );
        void worker.terminate();
      }
    }, CHECK_EVERY_MS);
    timer.unref();
    return () => clearInterval(timer);
  }
}

function readyOf(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const listen = (message: unknown): void => {
      if ((message as { ready?: true }).ready !== true) return;
      worker.off('message', listen);
      resolve();
    };
    worker.on('message', listen);
  });
}
