import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  findUucpHolder,
  refuseIfUucpLocked,
  takeUucpLock,
} from '../../src/backends/tty/uucp-lock.ts';
import { hasCode } from '../contracts/backend.ts';

/** A pid that lives as long as the test, and is not its own. */
const ALIVE = process.ppid;

describe('the UUCP lock file of a line', () => {
  let root: string;
  let file: string;
  const device = '/dev/ttyS0';

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'fairlead-uucp-'));
    for (const directory of ['dev', 'dev/serial', 'var/lock', `proc/${ALIVE}`]) {
      mkdirSync(join(root, directory), { recursive: true });
    }
    writeFileSync(join(root, device), '');
    writeFileSync(join(root, `proc/${ALIVE}/comm`), 'minicom\n');
    file = join(root, 'var/lock/LCK..ttyS0');
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const write = (content: string | Buffer): void => writeFileSync(file, content);
  const deadPid = (): number => spawnSync('true').pid;

  it('holds our pid in ten characters and a newline, until it is released', () => {
    const lock = takeUucpLock(device, root)!;
    assert.equal(readFileSync(file, 'latin1'), `${String(process.pid).padStart(10)}\n`);
    assert.deepEqual(readdirSync(join(root, 'var/lock')), ['LCK..ttyS0']);
    lock.release();
    assert.deepEqual(readdirSync(join(root, 'var/lock')), []);
  });

  it('is named by the device, not by the link to it', () => {
    const link = '/dev/serial/by-id-usb';
    symlinkSync('../ttyS0', join(root, link));
    takeUucpLock(link, root);
    assert.ok(existsSync(file));
  });

  it('of a live process is respected, and its process named', async () => {
    write(`${String(ALIVE).padStart(10)}\n`);
    for (const attempt of [takeUucpLock, refuseIfUucpLocked]) {
      assert.throws(
        () => attempt(device, root),
        (error: Error) => {
          hasCode('PORT_OPEN_FAILED')(error);
          assert.match(
            error.message,
            new RegExp(
              `^/dev/ttyS0 is held by process ${ALIVE} \\(minicom\\), says .*LCK\\.\\.ttyS0; `,
            ),
          );
          return true;
        },
      );
    }
    assert.deepEqual(await findUucpHolder(device, root), { pid: ALIVE, name: 'minicom' });
    assert.equal(Number(readFileSync(file, 'latin1')), ALIVE);
  });

  it('of old programs, four bytes of a number, is respected too', () => {
    const content = Buffer.alloc(4);
    content.writeInt32LE(ALIVE);
    write(content);
    assert.throws(() => takeUucpLock(device, root), hasCode('PORT_OPEN_FAILED'));
  });

  it('is taken over from a dead process, from an earlier life of ours, and when it names nobody', async () => {
    const contents = [`${String(deadPid()).padStart(10)}\n`, `${process.pid}\n`, '', 'who?\n'];
    for (const content of [...contents, '99999999999\n']) {
      write(content);
      const lock = takeUucpLock(device, root);
      assert.equal(Number(readFileSync(file, 'latin1')), process.pid, JSON.stringify(content));
      assert.equal((await findUucpHolder(device, root))!.pid, process.pid);
      lock!.release();
      assert.equal(await findUucpHolder(device, root), null);
    }
  });

  it('that somebody else made meanwhile is not removed', () => {
    const lock = takeUucpLock(device, root)!;
    write(`${ALIVE}\n`);
    lock.release();
    assert.equal(Number(readFileSync(file, 'latin1')), ALIVE);
  });

  it('is no condition where there is no directory for it, or none to write to', () => {
    rmSync(join(root, 'var/lock'), { recursive: true });
    assert.equal(takeUucpLock(device, root), null);
    writeFileSync(join(root, 'var/lock'), 'a file');
    assert.equal(takeUucpLock(device, root), null);
    rmSync(join(root, 'var/lock'));
    mkdirSync(join(root, 'var/lock'));
    chmodSync(join(root, 'var/lock'), 0o500);
    mkdirSync(file); // root may write anywhere: a directory in the file's place stops it as well
    assert.equal(takeUucpLock(device, root), null);
  });
});
