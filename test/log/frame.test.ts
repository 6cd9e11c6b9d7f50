import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { offsetsOf, RECORD_KINDS, seqsOf } from '../../src/core/record.ts';
import type { LogRecord, RecordBody, RecordKind } from '../../src/core/record.ts';
import {
  decodeBody,
  decodeFrame,
  encodeBody,
  firstKindOf,
  FRAME_BYTES_MAX,
  FrameBuilder,
  joinFrames,
  type PackedFrame,
} from '../../src/log/frame.ts';
import { bodies, plain } from './records.ts';

const EPOCH = 1_790_000_000;

/** Packs bodies as a port core would number them; the records are what must come back. */
function pack(
  steps: readonly { body: RecordBody; afterUs: number }[],
  start = { seq: 1, offset: 0, atUs: 1_790_000_000_000_000 },
): { frame: PackedFrame; records: LogRecord[] } {
  const builder = new FrameBuilder();
  const records: LogRecord[] = [];
  let { seq, offset, atUs } = start;
  for (const { body: wanted, afterUs } of steps) {
    const body = wanted.kind === 'gap' ? movedTo(wanted, offset) : wanted;
    atUs += afterUs;
    const payload = Buffer.from(encodeBody(body));
    builder.add(body.kind, seq, offset, atUs, payload, 0, payload.length);
    records.push({ epoch: EPOCH, seq, offset, atUs, ...body });
    seq += seqsOf(body);
    offset += offsetsOf(body);
  }
  return { frame: builder.finish(), records };
}

function movedTo(gap: Extract<RecordBody, { kind: 'gap' }>, offset: number): RecordBody {
  return { ...gap, from: offset, to: offset + gap.to - gap.from };
}

/** A line of records of two bytes, so that runs are many, begin, end and change. */
const sameBytes = fc.array(
  fc.record({
    body: fc.record({
      kind: fc.constant('rx' as const),
      bytes: fc
        .tuple(fc.oneof(fc.nat(3), fc.nat(700), fc.nat(3000)), fc.constantFrom(0, 0, 0, 65))
        .map(([length, byte]) => new Uint8Array(length).fill(byte)),
    }),
    afterUs: fc.oneof(fc.nat(20_000), fc.nat(12_000_000)),
  }),
  { minLength: 1, maxLength: 60 },
);

function isOneByte(body: RecordBody): boolean {
  if (body.kind !== 'rx' || body.bytes.length === 0) return false;
  return body.bytes.every((byte) => byte === body.bytes[0]);
}

/** What is to come back: records of one byte in a row, over 1 KB and within 10 s, evenly spread. */
function spread(records: readonly LogRecord[]): LogRecord[] {
  const result: LogRecord[] = [];
  for (let at = 0; at < records.length;) {
    const row = rowAt(records, at);
    at += row.length;
    const total = row.reduce((sum, record) => sum + offsetsOf(record), 0);
    if (row.length === 1 || total <= 1024) result.push(...row);
    else result.push(...evenly(row, total));
  }
  return result;
}

function rowAt(records: readonly LogRecord[], at: number): LogRecord[] {
  const first = records[at]!;
  if (first.kind !== 'rx' || !isOneByte(first)) return [first];
  const isOther = (record: LogRecord, index: number): boolean =>
    index > at &&
    (record.kind !== 'rx' ||
      !isOneByte(record) ||
      record.bytes[0] !== first.bytes[0] ||
      record.atUs - first.atUs > 10_000_000);
  const end = records.findIndex(isOther);
  return records.slice(at, end < 0 ? undefined : end);
}

function evenly(row: readonly LogRecord[], total: number): LogRecord[] {
  const [first, last] = [row[0]!, row.at(-1)!];
  assert(first.kind === 'rx');
  const count = row.length;
  const byte = first.bytes[0]!;
  const cut = (nth: number): number => Math.floor((total * nth) / count);
  return row.map((record, nth) => ({
    ...record,
    kind: 'rx',
    offset: first.offset + cut(nth),
    atUs: first.atUs + Math.floor(((last.atUs - first.atUs) * nth) / (count - 1)),
    bytes: new Uint8Array(cut(nth + 1) - cut(nth)).fill(byte),
  }));
}

const steps = fc.array(
  fc.record({ body: bodies, afterUs: fc.oneof(fc.nat(2000), fc.nat(4_000_000_000)) }),
  { minLength: 1, maxLength: 40 },
);

describe('frame', () => {
  it('gives back every record that was packed', () => {
    fc.assert(
      fc.property(steps, (list) => {
        const { frame, records } = pack(list);
        assert.deepEqual(
          decodeFrame({ epoch: EPOCH, ...frame }, frame.packed).map(plain),
          spread(records).map(plain),
        );
        const last = records.at(-1)!;
        assert.equal(frame.lastSeq, last.seq + seqsOf(last) - 1);
        assert.equal(frame.endOffset, last.offset + offsetsOf(last));
        assert.equal(frame.firstUs, records[0]!.atUs);
        assert.equal(frame.lastUs, last.atUs);
        assert.equal(firstKindOf(frame.packed), records[0]!.kind);
      }),
    );
  });

  it('gives the records of joined frames, one after the other', () => {
    fc.assert(
      fc.property(steps, fc.nat(40), (list, cutAt) => {
        const cut = Math.min(cutAt, list.length - 1);
        if (cut === 0) return;
        // Runs that go on behind the cut are another matter: see below.
        fc.pre(!isOneByte(list[cut - 1]!.body) || !isOneByte(list[cut]!.body));
        const whole = pack(list);
        const head = pack(list.slice(0, cut));
        const { lastSeq, endOffset, lastUs } = head.frame;
        const start = { seq: lastSeq + 1, offset: endOffset, atUs: lastUs };
        const joined = joinFrames([head.frame, pack(list.slice(cut), start).frame]);
        assert.deepEqual(joined, Buffer.from(whole.frame.packed));
      }),
    );
  });

  it('decodes any bytes to records or a Fault, in bounded memory', () => {
    const head = { epoch: EPOCH, firstSeq: 1, offset: 0, firstUs: 0 };
    const total = (bytes: Uint8Array): void => {
      try {
        decodeFrame(head, bytes);
      } catch (error) {
        assert(error instanceof Fault);
        assert.equal(error.code, 'LOG_DAMAGED');
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), total));
    for (const version of [1, 2]) {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
          total(Uint8Array.of(version, ...bytes)),
        ),
      );
    }
  });

  it('decodes a frame with a changed byte to records or a Fault', () => {
    fc.assert(
      fc.property(steps, fc.nat(), fc.integer({ min: 1, max: 255 }), (list, place, change) => {
        const { frame } = pack(list);
        const bytes = Buffer.from(frame.packed);
        bytes[place % bytes.length]! ^= change;
        try {
          decodeFrame({ epoch: EPOCH, ...frame }, bytes);
        } catch (error) {
          assert(error instanceof Fault && error.code === 'LOG_DAMAGED', String(error));
        }
      }),
    );
  });

  it('decodes any payload of any kind to a body or a Fault', () => {
    const kinds = fc.constantFrom(...(Object.keys(RECORD_KINDS) as RecordKind[]));
    const payloads = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.json().map((text) => Buffer.from(text)),
      bodies.map((body) => encodeBody(body)),
    );
    fc.assert(
      fc.property(kinds, payloads, (kind, payload) => {
        try {
          assert.equal(decodeBody(kind, payload).kind, kind);
        } catch (error) {
          assert(error instanceof Fault && error.code === 'LOG_DAMAGED', String(error));
        }
      }),
    );
  });

  it('refuses a run that would fill the memory', () => {
    const { frame } = pack([{ body: { kind: 'rx', bytes: Buffer.alloc(4096, 7) }, afterUs: 0 }]);
    assert(frame.packed.length < 16, 'identical bytes are a run');
    // Version, 1 record, 7 bytes of heads: dt 0, run, a varint over the bound; then the byte.
    const length = [0x81, 0x80, 0x80, 0x80, 0x01];
    assert(2 ** 28 > FRAME_BYTES_MAX);
    const bomb = Uint8Array.of(1, 1, 7, 0, 0x81, ...length, 7);
    assert.throws(
      () => decodeFrame({ epoch: 1, firstSeq: 1, offset: 0, firstUs: 0 }, bomb),
      (error) => error instanceof Fault && error.code === 'LOG_DAMAGED',
    );
  });

  it('keeps a run of 1,025 identical bytes in one, and 1,024 as they are', () => {
    for (const [length, bound] of [
      [1024, 1030],
      [1025, 12],
    ] as const) {
      const bytes = Buffer.alloc(length, 0x20);
      const { frame, records } = pack([{ body: { kind: 'rx', bytes }, afterUs: 0 }]);
      assert(frame.packed.length <= bound + 6);
      assert.equal(frame.bytes, length);
      assert.deepEqual(
        decodeFrame({ epoch: EPOCH, ...frame }, frame.packed).map(plain),
        records.map(plain),
      );
    }
  });

  it('keeps of a run of several records their seqs, bytes, first and last time', () => {
    fc.assert(
      fc.property(sameBytes, (list) => {
        const { frame, records } = pack(list);
        const found = decodeFrame({ epoch: EPOCH, ...frame }, frame.packed);
        assert.deepEqual(found.map(plain), spread(records).map(plain));
        assert.equal(frame.lastSeq, records.at(-1)!.seq);
        assert.equal(frame.lastUs, records.at(-1)!.atUs);
      }),
    );
  });

  it('joins runs across frames, and keeps every seq and byte in its place', () => {
    fc.assert(
      fc.property(sameBytes, fc.array(fc.nat(59), { maxLength: 10 }), (list, cuts) => {
        const { frames, records } = packedInPieces(list, cuts);
        const joined = joinFrames(frames);
        const found = decodeFrame({ epoch: EPOCH, ...frames[0]! }, joined);
        assert.deepEqual(
          found.map(({ seq }) => seq),
          records.map(({ seq }) => seq),
        );
        assert.deepEqual(allBytes(found), allBytes(records));
        assert.equal(found[0]!.atUs, records[0]!.atUs);
        assert.equal(found.at(-1)!.atUs, records.at(-1)!.atUs);
        for (const [index, { atUs, offset }] of found.entries()) {
          assert(Math.abs(atUs - records[index]!.atUs) <= 10_000_000, 'no run is longer than 10 s');
          if (index > 0) assert(atUs >= found[index - 1]!.atUs);
          if (index > 0)
            assert.equal(offset, found[index - 1]!.offset + rxBytes(found[index - 1]!));
        }
      }),
    );
  });

  it('stores a line that says nothing but NULs at 1 % of it, at any speed', () => {
    for (const bytesPerSecond of [960, 5_760, 11_520, 115_200]) {
      // Ten commits a second, of ten reads each; 256 KB make a segment.
      const list: { body: RecordBody; afterUs: number }[] = [];
      let left = 0;
      for (let bytes = 0; bytes < 262_144;) {
        left += bytesPerSecond / 100;
        const length = Math.floor(left);
        left -= length;
        bytes += length;
        const afterUs = 10_000 + ((list.length * 7_919) % 400);
        list.push({ body: { kind: 'rx', bytes: new Uint8Array(length) }, afterUs });
      }
      const heard = list.filter(({ body }) => offsetsOf(body) > 0);
      const commits = heard.map((_step, index) => index).filter((index) => index % 10 === 0);
      const joined = joinFrames(packedInPieces(heard, commits).frames);
      assert(joined.length < 2_621, `${joined.length} bytes at ${bytesPerSecond} a second`);
    }
  });

  it('reads what was stored before there were runs of several records', () => {
    // 'ab', then 1,500 spaces as a run, then a line error of the time; version 1.
    const stored = Buffer.from(
      '01030a0001021481dc0b1e051c6162207b226572726f72223a22706172697479222c22636f756e74223a317d',
      'hex',
    );
    const records = decodeFrame({ epoch: 1, firstSeq: 5, offset: 9, firstUs: 100 }, stored);
    assert.deepEqual(records.map(plain), [
      { epoch: 1, seq: 5, offset: 9, atUs: 100, kind: 'rx', bytes: '6162' },
      { epoch: 1, seq: 6, offset: 11, atUs: 110, kind: 'rx', bytes: '20'.repeat(1500) },
      { epoch: 1, seq: 7, offset: 1511, atUs: 125, kind: 'line-error', error: 'parity', count: 1 },
    ]);
  });

  it('reads what is stored today for ever', () => {
    // A run of 3 records of NUL, then BREAKs beyond those recorded, then a garbled stretch; version 2.
    const bodiesOfToday: RecordBody[] = [
      ...[500, 501, 502].map((length) => ({ kind: 'rx' as const, bytes: new Uint8Array(length) })),
      { kind: 'line-error', error: 'break', count: 40, from: 9 },
      { kind: 'garbled', from: 9, to: 1512, looksLike: '9600 8N1', confidence: 0.87 },
    ];
    const { frame } = pack(
      bodiesOfToday.map((body) => ({ body, afterUs: 10 })),
      { seq: 5, offset: 9, atUs: 90 },
    );
    assert.equal(frame.packed.toString('hex'), STORED_TODAY);
    const stored = Buffer.from(STORED_TODAY, 'hex');
    const records = decodeFrame({ epoch: 1, firstSeq: 5, offset: 9, firstUs: 100 }, stored);
    const nul = (length: number): object => ({ kind: 'rx', bytes: '00'.repeat(length) });
    const at = (seq: number, offset: number, atUs: number): object => ({
      epoch: 1,
      seq,
      offset,
      atUs,
    });
    assert.deepEqual(records.map(plain), [
      { ...at(5, 9, 100), ...nul(501) },
      { ...at(6, 510, 110), ...nul(501) },
      { ...at(7, 1011, 120), ...nul(501) },
      { ...at(8, 1512, 130), ...bodiesOfToday[3] },
      { ...at(9, 1512, 140), ...bodiesOfToday[4] },
    ]);
  });

  it('refuses runs of several records that no frame holds', () => {
    const run = (bytes: number[], records: number[], spanUs: number[]): Uint8Array => {
      const heads = [0, 0xc1, ...bytes, ...records, ...spanUs];
      return Uint8Array.of(2, 1, heads.length, ...heads, 0);
    };
    const decode = (packed: Uint8Array) =>
      decodeFrame({ epoch: 1, firstSeq: 1, offset: 0, firstUs: 0 }, packed);
    assert.equal(decode(run([4], [2], [9])).length, 2);
    const wrong = [
      run([4], [1], [9]), // is no run of several
      run([4], [5], [9]), // more records than bytes
      run([4], [2], [0x80, 0xad, 0xe2, 0x04 + 1]), // over 10 s
      run([0x80, 0x80, 0x80, 0x08], [0x80, 0x80, 0x80, 0x03], [9]), // 6 million records
      Uint8Array.of(1, ...run([4], [2], [9]).subarray(1)), // in a frame of version 1
    ];
    for (const packed of wrong) {
      assert.throws(
        () => decode(packed),
        (error) => error instanceof Fault && error.code === 'LOG_DAMAGED',
      );
    }
  });
});

const STORED_TODAY =
  '02030c00c1df0b031414052514103d007b226572726f72223a22627265616b222c22636f756e74223a34302c2266726f6d223a397d' +
  '7b2266726f6d223a392c22746f223a313531322c226c6f6f6b734c696b65223a223936303020384e31222c22636f6e666964656e6365223a302e38377d';

function packedInPieces(
  list: readonly { body: RecordBody; afterUs: number }[],
  cuts: readonly number[],
): { frames: PackedFrame[]; records: LogRecord[] } {
  const frames: PackedFrame[] = [];
  const records: LogRecord[] = [];
  let start: Parameters<typeof pack>[1] = undefined;
  const ends = [...new Set([...cuts.filter((cut) => cut > 0 && cut < list.length), list.length])];
  let from = 0;
  for (const end of ends.sort((a, b) => a - b)) {
    const packed = pack(list.slice(from, end), start);
    frames.push(packed.frame);
    records.push(...packed.records);
    const { lastSeq, endOffset, lastUs } = packed.frame;
    start = { seq: lastSeq + 1, offset: endOffset, atUs: lastUs };
    from = end;
  }
  return { frames, records };
}

function allBytes(records: readonly LogRecord[]): string {
  return Buffer.concat(
    records.map((record) => (record.kind === 'rx' ? record.bytes : Buffer.alloc(0))),
  ).toString('latin1');
}

function rxBytes(record: LogRecord): number {
  return record.kind === 'rx' ? record.bytes.length : 0;
}
