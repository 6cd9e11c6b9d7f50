import assert from 'node:assert/strict';
import { Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import type { TelnetDoorSettings } from '../../core/settings.ts';
import { encodeCommand, encodeSubnegotiation } from '../../protocols/telnet.ts';
import {
  parseTerminalType,
  parseWindowSize,
  TELNET_OPTIONS,
  TERMINAL_TYPE_SEND,
  type Side,
  type Supported,
} from '../../protocols/telnet-options.ts';
import { notice } from '../../sessions/notices.ts';
import type { LineEvent, Session, SessionOutput } from '../../sessions/session.ts';
import { attachMode } from '../attach-mode.ts';
import type { OpenSession } from '../binary-session.ts';
import { doorUser } from '../door-user.ts';
import type { Guest } from '../door.ts';
import { isHttpRequest } from '../http-request.ts';
import { LastWords } from '../last-words.ts';
import { ComPort } from './com-port.ts';
import { LineDialog, type DialogScreen } from './line-dialog.ts';
import { askForLogin } from './login.ts';
import { TelnetWire, type WireEvent, type WireListener } from './wire.ts';

export interface TelnetClientSettings extends Pick<TelnetDoorSettings, 'auth' | 'as' | 'busy'> {
  port: string;
}

export interface TelnetClientDeps {
  services: FrontendServices;
  openSession: OpenSession;
  /** Of Fairlead, for the signature of RFC 2217. */
  version: string;
  /** Said before login; null: nothing. */
  banner: string | null;
  limits?: Partial<TelnetLimits>;
}

export interface TelnetLimits {
  /** A client that says nothing for this long after it came is taken for a person. */
  settleMs: number;
  /** A wrong password is answered so late. */
  failureDelayMs: number;
}

export const TELNET_LIMITS: TelnetLimits = { settleMs: 500, failureDelayMs: 1_000 };

/**
 * One client of a telnet door. It is a person until it negotiates COM-PORT (RFC 2217) or BINARY: then,
 * and for good, it is a program, byte-transparent, without notices, keys or skipping.
 */
export function serveTelnetClient(
  guest: Guest,
  settings: TelnetClientSettings,
  deps: TelnetClientDeps,
): void {
  new TelnetClient(guest, settings, deps).serve();
}

class TelnetClient implements WireListener {
  readonly #guest: Guest;
  readonly #settings: TelnetClientSettings;
  readonly #deps: TelnetClientDeps;
  readonly #limits: TelnetLimits;
  readonly #services: FrontendServices;
  readonly #wire: TelnetWire;
  readonly #lastWords: LastWords;
  readonly #screen: DialogScreen;
  /** null: this door asks for no login. */
  readonly #dialog: LineDialog | null;
  readonly #settled = new Gate<void>();
  /** Opens with null when there will be none. */
  readonly #attached = new Gate<Session | null>();
  #session: Session | null = null;
  #comPort: ComPort | null = null;
  #isProgram = false;
  #isFirstData = true;
  #terminal: string | null = null;
  #size = { columns: 80, rows: 24 };
  /** Output that waits while the client has suspended it; the session's credit bounds it. */
  #held: { bytes: Uint8Array; done: () => void }[] = [];

  constructor(guest: Guest, settings: TelnetClientSettings, deps: TelnetClientDeps) {
    const { port } = settings;
    const { services } = deps;
    const journal = services.journal.child({ port, remote: guest.remote });
    this.#guest = guest;
    this.#settings = settings;
    this.#deps = deps;
    this.#limits = { ...TELNET_LIMITS, ...deps.limits };
    this.#services = { ...services, journal };
    // Until they are logged in, people have no line to set.
    const supported = settings.auth === 'login' ? WITHOUT_COM_PORT : WITH_COM_PORT;
    this.#wire = new TelnetWire(guest.socket, supported, journal, this);
    this.#screen = {
      write: (bytes) => this.#wire.tell(bytes),
      isEchoing: () => this.#wire.isOn('us', TELNET_OPTIONS.echo),
    };
    this.#dialog = settings.auth === 'login' ? new LineDialog(this.#screen) : null;
    this.#lastWords = new LastWords(() => {
      this.#session?.detach('the client sent all it had, and the line fell silent');
      this.#end();
    });
  }

  serve(): void {
    const { socket } = this.#guest;
    const timer = setTimeout(() => this.#settled.open(), this.#limits.settleMs);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    socket.once('data', () => this.#guest.identified());
    socket.once('close', () => {
      clearTimeout(timer);
      this.#lastWords.stop();
      this.#session?.detach('the client left');
      this.#over();
    });
    // What servers in character mode offer; a client's answer tells whether it speaks telnet.
    this.#wire.ask('us', TELNET_OPTIONS.echo);
    this.#wire.ask('us', TELNET_OPTIONS.suppressGoAhead);
    this.#wire.ask('them', TELNET_OPTIONS.suppressGoAhead);
    this.#wire.ask('them', TELNET_OPTIONS.terminalType);
    this.#wire.ask('them', TELNET_OPTIONS.windowSize);
    this.#serve().catch((error: unknown) => this.#refuse(error));
  }

  // From the client.

  async event(event: WireEvent): Promise<void> {
    switch (event.kind) {
      case 'data':
        if (this.#isFirstData && isHttpRequest(Buffer.from(event.bytes))) {
          const { length } = event.bytes;
          this.#services.journal.warn({ bytes: length }, 'HTTP request on a telnet door dropped');
          this.#guest.socket.destroy();
          return;
        }
        this.#isFirstData = false;
        return this.#input(event.bytes);
      case 'ayt':
        if (!this.#wire.countChatter()) return;
        if (this.#isProgram) this.#wire.reply(encodeCommand('nop'));
        else this.#wire.tell(notice(`yes, ${this.#settings.port}`));
        return;
      case 'break':
        return this.#sendBreak();
      case 'subnegotiation':
        return this.#subnegotiation(event);
    }
  }

  async option(side: Side, option: number, isOn: boolean): Promise<void> {
    const { binary, comPort, terminalType } = TELNET_OPTIONS;
    if (side === 'them' && option === terminalType && isOn) {
      this.#wire.reply(encodeSubnegotiation(terminalType, TERMINAL_TYPE_SEND));
    }
    if (!isOn || (option !== binary && option !== comPort)) return;
    this.#isProgram = true;
    this.#session?.becomeProgram();
    if (option === comPort) {
      this.#wire.isTransparent = true;
      this.#wire.ask('us', binary);
      this.#wire.ask('them', binary);
    }
    this.#settled.open();
    if (option === comPort) await this.#comPort?.begin();
  }

  async ended(): Promise<void> {
    if (this.#dialog?.isClosed === false) {
      this.#guest.socket.destroy();
      return;
    }
    const session = await this.#attached.passed;
    if (session === null) return;
    if (this.#wire.isTelnet && !this.#isProgram) {
      session.detach('the client left');
      this.#end();
      return;
    }
    session.becomeProgram();
    await this.#lastWords.inputEnded(session);
    // Being sent something tells soon whether the client is gone (half-closed.ts), and telnet has a
    // word for nothing.
    if (this.#wire.isTelnet && this.#guest.socket.writable) this.#wire.reply(encodeCommand('nop'));
  }

  async #input(bytes: Uint8Array): Promise<void> {
    this.#settled.open();
    const rest = this.#dialog === null ? bytes : await this.#dialog.take(bytes);
    if (rest.length === 0) return;
    const session = await this.#attached.passed;
    this.#lastWords.gaveInput();
    await session?.input(rest);
  }

  async #sendBreak(): Promise<void> {
    const session = this.#dialog?.isClosed === false ? null : await this.#attached.passed;
    try {
      await session?.sendBreak(BREAK_MS);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (!this.#isProgram) this.#wire.tell(notice(error.message));
    }
  }

  async #subnegotiation({ option, bytes }: Subnegotiation): Promise<void> {
    switch (option) {
      case TELNET_OPTIONS.windowSize: {
        const size = parseWindowSize(bytes);
        if (size === null) return;
        // 0 is RFC 1073's "unknown", more than 1000 nobody's terminal.
        if (isLength(size.columns)) this.#size.columns = size.columns;
        if (isLength(size.rows)) this.#size.rows = size.rows;
        this.#settled.open();
        return;
      }
      case TELNET_OPTIONS.terminalType:
        if (this.#terminal !== null) return;
        this.#terminal = parseTerminalType(bytes);
        this.#services.journal.debug({ terminal: this.#terminal }, 'terminal type');
        return;
      case TELNET_OPTIONS.comPort: {
        const isAgreed =
          this.#wire.isOn('them', TELNET_OPTIONS.comPort) ||
          this.#wire.isOn('us', TELNET_OPTIONS.comPort);
        const session = isAgreed ? await this.#attached.passed : null;
        if (session === null) return;
        const wasSuspended = this.#comPort!.isSuspended;
        if (!(await this.#comPort!.take(bytes))) this.#wire.countChatter();
        if (wasSuspended && !this.#comPort!.isSuspended) this.#release();
        // A chunk may hold ten thousand requests: other clients have their turns in between.
        await new Promise(setImmediate);
      }
    }
  }

  // To the client.

  readonly #output: SessionOutput = {
    write: (bytes, done) => {
      const written = this.#lastWords.said(done);
      if (this.#comPort?.isSuspended) this.#held.push({ bytes, done: written });
      else this.#wire.write(bytes, written);
    },
    ended: (why) => {
      this.#services.journal.info({ why }, 'telnet session ended');
      this.#end();
    },
    event: (event: LineEvent) => this.#comPort?.event(event),
  };

  #release(): void {
    for (const { bytes, done } of this.#held.splice(0)) this.#wire.write(bytes, done);
  }

  #end(): void {
    this.#lastWords.stop();
    this.#wire.end();
  }

  /** No session will come, or it is gone. */
  #over(): void {
    this.#dialog?.close();
    this.#settled.open();
    this.#attached.open(null);
  }

  // From its coming to its session.

  async #serve(): Promise<void> {
    const { socket } = this.#guest;
    const user = this.#dialog === null ? this.#userOfDoor() : await this.#logIn(this.#dialog);
    if (socket.destroyed) return;
    if (user === null) {
      this.#over();
      this.#end();
      return;
    }
    this.#guest.authenticated();
    await this.#settled.passed;
    if (!socket.destroyed) await this.#attach(user);
  }

  /** null: nobody; it is journalled. */
  #userOfDoor(): string | null {
    const { auth, as } = this.#settings;
    assert(auth !== 'login', 'that door asks');
    const who = doorUser(this.#guest, { auth, as }, this.#services.login);
    if ('user' in who) return who.user;
    this.#guest.failed();
    this.#services.journal.warn({ why: who.why }, 'telnet client refused');
    return null;
  }

  /** null: nobody; it was told. */
  async #logIn(dialog: LineDialog): Promise<string | null> {
    await this.#settled.passed;
    if (this.#guest.socket.destroyed) return null;
    const user = await askForLogin(this.#guest, this.#services, {
      dialog,
      screen: this.#screen,
      banner: this.#deps.banner,
      failureDelayMs: this.#limits.failureDelayMs,
    });
    if (user !== null) this.#wire.supported = WITH_COM_PORT;
    return user;
  }

  async #attach(user: string): Promise<void> {
    const { openSession, version } = this.#deps;
    const { port, busy } = this.#settings;
    const { socket, remote } = this.#guest;
    const isProgram = this.#isProgram;
    const session = await openSession(
      this.#services,
      {
        caller: { user, remote, frontend: 'telnet' },
        port,
        mode: attachMode(busy),
        delivery: isProgram ? 'program' : 'person',
        from: isProgram ? null : 'screen',
        notices: !isProgram,
        keys: isProgram ? null : this.#services.login.preferences(user).escape,
        size: () => this.#size,
      },
      this.#output,
    );
    if (socket.destroyed) return session.detach('the client left');
    this.#session = session;
    if (this.#isProgram && !isProgram) session.becomeProgram();
    this.#comPort = new ComPort(session, `Fairlead ${version} ${session.attached.port}`, (bytes) =>
      this.#wire.reply(bytes),
    );
    if (this.#wire.isTransparent) await this.#comPort.begin();
    this.#dialog?.close();
    this.#attached.open(session);
  }

  #refuse(error: unknown): void {
    const { journal } = this.#services;
    if (error instanceof Fault) {
      journal.warn({ fault: error.code, why: error.message }, 'telnet client refused');
      if (!this.#isProgram) this.#wire.tell(notice(error.message));
    } else journal.error({ err: error }, 'telnet client could not be served');
    this.#over();
    this.#end();
  }
}

type Subnegotiation = Extract<WireEvent, { kind: 'subnegotiation' }>;

/** A promise that is resolved from outside; later calls do nothing. */
class Gate<Value> {
  readonly passed: Promise<Value>;
  open!: (value: Value) => void;

  constructor() {
    this.passed = new Promise((resolve) => (this.open = resolve));
  }
}

const { binary, echo, suppressGoAhead, terminalType, windowSize, comPort } = TELNET_OPTIONS;
const WITHOUT_COM_PORT: Supported = {
  us: new Set([binary, echo, suppressGoAhead]),
  them: new Set([binary, suppressGoAhead, terminalType, windowSize]),
};
/** RFC 2217 has the client say WILL; pyserial says DO as well, and must not hear WONT. */
const WITH_COM_PORT: Supported = {
  us: new Set([...WITHOUT_COM_PORT.us, comPort]),
  them: new Set([...WITHOUT_COM_PORT.them, comPort]),
};

function isLength(value: number): boolean {
  return value > 0 && value <= 1_000;
}

const BREAK_MS = 300;
/** A peer that died in silence is found by probes; libuv sends ten, a second apart. */
const KEEPALIVE_MS = 30_000;
