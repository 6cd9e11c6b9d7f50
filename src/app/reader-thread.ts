import { setPriority } from 'node:os';
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { createAuthorizer } from '../auth/authorizer.ts';
import type { User } from '../core/user.ts';
import { createLogReader } from '../log/service.ts';
import { loadLibc } from '../native/libc.ts';
import { dataPaths } from '../store/data-directory.ts';
import { openLogFiles } from '../store/log-files.ts';
import { hangHere, type Failpoints } from './failpoints.ts';
import { serveLogReader } from './log-client.ts';
import { StoreClient } from './store-client.ts';
import { BEAT_EVERY_MS } from './supervised-thread.ts';
import { SystemClock } from './system-clock.ts';

/** Who may read what; changes on reload. */
export interface ReaderSetup {
  users: readonly User[];
  roles: Readonly<Record<string, readonly string[]>>;
  ports: readonly { name: string; group: string | null; aliases: readonly string[] }[];
}

export interface ReaderThreadData {
  dataDirectory: string;
  setup: ReaderSetup;
  commits: Int32Array;
  store: { port: MessagePort; control: SharedArrayBuffer };
  beat: Int32Array;
  failpoints: Failpoints;
}

export type ReaderThreadMessage =
  { setup: ReaderSetup } | { connect: MessagePort } | { stop: true };

/** Reading is heavy at times and never urgent: capture and commits go first. */
const NICE = 10;

const data = workerData as ReaderThreadData;
const clock = new SystemClock();
const libc = await loadLibc();
if (libc) setPriority(libc.threadId(), NICE);
const store = new StoreClient(data.store.port, data.store.control);
const authorizer = createAuthorizer(data.setup.users, data.setup.roles);
let { ports } = data.setup;

const portNamed = (name: string): ReaderSetup['ports'][number] | undefined =>
  ports.find((port) => port.name.toLowerCase() === name.toLowerCase());
const source = openLogFiles(dataPaths(data.dataDirectory), { counter: data.commits });
const reader = createLogReader(
  source,
  authorizer,
  {
    group: (name) => portNamed(name)?.group ?? null,
    aliases: (name) => portNamed(name)?.aliases ?? [],
  },
  { clock, audit: (row) => store.audit(row) },
);

setInterval(() => {
  Atomics.add(data.beat, 0, 1);
  clock.anchor();
  hangHere(data.failpoints, 'reader-hang');
}, BEAT_EVERY_MS);

parentPort!.on('message', (message: ReaderThreadMessage) => {
  if ('connect' in message) {
    serveLogReader(message.connect, reader);
  } else if ('setup' in message) {
    ({ ports } = message.setup);
    authorizer.update(message.setup.users, message.setup.roles);
  } else {
    source.close();
    process.exit();
  }
});
parentPort!.postMessage({ ready: true });
