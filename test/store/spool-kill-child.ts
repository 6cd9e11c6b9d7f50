import { constants, openSync, readSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { createSpool } from '../../src/store/spool.ts';
import { IDS, requireLibc, uuidOf } from './spool-support.ts';
import type { StoreWork } from './spool-worker.ts';

// Reads a FIFO straight into a spool, as fast as it can, while a store thread commits behind it:
// arguments are the FIFO, the spool, the file for the durable offset, and `mapped` or `copied`. Lives
// until it is killed, or its stdin ends.
const [fifo, path, durablePath, memory] = process.argv.slice(2) as [string, string, string, string];
const libc = memory === 'mapped' ? await requireLibc() : null;
const spool = createSpool({ path, ...IDS, bytes: 1, ports: 1, libc });
const port = spool.port(1, uuidOf(1), { epoch: 1, seq: 0, offset: 0 });
const fd = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);

const workerData: StoreWork = {
  control: spool.control,
  path,
  isMapped: libc !== null,
  bytesMax: 1_000_000,
  urgentMs: 2,
  durablePath,
};
const store = new Worker(new URL('./spool-worker.js', import.meta.url), { workerData });
store.on('message', () => {
  process.stdout.write('ready\n');
  setImmediate(readAll);
});
process.stdin.on('end', () => process.exit(0)).resume();

let seq = 0;
let offset = 0;

function readAll(): void {
  for (let i = 0; i < 200; i++) {
    const { count } = port.readInto(seq, offset, Date.now, readFifo);
    if (count <= 0) continue;
    seq++;
    offset += count;
    if (seq % 7 === 0) port.append('mark', seq++, offset, Date.now(), Buffer.from('a mark'));
  }
  spool.publish();
  setImmediate(readAll);
}

function readFifo(memory: Buffer, start: number, lengthMax: number): number {
  try {
    // Now a little, now as much as there is room for.
    return readSync(fd, memory, start, seq % 3 === 0 ? lengthMax : 1 + ((seq * 997) % 4096), null);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}
