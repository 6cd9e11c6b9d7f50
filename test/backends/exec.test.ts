import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Backend } from '../../src/core/backend.ts';
import type { Libc } from '../../src/core/libc.ts';
import { createOpener } from '../../src/backends/index.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import { backendServices, portSettings, RecordingSink } from '../support/backend.ts';
import { requireLibc, until } from '../support/pty.ts';
import { makeSocketDevice } from '../support/socket-device.ts';

const DEVICE = fileURLToPath(new URL('../support/exec-device.js', import.meta.url));

let libc: Libc;
let directory: string;
before(async () => {
  libc = await requireLibc();
  directory = mkdtempSync(path.join(tmpdir(), 'fairlead-exec-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

function openerOf(command: readonly string[]): ReturnType<typeof createOpener> {
  return createOpener(portSettings({ kind: 'exec', command }), backendServices(libc));
}

let commands = 0;
describeBackendContract('exec', { unsupported: ['line', 'signals', 'break'] }, async () => {
  const socketPath = path.join(directory, `device${commands++}.sock`);
  const device = await makeSocketDevice({ path: socketPath });
  const start = 'stty raw -echo && exec "$@"';
  const opener = openerOf(['sh', '-c', start, 'sh', process.execPath, DEVICE, socketPath]);
  return {
    ...device,
    opener: {
      ...opener,
      // The command is on the line once it has called: before that its terminal echoes.
      async open(sink) {
        const called = new Promise((resolve) => device.server.once('connection', resolve));
        const backend = await opener.open(sink);
        await called;
        return backend;
      },
    },
    leave: device.close,
  };
});

describe('a command as a line', () => {
  async function run(
    ...command: string[]
  ): Promise<{ sink: RecordingSink; backend: Backend; ended: () => Promise<string> }> {
    const sink = new RecordingSink();
    const backend = await openerOf(command).open(sink);
    const ended = async (): Promise<string> => {
      await until(() => sink.faults.length > 0, 'the command to end');
      await backend.close();
      return sink.faults[0]!.message;
    };
    return { sink, backend, ended };
  }

  it('runs on a terminal of its own, with the arguments as they are', async () => {
    const { sink, ended } = await run('sh', '-c', 'tty; stty size; echo "$0 $TERM"', '$HOME;ls');
    assert.match(await ended(), /^exec sh -c .* \(process \d+\): ended$/);
    assert.match(sink.text, /^\/dev\/pts\/\d+\r\n24 80\r\n\$HOME;ls vt220\r\n$/);
  });

  it('has that terminal as controlling terminal', async () => {
    const { sink, ended } = await run('sh', '-c', 'echo said by way of >/dev/tty; exit 3');
    assert.match(await ended(), /ended with status 3$/);
    assert.equal(sink.text, 'said by way of\r\n');
  });

  it('hears all of the last words', async () => {
    const { sink, ended } = await run('sh', '-c', 'seq 1 20000; kill -KILL $$');
    assert.match(await ended(), /ended by signal SIGKILL$/);
    const wanted = Array.from({ length: 20_000 }, (_, index) => `${index + 1}\r\n`).join('');
    assert.ok(sink.text === wanted, `${sink.receivedBytes} of ${wanted.length} bytes`);
  });

  it('explains a command that is not there', async () => {
    await assert.rejects(run('/nowhere/virsh', 'console', 'vm'), (error: Error) => {
      hasCode('PORT_OPEN_FAILED')(error);
      assert.match(error.message, /\/nowhere\/virsh is not an executable file; is it installed\?/);
      return true;
    });
    const { ended } = await run('fairlead-no-such-command');
    assert.match(await ended(), /ended with status 127: the command was not found$/);
  });

  it('needs koffi, and says so', async () => {
    const settings = portSettings({ kind: 'exec', command: ['true'] });
    const opening = createOpener(settings, backendServices(null)).open(new RecordingSink());
    await assert.rejects(opening, /needs the package koffi/);
  });

  it('ends the whole group on close, also one that ignores the hang-up', async () => {
    const pidFile = path.join(directory, 'pids');
    const { sink, backend } = await run(
      'sh',
      '-c',
      `trap '' HUP; sleep 600 & echo $$ $! >'${pidFile}'; echo ready; wait`,
    );
    await until(() => sink.text.includes('ready'), 'the command to be ready');
    const pids = readFileSync(pidFile, 'utf8').trim().split(' ');
    await backend.close();
    await until(() => pids.every((pid) => isDead(pid)), 'both processes to end');
    assert.equal(sink.faults.length, 0);
  });
});

/** Gone, or a zombie that waits for its new parent. */
function isDead(pid: string): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return true;
  try {
    return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/, ''));
  } catch {
    return true;
  }
}
