import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import type { EchoReport, ProbePlan } from './echo-probe.ts';

/** The thread of an `EchoProbe`. */
const EVERY_MS = 3;
/** A key that was lost would else be waited for without end. */
const LOST_MS = 30_000;

const { tcpPort, tls } = workerData as ProbePlan;
const plain = connect({ host: '127.0.0.1', port: tcpPort, noDelay: true });
const socket = tls === null ? plain : connectTls({ ...asOptions(tls), socket: plain });
await once(socket, tls === null ? 'connect' : 'secureConnect');
const fresh = (): EchoReport => ({ count: 0, worstMs: 0, ownStallMs: 0 });
let report = fresh();
let heard: (byte: number) => void = () => undefined;

socket.on('data', (bytes: Buffer) => {
  for (const byte of bytes) heard(byte);
});
socket.once('close', () => {
  throw new Error('the echo was disconnected');
});
parentPort!.on('message', () => {
  parentPort!.postMessage(report);
  report = fresh();
});
let turnedAtMs = performance.now();
setInterval(() => {
  report.ownStallMs = Math.max(report.ownStallMs, performance.now() - turnedAtMs - EVERY_MS);
  turnedAtMs = performance.now();
}, EVERY_MS);

for (let i = 0; ; i++) {
  await echo(0x61 + (i % 26));
  if (i === 0) {
    parentPort!.postMessage('ready');
    report = fresh();
  }
  await sleep(EVERY_MS);
}

async function echo(key: number): Promise<void> {
  const pressedAtMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    const lost = setTimeout(() => reject(new Error('no echo')), LOST_MS);
    heard = (byte) => {
      if (byte !== key) return;
      clearTimeout(lost);
      resolve();
    };
    socket.write(Uint8Array.of(key));
  });
  heard = () => undefined;
  report.count++;
  report.worstMs = Math.max(report.worstMs, performance.now() - pressedAtMs);
}

function asOptions({ ca, cert, key }: NonNullable<ProbePlan['tls']>) {
  return { ca: Buffer.from(ca), cert: Buffer.from(cert), key: Buffer.from(key) };
}
