import assert from 'node:assert/strict';
import { openSync, writeSync } from 'node:fs';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { openSpoolReader } from '../../src/store/spool-reader.ts';
import { requireLibc } from './spool-support.ts';

/** What a test's store thread is started with. */
export interface StoreWork {
  control: SharedArrayBuffer;
  path: string;
  isMapped: boolean;
  bytesMax: number;
  /** After the first, waits for 1 MB as the daemon's store does; for at most this long. */
  urgentMs: number;
  /** Where the offset behind what is durable goes before `committed`, as 8 bytes; null: nowhere. */
  durablePath: string | null;
}

/** What it saw when it was told to stop. */
export interface StoreReport {
  /** By port id. */
  ports: Record<number, { seen: number; missing: number; lastSeq: number }>;
  waitingBytes: number;
  takes: number;
}

/** A payload that can be checked without knowing what was written: seq at both ends. */
export function stamp(payload: Buffer, portId: number, seq: number): Buffer {
  payload.writeDoubleLE(seq, 0);
  payload.writeDoubleLE(portId, 8);
  payload.writeDoubleLE(seq, payload.length - 8);
  return payload;
}

if (parentPort !== null) {
  const work = workerData as StoreWork;
  const libc = work.isMapped ? await requireLibc() : null;
  const reader = openSpoolReader(work.control, work.path, libc);
  const durable = work.durablePath === null ? null : openSync(work.durablePath, 'r+');
  const durableOffset = new Float64Array(1);
  const ports: StoreReport['ports'] = {};
  const isStamped = durable === null;
  let takes = 0;

  const take = (): number => {
    takes++;
    const bytes = reader.take(
      work.bytesMax,
      (portId, _epoch, kind, seq, offset, _atUs, memory, start, length) => {
        const port = (ports[portId] ??= { seen: 0, missing: 0, lastSeq: -1 });
        assert.ok(seq > port.lastSeq, `port ${portId}: ${seq} after ${port.lastSeq}`);
        port.missing += seq - port.lastSeq - 1;
        port.lastSeq = seq;
        port.seen++;
        durableOffset[0] = kind === 'rx' ? offset + length : offset;
        if (!isStamped) return;
        assert.equal(memory.readDoubleLE(start), seq);
        assert.equal(memory.readDoubleLE(start + 8), portId);
        assert.equal(memory.readDoubleLE(start + length - 8), seq);
      },
    );
    if (durable !== null && bytes > 0)
      writeSync(durable, new Uint8Array(durableOffset.buffer), 0, 8, 0);
    reader.committed();
    return bytes;
  };

  parentPort.postMessage('ready');
  while (receiveMessageOnPort(parentPort) === undefined) {
    reader.wait(60_000, 'published');
    take();
    if (work.urgentMs > 0) reader.wait(work.urgentMs, 'urgent');
  }
  while (take() > 0);
  const report: StoreReport = { ports, waitingBytes: reader.waitingBytes(), takes };
  parentPort.postMessage(report);
  reader.close();
  parentPort.close();
}
