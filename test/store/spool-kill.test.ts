import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { recoverSpool } from '../../src/store/spool-recovery.ts';
import { IDS, recoveredEntries } from './spool-support.ts';

const CHILD = fileURLToPath(new URL('./spool-kill-child.js', import.meta.url));
/** The longest read that the child makes. */
const READ_BYTES_MAX = 16_384;

const directory = mkdtempSync(join(tmpdir(), 'fairlead-spool-kill-'));
after(() => rmSync(directory, { recursive: true }));

describe('kill -9 in the middle of reading flat out', () => {
  it('loses not a byte of a mapped spool, in ten kills', async () => {
    for (let round = 0; round < 10; round++) {
      const { consumed, recoveredEnd, isContinuous } = await feedAndKill('mapped', round);
      assert.equal(recoveredEnd, consumed, `round ${round}`);
      assert.ok(isContinuous);
    }
  });

  it('loses one read at most without a mapping, and claims no continuity', async () => {
    for (let round = 0; round < 3; round++) {
      const { consumed, recoveredEnd, isContinuous } = await feedAndKill('copied', round);
      assert.ok(recoveredEnd <= consumed);
      assert.ok(consumed - recoveredEnd <= READ_BYTES_MAX, `${consumed - recoveredEnd} lost`);
      assert.ok(!isContinuous);
    }
  });
});

/**
 * Feeds a child through a FIFO whose other end stays open here, kills it, and counts: what was fed
 * less what is left in the FIFO is what its reads consumed. All that was not durable must be in the
 * spool, right.
 */
async function feedAndKill(memory: 'mapped' | 'copied', round: number) {
  const fifo = join(directory, `${memory}-${round}.fifo`);
  const ring = join(directory, `${memory}.ring`); // the same again: an earlier one is wiped
  const durablePath = join(directory, 'durable');
  execFileSync('mkfifo', ['-m', '600', fifo]);
  writeFileSync(durablePath, Buffer.alloc(8));
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const child = spawn(process.execPath, [CHILD, fifo, ring, durablePath, memory], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await once(child.stdout, 'data');
    const exited = once(child, 'exit');
    let fed = 0;
    const killAt = performance.now() + 10 + Math.random() * 80;
    const bytesMin = 4_000_000 * Math.random();
    const giveUpAt = killAt + 60_000;
    while (performance.now() < killAt || fed < bytesMin) {
      assert.ok(performance.now() < giveUpAt, 'the child reads');
      fed += feed(fd, fed);
    }
    child.kill('SIGKILL');
    await exited;
    const consumed = fed - drain(fd);
    const durable = readFileSync(durablePath).readDoubleLE();
    const recovered = recoverSpool(ring, IDS);
    const recoveredEnd = checkRecovered(recovered, durable);
    return { consumed, recoveredEnd, isContinuous: recovered.isContinuous };
  } finally {
    child.kill('SIGKILL');
    closeSync(fd);
    rmSync(fifo);
  }
}

/** Text that differs from place to place, so that a shifted or doubled byte shows. */
const TEXT = Buffer.from(
  Array.from({ length: 65_521 }, (_, index) => 32 + ((Math.imul(index, 2_654_435_761) >>> 9) % 95)),
);

/** Writes as much of the stream, from offset `fed` on, as the FIFO takes. */
function feed(fd: number, fed: number): number {
  let written = 0;
  try {
    for (let i = 0; i < 16; i++) {
      const from = (fed + written) % TEXT.length;
      written += writeSync(fd, TEXT, from, Math.min(TEXT.length - from, 9000));
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
  }
  return written;
}

function drain(fd: number): number {
  const buffer = Buffer.alloc(65_536);
  let left = 0;
  try {
    for (;;) left += readSync(fd, buffer, 0, buffer.length, null);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    return left;
  }
}

/** Everything behind the durable offset is there, without a hole, as it was fed; returns its end. */
function checkRecovered(recovered: ReturnType<typeof recoverSpool>, durable: number): number {
  let end = durable;
  for (const { kind, offset, bytes } of recoveredEntries(recovered)) {
    if (kind !== 'rx') continue;
    if (offset >= durable) {
      assert.equal(offset, end, 'no hole');
      end = offset + bytes.length;
    } else if (offset + bytes.length > durable) {
      assert.fail('a record is durable whole or not at all');
    }
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] !== TEXT[(offset + i) % TEXT.length]) assert.fail(`wrong byte at ${offset + i}`);
    }
  }
  return end;
}
