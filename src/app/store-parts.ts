import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import type { Journal } from '../core/clock.ts';
import { Fault, faultFrom } from '../core/fault.ts';
import type { Libc } from '../core/libc.ts';
import type { Settings } from '../core/settings.ts';
import type { User } from '../core/user.ts';
import type { DataDirectory } from '../store/data-directory.ts';
import { createSpoolControl } from '../store/spool-control.ts';
import { spoolBytesFor, spoolPath } from '../store/spool-file.ts';
import { createSpool, type OwnedSpool } from '../store/spool.ts';
import type { JournalThread } from './journal.ts';
import { packageRoot } from './package-files.ts';
import { StoreClient } from './store-client.ts';
import type { StoreThreadData, StoreThreadMessage, StoreThreadRequest } from './store-thread.ts';

export interface StoreOptions {
  settings: Settings;
  journal: JournalThread;
}

export interface StoreParts {
  thread: StoreThread;
  client: StoreClient;
  spool: OwnedSpool;
  nextSession: number;
  databaseUsers: readonly User[];
}

/**
 * The store first, as it commits what an earlier daemon left in the spool; only then is the spool
 * made anew and given to it.
 */
export async function openStoreAndSpool(
  options: StoreOptions,
  directory: DataDirectory,
  libc: Libc | null,
  journal: Journal,
): Promise<StoreParts> {
  const { settings } = options;
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const place = spoolPath(directory.id, { dataDirectory: directory.path });
  if (place.warning) journal.warn({ path: place.path, warning: place.warning }, 'spool');
  const autoPorts = settings.autoPorts.reduce((sum, { portsMax }) => sum + portsMax, 0);
  const ports = Math.max(settings.ports.length + autoPorts, 1);
  const bytes = spoolBytesFor(ports, settings.log.spoolBytes);
  const control = createSpoolControl(bytes);
  const thread = new StoreThread(control, {
    dataDirectory: directory.path,
    dataId: directory.id,
    bootId,
    spoolPath: place.path,
    migrations: join(packageRoot(), 'migrations'),
    codec: settings.log.codec,
    journal: options.journal.connection(),
  });
  try {
    const { nextSession } = await thread.opened;
    const spool = createSpool({
      path: place.path,
      dataId: directory.id,
      bootId,
      bytes: settings.log.spoolBytes,
      ports,
      libc,
      control,
    });
    for (const warning of spool.warnings) journal.warn({ path: place.path, warning }, 'spool');
    const client = new StoreClient(thread.connect(), control);
    thread.serve();
    const { users } = await client.users();
    return { thread, client, spool, nextSession, databaseUsers: users };
  } catch (error) {
    await thread.terminate();
    throw error;
  }
}

/** The store thread. It is never replaced: without it nothing is kept, so its end ends the daemon. */
export class StoreThread {
  readonly commits = new Int32Array(new SharedArrayBuffer(4));
  readonly opened: Promise<{ nextSession: number }>;
  /** Resolves when the thread failed. */
  readonly failed: Promise<Error>;
  readonly #worker: Worker;
  readonly #control: SharedArrayBuffer;

  constructor(control: SharedArrayBuffer, data: Omit<StoreThreadData, 'commits'>) {
    this.#control = control;
    const workerData: StoreThreadData = { ...data, commits: this.commits };
    this.#worker = new Worker(new URL('./store-thread.js', import.meta.url), {
      workerData,
      transferList: [data.journal.port],
    });
    this.failed = once(this.#worker, 'error').then(([error]) => error as Error);
    this.opened = Promise.race([
      once(this.#worker, 'message').then(([answer]) => {
        const message = answer as StoreThreadMessage;
        if ('fault' in message) throw faultFrom(message.fault);
        return message.opened;
      }),
      this.failed.then((error) => {
        throw new Fault('STORE_FAILED', `the store did not start: ${error.message}`, error);
      }),
    ]);
  }

  /** A port for one more thread that asks the store. */
  connect(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.#worker.postMessage({ connect: port1 } satisfies StoreThreadRequest, [port1]);
    return port2;
  }

  /** The spool is made: its loop may begin. */
  serve(): void {
    const request: StoreThreadRequest = { spool: { control: this.#control } };
    this.#worker.postMessage(request);
  }

  /** True: everything is committed, and the stop marked as clean. */
  async stop(client: StoreClient, timeoutMs: number): Promise<boolean> {
    const exited = once(this.#worker, 'exit');
    let timer: NodeJS.Timeout | null = null;
    const tooLong = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const stopped = client.stop().then(
      () => true,
      () => false,
    );
    const isClean = await Promise.race([stopped, tooLong]);
    if (timer) clearTimeout(timer);
    if (isClean) await exited;
    else await this.#worker.terminate();
    return isClean;
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }
}
