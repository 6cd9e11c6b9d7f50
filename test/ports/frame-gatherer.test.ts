import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FrameGatherer, type LiveFrame } from '../../src/ports/frame-gatherer.ts';
import { FakeTimers } from './support.ts';

const FEW = [1];
const MANY = Array.from({ length: 50 }, (_, index) => index + 1);

/** Frames of two bytes, one after the other, and what becomes of them. */
class Stream {
  readonly timers = new FakeTimers();
  readonly handedOn: LiveFrame[] = [];
  readonly gatherer = new FrameGatherer(this.timers, (frame) => this.handedOn.push(frame));
  #offset = 0;

  add(sessions: readonly number[], epoch = 1): void {
    const bytes = Uint8Array.of(this.#offset & 255, this.#offset >> 8);
    this.gatherer.add({ sessions, epoch, offset: this.#offset, atUs: this.#offset, bytes });
    this.#offset += bytes.length;
  }

  get sizes(): number[] {
    return this.handedOn.map(({ bytes }) => bytes.length);
  }
}

describe('the gatherer of live frames', () => {
  it('hands on at once what comes now and then, however many watch', async () => {
    const stream = new Stream();
    for (let i = 0; i < 100; i++) {
      stream.add(MANY);
      assert.equal(stream.handedOn.length, i + 1);
      await stream.timers.advance(3);
    }
  });

  it('hands on at once what few watch, unless it is very much', () => {
    const stream = new Stream();
    for (let i = 0; i < 40; i++) stream.add(FEW);
    assert.equal(stream.handedOn.length, 40);
    stream.add(FEW);
    assert.equal(stream.handedOn.length, 40);
  });

  it('makes one frame of those of 10 ms while a port streams to many, and stops when it is quiet', async () => {
    const stream = new Stream();
    for (let i = 0; i < 60; i++) {
      stream.add(MANY);
      await stream.timers.advance(1);
    }
    assert.ok(stream.handedOn.length < 15, `${stream.handedOn.length} for 60`);
    await stream.timers.advance(20);
    const before = stream.handedOn.length;
    stream.add(MANY);
    assert.equal(stream.handedOn.length, before + 1);
  });

  it('shares what it gathered between all sessions, in pieces of bounded size', async () => {
    const stream = new Stream();
    for (let i = 0; i < 20_000; i++) stream.add(MANY);
    await stream.timers.advance(10);
    assert.deepEqual(stream.sizes, [2, 2, 2, 2, 16_384, 16_384, 7_224]);
    for (const { sessions } of stream.handedOn) assert.equal(sessions, MANY);
  });

  it('hands on before its time what something else is to follow', () => {
    const stream = new Stream();
    for (let i = 0; i < 7; i++) stream.add(MANY);
    stream.gatherer.flush();
    assert.deepEqual(stream.sizes, [2, 2, 2, 2, 6]);
    stream.gatherer.flush();
    assert.equal(stream.handedOn.length, 5);
  });

  it('gives every session the same bytes at the same offsets, however they came', async () => {
    const step = fc.record({
      sessions: fc.subarray([1, 2, 3], { minLength: 1 }).map((few) => [...few, ...MANY.slice(3)]),
      epoch: fc.constantFrom(1, 1, 1, 2),
      pauseMs: fc.constantFrom(0, 0, 0, 0, 1, 30),
      flushes: fc.constantFrom(false, false, true),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const stream = new Stream();
        const wanted: Told[] = [];
        let offset = 0;
        for (const { sessions, epoch, pauseMs, flushes } of steps) {
          for (const session of sessions) {
            wanted.push({ session, epoch, offset, byte: offset & 255 });
            wanted.push({ session, epoch, offset: offset + 1, byte: offset >> 8 });
          }
          stream.add(sessions, epoch);
          offset += 2;
          if (pauseMs > 0) await stream.timers.advance(pauseMs);
          if (flushes) stream.gatherer.flush();
        }
        await stream.timers.advance(10);
        const told = stream.handedOn.flatMap(({ sessions, epoch, offset: from, bytes }) =>
          sessions.flatMap((session) =>
            Array.from(bytes, (byte, index) => ({ session, epoch, offset: from + index, byte })),
          ),
        );
        for (const session of MANY) assert.deepEqual(of(told, session), of(wanted, session));
      }),
      { numRuns: 50 },
    );
  });
});

interface Told {
  session: number;
  epoch: number;
  offset: number;
  byte: number;
}

function of(all: readonly Told[], session: number): Told[] {
  return all.filter((each) => each.session === session);
}
