import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { offsetsOf, seqsOf, type LogRecord, type RecordBody } from '../../src/core/record.ts';
import { decodeFrame, encodeBody } from '../../src/log/frame.ts';
import { Recorder, type Frame } from '../../src/log/recorder.ts';
import { bodies, plain } from './records.ts';

const EPOCH = 1_790_000_000;
const NOON_US = EPOCH * 1_000_000;

function feed(recorder: Recorder, portId: number, record: LogRecord): void {
  const payload = Buffer.from(encodeBody(record));
  const { epoch, kind, seq, offset, atUs } = record;
  recorder.add(portId, epoch, kind, seq, offset, atUs, payload, 0, payload.length);
}

function decodeAll(frames: readonly Frame[]): LogRecord[] {
  return frames.flatMap((frame) => decodeFrame(frame, frame.packed));
}

/** Records of one port, numbered as a port core numbers them; time may step. */
const portRecords: fc.Arbitrary<LogRecord[]> = fc
  .array(fc.record({ body: bodies, afterUs: fc.integer({ min: -5_000_000, max: 5_000_000 }) }), {
    maxLength: 40,
  })
  .map((list) => {
    let [seq, offset, atUs] = [1, 0, NOON_US];
    return list.map(({ body: wanted, afterUs }) => {
      const body: RecordBody =
        wanted.kind === 'gap'
          ? { ...wanted, from: offset, to: offset + wanted.to - wanted.from }
          : ofTwoBytes(wanted);
      atUs += afterUs;
      const record: LogRecord = { epoch: EPOCH, seq, offset, atUs, ...body };
      seq += seqsOf(body);
      offset += offsetsOf(body);
      return record;
    });
  });

/** Records in a row of one and the same byte come back evenly spread: test/log/frame.test.ts. */
function ofTwoBytes(body: RecordBody): RecordBody {
  if (body.kind !== 'rx' || body.bytes.length < 2) return body;
  const bytes = Uint8Array.from(body.bytes);
  bytes[0] = bytes[1]! ^ 1;
  return { ...body, bytes };
}

describe('recorder', () => {
  it('keeps every record of every port, however commits cut them', () => {
    fc.assert(
      fc.property(portRecords, portRecords, fc.array(fc.boolean()), (one, two, cuts) => {
        const recorder = new Recorder();
        const frames: Frame[] = [];
        recorder.expect(1, { epoch: EPOCH, seq: 1, offset: 0 });
        recorder.expect(2, { epoch: EPOCH, seq: 1, offset: 0 });
        for (let i = 0; i < Math.max(one.length, two.length); i++) {
          if (one[i]) feed(recorder, 1, one[i]!);
          if (two[i]) feed(recorder, 2, two[i]!);
          if (cuts[i]) frames.push(...recorder.finish().frames);
        }
        const last = recorder.finish();
        assert.equal(last.refused, 0);
        frames.push(...last.frames);
        for (const [portId, records] of [
          [1, one],
          [2, two],
        ] as const) {
          const kept = decodeAll(frames.filter((frame) => frame.portId === portId));
          assert.deepEqual(kept.map(plain), records.map(plain));
        }
      }),
    );
  });

  it('takes what it has seen before only once', () => {
    fc.assert(
      fc.property(portRecords, fc.nat(40), (records, again) => {
        const recorder = new Recorder();
        recorder.expect(1, { epoch: EPOCH, seq: 1, offset: 0 });
        for (const record of records) feed(recorder, 1, record);
        for (const record of records.slice(again)) feed(recorder, 1, record);
        assert.deepEqual(decodeAll(recorder.finish().frames).map(plain), records.map(plain));
      }),
    );
  });

  it('puts a gap, exact in bytes and numbers, where records are missing', () => {
    fc.assert(
      fc.property(portRecords, fc.nat(40), fc.nat(10), (records, from, count) => {
        const cut = records.slice(from, from + count);
        const after = records[from + count];
        if (cut.length === 0 || !after) return;
        const recorder = new Recorder();
        recorder.expect(1, { epoch: EPOCH, seq: 1, offset: 0 });
        for (const record of records) if (!cut.includes(record)) feed(recorder, 1, record);
        const kept = decodeAll(recorder.finish().frames);
        assert.deepEqual(plain(kept[from]!), {
          epoch: EPOCH,
          seq: cut[0]!.seq,
          offset: cut[0]!.offset,
          atUs: after.atUs,
          kind: 'gap',
          from: cut[0]!.offset,
          to: after.offset,
          count: after.offset - cut[0]!.offset,
          reason: 'spool full',
          seqs: after.seq - cut[0]!.seq,
        });
        assert.deepEqual(
          kept.filter((_, index) => index !== from).map(plain),
          records.filter((record) => !cut.includes(record)).map(plain),
        );
      }),
    );
  });

  it('begins a frame at a clock step, and whenever time falls', () => {
    const recorder = new Recorder();
    recorder.expect(1, { epoch: EPOCH, seq: 1, offset: 0 });
    const rx = (seq: number, offset: number, atUs: number): LogRecord => ({
      epoch: EPOCH,
      seq,
      offset,
      atUs,
      kind: 'rx',
      bytes: Buffer.from('ab'),
    });
    feed(recorder, 1, rx(1, 0, 50));
    feed(recorder, 1, rx(2, 2, 60));
    feed(recorder, 1, {
      epoch: EPOCH,
      seq: 3,
      offset: 4,
      atUs: 900,
      kind: 'clock-step',
      stepUs: 1,
    });
    feed(recorder, 1, rx(4, 4, 901));
    feed(recorder, 1, rx(5, 6, 40));
    const { frames } = recorder.finish();
    assert.deepEqual(
      frames.map(({ firstSeq, lastSeq, firstUs, lastUs }) => [firstSeq, lastSeq, firstUs, lastUs]),
      [
        [1, 2, 50, 60],
        [3, 4, 900, 901],
        [5, 5, 40, 40],
      ],
    );
  });

  it('begins a new epoch when an entry brings one, and drops entries of an older one', () => {
    const recorder = new Recorder();
    recorder.expect(1, { epoch: EPOCH, seq: 9, offset: 90 });
    const mark = (epoch: number, seq: number): LogRecord => ({
      epoch,
      seq,
      offset: 0,
      atUs: 5,
      kind: 'mark',
      text: '',
    });
    feed(recorder, 1, mark(EPOCH + 7, 1));
    feed(recorder, 1, mark(EPOCH, 10));
    feed(recorder, 1, mark(EPOCH + 7, 2));
    const { frames, refused } = recorder.finish();
    assert.equal(refused, 0);
    assert.deepEqual(
      decodeAll(frames).map(({ epoch, seq }) => [epoch, seq]),
      [
        [EPOCH + 7, 1],
        [EPOCH + 7, 2],
      ],
    );
    assert.deepEqual(recorder.position(1), { epoch: EPOCH + 7, seq: 3, offset: 0 });
  });

  it('refuses, and counts, what no log can hold', () => {
    const recorder = new Recorder();
    recorder.expect(1, { epoch: EPOCH, seq: 5, offset: 50 });
    const rx = (seq: number, offset: number): LogRecord => ({
      epoch: EPOCH,
      seq,
      offset,
      atUs: 5,
      kind: 'rx',
      bytes: Buffer.from('x'),
    });
    feed(recorder, 2, rx(1, 0)); // a port nobody registered
    feed(recorder, 1, rx(5, 51)); // bytes passed over without a record
    feed(recorder, 1, rx(6, 49)); // an offset that fell
    const bad = Buffer.from('{"from":9}');
    recorder.add(1, EPOCH, 'gap', 5, 50, 5, bad, 0, bad.length);
    feed(recorder, 1, rx(5, 50));
    const { frames, refused } = recorder.finish();
    assert.equal(refused, 4);
    assert.deepEqual(
      decodeAll(frames).map(({ seq, offset }) => [seq, offset]),
      [[5, 50]],
    );
  });
});
