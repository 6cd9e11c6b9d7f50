import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FULL_READ_BYTES, Sweep } from '../../src/backends/tty/sweep.ts';
import type { Swept, SweptLine } from '../../src/backends/tty/sweep.ts';
import { until } from '../support/pty.ts';

/** A line with bytes to read, and a poller that the test fires. */
class FakeLine implements SweptLine {
  waiting = 0;
  reads = 0;
  emptyReads = 0;
  read = 0;
  isArmed = false;
  isGone = false;
  swept: Swept;

  constructor(sweep: Sweep) {
    this.swept = sweep.join(this);
  }

  readOnce(): number {
    this.reads++;
    if (this.isGone) {
      this.swept.leave();
      return -1;
    }
    const count = Math.min(this.waiting, 4_095);
    if (count === 0) this.emptyReads++;
    this.waiting -= count;
    this.read += count;
    return count;
  }

  isEmpty(): boolean {
    return this.waiting === 0 && !this.isGone;
  }

  arm(): void {
    this.isArmed = true;
  }

  /** As the poller does: once for each arming. */
  poll(): void {
    if (!this.isArmed || (this.waiting === 0 && !this.isGone)) return;
    this.isArmed = false;
    this.swept.readable();
  }
}

describe('the sweep', () => {
  it('sweeps a watched line while it streams, and reads it at once again when it is quiet', async () => {
    const sweep = new Sweep();
    const line = new FakeLine(sweep);
    line.swept.readAtOnce(true);
    assert.equal(sweep.activeCount, 0);
    for (let keys = 0; sweep.activeCount === 0; keys++) {
      assert.ok(keys < 1_000, 'reads in quick succession are a stream');
      line.waiting = 1;
      line.poll();
    }
    line.waiting = 100;
    await until(() => line.waiting === 0, 'the sweep');
    await until(() => sweep.activeCount === 0, 'the line to be quiet');
    assert.equal(line.isArmed, true);
    const { reads } = line;
    line.waiting = 1;
    line.poll();
    assert.equal(line.reads, reads + 1);
    assert.equal(sweep.activeCount, 0);
    line.swept.leave();
  });

  it('reads the first bytes at once, then sweeps, then waits in the poller again', async () => {
    let published = 0;
    const sweep = new Sweep(() => published++);
    const line = new FakeLine(sweep);
    assert.equal(line.isArmed, true);
    line.waiting = 10;
    line.poll();
    assert.equal(line.read, 10);
    assert.equal(published, 1);
    assert.equal(sweep.activeCount, 1);
    line.waiting = 20;
    line.poll();
    assert.equal(line.read, 10, 'not armed while swept');
    await until(() => line.read === 30, 'the next sweep');
    await until(() => sweep.activeCount === 0, 'the line to rest');
    assert.equal(line.isArmed, true);
    assert.ok(line.emptyReads <= 1, 'asks before it reads what is likely empty');
    assert.equal(published, 2);
  });

  it('reads a flood at every poller event, and bounds a turn', async () => {
    const sweep = new Sweep();
    const line = new FakeLine(sweep);
    line.waiting = 10_000_000;
    line.poll();
    assert.ok(line.read >= FULL_READ_BYTES);
    assert.ok(line.read <= 16 * 4_095, 'others get their turn');
    assert.equal(line.isArmed, true);
    const before = line.read;
    line.poll();
    assert.ok(line.read > before);
    line.waiting = 0;
    await until(() => sweep.activeCount === 0, 'the flood to end');
  });

  it('holds a flood off while the store is behind, and nobody else', async () => {
    let isBehind = true;
    const sweep = new Sweep(undefined, () => isBehind);
    const flood = new FakeLine(sweep);
    const watched = new FakeLine(sweep);
    const slow = new FakeLine(sweep);
    watched.swept.readAtOnce(true);
    for (const line of [flood, watched]) {
      line.waiting = 1_000_000;
      line.poll();
    }
    slow.waiting = 1;
    slow.poll();
    const turns = [flood.read, watched.read];
    for (const line of [flood, watched]) line.poll();
    slow.waiting = 1;
    await until(() => slow.read === 2, 'the slow line to be read');
    assert.deepEqual([flood.read, watched.read], turns);
    assert.deepEqual([flood.isArmed, watched.isArmed], [false, false]);
    isBehind = false;
    await until(() => flood.isArmed && watched.isArmed, 'both to be armed again');
    for (const line of [flood, watched]) line.poll();
    assert.ok(flood.read > turns[0]! && watched.read > turns[1]!);
    flood.waiting = 0;
    await until(() => sweep.activeCount === 0, 'the flood to end');
  });

  it('reads a watched line at once, and sweeps it again when nobody watches', async () => {
    const sweep = new Sweep();
    const line = new FakeLine(sweep);
    line.swept.readAtOnce(true);
    for (let byte = 1; byte <= 4; byte++) {
      line.waiting = 1;
      line.poll();
      assert.equal(line.read, byte);
    }
    assert.equal(sweep.activeCount, 0);
    line.swept.readAtOnce(false);
    line.waiting = 1;
    await until(() => line.read === 5, 'the sweep');
    await until(() => sweep.activeCount === 0, 'the line to rest');
  });

  it('leaves alone a line that is gone', async () => {
    const sweep = new Sweep();
    const gone = new FakeLine(sweep);
    const other = new FakeLine(sweep);
    for (const line of [gone, other]) {
      line.waiting = 1;
      line.poll();
    }
    gone.isGone = true;
    other.waiting = 5;
    await until(() => other.read === 6, 'the other line to be read');
    await until(() => sweep.activeCount === 0, 'the sweep to end');
    const { reads } = gone;
    gone.swept.readable();
    gone.swept.readAtOnce(true);
    assert.equal(gone.reads, reads);
    assert.equal(sweep.activeCount, 0);
  });
});
