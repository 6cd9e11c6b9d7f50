import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { INPUT_CREDIT_BYTES, STUCK_OUTPUT_MS } from '../../src/core/attach.ts';
import { Fault } from '../../src/core/fault.ts';
import { NO_PACE } from '../../src/core/settings.ts';
import type { PaceSettings } from '../../src/core/settings.ts';
import { InputCredit } from '../../src/sessions/input-credit.ts';
import { LineEnds } from '../../src/ports/line-ends.ts';
import { Pace, PACE_BURST_BYTES } from '../../src/ports/pace.ts';
import { callerOf, portSettings, Watcher, World } from './support.ts';

const alice = callerOf('alice');

async function pacedWorld(pace: Partial<PaceSettings>): Promise<World> {
  return new World().start([portSettings('db1', { pace: { ...NO_PACE, ...pace } })]);
}

/** When each byte was written, from the first on. */
function times(world: World): number[] {
  const atMs: number[] = [];
  const write = world.backend.write.bind(world.backend);
  world.backend.write = (bytes) => {
    const count = write(bytes);
    for (let i = 0; i < count; i++) atMs.push(world.timers.nowMs());
    return count;
  };
  return atMs;
}

function gaps(atMs: readonly number[]): number[] {
  return atMs.slice(1).map((ms, index) => ms - atMs[index]!);
}

describe('a paced port', () => {
  it('gives the device a byte at a time, whoever types', async () => {
    const world = await pacedWorld({ byteMs: 10 });
    const atMs = times(world);
    const person = await world.attach('alice');
    person.type('abc');
    await world.timers.advance(100);
    const raw = await world.attach('bob', { delivery: 'program', mode: 'force' });
    raw.type('de');
    await world.timers.advance(100);
    assert.equal(world.backend.writtenText, 'abcde');
    assert.deepEqual(gaps(atMs.slice(0, 3)), [10, 10]);
    assert.deepEqual(gaps(atMs.slice(3)), [10]);
    assert.equal(person.of('acknowledged').length, 1);
  });

  it('waits after a line, once for CR LF, in one piece or in two', async () => {
    for (const pieces of [['a\r\nb\rc\nd'], ['a\r', '\nb\r', 'c', '\n', 'd']]) {
      const world = await pacedWorld({ lineMs: 200 });
      const atMs = times(world);
      const person = await world.attach('alice');
      for (const piece of pieces) person.type(piece);
      await world.timers.advance(10_000);
      assert.equal(world.backend.writtenText, 'a\r\nb\rc\nd');
      assert.equal(atMs.at(-1)! - atMs[0]!, 600, JSON.stringify(pieces));
    }
  });

  it('needs no wait before the first byte, and keeps none for later', async () => {
    const world = await pacedWorld({ byteMs: 50 });
    const person = await world.attach('alice');
    person.type('a');
    assert.equal(world.backend.writtenText, 'a');
    await world.timers.advance(60_000);
    person.type('bcd');
    assert.equal(world.backend.writtenText, 'ab', 'a pause is no reason for a flood');
  });

  it('is not stuck while it waits, and hears of a device that is', async () => {
    const world = await pacedWorld({ byteMs: 4_000 });
    const person = await world.attach('alice');
    person.type('abc');
    await world.timers.advance(9_000);
    assert.equal(world.backend.writtenText, 'abc');
    assert.deepEqual(person.of('refused'), []);
    world.backend.roomBytes = 0;
    person.type('d');
    await world.timers.advance(4_000 + STUCK_OUTPUT_MS);
    assert.match(person.of('refused')[0]!.why, /taken nothing for 5 s/);
  });

  it('goes on at its pace when the device takes bytes again', async () => {
    const world = await pacedWorld({ byteMs: 10 });
    const atMs = times(world);
    world.backend.roomBytes = 1;
    const person = await world.attach('alice');
    person.type('abcd');
    await world.timers.advance(3_000);
    world.backend.giveRoom(100);
    await world.timers.advance(100);
    assert.equal(world.backend.writtenText, 'abcd');
    assert.deepEqual(gaps(atMs), [3_000, 10, 10]);
  });

  it('lets BREAK, purge, leaving and the end of the line by', async () => {
    const world = await pacedWorld({ byteMs: 1_000 });
    const person = await world.attach('alice');
    person.type('abcdef');
    await world.timers.advance(1_000);
    await person.session.sendBreak(100);
    assert.deepEqual(world.backend.breaks, [100]);
    await person.session.purge('tx');
    await world.timers.advance(60_000);
    assert.equal(world.backend.writtenText, 'ab');
    assert.match(world.spool.of('mark')[0]!.text, /took 2 of 6 bytes/);
    person.type('ghi');
    const taker = await world.attach('bob', { mode: 'force' });
    await world.timers.advance(60_000);
    assert.equal(world.backend.writtenText, 'abg');
    taker.type('jkl');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    const down = world.backend.writtenText;
    await world.timers.advance(60_000);
    assert.equal(down, 'abgj');
    assert.equal(world.backend.writtenText, '', 'nothing of it reaches the next device');
    assert.match(taker.of('refused')[0]!.why, /unplugged/);
  });

  it('logs what it gives the device, once, as it begins', async () => {
    const world = new World();
    await world.start([
      portSettings('db1', { input: 'full', pace: { byteMs: 5, lineMs: 0, newline: 'crlf' } }),
    ]);
    const person = await world.attach('alice');
    person.type('a\r');
    await world.timers.advance(100);
    assert.equal(world.backend.writtenText, 'a\r\n');
    const [tx, ...more] = world.spool.of('tx');
    assert.equal(Buffer.from(tx!.bytes).toString(), 'a\r\n');
    assert.equal(tx!.count, 3);
    assert.deepEqual(more, []);
    assert.deepEqual(person.of('acknowledged'), [{ kind: 'acknowledged', seq: 1, bytes: 2 }]);
  });

  it('takes a paste of 200 KB under credit, whole', async () => {
    const world = await pacedWorld({ byteMs: 1 });
    const person = new Watcher();
    const credit = new InputCredit((seq, bytes) => person.session.input(seq, bytes));
    let mostBytes = 0;
    let sentBytes = 0;
    person.session = await world.rack.attach(
      {
        caller: alice,
        port: 'db1',
        mode: 'write',
        delivery: 'person',
        creditBytes: 1_048_576,
      },
      (event) => {
        if (event.kind === 'acknowledged') credit.acknowledged(event.bytes);
        person.onEvent(event);
      },
    );
    const input = person.session.input.bind(person.session);
    person.session = {
      ...person.session,
      input: (seq, bytes) => {
        sentBytes += bytes.length;
        mostBytes = Math.max(mostBytes, sentBytes - world.backend.written.length);
        input(seq, bytes);
      },
    };
    credit.open(INPUT_CREDIT_BYTES);
    const paste = Buffer.alloc(200_000, 'The quick brown fox\r');
    const sent = credit.send(paste);
    // A timer that is always late, so that it is over soon.
    for (let i = 0; i < 30_000 && world.backend.written.length < paste.length; i++) {
      await world.timers.advanceLate(10);
    }
    await sent;
    assert.ok(Buffer.from(world.backend.written).equals(paste));
    assert.ok(mostBytes <= INPUT_CREDIT_BYTES, `${mostBytes} bytes wait`);
    assert.deepEqual(person.of('refused'), []);
  });

  it('sends at another pace for once', async () => {
    const world = await pacedWorld({ byteMs: 10 });
    const atMs = times(world);
    const slow = world.rack.send(alice, 'db1', Buffer.from('ab'), { byteMs: 70, lineMs: 0 });
    await world.timers.advance(69);
    assert.equal(world.backend.writtenText, 'a');
    await world.timers.advance(1);
    await slow;
    const plain = world.rack.send(alice, 'db1', Buffer.from('cd'));
    await world.timers.advance(100);
    await plain;
    assert.deepEqual(gaps(atMs), [70, 70, 10]);
    for (const pace of [
      { byteMs: -1, lineMs: 0 },
      { byteMs: 0, lineMs: Number.NaN },
    ]) {
      await assert.rejects(world.rack.send(alice, 'db1', Buffer.from('x'), pace), {
        code: 'USAGE',
      });
    }
  });
});

describe('line ends', () => {
  it('are mapped for people and for send, and for nobody else', async () => {
    const world = await pacedWorld({ newline: 'lf' });
    const person = await world.attach('alice');
    person.type('a\rb\r\nc\nd');
    assert.equal(world.backend.writtenText, 'a\nb\nc\nd');
    person.session.input(99, Buffer.from('\r'), true);
    assert.equal(world.backend.writtenText.slice(7), '\r', "a program's, piped through a session");
    person.session.becomeProgram();
    person.session.input(100, Buffer.from('\r\n'));
    assert.equal(world.backend.writtenText.slice(8), '\r\n');
    person.session.detach('left');
    const raw = await world.attach('bob', { delivery: 'program' });
    raw.type('e\r\n');
    assert.equal(world.backend.writtenText.slice(10), 'e\r\n');
    raw.session.detach('left');
    await world.rack.send(alice, 'db1', Buffer.from('f\r'));
    await world.rack.send(alice, 'db1', Buffer.from('\ng\r'));
    await world.rack.send(callerOf('bob'), 'db1', Buffer.from('\nh'));
    assert.equal(world.backend.writtenText.slice(13), 'f\ng\n\nh', 'a CR LF cut in two is one');
    const steps = [{ do: 'send', bytes: Buffer.from('\r') } as const];
    await world.rack.run(alice, 'db1', { label: 'steps', steps });
    assert.equal(world.backend.writtenText.slice(-1), '\r');
  });

  it('are acknowledged also where nothing is left of them', async () => {
    const world = await pacedWorld({ newline: 'cr' });
    const person = await world.attach('alice');
    person.type('a\r');
    person.type('\n');
    assert.equal(world.backend.writtenText, 'a\r');
    assert.deepEqual(
      person.of('acknowledged').map(({ bytes }) => bytes),
      [2, 1],
    );
  });

  it('are the same however the input is cut', () => {
    const text = fc
      .array(fc.constantFrom('a', '\r', '\n', '\r\n'), { maxLength: 30 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(
        text,
        fc.array(fc.nat(30), { maxLength: 5 }),
        fc.constantFrom<PaceSettings['newline']>('as-is', 'cr', 'lf', 'crlf'),
        (typed, cuts, newline) => {
          const ends = new LineEnds();
          let mapped = '';
          let from = 0;
          for (const cut of [...cuts.sort((a, b) => a - b), typed.length]) {
            const to = Math.max(from, Math.min(cut, typed.length));
            mapped += Buffer.from(ends.map(Buffer.from(typed.slice(from, to)), newline)).toString();
            from = to;
          }
          const end = { 'as-is': null, cr: '\r', lf: '\n', crlf: '\r\n' }[newline];
          assert.equal(mapped, end === null ? typed : typed.replace(/\r\n|\r|\n/g, end));
        },
      ),
    );
  });
});

describe('a pace', () => {
  const text = fc.array(fc.constantFrom(97, 97, 97, 13, 10), { minLength: 1, maxLength: 200 });

  /** Sends all of it; each look at the clock is late by what `lates` says. */
  function send(
    typed: readonly number[],
    byteMs: number,
    lineMs: number,
    lates: readonly number[],
  ): { atMs: number; count: number }[] {
    const pace = new Pace();
    const bytes = Uint8Array.from(typed);
    const sent: { atMs: number; count: number }[] = [];
    let nowMs = 0;
    for (let at = 0; at < bytes.length;) {
      const rest = bytes.subarray(at);
      const count = pace.allows({ byteMs, lineMs }, rest, nowMs, sent.length > 0);
      pace.taken({ byteMs, lineMs }, rest, count, nowMs);
      if (count > 0) sent.push({ atMs: nowMs, count });
      at += count;
      const waitMs = pace.waitMs(nowMs);
      assert.ok(count > 0 || waitMs > 0, 'no busy loop');
      nowMs += waitMs + (lates[sent.length % lates.length] ?? 0);
    }
    return sent;
  }

  it('is kept on average by a timer that is a little late, and never exceeded', () => {
    fc.assert(
      fc.property(
        text,
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 5 }),
        (typed, byteMs, lates) => {
          const sent = send(typed, byteMs, 0, lates);
          const tookMs = sent.at(-1)!.atMs;
          assert.ok(tookMs >= (typed.length - sent.at(-1)!.count) * byteMs);
          assert.ok(tookMs <= typed.length * byteMs + 10, `${tookMs} ms`);
        },
      ),
    );
  });

  it('never floods the device, however late somebody looks', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 0, max: 50 }), fc.nat(5_000), (typed, lineMs, late) => {
        const sent = send(typed, 1, lineMs, [late]);
        for (const { count } of sent) assert.ok(count <= PACE_BURST_BYTES);
      }),
    );
  });

  it('waits after each line end at least as long as asked', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 50 }), fc.nat(30), (typed, lineMs, late) => {
        const sent = send(typed, 0, lineMs, [late]);
        const ends =
          Buffer.from(typed)
            .toString()
            .match(/\r\n|\r|\n/g)?.length ?? 0;
        const endsLast = /[\r\n]$/.test(Buffer.from(typed).toString());
        assert.equal(sent.length, ends + (endsLast ? 0 : 1));
        for (let i = 1; i < sent.length; i++) {
          assert.ok(sent[i]!.atMs - sent[i - 1]!.atMs >= lineMs);
        }
      }),
    );
  });
});
