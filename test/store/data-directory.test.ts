import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { Libc } from '../../src/core/libc.ts';
import { openDataDirectory, readDataId } from '../../src/store/data-directory.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlead-data-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** flock(2) as this process would see it. */
function fakeLibc(isFree: boolean): Libc {
  return { lockExclusive: () => isFree } as unknown as Libc;
}

describe('data directory', () => {
  it('is made for its owner only, with an id that stays', () => {
    const path = join(folder, 'a', 'data');
    const first = openDataDirectory(path, fakeLibc(true));
    for (const name of ['', 'log', 'keys', 'index']) {
      assert.equal(statSync(join(path, name)).mode & 0o777, 0o700);
    }
    assert.equal(readFileSync(join(path, 'lock'), 'utf8'), `${process.pid}\n`);
    first.release();
    const second = openDataDirectory(path, fakeLibc(true));
    second.release();
    assert.equal(second.id, first.id);
    assert.equal(readDataId(path), first.id);
  });

  it('is refused, with the pid, while another daemon uses it', () => {
    const path = join(folder, 'data');
    openDataDirectory(path, fakeLibc(true)).release();
    writeFileSync(join(path, 'lock'), '4711\n');
    assert.throws(
      () => openDataDirectory(path, fakeLibc(false)),
      (error) =>
        error instanceof Fault && error.code === 'STORE_IN_USE' && error.message.includes('4711'),
    );
    assert.equal(readFileSync(join(path, 'lock'), 'utf8'), '4711\n');
  });

  it('is taken without flock when the process of the lock is gone, refused when it lives', () => {
    const path = join(folder, 'data');
    openDataDirectory(path, null).release();
    writeFileSync(join(path, 'lock'), `${process.ppid}\n`);
    assert.throws(() => openDataDirectory(path, null), { code: 'STORE_IN_USE' });
    writeFileSync(join(path, 'lock'), '4194305\n'); // above the highest pid of Linux
    openDataDirectory(path, null).release();
  });

  it('refuses symbolic links where its own files belong', () => {
    const elsewhere = join(folder, 'elsewhere');
    mkdirSync(elsewhere);
    for (const name of ['log', 'keys', 'lock', 'data-id', 'fairlead.db']) {
      const path = join(folder, `data-${name}`);
      mkdirSync(path);
      symlinkSync(elsewhere, join(path, name));
      assert.throws(
        () => openDataDirectory(path, fakeLibc(true)),
        (error) =>
          error instanceof Fault &&
          error.code === 'STORE_FAILED' &&
          error.message.includes(join(path, name)),
      );
    }
  });

  it('says what failed when it cannot be made', () => {
    writeFileSync(join(folder, 'file'), '');
    assert.throws(
      () => openDataDirectory(join(folder, 'file', 'data'), fakeLibc(true)),
      (error) => error instanceof Fault && /cannot be used: ENOTDIR|EEXIST/.test(error.message),
    );
  });
});
