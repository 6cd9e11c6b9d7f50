import type { MessagePort } from 'node:worker_threads';
import { Fault } from '../core/fault.ts';
import type { LogReader } from '../core/log-reader.ts';
import { connectCalls, serveCalls, type Caller } from './rpc.ts';

/** Serves a LogReader to another thread. */
export function serveLogReader(port: MessagePort, reader: LogReader): void {
  serveCalls(port, {
    ports: reader.ports.bind(reader),
    locate: reader.locate.bind(reader),
    read: reader.read.bind(reader),
    changed: reader.changed.bind(reader),
  });
}

/** A LogReader on another thread, which may be replaced while we run: calls then fail, later ones go to the new one. */
export class LogClient implements LogReader {
  #far: Caller | null = null;

  connect(port: MessagePort): void {
    this.#far = connectCalls(port);
  }

  #call<Result>(method: keyof LogReader, ...args: unknown[]): Promise<Result> {
    if (!this.#far) throw new Fault('TIMED_OUT', 'the log is not readable yet');
    return this.#far.call<Result>(method, ...args);
  }

  async ports(...args: Parameters<LogReader['ports']>): ReturnType<LogReader['ports']> {
    return this.#call('ports', ...args);
  }

  async locate(...args: Parameters<LogReader['locate']>): ReturnType<LogReader['locate']> {
    return this.#call('locate', ...args);
  }

  async read(...args: Parameters<LogReader['read']>): ReturnType<LogReader['read']> {
    return this.#call('read', ...args);
  }

  async changed(...args: Parameters<LogReader['changed']>): ReturnType<LogReader['changed']> {
    return this.#call('changed', ...args);
  }
}
