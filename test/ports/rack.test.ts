import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { PortSettings } from '../../src/core/settings.ts';
import { FakeOpener, World, callerOf, portSettings, registered, settle } from './support.ts';

const alice = callerOf('alice');

describe('rack', () => {
  it('finds ports by name, alias and unique prefix, and suggests only what may be viewed', async () => {
    const world = await new World().start([
      portSettings('Switch1', { aliases: ['core'] }),
      portSettings('db1'),
      portSettings('db2'),
    ]);
    const attachTo = async (port: string) =>
      (await world.attach('alice', { port })).session.attached.port;
    assert.equal(await attachTo('switch1'), 'Switch1');
    assert.equal(await attachTo('CORE'), 'Switch1');
    assert.equal(await attachTo('co'), 'Switch1');
    await assert.rejects(attachTo('db'), /"db" fits db1, db2/);
    await assert.rejects(attachTo('db3'), /no port "db3"; did you mean "db1" or "db2"/);
    await assert.rejects(attachTo(''), { code: 'PORT_UNKNOWN' });
  });

  it('quotes little of a name that no port can have, and nothing a terminal obeys', async () => {
    const world = await new World().start();
    for (const name of ['\x1b[2J', '../../etc', 'x'.repeat(65_536), 'db1\n', '\u202edb1']) {
      await assert.rejects(world.attach('alice', { port: name }), (error: Fault) => {
        assert.equal(error.code, 'PORT_UNKNOWN');
        assert.match(error.message, /^[\x20-\x7e]{1,200}$/);
        return true;
      });
    }
    await assert.rejects(world.attach('alice', { port: '../../etc' }), /no port "\.\.\/\.\.\/etc"/);
    await assert.rejects(world.attach('alice', { port: 'x'.repeat(65) }), /"x{64}\.\.\."/);
  });

  it('says messages, kicks, and lists who is on', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    const bob = await world.attach('bob');
    const carol = await world.attach('carol', { port: 'db2' });
    assert.equal(await world.rack.message(alice, { port: 'db1' }, 'reboot in 5'), 1);
    assert.equal(await world.rack.message(alice, 'all', 'all'), 2);
    assert.equal(await world.rack.message(alice, { session: 2 }, 'only you'), 1);
    assert.equal(carol.of('message').at(-1)!.text, 'only you');
    assert.equal(bob.of('message').at(-1)!.text, 'all');
    await assert.rejects(world.rack.message(alice, { session: 9 }, 'x'), {
      code: 'SESSION_UNKNOWN',
    });
    assert.deepEqual(bob.of('message')[0], { kind: 'message', from: 'alice', text: 'reboot in 5' });
    assert.deepEqual(
      (await world.rack.who(alice)).map(({ session, user, port }) => [session, user, port]),
      [
        [1, 'bob', 'db1'],
        [2, 'carol', 'db2'],
      ],
    );
    world.authorizer.deny('eve', 'admin', 'control');
    await assert.rejects(world.rack.kick(callerOf('eve'), 1), { code: 'DENIED' });
    await assert.rejects(world.rack.kick(alice, 99), { code: 'SESSION_UNKNOWN' });
    await world.rack.kick(alice, 2);
    assert.equal(carol.of('ended')[0]!.why, 'kicked by alice');
    assert.equal((await world.rack.who(alice)).length, 1);
  });

  it('writes marks and clock steps on every port', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    world.rack.mark();
    world.rack.clockStepped(-3_600_000_000);
    for (const uuid of ['uuid-db1', 'uuid-db2']) {
      assert.equal(world.spool.of('mark', uuid).length, 1);
      assert.equal(world.spool.of('clock-step', uuid)[0]!.stepUs, -3_600_000_000);
    }
  });

  it('opens 200 ports at once and does not wait for the slow one', async () => {
    const world = new World();
    const all = Array.from({ length: 200 }, (_, i) => portSettings(`p${i}`));
    world.makeOpener(all[0]!).openGate = new Promise(() => undefined);
    const started = world.start(all);
    await settle();
    const states = (await world.rack.ports(alice)).map(({ state }) => state);
    assert.equal(states.filter((state) => state === 'up').length, 199);
    await world.timers.advance(1_000);
    await started;
  });

  it('publishes once for all reads of one turn', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    await settle();
    const before = world.spool.published;
    for (let i = 0; i < 10; i++) {
      world.openers.get('db1')!.backend.say('x');
      world.openers.get('db2')!.backend.say('y');
    }
    await settle();
    assert.equal(world.spool.published, before + 1);
  });
});

describe('rack, reloaded', () => {
  const reload = (world: World, ports: PortSettings[]) =>
    world.rack.apply(
      ports,
      ports.map(({ name, was }) => registered(name, was ? { uuid: `uuid-${was}` } : {})),
    );

  it('leaves unchanged ports alone, adds and removes others', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    const watcher = await world.attach('alice');
    const other = await world.attach('bob', { port: 'db2' });
    const gone = world.openers.get('db2')!;
    const changes = await reload(world, [portSettings('db1'), portSettings('db3')]);
    assert.deepEqual(changes, ['db2 removed', 'db3 added']);
    world.backend.say('still here');
    assert.equal(watcher.text, 'still here');
    assert.equal(world.opener.attempts, 1);
    assert.ok(gone.backend.isClosed);
    assert.match(other.of('ended')[0]!.why, /removed/);
    await assert.rejects(world.attach('bob', { port: 'db2' }), { code: 'PORT_UNKNOWN' });
    assert.deepEqual(await reload(world, [portSettings('db1'), portSettings('db3')]), []);
  });

  it('changes the line on the open device, or opens anew where that cannot be', async () => {
    const world = await new World().start();
    const watcher = await world.attach('alice');
    const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 } as const;
    const first = world.backend;
    world.openers.clear();
    assert.deepEqual(await reload(world, [portSettings('db1', { line })]), ['db1 changed: line']);
    assert.deepEqual(first.lines, [line]);
    assert.equal(first.isClosed, false);
    assert.equal((await world.rack.ports(alice))[0]!.differs, false);
    first.lineIsSupported = false;
    world.openers.clear();
    await reload(world, [portSettings('db1')]);
    await world.timers.advance(100);
    assert.ok(first.isClosed);
    world.backend.say('on the new one');
    assert.equal(watcher.text, 'on the new one');
  });

  it('goes over to another device with the sessions kept', async () => {
    const world = await new World().start();
    const watcher = await world.attach('alice');
    const first = world.backend;
    first.say('one ');
    const moved = portSettings('db1', {
      backend: { kind: 'pty', path: '/dev/pts/9', command: null },
    });
    world.openers.set('db1', new FakeOpener());
    await reload(world, [moved]);
    await world.timers.advance(100);
    assert.ok(first.isClosed);
    world.backend.say('two');
    assert.equal(watcher.text, 'one two');
    assert.deepEqual(
      watcher.events.map(({ kind }) => kind),
      ['frame', 'down', 'up', 'frame'],
    );
  });

  it('knows a renamed port by its uuid', async () => {
    const world = await new World().start();
    const watcher = await world.attach('alice');
    world.backend.say('a');
    const { backend } = world;
    const changes = await reload(world, [portSettings('main', { was: 'db1' })]);
    assert.deepEqual(changes, ['main (was db1) changed: name']);
    backend.say('b');
    assert.equal(watcher.text, 'ab');
    assert.equal((await world.rack.ports(alice))[0]!.name, 'main');
  });

  it('goes on counting where a removed port stopped, though the store is behind', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    world.backend.say('twelve bytes');
    await reload(world, [portSettings('db2')]);
    await reload(world, [portSettings('db2'), portSettings('db1')]);
    const status = (await world.rack.ports(alice)).find(({ name }) => name === 'db1')!;
    assert.equal(status.offset, 12);
  });

  it('changes nothing when something is refused', async () => {
    const world = await new World().start();
    world.makeOpener = () => {
      throw new Fault('CONFIG_INVALID', 'no such machine');
    };
    await assert.rejects(reload(world, [portSettings('db2')]), { code: 'CONFIG_INVALID' });
    await assert.rejects(world.rack.apply([portSettings('db1')], []), { code: 'CONFIG_INVALID' });
    assert.deepEqual(
      (await world.rack.ports(alice)).map(({ name, state }) => [name, state]),
      [['db1', 'up']],
    );
  });
});
