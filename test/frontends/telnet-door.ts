import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { TelnetDoorSettings } from '../../src/core/settings.ts';
import type { DoorLimits } from '../../src/frontends/door.ts';
import { TelnetFrontend } from '../../src/frontends/telnet/frontend.ts';
import {
  decodeTelnet,
  encodeNegotiation,
  encodeSubnegotiation,
  TELNET_START,
  type TelnetState,
  type TelnetVerb,
} from '../../src/protocols/telnet.ts';
import { FakePorts, fakeServices, noPenalties, type FakeUser } from './fakes.ts';

export const PORTS = [
  { name: 'db1', n: 1 },
  { name: 'echo', n: 2 },
];

/** Telnet doors of db1 and echo with fakes behind them; by default everybody is lab. */
export class TelnetDoor {
  readonly ports = new FakePorts();
  readonly services;
  readonly frontend: TelnetFrontend;
  readonly settings: TelnetDoorSettings;
  readonly #clients: TelnetPeer[] = [];

  static async open(options: TelnetDoorOptions = {}): Promise<TelnetDoor> {
    for (;;) {
      const door = new TelnetDoor(someBase(), options);
      await door.frontend.start();
      if (PORTS.every(({ name }) => door.frontend.tcpPortOf(name) !== null)) return door;
      await door.frontend.stop(); // another test has one of them
    }
  }

  constructor(base: number, options: TelnetDoorOptions) {
    this.services = fakeServices({ lab: {}, ...options.users });
    this.settings = {
      host: '127.0.0.1',
      base,
      aliasBase: null,
      allow: ['127.0.0.0/8'],
      auth: 'none',
      as: 'lab',
      tls: null,
      busy: 'view',
      ...options.settings,
    };
    this.frontend = new TelnetFrontend(
      { telnet: this.settings, banner: options.banner ?? null },
      PORTS,
      {
        services: this.services,
        openSession: this.ports.open,
        version: '1.2.3',
        penalties: noPenalties(),
        limits: { retryMs: 50, ...options.limits },
        telnetLimits: { settleMs: options.settleMs ?? 20, failureDelayMs: 1 },
      },
    );
  }

  async enter(port = 'db1', tcpPort?: number): Promise<TelnetPeer> {
    const socket = connect({
      port: tcpPort ?? this.frontend.tcpPortOf(port)!,
      host: '127.0.0.1',
    });
    const peer = new TelnetPeer(socket);
    this.#clients.push(peer);
    await new Promise((resolve) => socket.once('connect', resolve).once('error', resolve));
    return peer;
  }

  /** Enters as an RFC 2217 client and has its session. */
  async program(port = 'db1'): Promise<TelnetPeer> {
    const peer = await this.enter(port);
    const count = this.ports.sessions.length;
    peer.say('will', 44);
    await this.attached(count + 1);
    await peer.until(() => peer.options.length > 0); // the signals at the beginning
    peer.options.splice(0);
    return peer;
  }

  async attached(count: number): Promise<void> {
    await this.ports.until(() => this.ports.sessions.length >= count);
  }

  async close(): Promise<void> {
    for (const { socket } of this.#clients) socket.destroy();
    await this.frontend.stop();
  }
}

export interface TelnetDoorOptions {
  users?: Record<string, FakeUser>;
  settings?: Partial<TelnetDoorSettings>;
  banner?: string;
  limits?: Partial<DoorLimits>;
  settleMs?: number;
}

/** A client that says what a test tells it to, and keeps what it hears. */
export class TelnetPeer {
  readonly socket: Socket;
  readonly gone: Promise<void>;
  /** Data as the wire has it, IAC undoubled. */
  data = Buffer.alloc(0);
  /** `will 1` */
  readonly said: string[] = [];
  /** `44 6b00`, number and hex. */
  readonly options: string[] = [];
  readonly commands: string[] = [];
  isGone = false;
  #state: TelnetState = TELNET_START;
  readonly #waiters = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => this.#hear(bytes));
    this.gone = new Promise((resolve) =>
      socket.once('close', () => {
        this.isGone = true;
        this.#changed();
        resolve();
      }),
    );
  }

  get text(): string {
    return this.data.toString('latin1');
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  say(verb: TelnetVerb, option: number): void {
    this.send(encodeNegotiation(verb, option));
  }

  option(option: number, hex: string): void {
    this.send(encodeSubnegotiation(option, Buffer.from(hex, 'hex')));
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.isGone) throw new Error(`gone; heard ${JSON.stringify(this.text)}`);
      await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  heard(text: string): Promise<void> {
    return this.until(() => this.text.includes(text));
  }

  #hear(bytes: Buffer): void {
    const { state, events } = decodeTelnet(this.#state, bytes);
    this.#state = state;
    for (const event of events) {
      if (event.kind === 'data') this.data = Buffer.concat([this.data, event.bytes]);
      else if (event.kind === 'negotiate') this.said.push(`${event.verb} ${event.option}`);
      else if (event.kind === 'command') this.commands.push(event.command);
      else if (event.kind === 'subnegotiation') {
        this.options.push(`${event.option} ${Buffer.from(event.bytes).toString('hex')}`);
      }
    }
    this.#changed();
  }

  #changed(): void {
    for (const wake of [...this.#waiters]) wake();
    this.#waiters.clear();
  }
}

/** Below the range from which Linux takes the numbers of clients. */
function someBase(): number {
  return randomInt(1_000, 3_000) * 10;
}
