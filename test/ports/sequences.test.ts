import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { PortSettings, SequenceStep, TaskSettings } from '../../src/core/settings.ts';
import { World, callerOf, portSettings, registered, settle } from './support.ts';

const alice = callerOf('alice');

const send = (text: string): SequenceStep => ({ do: 'send', bytes: Buffer.from(text) });
const wait = (durationMs: number): SequenceStep => ({ do: 'wait', durationMs });
const breakOf = (durationMs: number): SequenceStep => ({ do: 'break', durationMs });
const dtr = (state: boolean): SequenceStep => ({ do: 'signals', signals: { dtr: state } });

function task(name: string, steps: SequenceStep[], more: Partial<TaskSettings> = {}): TaskSettings {
  return { name, help: null, breakKey: null, confirm: false, steps, ...more };
}

async function worldOf(more: Partial<PortSettings>): Promise<World> {
  const world = new World();
  world.makeOpener(portSettings('db1')).onOpen = (backend) => {
    backend.signalsAreSupported = true;
  };
  return world.start([portSettings('db1', more)]);
}

const kinds = (world: World): string[] => world.spool.bodies().map(({ kind }) => kind);
const marks = (world: World): string[] => world.spool.of('mark').map(({ text }) => text);

describe('a sequence', () => {
  it('keeps the times of its recipe, however long its steps and timers take', async () => {
    const rts = (isOn: boolean): SequenceStep => ({ do: 'signals', signals: { rts: isOn } });
    const recipe = [dtr(false), wait(100), rts(true), wait(50), rts(false), wait(25), dtr(true)];
    const world = await worldOf({ tasks: [task('reset', recipe)] });
    const beganMs = world.timers.nowMs();
    const atMs: number[] = [];
    const { backend } = world;
    backend.setSignals = async (signals) => {
      atMs.push(world.timers.nowMs() - beganMs);
      await new Promise<void>((resolve) => world.timers.after(3, resolve)); // a USB transfer
      backend.driven.push(signals);
    };
    const running = world.rack.run(alice, 'db1', { task: 'reset', isConfirmed: false });
    // The clock is looked at only now and then.
    for (let i = 0; i < 200; i++) await world.timers.advanceLate(1);
    await running;
    assert.deepEqual(backend.driven, [
      { dtr: false },
      { rts: true },
      { rts: false },
      { dtr: true },
    ]);
    for (const [index, wantedMs] of [0, 100, 150, 175].entries()) {
      const lateMs = atMs[index]! - wantedMs;
      assert.ok(lateMs >= 0 && lateMs <= 5, `step at ${atMs[index]} ms, not ${wantedMs}`);
    }
  });

  it('keeps a pulse as long as it is to be when the driver hesitates', async () => {
    const world = await worldOf({ tasks: [task('reset', [dtr(false), wait(100), dtr(true)])] });
    const atMs: number[] = [];
    world.backend.setSignals = async () => {
      if (atMs.length === 0) await new Promise<void>((go) => world.timers.after(400, go));
      atMs.push(world.timers.nowMs());
    };
    const running = world.rack.run(alice, 'db1', { task: 'reset', isConfirmed: false });
    await world.timers.advance(1_000);
    await running;
    assert.equal(atMs[1]! - atMs[0]!, 100);
  });

  it('does its steps in order, each with its record, as a session of its own', async () => {
    const reboot = task('reboot', [breakOf(300), wait(500), send('b'), dtr(false)]);
    const world = await worldOf({ tasks: [reboot] });
    const running = world.rack.run(alice, 'db1', { task: 'REBOOT', isConfirmed: false });
    await settle();
    assert.deepEqual(world.backend.breaks, [300]);
    await world.timers.advance(499);
    assert.equal(world.backend.writtenText, '');
    await world.timers.advance(1);
    await running;
    assert.equal(world.backend.writtenText, 'b');
    assert.deepEqual(world.backend.driven, [{ dtr: false }]);
    assert.equal(kinds(world).join(' '), 'up attached mark break tx signals detached');
    assert.deepEqual(marks(world), ['task reboot by alice']);
    assert.equal(world.spool.of('break')[0]!.session, 1);
    assert.equal(world.spool.of('signals')[0]!.session, 1);
    assert.deepEqual(world.spool.of('detached'), [{ kind: 'detached', session: 1, why: 'done' }]);
    assert.deepEqual(
      world.audit.map(({ user, action, detail }) => [user, action, detail]),
      [['alice', 'run', 'session 1, task reboot']],
    );
    assert.equal((await world.attach('bob')).session.attached.lastUsedBy!.user, 'alice');
  });

  it('is found by its key in the break list, which begins with a plain BREAK', async () => {
    const sysrq = task('sysrq', [send('s')], { breakKey: '1', help: 'sync disks' });
    const world = await worldOf({ tasks: [sysrq] });
    await world.rack.run(alice, 'db1', { task: '1', isConfirmed: false });
    assert.equal(world.backend.writtenText, 's');
    await world.rack.run(alice, 'db1', { task: '0', isConfirmed: false });
    assert.deepEqual(world.backend.breaks, [300]);
    assert.deepEqual((await world.rack.inspect(alice, 'db1')).tasks, [
      { name: 'sysrq', breakKey: '1', confirm: false, help: 'sync disks' },
      { name: 'break', breakKey: '0', confirm: false, help: 'BREAK of 300 ms' },
    ]);
    await assert.rejects(world.rack.run(alice, 'db1', { task: 'sysrk', isConfirmed: false }), {
      code: 'NOT_FOUND',
      message: 'db1 has no task "sysrk"; did you mean "sysrq"?',
    });
    const own = await worldOf({ tasks: [task('long', [breakOf(900)], { breakKey: '0' })] });
    await own.rack.run(alice, 'db1', { task: '0', isConfirmed: false });
    assert.deepEqual(own.backend.breaks, [900]);
  });

  it('may be given its steps, under a label', async () => {
    const world = await worldOf({});
    await world.rack.run(alice, 'db1', { label: 'sysrq b', steps: [breakOf(250), send('b')] });
    assert.deepEqual(marks(world), ['sysrq b by alice']);
    assert.equal(world.backend.writtenText, 'b');
  });

  it('tells what its steps are when nobody said what they are for, but no text', async () => {
    const steps = [send('hunter2\r'), wait(100), dtr(true), breakOf(50)];
    const world = await worldOf({ tasks: [task('login', steps)] });
    const [login] = (await world.rack.inspect(alice, 'db1')).tasks;
    assert.equal(login!.help, 'send 8 bytes, wait 100 ms, dtr=on, BREAK of 50 ms');
  });

  it('needs the rights of all its steps before the first one', async () => {
    const world = await worldOf({ tasks: [task('all', [send('x'), breakOf(300), dtr(true)])] });
    world.authorizer.deny('bob', 'control');
    world.authorizer.deny('carol', 'break');
    world.authorizer.deny('dave', 'write');
    world.authorizer.deny('eve', 'view');
    for (const user of ['bob', 'carol', 'dave']) {
      const running = world.rack.run(callerOf(user), 'db1', { task: 'all', isConfirmed: true });
      await assert.rejects(running, { code: 'DENIED' });
    }
    const waiting = world.rack.run(callerOf('dave'), 'db1', { label: 'wait', steps: [wait(1)] });
    await assert.rejects(waiting, { code: 'DENIED' });
    const guessing = world.rack.run(callerOf('eve'), 'db1', { task: 'al', isConfirmed: true });
    await assert.rejects(guessing, { code: 'DENIED' });
    assert.deepEqual(kinds(world), ['up']);
    assert.equal(world.backend.writtenText, '');
  });

  it('wants to be confirmed where it says so', async () => {
    const world = await worldOf({ tasks: [task('halt', [send('halt\r')], { confirm: true })] });
    await assert.rejects(world.rack.run(alice, 'db1', { task: 'halt', isConfirmed: false }), {
      code: 'CONFIRM',
      message: /task halt on db1 must be confirmed: .*--yes/,
    });
    await world.rack.run(alice, 'db1', { task: 'halt', isConfirmed: true });
    assert.equal(world.backend.writtenText, 'halt\r');
  });

  it('waits for nobody: another writer, another sequence or a line that is down refuse it', async () => {
    const world = await worldOf({ tasks: [task('slow', [wait(1_000)])] });
    const slow = { task: 'slow', isConfirmed: false };
    const bob = await world.attach('bob');
    await assert.rejects(world.rack.run(alice, 'db1', slow), {
      code: 'NOT_WRITER',
      message: /bob/,
    });
    const running = world.rack.run(callerOf('bob'), 'db1', slow);
    bob.session.detach('left');
    await assert.rejects(world.rack.run(alice, 'db1', slow), {
      code: 'TOO_SOON',
      message: /task slow is running on db1/,
    });
    await world.timers.advance(1_000);
    await running;
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await assert.rejects(world.rack.run(alice, 'db1', slow), { code: 'PORT_DOWN' });
  });

  it('stops in the middle when the line goes down, and says where', async () => {
    const world = await worldOf({});
    const steps = [send('a'), wait(1_000), send('never')];
    const running = world.rack.run(alice, 'db1', { label: 'steps', steps });
    await settle();
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await assert.rejects(running, {
      code: 'PORT_DOWN',
      message: 'steps, step 2 of 3: db1 is down: unplugged',
    });
    await world.timers.advance(5_000);
    assert.equal(world.opener.backends[0]!.writtenText, 'a');
    assert.equal(world.backend.writtenText, '', 'nothing of it reaches the line that is back');
    assert.match(world.spool.of('detached')[0]!.why, /step 2 of 3/);
    await world.rack.run(alice, 'db1', { label: 'again', steps: [send('b')] });
    assert.equal(world.backend.writtenText, 'b');
  });

  it('passes on what a step fails with', async () => {
    const world = await new World().start();
    const running = world.rack.run(alice, 'db1', { label: 'dtr', steps: [send('a'), dtr(true)] });
    await assert.rejects(running, { code: 'PORT_UNSUPPORTED', message: /^dtr, step 2 of 2: / });
    world.backend.roomBytes = 0;
    const stuck = world.rack.run(alice, 'db1', { label: 'text', steps: [send('b')] });
    stuck.catch(() => undefined);
    await world.timers.advance(6_000);
    await assert.rejects(stuck, { code: 'PORT_STUCK' });
  });

  it('has bounds, in all and for each step', async () => {
    const world = await worldOf({});
    const run = (steps: SequenceStep[]) => world.rack.run(alice, 'db1', { label: 'x', steps });
    for (const steps of [
      [wait(60_001)],
      [wait(40_000), wait(20_001)],
      [wait(Number.NaN)],
      [wait(-1)],
      [breakOf(10_001)],
      [breakOf(0)],
      [send('x'.repeat(1_048_577))],
      Array.from({ length: 1_001 }, () => wait(0)),
    ]) {
      await assert.rejects(run(steps), { code: 'USAGE' });
    }
    assert.deepEqual(kinds(world), ['up']);
    const slow = run([send('x'.repeat(100)), wait(60_000), send('end')]);
    slow.catch(() => undefined);
    world.backend.roomBytes = 0;
    for (let i = 0; i < 31; i++) {
      await world.timers.advance(4_000);
      world.backend.giveRoom(1);
    }
    await assert.rejects(slow, { code: 'TIMED_OUT', message: /step 1 of 3/ });
    const taken = world.backend.writtenText;
    world.backend.giveRoom(1_000);
    assert.equal(world.backend.writtenText, taken, 'the rest is dropped');
  });

  it('ends with the daemon', async () => {
    const world = await worldOf({});
    const running = world.rack.run(alice, 'db1', { label: 'x', steps: [wait(60_000)] });
    running.catch(() => undefined);
    await settle();
    await world.rack.stop();
    await assert.rejects(running, { code: 'PORT_DOWN', message: /the daemon stops/ });
    assert.deepEqual(kinds(world), ['up', 'attached', 'mark', 'detached', 'down']);
  });
});

describe('what the configuration sends by itself', () => {
  it('goes out each time the line was opened', async () => {
    const world = await worldOf({ onOpen: [send('\r')] });
    await settle();
    assert.equal(world.backend.writtenText, '\r');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    await world.timers.advance(300);
    assert.equal(world.opener.backends.length, 2);
    assert.equal(world.backend.writtenText, '\r');
    assert.deepEqual(marks(world), ['onOpen by fairlead', 'onOpen by fairlead']);
    assert.equal(world.spool.of('attached')[0]!.user, 'fairlead');
    assert.deepEqual(world.audit, []);
    assert.equal((await world.attach('bob')).session.attached.lastUsedBy, null);
  });

  it('goes out when the last writer has left, and nobody takes over', async () => {
    const world = await worldOf({ onDetach: [send('exit\r')] });
    const viewer = await world.attach('carol', { mode: 'view' });
    const first = await world.attach('alice');
    const waiting = await world.attach('bob');
    first.session.detach('left');
    await settle();
    assert.equal(world.backend.writtenText, '', 'bob writes now');
    waiting.session.detach('left');
    viewer.session.detach('left');
    await settle();
    assert.equal(world.backend.writtenText, 'exit\r');
    const third = await world.attach('alice');
    third.type('queued ');
    await third.session.view();
    await settle();
    assert.equal(world.backend.writtenText, 'exit\rqueued exit\r');
    assert.deepEqual(marks(world), ['onDetach by fairlead', 'onDetach by fairlead']);
  });

  it('does not go out when the daemon stops, or the port is removed', async () => {
    const settings = portSettings('db1', { onDetach: [send('exit\r')] });
    for (const end of ['stop', 'remove'] as const) {
      const world = await new World().start([settings]);
      await world.attach('alice');
      if (end === 'stop') await world.rack.stop();
      else await world.rack.apply([], []);
      await settle();
      assert.equal(world.backend.writtenText, '', end);
    }
  });

  it('goes out after so long without a byte either way, and again', async () => {
    const world = await worldOf({ idle: { afterMs: 10_000, steps: [send('\0')] } });
    await world.timers.advance(9_000);
    world.backend.say('still here');
    await world.timers.advance(9_000);
    const bob = await world.attach('bob');
    bob.type('x');
    await world.timers.advance(9_999);
    assert.equal(world.backend.writtenText, 'x');
    await world.timers.advance(1);
    assert.equal(world.backend.writtenText, 'x\0');
    await world.timers.advance(10_000);
    assert.equal(world.backend.writtenText, 'x\0\0');
    await world.rack.apply([portSettings('db1')], [registered('db1')]);
    await world.timers.advance(60_000);
    assert.equal(world.backend.writtenText, 'x\0\0', 'not configured any more');
  });

  it('is not fooled by a clock that is set', async () => {
    for (const stepUs of [-3_600_000_000, 3_600_000_000]) {
      const world = await worldOf({ idle: { afterMs: 10_000, steps: [send('x')] } });
      await world.timers.advance(9_999);
      world.backend.say('busy');
      world.clockStepUs = stepUs;
      await world.timers.advance(9_999);
      assert.equal(world.backend.writtenText, '');
      await world.timers.advance(10_000);
      assert.equal(world.backend.writtenText, 'x');
    }
  });

  it('takes turns with what people run', async () => {
    const world = await worldOf({ onDetach: [send('exit\r')] });
    const bob = await world.attach('bob');
    const steps = [send('a'), wait(1_000), send('b')];
    const running = world.rack.run(callerOf('bob'), 'db1', { label: 'x', steps });
    await settle();
    bob.session.detach('left');
    await world.timers.advance(1_000);
    await running;
    await settle();
    assert.equal(world.backend.writtenText, 'abexit\r');
  });

  it('fails into the journal and nowhere else', async () => {
    const world = await new World().start([
      portSettings('db1', { onOpen: [dtr(true)], onDetach: [send('exit\r')] }),
    ]);
    await settle();
    const failures = () =>
      world.journal.lines.filter(({ message }) => message === 'sequence failed').length;
    assert.equal(failures(), 1);
    const bob = await world.attach('bob');
    world.opener.failure = new Fault('PORT_OPEN_FAILED', 'no such device');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    bob.session.detach('left');
    await settle();
    assert.equal(failures(), 2);
    assert.ok(world.journal.lines.every(({ level }) => level !== 'error'));
  });
});
