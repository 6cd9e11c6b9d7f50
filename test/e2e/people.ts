import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Libc } from '../../src/core/libc.ts';
import type { PortStatus } from '../../src/core/port-status.ts';
import { requireLibc } from '../support/pty.ts';
import { Machine, SshKit, Terminal, type Heard, type SshClient } from './console.ts';
import { Daemon, freeTcpPort, MAIN, scratchDirectory, type CommandResult } from './daemon.ts';

/** A daemon, machines at its ports, and people who come to them. */
export class People {
  readonly libc: Libc;
  readonly directory = scratchDirectory();
  readonly ssh: SshKit;
  daemon!: Daemon;
  readonly #machines: Machine[] = [];
  readonly #terminals: Terminal[] = [];

  private constructor(libc: Libc, tcpPort: number) {
    this.libc = libc;
    this.ssh = new SshKit(this.directory.path, tcpPort);
  }

  static async make(): Promise<People> {
    return new People(await requireLibc(), await freeTcpPort());
  }

  file(name: string): string {
    return join(this.directory.path, name);
  }

  machine(): Machine {
    const made = new Machine(this.libc);
    this.#machines.push(made);
    return made;
  }

  /** `yaml`: all but the data directory. Resolves when these ports are up. */
  async start(yaml: string, ports: readonly string[]): Promise<void> {
    this.daemon = await Daemon.start(this.directory.path, `data: ./data\n${yaml}`);
    for (const name of ports) {
      await this.daemon.said('port up', ({ port }) => port === name);
    }
  }

  /** After a test, so that one that failed leaves nobody behind. */
  endClients(): void {
    for (const terminal of this.#terminals) terminal.dispose();
    this.ssh.dispose();
  }

  async dispose(): Promise<void> {
    this.endClients();
    await this.daemon?.stop();
    for (const machine of this.#machines) machine.dispose();
    this.directory.dispose();
  }

  /** OpenSSH's client with a terminal on the server's side, once it was greeted. */
  async attach(login: string, greeting: string | RegExp): Promise<SshClient> {
    const client = this.ssh.spawn(['-tt', `${login}@127.0.0.1`], { key: userOf(login) });
    await client.out.until(greeting);
    return client;
  }

  /** By the keys, as they are without configuration. */
  async leave(...clients: SshClient[]): Promise<void> {
    for (const client of clients) {
      client.type('\x05c.');
      assert.equal(await client.exited, 0, client.out.text.slice(-500));
    }
  }

  /** A verb over SSH, without a terminal. */
  verb(user: string, ...words: string[]): Promise<CommandResult & { out: string }> {
    return this.ssh.run([`${user}@127.0.0.1`, ...words], { key: user });
  }

  /** A program in a terminal of its own, such as a shell. */
  terminal(command: readonly string[]): Terminal {
    const made = new Terminal(this.libc, command);
    this.#terminals.push(made);
    return made;
  }

  /** The shell's command line of a verb. */
  fairlead(...words: string[]): string[] {
    return [process.execPath, MAIN, '--config', this.daemon.configPath, ...words];
  }

  /** The rows that a verb prints as JSON. */
  async rows<Row>(...words: string[]): Promise<Row[]> {
    const { code, stdout, stderr } = await this.daemon.cli([...words, '--json']);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout.toString()) as Row[];
  }

  /** Asks until the port is as wanted. */
  async portIs(name: string, wanted: (status: PortStatus) => boolean): Promise<PortStatus> {
    for (;;) {
      const [status] = await this.rows<PortStatus>('ports', name);
      if (wanted(status!)) return status!;
    }
  }

  /** All records of a port, typed input included, as soon as so many are as wanted. */
  async records(port: string, wanted: (record: Row) => boolean, count = 1): Promise<Row[]> {
    for (;;) {
      const { code, stdout, stderr } = await this.daemon.cli([
        ...['log', port, '--format', 'jsonl', '--tx'],
      ]);
      assert.equal(code, 0, stderr);
      const lines = stdout.toString().trim().split('\n');
      const rows = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Row);
      if (rows.filter(wanted).length >= count) return rows;
    }
  }
}

export type Row = Record<string, unknown>;

interface Typist {
  type(keys: string): void;
  readonly out?: Heard;
  readonly heard?: Heard;
}

/** Types, and resolves with what was printed since, once that holds `expected`. */
export async function press(
  typist: Typist,
  keys: string,
  expected: string | RegExp,
): Promise<string> {
  const screen = (typist.out ?? typist.heard)!;
  const from = screen.length;
  typist.type(keys);
  return (await screen.until(expected, from)).slice(from);
}

/** `bob` of `bob:db1:view` and `bob+db1`. */
function userOf(login: string): string {
  return /^[^:+]+/.exec(login)![0];
}
