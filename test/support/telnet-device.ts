import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { encodeComPort, parseComPort, type ComPortCommand } from '../../src/protocols/rfc2217.ts';
import {
  decodeTelnet,
  encodeNegotiation,
  encodeTelnet,
  TELNET_START,
  type TelnetCommand,
} from '../../src/protocols/telnet.ts';
import { TELNET_OPTIONS, type Negotiation } from '../../src/protocols/telnet-options.ts';

export interface TelnetDeviceOptions {
  /** Options the server takes part in, on both sides. */
  agrees?: readonly number[];
  /** Does not answer negotiation at all. */
  isSilent?: boolean;
  /** What the server says before anything else. */
  greeting?: Uint8Array;
  /** It speaks TLS. */
  secure?: tls.TlsOptions | null;
  /** The server's answer to a request; null: none. Default: it is done. */
  answer?: (request: ComPortCommand) => ComPortCommand | null;
}

const { binary, suppressGoAhead, comPort } = TELNET_OPTIONS;
export const ALL_OPTIONS = [binary, suppressGoAhead, comPort];
/** What has come and was not fetched, before the device takes no more. */
const HELD_BYTES = 65_536;

/** A telnet and RFC 2217 server for one client at a time, with the device behind it played by a test. */
export class TelnetDevice {
  readonly server: net.Server;
  readonly requests: ComPortCommand[] = [];
  readonly commands: TelnetCommand[] = [];
  readonly negotiations: Negotiation[] = [];
  /** Data as it came: undoubled, not otherwise translated. */
  #got: Buffer[] = [];
  #gotBytes = 0;
  #client: net.Socket | null = null;
  readonly #options: Required<Omit<TelnetDeviceOptions, 'greeting' | 'secure'>>;
  readonly #connected: (() => void)[] = [];

  constructor(options: TelnetDeviceOptions = {}) {
    const { agrees = ALL_OPTIONS, isSilent = false, answer = answerAsAsked } = options;
    const { greeting, secure = null } = options;
    this.#options = { agrees, isSilent, answer };
    const serve = (socket: net.Socket): void => this.#serve(socket, greeting);
    this.server = secure === null ? net.createServer(serve) : tls.createServer(secure, serve);
  }

  get tcpPort(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async start(): Promise<this> {
    this.server.listen({ host: '127.0.0.1', port: 0 });
    await once(this.server, 'listening');
    return this;
  }

  /** The device says this. */
  readonly send = (bytes: Uint8Array): Promise<void> => this.sendRaw(encodeTelnet(bytes));

  async sendRaw(bytes: Uint8Array): Promise<void> {
    if (this.#client === null) await new Promise<void>((resolve) => this.#connected.push(resolve));
    const socket = this.#client!;
    if (!socket.destroyed && !socket.write(bytes)) await once(socket, 'drain');
  }

  tell(command: ComPortCommand): Promise<void> {
    return this.sendRaw(encodeComPort('server', command));
  }

  /** What the device has got since the last call. */
  readonly receive = (): Buffer => {
    const bytes = Buffer.concat(this.#got);
    this.#got = [];
    this.#gotBytes = 0;
    this.#client?.resume();
    return bytes;
  };

  readonly leave = (): void => {
    this.#client?.end();
  };

  readonly dispose = async (): Promise<void> => {
    this.#client?.destroy();
    if (!this.server.listening) return;
    this.server.close();
    await once(this.server, 'close');
  };

  #serve(socket: net.Socket, greeting: Uint8Array | undefined): void {
    this.#client?.destroy();
    this.#client = socket;
    let state = TELNET_START;
    const isOn = new Set<string>();
    socket.on('error', () => undefined);
    if (greeting !== undefined) socket.write(greeting);
    socket.on('data', (bytes: Buffer) => {
      const decoded = decodeTelnet(state, bytes);
      state = decoded.state;
      for (const event of decoded.events) {
        if (event.kind === 'data') this.#keep(Buffer.from(event.bytes));
        else if (event.kind === 'command') this.commands.push(event.command);
        else if (event.kind === 'negotiate') this.#negotiate(socket, event, isOn);
        else if (event.kind === 'subnegotiation') this.#serveRequest(socket, event.bytes);
      }
      if (this.#gotBytes > HELD_BYTES) socket.pause();
    });
    for (const resolve of this.#connected.splice(0)) resolve();
  }

  #keep(bytes: Buffer): void {
    this.#got.push(bytes);
    this.#gotBytes += bytes.length;
  }

  #negotiate(socket: net.Socket, { verb, option }: Negotiation, isOn: Set<string>): void {
    this.negotiations.push({ verb, option });
    const { agrees, isSilent } = this.#options;
    const key = `${verb} ${option}`;
    if (isSilent || verb === 'wont' || verb === 'dont' || isOn.has(key)) return;
    isOn.add(key);
    const yes = verb === 'will' ? 'do' : 'will';
    const no = verb === 'will' ? 'dont' : 'wont';
    socket.write(encodeNegotiation(agrees.includes(option) ? yes : no, option));
  }

  #serveRequest(socket: net.Socket, bytes: Uint8Array): void {
    const request = parseComPort('client', bytes);
    if (request === null) return;
    this.requests.push(request);
    const answer = this.#options.answer(request);
    if (answer !== null) socket.write(encodeComPort('server', answer));
  }
}

/** A server that can do all, with DTR on and RTS off. */
export function answerAsAsked(request: ComPortCommand): ComPortCommand | null {
  if (request.kind === 'suspend' || request.kind === 'resume') return null;
  if (request.kind === 'control' && request.value === 7) return { kind: 'control', value: 8 };
  if (request.kind === 'control' && request.value === 10) return { kind: 'control', value: 12 };
  return request;
}
