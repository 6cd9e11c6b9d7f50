import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, closeSync, constants, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { identityOf } from '../../src/backends/tty/identity.ts';
import type { DeviceIdentity } from '../../src/backends/tty/identity.ts';
import { makeRdev, splitRdev, ttyNumbered } from '../../src/backends/tty/sysfs.ts';
import type { DeviceMatch } from '../../src/core/settings.ts';
import { hasCode } from '../contracts/backend.ts';
import { device } from '../support/backend.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { makePtyDevice, requireLibc, until } from '../support/pty.ts';

let machine: FakeMachine;

beforeEach(() => {
  machine = new FakeMachine();
});
afterEach(() => machine.remove());

function byPath(path: string): DeviceIdentity {
  return identityOf(device(path), machine.root);
}

function byMatch(match: DeviceMatch): DeviceIdentity {
  return identityOf({ ...device(''), path: null, match }, machine.root);
}

const BY_ID = '/dev/serial/by-id/usb-0403_FT232R_USB_UART_A1-if00-port0';
const BY_PATH = '/dev/serial/by-path/pci-0000:00:04.0-usb-0:1:1.0-port0';

describe('a device by match', () => {
  it('is found under whatever number it has', () => {
    const identity = byMatch({ vendor: '0403', product: '6001', serial: 'A1' });
    assert.equal(identity.target, 'usb 0403:6001 serial A1');
    assert.equal(identity.resolve(), null);
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'OTHER' });
    assert.equal(identity.resolve(), null);
    machine.plug({ name: 'ttyUSB7', usbPath: '1-2', serial: 'A1' });
    assert.equal(identity.resolve(), '/dev/ttyUSB7');
    machine.pull({ name: 'ttyUSB7', usbPath: '1-2' });
    machine.plug({ name: 'ttyACM3', usbPath: '2-1.4', serial: 'A1', port: null });
    assert.equal(identity.resolve(), '/dev/ttyACM3');
  });

  it('takes each of the five words', () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1.2', serial: 'A1' });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-1.3', serial: 'B2', vendor: '10c4' });
    machine.plug({ name: 'ttyUSB2', usbPath: '1-1.4', serial: 'C3', product: 'ea60' });
    machine.plug({ name: 'ttyUSB3', usbPath: '1-1.5', serial: 'D4', interface: 10 });
    assert.equal(byMatch({ vendor: '10c4' }).resolve(), '/dev/ttyUSB1');
    assert.equal(byMatch({ product: 'ea60' }).resolve(), '/dev/ttyUSB2');
    assert.equal(byMatch({ interface: 10 }).resolve(), '/dev/ttyUSB3');
    assert.equal(byMatch({ usbPath: '1-1.2' }).resolve(), '/dev/ttyUSB0');
    assert.equal(byMatch({ serial: 'B2' }).resolve(), '/dev/ttyUSB1');
    assert.equal(byMatch({ serial: 'B2', usbPath: '1-1.2' }).resolve(), null);
  });

  it('takes none of two, and says what would tell them apart', () => {
    const one = machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'A1' });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-2', serial: 'A1' });
    const identity = byMatch({ serial: 'A1' });
    assert.throws(
      () => identity.resolve(),
      (error: Error) => {
        hasCode('PORT_OPEN_FAILED')(error);
        assert.equal(
          error.message,
          'usb serial A1 means /dev/ttyUSB0 (usbPath 1-1) and /dev/ttyUSB1 (usbPath 1-2); none is taken; add usbPath to "match:", which tells them apart',
        );
        return true;
      },
    );
    assert.equal(identity.check(one), true, 'a line that is open stays');
  });

  it('points to paths where nothing else tells lines apart', () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', port: 0 });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-1', port: 1 });
    assert.throws(() => byMatch({ usbPath: '1-1' }).resolve(), /by-id or by-path/);
  });

  it('refuses a number that went to another device before it was opened', () => {
    const identity = byMatch({ serial: 'A1' });
    const rdev = machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'A1' });
    assert.equal(identity.check(rdev), true);
    machine.pull({ name: 'ttyUSB0', usbPath: '1-1' });
    assert.equal(machine.plug({ name: 'ttyUSB0', usbPath: '1-2', serial: 'B2' }), rdev);
    assert.equal(identity.check(rdev), false);
    machine.plug({ name: 'ttyUSB1', usbPath: '1-1', serial: 'A1' });
    assert.equal(identity.check(rdev), false, 'the wanted one is at another number now');
  });
});

describe('a device by path', () => {
  for (const path of [BY_ID, BY_PATH]) {
    it(`refuses who took the number of ${path}, though the link is still there`, () => {
      const identity = byPath(path);
      assert.equal(identity.resolve(), null);
      const rdev = machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'A1' });
      assert.equal(identity.target, path);
      assert.equal(identity.resolve(), path);
      assert.equal(identity.check(rdev), true);
      machine.pull({ name: 'ttyUSB0', usbPath: '1-1' });
      machine.plug({ name: 'ttyUSB0', usbPath: '1-2', serial: 'B2' });
      assert.equal(identity.resolve(), path, 'the stale link');
      assert.equal(identity.check(rdev), false);
    });
  }

  it('tells the interfaces and the ports of one adapter apart', () => {
    const first = machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    const second = machine.plug({ name: 'ttyUSB1', usbPath: '1-1', interface: 1, port: 1 });
    const name = BY_ID.replace('-if00-port0', '-if01-port1');
    assert.equal(byPath(name).check(second), true);
    assert.equal(byPath(name).check(first), false);
    machine.link(name.slice(1), 'dev/ttyUSB0');
    assert.equal(byPath(name).check(first), false, 'a link to the wrong one');
    machine.link(`${BY_ID.slice(1, -1)}1`, 'dev/ttyUSB0');
    assert.equal(byPath(`${BY_ID.slice(0, -1)}1`).check(first), false);
  });

  it('knows a device by what udev made of its odd serial number or of none', () => {
    const odd = machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'A/1 #7' });
    machine.link('dev/serial/by-id/usb-FTDI_FT232R_A_1__7-if00-port0', 'dev/ttyUSB0');
    const udevs = byPath('/dev/serial/by-id/usb-FTDI_FT232R_A_1__7-if00-port0');
    assert.equal(udevs.check(odd), true);
    const none = machine.plug({ name: 'ttyUSB1', usbPath: '1-2', serial: 'A1,2', model: 'CP2102' });
    machine.link('dev/serial/by-id/usb-Silicon_Labs_CP2102-if00-port0', 'dev/ttyUSB1');
    assert.equal(byPath('/dev/serial/by-id/usb-Silicon_Labs_CP2102-if00-port0').check(none), true);
  });

  it('takes a plain path and a link of the operator as they are', () => {
    const rdev = machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    machine.link('dev/lab/router', 'dev/ttyUSB0');
    const uart = machine.uart('ttyS0');
    assert.equal(byPath('/dev/ttyUSB0').check(rdev), true);
    assert.equal(byPath('/dev/lab/router').check(rdev), true);
    assert.equal(byPath('/dev/ttyS0').check(uart), true);
    assert.equal(byPath('/dev/ttyS0').check(rdev), false);
    assert.equal(byPath('/dev/ttyS1').check(uart), false);
  });

  it('takes what sysfs does not know by its device number: a pty', async () => {
    const pty = makePtyDevice(await requireLibc());
    const other = makePtyDevice(await requireLibc());
    const fd = openSync(pty.path, constants.O_RDWR | constants.O_NOCTTY);
    const { rdev } = fstatSync(fd);
    assert.equal(ttyNumbered(rdev), null);
    assert.equal(identityOf(device(pty.path)).check(rdev), true);
    assert.equal(identityOf(device(other.path)).check(rdev), false);
    closeSync(fd);
    pty.close();
    other.close();
  });

  it('splits and makes device numbers as the C library does', () => {
    assert.equal(makeRdev(188, 0), 0xbc00);
    assert.deepEqual(splitRdev(makeRdev(204, 300)), { major: 204, minor: 300 });
    assert.deepEqual(splitRdev(makeRdev(4, 64)), { major: 4, minor: 64 });
  });
});

describe('watching for a return', () => {
  const stops: (() => void)[] = [];
  afterEach(() => stops.splice(0).forEach((stop) => stop()));

  function watched(identity: DeviceIdentity): { count: number } {
    const seen = { count: 0 };
    stops.push(identity.watch(() => seen.count++));
    return seen;
  }

  it('sees a link come back though /dev/serial went with it', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    const seen = watched(byPath(BY_ID));
    for (let plug = 1; plug <= 10; plug++) {
      const before = seen.count;
      machine.pull({ name: 'ttyUSB0', usbPath: '1-1' });
      machine.tidy();
      await sleep(plug % 2); // also faster than the events are taken
      machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
      await until(() => seen.count > before, `return ${plug}`);
    }
  });

  it('sees a match come back under another number', async () => {
    const seen = watched(byMatch({ serial: 'A1' }));
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    await until(() => seen.count > 0, 'the first');
    machine.pull({ name: 'ttyUSB0', usbPath: '1-1' });
    const before = seen.count;
    machine.plug({ name: 'ttyUSB5', usbPath: '1-2' });
    await until(() => seen.count > before, 'the return');
  });

  it('sees that one of two went', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-2' });
    const seen = watched(byMatch({ serial: 'A1' }));
    machine.pull({ name: 'ttyUSB1', usbPath: '1-2' });
    await until(() => seen.count > 0, 'one is left');
  });

  it('sees that udev gave the permission a moment later, also behind a link', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    chmodSync(join(machine.root, 'dev/ttyUSB0'), 0o600);
    const all = [byPath('/dev/ttyUSB0'), byPath(BY_ID), byMatch({ serial: 'A1' })].map(watched);
    chmodSync(join(machine.root, 'dev/ttyUSB0'), 0o660);
    await until(() => all.every(({ count }) => count > 0), 'the permission');
  });

  it('is not told of other devices', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    const all = [byPath('/dev/ttyUSB0'), byPath(BY_ID), byMatch({ serial: 'A1' })].map(watched);
    const last = watched(byPath('/dev/ttyUSB9'));
    machine.plug({ name: 'ttyUSB3', usbPath: '1-3', serial: 'B2' });
    machine.file('dev/null', '');
    appendFileSync(join(machine.root, 'dev/null'), 'x');
    machine.plug({ name: 'ttyUSB9', usbPath: '1-4', serial: 'C3' });
    await until(() => last.count > 0, 'the last event');
    assert.deepEqual(
      all.map(({ count }) => count),
      [0, 0, 0],
    );
  });
});
