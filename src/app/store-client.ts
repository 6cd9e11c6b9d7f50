import type { MessagePort } from 'node:worker_threads';
import { Fault, faultFrom } from '../core/fault.ts';
import type { AuditRow, PortRegistration, RegisteredPort } from '../core/store.ts';
import type { User } from '../core/user.ts';
import { wakeStore } from '../store/spool-control.ts';
import type { StoreAnswer, StoreRequest } from '../store/store-loop.ts';

type Asked<Kind extends StoreRequest['kind']> = Omit<
  Extract<StoreRequest, { kind: Kind }>,
  'id' | 'kind'
>;

/** The store thread, asked from another thread. */
export class StoreClient {
  readonly #port: MessagePort;
  readonly #control: SharedArrayBuffer;
  readonly #pending = new Map<
    number,
    { resolve(answer: StoreAnswer): void; reject(error: Error): void }
  >();
  #lastId = 0;

  constructor(port: MessagePort, control: SharedArrayBuffer) {
    this.#port = port;
    this.#control = control;
    port.on('message', (answer: StoreAnswer) => {
      const waiting = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if ('fault' in answer) waiting?.reject(faultFrom(answer.fault));
      else waiting?.resolve(answer);
    });
    port.on('close', () => {
      for (const waiting of this.#pending.values()) {
        waiting.reject(new Fault('STORE_FAILED', 'the store thread has ended'));
      }
      this.#pending.clear();
    });
  }

  async register(ports: readonly PortRegistration[]): Promise<RegisteredPort[]> {
    const answer = await this.#ask('register', { ports });
    return (answer as { ports: RegisteredPort[] }).ports;
  }

  /** Written with the next commit. */
  audit(row: AuditRow): void {
    this.#port.postMessage({ kind: 'audit', row } satisfies StoreRequest);
    wakeStore(this.#control);
  }

  /** Resolves when everything spooled so far is durable. */
  async flush(): Promise<void> {
    await this.#ask('flush', {});
  }

  /** Users kept in the database, after a change if one is asked for. */
  async users(change: Asked<'users'> = {}): Promise<{ users: User[]; removed: boolean }> {
    return (await this.#ask('users', change)) as { id: number; users: User[]; removed: boolean };
  }

  /** Commits everything and marks the stop as a clean one. @throws Fault STORE_FAILED. */
  async stop(): Promise<void> {
    await this.#ask('stop', {});
  }

  #ask<Kind extends 'register' | 'flush' | 'users' | 'stop'>(
    kind: Kind,
    asked: Asked<Kind>,
  ): Promise<StoreAnswer> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#port.postMessage({ kind, id, ...asked });
      wakeStore(this.#control);
    });
  }
}
