import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PROJECT } from '../support/project.ts';
import { until } from '../support/pty.ts';
import { Heard } from './console.ts';
import type { Daemon, JournalEntry } from './daemon.ts';

export const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

/** 1 MB as firmware is: every byte after ^E, after ^Ec, after IAC and after CR among random ones. */
export function firmware(): Buffer {
  const awkward = [...ALL_BYTES].flatMap((byte) => [
    ...[0x05, byte, 0x05, 0x63, byte, 0xff, byte, 0xff, 0xff, byte],
    ...[0x0d, byte, 0x0a, byte, 0xff, 0xfa, byte, 0xff, 0xf0],
  ]);
  const random = randomBytes(1_000_000 - awkward.length);
  return Buffer.concat([
    random.subarray(0, 500_000),
    Buffer.from(awkward),
    random.subarray(500_000),
  ]);
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A line behind TCP: what the daemon connects to, and the test plays. */
export class Wire {
  readonly heard = new Heard();
  readonly #server: Server;
  #socket: Socket | null = null;

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#socket = socket;
      socket.on('data', (bytes: Buffer) => this.heard.add(bytes));
      socket.on('error', () => undefined);
    });
  }

  static async open(): Promise<Wire> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Wire(server);
  }

  get tcpPort(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  say(bytes: string | Uint8Array): void {
    this.#socket!.write(bytes);
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }
}

/** The next so many bytes that come; a test may fail before it waits for them. */
export function next(heard: Heard, count: number): Promise<Buffer> {
  const from = heard.length;
  const all = heard.untilLength(from + count).then((bytes) => bytes.subarray(from, from + count));
  all.catch(() => undefined);
  return all;
}

/** pyserial in a process of its own: test/e2e/pyserial.py. */
export class PySerial {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;

  constructor() {
    // Debian's own Python: another one would not have Debian's pyserial.
    this.#child = spawn('/usr/bin/python3', [join(PROJECT, 'test/e2e/pyserial.py')]);
    this.#child.stderr.resume();
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** What an expression comes to. */
  async value(expression: string): Promise<unknown> {
    const { value, error } = await this.#ask(expression);
    assert.equal(error, undefined, expression);
    return value;
  }

  /** The exception that it ends in. */
  async error(expression: string): Promise<string> {
    const { error } = await this.#ask(expression);
    assert.ok(error !== undefined, `${expression} is refused`);
    return error;
  }

  async set(attribute: string, value: string): Promise<void> {
    await this.value(`setattr(port, '${attribute}', ${value})`);
  }

  async end(): Promise<void> {
    if (hasEnded(this.#child)) return;
    const ended = once(this.#child, 'close');
    this.#child.stdin.end();
    await ended;
  }

  async #ask(expression: string): Promise<{ value?: unknown; error?: string }> {
    this.#child.stdin.write(`${expression}\n`);
    const line = await this.#answers.next();
    assert.ok(!line.done, `pyserial ended at ${expression}`);
    return JSON.parse(line.value) as { value?: unknown; error?: string };
  }
}

/** Ends a program of ours, as its user would by a signal. */
export async function end(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'close');
  child.kill();
  await ended;
}

function hasEnded({ exitCode, signalCode }: ChildProcessWithoutNullStreams): boolean {
  return exitCode !== null || signalCode !== null;
}

/** The next session on a port; to be called before somebody comes. */
export function nextSession(daemon: Daemon, port: string): Promise<JournalEntry> {
  const before = new Set(daemon.journal);
  const find = (): JournalEntry | undefined =>
    daemon.journal.find(
      (entry) => entry.msg === 'session attached' && entry['port'] === port && !before.has(entry),
    );
  const session = inTime(daemon, () => find() !== undefined, `a session on ${port}`).then(() =>
    find()!,
  );
  session.catch(() => undefined); // a test may fail before it waits for it
  return session;
}

export async function everybodyLeft(daemon: Daemon): Promise<void> {
  const count = (msg: string): number => daemon.journal.filter((entry) => entry.msg === msg).length;
  const isEmpty = (): boolean => count('session attached') === count('session ended');
  await inTime(daemon, isEmpty, 'the end of every session');
}

async function inTime(daemon: Daemon, condition: () => boolean, what: string): Promise<void> {
  await until(condition, what, 90_000).catch((error: Error) => {
    const last = daemon.journal.slice(-20).map((entry) => JSON.stringify(entry));
    error.message += `; the journal ends with\n${last.join('\n')}`;
    throw error;
  });
}

/** What the daemon's journal holds that an operator would look into, but for what is expected. */
export function troubles(daemon: Daemon, expected: readonly RegExp[] = []): string[] {
  return daemon.journal
    .filter(({ level }) => !['trace', 'debug', 'info'].includes(level))
    .map((entry) => JSON.stringify(entry))
    .filter((line) => !expected.some((each) => each.test(line)));
}
