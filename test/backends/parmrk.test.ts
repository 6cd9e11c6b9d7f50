import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeParmrk, endParmrk } from '../../src/backends/tty/parmrk.ts';
import type { ParmrkHeld } from '../../src/backends/tty/parmrk.ts';

/** What came, in order: bytes run together, marks by name. */
type Heard = string | { bytes: number[] };

/** Decodes in these pieces. A mark stands where it stood in all of the bytes. */
function decodeInPieces(pieces: readonly Uint8Array[]): Heard[] {
  let held: ParmrkHeld = 0;
  const heard: Heard[] = [];
  const add = (bytes: Iterable<number>): void => {
    const last = heard.at(-1);
    if (typeof last === 'object') last.bytes.push(...bytes);
    else heard.push({ bytes: [...bytes] });
  };
  for (const piece of pieces) {
    const decoded = decodeParmrk(held, piece);
    held = decoded.held;
    let from = 0;
    for (const { at, kind } of decoded.marks) {
      if (at > from) add(decoded.bytes.subarray(from, at));
      from = at;
      heard.push(kind);
    }
    if (from < decoded.bytes.length) add(decoded.bytes.subarray(from));
  }
  const rest = endParmrk(held);
  if (rest.length > 0) add(rest);
  return heard;
}

function decode(...bytes: number[]): Heard[] {
  return decodeInPieces([Uint8Array.from(bytes)]);
}

/** What the line carried, and how the tty writes it. */
type Sent = 'break' | { bad: number } | { good: number };

function asTtyWrites(sent: readonly Sent[]): Uint8Array {
  return Uint8Array.from(
    sent.flatMap((one) => {
      if (one === 'break') return [0xff, 0, 0];
      if ('bad' in one) return [0xff, 0, one.bad];
      return one.good === 0xff ? [0xff, 0xff] : [one.good];
    }),
  );
}

function asHeard(sent: readonly Sent[]): Heard[] {
  const heard: Heard[] = [];
  for (const one of sent) {
    if (one === 'break' || 'bad' in one) heard.push(one === 'break' ? 'break' : 'bad');
    if (one === 'break') continue;
    const byte = 'bad' in one ? one.bad : one.good;
    const last = heard.at(-1);
    if (typeof last === 'object') last.bytes.push(byte);
    else heard.push({ bytes: [byte] });
  }
  return heard;
}

/** Bytes that meet a mark often; uniform ones would meet it once in 65,536. */
const wire = fc
  .array(fc.oneof(fc.nat(255), fc.constantFrom(0xff, 0xff, 0, 0, 0x41)), { maxLength: 60 })
  .map((numbers) => Uint8Array.from(numbers));
const line: fc.Arbitrary<Sent[]> = fc.array(
  fc.oneof(
    fc.constant('break' as const),
    // A NUL with an error cannot be told from a BREAK.
    fc.record({ bad: fc.oneof(fc.integer({ min: 1, max: 255 }), fc.constant(0xff)) }),
    fc.record({ good: fc.oneof(fc.nat(255), fc.constantFrom(0xff, 0)) }),
  ),
  { maxLength: 40 },
);

describe('PARMRK', () => {
  it('tells BREAK, bad bytes and a true ff', () => {
    assert.deepEqual(decode(0x61, 0xff, 0, 0, 0x62), [
      { bytes: [0x61] },
      'break',
      { bytes: [0x62] },
    ]);
    assert.deepEqual(decode(0x61, 0xff, 0, 0x62, 0x63), [
      { bytes: [0x61] },
      'bad',
      { bytes: [0x62, 0x63] },
    ]);
    assert.deepEqual(decode(0xff, 0xff, 0, 0), [{ bytes: [0xff, 0, 0] }]);
    assert.deepEqual(decode(0xff, 0, 0xff, 0xff, 0xff), ['bad', { bytes: [0xff, 0xff] }]);
  });

  it('keeps a ff that begins no mark, and what is left of a mark at the end', () => {
    assert.deepEqual(decode(0xff, 0x61, 0x62), [{ bytes: [0xff, 0x61, 0x62] }]);
    assert.deepEqual(decode(0x61, 0xff), [{ bytes: [0x61, 0xff] }]);
    assert.deepEqual(decode(0xff, 0), [{ bytes: [0xff, 0] }]);
  });

  it('gives back what the line carried, whatever it was', () => {
    fc.assert(
      fc.property(line, (sent) => {
        assert.deepEqual(decodeInPieces([asTtyWrites(sent)]), asHeard(sent));
      }),
    );
  });

  it('gives the same however the reads cut the bytes', () => {
    fc.assert(
      fc.property(wire, fc.array(fc.nat(60)), (bytes, cuts) => {
        const at = [0, ...cuts.filter((cut) => cut <= bytes.length).sort((a, b) => a - b)];
        const pieces = at.map((from, i) => bytes.subarray(from, at[i + 1] ?? bytes.length));
        assert.deepEqual(decodeInPieces(pieces), decodeInPieces([bytes]));
      }),
    );
  });

  it('gives the same when every mark is cut at every byte', () => {
    const bytes = asTtyWrites(['break', { bad: 0x41 }, { good: 0xff }, { bad: 0xff }, { good: 0 }]);
    const whole = decodeInPieces([bytes]);
    assert.deepEqual(decodeInPieces([...bytes].map((byte) => Uint8Array.of(byte))), whole);
    for (let cut = 0; cut <= bytes.length; cut++) {
      assert.deepEqual(decodeInPieces([bytes.subarray(0, cut), bytes.subarray(cut)]), whole);
    }
  });
});
