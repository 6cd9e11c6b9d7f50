import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { LOCAL_ADMIN } from '../../src/auth/authorizer.ts';
import type { PortAccess } from '../../src/core/attach.ts';
import { Fault } from '../../src/core/fault.ts';
import type { Libc } from '../../src/core/libc.ts';
import type { ExposeSettings } from '../../src/core/settings.ts';
import { ExposeFrontend } from '../../src/frontends/expose/frontend.ts';
import { requireLibc, until } from '../support/pty.ts';
import { FakePorts, fakeServices } from './fakes.ts';

describe('an exposed port', () => {
  let libc: Libc;
  let directory: string;
  let path: string;
  let ports: FakePorts;
  let services: ReturnType<typeof fakeServices>;
  let frontend: ExposeFrontend;
  const programs: ChildProcessWithoutNullStreams[] = [];
  const open: number[] = [];

  before(async () => {
    libc = await requireLibc();
  });
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'fairlead-'));
    path = join(directory, 'line');
    ports = new FakePorts();
    services = fakeServices({});
    services.access = {
      inspect: (_caller, port) =>
        Promise.resolve({ line: ports.lines[port] ?? { line: null, flow: 'none' } }),
    } as PortAccess;
    ports.lines['db1'] = {
      line: { baud: 19_200, dataBits: 8, parity: 'none', stopBits: 1 },
      flow: 'none',
      signals: {},
      isBreaking: false,
    };
  });
  afterEach(async () => {
    for (const program of programs.splice(0)) program.kill('SIGKILL');
    for (const fd of open.splice(0)) closeSync(fd);
    await frontend.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const settings = (more: Partial<ExposeSettings> = {}): ExposeSettings => {
    return { path, mode: 0o600, group: null, as: null, busy: 'view', ...more };
  };

  async function expose(port = 'db1', more: Partial<ExposeSettings> = {}): Promise<void> {
    frontend = new ExposeFrontend([{ port, settings: settings(more) }], {
      services,
      openSession: ports.open,
      libc,
      limits: { retryMs: 20 },
    });
    await frontend.start();
  }

  /** Python on the line: `fd` is its open file, `termios` and `os` are there. */
  function python(script: string): ChildProcessWithoutNullStreams {
    const header =
      'import os, sys, termios, time\nfd = os.open(sys.argv[1], os.O_RDWR|os.O_NOCTTY)\n';
    const program = spawn('python3', ['-c', header + script, path]);
    program.stderr.pipe(process.stderr);
    programs.push(program);
    return program;
  }

  /** A program that only opens the line; the test reads and writes. */
  function openLine(): number {
    const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    open.push(fd);
    return fd;
  }

  function closeLine(fd: number): void {
    open.splice(open.indexOf(fd), 1);
    closeSync(fd);
  }

  const attached = (count: number) => ports.until(() => ports.sessions.length === count);
  const received = (port: string) => ports.inputs[port] ?? Buffer.alloc(0);

  it('is a session of the local admin while a program has it open', async () => {
    await expose();
    assert.equal(ports.sessions.length, 0);
    const line = openLine();
    await attached(1);
    assert.deepEqual(ports.sessions[0]!.request, {
      caller: { user: LOCAL_ADMIN, remote: `pty ${path}`, frontend: 'expose' },
      port: 'db1',
      mode: 'write',
      delivery: 'program',
      from: null,
      notices: false,
      keys: null,
    });
    closeLine(line);
    await ports.until(() => ports.sessions[0]!.detached === 'the program closed it');
    openLine();
    await attached(2);
  });

  it('acts for the user the settings name', async () => {
    await expose('db1', { as: 'lab', busy: 'takeover' });
    openLine();
    await attached(1);
    assert.equal(ports.sessions[0]!.request.caller.user, 'lab');
    assert.equal(ports.sessions[0]!.request.mode, 'force');
  });

  it('passes every byte both ways, 1 MB of them, from and to a real program', async () => {
    await expose('echo');
    const program = python(
      [
        'data = sys.stdin.buffer.read()',
        'import select',
        'out = bytearray(); at = 0',
        'os.set_blocking(fd, False)',
        'while len(out) < len(data):',
        '  r, w, _ = select.select([fd], [fd] if at < len(data) else [], [])',
        '  if r: out += os.read(fd, 65536)',
        '  if w: at += os.write(fd, data[at:at+4096])',
        'sys.stdout.buffer.write(out)',
      ].join('\n'),
    );
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const sent = Buffer.concat([every, every, randomBytes(1_048_576)]);
    program.stdin.end(sent);
    const back: Buffer[] = [];
    program.stdout.on('data', (bytes: Buffer) => back.push(bytes));
    await once(program, 'close');
    assert.ok(Buffer.concat(back).equals(sent));
    assert.ok(received('echo').equals(sent));
  });

  it('gives the port what a program wrote that was gone before it was noticed', async () => {
    await expose();
    writeFileSync(path, 'status\r');
    await ports.until(() => ports.sessions[0]?.detached !== null && ports.sessions.length === 1);
    assert.equal(received('db1').toString(), 'status\r');
  });

  it('is one session to the last byte of a program that writes and goes', async () => {
    await expose();
    ports.slowness = () => new Promise((resolve) => setTimeout(resolve, 5));
    const sent = randomBytes(100_000);
    python(
      'data = sys.stdin.buffer.read()\nwhile data: data = data[os.write(fd, data):]',
    ).stdin.end(sent);
    await ports.until(() => ports.sessions[0]?.detached === 'the program closed it');
    assert.ok(received('db1').equals(sent));
    assert.equal(ports.sessions.length, 1);
  });

  it('gives the port the last words of programs, however fast they come and go', async () => {
    await expose();
    ports.slowness = () => new Promise(setImmediate);
    const program = python(
      [
        'os.close(fd)',
        'for i in range(60):',
        '  fd = os.open(sys.argv[1], os.O_RDWR|os.O_NOCTTY)',
        '  data = (b"%d," % i) * 2000',
        '  while data: data = data[os.write(fd, data):]',
        '  os.close(fd)',
      ].join('\n'),
    );
    await once(program, 'close');
    const sent = Array.from({ length: 60 }, (_, i) => `${i},`.repeat(2_000)).join('');
    await ports.until(() => received('db1').length >= sent.length);
    assert.equal(received('db1').toString(), sent);
    await ports.until(() => ports.sessions.every(({ detached }) => detached !== null));
  });

  it('holds a program back while the port takes no input, and loses nothing', async () => {
    await expose();
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    ports.slowness = () => released;
    const line = openLine();
    await attached(1);
    let sent = 0;
    const piece = Buffer.from(Array.from({ length: 4_096 }, (_, i) => i % 251));
    for (let refused = 0; refused < 20;) {
      const count = tryWrite(line, piece.subarray(sent % piece.length));
      sent += count;
      refused = count === 0 ? refused + 1 : 0;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.ok(sent < 262_144, `${sent} bytes were taken off the program`);
    release();
    await ports.until(() => received('db1').length === sent);
    const want = Buffer.from(Array.from({ length: sent }, (_, i) => (i % 4_096) % 251));
    assert.ok(received('db1').equals(want));
  });

  it('says a piece of output is taken only when the program has room for it', async () => {
    await expose();
    const line = openLine();
    await attached(1);
    const { output } = ports.sessions[0]!;
    let taken = 0;
    const piece = Buffer.alloc(10_000, 'x');
    for (let i = 0; i < 100; i++) output.write(piece, () => taken++);
    await until(() => taken > 0, 'the first piece to be taken');
    assert.ok(taken < 10, `${taken} pieces were taken by nobody`);
    let read = 0;
    const buffer = Buffer.alloc(65_536);
    await until(() => {
      read += tryRead(line, buffer);
      return read === 1_000_000;
    }, 'all output');
    await until(() => taken === 100, 'the last piece to be taken');
  });

  it('shows a program the settings of the line, and changes nothing unless it does', async () => {
    await expose();
    const line = openLine();
    await attached(1);
    assert.equal(libc.getLine(line).baud, 19_200);
    writeSync(line, 'x');
    await ports.until(() => received('db1').length === 1);
    assert.deepEqual(ports.sessions[0]!.calls, []);
  });

  it('follows what others set the line to, while no program has it open', async () => {
    const shown: { baud: number }[] = [];
    const watched: Libc = {
      ...libc,
      setLine: async (fd, line, flow) => {
        await libc.setLine(fd, line, flow);
        shown.push(libc.getLine(fd));
      },
    };
    frontend = new ExposeFrontend([{ port: 'db1', settings: settings() }], {
      services,
      openSession: ports.open,
      libc: watched,
      refreshMs: 1,
    });
    await frontend.start();
    ports.lines['db1']!.line = { baud: 2_400, dataBits: 8, parity: 'none', stopBits: 1 };
    await until(() => shown.length === 2, 'the new settings');
    assert.deepEqual(
      shown.map(({ baud }) => baud),
      [19_200, 2_400],
    );
    const line = openLine();
    await attached(1);
    await libc.setLine(line, { baud: 4_800, dataBits: 8, parity: 'none', stopBits: 1 }, 'none');
    await ports.until(() => ports.sessions[0]!.calls.length === 1);
    assert.equal(shown.length, 2);
  });

  it('sets the line as a program sets its terminal, before what it says next', async () => {
    ports.lines['db1']!.line = { baud: 9_600, dataBits: 5, parity: 'even', stopBits: 1.5 };
    await expose();
    const program = python(
      [
        'a = termios.tcgetattr(fd)',
        'a[4] = a[5] = termios.B57600; termios.tcsetattr(fd, termios.TCSANOW, a)',
        'os.write(fd, b"one"); sys.stdin.readline()',
        'a[2] |= termios.CRTSCTS; a[2] &= ~termios.CSTOPB; termios.tcsetattr(fd, termios.TCSANOW, a)',
        'os.write(fd, b"two"); sys.stdin.readline()',
        'a[4] = a[5] = termios.B115200; a[2] &= ~termios.CRTSCTS; a[0] |= termios.IXON',
        'termios.tcsetattr(fd, termios.TCSANOW, a); sys.stdin.readline()',
      ].join('\n'),
    );
    const odd = { dataBits: 5, parity: 'even' };
    const calls = () => ports.sessions[0]?.calls;
    await ports.until(() => received('db1').toString() === 'one');
    assert.deepEqual(calls(), [['setLine', { ...odd, baud: 57_600, stopBits: 1.5 }, 'none']]);
    program.stdin.write('\n');
    await ports.until(() => received('db1').toString() === 'onetwo');
    assert.deepEqual(calls()![1], ['setLine', { ...odd, baud: 57_600, stopBits: 1 }, 'rtscts']);
    program.stdin.write('\n');
    await ports.until(() => calls()!.length === 3);
    assert.deepEqual(calls()![2], ['setLine', { ...odd, baud: 115_200, stopBits: 1 }, 'xonxoff']);
  });

  it('sets the line once the program may, when it may not at first', async () => {
    ports.controlFault = new Fault('NOT_WRITER', 'eve writes');
    await expose();
    const line = openLine();
    await attached(1);
    const [session] = ports.sessions;
    const wanted = { baud: 4_800, dataBits: 8, parity: 'none', stopBits: 1 };
    await libc.setLine(line, wanted, 'none');
    await ports.until(() => session!.calls.length === 1);
    writeSync(line, 'still heard');
    await ports.until(() => received('db1').toString() === 'still heard');
    ports.controlFault = null;
    session!.output.event!({ kind: 'writer', writer: LOCAL_ADMIN, you: true, by: null });
    await ports.until(() => session!.calls.length === 2);
    assert.deepEqual(session!.calls, Array(2).fill(['setLine', wanted, 'none']));
  });

  it('leaves a port without line settings as it is', async () => {
    ports.lines['db1']!.line = null;
    await expose();
    const line = openLine();
    await attached(1);
    const wanted = { baud: 4_800, dataBits: 8, parity: 'none', stopBits: 1 };
    await libc.setLine(line, wanted, 'none');
    writeSync(line, 'x');
    await ports.until(() => received('db1').length === 1);
    assert.deepEqual(ports.sessions[0]!.calls, []);
  });

  it('hangs up on a program whose session ends, and serves the next', async () => {
    await expose();
    const line = openLine();
    await attached(1);
    const before = readlinkSync(path);
    ports.sessions[0]!.output.ended('kicked by alice');
    await until(() => readlinkSync(path) !== before, 'another pty');
    await until(() => isHungUp(line), 'the hang-up');
    assert.equal((await services.journal.said('exposed session ended'))['why'], 'kicked by alice');
    openLine();
    await attached(2);
  });

  it('hangs up on a program that is refused, with a word in the journal', async () => {
    ports.busy.add('db1');
    await expose('db1', { busy: 'refuse' });
    const line = openLine();
    await until(() => isHungUp(line), 'the hang-up');
    assert.equal((await services.journal.said('program refused'))['fault'], 'PORT_BUSY');
    ports.busy.clear();
    openLine();
    await attached(1);
  });

  it('gives the next program nothing of what the last one did not read, set or lock', async () => {
    await expose();
    const first = openLine();
    await attached(1);
    await libc.setLine(first, { baud: 300, dataBits: 8, parity: 'none', stopBits: 2 }, 'rtscts');
    ports.sessions[0]!.output.write(Buffer.from('for the first'), () => undefined);
    const before = readlinkSync(path);
    await until(() => libc.inputWaiting(first) > 0, 'output');
    await ports.until(() => ports.sessions[0]!.calls.length === 1);
    ports.lines['db1']!.line = { baud: 19_200, dataBits: 8, parity: 'none', stopBits: 1 };
    ports.lines['db1']!.flow = 'none';
    closeLine(first);
    await until(() => readlinkSync(path) !== before, 'another pty');
    const second = openLine();
    await attached(2);
    assert.equal(libc.inputWaiting(second), 0);
    assert.equal(libc.getLine(second).baud, 19_200);
    assert.equal(libc.getFlow(second), 'none');
  });

  it('lets in whom mode and group say', async () => {
    await expose('db1', { mode: 0o660, group: 'daemon' });
    const status = statSync(path);
    assert.equal(status.mode & 0o777, 0o660);
    assert.equal(status.gid, 1);
    assert.equal(status.uid, process.getuid!());
  });

  it('removes its link when it stops, and hangs up', async () => {
    await expose();
    const line = openLine();
    await attached(1);
    await frontend.stop();
    assert.equal(existsSync(path), false);
    assert.ok(isHungUp(line));
    assert.equal(ports.sessions[0]!.detached, 'the port is exposed no more');
  });

  it('leaves alone what is in the way, until it is gone', async () => {
    const ways: [() => void, RegExp][] = [
      [() => writeFileSync(path, 'precious'), /line is a file: it is left alone/],
      [() => mkdirSync(path), /line is a directory: it is left alone/],
      [() => symlinkSync('/dev/null', path), /line is a link to \/dev\/null: it is left alone/],
    ];
    for (const [block, expected] of ways) {
      block();
      const inode = lstatSync(path).ino;
      services.journal.lines.length = 0;
      await expose();
      assert.match(
        String((await services.journal.said('port cannot be exposed'))['why']),
        expected,
      );
      assert.equal(lstatSync(path).ino, inode);
      rmSync(path, { recursive: true });
      await services.journal.said('port exposed');
      await frontend.stop();
    }
  });

  it('replaces a link to a pty that a killed daemon left', async () => {
    symlinkSync('/dev/pts/987654', path);
    await expose();
    assert.notEqual(readlinkSync(path), '/dev/pts/987654');
  });

  it('names a directory that is missing, and a group', async () => {
    const missing = join(directory, 'missing');
    await expose('db1', { path: join(missing, 'line') });
    const { why } = await services.journal.said('port cannot be exposed');
    assert.ok(String(why).includes(`there is no directory ${missing}`));
    await frontend.stop();
    services.journal.lines.length = 0;
    await expose('db1', { group: 'no-such-group' });
    const line = await services.journal.said('port cannot be exposed');
    assert.equal(line['why'], 'there is no unix group no-such-group');
  });

  it('keeps its programs over a reload that leaves it as it is, and no others', async () => {
    const second = join(directory, 'second');
    const exposures = [
      { port: 'db1', settings: settings() },
      { port: 'db2', settings: settings({ path: second }) },
    ];
    await expose();
    const line = openLine();
    await attached(1);
    await frontend.update(exposures);
    assert.ok(existsSync(second));
    writeSync(line, 'still');
    await ports.until(() => received('db1').toString() === 'still');
    await frontend.update([exposures[1]!]);
    assert.ok(isHungUp(line));
    assert.equal(existsSync(path), false);
    assert.ok(existsSync(second));
  });

  it('says that it needs koffi', async () => {
    frontend = new ExposeFrontend([{ port: 'db1', settings: settings() }], {
      services,
      openSession: ports.open,
      libc: null,
    });
    await frontend.start();
    assert.match(String((await services.journal.said('ports cannot be exposed'))['why']), /koffi/);
  });

  function isHungUp(fd: number): boolean {
    return libc.poll([fd])[0]!.isHungUp;
  }
});

function tryWrite(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}

function tryRead(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}
