import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PERSON_CREDIT_BYTES } from '../../src/core/attach.ts';
import { Fault } from '../../src/core/fault.ts';
import type { LogPlace } from '../../src/core/log-reader.ts';
import type { SessionOptions } from '../../src/sessions/session.ts';
import { World, callerOf, portSettings, registered, settle } from '../ports/support.ts';
import { Client, FakeLog } from './support.ts';

async function start() {
  const world = await new World().start();
  const log = new FakeLog(world.spool, world.timers);
  const { rack: access, timers, journal } = world;
  const clock = { nowUs: () => timers.nowMs() * 1_000 };
  const services = { access, log, clock, journal, timers };
  const open = (more: Partial<SessionOptions> = {}) => new Client().open(services, more);
  return { world, log, services, open };
}

const fromOffset = (offset: number): LogPlace => ({ at: 'offset', offset });

describe('a session', () => {
  it('greets, passes bytes both ways and leaves by its key', async () => {
    const { world, open } = await start();
    const client = await open();
    await settle();
    world.backend.say('login: ');
    await client.type('root\r');
    assert.equal(client.text, 'login: ');
    assert.equal(world.backend.writtenText, 'root\r');
    assert.match(client.notices[0]!, /^db1: you write; .*\^Ec\? for help$/);
    await client.type('\x05c?');
    assert.ok(client.notices.some((line) => line.startsWith('^Ec.')));
    await client.type('\x05cw');
    await settle();
    assert.ok(client.notices.some((line) => /alice writes, from .*\(you\)/.test(line)));
    await client.type('\x05cq');
    assert.match(client.notices.at(-1)!, /\^Ecq is no key/);
    await client.type('\x05c.');
    assert.equal(client.endedWhy, 'left');
    assert.equal((await world.rack.who(callerOf('alice'))).length, 0);
    await client.type('ignored');
    assert.equal(world.backend.writtenText, 'root\r');
  });

  it('begins what it tells on a line of its own, and leaves no line empty for it', async () => {
    const { world, open } = await start();
    const client = await open();
    await settle();
    const notice = '[fairlead: message from bob: hi]\r\n';
    for (const [said, before] of [
      ['login: ', '\r\n'],
      ['half a\r', '\r\n'],
      ['bare\n', '\r\n'],
      ['whole\r\n', ''],
      ['\n\r', ''],
    ]) {
      const from = client.all.length;
      world.backend.say(said!);
      for (let i = 0; i < 2; i++) await world.rack.message(callerOf('bob'), { port: 'db1' }, 'hi');
      await settle();
      assert.equal(client.all.slice(from), said! + before! + notice + notice);
    }
  });

  it('tells people who writes, and takes write over by its key', async () => {
    const { world, open } = await start();
    const alice = await open();
    const bob = await open({ caller: callerOf('bob') });
    await settle();
    assert.match(bob.notices[0]!, /you view; alice writes; you get write when they leave/);
    await bob.type('x');
    await bob.type('y');
    assert.deepEqual(bob.notices.slice(1), ['input refused: you only view; alice writes']);
    await world.timers.advance(5_000);
    await bob.type('z');
    assert.equal(bob.notices.length, 3);
    await bob.type('\x05cf');
    await settle();
    assert.equal(bob.notices.at(-1), 'you write now');
    assert.equal(alice.notices.at(-1), 'taken over by bob; you view now');
    await bob.type('\x05cs');
    await settle();
    assert.equal(bob.notices.at(-1), 'you view now');
    assert.equal(alice.notices.at(-1), 'you write now');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await world.timers.advance(300);
    assert.deepEqual(alice.notices.slice(-2), [
      'the port is down: unplugged',
      'the port is up again',
    ]);
    await world.rack.message(callerOf('carol'), { port: 'db1' }, 'hi \x1b]0;evil\x07\r\nthere');
    assert.equal(alice.notices.at(-1), 'message from carol: hi  ]0;evil there');
    await world.rack.kick(callerOf('carol'), alice.session.attached.session);
    assert.equal(alice.notices.at(-1), 'ended: kicked by carol');
    assert.equal(alice.endedWhy, 'kicked by carol');
  });

  it('writes nothing of its own for programs', async () => {
    const { world, open } = await start();
    const client = await open({ delivery: 'program', notices: false, keys: null });
    await settle();
    await client.type('\x05c.');
    world.backend.say('\x05');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await settle();
    assert.equal(Buffer.concat(client.chunks).toString(), '\x05');
    assert.equal(world.backend.writtenText, '\x05c.');
    assert.equal(client.endedWhy, null);
  });

  it('lets a paste of 200 KB through whole, however slow the device', async () => {
    const { world, open } = await start();
    const client = await open();
    const paste = Buffer.from(Array.from({ length: 200_000 }, (_, i) => 65 + (i % 50)));
    world.backend.roomBytes = 0;
    let hasArrived = false;
    const sent = client.session.input(Uint8Array.from(paste)).then(() => (hasArrived = true));
    const after = client.type('end');
    let isDelivered = false;
    const given = client.session.view().then(() => (isDelivered = true));
    await settle();
    assert.equal(hasArrived, false);
    assert.equal(isDelivered, false);
    for (let i = 0; i < 210; i++) {
      world.backend.giveRoom(960);
      await settle(1);
    }
    await Promise.all([sent, after, given]);
    assert.equal(
      Buffer.from(world.backend.written).equals(Buffer.concat([paste, Buffer.from('end')])),
      true,
    );
    assert.deepEqual(client.notices.slice(1), ['you view now']);
  });

  it('skips for a person who stalls, tells them, and bounds what is under way', async () => {
    const { world, open } = await start();
    const client = await open();
    await settle();
    client.isStalled = true;
    for (let i = 0; i < 100; i++) world.backend.say('x'.repeat(10_000));
    for (let i = 0; i < 2_000; i++)
      await world.rack.message(callerOf('bob'), { port: 'db1' }, 'are you there');
    assert.ok(client.outstandingBytesMax < PERSON_CREDIT_BYTES + 16_384);
    client.goOn();
    const skipped = client.notices.find((line) => line.startsWith('skipped'))!;
    const [, count, from, to] = /^skipped (\d+) bytes \((\d+)\.\.(\d+)\), the log has them$/
      .exec(skipped)!
      .map(Number);
    assert.equal(count, to! - from!);
    assert.equal(to, 1_000_000);
    assert.equal(client.text.length + count!, 1_000_000);
    assert.ok(client.notices.some((line) => /notices were left out/.test(line)));
  });

  it('ends a program that does not read', async () => {
    const { world, open } = await start();
    const client = await open({ delivery: 'program', notices: false });
    await settle();
    client.isStalled = true;
    for (let i = 0; i < 120; i++) world.backend.say('x'.repeat(10_000));
    assert.match(client.endedWhy!, /TOO_SLOW/);
    assert.ok(client.text.length <= 1_048_576);
    assert.match(world.spool.of('detached')[0]!.why, /TOO_SLOW/);
  });
});

describe('a session with history', () => {
  it('joins it to live without a seam, while the store is behind', async () => {
    const { world, log, open } = await start();
    log.committed = 0;
    let said = '';
    const say = (text: string): void => {
      said += text;
      world.backend.say(text);
    };
    for (let i = 0; i < 50; i++) say(`history ${i}\r\n`);
    log.commit(20);
    const opening = open({ from: fromOffset(100) });
    say('while attaching\r\n');
    const client = await opening;
    for (let i = 0; i < 200; i++) {
      say(`more ${i}\r\n`);
      if (i % 3 === 0) log.commit(1);
      if (i % 10 === 0) await settle(1);
    }
    log.commit(1_000);
    await settle(20);
    say('live\r\n');
    assert.equal(client.text, said.slice(100));
    assert.equal(client.notices.length, 1);
  });

  it('bounds what is under way to a client that stalls in it', async () => {
    const { world, open } = await start();
    for (let i = 0; i < 100; i++) world.backend.say('h'.repeat(10_000));
    const client = new Client();
    client.isStalled = true;
    const { services } = await startedWith(world);
    await client.open(services, { from: { at: 'start' } });
    await settle(100);
    assert.ok(client.outstandingBytes <= 65_536 + 1_000);
    for (let i = 0; i < 2_000 && client.text.length < 1_000_000; i++) {
      client.goOn();
      await settle(1);
    }
    assert.equal(client.text.length, 1_000_000);
    assert.ok(open);
  });

  it('fills from the log what was skipped while it was read', async () => {
    const { world, services } = await start();
    let said = '';
    const say = (bytes: number, letter: string): void => {
      const text = letter.repeat(bytes);
      said += text;
      world.backend.say(text);
    };
    for (let i = 0; i < 30; i++) say(10_000, 'h');
    const client = new Client();
    client.isStalled = true;
    await client.open(services, { from: { at: 'start' } });
    for (let i = 0; i < 60; i++) say(10_000, 'w');
    await settle(20);
    assert.ok(client.text.length < 100_000);
    for (let i = 0; i < 100; i++) {
      client.goOn();
      await settle(2);
    }
    say(100, 'l');
    assert.equal(client.text.length, said.length);
    assert.equal(client.text, said);
    assert.equal(client.notices.length, 1, 'nothing was skipped');
    client.isStalled = true;
    for (let i = 0; i < 60; i++) say(10_000, 's');
    client.goOn();
    await settle(2);
    assert.match(client.notices.at(-1)!, /^skipped/);
  });

  it('gives up waiting for a store that is behind, and says so', async () => {
    const { world, log, open } = await start();
    world.backend.say('committed');
    log.committed = world.spool.bodies().length;
    world.backend.say(' and not');
    const client = await open({ from: fromOffset(0) });
    world.backend.say(' live');
    await settle(10);
    await world.timers.advance(4_900);
    assert.equal(client.text, 'committed');
    await world.timers.advance(200);
    assert.equal(client.text, 'committed live');
    assert.equal(client.notices.at(-1), 'skipped 8 bytes (9..17), they are not in the log yet');
  });

  it('goes on live when the log cannot be read or does not reach back', async () => {
    const { world, log, open } = await start();
    world.backend.say('before');
    log.failure = new Fault('LOG_DAMAGED', 'checksum');
    const client = await open({ from: fromOffset(0) });
    await settle(10);
    world.backend.say('live');
    assert.equal(client.text, 'live');
    assert.deepEqual(client.notices.slice(1), [
      'skipped 6 bytes (0..6), the log could not be read',
      'no history: checksum',
    ]);
    log.failure = null;
    const other = await open({ from: { at: 'boot' } });
    await settle(10);
    world.backend.say('!');
    assert.equal(other.text, '!');
    assert.match(other.notices[1]!, /does not reach back/);
  });

  it('tells of gaps and of a new epoch', async () => {
    const { world, log, open } = await start();
    world.backend.say('old');
    const position = { epoch: 9, seq: 0, offset: 0 };
    await world.rack.apply([portSettings('db1')], [registered('db1', { position })]);
    world.backend.say('new');
    const read = log.read.bind(log);
    log.read = async (...args) => {
      const batch = await read(...args);
      for (const [i, record] of batch.records.entries()) {
        if (record.kind !== 'rx' || record.epoch !== 7) continue;
        const { epoch, seq, offset, atUs } = record;
        const to = offset + record.bytes.length;
        const reason = 'spool full';
        batch.records[i] = {
          kind: 'gap',
          epoch,
          seq,
          offset,
          atUs,
          from: offset,
          to,
          count: 3,
          reason,
          seqs: 1,
        };
      }
      return batch;
    };
    const client = await open({ from: { at: 'start' } });
    await settle(10);
    assert.equal(client.text, 'new');
    assert.deepEqual(client.notices.slice(1), [
      'skipped 3 bytes (0..3), missing: spool full',
      'continuity is not proven here: a new epoch begins',
    ]);
  });

  it('ends at once when it is detached or kicked in the middle', async () => {
    const { world, services } = await start();
    for (let i = 0; i < 50; i++) world.backend.say('h'.repeat(10_000));
    const client = new Client();
    client.isStalled = true;
    await client.open(services, { from: { at: 'start' } });
    await settle(20);
    await world.rack.kick(callerOf('bob'), client.session.attached.session);
    assert.equal(client.endedWhy, 'kicked by bob');
    const count = client.chunks.length;
    client.goOn();
    await settle(20);
    assert.equal(client.chunks.length, count);
    const other = new Client();
    other.isStalled = true;
    await other.open(services, { from: { at: 'start' } });
    other.session.detach();
    other.goOn();
    await settle(20);
    assert.equal(other.endedWhy, null);
    assert.ok(other.text.length <= 32_768);
  });
});

async function startedWith(world: World) {
  const log = new FakeLog(world.spool, world.timers);
  const { rack: access, timers, journal } = world;
  return { services: { access, log, clock: { nowUs: () => 0 }, journal, timers } };
}
