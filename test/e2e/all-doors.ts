import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { hashPassword } from '../../src/auth/password.ts';
import type { TlsSettings } from '../../src/core/settings.ts';
import { TestAuthority } from '../frontends/certificates.ts';
import { freeBase } from '../frontends/fakes.ts';
import { Heard, SshKit } from './console.ts';
import { freeTcpPort } from './daemon.ts';

const PASSWORD = 'open sesame';

const [IAC, DO, SUPPRESS_GO_AHEAD] = [255, 253, 3];

/** Ports with a number that the doors have place for. */
const NUMBERS = 8;

/**
 * Every door of a daemon, and a client for each. The settings go into its configuration; the user
 * alice has a key, a password and a certificate.
 */
export class AllDoors {
  readonly directory: string;
  readonly ssh: SshKit;
  /** SSH to the port with number 1. */
  readonly portSsh: SshKit;
  readonly telnetBase: number;
  readonly rawBase: number;
  readonly #tls: TlsSettings;
  readonly #password: string;
  readonly #certificate: { cert: string; key: string };
  readonly #sockets = new Set<Socket>();

  private constructor(
    directory: string,
    tcpPorts: { ssh: number; portSsh: number; telnet: number; raw: number },
    password: string,
  ) {
    this.directory = directory;
    this.ssh = new SshKit(directory, tcpPorts.ssh);
    this.portSsh = new SshKit(directory, tcpPorts.portSsh + 1);
    this.telnetBase = tcpPorts.telnet;
    this.rawBase = tcpPorts.raw;
    const authority = new TestAuthority(directory);
    this.#tls = authority.door();
    this.#certificate = authority.issue('alice');
    this.#password = password;
  }

  static async plan(directory: string): Promise<AllDoors> {
    const base = await freeBase(3 * NUMBERS);
    const tcpPorts = {
      ssh: await freeTcpPort(),
      portSsh: base,
      telnet: base + NUMBERS,
      raw: base + 2 * NUMBERS,
    };
    return new AllDoors(directory, tcpPorts, await hashPassword(PASSWORD));
  }

  /** The whole of `listen:`. `raw`: who comes in there; with certificates it has TLS. */
  listen(raw: 'certificate' | 'none', { allow = {}, caps = '{}' }: DoorRules = {}): string {
    const { cert, key, clientCa } = this.#tls;
    const tls = `tls: { cert: ${cert}, key: ${key}, clientCa: ${clientCa} }`;
    const rawAuth = raw === 'none' ? 'auth: none, as: lab' : `auth: certificate, ${tls}`;
    const from = (door: keyof typeof allow): string => `allow: [${allow[door] ?? '127.0.0.0/8'}]`;
    return `
listen:
  ssh: { address: '127.0.0.1:${this.ssh.tcpPort}', ${from('ssh')} }
  port-ssh: { base: ${this.portSsh.tcpPort - 1}, ${from('portSsh')} }
  telnet: { base: ${this.telnetBase}, ${from('telnet')} }
  raw: { base: ${this.rawBase}, ${from('raw')}, ${rawAuth} }
  caps: ${caps}
`;
  }

  /** A user's settings, by whose key and password they come in. */
  user(name: string, settings: string): string {
    const key = this.ssh.makeKey(name);
    return `${name}: { keys: ['${key}'], password: '${this.#password}', ${settings} }`;
  }

  /** A person who answers the telnet door's questions; the client speaks at once, as they do. */
  async telnet(n: number, user = 'alice', source = '127.0.0.1'): Promise<DoorClient> {
    const client = this.#keep(
      connect({ host: '127.0.0.1', port: this.telnetBase + n, localAddress: source }),
    );
    client.socket.write(Uint8Array.of(IAC, DO, SUPPRESS_GO_AHEAD));
    await client.heard.until('login: ');
    client.socket.write(`${user}\r\n`);
    await client.heard.until('Password: ');
    client.socket.write(`${PASSWORD}\r\n`);
    return client;
  }

  /** A program at the raw door; with its certificate where that has TLS. */
  async raw(n: number, source = '127.0.0.1'): Promise<DoorClient> {
    const socket = connect({ host: '127.0.0.1', port: this.rawBase + n, localAddress: source });
    const client = this.#keep(socket);
    await once(socket, 'connect');
    return client;
  }

  async rawTls(n: number, source = '127.0.0.1'): Promise<DoorClient> {
    const plain = connect({ host: '127.0.0.1', port: this.rawBase + n, localAddress: source });
    this.#sockets.add(plain);
    const client = this.#keep(connectTls({ ...this.tlsOptions(), socket: plain }));
    await once(client.socket, 'secureConnect');
    return client;
  }

  /** Of alice. */
  tlsOptions(): { ca: Buffer; cert: Buffer; key: Buffer } {
    const { cert, key } = this.#certificate;
    return {
      ca: readFileSync(this.#tls.clientCa!),
      cert: readFileSync(cert),
      key: readFileSync(key),
    };
  }

  /** The private key of a user whose settings were asked for. */
  privateKey(name: string): Buffer {
    return readFileSync(join(this.directory, `key-${name}`));
  }

  dispose(): void {
    this.ssh.dispose();
    this.portSsh.dispose();
    for (const socket of this.#sockets) socket.destroy();
  }

  #keep(socket: Socket): DoorClient {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    return { socket, heard: new Heard().listenTo(socket), closed };
  }
}

export interface DoorRules {
  /** Who may come to which door; absent: everybody on this machine. */
  allow?: Partial<Record<'ssh' | 'portSsh' | 'telnet' | 'raw', string>>;
  /** `listen.caps` */
  caps?: string;
}

export interface DoorClient {
  socket: Socket;
  heard: Heard;
  closed: Promise<void>;
}
