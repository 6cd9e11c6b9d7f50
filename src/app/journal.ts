import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import type { Journal } from '../core/clock.ts';

export type JournalLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug';
export interface JournalLine {
  level: JournalLevel;
  fields: object;
  message: string;
  /** When it was said, milliseconds since the Unix epoch. */
  atMs: number;
}

/** Lines under way to the journal thread, at most; beyond it they are dropped and counted. */
const LINES_PENDING_MAX = 2_000;

/**
 * A journal that posts its lines: a blocked stdout must never hold up capture. `pending` is shared
 * with the journal thread, which counts it down as lines are written.
 */
export function postingJournal(port: MessagePort, pending: Int32Array): Journal {
  let dropped = 0;
  const say = (level: JournalLevel, fields: object, message: string): void => {
    if (Atomics.load(pending, 0) >= LINES_PENDING_MAX && level !== 'fatal') {
      dropped++;
      return;
    }
    if (dropped > 0) {
      Atomics.add(pending, 0, 1);
      port.postMessage(line('warn', { dropped }, 'journal lines dropped'));
      dropped = 0;
    }
    Atomics.add(pending, 0, 1);
    port.postMessage(line(level, plainFields(fields), message));
  };
  const make = (bound: object): Journal => ({
    fatal: (fields, message) => say('fatal', { ...bound, ...fields }, message),
    error: (fields, message) => say('error', { ...bound, ...fields }, message),
    warn: (fields, message) => say('warn', { ...bound, ...fields }, message),
    info: (fields, message) => say('info', { ...bound, ...fields }, message),
    debug: (fields, message) => say('debug', { ...bound, ...fields }, message),
    child: (fields) => make({ ...bound, ...fields }),
  });
  return make({});
}

function line(level: JournalLevel, fields: object, message: string): JournalLine {
  return { level, fields, message, atMs: Date.now() };
}

/** Errors do not survive a MessagePort with their cause; their words do. */
function plainFields(fields: object): object {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    plain[key] = value instanceof Error ? describeError(value) : value;
  }
  return plain;
}

function describeError(error: Error): object {
  const code = (error as { code?: unknown }).code;
  return {
    message: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    stack: error.stack,
  };
}

/** The thread that writes the journal to stdout, and a way for each other thread to reach it. */
export class JournalThread {
  readonly #worker: Worker;
  readonly #pending = new Int32Array(new SharedArrayBuffer(4));

  constructor(options: { level: JournalLevel; pretty: boolean }) {
    this.#worker = new Worker(new URL('./journal-thread.js', import.meta.url), {
      workerData: { ...options, pending: this.#pending },
      resourceLimits: { maxOldGenerationSizeMb: 32 },
    });
    this.#worker.on('error', (error) => {
      process.stderr.write(`fairlead: the journal ended: ${error.message}\n`);
    });
    this.#worker.unref();
  }

  /** What another thread needs for `postingJournal`; transfer `port`. */
  connection(): { port: MessagePort; pending: Int32Array } {
    const { port1, port2 } = new MessageChannel();
    this.#worker.postMessage({ port: port1 }, [port1]);
    return { port: port2, pending: this.#pending };
  }

  /** A journal for this thread. */
  open(): Journal {
    const { port, pending } = this.connection();
    port.unref();
    return postingJournal(port, pending);
  }

  /** Waits until what was said so far is written, at most `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    const until = Date.now() + timeoutMs;
    while (Atomics.load(this.#pending, 0) > 0 && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
