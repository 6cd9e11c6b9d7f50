import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { unescapeText } from '../../src/protocols/escaped-text.ts';

describe('text with escapes', () => {
  it('is UTF-8, but for the escapes, which are one byte each', () => {
    const bytes = unescapeText('é\\r\\n\\t\\e\\\\\\x00\\xfFx');
    assert.deepEqual(
      Buffer.from(bytes),
      Buffer.concat([Buffer.from('é\r\n\t\x1b\\\0'), Buffer.from([0xff]), Buffer.from('x')]),
    );
  });

  it('refuses another backslash, and names it', () => {
    for (const [text, named] of [
      ['a\\q', '"\\q"'],
      ['\\x1', '"\\x1"'],
      ['\\xzz', '"\\xzz"'],
      ['end\\', '"\\"'],
      ['\\\n', '"\\\n"'],
    ] as const) {
      assert.throws(() => unescapeText(text), {
        code: 'USAGE',
        message: `${named} is not one of \\r \\n \\t \\e \\\\ \\xNN`,
      });
    }
  });

  it('says any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const typed = Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`);
        assert.deepEqual(new Uint8Array(unescapeText(typed.join(''))), bytes);
      }),
    );
  });
});
