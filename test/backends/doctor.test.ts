import assert from 'node:assert/strict';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { accountOfLines } from '../../src/backends/tty/account.ts';
import type { Account, Run } from '../../src/backends/tty/account.ts';
import { examineBrltty, examineLine, examineStatus } from '../../src/backends/tty/checks.ts';
import type { Line } from '../../src/backends/tty/checks.ts';
import { explainNoHardware, explainPath } from '../../src/backends/tty/explain.ts';
import { freeingAdvice, whoHolds } from '../../src/backends/tty/held.ts';
import { lockKey } from '../../src/backends/tty/holder.ts';
import { listSerialDevices } from '../../src/backends/tty/list.ts';
import { surveyMachine } from '../../src/backends/tty/machine.ts';
import { makeRdev } from '../../src/backends/tty/sysfs.ts';
import type { Finding } from '../../src/core/diagnosis.ts';
import type { PortStatus } from '../../src/core/port-status.ts';
import type { DeviceMatch } from '../../src/core/settings.ts';
import { device } from '../support/backend.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { portStatus } from '../verbs/fakes.ts';

let machine: FakeMachine;
let account: Account;
/** What `systemctl` prints, by its first argument. */
let says: Record<string, string>;
/** Mode, owner and group of the nodes of /dev, which a test cannot make. */
let nodes: Map<string, { mode: number; uid: number; gid: number; rdev?: number }>;

beforeEach(() => {
  machine = new FakeMachine();
  machine.file('etc/passwd', 'root:x:0:0::/root:/bin/sh\nfairlead:x:990:990::/:/bin/false\n');
  machine.file('etc/group', 'root:x:0:\ndialout:x:20:\nfairlead:x:990:\n');
  account = { name: 'root', uid: 0, gids: [0], listedGids: [0], unit: null, devicesAllowed: null };
  says = {};
  nodes = new Map();
});
afterEach(() => machine.remove());

const run: Run = async ([program, verb]) => {
  assert.equal(program, 'systemctl');
  return { status: 0, output: says[verb!] ?? '' };
};

function stat(path: string): Stats | null {
  const real = statSync(join(machine.root, path), { throwIfNoEntry: false });
  const node = nodes.get(path);
  if (real === undefined || node === undefined) return real ?? null;
  return Object.assign(Object.create(Object.getPrototypeOf(real) as object) as Stats, real, {
    ...node,
    mode: node.mode | 0o020000, // S_IFCHR
  });
}

async function examine(
  settings: string | DeviceMatch,
  line: Partial<Line> = {},
): Promise<Finding[]> {
  const wanted =
    typeof settings === 'string'
      ? device(settings)
      : { ...device(''), path: null, match: settings };
  const seen = await surveyMachine({ account, run, root: machine.root, stat });
  return examineLine(
    { subject: 'db1', settings: wanted, isConfigured: true, status: null, ...line },
    seen,
  );
}

function ids(findings: readonly Finding[]): string[] {
  return findings.map(({ id }) => id);
}

function only(findings: readonly Finding[]): Finding {
  assert.equal(findings.length, 1, JSON.stringify(findings, null, 1));
  return findings[0]!;
}

const BY_ID = '/dev/serial/by-id/usb-0403_FT232R_USB_UART_A1-if00-port0';
const BY_PATH = '/dev/serial/by-path/pci-0000:00:04.0-usb-0:1:1.0-port0';

describe('a doctor', () => {
  it('finds nothing wrong with a good line', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 1 });
    machine.uart('ttyS0');
    assert.deepEqual(await examine(BY_ID, { status: up() }), []);
    assert.deepEqual(await examine('/dev/ttyS0'), []);
    assert.deepEqual(await examine({ serial: 'A1' }), []);
  });

  it('says what is there instead of a device that is not', async () => {
    machine.plug({ name: 'ttyUSB1', usbPath: '1-1' });
    const near = only(await examine('/dev/ttyUSB0'));
    assert.equal(near.id, 'no-device');
    assert.equal(near.severity, 'error');
    assert.equal(near.why, '/dev/ttyUSB0 does not exist');
    assert.match(near.fix, /plugged in\? or is it \/dev\/ttyUSB1/);
    const far = only(await examine('/dev/serial/by-id/usb-Nothing_Like_It-if00'));
    assert.match(far.fix, /plugged in\? (or is it|there is) .*A1-if00-port0/);
    const match = only(await examine({ serial: 'B2' }));
    assert.match(match.fix, /there is: \/dev\/ttyUSB1 is 0403:6001 serial A1 at 1-1$/);
    machine.pull({ name: 'ttyUSB1', usbPath: '1-1' });
    assert.match(only(await examine('/dev/ttyUSB0')).fix, /no serial line at all/);
  });

  it('says that two match, and what would tell them apart', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-2' });
    const found = only(await examine({ serial: 'A1' }));
    assert.equal(found.id, 'two-match');
    assert.match(found.why, /ttyUSB0 .*and \/dev\/ttyUSB1/);
    assert.match(found.fix, /^add usbPath/);
  });

  it('tells a regular file, a folder and another kind of device from a tty', async () => {
    machine.file('dev/ttyUSB0', 'echoed into it\n');
    const file = only(await examine('/dev/ttyUSB0'));
    assert.equal(file.id, 'not-a-tty');
    assert.match(file.why, /regular file, not a tty: a program wrote to it/);
    assert.match(file.fix, /^rm \/dev\/ttyUSB0/);
    machine.file('dev/lab/router', '');
    assert.match(only(await examine('/dev/lab')).why, /a directory, not a tty/);
    machine.file('dev/null', '');
    machine.link('sys/dev/char/1:3/subsystem', 'sys/class/mem');
    machine.file('sys/class/mem/x', '');
    nodes.set('/dev/null', { mode: 0o666, uid: 0, gid: 0, rdev: makeRdev(1, 3) });
    assert.match(only(await examine('/dev/null')).why, /\/dev\/null is not a tty.*"mem"/);
    nodes.set('/dev/null', { mode: 0o666, uid: 0, gid: 0, rdev: makeRdev(136, 0) });
    assert.deepEqual(await examine('/dev/null'), [], 'a pty, which sysfs does not know');
  });

  it('knows a ttyS without a UART', async () => {
    machine.uart('ttyS0');
    machine.uart('ttyS3', false);
    const found = only(await examine('/dev/ttyS3'));
    assert.equal(found.id, 'no-uart');
    assert.match(found.why, /"not a tty"/);
    assert.equal(found.fix, 'the real ones are /dev/ttyS0');
  });

  it('names the group that the user is not in, and the line that adds it', async () => {
    machine.uart('ttyS0');
    nodes.set('/dev/ttyS0', { mode: 0o660, uid: 0, gid: 20 });
    account = { ...account, name: 'fairlead', uid: 990, gids: [990], listedGids: [990] };
    const found = only(await examine('/dev/ttyS0'));
    assert.equal(found.id, 'permission');
    assert.match(found.why, /user fairlead may not .*root:dialout, mode 0660/);
    assert.match(found.fix, /usermod -aG dialout fairlead/);
    account = { ...account, unit: 'fairlead.service' };
    assert.match(
      only(await examine('/dev/ttyS0')).fix,
      /SupplementaryGroups=dialout in the unit; then systemctl restart fairlead\.service/,
    );
    account = { ...account, listedGids: [990, 20] };
    const late = only(await examine('/dev/ttyS0'));
    assert.match(late.why, /it was started before/);
    assert.equal(late.fix, 'systemctl restart fairlead.service');
    account = { ...account, gids: [990, 20] };
    assert.deepEqual(await examine('/dev/ttyS0'), []);
    nodes.set('/dev/ttyS0', { mode: 0o600, uid: 0, gid: 0 });
    assert.match(only(await examine('/dev/ttyS0')).fix, /udev rule/);
  });

  it('knows what the unit lets the daemon open', async () => {
    machine.uart('ttyS0');
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 1 });
    machine.file('proc/devices', 'Character devices:\n  4 ttyS\n188 ttyUSB\n');
    account = { ...account, unit: 'fairlead.service', devicesAllowed: ['char-ttyS*', '/dev/ptmx'] };
    assert.deepEqual(await examine('/dev/ttyS0'), []);
    const found = only(await examine(BY_ID));
    assert.equal(found.id, 'unit-device-policy');
    assert.match(found.fix, /DeviceAllow=char-ttyUSB rw/);
    account = { ...account, devicesAllowed: ['/dev/ttyUSB0'] };
    assert.deepEqual(await examine(BY_ID), []);
  });

  it('finds a login prompt, by its process or its unit', async () => {
    machine.uart('ttyS0');
    machine.process(700, 'agetty', ['/dev/ttyS0', '/dev/ttyS0']);
    const found = only(await examine('/dev/ttyS0'));
    assert.equal(found.id, 'getty');
    assert.match(found.why, /process 700 \(agetty\)/);
    assert.equal(found.fix, 'systemctl disable --now serial-getty@ttyS0.service');
    machine.uart('ttyS1');
    says['list-units'] = 'serial-getty@ttyS1.service loaded active running Serial Getty on ttyS1\n';
    machine.file('proc/cmdline', 'root=/dev/sda1 console=tty0 console=ttyS1,115200n8\n');
    const asked = (await examine('/dev/ttyS1')).find(({ id }) => id === 'getty')!;
    assert.match(
      asked.fix,
      /mask --now serial-getty@ttyS1/,
      'the command line would start it anew',
    );
    assert.deepEqual(ids(await examine('/dev/ttyS0')), ['getty']);
  });

  it('finds who holds a line, but not the daemon that serves it', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 1 });
    machine.process(800, 'minicom', ['/dev/ttyUSB0']);
    const found = only(await examine(BY_ID));
    assert.deepEqual([found.id, found.severity], ['held', 'error']);
    assert.match(found.why, /process 800 \(minicom\)/);
    machine.process(500, 'node', ['/dev/ttyUSB0']);
    lock(500, 'dev/ttyUSB0');
    const shared = only(await examine(BY_ID, { status: up() }));
    assert.deepEqual([shared.id, shared.severity], ['held', 'warning']);
    assert.match(shared.why, /process 800 \(minicom\) has \/dev\/ttyUSB0 open too/);
    assert.match(
      only(await examine(BY_ID)).why,
      /process 500 \(node\)/,
      'no daemon says it is its',
    );
    assert.equal((await whoHolds(BY_ID, machine.root))!.pid, 500);
  });

  it('says how to keep ModemManager away, unless udev keeps it away', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 1 });
    machine.process(600, 'ModemManager');
    const found = only(await examine(BY_ID));
    assert.equal(found.id, 'modem-manager');
    assert.match(
      found.fix,
      /ATTRS\{idVendor\}=="0403", ATTRS\{idProduct\}=="6001", ENV\{ID_MM_DEVICE_IGNORE\}="1"/,
    );
    machine.file('run/udev/data/c188:0', 'S:serial/by-id/x\nE:ID_MM_PORT_IGNORE=1\n');
    assert.deepEqual(await examine(BY_ID), []);
    machine.file('run/udev/data/c188:0', 'E:ID_BUS=usb\n');
    machine.file('run/udev/data/+usb:1-1', 'E:ID_MM_DEVICE_IGNORE=1\n');
    assert.deepEqual(await examine(BY_ID), []);
  });

  it('knows brltty, and that it took an adapter away', async () => {
    const survey = () => surveyMachine({ account, run, root: machine.root, stat });
    assert.deepEqual(examineBrltty(await survey()), []);
    machine.process(650, 'brltty');
    assert.equal(only(examineBrltty(await survey())).severity, 'warning');
    machine.file('sys/bus/usb/devices/1-1/idVendor', '1a86\n');
    machine.file('sys/bus/usb/drivers/usbfs/1-1:1.0', '');
    const taken = only(examineBrltty(await survey()));
    assert.equal(taken.severity, 'error');
    assert.match(taken.fix, /mask --now brltty/);
    assert.match(only(await examine('/dev/ttyUSB0')).fix, /see brltty/);
  });

  it("finds the kernel's own console on a line", async () => {
    machine.uart('ttyS0');
    machine.uart('ttyS1');
    machine.file('proc/consoles', 'ttyS0                -W- (EC  p a)    4:64\n');
    machine.file('proc/cmdline', 'console=ttyS0,115200 quiet\n');
    const found = only(await examine('/dev/ttyS0'));
    assert.deepEqual([found.id, found.severity], ['kernel-console', 'warning']);
    assert.match(found.fix, /take console=ttyS0 from/);
    assert.deepEqual(await examine('/dev/ttyS1'), []);
    machine.file('proc/cmdline', 'quiet\n');
    assert.match(only(await examine('/dev/ttyS0')).fix, /SPCR/);
  });

  it('warns of two adapters with one identity, unless the port goes by place', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 1 });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-2', latencyTimer: 1 });
    machine.link(BY_ID.slice(1), 'dev/ttyUSB1');
    const found = only(await examine(BY_ID));
    assert.deepEqual([found.id, found.severity], ['shared-identity', 'error']);
    assert.match(found.why, /ttyUSB1 and \/dev\/ttyUSB0 .*whichever came last/);
    assert.match(found.fix, /by-path\/.*-usb-0:2:1\.0-port0.*usbPath: "1-2"/);
    assert.deepEqual(await examine(BY_PATH), []);
    assert.deepEqual(await examine({ usbPath: '1-1' }), []);
  });

  it('offers a better name than ttyUSB0, and by-path where there is no serial number', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 1 });
    const found = only(await examine('/dev/ttyUSB0'));
    assert.deepEqual([found.id, found.severity], ['unstable-path', 'warning']);
    assert.equal(found.fix, `configure it as device: ${BY_ID}`);
    assert.deepEqual(await examine('/dev/ttyUSB0', { isConfigured: false }), []);
    machine.plug({ name: 'ttyUSB5', usbPath: '1-5', serial: null, latencyTimer: 1 });
    const noNumber = '/dev/serial/by-id/usb-0403_FT232R_USB_UART-if00-port0';
    const place = only(await examine(noNumber));
    assert.deepEqual([place.id, place.severity], ['no-serial-number', 'note']);
    assert.match(place.fix, /by-path\/.*usb-0:5:1\.0-port0\)/);
    machine.tidy();
    assert.match(only(await examine('/dev/ttyUSB0')).fix, /match: \{.*usbPath: "1-1"\}/);
  });

  it('tells what the daemon knows: wrong speed, errors, lost bytes, why it is down', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 1 });
    const errors = { breaks: 0, parity: 3, framing: 9, overrun: 0 };
    const wrong = only(await examine(BY_ID, { status: up({ errors, looksLike: '9600 8N1' }) }));
    assert.deepEqual([wrong.id, wrong.severity], ['wrong-speed', 'error']);
    assert.match(wrong.fix, /fairlead line db1 9600 8N1/);
    const noisy = only(await examine(BY_ID, { status: up({ errors }) }));
    assert.match(noisy.why, /9 framing and 3 parity errors/);
    const lost = up({ errors: { breaks: 0, parity: 0, framing: 0, overrun: 70 } });
    assert.match(only(examineStatus(lost)).why, /at least 70 bytes/);
    const down = up({ state: 'down', why: 'no route to host' });
    assert.match(only(examineStatus(down)).why, /down: no route to host/);
    const explained = await examine('/dev/ttyUSB4', { status: down });
    assert.deepEqual(ids(explained), ['no-device'], 'the cause is known better');
  });

  it('notes the latency timer of an FTDI adapter that no port holds down', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', latencyTimer: 16 });
    const found = only(await examine(BY_ID));
    assert.deepEqual([found.id, found.severity], ['latency-timer', 'note']);
    assert.match(found.why, /16 ms/);
  });
});

describe('what a port says of a line it cannot open', () => {
  it('knows a UART that is not there, a login prompt and a file in place of a device', () => {
    machine.uart('ttyS0');
    machine.uart('ttyS3', false);
    assert.match(
      explainNoHardware('/dev/ttyS3', machine.root),
      /^\/dev\/ttyS3: not a tty.*discover/,
    );
    assert.match(explainNoHardware('/dev/ttyS0', machine.root), /no hardware answers/);
    const getty = freeingAdvice('/dev/ttyS0', { pid: 700, name: 'agetty' });
    assert.match(getty, /systemctl mask --now serial-getty@ttyS0\.service/);
    assert.match(freeingAdvice('/dev/ttyS0', { pid: 7, name: 'ModemManager' }), /udev rule/);
    assert.match(freeingAdvice('/dev/ttyS0', { pid: 7, name: 'minicom' }), /one program at a time/);
    const file = `/dev/shm/fairlead-no-tty-${process.pid}`;
    writeFileSync(file, '');
    assert.match(explainPath(file)!, /regular file, not a tty: a program wrote to it.*remove it/);
    rmSync(file);
  });

  it('finds who has it by a UUCP lock file', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    assert.equal(await whoHolds(BY_ID, machine.root), null);
    machine.file('var/lock/LCK..ttyUSB0', `${String(process.pid).padStart(10)}\n`);
    machine.process(process.pid, 'cu');
    assert.deepEqual(await whoHolds(BY_ID, machine.root), { pid: process.pid, name: 'cu' });
    assert.match(only(await examine(BY_ID)).why, /Fairlead itself/);
  });
});

describe('the account that opens the lines', () => {
  const own = { uid: 1000, gids: [1000] };
  const UNIT = [
    'LoadState=loaded',
    'User=fairlead',
    'SupplementaryGroups=dialout',
    'DevicePolicy=closed',
    'DeviceAllow=char-ttyS rw',
    'DeviceAllow=/dev/ptmx rw',
  ].join('\n');

  it("is the unit's user, with the groups its process has", async () => {
    says['show'] = `MainPID=0\n${UNIT}\n`;
    const asked = { run, own, daemonUid: null, root: machine.root };
    const stopped = await accountOfLines(asked);
    assert.deepEqual(stopped, {
      name: 'fairlead',
      uid: 990,
      gids: [990, 20],
      listedGids: [990, 20],
      unit: 'fairlead.service',
      devicesAllowed: ['char-ttyS', '/dev/ptmx'],
    });
    says['show'] = `MainPID=77\n${UNIT}\n`;
    machine.file('proc/77/status', 'Name:\tnode\nGid:\t990\t990\t990\t990\nGroups:\t5 \n');
    assert.deepEqual((await accountOfLines(asked)).gids, [990, 5]);
  });

  it("is the daemon's when another one runs, and the caller's own when none does", async () => {
    machine.file('etc/passwd', 'alice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n');
    machine.file('etc/group', 'dialout:x:20:bob\n');
    says['show'] = 'LoadState=not-found\nMainPID=0\n';
    const bob = await accountOfLines({ run, own, daemonUid: 1001, root: machine.root });
    assert.deepEqual([bob.name, bob.gids, bob.unit], ['bob', [1001, 20], null]);
    const alice = await accountOfLines({ run, own, daemonUid: null, root: machine.root });
    assert.deepEqual([alice.name, alice.gids, alice.devicesAllowed], ['alice', [1000], null]);
  });
});

describe('the list of serial lines', () => {
  it('has each line with its most stable path, and no ttyS without a UART', () => {
    machine.uart('ttyS0');
    machine.uart('ttyS4', false);
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'A1' });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-2', serial: null });
    machine.plug({ name: 'ttyUSB2', usbPath: '1-3', serial: 'C3' });
    machine.plug({ name: 'ttyUSB3', usbPath: '1-4', serial: 'C3' });
    machine.plug({ name: 'ttyACM0', usbPath: '1-5', serial: 'D4', port: null, driver: 'cdc_acm' });
    const found = listSerialDevices(machine.root);
    assert.deepEqual(
      found.map(({ name, driver, path }) => `${name} ${driver} ${path.replace(/^\/dev\//, '')}`),
      [
        'ttyACM0 cdc_acm serial/by-id/usb-0403_FT232R_USB_UART_D4-if00',
        'ttyS0 serial8250 ttyS0',
        'ttyUSB0 ftdi_sio serial/by-id/usb-0403_FT232R_USB_UART_A1-if00-port0',
        'ttyUSB1 ftdi_sio serial/by-path/pci-0000:00:04.0-usb-0:2:1.0-port0',
        'ttyUSB2 ftdi_sio serial/by-path/pci-0000:00:04.0-usb-0:3:1.0-port0',
        'ttyUSB3 ftdi_sio serial/by-path/pci-0000:00:04.0-usb-0:4:1.0-port0',
      ],
    );
    assert.deepEqual(
      found.filter(({ sharesIdentity }) => sharesIdentity).map(({ name }) => name),
      ['ttyUSB2', 'ttyUSB3'],
    );
    machine.tidy();
    assert.equal(listSerialDevices(machine.root).at(-1)!.path, '/dev/ttyUSB3');
  });

  it('is empty where there is no sysfs', () => {
    assert.deepEqual(listSerialDevices(join(machine.root, 'nowhere')), []);
  });
});

function up(more: Partial<PortStatus> = {}): PortStatus {
  return portStatus('db1', {
    errors: { breaks: 0, parity: 0, framing: 0, overrun: 0 },
    looksLike: null,
    ...more,
  });
}

function lock(pid: number, path: string): void {
  const key = lockKey(statSync(join(machine.root, path)));
  machine.file('proc/locks', `1: FLOCK  ADVISORY  WRITE ${pid} ${key} 0 EOF\n`);
}
