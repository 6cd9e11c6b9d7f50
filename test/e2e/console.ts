import {
  execFileSync,
  spawn,
  type ChildProcess,
  type ChildProcessWithoutNullStreams,
} from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Libc } from '../../src/core/libc.ts';
import { makePtyDevice, type PtyDevice } from '../support/pty.ts';
import type { CommandResult } from './daemon.ts';

/** A safety net, generous on a busy machine: nothing is tested against it. */
const DEADLINE_MS = 90_000;

/** What came so far, and who waits for more of it. */
export class Heard {
  #chunks: Buffer[] = [];
  #length = 0;
  #hasEnded = false;
  readonly #waiting = new Set<() => void>();

  get length(): number {
    return this.#length;
  }

  get bytes(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  add(bytes: Uint8Array): void {
    this.#chunks.push(Buffer.from(bytes));
    this.#length += bytes.length;
    this.#wake();
  }

  end(): void {
    this.#hasEnded = true;
    this.#wake();
  }

  listenTo(stream: Readable): this {
    stream.on('data', (bytes: Buffer) => this.add(bytes));
    stream.once('close', () => this.end());
    return this;
  }

  /** Resolves with all so far once it holds `wanted`, at or after `from`. */
  async until(wanted: string | RegExp, from = 0): Promise<string> {
    const holds = (text: string): boolean =>
      typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text);
    await this.#until(() => holds(this.text.slice(from)), String(wanted));
    return this.text;
  }

  async untilLength(length: number): Promise<Buffer> {
    await this.#until(() => this.#length >= length, `${length} bytes`);
    return this.bytes;
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    const failed = (why: string): Error =>
      new Error(`${why} "${what}", but ${this.#length} bytes: ${this.text.slice(-2_000)}`);
    let isLate = false;
    const deadline = setTimeout(() => {
      isLate = true;
      this.#wake();
    }, DEADLINE_MS);
    try {
      while (!condition()) {
        if (isLate) throw failed('did not hear in time');
        if (this.#hasEnded) throw failed('ended without');
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    } finally {
      clearTimeout(deadline);
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

/** OpenSSH's client, running. */
export class SshClient {
  readonly process: ChildProcessWithoutNullStreams;
  readonly out: Heard;
  readonly err: Heard;
  readonly exited: Promise<number | null>;

  constructor(process: ChildProcessWithoutNullStreams, listens: boolean) {
    this.process = process;
    process.stdin.on('error', () => undefined); // it may exit before it has read all
    this.out = new Heard();
    if (listens) this.out.listenTo(process.stdout);
    this.err = new Heard().listenTo(process.stderr);
    this.exited = once(process, 'close').then(([code]) => code as number | null);
  }

  type(bytes: string | Uint8Array): void {
    this.process.stdin.write(bytes);
  }

  /** One press after the other, in packets of their own as far as one can tell from outside. */
  async typeSlowly(keys: string): Promise<void> {
    for (const key of keys) {
      this.type(key);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

export interface SshOptions {
  /** Name of a key made with `makeKey`; else none is offered. */
  key?: string;
  password?: string;
  /** One-time code, for who is asked for one. */
  code?: string;
  /** Of the client's own words: `INFO` shows the banner. */
  logLevel?: 'ERROR' | 'INFO';
  /** Whom the server sees: penalties are counted by source. */
  source?: string;
  /** False: nobody reads what it prints. */
  listens?: boolean;
}

/** Keys and the client program of people who come by SSH. */
export class SshKit {
  readonly #directory: string;
  readonly tcpPort: number;
  readonly #clients: SshClient[] = [];

  constructor(directory: string, tcpPort: number) {
    this.#directory = directory;
    this.tcpPort = tcpPort;
    const script = `#!/bin/sh
case "$1" in
  *Code:*) printf '%s\\n' "$TYPED_CODE" ;;
  *) printf '%s\\n' "$TYPED_PASSWORD" ;;
esac
`;
    writeFileSync(this.#askpass, script, { mode: 0o700 });
  }

  get #askpass(): string {
    return join(this.#directory, 'askpass');
  }

  /** Returns the public key, as the configuration takes it. */
  makeKey(name: string): string {
    const path = join(this.#directory, `key-${name}`);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', path]);
    return readFileSync(`${path}.pub`, 'utf8').trim();
  }

  spawn(args: readonly string[], options: SshOptions = {}): SshClient {
    const { password = '', code = '', listens = true } = options;
    const [program, ...words] = this.command(args, options);
    const env = {
      PATH: process.env['PATH'],
      HOME: this.#directory,
      SSH_ASKPASS: this.#askpass,
      SSH_ASKPASS_REQUIRE: 'force',
      TYPED_PASSWORD: password,
      TYPED_CODE: code,
    };
    const client = new SshClient(spawn(program, words, { env }), listens);
    this.#clients.push(client);
    return client;
  }

  /** The program and its arguments, for who starts it elsewhere. */
  command(args: readonly string[], options: SshOptions = {}): [string, ...string[]] {
    const { key, source = '127.0.0.1', logLevel = 'ERROR' } = options;
    const identity =
      key === undefined
        ? ['-o', 'PubkeyAuthentication=no', '-o', 'NumberOfPasswordPrompts=1']
        : ['-i', join(this.#directory, `key-${key}`), '-o', 'BatchMode=yes'];
    return [
      'ssh',
      ...['-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', `LogLevel=${logLevel}`],
      ...['-o', `UserKnownHostsFile=${join(this.#directory, 'known_hosts')}`],
      ...['-o', 'IdentityAgent=none', '-o', 'IdentitiesOnly=yes'],
      ...['-b', source, '-p', String(this.tcpPort), ...identity, ...args],
    ];
  }

  /** Runs the client to its end. */
  async run(
    args: readonly string[],
    options: SshOptions & { input?: string | Uint8Array } = {},
  ): Promise<CommandResult & { out: string }> {
    const client = this.spawn(args, options);
    client.process.stdin.end(options.input ?? '');
    const code = await client.exited;
    const stdout = client.out.bytes;
    return { code, stdout, out: stdout.toString('latin1'), stderr: client.err.text };
  }

  dispose(): void {
    for (const { process } of this.#clients) process.kill('SIGKILL');
  }
}

/** A raw door's client. */
export class RawClient {
  readonly socket: Socket;
  readonly heard = new Heard();
  readonly closed: Promise<void>;

  private constructor(socket: Socket, listens: boolean) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.once('end', () => socket.end());
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    if (listens) this.heard.listenTo(socket);
    else socket.pause();
  }

  static async enter(tcpPort: number, listens = true): Promise<RawClient> {
    const client = new RawClient(
      connect({ host: '127.0.0.1', port: tcpPort, allowHalfOpen: true }),
      listens,
    );
    await once(client.socket, 'connect');
    return client;
  }
}

/** The machine at the far end of a line, played by the test. */
export class Machine {
  readonly pty: PtyDevice;
  readonly heard = new Heard();
  /** Bytes it takes in each of its turns, some ms apart; 0: none. */
  takesBytes = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout;

  constructor(libc: Libc) {
    this.pty = makePtyDevice(libc);
    this.#timer = setInterval(() => this.#turn(), TURN_MS);
  }

  get path(): string {
    return this.pty.path;
  }

  say(bytes: string | Uint8Array): Promise<void> {
    return this.pty.send(Buffer.from(bytes));
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.pty.close();
  }

  #turn(): void {
    if (this.takesBytes === 0) return;
    const bytes = this.pty.receive(this.takesBytes);
    if (bytes.length > 0) this.heard.add(bytes);
  }
}

export const TURN_MS = 10;

/** A terminal with a program in it, and a person before it played by the test. */
export class Terminal {
  readonly heard = new Heard();
  readonly exited: Promise<number | null>;
  readonly #libc: Libc;
  readonly #pty: PtyDevice;
  readonly #process: ChildProcess;
  readonly #timer: NodeJS.Timeout;

  /** `command`: a program and its arguments, the leader of a session on this terminal. */
  constructor(libc: Libc, command: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.#libc = libc;
    this.#pty = makePtyDevice(libc, true);
    const slave = openSync(this.#pty.path, constants.O_RDWR | constants.O_NOCTTY);
    this.#process = spawn('setsid', ['--ctty', '--wait', ...command], {
      stdio: [slave, slave, slave],
      env: { ...process.env, TERM: 'xterm', ...env },
    });
    closeSync(slave);
    this.exited = once(this.#process, 'close').then(([code]) => {
      this.#turn();
      this.heard.end();
      return code as number | null;
    });
    this.#timer = setInterval(() => this.#turn(), TURN_MS);
  }

  type(keys: string): void {
    void this.#pty.send(Buffer.from(keys, 'latin1'));
  }

  /** As a window is: the program is told by SIGWINCH. */
  resize(columns: number, rows: number): void {
    this.#libc.setWindowSize(this.#pty.masterFd, columns, rows);
  }

  /** `raw` passes every key on; `cooked` is how a shell leaves it to programs: echo, editing, signals. */
  mode(): 'raw' | 'cooked' {
    const settings = execFileSync('stty', ['-F', this.#pty.path, '-a']).toString();
    const isOn = (name: string): boolean =>
      new RegExp(`(^|[ ;])${name}( |;|$)`, 'm').test(settings);
    return isOn('icanon') && isOn('echo') && isOn('isig') ? 'cooked' : 'raw';
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.#pty.close(); // a hang-up ends the session on it
    this.heard.end();
  }

  #turn(): void {
    const bytes = this.#pty.receive();
    if (bytes.length > 0) this.heard.add(bytes);
  }
}

/** Bytes that are not to be confused with others of the same length. */
export function numberedLines(bytes: number): Buffer {
  let text = '';
  for (let i = 0; text.length < bytes; i++) text += `line ${String(i).padStart(8, '0')} abcdefgh\n`;
  return Buffer.from(text.slice(0, bytes));
}
