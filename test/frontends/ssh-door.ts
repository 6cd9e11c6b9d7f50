import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DoorLimits } from '../../src/frontends/door.ts';
import { SshFrontend } from '../../src/frontends/ssh/frontend.ts';
import { PortSshFrontend } from '../../src/frontends/ssh/port-frontend.ts';
import { SshServer } from '../../src/frontends/ssh/server.ts';
import { FakePorts, fakeServices, noPenalties, VERBS, type FakeUser } from './fakes.ts';

export interface SshDoorOptions {
  banner?: string;
  /** Of another door. */
  keysDirectory?: string;
  users?: Record<string, FakeUser>;
}

/** SSH doors with fakes behind them, and OpenSSH's client in front of them. */
export class SshDoor {
  readonly directory = mkdtempSync(join(tmpdir(), 'fairlead-'));
  readonly ports = new FakePorts();
  readonly services;
  readonly server: SshServer;
  readonly frontend: SshFrontend;
  /** The door of db1, alias core, once `openPortDoor` was called. */
  readonly portFrontend: PortSshFrontend;
  readonly #clients: ChildProcessWithoutNullStreams[] = [];

  /** Users: alice and bob by key (`alice`, `bob`), carol by password, and eve's key is nobody's. */
  constructor(limits: Partial<DoorLimits> = {}, options: SshDoorOptions = {}) {
    this.services = fakeServices({
      alice: { key: this.#makeKey('alice', 'ed25519') },
      bob: { key: this.#makeKey('bob', 'rsa') },
      carol: { password: 'open sesame' },
      ...options.users,
    });
    this.#makeKey('eve', 'ed25519');
    const { journal } = this.services;
    this.server = new SshServer({
      services: this.services,
      openSession: this.ports.open,
      isVerb: (word) => VERBS.includes(word),
      timeZone: 'Etc/UTC',
      keysDirectory: options.keysDirectory ?? this.keysDirectory,
      banner: options.banner ?? null,
      ...(limits.retryMs !== undefined && { retryMs: limits.retryMs }),
    });
    const deps = { journal, penalties: noPenalties(), limits };
    this.frontend = new SshFrontend(
      { host: '127.0.0.1', tcpPort: 0, allow: [] },
      this.server,
      deps,
    );
    this.portFrontend = new PortSshFrontend(null, [], this.server, deps);
  }

  get keysDirectory(): string {
    return join(this.directory, 'keys');
  }

  /** Opens the door of db1, alias core; returns its TCP port, null: it stays shut. */
  async openPortDoor(): Promise<number | null> {
    await this.portFrontend.start();
    // Base and number make 0: any free one.
    const settings = { host: '127.0.0.1', base: -1, allow: [] };
    await this.portFrontend.update(settings, [{ name: 'db1', n: 1, aliases: ['core'] }]);
    return this.portFrontend.tcpPortOf('db1');
  }

  keyFile(name: string): string {
    return join(this.directory, name);
  }

  async start(): Promise<this> {
    await this.frontend.start();
    return this;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.kill('SIGKILL');
    await this.portFrontend.stop();
    await this.frontend.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Starts OpenSSH's client; `key` empty: password from an askpass program. */
  spawn(
    args: readonly string[],
    {
      key = 'alice',
      password = '',
      code = '',
      environment = {},
      logLevel = 'ERROR',
      tcpPort = this.frontend.tcpPort,
    }: RunOptions = {},
  ) {
    const identity =
      key === ''
        ? ['-o', 'PubkeyAuthentication=no', '-o', 'NumberOfPasswordPrompts=1']
        : ['-i', this.keyFile(key), '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'];
    const askpass = join(this.directory, 'askpass');
    writeFileSync(askpass, ASKPASS, { mode: 0o700 });
    const client = spawn(
      'ssh',
      [
        ...['-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', `LogLevel=${logLevel}`],
        ...['-o', `UserKnownHostsFile=${join(this.directory, 'known_hosts')}`],
        ...['-o', 'IdentityAgent=none', '-p', String(tcpPort)],
        ...identity,
        ...args,
      ],
      {
        env: {
          PATH: process.env['PATH'],
          HOME: this.directory,
          SSH_ASKPASS: askpass,
          SSH_ASKPASS_REQUIRE: 'force',
          FAKE_PASSWORD: password,
          FAKE_CODE: code,
          ...environment,
        },
      },
    );
    client.stdin.on('error', () => undefined); // it may exit before it has read all
    this.#clients.push(client);
    return client;
  }

  /** Runs OpenSSH's client to its end. */
  async run(args: readonly string[], options: RunOptions = {}): Promise<SshResult> {
    const client = this.spawn(args, options);
    client.stdin.end(options.input ?? '');
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    client.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
    client.stderr.on('data', (bytes: Buffer) => stderr.push(bytes));
    const code = await new Promise<number | null>((resolve) => client.once('close', resolve));
    return {
      code,
      stdout: Buffer.concat(stdout).toString('latin1'),
      stderr: Buffer.concat(stderr).toString('latin1'),
    };
  }

  #makeKey(name: string, type: string): string {
    const path = this.keyFile(name);
    execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', name, '-f', path]);
    return readFileSync(`${path}.pub`, 'utf8').split(' ')[1]!;
  }
}

export interface RunOptions {
  key?: string;
  password?: string;
  /** Answer to a prompt that asks for a code. */
  code?: string;
  /** Of another door than that of all ports. */
  tcpPort?: number | null;
  environment?: Record<string, string>;
  input?: string | Buffer;
  logLevel?: string;
}

export interface SshResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

const ASKPASS = `#!/bin/sh
case "$1" in *Code*) printf '%s\\n' "$FAKE_CODE" ;; *) printf '%s\\n' "$FAKE_PASSWORD" ;; esac
`;

/** Resolves once the stream has said `text`. */
export function heard(stream: NodeJS.ReadableStream, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let all = '';
    const listener = (bytes: Buffer) => {
      all += bytes.toString('latin1');
      if (!all.includes(text)) return;
      stream.off('data', listener);
      resolve(all);
    };
    stream.on('data', listener);
    stream.once('end', () => reject(new Error(`ended without "${text}": ${all}`)));
  });
}

/** A TCP port that nobody listens on now. */
export async function freeTcpPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
