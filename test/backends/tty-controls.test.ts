import assert from 'node:assert/strict';
import { close, constants, openSync } from 'node:fs';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import { describeHolder, findLockHolder, findOpener } from '../../src/backends/tty/holder.ts';
import { Tty } from '../../src/backends/tty/tty.ts';
import type { OpenedTty } from '../../src/backends/tty/tty.ts';
import type { Libc } from '../../src/core/libc.ts';
import { hasCode } from '../contracts/backend.ts';
import { backendServices, portSettings, RecordingSink } from '../support/backend.ts';
import { makePtyDevice, requireLibc, until } from '../support/pty.ts';
import type { PtyDevice } from '../support/pty.ts';

function openSlave(path: string): OpenedTty {
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
  const fd = openSync(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
  const poller = new Poller(fd);
  return { fd, poller, flush: () => Promise.resolve(), close: () => promisify(close)(fd) };
}

/** A pty has no UART: its C library is a fake where the UART would be. */
describe('controls of a UART', () => {
  const line = { baud: 9_600, dataBits: 7, parity: 'even', stopBits: 1 } as const;
  let real: Libc;
  let device: PtyDevice;
  let tty: Tty;
  let asked: string[];
  /** Error name that the next control call fails with. */
  let failure: string | null;

  before(async () => {
    real = await requireLibc();
  });

  beforeEach(() => {
    asked = [];
    failure = null;
    device = makePtyDevice(real);
    const opened = openSlave(device.path);
    const ask = (what: string): Promise<void> => {
      asked.push(what);
      const code = failure;
      return code === null
        ? Promise.resolve()
        : Promise.reject(Object.assign(new Error(code), { code }));
    };
    let set = { baud: 115_200, dataBits: 8, parity: 'none', stopBits: 1 };
    const libc: Libc = {
      ...real,
      setLine: (_fd, wanted) => {
        set = { ...wanted, baud: wanted.baud + 7 };
        return ask(`line ${wanted.baud}`);
      },
      getLine: () => ({ ...set, parity: set.parity === 'mark' ? 'none' : set.parity }),
      setSignals: (_fd, signals) => ask(`signals ${JSON.stringify(signals)}`),
      setBreak: (_fd, on) => ask(`break ${on}`),
      getSignals: async () => {
        await ask('signals?');
        return { dtr: true, rts: true, cts: true, dsr: false, dcd: true, ri: false };
      },
    };
    const settings = portSettings({ kind: 'device', path: device.path, signals: {} });
    tty = new Tty(device.path, false, opened, new RecordingSink(), settings, backendServices(libc));
  });
  afterEach(async () => {
    await tty.close();
    device.close();
  });

  it('changes the settings of the open line, within what a clock can do', async () => {
    await tty.setLine(line, 'none');
    assert.deepEqual(asked, ['line 9600']);
  });

  it('says what the driver made of settings it does not know', async () => {
    await assert.rejects(tty.setLine({ ...line, parity: 'mark' }, 'none'), (error: Error) => {
      hasCode('PORT_UNSUPPORTED')(error);
      assert.match(error.message, /cannot do 9600 7M1; the line is at 9607 7N1 now/);
      return true;
    });
  });

  it('holds BREAK for its time, and does one thing at a time', async () => {
    const breaking = tty.sendBreak(30);
    await tty.setSignals({ dtr: false });
    await breaking;
    assert.deepEqual(asked, ['break true', 'break false', 'signals {"dtr":false}']);
  });

  it('releases the line when it is closed in the middle of a BREAK', async () => {
    const breaking = tty.sendBreak(60_000);
    await until(() => asked.length === 1, 'the BREAK to begin');
    await tty.close();
    await breaking;
    assert.deepEqual(asked, ['break true', 'break false']);
    await assert.rejects(tty.sendBreak(1), hasCode('PORT_GONE'));
  });

  it('holds BREAK until it is told to end it', async () => {
    await tty.setBreak(true);
    await tty.setBreak(false);
    assert.deepEqual(asked, ['break true', 'break false']);
  });

  it('releases a line that is closed while it is held in BREAK', async () => {
    await tty.setBreak(true);
    await tty.close();
    assert.deepEqual(asked, ['break true', 'break false']);
  });

  it('tells the signals that the driver sees, and none where it sees none', async () => {
    assert.deepEqual(await tty.signals(), {
      dtr: true,
      rts: true,
      cts: true,
      dsr: false,
      dcd: true,
      ri: false,
    });
    failure = 'ENOTTY';
    assert.deepEqual(await tty.signals(), {});
    failure = 'EIO';
    await assert.rejects(tty.signals(), hasCode('PORT_GONE'));
  });

  it('throws away output that has not gone out, and never what came in', async () => {
    const sink = new RecordingSink();
    const opened = openSlave(device.path);
    const settings = portSettings({ kind: 'device', path: device.path, signals: {} });
    const flushed: string[] = [];
    const flush: Libc['flush'] = (fd, which) => {
      flushed.push(which);
      real.flush(fd, which);
    };
    const services = backendServices({ ...real, flush });
    const other = new Tty(device.path, false, opened, sink, settings, services);
    await tty.close(); // it would read as well
    const sent = device.send(Buffer.from('precious'));
    // Without a turn of the event loop, in which it would be read anyhow.
    const deadlineMs = performance.now() + 10_000;
    while (real.inputWaiting(opened.fd) < 8) assert.ok(performance.now() < deadlineMs);
    await Promise.all([other.purge('both'), sent]);
    assert.equal(sink.text, 'precious');
    assert.deepEqual(flushed, ['output']);
    await other.purge('rx');
    assert.deepEqual(flushed, ['output']);
    await other.close();
  });

  it('tells what a driver cannot do from a device that went away', async () => {
    failure = 'EOPNOTSUPP';
    await assert.rejects(tty.sendBreak(1), hasCode('PORT_UNSUPPORTED'));
    failure = 'EIO';
    await assert.rejects(tty.setSignals({ rts: true }), hasCode('PORT_GONE'));
    failure = null;
    await tty.setSignals({ rts: true });
  });

  it('finds who has the device open, and who locked it', async () => {
    assert.equal((await findOpener(device.path))!.pid, process.pid);
    assert.equal(await findLockHolder(device.path), null);
    const fd = openSync(device.path, constants.O_RDWR | constants.O_NOCTTY);
    real.lockExclusive(fd);
    assert.equal((await findLockHolder(device.path))!.pid, process.pid);
    assert.equal(describeHolder({ pid: 4_711, name: 'minicom' }), 'process 4711 (minicom)');
    await promisify(close)(fd);
  });
});
