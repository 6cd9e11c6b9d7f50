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
          records.map(plain),
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
        const whole = pack(list);
        const cut = Math.min(cutAt, list.length - 1);
        if (cut === 0) return;
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
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => total(Uint8Array.of(1, ...bytes))),
    );
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
});
