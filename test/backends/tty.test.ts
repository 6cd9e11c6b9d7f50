import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Backend } from '../../src/core/backend.ts';
import type { Libc } from '../../src/core/libc.ts';
import { describeDenied } from '../../src/backends/tty/explain.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import type { BackendFixture } from '../contracts/backend.ts';
import {
  backendServices,
  createOpener,
  device as deviceAt,
  portSettings,
  RecordingSink,
} from '../support/backend.ts';
import { makePtyDevice, requireLibc, until } from '../support/pty.ts';

const ALL = ['line', 'signals', 'break'] as const;

async function makeFixture(kind: 'device' | 'pty', hasLibc: boolean): Promise<BackendFixture> {
  const libc = await requireLibc();
  const pty = makePtyDevice(libc);
  const backend =
    kind === 'device' ? deviceAt(pty.path) : ({ kind, path: pty.path, command: null } as const);
  return {
    opener: createOpener(portSettings(backend), backendServices(hasLibc ? libc : null)),
    send: pty.send,
    receive: pty.receive,
    leave: pty.close,
    dispose: pty.close,
  };
}

describeBackendContract('a device', { unsupported: ALL }, () => makeFixture('device', true));
describeBackendContract('a device without koffi', { unsupported: ALL }, () =>
  makeFixture('device', false),
);
describeBackendContract('a pty', { unsupported: ALL }, () => makeFixture('pty', true));

describe('opening a tty', () => {
  let libc: Libc;
  let directory: string;

  before(async () => {
    libc = await requireLibc();
    directory = mkdtempSync(path.join(tmpdir(), 'fairlead-tty-'));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function open(devicePath: string): Promise<Backend> {
    const settings = portSettings(deviceAt(devicePath));
    return createOpener(settings, backendServices(libc)).open(new RecordingSink());
  }

  async function openFailure(devicePath: string): Promise<string> {
    const error: unknown = await open(devicePath).then(
      () => assert.fail('it opened'),
      (reason: unknown) => reason,
    );
    hasCode('PORT_OPEN_FAILED')(error);
    return (error as Error).message;
  }

  it('asks whether the adapter is plugged in when nothing is there', async () => {
    const message = await openFailure('/dev/ttyUSB-nothing');
    assert.equal(message, '/dev/ttyUSB-nothing does not exist; is the adapter plugged in?');
  });

  it('says what else it is when it is no tty', async () => {
    const file = path.join(directory, 'file');
    writeFileSync(file, '');
    assert.match(await openFailure(file), /is a regular file, not a tty; name a device/);
    assert.match(await openFailure(directory), /is a directory, not a tty/);
    assert.match(await openFailure('/dev/null'), /\/dev\/null is not a tty; name a device/);
  });

  it('names the process that holds the device, and leaves it alone', async () => {
    for (const withLibc of [libc, null]) {
      const device = makePtyDevice(libc);
      const services = backendServices(withLibc);
      const settings = portSettings(deviceAt(device.path));
      const first = await createOpener(settings, services).open(new RecordingSink());
      const second = createOpener(settings, services);
      for (let attempt = 0; attempt < 2; attempt++) {
        await assert.rejects(second.open(new RecordingSink()), (error: Error) => {
          hasCode('PORT_OPEN_FAILED')(error);
          assert.match(
            error.message,
            new RegExp(`held by Fairlead itself \\(process ${process.pid}\\)`),
          );
          return true;
        });
      }
      await first.close();
      await (await second.open(new RecordingSink())).close();
      device.close();
    }
  });

  it('names the right group for a device the user may not open', () => {
    const facts = { user: 'fairlead', mode: 0o20660, owner: 'root', group: 'dialout' };
    assert.equal(
      describeDenied('/dev/ttyS0', facts),
      '/dev/ttyS0: permission denied for user fairlead (it belongs to root:dialout, mode 0660); ' +
        'add the user to group dialout (usermod -aG dialout fairlead) and start Fairlead anew',
    );
    assert.match(
      describeDenied('/dev/ttyS0', { ...facts, mode: 0o20600 }),
      /mode 0600\); give a group read and write access by a udev rule/,
    );
  });

  it('keeps what a pty held before it was opened', async () => {
    const device = makePtyDevice(libc);
    await device.send(Buffer.from('printed before anybody looked\r\n'));
    const sink = new RecordingSink();
    const settings = portSettings({ kind: 'pty', path: device.path, command: null });
    const backend = await createOpener(settings, backendServices(libc)).open(sink);
    await until(() => sink.receivedBytes >= 31, 'the earlier bytes');
    assert.equal(sink.text, 'printed before anybody looked\r\n');
    await backend.close();
    device.close();
  });

  it('names the device behind a stable link', async () => {
    const device = makePtyDevice(libc);
    const link = path.join(directory, 'usb-Lab_Adapter-if00-port0');
    symlinkSync(device.path, link);
    const backend = await open(link);
    assert.equal(backend.description, `${device.path} (${link})`);
    assert.equal(backend.isAlive(), true);
    rmSync(link);
    assert.equal(backend.isAlive(), false, 'its name is gone');
    await backend.close();
    device.close();
  });

  it('opens 1,024 lines at once', async () => {
    const devices = Array.from({ length: 1_024 }, () => makePtyDevice(libc));
    const backends = await Promise.all(devices.map((device) => open(device.path)));
    assert.equal(backends.length, 1_024);
    await Promise.all(backends.map((backend) => backend.close()));
    for (const device of devices) device.close();
  });

  it('closes quickly though the device stopped our output by XOFF', async () => {
    const device = makePtyDevice(libc);
    const backend = await open(device.path);
    execFileSync('stty', ['-F', device.path, 'ixon']);
    await device.send(Buffer.from('\x13'));
    await until(() => backend.write(Buffer.alloc(4_096)) === 0, 'the output to stop');
    const startedMs = performance.now();
    await backend.close();
    assert.ok(performance.now() - startedMs < 4_000);
    device.close();
  });

  describe('watching for its return', () => {
    it('sees the device come back, also when its directory went with it', async () => {
      const links = path.join(directory, 'serial', 'by-id');
      const device = makePtyDevice(libc);
      const link = path.join(links, 'usb-Lab');
      const settings = portSettings(deviceAt(link));
      let returns = 0;
      const stop = createOpener(settings, backendServices(libc)).watchReturn!(() => {
        returns++;
      });
      mkdirSync(links, { recursive: true });
      symlinkSync(device.path, link);
      await until(() => returns > 0, 'the first return');
      rmSync(path.join(directory, 'serial'), { recursive: true });
      const before = returns;
      mkdirSync(links, { recursive: true });
      symlinkSync(device.path, link);
      await until(() => returns > before, 'the second return');
      stop();
      const after = returns;
      rmSync(link);
      symlinkSync(device.path, link);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal(returns, after, 'silent once stopped');
      device.close();
    });
  });
});
