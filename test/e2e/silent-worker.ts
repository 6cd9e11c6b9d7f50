import { connect } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import type { FloodCounts, FloodPlan } from './silent-flood.ts';

/** The thread of a `SilentFlood`. */
const { tcpPort, count, sources } = workerData as FloodPlan;
const counts: FloodCounts = { tried: 0, closed: 0 };
let isTold = true;

for (let i = 0; i < count; i++) {
  const localAddress = sources[i % sources.length]!;
  const socket = connect({ host: '127.0.0.1', port: tcpPort, localAddress });
  let isTried = false;
  const tried = (): void => {
    if (!isTried) counts.tried++;
    isTried = true;
    tell();
  };
  socket.once('connect', tried);
  socket.once('error', tried); // reset; 'close' follows
  socket.once('close', () => {
    counts.closed++;
    tell();
  });
  socket.resume(); // what it is told it reads, and its end too
}

/** Once for all that happened in this turn of the loop. */
function tell(): void {
  if (!isTold) return;
  isTold = false;
  setImmediate(() => {
    isTold = true;
    parentPort!.postMessage(counts);
  });
}
