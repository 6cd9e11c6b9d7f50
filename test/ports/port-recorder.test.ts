import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { offsetsOf } from '../../src/core/record.ts';
import type { LogRecord } from '../../src/core/record.ts';
import { decodeFrame, encodeBody } from '../../src/log/frame.ts';
import { Recorder } from '../../src/log/recorder.ts';
import { PortRecorder } from '../../src/ports/port-recorder.ts';
import { openBench } from '../store/spool-support.ts';
import type { SpoolBench } from '../store/spool-support.ts';
import { FakeTimers } from './support.ts';

const UUID = '6f2a7d1e-0000-4000-8000-000000000001';
const BEGIN = { epoch: 7, seq: 1, offset: 0 };

type Step =
  { do: 'read' | 'rx'; bytes: number } | { do: 'off' | 'on' | 'mark' | 'wait' | 'event in a read' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constantFrom('read' as const, 'rx' as const),
    bytes: fc.integer({ min: 1, max: 3_000 }),
  }),
  fc.record({
    do: fc.constantFrom(
      'off' as const,
      'on' as const,
      'mark' as const,
      'wait' as const,
      'event in a read' as const,
    ),
  }),
);

/** A port's records on their way through the real spool into frames, and back. */
class Bench {
  readonly timers = new FakeTimers();
  readonly recorder: PortRecorder;
  readonly #spool: SpoolBench;
  /** What the device said, and how much of it while logging was on. */
  readonly said: number[] = [];
  readonly logged = new Set<number>();

  constructor(spool: SpoolBench) {
    this.#spool = spool;
    this.recorder = new PortRecorder(
      spool.spool,
      { nowUs: () => this.timers.nowMs() * 1_000 },
      this.timers,
      encodeBody,
      () => spool.spool.publish(),
      { portId: 1, uuid: UUID, position: BEGIN },
    );
  }

  say(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (this.recorder.isLogging) this.logged.add(this.said.length);
      this.said.push(byte);
    }
  }

  async do(wanted: Step): Promise<void> {
    const { recorder } = this;
    switch (wanted.do) {
      case 'rx': {
        const bytes = this.#next(wanted.bytes);
        this.say(bytes);
        recorder.rx(bytes);
        break;
      }
      case 'read':
      case 'event in a read': {
        const bytes = this.#next('bytes' in wanted ? wanted.bytes : 10);
        this.say(bytes);
        recorder.rxInto((memory, start) => {
          memory.set(bytes, start);
          if (wanted.do === 'event in a read') recorder.mark('deferred');
          return bytes.length;
        });
        recorder.readIsOver();
        break;
      }
      case 'off':
        recorder.stopLogging('logging turned off by alice');
        break;
      case 'on':
        recorder.resumeLogging();
        break;
      case 'mark':
        recorder.mark('MARK');
        break;
      case 'wait':
        await this.timers.advance(1_000);
    }
  }

  /** What the log holds after a commit. */
  records(): LogRecord[] {
    const recorder = new Recorder();
    recorder.expect(1, BEGIN);
    const seen = this.#spool.takeAll();
    for (const { epoch, kind, seq, offset, atUs, bytes } of seen) {
      recorder.add(1, epoch, kind, seq, offset, atUs, bytes, 0, bytes.length);
    }
    const { frames, refused } = recorder.finish();
    assert.equal(refused, 0, 'the store takes every entry');
    return frames.flatMap((frame) => decodeFrame(frame, frame.packed));
  }

  #next(bytes: number): Uint8Array {
    return Uint8Array.from({ length: bytes }, (_, i) => (this.said.length + i) % 251);
  }
}

async function withBench(run: (bench: Bench) => Promise<void>): Promise<void> {
  const spool = await openBench('mapped', { bytes: 8_388_608 });
  try {
    await run(new Bench(spool));
  } finally {
    spool.end();
  }
}

describe('the records of a port whose logging is turned off', () => {
  it('account for every byte: logged with its place, or in a gap with the reason', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), (steps) =>
        withBench(async (bench) => {
          for (const wanted of steps) await bench.do(wanted);
          bench.recorder.release();
          let offset = 0;
          for (const record of bench.records()) {
            assert.equal(record.offset, offset, 'no hole and no overlap');
            if (record.kind === 'rx') {
              for (const [i, byte] of record.bytes.entries()) {
                assert.ok(bench.logged.has(offset + i), 'only what was read while it was on');
                assert.equal(byte, bench.said[offset + i]);
                bench.logged.delete(offset + i);
              }
            }
            if (record.kind === 'gap') {
              assert.equal(record.reason, 'logging turned off by alice');
              assert.equal(record.count, record.to - record.from);
              assert.equal(record.seqs, 1);
            }
            offset += offsetsOf(record);
          }
          assert.equal(offset, bench.said.length);
          assert.equal(bench.logged.size, 0, 'everything read while it was on is logged');
        }),
      ),
      { numRuns: 60 },
    );
  });

  it('lose at most the offsets of a second in a kill', () =>
    withBench(async (bench) => {
      await bench.do({ do: 'off' });
      await bench.do({ do: 'read', bytes: 100 });
      await bench.timers.advance(999);
      await bench.do({ do: 'read', bytes: 11 });
      await bench.timers.advance(1);
      await bench.do({ do: 'read', bytes: 5 });
      const gaps = bench.records().map((record) => record.offset + offsetsOf(record));
      assert.deepEqual(gaps, [111]);
      assert.equal(bench.recorder.position.offset, 116);
    }));

  it('begin a new epoch with nothing left over from the one before', () =>
    withBench(async (bench) => {
      await bench.do({ do: 'off' });
      await bench.do({ do: 'read', bytes: 100 });
      bench.recorder.beginEpoch({ epoch: 9, seq: 1, offset: 0 });
      await bench.do({ do: 'read', bytes: 7 });
      bench.recorder.release();
      assert.deepEqual(
        bench.records().map((record) => [record.epoch, record.offset, offsetsOf(record)]),
        [
          [7, 0, 100],
          [9, 0, 7],
        ],
      );
    }));
});
