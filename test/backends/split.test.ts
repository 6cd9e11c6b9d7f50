import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from '../../src/core/backend.ts';
import { Fault } from '../../src/core/fault.ts';
import type { PortSettings, SplitSettings } from '../../src/core/settings.ts';
import { PACKET_SILENCE_MS } from '../../src/protocols/gdb-split.ts';
import { takeHalf } from '../../src/protocols/split-half.ts';
import { createBackends } from '../../src/backends/index.ts';
import type { Backends } from '../../src/backends/index.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import {
  FakeOpener,
  World,
  callerOf,
  portSettings as rackSettings,
  registered,
  settle,
} from '../ports/support.ts';
import { backendServices, portSettings, RecordingSink } from '../support/backend.ts';
import { until } from '../support/pty.ts';

type Part = SplitSettings['part'];

/** A rack with the port `db1`, and backends that split its line. */
async function makeSite(): Promise<{ world: World; backends: Backends }> {
  const world = await new World().start();
  const backends = createBackends({ ...backendServices(null), lines: world.rack });
  return { world, backends };
}

function openerOf(backends: Backends, part: Part, of = 'db1') {
  return backends.makeOpener(portSettings({ kind: 'split', of, part }, { name: `db1-${part}` }));
}

/** A packet of gdb's protocol. */
function packet(payload: string): string {
  let sum = 0;
  for (const byte of Buffer.from(payload)) sum = (sum + byte) & 0xff;
  return `$${payload}#${sum.toString(16).padStart(2, '0')}`;
}

/** What the parts of a line can carry of any bytes. */
const CARRIED: Readonly<Record<Part, (bytes: Uint8Array) => Buffer>> = {
  high: (bytes) => Buffer.from(bytes.map((byte) => byte & 0x7f)),
  low: (bytes) => Buffer.from(bytes.map((byte) => byte & 0x7f)),
  gdb(bytes) {
    const packets: string[] = [];
    for (let from = 0; from < bytes.length; from += 1_000) {
      packets.push(packet(Buffer.from(bytes.subarray(from, from + 1_000)).toString('hex')));
    }
    return Buffer.from(packets.join(''));
  },
  console: (bytes) => Buffer.from(bytes.map((byte) => (byte === 0x24 ? 0x53 : byte))),
};

/** The device takes so much at a time. */
const ROOM_BYTES = 20_000;

for (const part of ['high', 'low', 'gdb', 'console'] as const) {
  const traits = { unsupported: ['signals'], carried: CARRIED[part] } as const;
  describeBackendContract(`split, ${part}`, traits, async () => {
    const { world, backends } = await makeSite();
    const device = world.backend;
    device.roomBytes = ROOM_BYTES;
    const topBit = part === 'high' ? 0x80 : 0;
    return {
      opener: openerOf(backends, part),
      send: (bytes) => Promise.resolve(device.say(bytes.map((byte) => byte | topBit))),
      receive() {
        const got = Buffer.from(device.written.splice(0));
        device.giveRoom(got.length);
        if (topBit === 0) return got;
        assert.ok(got.every((byte) => byte >= topBit));
        return Buffer.from(takeHalf(got, 'high'));
      },
      leave: () => device.sink.gone(new Fault('PORT_GONE', 'unplugged')),
      dispose: () => undefined,
    };
  });
}

describe('a part of a line', () => {
  const opened: Backend[] = [];
  afterEach(async () => {
    for (const backend of opened.splice(0)) await backend.close();
  });

  async function open(
    backends: Backends,
    part: Part,
  ): Promise<{ backend: Backend; sink: RecordingSink; type: (text: string) => number }> {
    const sink = new RecordingSink();
    const backend = await openerOf(backends, part).open(sink);
    opened.push(backend);
    return { backend, sink, type: (text) => backend.write(Buffer.from(text, 'latin1')) };
  }

  it('is down while its port is, says why, and is told when it is back', async () => {
    const { world, backends } = await makeSite();
    const opener = openerOf(backends, 'high');
    assert.equal(opener.target, 'high half of db1');
    world.backend.sink.gone(new Fault('PORT_GONE', '/dev/ttyUSB0 went away'));
    for (const part of ['high', 'gdb'] as const) {
      await assert.rejects(open(backends, part), (error: Error) => {
        assert.equal(error.message, 'db1 is down: /dev/ttyUSB0 went away');
        return hasCode('PORT_OPEN_FAILED')(error);
      });
    }
    let returns = 0;
    const stop = opener.watchReturn!(() => returns++);
    await world.timers.advance(1_000);
    assert.equal(returns, 1);
    stop();
    const { sink } = await open(backends, 'high');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    assert.equal(returns, 1);
    assert.deepEqual(
      sink.faults.map(({ code, message }) => [code, message]),
      [['PORT_GONE', 'db1 is down: unplugged']],
    );
  });

  it('waits for a port that is just being opened', async () => {
    for (const failure of [null, new Fault('PORT_OPEN_FAILED', 'no such device')]) {
      const world = new World();
      const backends = createBackends({ ...backendServices(null), lines: world.rack });
      let open!: () => void;
      const opener = new FakeOpener();
      opener.openGate = new Promise((resolve) => (open = resolve));
      opener.failure = failure;
      world.openers.set('db1', opener);
      const starting = world.start();
      await settle();
      const opening = openerOf(backends, 'low').open(new RecordingSink());
      opening.catch(() => undefined);
      await settle();
      open();
      if (failure) await assert.rejects(opening, /^Fault: db1 is down: no such device$/);
      else opened.push(await opening);
      await starting;
    }
  });

  it('says so when there is no such port, however often it is asked', async () => {
    const { backends } = await makeSite();
    for (const part of ['low', 'console', 'console'] as const) {
      const opener = openerOf(backends, part, 'db2');
      await assert.rejects(opener.open(new RecordingSink()), (error: Error) => {
        assert.match(error.message, /no port "db2"/);
        return hasCode('PORT_OPEN_FAILED')(error);
      });
      opener.watchReturn!(() => assert.fail('nothing returned'))();
    }
  });

  it('of two halves each hears its own bytes and sends in its own way; BREAKs are of both', async () => {
    const { world, backends } = await makeSite();
    const high = await open(backends, 'high');
    const low = await open(backends, 'low');
    const wire = Buffer.from('XgEdNb$');
    for (const at of [0, 2, 4]) wire[at]! |= 0x80;
    world.backend.say(wire);
    assert.deepEqual([high.sink.text, low.sink.text], ['XEN', 'gdb$']);
    const { calls } = low.sink;
    world.backend.sink.event({ kind: 'break' });
    assert.equal(low.sink.calls, calls + 1);
    high.type('\x01');
    low.type('+');
    low.type('\xff');
    assert.deepEqual(world.backend.written, [0x81, 0x2b, 0x7f]);
  });

  it('of gdb and console each hears its own, and what was not finished when the line goes down', async () => {
    const { world, backends } = await makeSite();
    const console_ = await open(backends, 'console');
    const gdb = await open(backends, 'gdb');
    gdb.type(packet('?'));
    world.backend.say(`up\r\n+${packet('T05')}down`);
    assert.deepEqual([gdb.sink.text, console_.sink.text], [`+${packet('T05')}`, 'up\r\ndown']);
    world.backend.say('$T0');
    world.backend.sink.event({ kind: 'break' });
    assert.equal(console_.sink.text, 'up\r\ndown$T0', 'a BREAK ends it');
    world.backend.say('$T0');
    world.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
    assert.equal(console_.sink.text, 'up\r\ndown$T0$T0');
    assert.equal(gdb.sink.faults.length + console_.sink.faults.length, 2);
  });

  it('gives the console a packet that is never finished', async () => {
    const { world, backends } = await makeSite();
    const { sink } = await open(backends, 'console');
    world.backend.say('$T05thread');
    assert.equal(sink.text, '');
    await until(() => sink.text === '$T05thread', 'it to be given up');
  });

  it('keeps keys out of a packet of gdb until it is whole, or gdb has long been silent', async () => {
    const { world, backends } = await makeSite();
    const console_ = await open(backends, 'console');
    const gdb = await open(backends, 'gdb');
    gdb.type('$vCo');
    assert.equal(console_.type('a'), 0);
    gdb.type('nt?#4');
    assert.equal(console_.sink.writableCalls, 0);
    gdb.type('9\x03');
    assert.equal(console_.sink.writableCalls, 1);
    console_.type('a');
    assert.equal(world.backend.writtenText, '$vCont?#49\x03a');

    gdb.type('$never');
    assert.equal(console_.type('b'), 0);
    await until(() => console_.sink.writableCalls === 2, 'gdb to be given up');
    assert.equal(console_.type('b'), 1);
  });

  it('keeps them out as long as the device lets gdb wait', async () => {
    const { world, backends } = await makeSite();
    const console_ = await open(backends, 'console');
    const gdb = await open(backends, 'gdb');
    const wire = packet('X'.repeat(40_000));
    world.backend.roomBytes = 0;
    const taken = gdb.type(wire);
    assert.ok(taken < wire.length);
    assert.equal(console_.type('a'), 0);
    await sleep(PACKET_SILENCE_MS + 200);
    assert.equal(console_.sink.writableCalls, 0);
    assert.equal(console_.type('a'), 0);
    world.backend.giveRoom(100_000);
    gdb.type(wire.slice(taken));
    await until(() => console_.sink.writableCalls > 0, 'the packet to be whole');
    console_.type('a');
    assert.equal(world.backend.writtenText, `${wire}a`);
  });
});

describe('a port that is a part of a line', () => {
  /** `wire` and its high half; the name of both may change, the device's never does. */
  async function start() {
    const world = new World();
    const backends = createBackends({ ...backendServices(null), lines: world.rack });
    const device = new FakeOpener();
    world.makeOpener = ((settings: PortSettings) =>
      settings.backend.kind === 'split' ? backends.makeOpener(settings) : device) as never;
    const half = (of: string): PortSettings =>
      rackSettings('xen', { backend: { kind: 'split', of, part: 'high' } });
    const apply = async (ports: PortSettings[], wireUuid = 'uuid-wire'): Promise<void> => {
      const known = ports.map(({ name }) =>
        registered(name, { uuid: name === 'xen' ? 'uuid-xen' : wireUuid }),
      );
      const applied = world.rack.apply(ports, known);
      await world.timers.advance(6_000);
      await applied;
    };
    const stateOfHalf = async (): Promise<string> => {
      const ports = await world.rack.ports(callerOf('alice'));
      const { state, why } = ports.find(({ name }) => name === 'xen')!;
      return why === null ? state : `${state}: ${why}`;
    };
    await apply([half('wire'), rackSettings('wire')]);
    return { world, device, half, apply, stateOfHalf };
  }

  it('is up as soon as its line is, without ever having been down', async () => {
    const { world, stateOfHalf } = await start();
    assert.equal(await stateOfHalf(), 'up');
    assert.deepEqual(world.spool.of('down', 'uuid-xen'), []);
  });

  it('has its own log, of its own bytes; that of the line has what was on it', async () => {
    const { world, device } = await start();
    const alice = await world.attach('alice', { port: 'xen' });
    device.backend.say(Buffer.from([0xd8, 0x58, 0xe5]));
    alice.type('\x01');
    assert.equal(alice.text, 'Xe');
    assert.deepEqual(
      ['uuid-xen', 'uuid-wire'].map((uuid) =>
        world.spool.of('rx', uuid).map(({ bytes }) => [...bytes]),
      ),
      [[[0x58, 0x65]], [[0xd8, 0x58, 0xe5]]],
    );
    assert.deepEqual(device.backend.written, [0x81]);
    assert.equal(world.spool.of('attached', 'uuid-wire')[0]!.user, 'xen');
    assert.deepEqual(
      device.backend.watched,
      [false, true],
      'who watches the half watches the line',
    );
  });

  it('follows its line through a new name, a hold, a removal and a return', async () => {
    const { world, device, half, apply, stateOfHalf } = await start();
    await apply([half('line1'), rackSettings('line1', { was: 'wire' })]);
    assert.equal(await stateOfHalf(), 'up');

    await world.rack.hold(callerOf('alice'), 'line1', true);
    await settle();
    assert.equal(await stateOfHalf(), 'down: line1 is down: held down by alice');
    await world.rack.hold(callerOf('alice'), 'line1', false);
    await world.timers.advance(1_000);
    assert.equal(await stateOfHalf(), 'up');

    await apply([half('line1')]);
    assert.match(await stateOfHalf(), /^down: no port "line1"/);
    await apply([half('line1'), rackSettings('line1', { was: 'wire' })], 'uuid-new');
    assert.equal(await stateOfHalf(), 'up');

    // Another port of the same name in its place, at once.
    await apply([half('line1'), rackSettings('line1', { was: 'wire' })], 'uuid-other');
    assert.equal(await stateOfHalf(), 'up');
    device.backend.say(Buffer.from([0xd8]));
    assert.deepEqual([...world.spool.of('rx', 'uuid-xen').at(-1)!.bytes], [0x58]);
    const why = 'line1 is down: the port was removed from the configuration';
    assert.equal(world.spool.of('down', 'uuid-xen').at(-1)!.why, why);
  });
});
