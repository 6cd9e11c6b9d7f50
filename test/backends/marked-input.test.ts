import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MarkedInput } from '../../src/backends/tty/marked-input.ts';
import type { ErrorSource } from '../../src/backends/tty/marked-input.ts';
import type { BackendSink } from '../../src/core/backend.ts';
import { FakeTimers } from '../ports/support.ts';

const BREAK = [0xff, 0, 0];

/** Remembers bytes and events in their order. */
class Heard implements Pick<BackendSink, 'rx' | 'rxInto' | 'event'> {
  readonly order: string[] = [];
  /** What of the memory a recovery of the spool would have to take for untouched. */
  behind: number[] = [];
  readonly #memory = Buffer.alloc(64 * 1_024, 0xc0);
  onEvent: () => void = () => undefined;

  rx(bytes: Uint8Array): void {
    this.#add(Buffer.from(bytes).toString('latin1'));
  }

  rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number {
    const start = 100;
    const count = read(this.#memory, start, 8_192);
    if (count > 0) this.#add(this.#memory.toString('latin1', start, start + count));
    this.behind = [...this.#memory.subarray(start + Math.max(0, count), start + 4_096)];
    this.#memory.fill(0xc0);
    return count;
  }

  event(event: Parameters<BackendSink['event']>[0]): void {
    this.order.push(
      event.kind === 'line-error' ? `<${event.error} ${event.count}>` : `<${event.kind}>`,
    );
    this.onEvent();
  }

  get text(): string {
    return this.order.join('');
  }

  #add(text: string): void {
    this.order.push(text);
  }
}

const framing: ErrorSource = {
  refresh: () => undefined,
  errorOfBadByte: () => 'framing',
  breakShown: () => undefined,
};

/** A read that brings these bytes. */
function bringing(bytes: readonly number[] | string) {
  const input = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
  return (memory: Buffer, start: number): number => {
    memory.set(input, start);
    return input.length;
  };
}

describe('input with marks', () => {
  it('gives an unmarked read on as it is, in the memory it was read into', () => {
    const heard = new Heard();
    const input = new MarkedInput(heard, framing);
    assert.equal(input.receive(bringing('login: ')), 7);
    assert.equal(
      input.receive(() => 0),
      0,
    );
    assert.equal(
      input.receive(() => -1),
      -1,
    );
    assert.deepEqual(heard.order, ['login: ']);
  });

  it('puts each event where its mark was: before the bytes that followed', () => {
    const heard = new Heard();
    const input = new MarkedInput(heard, framing);
    const raw = [0x61, 0x62, ...BREAK, 0x63, 0xff, 0, 0x64, 0x65, 0xff, 0xff, ...BREAK];
    assert.equal(input.receive(bringing(raw)), raw.length);
    assert.deepEqual(heard.order, ['ab', '<break>', 'c', '<framing 1>', 'de\xff', '<break>']);
  });

  it('keeps a mark that two reads cut, and brings nothing until it is whole', () => {
    const heard = new Heard();
    const input = new MarkedInput(heard, framing);
    assert.equal(input.receive(bringing([0x61, 0xff])), 2);
    assert.equal(input.receive(bringing([0])), 1);
    assert.equal(heard.text, 'a');
    assert.equal(input.receive(bringing([0, 0x62])), 2);
    assert.deepEqual(heard.order, ['a', '<break>', 'b']);
  });

  it('leaves behind the bytes of a read no byte that recovery would take for one', () => {
    for (const raw of [
      [...BREAK, 0x61],
      [0xff, 0xff, 0x61],
      [0x61, ...BREAK, 0x62],
      [0x61, 0xff],
    ]) {
      const heard = new Heard();
      new MarkedInput(heard, framing).receive(bringing(raw));
      assert.equal(heard.behind[0], 0xff, `after ${raw.join(' ')}`);
    }
  });

  it('gives the same bytes and events however the reads cut them', () => {
    const raw = fc.array(fc.constantFrom(0xff, 0, 0x61, 0x62), { maxLength: 40 });
    fc.assert(
      fc.property(raw, fc.array(fc.nat(40)), (bytes, cuts) => {
        const at = [0, ...cuts.filter((cut) => cut <= bytes.length).sort((a, b) => a - b)];
        const whole = new Heard();
        const cut = new Heard();
        for (const [heard, starts] of [
          [whole, [0]],
          [cut, at],
        ] as const) {
          const input = new MarkedInput(heard, framing);
          for (const [i, from] of starts.entries()) {
            input.receive(bringing(bytes.slice(from, starts[i + 1] ?? bytes.length)));
          }
          input.end();
        }
        assert.equal(cut.text, whole.text);
      }),
    );
  });

  it('counts a flood of marks instead of placing each, and loses no byte of it', async () => {
    const timers = new FakeTimers();
    const heard = new Heard();
    const input = new MarkedInput(heard, framing, timers);
    let bad = 0;
    for (let reads = 0; reads < 100; reads++) {
      input.receive(bringing(Array.from({ length: 400 }, () => [0xff, 0, 0x78]).flat()));
      bad += 400;
      await timers.advance(100);
    }
    const events = heard.order.filter((what) => what.startsWith('<'));
    const told = events.reduce((sum, event) => sum + Number(/\d+/.exec(event)![0]), 0);
    assert.equal(told, bad, 'every error is counted once');
    // In 10 s: 32 at once, 16 a second, and a count for each read, which is cut no further.
    assert.ok(events.length <= 32 + 16 * 10 + 100, `${events.length} events`);
    assert.ok(heard.order.length <= 2 * events.length + 100, `${heard.order.length} pieces`);
    assert.equal(heard.text.replaceAll(/<.*?>/g, ''), 'x'.repeat(bad));
    await timers.advance(60_000);
    heard.order.length = 0;
    input.receive(bringing([0x61, 0xff, 0, 0x78, 0x62]));
    assert.deepEqual(heard.order, ['a', '<framing 1>', 'xb'], 'a lone one has its place again');
  });

  it('gives its place to a lone error of a read in any flood', () => {
    const heard = new Heard();
    const input = new MarkedInput(heard, framing, { nowMs: () => 0 });
    input.receive(bringing(Array.from({ length: 32 }, () => BREAK).flat()));
    heard.order.length = 0;
    input.receive(bringing([0x61, 0xff, 0, 0x78, 0x62, ...BREAK, 0x63, ...BREAK, 0x64]));
    assert.deepEqual(heard.order, ['a', '<framing 1>', 'xbcd', '<break 2>']);
  });

  it('tells at the end what it held back of a mark, and nothing after', () => {
    const heard = new Heard();
    const input = new MarkedInput(heard, framing);
    input.receive(bringing([0x61, 0xff]));
    input.end();
    input.end();
    assert.deepEqual(heard.order, ['a', '\xff']);
    const stopped = new MarkedInput(heard, framing);
    stopped.receive(bringing([0x61, 0xff]));
    stopped.stop();
    stopped.end();
    assert.deepEqual(heard.order, ['a', '\xff', 'a']);
  });

  it('calls nobody once it was stopped, in the middle of a read as well', () => {
    const heard = new Heard();
    const input = new MarkedInput(heard, framing);
    heard.onEvent = () => input.stop();
    input.receive(bringing([0x61, ...BREAK, 0x62, ...BREAK, 0x63]));
    assert.deepEqual(heard.order, ['a', '<break>']);
  });
});
