import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { awaitWake, createSpoolControl, wakeStore } from '../../src/store/spool-control.ts';
import { openBench, uuidOf } from './spool-support.ts';
import type { SpoolBench } from './spool-support.ts';
import { stamp } from './spool-worker.ts';
import type { StoreReport, StoreWork } from './spool-worker.ts';

/** A wait that should end at once, or a test that hangs. */
const FOR_EVER_MS = 60_000;

describe('the bell of the spool', () => {
  it('rings before the spool exists, and is not forgotten between two waits', () => {
    const control = createSpoolControl(4_194_304);
    wakeStore(control);
    awaitWake(control, FOR_EVER_MS);
    wakeStore(control);
    wakeStore(control);
    awaitWake(control, FOR_EVER_MS);
    awaitWake(control, 1);
  });

  it('ends a wait at once when there is something to take, an urgent one only at 1 MB', async () => {
    const bench = await openBench('mapped');
    try {
      const port = bench.spool.port(1, uuidOf(1), { epoch: 1, seq: 0, offset: 0 });
      bench.reader.wait(1);
      port.append('rx', 0, 0, 1, Buffer.alloc(100));
      bench.spool.publish();
      bench.reader.wait(FOR_EVER_MS);
      bench.reader.wait(FOR_EVER_MS, 'published');
      const before = performance.now();
      bench.reader.wait(30, 'urgent');
      assert.ok(performance.now() - before > 25, 'a lone record is not urgent');
      for (let seq = 1; seq < 140; seq++) port.append('rx', seq, 0, 1, Buffer.alloc(8000));
      bench.spool.publish();
      bench.reader.wait(FOR_EVER_MS, 'urgent');

      bench.reader.take(1000, () => undefined);
      bench.reader.wait(FOR_EVER_MS, 'published'); // the rest of a take that was cut short
      assert.equal(bench.takeAll().length, 138);
      wakeStore(bench.spool.control);
      bench.reader.wait(FOR_EVER_MS, 'urgent');
      bench.reader.wait(1, 'published');
    } finally {
      bench.end();
    }
  });
});

describe('the spool between two threads', () => {
  for (const memory of ['mapped', 'copied'] as const) {
    it(`loses nothing at a pace the store keeps (${memory})`, async () => {
      await withStore(
        memory,
        { bytesMax: 4_194_304, urgentMs: 5, ports: 3 },
        async (bench, finish) => {
          const ports = [1, 2, 3].map((id) =>
            bench.spool.port(id, uuidOf(id), { epoch: 1, seq: 0, offset: 0 }),
          );
          for (let seq = 0; seq < 3000; seq++) {
            ports.forEach((port, index) => {
              port.append('rx', seq, 0, 1, stamp(Buffer.alloc(24 + (seq % 300)), index + 1, seq));
            });
            bench.spool.publish();
            if (seq % 50 === 0) await new Promise(setImmediate);
          }
          const report = await finish();
          for (const id of [1, 2, 3]) {
            assert.deepEqual(report.ports[id], { seen: 3000, missing: 0, lastSeq: 2999 });
          }
        },
      );
    });
  }

  for (const bytesMax of [4096, 300_000, 4_194_304]) {
    it(`agrees on every block while a flood evicts (${bytesMax} bytes a take)`, async () => {
      await withStore('mapped', { bytesMax, urgentMs: 0, ports: 3 }, async (bench, finish) => {
        const floods = [1, 2].map((id) =>
          bench.spool.port(id, uuidOf(id), { epoch: 1, seq: 0, offset: 0 }),
        );
        const quiet = bench.spool.port(3, uuidOf(3), { epoch: 1, seq: 0, offset: 0 });
        const payload = Buffer.alloc(6000);
        for (let seq = 0; seq < 30_000; seq++) {
          floods[0]!.append('rx', seq, 0, 1, stamp(payload, 1, seq));
          floods[1]!.append('rx', seq, 0, 1, stamp(payload.subarray(0, 1500), 2, seq));
          if (seq % 1000 === 0) {
            quiet.append('rx', seq / 1000, 0, 1, stamp(payload.subarray(0, 1000), 3, seq / 1000));
          }
          bench.spool.publish();
        }
        const report = await finish();
        assert.deepEqual(report.ports[3], { seen: 30, missing: 0, lastSeq: 29 });
        for (const id of [1, 2]) {
          const { seen, missing, lastSeq } = report.ports[id]!;
          assert.equal(seen + missing, lastSeq + 1);
          assert.ok(seen > 100);
        }
        assert.equal(report.waitingBytes, 0);
      });
    });
  }
});

async function withStore(
  memory: 'mapped' | 'copied',
  how: { bytesMax: number; urgentMs: number; ports: number },
  work: (bench: SpoolBench, finish: () => Promise<StoreReport>) => Promise<void>,
): Promise<void> {
  const bench = await openBench(memory, { ports: how.ports });
  const { control } = bench.spool;
  const workerData: StoreWork = {
    bytesMax: how.bytesMax,
    urgentMs: how.urgentMs,
    control,
    path: bench.path,
    isMapped: memory === 'mapped',
    durablePath: null,
  };
  const worker = new Worker(new URL('./spool-worker.js', import.meta.url), { workerData });
  try {
    await once(worker, 'message');
    await work(bench, async () => {
      bench.spool.publish();
      const report = once(worker, 'message');
      worker.postMessage('stop');
      wakeStore(control);
      return ((await report) as [StoreReport])[0];
    });
  } finally {
    await worker.terminate();
    bench.end();
  }
}
