import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { ask } from '../../src/backends/exec/ask.ts';
import { openerByCommand } from '../../src/backends/tty/pty.ts';
import type { Backend, BackendOpener, BackendSink } from '../../src/core/backend.ts';
import type { Libc } from '../../src/core/libc.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import { backendServices, createOpener, portSettings, RecordingSink } from '../support/backend.ts';
import { runLine } from '../support/port-line.ts';
import { makePtyDevice, requireLibc, until } from '../support/pty.ts';

let libc: Libc;
let directory: string;
before(async () => {
  libc = await requireLibc();
  directory = mkdtempSync(path.join(tmpdir(), 'fairlead-pty-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

function openerOf(...command: string[]): BackendOpener {
  const settings = portSettings({ kind: 'pty', path: null, command });
  return createOpener(settings, { ...backendServices(libc), environment: process.env });
}

const contract = { unsupported: ['line', 'signals', 'break'] as const };
describeBackendContract('a pty by command', contract, () => {
  const device = makePtyDevice(libc);
  const opener = openerOf('echo', device.path);
  const { send, receive, close } = device;
  return Promise.resolve({ opener, send, receive, leave: close, dispose: close });
});

describe('a pty whose path a command prints', () => {
  let pathFile: string;
  let sink: RecordingSink;
  let backend: Backend | null;
  beforeEach(() => {
    pathFile = path.join(directory, 'path');
    sink = new RecordingSink();
    backend = null;
  });
  afterEach(async () => {
    await backend?.close();
    rmSync(pathFile, { force: true });
  });

  const xenstore = ['sh', '-c', 'cat "$0" || { echo "no such domain" >&2; exit 1; }'];

  /** `FOLLOW_MS` shortened, with the real opening of ttys. */
  function following(): BackendOpener {
    const services = { ...backendServices(libc), environment: process.env };
    const openAt = (at: string, told: BackendSink): Promise<Backend> => {
      const settings = portSettings({ kind: 'pty', path: at, command: null });
      return createOpener(settings, services).open(told);
    };
    return openerByCommand([...xenstore, pathFile], openAt, services, 20);
  }

  async function failure(opener: BackendOpener): Promise<string> {
    const error: unknown = await opener.open(sink).then(
      () => assert.fail('it opened'),
      (reason: unknown) => reason,
    );
    hasCode('PORT_OPEN_FAILED')(error);
    return (error as Error).message;
  }

  it('takes the first line, and says where it has the path from', async () => {
    const device = makePtyDevice(libc);
    const opener = openerOf('printf', '%s\nmore\n', device.path);
    assert.equal(opener.target, 'printf %s\nmore\n ' + device.path);
    backend = await opener.open(sink);
    assert.equal(backend.description, `${device.path} (from: ${opener.target})`);
    device.close();
  });

  it('says why there is no path', async () => {
    assert.match(
      await failure(openerOf(...xenstore, '/nowhere')),
      /^pty sh -c .*: the command failed: it ended with status 1; it said "no such domain"$/,
    );
    assert.match(await failure(openerOf('true')), /printed no path; is the machine running\?$/);
    assert.match(
      await failure(openerOf('echo', 'pts/4 \x1b]0;x\x07')),
      /printed "pts\/4", which is no absolute path$/,
    );
    assert.match(await failure(openerOf('yes')), /it printed more than 4096 bytes$/);
    assert.match(
      await failure(openerOf('fairlead-no-such-command')),
      /fairlead-no-such-command was not found; is it installed\?$/,
    );
    assert.match(
      await failure(openerOf('echo', '/dev/pts/99999')),
      /^\/dev\/pts\/99999 does not exist; .* \(the path is from: echo \/dev\/pts\/99999\)$/,
    );
  });

  it('waits no longer than it may, and leaves no process behind', async () => {
    const pidFile = path.join(directory, 'asked');
    const answer = await ask(
      ['sh', '-c', `sleep 600 & echo $$ $! >'${pidFile}'; wait`],
      process.env,
      300,
    );
    assert.deepEqual(answer, { problem: 'it did not end within 0.3 s' });
    const pids = readFileSync(pidFile, 'utf8').trim().split(' ');
    await until(() => pids.every((pid) => !isRunning(pid)), 'both processes to end');
  });

  it('is given up when the command names another', async () => {
    const [first, second] = [makePtyDevice(libc), makePtyDevice(libc)];
    writeFileSync(pathFile, first.path);
    const running = runLine(following());
    await until(() => running.ups === 1, 'the first');
    await first.send(Buffer.from('first '));
    writeFileSync(pathFile, second.path);
    await until(() => running.ups === 2, 'the second');
    await second.send(Buffer.from('second'));
    await until(() => Buffer.concat(running.received).includes('second'), 'its words');
    assert.equal(Buffer.concat(running.received).toString(), 'first second');
    assert.match(
      running.downs[0]!,
      new RegExp(`names ${second.path} now, and no longer ${first.path}$`),
    );
    await running.line.close();
    first.close();
    second.close();
  });

  it('stays while the command fails or says nothing', async () => {
    const device = makePtyDevice(libc);
    const asked = path.join(directory, 'asked-again');
    const script = 'echo x >>"$1"; cat "$0"';
    writeFileSync(pathFile, device.path);
    const services = { ...backendServices(libc), environment: process.env };
    const settings = portSettings({ kind: 'pty', path: device.path, command: null });
    const openAt = (_at: string, told: BackendSink): Promise<Backend> =>
      createOpener(settings, services).open(told);
    const command = ['sh', '-c', script, pathFile, asked];
    backend = await openerByCommand(command, openAt, services, 5).open(sink);
    rmSync(pathFile);
    const askedBefore = readFileSync(asked).length;
    await until(() => readFileSync(asked).length > askedBefore + 6, 'to be asked some more');
    writeFileSync(pathFile, '');
    const askedThen = readFileSync(asked).length;
    await until(() => readFileSync(asked).length > askedThen + 6, 'to be asked some more');
    assert.equal(sink.faults.length, 0);
    assert.equal(backend.isAlive(), true);
    await backend.close();
    const closedAt = readFileSync(asked).length;
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(readFileSync(asked).length <= closedAt + 2, 'not asked any more when closed');
    device.close();
  });

  it('is asked for anew when the pty closes, and the next guest may have the same number', async () => {
    const first = makePtyDevice(libc);
    writeFileSync(pathFile, first.path);
    const running = runLine(following());
    await until(() => running.ups === 1, 'the first life');
    rmSync(pathFile);
    first.close();
    await until(() => running.line.state === 'down', 'the end of the first life');
    assert.match(running.downs[0]!, /the other end of the pty closed/);
    await until(() => running.line.why?.includes('no such domain') ?? false, 'no path');
    const second = makePtyDevice(libc);
    writeFileSync(pathFile, second.path);
    await until(() => running.ups === 2, 'the second life');
    await second.send(Buffer.from('second life'));
    await until(() => Buffer.concat(running.received).length > 0, 'its words');
    await running.line.close();
    second.close();
  });
});

function isRunning(pid: string): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  try {
    return !/ [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/, ''));
  } catch {
    return false;
  }
}
