import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { putHalf, takeHalf } from '../../src/protocols/split-half.ts';

const anyBytes = fc.uint8Array({ maxLength: 300 });

describe('a line split by the top bit', () => {
  it('gives each byte to exactly one half, in order', () => {
    fc.assert(
      fc.property(anyBytes, (wire) => {
        const sevenBits = (isHigh: boolean): number[] =>
          [...wire].filter((byte) => byte >= 0x80 === isHigh).map((byte) => byte & 0x7f);
        assert.deepEqual([...takeHalf(wire, 'high')], sevenBits(true));
        assert.deepEqual([...takeHalf(wire, 'low')], sevenBits(false));
      }),
    );
  });

  it('brings what one half is sent to that half and to no other, without changing the memory it was given', () => {
    fc.assert(
      fc.property(anyBytes, fc.constantFrom('high', 'low'), (bytes, half) => {
        const given = Buffer.from(bytes);
        const wire = putHalf(bytes, half);
        assert.deepEqual(
          [...takeHalf(wire, half)],
          [...bytes].map((byte) => byte & 0x7f),
        );
        assert.equal(takeHalf(wire, half === 'high' ? 'low' : 'high').length, 0);
        assert.ok(given.equals(bytes));
      }),
    );
  });

  it('sends CTRL-A three times as Xen on com1H wants it', () => {
    const keys = Buffer.from('\x01\x01\x01');
    assert.deepEqual([...putHalf(keys, 'high')], [0x81, 0x81, 0x81]);
  });
});
