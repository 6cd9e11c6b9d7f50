import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { DaemonView } from '../../src/app/daemon-view.ts';
import { localLines } from '../../src/app/local-lines.ts';
import type { LocalLinesContext } from '../../src/app/local-lines.ts';
import {
  demoRack,
  foundPorts,
  standalonePort,
  standaloneSettings,
} from '../../src/app/standalone.ts';
import { examineSystem } from '../../src/app/system-checks.ts';
import type { FileSystem, SystemFacts } from '../../src/app/system-checks.ts';
import { Fault } from '../../src/core/fault.ts';
import type { PortStatus } from '../../src/core/port-status.ts';
import type { PortSettings } from '../../src/core/settings.ts';
import type { LineActions } from '../../src/verbs/verb.ts';
import { hasCode } from '../contracts/backend.ts';
import { device, silentJournal } from '../support/backend.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { makePtyDevice, requireLibc } from '../support/pty.ts';
import { portStatus } from '../verbs/fakes.ts';

let machine: FakeMachine;
let ports: PortSettings[] | null;
let statuses: PortStatus[] | null;
let said: Record<string, string>;
let asked: string[];
let reported: string[];

beforeEach(() => {
  machine = new FakeMachine();
  [ports, statuses, said, asked, reported] = [null, null, {}, [], []];
});
afterEach(() => machine.remove());

const BY_ID = '/dev/serial/by-id/usb-0403_FT232R_USB_UART_A1-if00-port0';
const NEVER = new AbortController().signal;
const CLOSED = { listenMs: null, line: null };

function lines(more: Partial<LocalLinesContext> = {}): LineActions {
  const view = (): DaemonView => ({
    uid: 0,
    ports: statuses!,
    lastLine: async (port) => said[port] ?? '',
    run: async (...argv) => {
      asked.push(argv.join(' '));
      return '';
    },
  });
  return localLines({
    settings: async () =>
      ports === null
        ? null
        : standaloneSettings({ ports, users: [], data: join(machine.root, 'data') }),
    data: async () => null,
    daemon: async () => (statuses === null ? null : view()),
    run: async () => ({ status: null, output: '' }),
    journal: silentJournal,
    root: machine.root,
    ...more,
  });
}

function discover(actions: LineActions, listenMs: number | null = null) {
  return actions.discover(
    { listenMs, line: null },
    NEVER,
    async (text) => void reported.push(text),
  );
}

function status(name: string, more: Partial<PortStatus> = {}): PortStatus {
  const errors = { breaks: 0, parity: 0, framing: 0, overrun: 0 };
  return portStatus(name, { errors, looksLike: null, ...more });
}

describe('discovering lines', () => {
  it('knows which port uses which line, by path, by link and by match', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'A1' });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-2', serial: 'B2' });
    machine.plug({ name: 'ttyUSB2', usbPath: '1-3', serial: 'C3' });
    machine.uart('ttyS0');
    machine.file('proc/consoles', 'ttyS0 -W- (EC p a) 4:64\n');
    machine.process(42, 'minicom', ['/dev/ttyUSB2']);
    ports = [
      standalonePort('db1', 1, device(BY_ID)),
      standalonePort('db2', 2, { ...device(''), path: null, match: { serial: 'B2' } }),
      standalonePort('db3', 3, device('/dev/ttyS0')),
      ...demoRack(1),
    ];
    const found = await discover(lines());
    assert.deepEqual(
      found.map(({ device, port, heldBy, isConsole }) => [device, port, heldBy?.name, isConsole]),
      [
        ['/dev/ttyS0', 'db3', undefined, true],
        ['/dev/ttyUSB0', 'db1', undefined, false],
        ['/dev/ttyUSB1', 'db2', undefined, false],
        ['/dev/ttyUSB2', null, 'minicom', false],
      ],
    );
    assert.deepEqual(found[1]!.usb, {
      vendor: '0403',
      product: '6001',
      serial: 'A1',
      maker: null,
      model: 'FT232R USB UART',
      interface: 0,
      usbPath: '1-1',
    });
  });

  it('shows what a running daemon heard last, and asks it for its ports without a file', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    statuses = [status('ttyUSB0', { target: BY_ID })];
    said = { ttyUSB0: 'login:' };
    const [line] = await discover(lines());
    assert.equal(line!.port, 'ttyUSB0');
    assert.deepEqual(line!.said, { bytes: null, text: 'login:', line: '115200 8N1', why: null });
  });

  it('opens only those that are free, and warns of DTR first', async () => {
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1', serial: 'A1' });
    machine.plug({ name: 'ttyUSB1', usbPath: '1-2', serial: 'B2' });
    machine.plug({ name: 'ttyUSB2', usbPath: '1-3', serial: 'C3' });
    machine.process(42, 'minicom', ['/dev/ttyUSB1']);
    ports = [standalonePort('db1', 1, device(BY_ID))];
    statuses = [status('db1')];
    const found = await discover(lines(), 10);
    assert.equal(reported.length, 1);
    assert.match(reported[0]!, /to \/dev\/ttyUSB2: opening raises DTR and RTS/);
    assert.deepEqual(
      found.map(({ said }) => said?.why ?? null),
      [null, null, found[2]!.said!.why],
    );
    assert.match(found[2]!.said!.why!, /C3-if00-port0 does not exist/, 'it was tried');
  });

  it('goes on without a configuration that is refused, and without a daemon that denies', async () => {
    machine.uart('ttyS0');
    const actions = lines({
      settings: () => Promise.reject(new Fault('CONFIG_INVALID', 'rack.yaml:3:1: no')),
      daemon: () => Promise.reject(new Fault('DENIED', 'no permission for the socket')),
    });
    assert.equal((await discover(actions)).length, 1);
    assert.match(reported.join('\n'), /rack\.yaml:3:1[^]*no permission/);
    await assert.rejects(
      lines({ settings: () => Promise.reject(new TypeError('ours')) }).discover(CLOSED, NEVER, () =>
        Promise.resolve(),
      ),
      /ours/,
    );
  });
});

describe('examining lines', () => {
  it('looks at the ports of the configuration, else at every line there is', async () => {
    machine.uart('ttyS0');
    machine.file('proc/consoles', 'ttyS0 -W- (EC p a) 4:64\n');
    const subjects = async (): Promise<string[]> =>
      (await lines().doctor(null)).map(({ id, subject }) => `${id} ${subject}`);
    assert.ok((await subjects()).includes('kernel-console /dev/ttyS0'));
    ports = [standalonePort('db1', 1, device('/dev/ttyUSB0')), ...demoRack(1)];
    const configured = await subjects();
    assert.ok(configured.includes('no-device db1'));
    assert.ok(!configured.some((each) => each.startsWith('kernel-console')));
    statuses = [status('db1'), status('db2', { backend: 'sim', state: 'down', why: 'it burnt' })];
    assert.ok((await subjects()).includes('port-down db2'));
  });

  it('takes a port, a path or the bare name of a tty', async () => {
    machine.uart('ttyS0');
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    machine.file('proc/consoles', 'ttyS0 -W- (EC p a) 4:64\n');
    ports = [
      standalonePort('db1', 1, device('/dev/ttyS0')),
      standalonePort('db2', 2, device('/dev/ttyUSB9')),
      standalonePort('vm', 3, { kind: 'sim', machine: 'linux', seed: 1, speed: 1 }),
    ];
    const found = async (about: string): Promise<string[]> =>
      (await lines().doctor(about))
        .filter(({ subject }) => subject !== 'machine' && subject !== 'spool')
        .map(({ id, subject }) => `${id} ${subject}`);
    assert.deepEqual(await found('db1'), ['kernel-console db1']);
    assert.deepEqual(await found('ttyS0'), ['kernel-console db1']);
    assert.deepEqual(await found('/dev/ttyUSB9'), ['no-device db2']);
    assert.deepEqual(await found('/dev/ttyUSB7'), ['no-device /dev/ttyUSB7']);
    await assert.rejects(lines().doctor('dv1'), (error: Error) => {
      hasCode('PORT_UNKNOWN')(error);
      assert.match(error.message, /did you mean "db1"/);
      return true;
    });
    await assert.rejects(lines().doctor('vm'), hasCode('NOT_FOUND'));
    statuses = [status('vm', { backend: 'sim', looksLike: '9600 8N1' })];
    assert.deepEqual(await found('vm'), ['wrong-speed vm']);
  });

  it('tests a plug on a line it takes from the daemon, and gives it back', async () => {
    const libc = await requireLibc();
    const pty = makePtyDevice(libc);
    const plug = setInterval(() => void pty.send(pty.receive()), 1);
    try {
      ports = [standalonePort('db1', 1, device(pty.path))];
      statuses = [status('db1')];
      const actions = lines({ root: '/' });
      const options = { about: 'db1', line: null, isConfirmed: false };
      await assert.rejects(actions.loopback(options), hasCode('CONFIRM'));
      assert.deepEqual(asked, []);
      const result = await actions.loopback({ ...options, isConfirmed: true });
      assert.equal(result.right, result.sentBytes);
      assert.deepEqual(asked, ['down db1', 'up db1']);
      ports = [standalonePort('db1', 1, device('/dev/ttyUSB-none'))];
      const failing = actions.loopback({ ...options, isConfirmed: true });
      await assert.rejects(failing, hasCode('PORT_OPEN_FAILED'));
      assert.deepEqual(asked.slice(2), ['down db1', 'up db1'], 'also when the test fails');
    } finally {
      clearInterval(plug);
      pty.close();
    }
  });
});

describe('the ports of a machine without a configuration', () => {
  it('are its serial lines, by their stable paths', () => {
    machine.uart('ttyS0');
    machine.uart('ttyS1', false);
    machine.plug({ name: 'ttyUSB0', usbPath: '1-1' });
    assert.deepEqual(
      foundPorts(machine.root).map(({ name, n, backend }) => [
        name,
        n,
        backend.kind === 'device' && backend.path,
      ]),
      [
        ['ttyS0', 1, '/dev/ttyS0'],
        ['ttyUSB0', 2, BY_ID],
      ],
    );
  });
});

describe('examining the rest of the machine', () => {
  const TMPFS = 0x01021994;
  const GOOD: FileSystem = {
    type: TMPFS,
    bsize: 4_096,
    blocks: 1_000_000,
    bavail: 500_000,
    files: 1_000,
    ffree: 900,
  };

  function examine(more: Partial<SystemFacts> = {}): Promise<string[]> {
    return examineSystem({
      hasLibc: true,
      data: machine.root,
      account: { name: 'fairlead', uid: process.getuid!() },
      ownerName: (uid) => `user ${uid}`,
      statfs: () => GOOD,
      ...more,
    }).then((findings) => findings.map(({ id, severity }) => `${severity} ${id}`));
  }

  it('finds nothing wrong with a good one', async () => {
    assert.deepEqual(await examine(), []);
    assert.deepEqual(await examine({ data: null }), []);
  });

  it('finds koffi missing, a spool on a disk, a tight tmpfs, a full disk, a wrong owner', async () => {
    assert.deepEqual(await examine({ hasLibc: false }), ['warning koffi-missing']);
    const ext4 = { ...GOOD, type: 0xef53 };
    assert.deepEqual(await examine({ statfs: () => ext4 }), ['warning spool-on-disk']);
    const tight = { ...GOOD, bavail: 10, blocks: 20 };
    const memory = (path: string) => (path === machine.root ? GOOD : tight);
    assert.deepEqual(await examine({ statfs: memory }), ['warning spool-small']);
    const disk = (bavail: number, ffree: number) => (path: string) =>
      path === machine.root ? { ...GOOD, bavail, ffree } : GOOD;
    assert.deepEqual(await examine({ statfs: disk(90_000, 5) }), ['warning disk-full']);
    assert.deepEqual(await examine({ statfs: disk(40_000, 5) }), ['error disk-full']);
    assert.deepEqual(await examine({ statfs: disk(500_000, 0) }), ['error disk-full']);
    const another = { name: 'fairlead', uid: process.getuid!() + 1 };
    assert.deepEqual(await examine({ account: another }), ['error data-owner']);
    assert.deepEqual(await examine({ account: { name: 'root', uid: 0 } }), []);
  });

  it('finds the spool that a daemon put beside its data', async () => {
    const data = join(machine.root, 'data');
    const id = '01234567-89ab-4def-8123-456789abcdef';
    mkdirSync(data);
    writeFileSync(join(data, 'data-id'), id);
    writeFileSync(join(data, `spool-${id}.ring`), '');
    const statfs = (path: string) => (path === data ? { ...GOOD, type: 0xef53 } : GOOD);
    assert.deepEqual(await examine({ data, statfs }), ['warning spool-on-disk']);
    rmSync(join(data, `spool-${id}.ring`));
    assert.deepEqual(await examine({ data, statfs }), []);
  });
});
