import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Replay } from '../../src/log/replay.ts';
import type {
  ReplayOptions,
  ReplayOutput,
  ReplayPiece,
  ReplayPlace,
  ReplaySource,
} from '../../src/log/replay.ts';
import { FakeTimer, settle } from './fake-timer.ts';

const SECOND_US = 1_000_000;

/** Batches of two pieces, so that every test crosses some. */
class FakeSource implements ReplaySource<number> {
  readonly #pieces: readonly ReplayPiece[];
  readonly #batch: number;
  #at = 0;
  /** Pieces handed out so far, at most. */
  furthest = 0;

  constructor(pieces: readonly ReplayPiece[], batch: number) {
    this.#pieces = pieces;
    this.#batch = batch;
  }

  async next(): Promise<{ mark: number; pieces: ReplayPiece[] } | null> {
    await new Promise((resolve) => setImmediate(resolve)); // as from another thread
    if (this.#at >= this.#pieces.length) return null;
    const mark = this.#at;
    this.#at += this.#batch;
    this.furthest = Math.max(this.furthest, this.#at);
    return { mark, pieces: this.#pieces.slice(mark, this.#at) };
  }

  goTo(mark: number): void {
    this.#at = mark;
  }
}

/** The screen is the text written since the last restart. */
class FakeOutput implements ReplayOutput {
  readonly #timer: FakeTimer;
  /** What was written at the same moment counts as one. */
  readonly writes: [ms: number, text: string][] = [];
  screen = '';
  readonly holds: ReplayPlace[] = [];
  isHeld = false;
  /** When set, each write waits for it. */
  slow: Promise<void> | null = null;

  constructor(timer: FakeTimer) {
    this.#timer = timer;
  }

  async write(bytes: Uint8Array): Promise<void> {
    assert.equal(this.isHeld, false, 'nothing is written while it is held');
    const text = Buffer.from(bytes).toString();
    const ms = this.#timer.nowMs() - 1000;
    const last = this.writes.at(-1);
    if (last?.[0] === ms) last[1] += text;
    else this.writes.push([ms, text]);
    this.screen += text;
    await this.slow;
  }

  async restart(): Promise<void> {
    this.screen = '';
  }

  async hold(place: ReplayPlace): Promise<void> {
    this.holds.push(place);
    this.isHeld = true;
  }

  async release(): Promise<void> {
    assert.equal(this.isHeld, true);
    this.isHeld = false;
  }
}

interface Player {
  replay: Replay<number>;
  timer: FakeTimer;
  output: FakeOutput;
  source: FakeSource;
  ended: Promise<'ended' | 'stopped'>;
}

/** Pieces of one letter each, at these seconds. */
function pieces(seconds: readonly number[]): ReplayPiece[] {
  return seconds.map((second, index) => ({
    atUs: 1_795_140_720_000_000 + second * SECOND_US,
    epoch: 5,
    offset: 100 + index,
    bytes: Buffer.from(String.fromCharCode(97 + (index % 26))),
  }));
}

function play(list: readonly ReplayPiece[], options: ReplayOptions = {}, batch = 2): Player {
  const timer = new FakeTimer();
  const output = new FakeOutput(timer);
  const source = new FakeSource(list, batch);
  const replay = new Replay(source, timer, output, options);
  return { replay, timer, output, source, ended: replay.run() };
}

describe('replay', () => {
  it('writes each piece at the time at which it came', async () => {
    const { timer, output, ended } = play(pieces([0, 1, 1.5, 1.5, 60]));
    await timer.advance(100_000);
    assert.deepEqual(output.writes, [
      [0, 'a'],
      [1000, 'b'],
      [1500, 'cd'],
      [60_000, 'e'],
    ]);
    assert.equal(await ended, 'ended');
  });

  it('divides all waiting by the speed', async () => {
    const { timer, output } = play(pieces([0, 1, 2, 10]), { speed: 4 });
    await timer.advance(100_000);
    assert.deepEqual(output.writes, [
      [0, 'a'],
      [250, 'b'],
      [500, 'c'],
      [2500, 'd'],
    ]);
  });

  it('waits no longer than the idle limit', async () => {
    const { timer, output } = play(pieces([0, 3600, 3601, 9000]), { idleMaxUs: 2 * SECOND_US });
    await timer.advance(100_000);
    assert.deepEqual(output.writes, [
      [0, 'a'],
      [2000, 'b'],
      [3000, 'c'],
      [5000, 'd'],
    ]);
  });

  it('takes a step back in time for no time at all', async () => {
    const { timer, output } = play(pieces([100, 101, 50, 51]));
    await timer.advance(100_000);
    assert.deepEqual(output.writes, [
      [0, 'a'],
      [1000, 'bc'],
      [2000, 'd'],
    ]);
  });

  it('does not drift when writing takes time', async () => {
    const { timer, output } = play(pieces([0, 1, 2, 3]));
    let go = (): void => {};
    output.slow = new Promise((resolve) => (go = resolve));
    await timer.advance(1500);
    output.slow = null;
    go();
    await timer.advance(10_000);
    assert.deepEqual(output.writes, [
      [0, 'a'],
      [1500, 'b'],
      [2000, 'c'],
      [3000, 'd'],
    ]);
  });

  it('pauses, and goes on where it was', async () => {
    const { replay, timer, output } = play(pieces([0, 10]));
    await timer.advance(4000);
    replay.pause();
    await timer.advance(50_000);
    assert.equal(timer.waiting, 0);
    assert.equal(output.isHeld, true);
    const [held] = output.holds;
    assert.deepEqual(held, {
      playUs: 4 * SECOND_US,
      atUs: 1_795_140_724_000_000,
      epoch: 5,
      offset: 101,
      speed: 1,
      isPaused: true,
    });
    replay.resume();
    await timer.advance(100_000);
    assert.deepEqual(output.writes.at(-1), [60_000, 'b']);
    assert.equal(output.isHeld, false);
  });

  it('changes speed in the middle of a wait', async () => {
    const { replay, timer, output } = play(pieces([0, 10]));
    await timer.advance(4000);
    replay.setSpeed(2);
    await timer.advance(100_000);
    assert.deepEqual(output.writes.at(-1), [7000, 'b']);
  });

  it('shows a speed that is changed while it is paused', async () => {
    const { replay, timer, output } = play(pieces([0, 10]));
    replay.pause();
    await timer.advance(1);
    replay.setSpeed(8);
    await timer.advance(1);
    assert.equal(output.holds.at(-1)!.speed, 8);
  });

  it('steps piece by piece when paused', async () => {
    const { replay, timer, output, ended } = play(pieces([0, 10, 20]));
    await timer.advance(1000);
    replay.step(); // not paused: nothing
    replay.pause();
    await timer.advance(1000);
    assert.equal(output.screen, 'a');
    replay.step();
    await timer.advance(1000);
    assert.equal(output.screen, 'ab');
    assert.equal(output.isHeld, true);
    replay.step();
    replay.step();
    await timer.advance(1000);
    assert.equal(output.screen, 'abc');
    assert.equal(output.isHeld, true, 'still paused at the end');
    replay.resume();
    assert.equal(await ended, 'ended');
  });

  it('goes on with the true rest of the wait after a step', async () => {
    const { replay, timer, output } = play(pieces([0, 10, 20]));
    replay.pause();
    await timer.advance(0);
    replay.step();
    replay.step();
    await timer.advance(0);
    assert.equal(output.screen, 'ab');
    replay.resume();
    await timer.advance(100_000);
    assert.deepEqual(output.writes.at(-1), [10_000, 'c']);
  });

  it('seeks forward without waiting', async () => {
    const { replay, timer, output } = play(pieces([0, 4, 8, 12, 30]));
    await timer.advance(1000);
    replay.seekBy(10);
    await timer.advance(0);
    assert.equal(output.screen, 'abc');
    await timer.advance(100_000);
    assert.deepEqual(output.writes.slice(-2), [
      [2000, 'd'],
      [20_000, 'e'],
    ]);
  });

  it('seeks back to the screen as it was', async () => {
    const { replay, timer, output } = play(pieces([0, 4, 8, 12, 16, 20, 40]));
    await timer.advance(17_000);
    assert.equal(output.screen, 'abcde');
    replay.seekBy(-10);
    await timer.advance(0);
    assert.equal(output.screen, 'ab');
    await timer.advance(1000);
    assert.deepEqual(output.writes.at(-1), [18_000, 'c']);
    await timer.advance(100_000);
    assert.equal(output.screen, 'abcdefg');
  });

  it('adds seeks up, stops at the start, and seeks back from a paused end', async () => {
    const { replay, timer, output } = play(pieces([0, 4, 8, 12, 16]));
    await timer.advance(9000);
    replay.seekBy(-10);
    replay.seekBy(-10);
    await timer.advance(0);
    assert.equal(output.screen, 'a');
    replay.pause();
    replay.seekBy(10);
    replay.seekBy(10);
    replay.seekBy(10);
    await timer.advance(0);
    assert.equal(output.screen, 'abcde');
    assert.equal(output.isHeld, true);
    replay.seekBy(-10);
    await timer.advance(0);
    assert.equal(output.screen, 'ab');
  });

  it('measures a seek in what was played, whatever the clock did', async () => {
    const { replay, timer, output } = play(pieces([100, 104, 50, 58, 62]));
    await timer.advance(12_500);
    assert.equal(output.screen, 'abcd');
    replay.seekBy(-10);
    await timer.advance(0);
    assert.equal(output.screen, 'a');
  });

  it('rebuilds the screen from a bounded part of a long replay', async () => {
    const long = pieces(Array.from({ length: 400 }, (_, index) => index));
    for (const piece of long) piece.bytes = Buffer.alloc(1000, piece.bytes[0]);
    const { replay, timer, output } = play(long, {}, 20);
    await timer.advance(350_500);
    replay.seekBy(-10);
    await timer.advance(0);
    const { length } = output.screen;
    assert.ok(length >= 65_536 && length < 110_000, String(length));
    assert.equal(output.screen.at(-1), String.fromCharCode(97 + (340 % 26)));
    replay.seekBy(-300);
    await timer.advance(0);
    assert.equal(output.screen.length, 41_000);
  });

  it('reads ahead, but not far', async () => {
    const many = pieces(Array.from({ length: 10_000 }, (_, index) => index));
    const { timer, source, replay, ended } = play(many, {}, 300);
    await timer.advance(10_000);
    assert.ok(source.furthest <= 600, String(source.furthest));
    replay.stop();
    assert.equal(await ended, 'stopped');
  });

  it('stops at once, also when paused', async () => {
    const { replay, timer, output, ended } = play(pieces([0, 10]));
    replay.pause();
    await timer.advance(1);
    replay.stop();
    assert.equal(await ended, 'stopped');
    assert.equal(output.isHeld, false);
  });

  it('passes on what source and output throw', async () => {
    const timer = new FakeTimer();
    const output = new FakeOutput(timer);
    const broken = { next: () => Promise.reject(new Error('no log')), goTo: () => {} };
    await assert.rejects(new Replay(broken, timer, output).run(), /no log/);
    const source = new FakeSource(pieces([0]), 2);
    output.write = () => Promise.reject(new Error('reader left'));
    await assert.rejects(new Replay(source, timer, output).run(), /reader left/);
  });

  it('ends with everything played, whatever is pressed on the way', async () => {
    const key = fc.oneof(
      fc.constantFrom('pause', 'resume', 'step'),
      fc.double({ min: -30, max: 30, noNaN: true }),
      fc.constantFrom({ speed: 0.5 }, { speed: 1 }, { speed: 8 }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: -5, max: 20 }), { minLength: 1, maxLength: 25 }),
        fc.array(fc.tuple(fc.nat(8000), key), { maxLength: 8 }),
        fc.integer({ min: 1, max: 4 }),
        async (steps, keys, batch) => {
          let at = 0;
          const list = pieces(steps.map((step) => (at += step)));
          const { replay, timer, output, ended } = play(list, { idleMaxUs: 10 * SECOND_US }, batch);
          for (const [waitMs, pressed] of keys) {
            await timer.advance(waitMs);
            if (pressed === 'pause') replay.pause();
            else if (pressed === 'resume') replay.resume();
            else if (pressed === 'step') replay.step();
            else if (typeof pressed === 'number') replay.seekBy(pressed);
            else if (typeof pressed === 'object') replay.setSpeed(pressed.speed);
          }
          await settle();
          replay.resume();
          replay.setSpeed(8);
          await timer.advance(400_000);
          assert.equal(await ended, 'ended');
          const whole = list.map((piece) => Buffer.from(piece.bytes).toString()).join('');
          assert.equal(output.screen, whole);
        },
      ),
      { numRuns: 60 },
    );
  });
});
