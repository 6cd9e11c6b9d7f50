import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2, { type Client, type Connection, type SFTPWrapper } from 'ssh2';
import { createAuthorizer } from '../../src/auth/authorizer.ts';
import type { LogReader } from '../../src/core/log-reader.ts';
import type { RegisteredPort } from '../../src/core/store.ts';
import type { User } from '../../src/core/user.ts';
import { ConnectionGuard } from '../../src/frontends/ssh/guards.ts';
import { serveSftp } from '../../src/frontends/ssh/sftp.ts';
import { createLogReader } from '../../src/log/service.ts';
import { openLogFiles, type LogFiles } from '../../src/store/log-files.ts';
import { Rig, Writer } from '../store/store-support.ts';
import { fakeServices } from './fakes.ts';
import { makeHostKey } from './host-key.ts';

export const DAY_US = 86_400_000_000;

/** An SSH server with nothing but sftp, over a real store: alice sees all ports, bob only `sw*`. */
export class SftpDoor {
  readonly directory = mkdtempSync(join(tmpdir(), 'fairlead-'));
  readonly rig = new Rig();
  readonly ports: RegisteredPort[];
  readonly services = fakeServices({});
  readonly #server: Server;
  readonly #ssh: ssh2.Server;
  readonly #files: LogFiles;
  readonly #clients: Client[] = [];
  /** Set: stands between the server and its log. */
  log: LogReader;

  constructor(ports: readonly string[]) {
    this.ports = this.rig.start(ports);
    this.#files = openLogFiles(this.rig.directory, null);
    const users = [userOf('alice', ['*']), userOf('bob', ['sw*'])];
    this.log = createLogReader(
      this.#files,
      createAuthorizer(users, {}),
      { group: () => null, aliases: (name) => (name === 'db1' ? ['oracle'] : []) },
      { clock: this.rig.clock, audit: () => undefined },
    );
    this.services.clock = this.rig.clock;
    this.#ssh = new ssh2.Server({
      hostKeys: [makeHostKey()],
    });
    this.#ssh.on('connection', (client: Connection) => this.#serve(client));
    this.#server = createServer((socket) => this.#ssh.injectSocket(socket));
  }

  get tcpPort(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    this.#files.close();
    this.rig.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Writes the records of `fill` to the log of a port. */
  fill(name: string, atUs: number, fill: (writer: Writer) => void): Writer {
    const port = this.ports.find((one) => one.name === name)!;
    const writer = new Writer(port, atUs);
    fill(writer);
    this.rig.spool.push(port.portId, writer.records);
    this.rig.drain();
    port.position = writer.position;
    return writer;
  }

  /** Runs OpenSSH's sftp with these commands. */
  sftp(commands: readonly string[], user = 'alice'): Promise<ProgramResult> {
    const batch = join(this.directory, 'batch');
    writeFileSync(batch, commands.map((command) => `${command}\n`).join(''));
    return this.#run('sftp', ['-b', batch, ...this.#options(), `${user}@127.0.0.1`]);
  }

  scp(args: readonly string[]): Promise<ProgramResult> {
    return this.#run('scp', [...this.#options(), ...args]);
  }

  /** ssh2's client. */
  async client(user = 'alice'): Promise<Client> {
    const client = new ssh2.Client();
    this.#clients.push(client);
    await new Promise<void>((resolve, reject) => {
      client.once('ready', resolve).once('error', reject);
      client.connect({ host: '127.0.0.1', port: this.tcpPort, username: user });
    });
    client.on('error', () => undefined); // it may be cut
    return client;
  }

  async connectSftp(user = 'alice'): Promise<SFTPWrapper> {
    const client = await this.client(user);
    return new Promise((resolve, reject) =>
      client.sftp((error, sftp) => (error ? reject(error) : resolve(sftp))),
    );
  }

  #options(): string[] {
    return [
      ...['-q', '-F', '/dev/null', '-P', String(this.tcpPort), '-o', 'BatchMode=yes'],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
      ...['-o', 'IdentityAgent=none', '-o', 'PreferredAuthentications=none'],
    ];
  }

  #serve(client: Connection): void {
    let user = '';
    client.on('error', () => undefined);
    client.on('authentication', (context) => {
      user = context.username;
      context.accept();
    });
    const guard = new ConnectionGuard(client, {
      onCut: (why) => this.services.journal.warn({ why }, 'ssh client cut'),
      onDirect: () => Promise.reject(new Error('not here')),
    });
    client.on('session', (accept) => {
      accept().on('subsystem', (acceptSubsystem, _reject, { name }) => {
        if (name !== 'sftp') throw new Error(`a subsystem ${name}`);
        const services = { ...this.services, log: this.log };
        const caller = { user, remote: 'test', frontend: 'ssh' as const };
        serveSftp(acceptSubsystem(), guard, services, caller);
      });
    });
  }

  async #run(program: string, args: readonly string[]): Promise<ProgramResult> {
    const child = spawn(program, args, {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], HOME: this.directory, TZ: 'UTC' },
    });
    let output = '';
    child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => (output += bytes.toString()));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, output };
  }
}

export interface ProgramResult {
  code: number | null;
  /** Both streams. */
  output: string;
}

function userOf(name: string, ports: readonly string[]): User {
  return {
    name,
    role: 'view',
    ports,
    keys: [],
    password: null,
    unix: null,
    from: [],
    totp: null,
    principals: [],
    escape: null,
  };
}
