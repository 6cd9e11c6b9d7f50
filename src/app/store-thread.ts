import { once } from 'node:events';
import {
  parentPort,
  receiveMessageOnPort,
  workerData,
  type MessagePort,
} from 'node:worker_threads';
import { faultMessage } from '../core/fault.ts';
import { loadLibc } from '../native/libc.ts';
import { dataPaths } from '../store/data-directory.ts';
import { openSpoolReader } from '../store/spool-reader.ts';
import { recoverSpool } from '../store/spool-recovery.ts';
import {
  Store,
  type StoreAnswer,
  type StoreMailbox,
  type StoreRequest,
} from '../store/store-loop.ts';
import { postingJournal } from './journal.ts';
import { SystemClock } from './system-clock.ts';

/** How the daemon starts the store thread. */
export interface StoreThreadData {
  dataDirectory: string;
  dataId: string;
  bootId: string;
  spoolPath: string;
  migrations: string;
  codec: 'brotli' | 'zstd';
  /** Counts commits, notified: for whoever follows the log. */
  commits: Int32Array;
  journal: { port: MessagePort; pending: Int32Array };
}

/** From the thread: the databases are open and what an earlier daemon spooled is in them. */
export type StoreThreadMessage =
  { opened: { nextSession: number } } | { fault: ReturnType<typeof faultMessage> };

/** To the thread: somebody else who sends StoreRequests; and, once, the spool to serve. */
export type StoreThreadRequest =
  { connect: MessagePort } | { spool: { control: SharedArrayBuffer } };

const data = workerData as StoreThreadData;
const parent = parentPort!;
const journal = postingJournal(data.journal.port, data.journal.pending).child({ room: 'store' });
const libc = await loadLibc();
const store = openStore();
if (store) {
  parent.postMessage({ opened: { nextSession: store.nextSession } } satisfies StoreThreadMessage);
  await serve(store);
}
data.journal.port.close();
parent.close();

function openStore(): Store | null {
  try {
    const paths = dataPaths(data.dataDirectory);
    const clock = new SystemClock();
    const opened = new Store({
      directory: { ...paths, id: data.dataId, release: () => undefined },
      migrations: data.migrations,
      clock: {
        nowUs() {
          clock.anchor();
          return clock.nowUs();
        },
      },
      monotonicMs: () => performance.now(),
      journal,
      codec: data.codec,
      onCommitted() {
        Atomics.add(data.commits, 0, 1);
        Atomics.notify(data.commits, 0);
      },
    });
    opened.recover(recoverSpool(data.spoolPath, { dataId: data.dataId, bootId: data.bootId }));
    return opened;
  } catch (error) {
    parent.postMessage({ fault: faultMessage(error) } satisfies StoreThreadMessage);
    return null;
  }
}

/** Runs the store's loop, which blocks this thread, until it is told to stop. */
async function serve(opened: Store): Promise<void> {
  const callers: MessagePort[] = [];
  let request: StoreThreadRequest;
  do {
    [request] = (await once(parent, 'message')) as [StoreThreadRequest];
    if ('connect' in request) callers.push(request.connect);
  } while (!('spool' in request));
  const reader = openSpoolReader(request.spool.control, data.spoolPath, libc);
  opened.run(reader, mailbox(callers));
  reader.close();
  for (const caller of callers) caller.close();
}

/** Requests of all connected ports in turn. Ids are unique only within a port: they are renumbered. */
function mailbox(callers: MessagePort[]): StoreMailbox {
  const askers = new Map<number, { port: MessagePort; id: number }>();
  let lastId = 0;
  return {
    receive() {
      for (;;) {
        const received = receiveMessageOnPort(parent) as
          { message: StoreThreadRequest } | undefined;
        if (!received) break;
        if ('connect' in received.message) callers.push(received.message.connect);
      }
      for (const port of callers) {
        const received = receiveMessageOnPort(port) as { message: StoreRequest } | undefined;
        if (!received) continue;
        const { message } = received;
        if (!('id' in message)) return message;
        askers.set(++lastId, { port, id: message.id });
        return { ...message, id: lastId };
      }
      return undefined;
    },
    answer(answer: StoreAnswer) {
      const asker = askers.get(answer.id);
      askers.delete(answer.id);
      asker?.port.postMessage({ ...answer, id: asker.id });
    },
  };
}
