import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import type { AttachRequest, PortAccess } from '../../src/core/attach.ts';
import { connectPortAccess } from '../../src/ports/link-client.ts';
import { servePortAccess } from '../../src/ports/link.ts';
import type { ServedLink } from '../../src/ports/link.ts';
import {
  FakeTimers,
  Watcher,
  World,
  callerOf,
  portSettings,
  registered,
  settle,
} from './support.ts';

/** A world whose ports are reached across a MessagePort. */
async function linked(run: (link: Linked) => Promise<void>): Promise<void> {
  const world = await new World().start();
  const channel = new MessageChannel();
  let frames = 0;
  const post = channel.port1.postMessage.bind(channel.port1);
  const counting = {
    postMessage: (value: { kind: string }) => {
      if (value.kind === 'frame') frames++;
      post(value);
    },
    on: channel.port1.on.bind(channel.port1),
    close: () => channel.port1.close(),
  };
  const served = servePortAccess(counting as never, world.rack, world.journal);
  const timers = new FakeTimers();
  const access = connectPortAccess(channel.port2, timers);
  const attach = async (user: string, more: Partial<AttachRequest> = {}): Promise<Watcher> => {
    const watcher = new Watcher();
    const request: AttachRequest = {
      caller: callerOf(user),
      port: 'db1',
      mode: 'write',
      delivery: 'person',
      creditBytes: 1_048_576,
      ...more,
    };
    watcher.session = await access.attach(request, (event) => watcher.onEvent(event));
    return watcher;
  };
  try {
    await run({ world, served, access, attach, timers, channel, frames: () => frames });
  } finally {
    channel.port1.close();
    channel.port2.close();
    await world.rack.stop();
  }
}

interface Linked {
  world: World;
  served: ServedLink;
  access: PortAccess;
  attach: (user: string, more?: Partial<AttachRequest>) => Promise<Watcher>;
  timers: FakeTimers;
  channel: MessageChannel;
  frames: () => number;
}

describe('a link', () => {
  it('carries bytes once for all its sessions', () =>
    linked(async ({ world, attach, frames }) => {
      const watchers = [await attach('a'), await attach('b'), await attach('c')];
      world.backend.say('hello');
      await settle();
      for (const watcher of watchers) assert.equal(watcher.text, 'hello');
      assert.equal(frames(), 1);
    }));

  it('gathers what streams to many, and lets nothing overtake it', () =>
    linked(async ({ world, attach, timers }) => {
      const watchers: Watcher[] = [];
      for (let i = 0; i < 12; i++) watchers.push(await attach(`user${i}`));
      let text = '';
      for (let i = 0; i < 100; i++) {
        world.backend.say(`<${i}>`);
        text += `<${i}>`;
      }
      await settle();
      assert.equal(watchers[0]!.of('frame').length, 4);
      // A purge throws away what its client has in hand: nothing that was read before may follow.
      await watchers[0]!.session.purge('rx');
      for (const watcher of watchers) assert.equal(watcher.text, text);
      assert.equal(watchers[11]!.of('frame').length, 5);
      world.backend.say('and on');
      await world.rack.message(callerOf('admin'), 'all', 'hello');
      await settle();
      for (const watcher of watchers) {
        assert.equal(watcher.text, `${text}and on`);
        assert.deepEqual(
          watcher.events.slice(-2).map(({ kind }) => kind),
          ['frame', 'message'],
        );
      }
      await timers.advance(30);
      world.backend.say('!');
      await settle();
      for (const watcher of watchers) assert.equal(watcher.text, `${text}and on!`);
    }));

  it('carries input, its acknowledgement, and what is asked', () =>
    linked(async ({ world, access, attach }) => {
      const alice = await attach('alice');
      alice.type('uptime\r');
      await settle();
      assert.equal(world.backend.writtenText, 'uptime\r');
      assert.equal(alice.of('acknowledged')[0]!.bytes, 7);
      await alice.session.sendBreak(300);
      assert.deepEqual(world.backend.breaks, [300]);
      const bob = await attach('bob');
      await bob.session.takeOver();
      await settle();
      assert.equal(alice.of('writer')[0]!.by, 'bob');
      assert.equal((await access.ports(callerOf('x')))[0]!.writer, 'bob');
      assert.equal((await access.who(callerOf('x'))).length, 2);
      assert.equal(await access.message(callerOf('x'), 'all', 'hi'), 2);
      await bob.session.view();
      await access.kick(callerOf('x'), bob.session.attached.session);
      await access.send(callerOf('alice'), 'db1', Buffer.from('!'));
      await settle();
      assert.equal(bob.of('ended').length, 1);
      assert.equal(world.backend.writtenText, 'uptime\r!');
    }));

  it('carries what is asked of the line', () =>
    linked(async ({ world, access, attach }) => {
      const alice = callerOf('alice');
      world.backend.signalsAreSupported = true;
      world.backend.seen = { cts: true };
      const { session } = await attach('alice', { creditBytes: 8_192 });
      await session.setBreak(true);
      assert.equal((await session.lineState()).isBreaking, true);
      await session.setBreak(false);
      await session.purge('both');
      assert.deepEqual(world.backend.held, [true, false]);
      assert.deepEqual(world.backend.purged, ['both']);
      assert.deepEqual((await session.lineState()).signals, { cts: true });
      await access.setSignals(alice, 'db1', { rts: false });
      assert.deepEqual(world.backend.driven, [{ rts: false }]);
      await access.note(alice, 'db1', 'swapped the fan');
      await access.run(alice, 'db1', {
        label: 'hi',
        steps: [{ do: 'send', bytes: Buffer.from('hi') }],
      });
      assert.equal(world.backend.writtenText, 'hi');
      await access.setLogging(alice, 'db1', false);
      await access.hold(alice, 'db1', true);
      const details = await access.inspect(alice, 'db1');
      assert.equal(details.isHeld, true);
      assert.equal(details.isLogging, false);
      await access.hold(alice, 'db1', false);
    }));

  it('gives a sequence and a power command the time they take', () =>
    linked(async ({ world, access, timers }) => {
      const alice = callerOf('alice');
      await world.rack.apply(
        [portSettings('db1', { power: { on: ['pdu'], off: null, cycle: null, status: null } })],
        [registered('db1')],
      );
      let finish!: () => void;
      const finished = new Promise<void>((resolve) => (finish = resolve));
      world.runCommand = () => finished.then(() => ({ status: 0, output: 'on' }));
      const power = access.power(alice, 'db1', 'on', false);
      const steps = [{ do: 'wait', durationMs: 50_000 }] as const;
      const run = access.run(alice, 'db1', { label: 'x', steps });
      await settle();
      await timers.advance(55_000);
      await world.timers.advance(55_000);
      finish();
      assert.equal(await power, 'on');
      await run;
    }));

  it('turns a session into that of a program', () =>
    linked(async ({ world, attach }) => {
      const lab = await attach('lab', { creditBytes: 8_192 });
      lab.session.becomeProgram();
      await settle();
      for (let i = 0; i < 3; i++) world.backend.say('x'.repeat(4_096));
      await settle();
      assert.match(lab.of('ended')[0]!.why, /TOO_SLOW/);
      lab.session.becomeProgram();
      await lab.session.setBreak(true);
      await lab.session.purge('rx');
      await assert.rejects(lab.session.lineState(), { code: 'SESSION_UNKNOWN' });
      await settle();
      assert.deepEqual(world.backend.held, []);
    }));

  it('carries faults with their codes', () =>
    linked(async ({ access, attach, world }) => {
      await assert.rejects(attach('alice', { port: 'nope' }), { code: 'PORT_UNKNOWN' });
      await assert.rejects(access.kick(callerOf('x'), 7), { code: 'SESSION_UNKNOWN' });
      world.authorizer.deny('eve', 'write');
      const eve = await attach('eve');
      await assert.rejects(eve.session.takeOver(), { code: 'DENIED' });
    }));

  it('lets bytes skip and go on, as credit comes back', () =>
    linked(async ({ world, attach }) => {
      const alice = await attach('alice', { creditBytes: 8_192 });
      for (let i = 0; i < 3; i++) world.backend.say('x'.repeat(4_096));
      await settle();
      assert.equal(alice.text.length, 8_192);
      alice.session.credit(4_000);
      alice.session.credit(4_192);
      await settle();
      assert.deepEqual(
        alice.of('skipped').map(({ from, to }) => [from, to]),
        [[8_192, 12_288]],
      );
    }));

  it('gives credit back once a turn, and of much at once', () =>
    linked(async ({ attach, channel }) => {
      const watchers = [await attach('a'), await attach('b')];
      const posted: unknown[] = [];
      channel.port2.postMessage = (message) => void posted.push(message);
      const [a, b] = watchers.map(({ session }) => session.attached.session);
      watchers[0]!.session.credit(10);
      watchers[1]!.session.credit(5);
      watchers[0]!.session.credit(20);
      assert.deepEqual(posted, []);
      await settle();
      assert.deepEqual(posted, [{ kind: 'credit', pairs: [a, 30, b, 5] }]);
      watchers[1]!.session.credit(1_000_000);
      assert.deepEqual(posted.slice(1), [{ kind: 'credit', pairs: [b, 1_000_000] }]);
      await settle();
      assert.equal(posted.length, 2);
    }));

  it('frees the writer when the far side goes', () =>
    linked(async ({ world, served, attach, channel }) => {
      const local = new Watcher();
      const alice = await attach('alice');
      local.session = await world.rack.attach(
        {
          caller: callerOf('local'),
          port: 'db1',
          mode: 'write',
          delivery: 'person',
          creditBytes: 100_000,
        },
        (event) => local.onEvent(event),
      );
      channel.port2.close();
      await settle(10);
      assert.equal(local.of('writer')[0]!.you, true);
      assert.equal(served.sessions, 0);
      assert.equal(alice.of('ended').length, 1);
      assert.equal(world.spool.of('detached').length, 1);
    }));

  it('fails what is asked when the ports go, or do not answer', async () => {
    const channel = new MessageChannel();
    const timers = new FakeTimers();
    const access = connectPortAccess(channel.port2, timers);
    const asked = access.ports(callerOf('x'));
    asked.catch(() => undefined);
    await timers.advance(10_000);
    await assert.rejects(asked, { code: 'TIMED_OUT' });
    const attaching = access.who(callerOf('x'));
    attaching.catch(() => undefined);
    channel.port1.close();
    await settle(10);
    await assert.rejects(attaching, { code: 'DAEMON_UNREACHABLE' });
    await assert.rejects(access.ports(callerOf('x')), { code: 'DAEMON_UNREACHABLE' });
  });
});
