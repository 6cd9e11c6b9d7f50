import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { execFileSync } from 'node:child_process';
import { Fault, type FaultCode } from '../../src/core/fault.ts';
import { runRemote, type RemoteRequest } from '../../src/frontends/control/client.ts';
import { ControlFrontend } from '../../src/frontends/control/frontend.ts';
import { CONTROL_VERSION, encodeControl } from '../../src/protocols/control.ts';
import { fakeServices } from './fakes.ts';

describe('control socket', () => {
  let directory: string;
  let path: string;
  let services: ReturnType<typeof fakeServices>;
  let frontend: ControlFrontend;
  let uid: number;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'fairlead-'));
    path = join(directory, 'control.sock');
    services = fakeServices({ alice: { uid: 1000 } });
    uid = 1000;
    frontend = create();
    await frontend.start();
  });
  afterEach(async () => {
    await frontend.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  function create(): ControlFrontend {
    const libc = { peerCredentials: () => ({ pid: 42, uid, gid: uid }) };
    return new ControlFrontend(path, { services, libc, retryMs: 20 });
  }

  function terminal(argv: readonly string[]) {
    const stdin = Object.assign(new PassThrough(), {
      modes: [] as boolean[],
      setRawMode(on: boolean) {
        this.modes.push(on);
      },
    });
    const stdout = Object.assign(new PassThrough(), { columns: 132, rows: 43 });
    const stderr = new PassThrough();
    const signals = new EventEmitter();
    const request = { path, argv, stdin, stdout, stderr, isTerminal: true, signals };
    return { ...request, timeZone: 'Asia/Tokyo' } satisfies RemoteRequest;
  }

  function textOf(stream: PassThrough): string {
    return String(stream.read() ?? '');
  }

  function isFault(code: FaultCode, word = '') {
    return (error: unknown) =>
      error instanceof Fault && error.code === code && error.message.includes(word);
  }

  it('runs a verb as the unix user, and gives back output, errors and exit code', async () => {
    const { stdout, stderr, ...rest } = terminal(['both']);
    assert.equal(await runRemote({ ...rest, stdout, stderr }), 3);
    assert.equal(textOf(stdout), 'out\n');
    assert.equal(textOf(stderr), 'err\n');
    const caller = { user: 'alice', remote: 'local pid 42', frontend: 'control' };
    assert.deepEqual(services.verbs.runs[0], { caller, argv: ['both'] });
  });

  it('carries size and zone', async () => {
    const size = terminal(['size']);
    await runRemote(size);
    assert.equal(textOf(size.stdout), '132x43 true\n');
    const zone = terminal(['zone']);
    await runRemote(zone);
    assert.equal(textOf(zone.stdout), 'Asia/Tokyo\n');
  });

  it('puts the terminal into raw mode while a verb listens, and always back', async () => {
    const request = terminal(['attach', 'db1']);
    const running = runRemote(request);
    await once(request.stdout, 'readable');
    request.stdin.write('hi');
    while (!textOf(request.stdout).includes('hi')) await once(request.stdout, 'readable');
    assert.deepEqual(request.stdin.modes, [true]);
    request.stdin.write('.');
    assert.equal(await running, 0);
    assert.deepEqual(request.stdin.modes, [true, false]);

    const second = terminal(['attach', 'db1']);
    const cut = runRemote(second);
    while (second.stdin.modes.length === 0) await new Promise(setImmediate);
    // Heard before it is said: the client may learn of it while the door is still closing.
    const refused = assert.rejects(cut, isFault('DAEMON_UNREACHABLE', 'went away'));
    await frontend.stop();
    await refused;
    assert.deepEqual(second.stdin.modes, [true, false]);
  });

  it('carries a large input to a slow verb whole, and its end', async () => {
    services.verbs.slowness = () => new Promise((resolve) => setImmediate(resolve));
    const request = terminal(['sink']);
    const running = runRemote(request);
    request.stdin.end(Buffer.alloc(1_000_000, 'p'));
    assert.equal(await running, 0);
    assert.equal(textOf(request.stdout), '1000000 bytes\n');
  });

  it('reads no input for a verb that wants none', async () => {
    const request = terminal(['ports']);
    request.stdin.end('next line of a loop');
    await runRemote(request);
    assert.equal(textOf(request.stdin), 'next line of a loop');
  });

  it('delivers large output whole', async () => {
    const request = terminal(['flood', '3000000']);
    let count = 0;
    request.stdout.on('data', (bytes: Buffer) => (count += bytes.length));
    assert.equal(await runRemote(request), 0);
    assert.equal(count, 3_000_000);
  });

  it('lets a reader that stands still hold up nobody but itself', async () => {
    const slow = terminal(['pour']);
    const stuck = new Writable({ write: () => undefined });
    const running = runRemote({ ...slow, stdout: stuck });
    const other = terminal(['flood', '2000000']);
    other.stdout.resume();
    assert.equal(await runRemote(other), 0);
    assert.ok(services.verbs.pouredBytes <= 262_144, `${services.verbs.pouredBytes}`);
    slow.signals.emit('SIGINT');
    slow.signals.emit('SIGINT'); // the first asks, the second does not wait
    assert.equal(await running, 130);
  });

  it('stops a verb at SIGINT', async () => {
    const request = terminal(['wait']);
    const running = runRemote(request);
    await once(request.stdout, 'readable');
    request.signals.emit('SIGINT');
    assert.equal(await running, 130);
    assert.equal(request.signals.listenerCount('SIGINT'), 0);
  });

  it('ends quietly when nobody reads its output any more', async () => {
    const request = terminal(['pour']);
    const broken = new Writable({
      write: (_bytes, _encoding, done) =>
        done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
    });
    assert.equal(await runRemote({ ...request, stdout: broken }), 0);
    while (services.verbs.left.length === 0) await new Promise(setImmediate);
  });

  it('refuses a unix user who is nobody here', async () => {
    uid = 1234;
    const request = terminal(['ports']);
    assert.equal(await runRemote(request), 4);
    assert.match(textOf(request.stderr), /unix user 1234 .*unix: NAME/);
    assert.equal(services.verbs.runs.length, 0);
  });

  it('says that no daemon answers', async () => {
    await frontend.stop();
    assert.equal(existsSync(path), false);
    await assert.rejects(runRemote(terminal(['ports'])), isFault('DAEMON_UNREACHABLE', path));
  });

  it('is for its user and group only', () => {
    assert.equal(statSync(path).mode & 0o777, 0o660);
  });

  it('cuts a client that breaks the framing or its credit', async () => {
    const hello = encodeControl({
      kind: 'hello',
      hello: {
        version: CONTROL_VERSION,
        argv: ['wait'],
        columns: 1,
        rows: 1,
        isTerminal: false,
        timeZone: '',
      },
    });
    for (const bytes of [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      encodeControl({ kind: 'interrupt' }),
      Buffer.concat([hello, encodeControl({ kind: 'stdin', bytes: Buffer.from('x') })]),
      Buffer.concat([hello, encodeControl({ kind: 'exit', code: 0 })]),
      Buffer.concat([hello, encodeControl({ kind: 'resumed' })]),
      Buffer.concat([hello, encodeControl({ kind: 'pipe-output', bytes: Buffer.from('x') })]),
    ]) {
      const socket = connect(path);
      socket.resume().write(bytes);
      await once(socket, 'close');
    }
    const why = services.journal.lines
      .filter(({ message }) => message === 'control client cut')
      .map((line) => line['why']);
    assert.deepEqual(why, [
      'frame type 71',
      'it did not say hello',
      'it sent more than its credit',
      'it sent a exit frame',
      'it sent a resumed frame',
      'it sent a pipe-output frame',
    ]);
    assert.equal(await runRemote(terminal(['ports'])), 0);
  });

  it('answers a command of another version with the remedy', async () => {
    const socket = connect(path);
    const hello = { version: 9, argv: [], columns: 1, rows: 1, isTerminal: false, timeZone: '' };
    socket.write(encodeControl({ kind: 'hello', hello }));
    const chunks = (await socket.toArray()) as Buffer[];
    assert.match(Buffer.concat(chunks).toString('latin1'), /speaks version 2.*restart it/);
  });

  it('replaces a socket file that a killed daemon left, not one that answers', async () => {
    const second = create();
    await second.start();
    const line = await services.journal.said('control socket cannot be opened');
    assert.match(String(line['why']), /another daemon answers/);
    await second.stop();
    assert.equal(await runRemote(terminal(['ports'])), 0);

    await frontend.stop();
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    assert.throws(() => execFileSync(process.execPath, ['-e', script]));
    assert.ok(existsSync(path));
    frontend = create();
    await frontend.start();
    assert.equal(await runRemote(terminal(['ports'])), 0);
  });

  it('opens later when the place was taken by something that is no socket', async () => {
    await frontend.stop();
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(path, resolve));
    frontend = create();
    await frontend.start();
    await services.journal.said('control socket cannot be opened');
    await new Promise((resolve) => other.close(resolve));
    while (!existsSync(path)) await new Promise(setImmediate);
    while (statSync(path).mode % 0o1000 !== 0o660) await new Promise(setImmediate);
    assert.equal(await runRemote(terminal(['ports'])), 0);
    writeFileSync(join(directory, 'done'), '');
  });
});
