import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { CounterClock } from '../../src/backends/tty/counter-watch.ts';
import { openUart } from '../../src/backends/tty/device.ts';
import type { DeviceIdentity } from '../../src/backends/tty/identity.ts';
import { Sweep } from '../../src/backends/tty/sweep.ts';
import { Tty } from '../../src/backends/tty/tty.ts';
import type { Backend, BackendOpener, BackendSink } from '../../src/core/backend.ts';
import type { Journal } from '../../src/core/clock.ts';
import type { Libc } from '../../src/core/libc.ts';
import type { DeviceSettings, PortSettings } from '../../src/core/settings.ts';
import { realTimers } from '../../src/ports/timers.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import { device as deviceAt, portSettings, silentJournal } from '../support/backend.ts';
import { FakeUart } from '../support/fake-uart.ts';
import { makePtyDevice, requireLibc } from '../support/pty.ts';
import type { PtyDevice } from '../support/pty.ts';

interface Changes {
  device?: Partial<DeviceSettings>;
  port?: Partial<PortSettings>;
  isRight?: (rdev: number) => boolean;
  journal?: Journal;
}

/** Opens a pty as the device it plays. `root`: where /var/lock is. */
function makeOpener(
  path: string,
  uart: FakeUart,
  root: string,
  changes: Changes = {},
): BackendOpener {
  const backend = deviceAt(path, changes.device);
  const settings = portSettings(backend, changes.port);
  const isAt = (rdev: number): boolean => statSync(path, { throwIfNoEntry: false })?.rdev === rdev;
  const check = changes.isRight ?? isAt;
  const identity: DeviceIdentity = {
    target: path,
    resolve: () => path,
    check,
    watch: () => () => undefined,
  };
  const { libc } = uart;
  return {
    kind: 'device',
    target: path,
    line: settings.line,
    async open(sink: BackendSink): Promise<Backend> {
      const journal = changes.journal ?? silentJournal;
      const opened = await openUart({ path, settings, backend, identity, libc, journal, root });
      const services = { libc, sweep: new Sweep(), counters: new CounterClock(realTimers) };
      const { rdev } = statSync(path);
      return new Tty({ path, opened, sink, settings, services, isThere: () => isAt(rdev) });
    },
  };
}

const nobody: BackendSink = {
  rx: () => undefined,
  rxInto: (read) => read(Buffer.alloc(8_192), 0, 8_192),
  gone: () => undefined,
  writable: () => undefined,
  event: () => undefined,
};

let root: string;
let real: Libc;
before(async () => {
  real = await requireLibc();
  root = mkdtempSync(join(tmpdir(), 'fairlead-device-'));
  mkdirSync(join(root, 'var/lock'), { recursive: true });
});
after(() => rmSync(root, { recursive: true, force: true }));

// The kernel's own PARMRK on every byte, as a pty has it.
describeBackendContract('a UART', { unsupported: [] }, () => {
  const device = makePtyDevice(real);
  return Promise.resolve({
    opener: makeOpener(device.path, new FakeUart(real), root),
    send: device.send,
    receive: device.receive,
    leave: device.close,
    dispose: device.close,
  });
});

describe('opening a UART', () => {
  let device: PtyDevice;
  let uart: FakeUart;

  beforeEach(() => {
    device = makePtyDevice(real);
    uart = new FakeUart(real);
  });
  afterEach(() => device.close());

  async function openFailure(changes: Changes = {}): Promise<string> {
    const opening = makeOpener(device.path, uart, root, changes).open(nobody);
    const error: unknown = await opening.then(
      () => assert.fail('it opened'),
      (reason: unknown) => reason,
    );
    hasCode('PORT_OPEN_FAILED')(error);
    assert.deepEqual(readdirSync(join(root, 'var/lock')), []);
    return (error as Error).message;
  }
  const lockName = (): string => `LCK..${device.path.replace('/dev/', '').replaceAll('/', '_')}`;

  it('locks it for itself, sets it up and touches no signal; the close gives it back', async () => {
    const backend = await makeOpener(device.path, uart, root).open(nobody);
    assert.deepEqual(uart.asked, ['exclusive', 'line 115200 8 none 1 none', 'signals?']);
    assert.deepEqual(readdirSync(join(root, 'var/lock')), [lockName()]);
    await backend.close();
    assert.deepEqual(uart.asked.slice(3), ['shared']);
    assert.deepEqual(readdirSync(join(root, 'var/lock')), []);
  });

  it('sets the signals of the configuration first of all, and opens though it cannot', async () => {
    for (const failures of [{}, { signals: 'ENOTTY' }]) {
      uart = new FakeUart(real);
      uart.failures = failures as Record<string, string>;
      const signals = { dtr: false, rts: false };
      const opener = makeOpener(device.path, uart, root, { device: { signals } });
      await (await opener.open(nobody)).close();
      assert.deepEqual(uart.asked.slice(0, 3), [
        'exclusive',
        'signals {"dtr":false,"rts":false}',
        'line 115200 8 none 1 none',
      ]);
    }
  });

  it('does not touch a device that another process has locked', async () => {
    const holder = spawn('flock', ['-x', device.path, 'sh', '-c', 'echo held; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const why = await openFailure();
    assert.match(why, /is held by process \d+ \((flock|sh)\)/);
    assert.deepEqual(uart.asked, []);
    holder.stdin.end('\n');
    await once(holder, 'exit');
  });

  it('does not even open a device that a live process has by its lock file', async () => {
    const file = join(root, 'var/lock', lockName());
    writeFileSync(file, `${String(process.ppid).padStart(10)}\n`);
    const opening = makeOpener(device.path, uart, root).open(nobody);
    await assert.rejects(opening, /is held by process \d+.*says/);
    assert.deepEqual(uart.asked, []);
    rmSync(file);
  });

  it('gives back a device that is another one, its signals kept', async () => {
    const why = await openFailure({ isRight: () => false });
    assert.match(why, /became another device while it was opened; it was given back/);
    assert.deepEqual(uart.asked, ['exclusive', 'keep signals', 'shared']);
  });

  it('says what the driver makes of a line it cannot do, and drops no signal', async () => {
    uart.parity = () => 'none';
    const why = await openFailure({
      port: { line: { baud: 9_600, dataBits: 7, parity: 'mark', stopBits: 1 } },
    });
    assert.match(why, /its driver cannot do 9600 7M1 none and makes 9607 7N1 none of it/);
    assert.ok(uart.asked.includes('keep signals'));
  });

  it('says that no hardware answers when it does not', async () => {
    uart.failures = { 'signals?': 'EIO' };
    // A pty has another explanation for the same error.
    assert.match(await openFailure(), /the other end of the pty is closed/);
    uart.failures = { 'signals?': 'ENOTTY' };
    await (await makeOpener(device.path, uart, root).open(nobody)).close();
  });

  it('turns on RS-485 as configured, or says what of it the driver cannot do', async () => {
    const rs485 = { rtsOnSend: true, delayBeforeMs: 2, delayAfterMs: 0, hearsItself: true };
    const changes = { device: { rs485 } };
    await (await makeOpener(device.path, uart, root, changes).open(nobody)).close();
    assert.ok(uart.asked.includes('rs485'));
    uart.rs485 = (wanted) => ({ ...wanted, delayBeforeMs: 0, hearsItself: false });
    assert.match(
      await openFailure(changes),
      /its driver cannot do "rs485:" with delayBeforeMs: 2, hearsItself: true$/,
    );
    uart.rs485 = () => null;
    assert.match(await openFailure(changes), /its driver cannot do RS-485$/);
    uart.failures = { rs485: 'ENOTTY' };
    assert.match(await openFailure(changes), /its driver refuses RS-485 \(ENOTTY\); remove/);
  });

  it('asks for low latency where it is configured, and does without it', async () => {
    const noted: string[] = [];
    const journal = { ...silentJournal, info: (_: object, message: string) => noted.push(message) };
    for (const failures of [{}, { 'low latency': 'ENOTTY' }]) {
      uart = new FakeUart(real);
      uart.failures = failures as Record<string, string>;
      const changes = { port: { latency: 'low' }, journal } as Changes;
      await (await makeOpener(device.path, uart, root, changes).open(nobody)).close();
      assert.ok(uart.asked.includes('low latency'));
    }
    assert.deepEqual(noted, ['driver has no low latency']);
  });

  it('keeps what waited in the tty when it was opened', async () => {
    const keeper = openSync(device.path, 'r+');
    real.makeRaw(keeper);
    await device.send(Buffer.from('said before'));
    let text = '';
    const sink: BackendSink = {
      ...nobody,
      rxInto(read) {
        const memory = Buffer.alloc(8_192);
        const count = read(memory, 0, memory.length);
        if (count > 0) text += memory.toString('latin1', 0, count);
        return count;
      },
    };
    const backend = await makeOpener(device.path, uart, root).open(sink);
    await backend.purge('rx');
    assert.equal(text, 'said before');
    await backend.close();
    closeSync(keeper);
  });
});
