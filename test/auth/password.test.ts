import assert from 'node:assert/strict';
import { randomBytes, scryptSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import {
  createPasswordVerifier,
  hashPassword,
  parsePasswordHash,
  SCRYPT_CONCURRENT_MAX,
  SCRYPT_QUEUE_MAX,
} from '../../src/auth/password.ts';

/** A hash that costs a millisecond. */
function cheapHash(password: string): string {
  const salt = randomBytes(16);
  const hash = scryptSync(password, salt, 32, { N: 1024, r: 1, p: 1 });
  const text = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/, '');
  return `$scrypt$ln=10,r=1,p=1$${text(salt)}$${text(hash)}`;
}

describe('passwords', () => {
  it('verifies what it hashed, in the documented format, with a salt each', async () => {
    const { verify } = createPasswordVerifier();
    const [first, second] = await Promise.all([hashPassword('pässword'), hashPassword('pässword')]);
    assert.match(first, /^\$scrypt\$ln=15,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    assert.notEqual(first, second);
    assert.equal(await verify('pässword', first), true);
    assert.equal(
      await verify('pa\u0308ssword', first),
      true,
      'the same letters, composed otherwise',
    );
    assert.equal(await verify('Pässword', first), false);
  });

  it('agrees with scrypt as others compute it', async () => {
    const { verify } = createPasswordVerifier();
    assert.equal(await verify('secret', cheapHash('secret')), true);
    assert.equal(await verify('secret ', cheapHash('secret')), false);
  });

  it('refuses for unknown users, damaged hashes, empty and overlong passwords', async () => {
    const { verify } = createPasswordVerifier();
    assert.equal(await verify('secret', null), false);
    assert.equal(await verify('secret', '$scrypt$ln=15,r=8,p=1$x$y'), false);
    assert.equal(await verify('', cheapHash('secret')), false);
    assert.equal(await verify('x'.repeat(1025), cheapHash('')), false);
    await assert.rejects(hashPassword(''), /the password is empty/);
    await assert.rejects(hashPassword('x'.repeat(1025)), /longer than 1024 bytes/);
  });

  it('takes no hash that would cost gigabytes, or nothing', () => {
    const tail = '$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g';
    assert.ok(parsePasswordHash(`$scrypt$ln=15,r=8,p=1${tail}`));
    for (const cost of [
      'ln=31,r=8,p=1',
      'ln=18,r=16,p=1',
      'ln=4,r=8,p=1',
      'ln=15,r=8,p=9',
      'ln=15',
    ]) {
      assert.equal(parsePasswordHash(`$scrypt$${cost}${tail}`), null, cost);
    }
    assert.equal(parsePasswordHash('secret'), null);
  });

  it('lets 64 wait behind two and refuses the next without work', async () => {
    const { verify } = createPasswordVerifier();
    const stored = cheapHash('secret');
    const admitted = SCRYPT_CONCURRENT_MAX + SCRYPT_QUEUE_MAX;
    const attempts = Array.from({ length: admitted }, () => verify('secret', stored));
    await assert.rejects(
      verify('secret', stored),
      (error) => error instanceof Fault && error.code === 'LOGIN_FAILED',
    );
    assert.deepEqual(new Set(await Promise.all(attempts)), new Set([true]));
    assert.equal(await verify('secret', stored), true, 'free again afterwards');
  });

  it('never runs more than two at once, in the order of arrival', async () => {
    const running: { password: string; finish: () => void }[] = [];
    const { verify } = createPasswordVerifier((password, { hash }) => {
      return new Promise((resolve) => {
        running.push({ password, finish: () => resolve(Buffer.alloc(hash.length)) });
      });
    });
    const attempts = Array.from({ length: 5 }, (_, index) => verify(`${index}`, null));
    const begun: string[][] = [];
    for (let round = 0; round < 5; round++) {
      await new Promise(setImmediate); // every promise that can move has moved
      begun.push(running.map(({ password }) => password));
      running.shift()?.finish();
    }
    assert.deepEqual(begun, [['0', '1'], ['1', '2'], ['2', '3'], ['3', '4'], ['4']]);
    assert.deepEqual(await Promise.all(attempts), [false, false, false, false, false]);
  });
});
