import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runScript, seededRandom } from '../../src/backends/sim/machine.ts';
import type { Machine } from '../../src/backends/sim/machine.ts';
import { linuxServer } from '../../src/backends/sim/machines/linux.ts';
import { router } from '../../src/backends/sim/machines/router.ts';
import { uBootBoard } from '../../src/backends/sim/machines/u-boot.ts';
import { xenHost } from '../../src/backends/sim/machines/xen.ts';
import { powerOn, SIM_MACHINES } from '../../src/backends/sim/sim.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import { backendServices, portSettings, RecordingSink, createOpener } from '../support/backend.ts';
import { until } from '../support/pty.ts';

/** A machine that is a mere wire to the test. */
function makeWire(): {
  machine: Machine;
  send: (bytes: Uint8Array) => void;
  receive: () => Buffer;
} {
  const INPUT_BYTES_MAX = 4_096;
  let output: Uint8Array[] = [];
  let input = Buffer.alloc(0);
  const machine: Machine = {
    advance() {
      const bytes = Buffer.concat(output);
      output = [];
      return bytes;
    },
    input(bytes) {
      const count = Math.min(bytes.length, INPUT_BYTES_MAX - input.length);
      input = Buffer.concat([input, bytes.subarray(0, count)]);
      return count;
    },
    nextMs: () => 0,
    sendBreak: () => undefined,
  };
  const receive = (): Buffer => {
    const bytes = input;
    input = Buffer.alloc(0);
    return bytes;
  };
  return { machine, send: (bytes) => output.push(bytes), receive };
}

describeBackendContract('sim', { unsupported: ['line', 'signals'] }, () => {
  const wire = makeWire();
  const services = backendServices(null);
  return Promise.resolve({
    opener: {
      kind: 'sim',
      target: 'wire',
      line: null,
      open: (sink) => Promise.resolve(powerOn(wire.machine, 'wire', 1, services, sink)),
    },
    send: (bytes) => Promise.resolve(wire.send(bytes)),
    receive: wire.receive,
    leave: null,
    dispose: () => undefined,
  });
});

/** Lets a machine run for a while in small steps; returns what it printed. */
function runFor(machine: Machine, fromMs: number, durationMs: number, stepMs = 10): string {
  const parts: Uint8Array[] = [];
  for (let at = fromMs; at <= fromMs + durationMs; at += stepMs) parts.push(machine.advance(at));
  return Buffer.concat(parts).toString('latin1');
}

/** Types a line at a machine and returns what it printed within the next two seconds. */
function makeTyping(machine: Machine, startMs: number): (line: string) => string {
  let nowMs = startMs;
  return (line) => {
    machine.input(Buffer.from(line));
    const output = runFor(machine, nowMs, 2_000);
    nowMs += 2_000;
    return output;
  };
}

const MACHINES = {
  linux: () => linuxServer(seededRandom(7), { hostName: 'db1', panicMeanMs: 60_000 }),
  router: () => router(seededRandom(7), { hostName: 'core1' }),
  'u-boot': () => uBootBoard(seededRandom(7), { hostName: 'board' }),
  xen: () => xenHost(seededRandom(7), { hostName: 'host1' }),
};

describe('a simulated machine', () => {
  for (const [name, makeScript] of Object.entries(MACHINES)) {
    it(`says the same for the same seed, however time is cut: ${name}`, () => {
      const fine = runFor(runScript(makeScript()), 0, 240_000, 7);
      const coarse = runFor(runScript(makeScript()), 0, 240_000 + 7, 5_000);
      assert.ok(fine.length > 200);
      const shared = Math.min(fine.length, coarse.length);
      assert.ok(shared > fine.length * 0.9);
      assert.equal(fine.slice(0, shared), coarse.slice(0, shared));
    });
  }

  it('differs by seed', () => {
    const print = (seed: number): string =>
      runFor(
        runScript(linuxServer(seededRandom(seed), { hostName: 'a', panicMeanMs: null })),
        0,
        20_000,
      );
    assert.notEqual(print(1), print(2));
  });

  it('prints no faster than 115,200 baud', () => {
    const machine = runScript(MACHINES.linux());
    for (let at = 10; at < 30_000; at += 10) {
      assert.ok(machine.advance(at).length <= 116, `at ${at} ms`);
    }
  });

  it('boots, panics with a trace, and boots again', () => {
    const text = runFor(runScript(MACHINES.linux()), 0, 300_000, 1_000);
    assert.match(text, /Linux version 6[\s\S]*login: /);
    assert.match(
      text,
      /Call Trace:\r\n[\s\S]*Kernel panic - not syncing: [\s\S]*Rebooting in 3 seconds\.\.\r\n/,
    );
    const afterPanic = text.slice(text.indexOf('Kernel panic'));
    assert.match(afterPanic, /Linux version 6[\s\S]*login: /);
  });

  it('logs one in, keeps the password to itself, and runs commands', () => {
    const machine = runScript(linuxServer(seededRandom(3), { hostName: 'db1', panicMeanMs: null }));
    assert.match(runFor(machine, 0, 30_000), /db1 login: /);
    const type = makeTyping(machine, 30_010);
    assert.match(type('root\r'), /^root\r\nPassword: /);
    const afterPassword = type('s3cret\r');
    assert.ok(!afterPassword.includes('s3cret'));
    assert.match(afterPassword, /root@db1:~# $/);
    assert.match(type('echo hello\r'), /^echo hello\r\nhello\r\n/);
    assert.match(type('frobnicate\r'), /sh: frobnicate: command not found/);
    assert.match(type('constructor\r'), /sh: constructor: command not found/);
    assert.match(type('hostnamex\x7f\r'), /^hostnamex\x08 \x08\r\ndb1\r\n/);
    machine.sendBreak();
    assert.match(type('c'), /sysrq: Trigger a crash[\s\S]*Kernel panic - not syncing: sysrq/);
  });

  it('stops at the boot loader when a key is hit', () => {
    const machine = runScript(MACHINES['u-boot']());
    assert.match(runFor(machine, 0, 1_000), /Hit any key to stop autoboot: {2}3/);
    const type = makeTyping(machine, 1_010);
    assert.match(type(' '), /=> $/);
    assert.match(type('printenv\r'), /bootdelay=3/);
    assert.match(type('reset\r'), /resetting \.\.\.[\s\S]*U-Boot SPL/);
  });

  it('asks before it goes on with a long list', () => {
    const machine = runScript(MACHINES.router());
    runFor(machine, 0, 10_000);
    const type = makeTyping(machine, 10_010);
    assert.match(type('\r'), /core1>$/);
    assert.match(type('enable\r'), /Password: $/);
    assert.match(type('lab\r'), /core1#$/);
    assert.match(type('show interfaces\r'), / --More-- $/);
    assert.match(type('q'), /core1#$/);
    assert.match(type('show version\r'), /version 12\.7/);
  });

  it('moves the input to the hypervisor by CTRL-A three times', () => {
    const machine = runScript(MACHINES.xen());
    assert.match(runFor(machine, 0, 10_000), /\(XEN\) Brought up[\s\S]*host1 login: /);
    const type = makeTyping(machine, 10_010);
    assert.match(type('\x01\x01\x01'), /Serial input to Xen/);
    assert.match(type('h'), /'h' pressed/);
  });
});

describe('the sim backend', () => {
  it('knows its machines, and names the nearest to a wrong one', async () => {
    assert.ok(SIM_MACHINES.includes('linux-panics'));
    const settings = portSettings({ kind: 'sim', machine: 'linx', seed: 1, speed: 1 });
    const opening = createOpener(settings, backendServices(null)).open(new RecordingSink());
    await assert.rejects(opening, (error: Error) => {
      hasCode('PORT_OPEN_FAILED')(error);
      assert.equal(error.message, 'no simulated machine "linx"; did you mean "linux"?');
      return true;
    });
  });

  it('echoes at once', async () => {
    const settings = portSettings({ kind: 'sim', machine: 'echo', seed: 1, speed: 1 });
    const sink = new RecordingSink();
    const backend = await createOpener(settings, backendServices(null)).open(sink);
    backend.write(Buffer.from('ping'));
    await until(() => sink.text === 'ping', 'the echo');
    await backend.close();
  });

  it('runs faster than real time when told to', async () => {
    const settings = portSettings({ kind: 'sim', machine: 'linux', seed: 1, speed: 100 });
    const sink = new RecordingSink();
    const backend = await createOpener(settings, backendServices(null)).open(sink);
    await until(() => sink.text.includes('lab1 login: '), 'the login prompt');
    await backend.close();
  });
});
