import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { BackendSink, LinePart, SharedLine } from '../../src/core/backend.ts';
import { Fault } from '../../src/core/fault.ts';
import { PART_INPUT_BYTES_MAX } from '../../src/ports/line-parts.ts';
import { FakeOpener, LINE, World, portSettings, registered, settle } from './support.ts';

/** A port that is a part of another one's line, as far as that one knows it. */
class Listener implements LinePart {
  line!: SharedLine;
  text = '';
  readonly told: string[] = [];
  readonly events: Parameters<BackendSink['event']>[0][] = [];
  onRx: (() => void) | null = null;

  static join(world: World, by = 'db1-low', port = 'db1'): Listener {
    const listener = new Listener();
    listener.line = world.rack.join(port, by, listener);
    return listener;
  }

  rx(bytes: Uint8Array): void {
    this.text += Buffer.from(bytes).toString('latin1');
    this.onRx?.();
  }
  event(event: Parameters<BackendSink['event']>[0]): void {
    this.events.push(event);
  }
  up(): void {
    this.told.push('up');
  }
  down(why: string): void {
    this.told.push(`down: ${why}`);
  }
  writable(): void {
    this.told.push('writable');
  }

  type(text: string): number {
    return this.line.write(Buffer.from(text, 'latin1'));
  }
}

describe('a part of a line', () => {
  it('hears all that comes, once the log of the line has it, however it was read', async () => {
    const world = await new World().start();
    const low = Listener.join(world);
    const logged: number[] = [];
    low.onRx = () => logged.push(world.spool.of('rx').length);
    world.backend.say('by descriptor, ');
    world.backend.sink.rx(Buffer.from('by socket, '));
    world.backend.sink.rx(Buffer.alloc(20_000, 'x'));
    assert.equal(low.text, `by descriptor, by socket, ${'x'.repeat(20_000)}`);
    assert.deepEqual(logged, [1, 2, 3, 4, 5]);
    const high = Listener.join(world, 'db1-high');
    world.backend.say('for both');
    assert.ok(low.text.endsWith('for both'));
    assert.equal(high.text, 'for both');
    low.line.leave();
    world.backend.say('!');
    assert.ok(low.text.endsWith('both'));
    assert.equal(high.text, 'for both!');
  });

  it('hears BREAKs and errors where they stand in the log, those told from within a read too', async () => {
    const world = await new World().start();
    const low = Listener.join(world);
    const { sink } = world.backend;
    sink.event({ kind: 'break' });
    const heardAt: string[] = [];
    low.event = ({ kind }) => void heardAt.push(`${kind} after "${low.text}"`);
    sink.rxInto((memory, start) => {
      sink.event({ kind: 'line-error', error: 'parity', count: 1 });
      return memory.write('abc', start);
    });
    sink.event({ kind: 'signals', signals: { dcd: true } });
    assert.deepEqual(low.events, [{ kind: 'break' }]);
    assert.deepEqual(heardAt, ['line-error after "abc"', 'signals after "abc"']);
  });

  it('writes in turn with everybody else, as a session of its own, and needs no write', async () => {
    const world = await new World().start([portSettings('db1', { input: 'full' })]);
    const alice = await world.attach('alice');
    const low = Listener.join(world);
    assert.deepEqual(world.spool.of('attached').length, 1, 'who only listens is not in the log');
    world.backend.roomBytes = 3;
    alice.type('alice-1 ');
    assert.equal(low.type('low-1 '), 6);
    alice.type('alice-2 ');
    world.backend.giveRoom(1_000);
    assert.equal(world.backend.writtenText, 'alice-1 low-1 alice-2 ');
    const { user, session, mode } = world.spool.of('attached').at(-1)!;
    assert.deepEqual({ user, mode }, { user: 'db1-low', mode: 'write' });
    const said = world.spool.of('tx').map((tx) => [tx.session, Buffer.from(tx.bytes).toString()]);
    assert.deepEqual(said, [
      [1, 'alice-1 '],
      [session, 'low-1 '],
      [1, 'alice-2 '],
    ]);
    const [status] = await world.rack.ports({ user: 'x', remote: '', frontend: 'ssh' });
    assert.equal(status!.writer, 'alice');
    assert.equal(status!.viewers, 0);
    low.line.leave();
    assert.deepEqual(world.spool.of('detached'), [
      { kind: 'detached', session, why: 'db1-low left the line' },
    ]);
  });

  it('takes no more than the device and a bounded queue do, and says when there is room', async () => {
    const world = await new World().start();
    const low = Listener.join(world);
    world.backend.roomBytes = 1_000;
    const paste = Buffer.alloc(100_000, 'p');
    let sent = low.line.write(paste);
    assert.equal(sent, PART_INPUT_BYTES_MAX);
    assert.equal(low.line.write(paste.subarray(sent)), 0);
    assert.deepEqual(low.told, []);
    while (sent < paste.length) {
      const before = low.told.length;
      world.backend.giveRoom(6_000);
      if (low.told.length > before) sent += low.line.write(paste.subarray(sent));
    }
    world.backend.giveRoom(50_000);
    assert.equal(world.backend.written.length, paste.length);
    assert.ok(low.told.every((word) => word === 'writable'));
  });

  it('is refused by a device that takes nothing, and told when it takes something again', async () => {
    const world = await new World().start();
    const low = Listener.join(world);
    world.backend.roomBytes = 0;
    assert.equal(low.type('lost'), 4);
    await world.timers.advance(5_000);
    const dropped = world.journal.lines.find(({ message }) => message.includes('dropped'));
    assert.deepEqual((dropped!.fields as { bytes: number; fault: string }).bytes, 4);
    assert.equal(low.type('more'), 0);
    assert.deepEqual(low.told, []);
    world.backend.giveRoom(100);
    assert.deepEqual(low.told, ['writable']);
    assert.equal(low.type('more'), 4);
    assert.equal(world.backend.writtenText, 'more');
  });

  it('does what it does to the line through the line itself: recorded, and told to all', async () => {
    const world = await new World().start();
    world.opener.backend.signalsAreSupported = true;
    world.backend.seen = { cts: true };
    const alice = await world.attach('alice', { mode: 'view' });
    const low = Listener.join(world);
    const line = { ...LINE, baud: 9_600 };
    await low.line.setLine(line, 'none');
    await low.line.setSignals({ dtr: false });
    await low.line.sendBreak(300);
    await low.line.setBreak(true);
    const { session } = world.spool.of('attached').at(-1)!;
    assert.deepEqual(world.backend.lines, [line]);
    assert.deepEqual(alice.of('line'), [{ kind: 'line', line, flow: 'none', by: 'db1-low' }]);
    assert.deepEqual(world.spool.of('line'), [{ kind: 'line', line: '9600 8N1', session }]);
    assert.deepEqual(world.spool.of('break'), [{ kind: 'break', session, durationMs: 300 }]);
    assert.deepEqual(await low.line.signals(), { dtr: false, cts: true });
    low.line.leave();
    await settle();
    assert.deepEqual(world.backend.held, [true, false], 'what it began ends with it');
    assert.equal(world.spool.of('break').length, 2);
    await assert.rejects(low.line.sendBreak(300), { code: 'PORT_GONE' });
  });

  it('has the line read at once while it is watched', async () => {
    const world = await new World().start();
    const low = Listener.join(world);
    low.line.setWatched(true);
    low.line.setWatched(false);
    low.line.setWatched(true);
    low.line.leave();
    assert.deepEqual(world.backend.watched, [false, true, false, true, false]);
  });

  it('is told when the line goes down and comes back, with the cause', async () => {
    const world = await new World().start();
    const low = Listener.join(world);
    assert.equal(low.line.whyDown, null);
    low.type('x');
    world.backend.sink.gone(new Fault('PORT_GONE', '/dev/ttyUSB0 went away'));
    assert.equal(low.line.whyDown, 'db1 is down: /dev/ttyUSB0 went away');
    assert.deepEqual(low.told, ['down: db1 is down: /dev/ttyUSB0 went away']);
    assert.equal(low.type('y'), 0);
    const kinds = world.spool.bodies().map(({ kind }) => kind);
    assert.deepEqual(kinds.slice(-2), ['down', 'detached']);
    await world.timers.advance(1_000);
    assert.deepEqual(low.told.slice(1), ['up']);
    assert.equal(low.type('z'), 1);
    assert.equal(world.backend.writtenText, 'z');
  });

  it('follows the port through a new name and a new device, and stays behind when it is removed', async () => {
    const world = await new World().start();
    const low = Listener.join(world);
    const renamed = portSettings('web1', { was: 'db1' });
    const place = registered('web1', { uuid: 'uuid-db1' });
    world.openers.set('web1', world.opener);
    await world.rack.apply([renamed], [place]);
    world.backend.say('still here');
    assert.equal(low.text, 'still here');
    assert.throws(() => Listener.join(world), { code: 'PORT_UNKNOWN' });
    assert.throws(() => Listener.join(world, 'x', 'we'), { code: 'PORT_UNKNOWN' }, 'in full');

    const moved = { ...renamed, backend: { kind: 'unix', path: '/run/vm' } } as const;
    const opener = new FakeOpener();
    world.openers.set('web1', opener);
    const applied = world.rack.apply([moved], [place]);
    await world.timers.advance(1_000);
    await applied;
    assert.deepEqual(low.told, [
      'down: web1 is down: the configuration names another device',
      'up',
    ]);
    opener.backend.say('!');
    assert.equal(low.text, 'still here!');

    low.type('x');
    await world.rack.apply([], []);
    const why = 'web1 is down: the port was removed from the configuration';
    assert.equal(low.told.at(-1), `down: ${why}`);
    assert.equal(low.line.whyDown, why);
    assert.equal(low.type('y'), 0);
    assert.deepEqual(await low.line.signals(), {});
    await assert.rejects(low.line.setLine(LINE, 'none'), { code: 'PORT_GONE', message: why });
    assert.deepEqual(
      world.spool
        .bodies()
        .slice(-2)
        .map(({ kind }) => kind),
      ['detached', 'down'],
    );
    low.line.leave();
  });

  it('does not keep a port that was removed', async () => {
    const world = await new World().start([portSettings('db1'), portSettings('db2')]);
    const low = Listener.join(world);
    low.type('x');
    // Kept by the port, and by nobody else.
    const ofPort = new WeakRef(world.backend);
    world.openers.delete('db1');
    await world.rack.apply([portSettings('db2')], [registered('db2')]);
    await settle();
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
    assert.equal(ofPort.deref(), undefined);
    assert.ok(low.line.whyDown !== null);
  });
});
