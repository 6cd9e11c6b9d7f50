import assert from 'node:assert/strict';
import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Finding, LoopbackResult } from '../../src/core/diagnosis.ts';
import type { PortStatus } from '../../src/core/port-status.ts';
import { makePtyDevice, requireLibc, type PtyDevice } from '../support/pty.ts';
import { Daemon, scratchDirectory } from './daemon.ts';

describe('doctor and discover beside a running daemon', () => {
  const scratch = scratchDirectory();
  const line = join(scratch.path, 'line');
  let pty: PtyDevice;
  let plug: NodeJS.Timeout;
  let daemon: Daemon;

  before(async () => {
    pty = makePtyDevice(await requireLibc());
    plug = setInterval(() => void pty.send(pty.receive()), 1);
    symlinkSync(pty.path, line);
    daemon = await Daemon.start(
      scratch.path,
      `data: ${join(scratch.path, 'data')}
listen: {}
ports:
  loop: { device: ${line} }
  gone: { device: /dev/ttyUSB-gone }
`,
    );
    await daemon.said('port up', ({ port }) => port === 'loop');
  });
  after(async () => {
    await daemon.stop();
    clearInterval(plug);
    pty.close();
    rmSync(line, { force: true });
    scratch.dispose();
  });

  it('explains the port that is down, and finds nothing wrong with the other', async () => {
    const found = await daemon.cli(['doctor', '--json']);
    assert.equal(found.code, 1, found.stderr);
    const findings = JSON.parse(found.stdout.toString()) as Finding[];
    const ofPorts = findings.filter(({ subject }) => ['loop', 'gone'].includes(subject));
    assert.deepEqual(
      ofPorts.map(({ id, severity, subject }) => `${severity} ${id} ${subject}`),
      ['error no-device gone'],
    );
    assert.equal((await daemon.cli(['doctor', 'lop'])).code, 3);
  });

  it('tests a plug on a port that is up, which goes on afterwards', async () => {
    const refused = await daemon.cli(['doctor', 'loop', '--loopback']);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /random bytes out of loop.* --yes/);
    const tested = await daemon.cli(['doctor', 'loop', '--loopback', '--yes', '--json']);
    assert.equal(tested.code, 0, tested.stderr);
    const result = JSON.parse(tested.stdout.toString()) as LoopbackResult;
    assert.deepEqual([result.sentBytes, result.right], [4_096, 4_096]);
    const before = daemon.journal.filter(({ msg }) => msg === 'port up').length;
    assert.equal(before, 2, 'it let go of the line and took it again');
    const ports = await daemon.cli(['ports', 'loop', '--json']);
    const [status] = JSON.parse(ports.stdout.toString()) as PortStatus[];
    assert.deepEqual(
      [status!.state, status!.offset],
      ['up', 0],
      'none of the pattern is in the log',
    );
  });

  it('lists the lines of this machine', async () => {
    const found = await daemon.cli(['discover', '--json']);
    assert.equal(found.code, 0, found.stderr);
    for (const { device, port } of JSON.parse(found.stdout.toString()) as Record<
      string,
      string
    >[]) {
      assert.match(device!, /^\/dev\//);
      assert.equal(port, null, 'no port of this test is a device of the machine');
    }
  });
});
