import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { callerOf, portSettings, World } from './support.ts';
import type { FakeBackend } from './support.ts';

/** Takes `bytes` more, then fails as a driver does whose device is gone. */
function failAfter(backend: FakeBackend, bytes: number): void {
  const write = backend.write.bind(backend);
  backend.roomBytes = bytes;
  backend.write = (offered) => {
    if (backend.roomBytes === 0) throw new Error('EIO: i/o error, write');
    return write(offered);
  };
}

async function statusOf(world: World) {
  const [status] = await world.rack.ports(callerOf('alice'));
  return status!;
}

describe('a device that fails', () => {
  it('and vanishes in the middle of a write: what it did not take is counted and refused', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    failAfter(world.backend, 5);
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    alice.type('abcdefgh');
    alice.type('more');
    assert.equal(world.backend.writtenText, 'abcde');
    world.backend.sink.writable();
    const status = await statusOf(world);
    assert.equal(status.state, 'down');
    assert.match(status.why!, /EIO/);
    assert.ok(world.backend.isClosed);
    assert.deepEqual(
      world.spool.of('mark').map(({ text }) => text.replace(/: db1 is down.*/, '')),
      ['input of session 1 cut short: the device took 5 of 8 bytes'],
    );
    assert.equal(alice.of('refused').length, 2);
    assert.equal(alice.of('acknowledged').length, 2, 'no credit is lost');
    // Only what began to go to the device stands in the log as sent.
    assert.deepEqual(
      world.spool.of('tx').map(({ count }) => count),
      [8],
    );
  });

  it('and does so for ever: tried again with pauses, said each time, and nobody else disturbed', async () => {
    const world = new World();
    const line = { onOpen: [{ do: 'send', bytes: Buffer.from('\r') } as const] };
    world.makeOpener(portSettings('db1')).onOpen = (backend) => failAfter(backend, 0);
    await world.start([portSettings('db1', line), portSettings('db2')]);
    const alice = await world.attach('alice');
    await world.timers.advance(600_000);
    const { attempts } = world.opener;
    // 5 s at most, 20 % less by chance.
    assert.ok(attempts >= 115 && attempts <= 170, `${attempts} attempts in 10 minutes`);
    assert.ok(alice.events.length <= 2 * attempts);
    const records = world.spool.bodies('uuid-db1').length;
    assert.ok(records <= 7 * attempts + 2, `${records} records of ${attempts} attempts`);
    const status = await statusOf(world);
    assert.equal(status.state, 'down');
    assert.match(status.why!, /writing failed: EIO/);
    assert.equal(world.spool.bodies('uuid-db2').length, 1);
    world.openers.get('db2')!.backend.say('fine');
    assert.equal(world.spool.of('rx', 'uuid-db2').length, 1);
  });

  it('and says so by every read: down with its cause, back when it is well', async () => {
    const world = new World();
    const opener = world.makeOpener(portSettings('db1'));
    opener.onOpen = ({ sink }) => {
      sink.rxInto(() => {
        sink.gone(new Fault('PORT_GONE', 'read failed: EIO'));
        return -1;
      });
    };
    await world.start();
    await world.timers.advance(60_000);
    assert.equal((await statusOf(world)).why, 'read failed: EIO');
    assert.ok(opener.attempts <= 30, `${opener.attempts} attempts`);
    opener.onOpen = null;
    await world.timers.advance(6_000);
    assert.equal((await statusOf(world)).state, 'up');
    world.backend.say('well');
    assert.equal(world.spool.of('rx').length, 1);
  });

  it('and comes back as something else: the log says what it is, and it gets nothing meant for the other', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.roomBytes = 0;
    alice.type('for the old one');
    const old = world.backend;
    old.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    world.opener.onOpen = (backend) => {
      Object.assign(backend, { description: 'another device' });
    };
    await world.timers.advance(1_000);
    assert.notEqual(world.backend, old);
    assert.equal(world.backend.writtenText, '');
    assert.equal(alice.of('refused').length, 1);
    assert.deepEqual(
      world.spool.of('up').map(({ detail }) => detail),
      ['fake device', 'another device'],
    );
    old.sink.rx(Buffer.from('a ghost'));
    old.sink.event({ kind: 'break' });
    world.backend.say('hello');
    assert.equal(world.spool.of('rx').length, 1);
    assert.equal((await statusOf(world)).errors.breaks, 0);
  });

  it('and takes nothing: input is refused, the rest of the port goes on', async () => {
    const world = await new World().start();
    const alice = await world.attach('alice');
    world.backend.roomBytes = 0;
    alice.type('x'.repeat(1_000));
    await world.timers.advance(5_000);
    assert.equal(alice.of('refused').length, 1);
    for (let i = 0; i < 100; i++) alice.type('y'.repeat(1_000));
    assert.equal(alice.of('refused').length, 101, 'refused at once');
    assert.deepEqual(
      world.spool.of('tx').map(({ count }) => count),
      [1_000],
      'only what was begun is in the log as sent',
    );
    assert.match(world.spool.of('mark')[0]!.text, /took 0 of 1000 bytes/);
    world.backend.say('still here');
    assert.equal(alice.text, 'still here');
    await alice.session.sendBreak(100);
    assert.deepEqual(world.backend.breaks, [100]);
    world.backend.giveRoom(100);
    alice.type('z');
    assert.equal(world.backend.writtenText, 'z');
  });
});
