import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { matchTotp, parseTotpSecret, totpCode } from '../../src/auth/totp.ts';

/** RFC 4226 appendix D and RFC 6238 appendix B use the same one. */
const SECRET = Buffer.from('12345678901234567890');

describe('totpCode', () => {
  it('gives the values of RFC 4226 appendix D', () => {
    const codes = Array.from({ length: 10 }, (_, step) => totpCode(SECRET, step)).join(' ');
    assert.equal(codes, '755224 287082 359152 969429 338314 254676 287922 162583 399871 520489');
  });

  /** Seconds and the eight digits of RFC 6238 appendix B, of which the last six are ours. */
  const vectors: [number, string][] = [
    [59, '94287082'],
    [1_111_111_109, '07081804'],
    [1_111_111_111, '14050471'],
    [1_234_567_890, '89005924'],
    [2_000_000_000, '69279037'],
    [20_000_000_000, '65353130'],
  ];
  for (const [seconds, digits] of vectors) {
    it(`gives the value of RFC 6238 appendix B at ${seconds} s`, () => {
      const step = Math.floor(seconds / 30);
      assert.equal(totpCode(SECRET, step), digits.slice(2));
      assert.equal(matchTotp(SECRET, digits.slice(2), seconds), step);
    });
  }
});

describe('matchTotp', () => {
  it('takes the step before and after, none further off, and no other digits', () => {
    const now = 1_800_000_015;
    const step = now / 30;
    for (const off of [-1, 0, 1]) {
      const code = totpCode(SECRET, Math.floor(step) + off);
      assert.equal(matchTotp(SECRET, code, now), Math.floor(step) + off);
    }
    for (const off of [-2, 2]) {
      assert.equal(matchTotp(SECRET, totpCode(SECRET, Math.floor(step) + off), now), null);
    }
    const code = totpCode(SECRET, Math.floor(step));
    for (const wrong of ['', code.slice(1), `${code}0`, `0${code}`, 'abcdef', '\u0661'.repeat(6)]) {
      assert.equal(matchTotp(SECRET, wrong, now), null);
    }
    assert.equal(matchTotp(SECRET, `${code.slice(0, 3)} ${code.slice(3)}`, now), Math.floor(step));
  });
});

describe('parseTotpSecret', () => {
  it('reads RFC 4648 base32, however people write it', () => {
    for (const text of [
      'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ',
      'gezd gnbv gy3t qojq gezd gnbv gy3t qojq',
      'GEZDGNBV-GY3TQOJQ-GEZDGNBV-GY3TQOJQ',
    ]) {
      assert.deepEqual(parseTotpSecret(text), SECRET);
    }
    // RFC 4648 section 10, twice over to be long enough: "foobar" and "fooba".
    assert.equal(parseTotpSecret('MZXW6YTBOJTG633CMFZA====')?.toString(), 'foobarfoobar');
    assert.equal(parseTotpSecret('MZXW6YTBMZXW6YTB')?.toString(), 'foobafooba');
  });

  it('gives back what was written', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 10, maxLength: 64 }), (bytes) => {
        assert.deepEqual(parseTotpSecret(base32(bytes)), Buffer.from(bytes));
      }),
    );
  });

  for (const text of ['', 'MZXW6YTB', 'GEZDGNBVGY3TQOJ0', 'GEZDGNBVGY3TQOJQG', 'A'.repeat(1_000)]) {
    it(`refuses ${text.slice(0, 20) || 'nothing'}`, () => {
      assert.equal(parseTotpSecret(text), null);
    });
  }
});

/** The slow way: five bits of a long binary number at a time. */
function base32(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const groups = bits.match(/.{1,5}/g)!;
  const digit = (group: string) =>
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[parseInt(group.padEnd(5, '0'), 2)]!;
  return groups.map(digit).join('');
}
