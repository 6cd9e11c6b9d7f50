import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { STARTS_MAX, StartGuard } from '../../src/backends/exec/start-guard.ts';
import type { Backend, BackendOpener } from '../../src/core/backend.ts';
import type { Libc } from '../../src/core/libc.ts';
import { describeBackendContract, hasCode, type BackendFixture } from '../contracts/backend.ts';
import { FakeJournal } from '../frontends/fakes.ts';
import { backendServices, portSettings, RecordingSink, createOpener } from '../support/backend.ts';
import { requireLibc, until } from '../support/pty.ts';
import { makeSocketDevice } from '../support/socket-device.ts';

const DEVICE = fileURLToPath(new URL('../support/exec-device.js', import.meta.url));
const PIPE_DEVICE = fileURLToPath(new URL('../support/exec-pipe-device.js', import.meta.url));

const NONE = ['line', 'signals', 'break'] as const;

let libc: Libc;
let directory: string;
before(async () => {
  libc = await requireLibc();
  directory = mkdtempSync(path.join(tmpdir(), 'fairlead-exec-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

function openerOf(
  command: readonly string[],
  on: 'pty' | 'pipe' = 'pty',
  journal = new FakeJournal(),
): BackendOpener {
  const services = { ...backendServices(libc), journal, environment: process.env };
  return createOpener(portSettings({ kind: 'exec', command, on }), services);
}

let commands = 0;

/** A command that passes on between its line and the test. */
async function commandFixture(
  make: (socketPath: string) => BackendOpener,
): Promise<BackendFixture> {
  const socketPath = path.join(directory, `device${commands++}.sock`);
  const device = await makeSocketDevice({ path: socketPath });
  const opener = make(socketPath);
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
}

describeBackendContract('exec', { unsupported: NONE }, () =>
  commandFixture((socketPath) => {
    const start = 'stty raw -echo && exec "$@"';
    return openerOf(['sh', '-c', start, 'sh', process.execPath, DEVICE, socketPath]);
  }),
);

describeBackendContract('exec on pipes', { unsupported: NONE }, () =>
  commandFixture((socketPath) => openerOf([process.execPath, PIPE_DEVICE, socketPath], 'pipe')),
);

interface Run {
  sink: RecordingSink;
  backend: Backend;
  /** Waits for the command's end; the cause that `ports` shows. */
  ended: () => Promise<string>;
}

async function run(opener: BackendOpener): Promise<Run> {
  const sink = new RecordingSink();
  const backend = await opener.open(sink);
  const ended = async (): Promise<string> => {
    await until(() => sink.faults.length > 0, 'the command to end');
    await backend.close();
    return sink.faults[0]!.message;
  };
  return { sink, backend, ended };
}

const onPty = (...command: string[]): Promise<Run> => run(openerOf(command));
const onPipe = (...command: string[]): Promise<Run> => run(openerOf(command, 'pipe'));

describe('a command as a line', () => {
  it('runs on a terminal of its own, with the arguments as they are', async () => {
    const { sink, ended } = await onPty('sh', '-c', 'tty; stty size; echo "$0 $TERM"', '$HOME;ls');
    assert.match(await ended(), /^exec sh -c .* \(process \d+\): ended$/);
    assert.match(sink.text, /^\/dev\/pts\/\d+\r\n24 80\r\n\$HOME;ls vt220\r\n$/);
  });

  it('has that terminal as controlling terminal', async () => {
    const { sink, ended } = await onPty('sh', '-c', 'echo said by way of >/dev/tty; exit 3');
    assert.match(await ended(), /ended with status 3; it said "said by way of"$/);
    assert.equal(sink.text, 'said by way of\r\n');
  });

  for (const [name, start, newline] of [
    ['a terminal', onPty, '\r\n'],
    ['pipes', onPipe, '\n'],
  ] as const) {
    it(`hears all of the last words on ${name}`, async () => {
      const { sink, ended } = await start('sh', '-c', 'seq 1 20000; kill -KILL $$');
      assert.match(await ended(), /ended by signal SIGKILL(; it said "20000")?$/);
      const wanted = Array.from({ length: 20_000 }, (_, i) => `${i + 1}${newline}`).join('');
      assert.ok(sink.text === wanted, `${sink.receivedBytes} of ${wanted.length} bytes`);
    });

    it(`gets no descriptor of ours on ${name}`, async () => {
      const other = await onPty('sleep', '600');
      const { sink, ended } = await start(
        'sh',
        '-c',
        'for n in $(seq 0 99); do test -e /proc/$$/fd/$n && echo $n; done',
      );
      await ended();
      await other.backend.close();
      const descriptors = sink.text.trim().split(/\s+/).map(Number);
      // 10 and up: a shell's own.
      assert.deepEqual(
        descriptors.filter((fd) => fd < 10 || fd > 19),
        [0, 1, 2],
      );
    });

    it(`leaves no descriptor and no process behind on ${name}`, async () => {
      const { ended: warm } = await start('true');
      await warm();
      const before = readdirSync('/proc/self/fd').length;
      const pids: string[] = [];
      for (let i = 0; i < 5; i++) {
        const { ended, backend } = await start('true');
        pids.push(/process (\d+)/.exec(backend.description)![1]!);
        await ended();
      }
      await until(() => readdirSync('/proc/self/fd').length <= before, 'the descriptors to go');
      for (const pid of pids) assert.ok(!existsSync(`/proc/${pid}`), 'not even a zombie');
    });

    it(`ends the whole group on close on ${name}, also one that ignores what asks it to`, async () => {
      const pidFile = path.join(directory, `pids of ${name}`);
      const { sink, backend } = await start(
        'sh',
        '-c',
        `trap '' HUP TERM; sleep 600 & echo $$ $! >'${pidFile}'; echo ready; wait`,
      );
      await until(() => sink.text.includes('ready'), 'the command to be ready');
      const pids = readFileSync(pidFile, 'utf8').trim().split(' ');
      await backend.close();
      await until(() => pids.every((pid) => isDead(pid)), 'both processes to end');
      assert.equal(sink.faults.length, 0);
    });

    it(`asks before it kills on ${name}`, async () => {
      const file = path.join(directory, `farewell on ${name}`);
      const script = `trap 'sleep 0.2; echo bye >"$0"; exit' TERM; echo ready; while :; do sleep 0.05; done`;
      const { sink, backend } = await start('sh', '-c', script, file);
      await until(() => sink.text.includes('ready'), 'the command to be ready');
      await backend.close();
      assert.equal(readFileSync(file, 'utf8'), 'bye\n');
    });
  }

  it('explains a command that is not there', async () => {
    await assert.rejects(onPty('/nowhere/virsh', 'console', 'vm'), (error: Error) => {
      hasCode('PORT_OPEN_FAILED')(error);
      assert.match(error.message, /\/nowhere\/virsh is not an executable file; is it installed\?/);
      return true;
    });
    const { ended } = await onPty('fairlead-no-such-command');
    assert.match(await ended(), /ended with status 127: the command was not found$/);
    await assert.rejects(onPipe('fairlead-no-such-command'), (error: Error) => {
      hasCode('PORT_OPEN_FAILED')(error);
      assert.match(error.message, /fairlead-no-such-command was not found; is it installed\?$/);
      return true;
    });
  });

  it('needs koffi for a terminal, and says so', async () => {
    const settings = portSettings({ kind: 'exec', command: ['true'], on: 'pty' });
    const opening = createOpener(settings, backendServices(null)).open(new RecordingSink());
    await assert.rejects(opening, /needs the package koffi/);
  });

  it('tells a short life’s last words, safe to show, and not those of a clean end', async () => {
    const failing = await onPty(
      'sh',
      '-c',
      String.raw`printf 'error: \033]0;x\007no domain\n\n'; exit 1`,
    );
    assert.match(await failing.ended(), /: ended with status 1; it said "error: no domain"$/);
    const clean = await onPty('sh', '-c', 'echo Password:; exit 0');
    assert.match(await clean.ended(), /: ended$/);
  });
});

describe('a command on pipes', () => {
  it('has no terminal', async () => {
    const { sink, ended } = await onPipe('sh', '-c', 'test -t 0 || test -t 1 || echo none');
    await ended();
    assert.equal(sink.text, 'none\n');
  });

  it('is gone with its output, though it runs on', async () => {
    const { sink, backend, ended } = await onPipe('sh', '-c', 'echo said; exec >&-; sleep 600');
    assert.match(await ended(), /closed its output, and runs on$/);
    assert.equal(sink.text, 'said\n');
    assert.equal(backend.isAlive(), false);
  });

  it('is gone when it ends, though something it left behind holds its output', async () => {
    const { sink, ended } = await onPipe('sh', '-c', 'sleep 600 & echo said; exit 4');
    assert.match(await ended(), /ended with status 4$/);
    assert.equal(sink.text, 'said\n');
  });

  it('has its standard error in the journal, and its last line in the cause', async () => {
    const journal = new FakeJournal();
    const script = String.raw`printf 'warning: \033[5mslow\n\nerror: no route' >&2; exit 2`;
    const { sink, ended } = await run(openerOf(['sh', '-c', script], 'pipe', journal));
    assert.match(await ended(), /ended with status 2; it said "error: no route"$/);
    assert.deepEqual(
      journal.lines.map((line) => (line as unknown as { text: string }).text),
      ['warning: slow', 'error: no route'],
    );
    assert.equal(sink.text, '');
  });

  it('keeps 20 lines a minute of a flood on standard error', async () => {
    const journal = new FakeJournal();
    const script = 'yes "$(printf %01000d 7)" | head -n 3000 >&2';
    await (await run(openerOf(['sh', '-c', script], 'pipe', journal))).ended();
    assert.equal(journal.lines.length, 21);
    assert.equal((journal.lines[0] as unknown as { text: string }).text, '0'.repeat(300));
    const more = journal.lines[20] as unknown as { message: string; lines: number };
    assert.equal(more.message, 'command said more on standard error than is kept');
    assert.equal(more.lines, 2_980);
  });

  it('is not harmed by a command that does not read', async () => {
    const { sink, backend, ended } = await onPipe(
      'sh',
      '-c',
      'exec <&-; echo ready; sleep 0.5; exit 5',
    );
    await until(() => sink.text === 'ready\n', 'the command to be ready');
    for (let i = 0; i < 50; i++) backend.write(Buffer.alloc(65_536));
    assert.match(await ended(), /ended with status 5$/);
  });
});

describe('a command that ends at once', () => {
  it('is started ten times a minute, or when somebody asks', () => {
    let nowMs = 0;
    const guard = new StartGuard(() => nowMs);
    let started = 0;
    let why: string | null = null;
    for (; nowMs < 300_000; nowMs += 200) {
      const refused = guard.begin();
      if (refused === null) started++;
      else why ??= refused;
      guard.ended('ended with status 1; it said "no domain"');
    }
    assert.equal(started, 5 * STARTS_MAX);
    assert.equal(
      why,
      'started 10 times within a minute, the last time it ended with status 1; it said "no domain"; next start in 58 s',
    );
    guard.hurry();
    assert.equal(guard.begin(), null);
    assert.notEqual(guard.begin(), null);
  });

  it('is a port that is down, with the cause, and costs nothing more', async () => {
    const opener = openerOf(['sh', '-c', 'echo error: no domain; exit 1']);
    for (let i = 0; i < STARTS_MAX; i++) await (await run(opener)).ended();
    await assert.rejects(run(opener), (error: Error) => {
      hasCode('PORT_OPEN_FAILED')(error);
      assert.match(
        error.message,
        /^exec sh -c .*: started 10 times within a minute, the last time it ended with status 1; it said "error: no domain"; next start in \d+ s$/,
      );
      return true;
    });
    opener.hurry!();
    await (await run(opener)).ended();
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
