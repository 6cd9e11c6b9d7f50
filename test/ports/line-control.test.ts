import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { LineSettings } from '../../src/core/line-settings.ts';
import type { PortSettings } from '../../src/core/settings.ts';
import { LINE, World, callerOf, portSettings, registered, settle } from './support.ts';

const SLOW: LineSettings = { baud: 9_600, dataBits: 7, parity: 'even', stopBits: 1 };

async function worldOf(more: Partial<PortSettings> = {}): Promise<World> {
  const world = new World();
  world.makeOpener(portSettings('db1')).onOpen = (backend) => {
    backend.signalsAreSupported = true;
  };
  return world.start([portSettings('db1', more)]);
}

describe('the line of a port', () => {
  it('tells everybody who changed it, and how', async () => {
    const world = await worldOf();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    await alice.session.setLine(SLOW, 'rtscts');
    const event = { kind: 'line', line: SLOW, flow: 'rtscts', by: 'alice' };
    assert.deepEqual(alice.of('line'), [event]);
    assert.deepEqual(bob.of('line'), [event]);
    await alice.session.setSignals({ dtr: false });
    assert.deepEqual(bob.of('signals'), [{ kind: 'signals', signals: { dtr: false } }]);
    await world.rack.setSignals(callerOf('carol'), 'db1', { rts: true });
    assert.deepEqual(world.spool.of('signals'), [
      { kind: 'signals', signals: { dtr: false }, session: 1 },
      { kind: 'signals', signals: { rts: true }, session: null },
    ]);
  });

  it('tells what comes from the device besides bytes', async () => {
    const world = await worldOf();
    const alice = await world.attach('alice');
    const { sink } = world.backend;
    sink.event({ kind: 'break' });
    sink.event({ kind: 'line-error', error: 'parity', count: 2 });
    sink.event({ kind: 'signals', signals: { dcd: false } });
    assert.deepEqual(
      alice.events.map(({ kind }) => kind),
      ['break', 'line-error', 'signals'],
    );
    assert.deepEqual(alice.of('line-error')[0], {
      kind: 'line-error',
      error: 'parity',
      count: 2,
    });
  });

  it('is told as it is, to viewers as well', async () => {
    const world = await worldOf({
      backend: {
        kind: 'device',
        path: '/dev/ttyS0',
        match: null,
        signals: { rts: false },
        rs485: null,
      },
    });
    world.backend.seen = { cts: true, dtr: true };
    await world.attach('alice');
    const bob = await world.attach('bob');
    await world.rack.setLine(callerOf('alice'), 'db1', SLOW, null);
    assert.deepEqual(await bob.session.lineState(), {
      line: SLOW,
      flow: 'none',
      signals: { cts: true, dtr: true, rts: false },
      isBreaking: false,
    });
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    assert.deepEqual((await bob.session.lineState()).signals, {});
    bob.session.detach('left');
    await assert.rejects(bob.session.lineState(), { code: 'SESSION_UNKNOWN' });
  });

  it('stays as it was when the driver cannot do what is asked', async () => {
    const world = await worldOf();
    const alice = await world.attach('alice');
    const { backend } = world;
    const set: LineSettings[] = [];
    backend.setLine = async (line) => {
      set.push(line);
      if (line.parity === 'mark') throw new Fault('PORT_UNSUPPORTED', 'no mark parity');
    };
    const marked = alice.session.setLine({ ...SLOW, parity: 'mark' }, 'none');
    await assert.rejects(marked, { code: 'PORT_UNSUPPORTED' });
    assert.deepEqual(set.at(-1), LINE);
    assert.equal((await alice.session.lineState()).line!.baud, 115_200);
    assert.equal(alice.of('line').length, 0);
  });
});

describe('a port that restores its line', () => {
  const restoring: Partial<PortSettings> = {
    restoreLine: true,
    backend: {
      kind: 'device',
      path: '/dev/ttyS0',
      match: null,
      signals: { rts: false },
      rs485: null,
    },
  };

  it('goes back to its settings and signals when who changed them leaves', async () => {
    const world = await worldOf(restoring);
    const bob = await world.attach('bob', { mode: 'view' });
    const alice = await world.attach('alice');
    await alice.session.setLine(SLOW, 'rtscts');
    await alice.session.setSignals({ dtr: false, rts: true });
    alice.session.detach('left');
    await settle();
    assert.deepEqual(bob.of('line').at(-1), { kind: 'line', line: LINE, flow: 'none', by: null });
    assert.deepEqual(bob.of('signals').at(-1)!.signals, { dtr: true, rts: false });
    assert.deepEqual(world.backend.lines, [SLOW, LINE]);
    assert.deepEqual(world.spool.of('line').at(-1), {
      kind: 'line',
      line: '115200 8N1',
      session: null,
    });
    assert.equal((await world.rack.ports(callerOf('bob')))[0]!.differs, false);
  });

  it('does so when they lose write in any way, and only then', async () => {
    for (const lose of ['force', 'take over', 'view', 'kick', 'rights'] as const) {
      const world = await worldOf(restoring);
      const alice = await world.attach('alice');
      const carol = await world.attach('carol', { mode: 'view' });
      await alice.session.setLine(SLOW, 'none');
      carol.session.detach('left');
      await settle();
      assert.deepEqual(world.backend.lines, [SLOW], 'a viewer left');
      if (lose === 'force') await world.attach('bob', { mode: 'force' });
      if (lose === 'take over') await (await world.attach('bob')).session.takeOver();
      if (lose === 'view') await alice.session.view();
      if (lose === 'kick') await world.rack.kick(callerOf('bob'), 1);
      if (lose === 'rights') {
        world.authorizer.deny('alice', 'write');
        world.rack.recheckRights();
      }
      await settle();
      assert.deepEqual(world.backend.lines, [SLOW, LINE], lose);
    }
  });

  it('puts back a change that was still under way, and before it says goodbye to the device', async () => {
    const goodbye = { do: 'send', bytes: Buffer.from('exit\r') } as const;
    const world = await worldOf({ ...restoring, onDetach: [goodbye] });
    const alice = await world.attach('alice');
    const { backend } = world;
    const done: string[] = [];
    let finish!: () => void;
    const gate = new Promise<void>((resolve) => (finish = resolve));
    backend.setLine = async (line) => {
      await gate;
      done.push(String(line.baud));
    };
    backend.echo = (bytes) => done.push(Buffer.from(bytes).toString());
    void alice.session.setLine(SLOW, 'none');
    alice.session.detach('left');
    finish();
    await settle();
    assert.deepEqual(done, ['9600', '115200', 'exit\r']);
  });

  it('leaves alone what a verb set, and what is configured so', async () => {
    const world = await worldOf(restoring);
    const alice = await world.attach('alice');
    await alice.session.setLine(SLOW, 'none');
    await world.rack.setLine(callerOf('bob'), 'db1', { ...SLOW, baud: 19_200 }, null);
    alice.session.detach('left');
    await settle();
    assert.equal(world.backend.lines.length, 2);
    const other = await worldOf();
    const carol = await other.attach('carol');
    await carol.session.setLine(SLOW, 'none');
    carol.session.detach('left');
    await settle();
    assert.deepEqual(other.backend.lines, [SLOW]);
  });

  it('warns when that fails, but not of a line that went down meanwhile', async () => {
    for (const [code, warnings] of [
      ['TIMED_OUT', ['line not put back']],
      ['PORT_GONE', []],
    ] as const) {
      const world = await worldOf(restoring);
      const alice = await world.attach('alice');
      await alice.session.setLine(SLOW, 'none');
      world.backend.setLine = () => Promise.reject(new Fault(code, 'no'));
      alice.session.detach('left');
      await settle();
      const said = world.journal.lines.filter(({ level }) => level === 'warn');
      assert.deepEqual(
        said.map(({ message }) => message),
        warnings,
      );
    }
  });

  it('does nothing more to a line that is being closed', async () => {
    const world = await worldOf(restoring);
    const alice = await world.attach('alice');
    await alice.session.setLine(SLOW, 'none');
    await world.rack.stop();
    await settle();
    assert.deepEqual(world.backend.lines, [SLOW]);
  });
});

describe('a BREAK of no fixed length', () => {
  it('is logged with its real length when it ends', async () => {
    const world = await worldOf();
    const alice = await world.attach('alice');
    await alice.session.setBreak(true);
    assert.equal((await alice.session.lineState()).isBreaking, true);
    await alice.session.setBreak(true);
    await world.timers.advance(1_234);
    assert.equal(world.spool.of('break').length, 0);
    await alice.session.setBreak(false);
    await alice.session.setBreak(false);
    assert.deepEqual(world.backend.held, [true, false]);
    assert.deepEqual(world.spool.of('break'), [{ kind: 'break', session: 1, durationMs: 1_234 }]);
    assert.equal((await alice.session.lineState()).isBreaking, false);
  });

  it('ends with its session, or when that writes no more', async () => {
    for (const how of ['leave', 'lose'] as const) {
      const world = await worldOf();
      const alice = await world.attach('alice');
      await alice.session.setBreak(true);
      await world.timers.advance(50);
      if (how === 'leave') alice.session.detach('left');
      else await world.attach('bob', { mode: 'force' });
      await settle();
      assert.deepEqual(world.backend.held, [true, false], how);
      assert.deepEqual(world.spool.of('break'), [{ kind: 'break', session: 1, durationMs: 50 }]);
    }
  });

  it('ends with the line, and in a BREAK of fixed length', async () => {
    const world = await worldOf();
    const alice = await world.attach('alice');
    await alice.session.setBreak(true);
    await alice.session.sendBreak(300);
    assert.deepEqual(world.backend.held, [true, false]);
    await alice.session.setBreak(true);
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    assert.deepEqual(
      world.spool.bodies().map(({ kind }) => kind),
      ['up', 'attached', 'break', 'break', 'break', 'down'],
    );
    await world.timers.advance(300);
    assert.equal((await alice.session.lineState()).isBreaking, false);
    await alice.session.setBreak(true);
    await world.rack.stop();
    assert.equal(world.spool.of('break').length, 4);
  });

  it('needs write and the right, and is forgotten when the driver refuses it', async () => {
    const world = await worldOf();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    world.authorizer.deny('eve', 'break');
    await assert.rejects(bob.session.setBreak(true), { code: 'NOT_WRITER' });
    const eve = await world.attach('eve', { mode: 'force' });
    await assert.rejects(eve.session.setBreak(true), { code: 'DENIED' });
    eve.session.detach('left');
    world.backend.setBreak = () => Promise.reject(new Fault('PORT_UNSUPPORTED', 'no BREAK'));
    await assert.rejects(alice.session.setBreak(true), { code: 'PORT_UNSUPPORTED' });
    assert.equal((await alice.session.lineState()).isBreaking, false);
    alice.session.detach('left');
    await settle();
    assert.equal(world.spool.of('break').length, 0);
  });
});

describe('the modem inputs of a port', () => {
  it('are looked at only for programs, and told when they change', async () => {
    const world = await worldOf();
    world.backend.seen = { cts: true, dcd: true, dtr: true };
    const person = await world.attach('alice');
    await world.timers.advance(5_000);
    assert.equal(world.backend.signalsAsked, 0);
    const program = await world.attach('lab', { mode: 'view', delivery: 'program' });
    await world.timers.advance(1_000);
    const asked = world.backend.signalsAsked;
    assert.ok(asked >= 4 && asked <= 12, `asked ${asked} times in a second`);
    assert.equal(program.of('signals').length, 0, 'as they were');
    world.backend.seen = { cts: true, dcd: false, dtr: false };
    await world.timers.advance(250);
    assert.deepEqual(program.of('signals'), [{ kind: 'signals', signals: { dcd: false } }]);
    assert.deepEqual(person.of('signals').length, 1);
    assert.deepEqual(world.spool.of('signals'), [
      { kind: 'signals', signals: { dcd: false }, session: null },
    ]);
    program.session.detach('left');
    await world.timers.advance(250);
    const before = world.backend.signalsAsked;
    await world.timers.advance(5_000);
    assert.equal(world.backend.signalsAsked, before);
  });

  it('are told once, whoever sees them change first', async () => {
    const world = await worldOf();
    world.backend.seen = { dcd: true };
    const lab = await world.attach('lab', { delivery: 'program' });
    await settle();
    world.backend.seen = { dcd: false };
    world.backend.sink.event({ kind: 'signals', signals: { dcd: false } });
    await world.timers.advance(1_000);
    assert.equal(lab.of('signals').length, 1);
    world.backend.seen = { dcd: true };
    assert.deepEqual((await lab.session.lineState()).signals, { dcd: true });
    await world.timers.advance(1_000);
    assert.equal(lab.of('signals').length, 2);
  });

  it('are asked for once where there are none, and again on another device', async () => {
    const world = await worldOf();
    const lab = await world.attach('lab');
    lab.session.becomeProgram();
    await world.timers.advance(5_000);
    const first = world.backend;
    assert.equal(first.signalsAsked, 1);
    world.opener.onOpen = (backend) => {
      backend.seen = { cts: false };
    };
    first.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await world.timers.advance(1_000);
    assert.ok(world.backend.signalsAsked > 1);
    assert.equal(lab.of('signals').length, 0);
  });
});

describe('emptying the queues of a line', () => {
  it('throws away the input of that session, which counts as taken', async () => {
    const world = await worldOf({ writers: 'many' });
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    world.backend.roomBytes = 2;
    alice.type('long paste');
    bob.type('kept');
    alice.type('more');
    await alice.session.purge('tx');
    assert.deepEqual(
      alice.of('acknowledged').map(({ seq, bytes }) => [seq, bytes]),
      [
        [1, 10],
        [2, 4],
      ],
    );
    assert.equal(alice.of('refused').length, 0);
    assert.deepEqual(world.backend.purged, ['tx']);
    world.backend.giveRoom(100);
    assert.equal(world.backend.writtenText, 'lokept');
    alice.type('x'.repeat(65_536));
    assert.equal(alice.of('refused').length, 0, 'the credit is back');
    assert.match(world.spool.of('mark')[0]!.text, /the device took 2 of 10 bytes/);
  });

  it('needs write, for either queue, and no device', async () => {
    const world = await worldOf();
    const alice = await world.attach('alice');
    const bob = await world.attach('bob');
    for (const queue of ['rx', 'tx', 'both'] as const) {
      await assert.rejects(bob.session.purge(queue), { code: 'NOT_WRITER' });
    }
    await alice.session.purge('rx');
    assert.deepEqual(world.backend.purged, ['rx']);
    assert.equal(world.spool.of('mark').length, 0);
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await alice.session.purge('both');
    world.authorizer.deny('alice', 'write');
    await assert.rejects(alice.session.purge('rx'), { code: 'DENIED' });
  });
});

describe('a port that is held', () => {
  it('stays closed, whatever wants to open it, until somebody says so', async () => {
    const world = await worldOf();
    const bob = await world.attach('bob');
    await world.rack.hold(callerOf('alice'), 'db1', true);
    const inspect = () => world.rack.inspect(callerOf('bob'), 'db1');
    assert.equal((await inspect()).status.why, 'held down by alice');
    assert.equal((await inspect()).isHeld, true);
    assert.deepEqual(bob.of('down'), [{ kind: 'down', why: 'held down by alice' }]);
    await settle();
    assert.ok(world.backend.isClosed);
    world.rack.retryNow();
    world.openers.clear();
    await world.rack.apply(
      [portSettings('db1', { backend: { kind: 'pty', path: '/dev/pts/9', command: null } })],
      [registered('db1')],
    );
    world.rack.retryNow();
    await world.timers.advance(60_000);
    assert.equal(world.opener.attempts, 0);
    assert.equal((await inspect()).status.why, 'held down by alice');
    await world.rack.hold(callerOf('bob'), 'db1', false);
    await world.timers.advance(100);
    assert.equal((await inspect()).status.state, 'up');
    assert.equal((await inspect()).isHeld, false);
    world.backend.say('back');
    assert.equal(bob.text, 'back');
  });

  it('is opened anew by the same word when it is open', async () => {
    const world = await worldOf();
    const bob = await world.attach('bob');
    const first = world.backend;
    await world.rack.hold(callerOf('alice'), 'db1', false);
    await world.timers.advance(100);
    assert.ok(first.isClosed);
    assert.equal(world.opener.backends.length, 2);
    assert.deepEqual(
      bob.events.map(({ kind }) => kind),
      ['down', 'up'],
    );
    assert.equal(bob.of('down')[0]!.why, 'opened anew by alice');
  });

  it('can be held while it is down or being opened, and let go at any moment', async () => {
    const world = new World();
    const opener = world.makeOpener(portSettings('db1'));
    let open!: () => void;
    opener.openGate = new Promise((resolve) => (open = resolve));
    const started = world.start();
    await world.timers.advance(1_100);
    await started;
    const bob = await world.attach('bob');
    await world.rack.hold(callerOf('alice'), 'db1', true);
    await world.timers.advance(20_000);
    const [held] = await world.rack.ports(callerOf('bob'));
    assert.equal(held!.why, 'held down by alice', 'however long it takes to open');
    open();
    await world.timers.advance(20_000);
    assert.ok(opener.backend.isClosed, 'closed as soon as it was open');
    assert.equal(opener.attempts, 1);
    assert.equal(bob.of('up').length, 0);
    await world.rack.hold(callerOf('alice'), 'db1', false);
    await world.rack.hold(callerOf('alice'), 'db1', true);
    await world.timers.advance(20_000);
    assert.equal(opener.attempts, 1);
    opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    await world.rack.hold(callerOf('alice'), 'db1', false);
    await world.timers.advance(1_000);
    await world.rack.hold(callerOf('alice'), 'db1', true);
    assert.equal(bob.of('down').at(-1)!.why, 'held down by alice', 'though it was down');
    const { attempts } = opener;
    await world.timers.advance(60_000);
    assert.equal(opener.attempts, attempts);
    opener.failure = null;
    await world.rack.hold(callerOf('alice'), 'db1', false);
    await world.timers.advance(100);
    assert.equal(bob.of('up').length, 1);
  });
});
