import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import type { Fault } from '../../src/core/fault.ts';
import type { PipedCommand, VerbIo } from '../../src/core/frontend.ts';
import { runRemote, type RemoteRequest } from '../../src/frontends/control/client.ts';
import { ControlFrontend } from '../../src/frontends/control/frontend.ts';
import { TypedCommands } from '../../src/frontends/control/typed-commands.ts';
import { fakeServices } from './fakes.ts';

describe('what a verb has done on the machine of its user', () => {
  let directory: string;
  let frontend: ControlFrontend;
  /** The verb of the test. */
  let verb: (io: VerbIo) => Promise<number>;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'fairlead-'));
    const services = { ...fakeServices({ alice: { uid: 1000 } }) };
    services.runVerb = (_caller, _argv, io) => verb(io);
    const libc = { peerCredentials: () => ({ pid: 42, uid: 1000, gid: 1000 }) };
    frontend = new ControlFrontend(join(directory, 'control.sock'), { services, libc });
    await frontend.start();
  });
  afterEach(async () => {
    await frontend.stop();
    await rm(directory, { recursive: true, force: true });
  });

  /** A terminal and what happened to it. */
  function terminal() {
    const events: string[] = [];
    const stdin = Object.assign(new PassThrough(), {
      setRawMode: (on: boolean) => events.push(on ? 'raw' : 'cooked'),
    });
    const stdout = Object.assign(new PassThrough(), { columns: 80, rows: 24 });
    const stderr = new PassThrough();
    const signals = new EventEmitter();
    const request = {
      path: join(directory, 'control.sock'),
      argv: ['attach', 'db1'],
      stdin,
      stdout,
      stderr,
      isTerminal: true,
      timeZone: 'UTC',
      signals,
      shell: '/bin/sh',
      stop: (): void => {
        events.push('stop');
      },
    } satisfies RemoteRequest;
    return { ...request, events, request };
  }

  async function until(stream: PassThrough, text: string): Promise<string> {
    let all = '';
    for (;;) {
      all += String(stream.read() ?? '');
      if (all.includes(text)) return all;
      await once(stream, 'readable');
    }
  }

  /** Runs what is typed behind `^Ec|`, as a session does. */
  function piping(use: (io: VerbIo, command: string) => Promise<number>) {
    return (io: VerbIo): Promise<number> =>
      new Promise((resolve, reject) => {
        io.signal.addEventListener('abort', () => resolve(1), { once: true });
        let typed = '';
        io.onInput((bytes) => {
          typed += Buffer.from(bytes ?? []).toString();
          const command = /\x05c\|(.*)\r/.exec(typed)?.[1];
          if (command === undefined) return;
          typed = '';
          use(io, command).then(resolve, reject);
        }, true);
      });
  }

  const withOutput = async (io: VerbIo, piped: PipedCommand): Promise<number> => {
    const code = await piped.exited;
    await io.write(`exit ${code}`);
    return 0;
  };

  describe('suspend', () => {
    const suspending = async (io: VerbIo): Promise<number> => {
      io.onInput(() => undefined, true);
      await io.host!.suspend();
      const { columns, rows } = io.size();
      await io.write(`goes on ${columns}x${rows}`);
      return 0;
    };

    it('stops with the terminal as it was, and goes on with it raw and of its new size', async () => {
      verb = suspending;
      const { request, events, stdout, signals } = terminal();
      const stopped = new Promise<void>((resolve) => (request.stop = () => resolve()));
      const running = runRemote(request);
      await stopped;
      assert.deepEqual(events, ['raw', 'cooked']);
      Object.assign(stdout, { columns: 132, rows: 43 });
      signals.emit('SIGCONT');
      assert.equal(await running, 0);
      assert.equal(String(stdout.read()), 'goes on 132x43');
      assert.deepEqual(events, ['raw', 'cooked', 'raw', 'cooked']);
      assert.equal(signals.listenerCount('SIGCONT'), 0);
    });

    it('goes on by itself where the kernel does not stop it', async () => {
      verb = suspending;
      const { request, events } = terminal();
      assert.equal(await runRemote(request), 0);
      assert.deepEqual(events, ['raw', 'cooked', 'stop', 'raw', 'cooked']);
    });

    it('makes the terminal raw again when somebody else stopped it', async () => {
      verb = piping(async () => 0);
      const { request, events, signals, stdin } = terminal();
      const running = runRemote(request);
      while (events.length === 0) await new Promise(setImmediate);
      signals.emit('SIGCONT');
      assert.deepEqual(events, ['raw', 'cooked', 'raw']);
      stdin.write('\x05c|x\r');
      assert.equal(await running, 0);
    });

    it('fails when the client leaves meanwhile', async () => {
      let failed: Error | undefined;
      verb = async (io) => {
        failed = await io.host!.suspend().then(
          () => undefined,
          (error: Error) => error,
        );
        return 0;
      };
      const { request, signals } = terminal();
      const stopped = new Promise<void>((resolve) => (request.stop = () => resolve()));
      const running = runRemote(request);
      await stopped;
      signals.emit('SIGINT');
      signals.emit('SIGINT');
      assert.equal(await running, 130);
      while (failed === undefined) await new Promise(setImmediate);
      assert.match(failed.message, /client left/);
    });
  });

  describe('a piped command', () => {
    it("runs in the user's shell, between the port and the device", async () => {
      verb = piping(async (io, command) => {
        const piped = io.host!.pipe(command, (bytes) => io.write(bytes));
        await piped.input(Buffer.from('from the port\n'));
        piped.end();
        return withOutput(io, piped);
      });
      const { request, stdin, stdout, stderr } = terminal();
      const running = runRemote(request);
      stdin.write('ls\r\x05c|tr a-z A-Z; echo "é$((1+1))"; echo oops >&2; exit 3\r');
      assert.equal(await running, 0);
      assert.equal(String(stdout.read()), 'FROM THE PORT\né2\nexit 3');
      assert.equal(String(stderr.read()), 'oops\r\n');
    });

    it('carries 1 MB each way whole', async () => {
      const sent = Buffer.from(Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 7919) >> 3));
      const received: Buffer[] = [];
      verb = piping(async (io, command) => {
        const piped = io.host!.pipe(command, async (bytes) => {
          await new Promise(setImmediate); // the device is slower than the command
          received.push(Buffer.from(bytes));
        });
        for (let at = 0; at < sent.length; at += 10_000) {
          await piped.input(sent.subarray(at, at + 10_000));
        }
        piped.end();
        return withOutput(io, piped);
      });
      const { request, stdin, stdout } = terminal();
      const running = runRemote(request);
      stdin.write('\x05c|cat\r');
      assert.equal(await running, 0);
      assert.equal(String(stdout.read()), 'exit 0');
      assert.ok(Buffer.concat(received).equals(sent));
    });

    it('is not run when it was not typed here', async () => {
      verb = async (io) => {
        io.onInput(() => undefined, true);
        const piped = io.host!.pipe(`touch ${directory}/mark`, () => undefined);
        return withOutput(io, piped);
      };
      const { request, stdout, stderr } = terminal();
      assert.equal(await runRemote(request), 0);
      assert.equal(String(stdout.read()), 'exit 126');
      assert.match(String(stderr.read()), /not typed here: "touch /);
      assert.ok(!existsSync(join(directory, 'mark')));
    });

    it('holds up nobody when it does not read, and is stopped at 1 MiB', async () => {
      verb = piping(async (io, command) => {
        const piped = io.host!.pipe(command, () => undefined);
        for (let i = 0; i < 40; i++) void piped.input(Buffer.alloc(65_536));
        await assert.rejects(piped.exited, (error: Fault) => error.code === 'TOO_SLOW');
        await io.write('too slow');
        return 0;
      });
      const { request, stdin, stdout } = terminal();
      const running = runRemote(request);
      stdin.write('\x05c|exec sleep 1000\r');
      assert.equal(await running, 0);
      assert.equal(String(stdout.read()), 'too slow');
    });

    it('prints no more than the device takes', async () => {
      let bytes = 0;
      verb = piping(async (io, command) => {
        const piped = io.host!.pipe(command, (output) => {
          bytes += output.length;
          return new Promise(() => {}); // stuck
        });
        await io.write('begun');
        return withOutput(io, piped);
      });
      const { request, stdin, stdout, signals } = terminal();
      const running = runRemote(request);
      stdin.write('\x05c|yes\r');
      await until(stdout, 'begun');
      while (bytes === 0) await new Promise(setImmediate);
      for (let i = 0; i < 100; i++) await new Promise(setImmediate);
      assert.ok(bytes <= 65_536, `${bytes}`);
      signals.emit('SIGINT');
      assert.equal(await running, 1);
    });

    it('says how it ended', async () => {
      verb = piping(async (io, command) =>
        withOutput(
          io,
          io.host!.pipe(command, () => undefined),
        ),
      );
      for (const [command, code] of [
        ['kill -KILL $$', 137],
        ['exit 0 <&-', 0],
        ['no-such-command 2>&-', 127],
      ] as const) {
        const { request, stdin, stdout } = terminal();
        const running = runRemote(request);
        stdin.write(`\x05c|${command}\r`);
        assert.equal(await running, 0);
        assert.equal(String(stdout.read()), `exit ${code}`, command);
      }
      const noShell = terminal();
      const running = runRemote({ ...noShell.request, shell: join(directory, 'sh') });
      noShell.stdin.write('\x05c|true\r');
      assert.equal(await running, 0);
      assert.equal(String(noShell.stdout.read()), 'exit 127');
      assert.match(String(noShell.stderr.read()), /could not be started.*\r\n/);
    });

    it('ends when its input did and it goes on for too long', async () => {
      verb = piping(async (io, command) => {
        const piped = io.host!.pipe(command, () => undefined);
        piped.end();
        return withOutput(io, piped);
      });
      const { request, stdin, stdout } = terminal();
      const running = runRemote(request);
      stdin.write('\x05c|exec sleep 1000\r');
      assert.equal(await running, 0);
      assert.equal(String(stdout.read()), 'exit 143');
    });

    it('ends with the session', async () => {
      verb = piping(async (io, command) =>
        withOutput(
          io,
          io.host!.pipe(command, (bytes) => io.write(bytes)),
        ),
      );
      const { request, stdin, stdout, signals } = terminal();
      const running = runRemote(request);
      stdin.write('\x05c|echo pid $$.; exec sleep 1000\r');
      const pid = Number(/pid (\d+)\./.exec(await until(stdout, '.'))![1]);
      signals.emit('SIGINT');
      assert.equal(await running, 1);
      while (isAlive(pid)) await new Promise(setImmediate);
    });

    it('is one at a time, and one command', async () => {
      verb = piping(async (io, command) => {
        const piped = io.host!.pipe(command, () => undefined);
        for (const second of [command, ' ', 'x'.repeat(5_000)]) {
          const refused = io.host!.pipe(second, () => undefined);
          await assert.rejects(refused.exited, (error: Fault) => error.code === 'USAGE');
        }
        piped.end();
        assert.equal(await piped.exited, 0);
        return withOutput(
          io,
          io.host!.pipe(command, () => undefined),
        );
      });
      const { request, stdin, stdout } = terminal();
      const running = runRemote(request);
      stdin.write('\x05c|true\r');
      assert.equal(await running, 0);
      assert.equal(String(stdout.read()), 'exit 0');
    });
  });

  it('is nothing where there is no terminal', async () => {
    verb = async (io) => (io.host === undefined ? 0 : 1);
    const { request } = terminal();
    assert.equal(await runRemote({ ...request, isTerminal: false }), 0);
  });

  it('leaves no full screen behind when the daemon goes away', async () => {
    verb = async (io) => {
      io.onInput(() => undefined, true);
      await io.write(Buffer.from('\x1b[?1049hmenu'));
      return new Promise(() => {});
    };
    const { request, stdout, events } = terminal();
    const running = assert.rejects(runRemote(request), { code: 'DAEMON_UNREACHABLE' });
    await until(stdout, 'menu');
    await frontend.stop();
    await running;
    assert.match(String(stdout.read()), /^\x1b\[\?1047l\x1b\[\?25h/);
    assert.deepEqual(events, ['raw', 'cooked']);
  });
});

describe('commands typed here', () => {
  function typed(...chunks: string[]): TypedCommands {
    const commands = new TypedCommands();
    for (const chunk of chunks) commands.note(Buffer.from(chunk));
    return commands;
  }

  it('are known however they were typed and corrected', () => {
    for (const chunks of [
      ['\x05c|sz file\r'],
      ['\x05', 'c', '|', 's', 'z', ' file', '\r'],
      ['uptime\r\x05c|sz filx\x7fe\r'],
      ['\x05c|nonsense\x15  sz file \r'],
      ['half a line\x05c|\x1b\x05c|sz\x1b[D file\r'],
      ['\x1d||sz file\n'],
    ]) {
      assert.equal(typed(...chunks).wasTyped('sz file'), true, JSON.stringify(chunks));
    }
    assert.equal(typed('\x05c|echo é\x7fü\r').wasTyped('echo ü'), true);
    assert.equal(typed('\x05c|grep a|wc\r').wasTyped('grep a|wc'), true);
  });

  it('are not those typed at the device, not ended, or from before', () => {
    for (const chunks of [
      [],
      ['sz file\r'],
      ['cat x|sz file\r'],
      ['\x05c|sz file'],
      ['\x05c|sz file\r', 'ls\r'],
      ['\x05c|sz files\r'],
    ]) {
      assert.equal(typed(...chunks).wasTyped('sz file'), false, JSON.stringify(chunks));
    }
  });

  it('are the same in any chunking, and bounded', () => {
    const input = '\x05c|x y\x7fz\r';
    fc.assert(
      fc.property(fc.string({ maxLength: 50 }), fc.nat(60), (before, cut) => {
        const all = Buffer.from(`${before}\r${input}`);
        const commands = new TypedCommands();
        commands.note(all.subarray(0, cut));
        commands.note(all.subarray(cut));
        return commands.wasTyped('x z');
      }),
    );
    const long = typed('y'.repeat(1_000_000), '\x05c|x\r');
    assert.equal(long.wasTyped('x'), true);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
