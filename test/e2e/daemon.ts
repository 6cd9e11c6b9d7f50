import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { readDataId } from '../../src/store/data-directory.ts';
import { findSpool } from '../../src/store/spool-file.ts';

/** The compiled program, as `npm start` runs it. */
export const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

/** What it is started with, as the first line of src/main.ts says. */
const NODE_FLAGS = ['--max-semi-space-size=2'];
const NODE_ENVIRONMENT = { UV_THREADPOOL_SIZE: '16', MALLOC_ARENA_MAX: '2' };

export interface CommandResult {
  code: number | null;
  stdout: Buffer;
  stderr: string;
}

/** Runs a program to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: { input?: Uint8Array | string; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<CommandResult> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: options.env ?? process.env,
    ...(options.cwd ? { cwd: options.cwd } : {}),
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on('error', () => undefined); // it may end before it has read all
  child.stdin.end(options.input ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
}

/** A TCP port, or the first of a run of them, that nobody listens on now. */
export async function freeTcpPort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A directory of the test's own; `dispose` removes it, and the spools of the data directories in it. */
export function scratchDirectory(): { path: string; dispose(): void } {
  const path = mkdtempSync(join(tmpdir(), 'fairlead-test-'));
  return {
    path,
    dispose() {
      for (const name of readdirSync(path)) {
        const data = join(path, name);
        const id = existsSync(join(data, 'data-id')) ? readDataId(data) : null;
        const spool = id === null ? null : findSpool(id, { dataDirectory: data });
        if (spool !== null) rmSync(spool, { force: true });
      }
      rmSync(path, { recursive: true, force: true });
    },
  };
}

/** One line of the daemon's journal. */
export interface JournalEntry {
  level: string;
  msg: string;
  [field: string]: unknown;
}

export interface DaemonOptions {
  env?: NodeJS.ProcessEnv;
  /** A program and its arguments that runs the daemon. */
  wrapper?: readonly string[];
}

/** A real daemon in a process of its own. */
export class Daemon {
  readonly process: ChildProcess;
  readonly configPath: string;
  readonly journal: JournalEntry[] = [];
  readonly exited: Promise<number | null>;
  #listeners = new Set<() => void>();

  private constructor(configPath: string, env: NodeJS.ProcessEnv, wrapper: readonly string[]) {
    this.configPath = configPath;
    const node = [process.execPath, ...NODE_FLAGS, MAIN];
    const command = [...wrapper, ...node, 'serve', '--config', configPath];
    this.process = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...NODE_ENVIRONMENT, ...process.env, ...env },
    });
    this.exited = once(this.process, 'exit').then(([code]) => code as number | null);
    for (const stream of [this.process.stdout!, this.process.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => this.#hear(line));
    }
    void this.exited.then(() => this.#tell());
  }

  /** Writes the configuration, starts the daemon and resolves when it says `ready`. */
  static async start(
    directory: string,
    yaml: string,
    options: DaemonOptions = {},
  ): Promise<Daemon> {
    const daemon = Daemon.launch(directory, yaml, options);
    await daemon.said('ready');
    return daemon;
  }

  /** The same without waiting: it may be killed while it starts. */
  static launch(directory: string, yaml: string, options: DaemonOptions = {}): Daemon {
    const configPath = join(directory, 'fairlead.yaml');
    writeFileSync(configPath, yaml);
    return new Daemon(configPath, options.env ?? {}, options.wrapper ?? []);
  }

  #hear(line: string): void {
    try {
      this.journal.push(JSON.parse(line) as JournalEntry);
    } catch {
      this.journal.push({ level: 'raw', msg: line });
    }
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** The first journal line of that message (and fields), said already or yet to come. */
  async said(
    msg: string,
    matches: (entry: JournalEntry) => boolean = () => true,
  ): Promise<JournalEntry> {
    for (;;) {
      const found = this.journal.find((entry) => entry.msg === msg && matches(entry));
      if (found) return found;
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        const last = this.journal.slice(-20).map((entry) => JSON.stringify(entry));
        throw new Error(`the daemon ended before it said "${msg}":\n${last.join('\n')}`);
      }
      await new Promise<void>((resolve) => {
        const listener = (): void => {
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      });
    }
  }

  /** Runs a verb in a shell of its own against this daemon's configuration. */
  cli(args: readonly string[], input?: Uint8Array | string): Promise<CommandResult> {
    // In front: behind the text of `send` it would be text.
    return cli(['--config', this.configPath, ...args], input);
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.process.exitCode === null && this.process.signalCode === null) this.signal(signal);
    return this.exited;
  }
}

export function cli(args: readonly string[], input?: Uint8Array | string): Promise<CommandResult> {
  return run(process.execPath, [MAIN, ...args], input === undefined ? {} : { input });
}
