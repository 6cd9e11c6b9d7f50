import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { PortSettings } from '../../src/core/settings.ts';
import type { SessionOptions } from '../../src/sessions/session.ts';
import { World, callerOf, portSettings, settle } from '../ports/support.ts';
import { Client, FakeLog } from './support.ts';

async function start(more: Partial<PortSettings> = {}) {
  const world = await new World().start([portSettings('db1', more)]);
  const log = new FakeLog(world.spool, world.timers);
  const { rack: access, timers, journal } = world;
  const clock = { nowUs: () => timers.nowMs() * 1_000 };
  const services = { access, log, clock, journal, timers };
  const open = (user: string, options: Partial<SessionOptions> = {}) =>
    new Client().open(services, { caller: callerOf(user), ...options });
  return { world, log, open };
}

const QUESTION = '\x1b[6n';
const ANSWER = '\x1b[24;80R';

describe('what a device asks a terminal', () => {
  it('reaches the writer as it is, and nobody else; the filter follows write', async () => {
    const { world, open } = await start();
    const alice = await open('alice');
    const bob = await open('bob');
    const carol = await open('carol', { mode: 'view', keys: null });
    await settle();
    world.backend.say(`~ # ${QUESTION}\x05\x1b[5`);
    world.backend.say('n\x1b[1mbold');
    assert.equal(alice.text, `~ # ${QUESTION}\x05\x1b[5n\x1b[1mbold`);
    assert.equal(bob.text, '~ # \x1b[1mbold');
    assert.equal(carol.text, bob.text);
    await bob.session.takeOver();
    world.backend.say(QUESTION);
    assert.ok(bob.text.endsWith(QUESTION));
    assert.ok(alice.text.endsWith('bold'));
    await bob.session.view();
    await settle();
    world.backend.say(QUESTION);
    assert.ok(alice.text.endsWith(`bold${QUESTION}`), 'write went back to alice');
  });

  it('loses no byte when write changes in the middle of a sequence', async () => {
    const { world, open } = await start();
    await open('alice');
    const bob = await open('bob');
    await settle();
    world.backend.say('a\x1b[3');
    assert.equal(bob.text, 'a');
    await bob.session.takeOver();
    world.backend.say('1mred');
    assert.match(bob.text, /^a\x1b\[31mred$/);
    bob.session.becomeProgram();
    world.backend.say(QUESTION);
    assert.ok(bob.text.endsWith(QUESTION));
  });

  it('is not asked again by history, not even of the writer', async () => {
    const { world, open } = await start();
    world.backend.say(`old ${QUESTION}text`);
    const alice = await open('alice', { from: { at: 'start' } });
    await alice.until(/text/);
    world.backend.say(QUESTION);
    assert.equal(alice.text, `old text${QUESTION}`);
    const program = await open('bob', { from: { at: 'start' }, notices: false, keys: null });
    await program.until(/text/);
    await settle();
    assert.equal(program.text, `old ${QUESTION}text${QUESTION}`);
  });

  it('costs a viewer no credit, though nothing of it is written', async () => {
    const { world, open } = await start();
    await open('alice');
    const bob = await open('bob');
    await settle();
    for (let i = 0; i < 100; i++) world.backend.say(QUESTION.repeat(2_500));
    world.backend.say('end');
    assert.equal(bob.text, 'end');
    assert.equal(bob.notices.length, 1, 'nothing was skipped');
  });

  it('is answered by the writer only, and a viewer hears of no refusal', async () => {
    const { world, open } = await start();
    const alice = await open('alice');
    const viewers = await Promise.all(
      ['bob', 'carol', 'dave', 'erin'].map((user, i) =>
        open(user, i === 0 ? { keys: null } : { mode: 'view' }),
      ),
    );
    for (const client of [alice, ...viewers]) await client.type(ANSWER);
    assert.equal(world.backend.writtenText, ANSWER);
    for (const viewer of viewers) assert.equal(viewer.notices.length, 1);
    await viewers[0]!.type('x');
    assert.match(viewers[0]!.notices[1]!, /^input refused/);
  });
});

describe('a person', () => {
  it('is let go who types nothing, after a warning; what the device says is no activity', async () => {
    const { world, open } = await start({ idleTimeoutMs: 1_800_000 });
    const alice = await open('alice');
    const program = await open('bob', { delivery: 'program', notices: false, keys: null });
    world.backend.roomBytes = 0;
    await alice.type('stuck');
    for (let minute = 0; minute < 28; minute++) {
      await world.timers.advance(60_000);
      world.backend.say('tick\r\n');
      await alice.type(ANSWER);
    }
    const before = alice.notices.length;
    await world.timers.advance(61_000);
    assert.equal(alice.notices.length, before + 1);
    assert.match(alice.notices.at(-1)!, /^idle for 29 min/);
    await alice.type('\x05cw');
    await world.timers.advance(1_795_000);
    assert.equal(alice.endedWhy, null);
    assert.match(alice.notices.at(-1)!, /^idle for 29 min/);
    await world.timers.advance(5_000);
    assert.equal(alice.endedWhy, 'idle for 30 min');
    assert.equal(alice.notices.at(-1), 'ended: idle for 30 min');
    assert.equal(program.endedWhy, null);
    assert.deepEqual(
      (await world.rack.who(callerOf('bob'))).map(({ user }) => user),
      ['bob'],
    );
  });

  it('is let go without a warning after a short time, and never when it turns out a program', async () => {
    const { world, open } = await start({ idleTimeoutMs: 90_000 });
    const alice = await open('alice');
    const gdb = await open('bob', { mode: 'view' });
    gdb.session.becomeProgram();
    await world.timers.advance(89_000);
    assert.equal(alice.notices.length, 1);
    await world.timers.advance(1_000);
    assert.equal(alice.endedWhy, 'idle for 90 s');
    assert.equal(gdb.endedWhy, null);
  });

  it('is shown the message of the day, who used the port, and how long ago', async () => {
    const { world, open } = await start({ motd: 'Mind the \x1b]0;dog\x07\r\n\r\nAsk bob.\n' });
    const alice = await open('alice');
    assert.deepEqual(alice.notices, [
      'db1: you write; ^Ec? for help',
      'Mind the  ]0;dog',
      '',
      'Ask bob.',
    ]);
    await alice.type('x');
    alice.session.detach();
    await world.timers.advance(3 * 3_600_000);
    const bob = await open('bob');
    assert.equal(bob.notices[0], 'db1: you write; last used by alice, 3 hours ago; ^Ec? for help');
  });

  it('hears who set the line, and the session passes line events on', async () => {
    const { world, open } = await start();
    const alice = await open('alice');
    const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 } as const;
    await world.rack.setLine(callerOf('bob'), 'db1', line, 'rtscts');
    await settle();
    assert.equal(alice.notices.at(-1), 'bob set the line to 9600 8N1, flow control rtscts');
    world.backend.sink.event({ kind: 'break' });
    world.backend.sink.event({ kind: 'line-error', error: 'framing', count: 1 });
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    const count = alice.notices.length;
    assert.match(alice.notices[count - 1]!, /^the port is down/);
    const kinds = alice.events.map(({ kind }) => kind);
    for (const kind of ['line', 'down'] as const) assert.ok(kinds.includes(kind), kind);
  });
});

describe('a session that turns out to be a program', () => {
  it('has keys and notices no more, and gets every byte', async () => {
    const { world, open } = await start();
    const client = await open('alice');
    await settle();
    await client.type('\x05');
    client.session.becomeProgram();
    await client.type('c.');
    assert.equal(world.backend.writtenText, '\x05c.');
    const count = client.notices.length;
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await settle();
    assert.equal(client.notices.length, count);
    assert.equal(client.endedWhy, null);
    await world.timers.advance(300);
    client.isStalled = true;
    for (let i = 0; i < 200; i++) world.backend.say('x'.repeat(10_000));
    assert.match(client.endedWhy!, /TOO_SLOW/);
  });
});

describe('calls that change the line', () => {
  it('come after the input before them and before the input after them', async () => {
    const { world, open } = await start();
    const client = await open('alice', { delivery: 'program', notices: false, keys: null });
    const { backend } = world;
    backend.roomBytes = 0;
    const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 } as const;
    void client.type('a'.repeat(100_000));
    let isSet = false;
    const set = client.session.setLine(line, 'none').then(() => (isSet = true));
    void client.session.setBreak(true);
    const after = client.type('after');
    for (let i = 0; i < 10; i++) {
      backend.giveRoom(9_999);
      await settle();
    }
    assert.equal(isSet, false);
    assert.deepEqual(backend.lines, []);
    backend.giveRoom(5);
    await settle();
    assert.equal(backend.written.length, 99_995, 'all but the last few');
    backend.giveRoom(5);
    await Promise.all([set, after]);
    await settle();
    assert.deepEqual(backend.lines, [line]);
    assert.deepEqual(backend.held, [true]);
    assert.equal(backend.written.length, 100_000);
    backend.giveRoom(100);
    await settle();
    assert.ok(backend.writtenText.endsWith('aafter'));
  });

  it('throw input away at once, also what has not been sent', async () => {
    const { world, open } = await start();
    const client = await open('alice', { delivery: 'program', notices: false, keys: null });
    world.backend.roomBytes = 10;
    const typed = client.type('a'.repeat(200_000));
    await settle();
    await client.session.purge('tx');
    await typed;
    await client.type('b');
    world.backend.giveRoom(1_000_000);
    await settle();
    assert.equal(world.backend.writtenText, 'a'.repeat(10) + 'b');
    assert.deepEqual(world.backend.purged, ['tx']);
  });

  it('are refused when too many wait, and end with the session', async () => {
    const { world, open } = await start();
    const client = await open('alice', { delivery: 'program', notices: false, keys: null });
    world.backend.roomBytes = 0;
    await client.type('stuck');
    const calls = Array.from({ length: 120 }, () =>
      client.session.setBreak(false).then(
        () => 'done',
        (error: Fault) => error.code,
      ),
    );
    await settle();
    client.session.detach();
    const results = await Promise.all(calls);
    assert.equal(results.filter((result) => result === 'TOO_SOON').length, 20);
    assert.deepEqual(world.backend.held, []);
    await client.session.setBreak(true);
    await client.session.purge('both');
    assert.deepEqual(world.backend.held, []);
  });
});
