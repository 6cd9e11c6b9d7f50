import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DoorLimits } from '../../src/frontends/door.ts';
import { SshFrontend } from '../../src/frontends/ssh/frontend.ts';
import { FakePorts, fakeServices, noPenalties, VERBS } from './fakes.ts';

/** An SSH door with fakes behind it, and OpenSSH's client in front of it. */
export class SshDoor {
  readonly directory = mkdtempSync(join(tmpdir(), 'fairlead-'));
  readonly ports = new FakePorts();
  readonly services;
  readonly frontend: SshFrontend;
  readonly #clients: ChildProcessWithoutNullStreams[] = [];

  /** Users: alice and bob by key (`alice`, `bob`), carol by password, and eve's key is nobody's. */
  constructor(limits: Partial<DoorLimits> = {}) {
    this.services = fakeServices({
      alice: { key: this.#makeKey('alice', 'ed25519') },
      bob: { key: this.#makeKey('bob', 'rsa') },
      carol: { password: 'open sesame' },
    });
    this.#makeKey('eve', 'ed25519');
    this.frontend = new SshFrontend(
      { host: '127.0.0.1', tcpPort: 0, allow: [] },
      {
        services: this.services,
        openSession: this.ports.open,
        isVerb: (word) => VERBS.includes(word),
        timeZone: 'Etc/UTC',
        keysDirectory: join(this.directory, 'keys'),
        penalties: noPenalties(),
        limits,
      },
    );
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
    await this.frontend.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Starts OpenSSH's client; `key` empty: password from an askpass program. */
  spawn(
    args: readonly string[],
    { key = 'alice', password = '', environment = {}, logLevel = 'ERROR' }: RunOptions = {},
  ) {
    const identity =
      key === ''
        ? ['-o', 'PubkeyAuthentication=no', '-o', 'NumberOfPasswordPrompts=1']
        : ['-i', this.keyFile(key), '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'];
    const askpass = join(this.directory, 'askpass');
    writeFileSync(askpass, `#!/bin/sh\nprintf '%s\\n' "$FAKE_PASSWORD"\n`, { mode: 0o700 });
    const client = spawn(
      'ssh',
      [
        ...['-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', `LogLevel=${logLevel}`],
        ...['-o', `UserKnownHostsFile=${join(this.directory, 'known_hosts')}`],
        ...['-o', 'IdentityAgent=none', '-p', String(this.frontend.tcpPort)],
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
  environment?: Record<string, string>;
  input?: string | Buffer;
  logLevel?: string;
}

export interface SshResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

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
