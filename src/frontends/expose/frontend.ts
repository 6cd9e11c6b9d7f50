import { isDeepStrictEqual } from 'node:util';
import type { Frontend, FrontendServices } from '../../core/frontend.ts';
import type { ExposeSettings } from '../../core/settings.ts';
import type { OpenSession } from '../binary-session.ts';
import { DOOR_LIMITS, type DoorLimits } from '../door.ts';
import { ExposedPort } from './exposed-port.ts';
import type { PtyLibc } from './pty.ts';

/** A port that is to be a local pty. */
export interface Exposure {
  port: string;
  settings: ExposeSettings;
}

export interface ExposeFrontendDeps {
  services: FrontendServices;
  openSession: OpenSession;
  /** null: koffi is not installed, and nothing is exposed. */
  libc: PtyLibc | null;
  limits?: Partial<DoorLimits>;
  /** How often an idle pty is given the line's settings; absent: every 10 s. */
  refreshMs?: number;
}

/**
 * Ports as local ptys (`expose: PATH`) that minicom, picocom, tio, cu, gdb or a script opens like a
 * serial device, one program at a time. Bytes pass as they are both ways. Speed, stop bits and flow
 * control that the program sets are set on the line.
 *
 * What a pty has not, a program does not have here: BREAK (tcsendbreak(3) says that it was sent, and
 * nothing happens) and modem signals (TIOCMGET fails with ENOTTY). Data bits and parity stay as the
 * port has them, as Linux keeps every pty at eight bits without parity. With these in mind use
 * RFC 2217.
 */
export class ExposeFrontend implements Frontend {
  readonly kind = 'expose';
  readonly #deps: ExposeFrontendDeps;
  #wanted: ReadonlyMap<string, ExposeSettings>;
  readonly #exposed = new Map<string, { port: ExposedPort; settings: ExposeSettings }>();
  #timer: NodeJS.Timeout | null = null;
  #ticks = 0;
  #isRunning = false;
  /** Start, stop and update take turns. */
  #turn: Promise<void> = Promise.resolve();

  constructor(exposures: readonly Exposure[], deps: ExposeFrontendDeps) {
    this.#deps = deps;
    this.#wanted = byPort(exposures);
  }

  start(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = true;
      await this.#match();
    });
  }

  /** Removes the links and hangs up on the programs. */
  stop(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isRunning = false;
      await Promise.all([...this.#exposed.values()].map(({ port }) => port.stop()));
      this.#exposed.clear();
      this.#watch();
    });
  }

  /** Ports that stay as they are keep their programs; those that could not be exposed are tried again. */
  update(exposures: readonly Exposure[]): Promise<void> {
    return this.#inTurn(async () => {
      this.#wanted = byPort(exposures);
      if (this.#isRunning) await this.#match();
    });
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #match(): Promise<void> {
    const { libc, services, openSession, limits, refreshMs = LINE_REFRESH_MS } = this.#deps;
    if (libc === null) {
      if (this.#wanted.size === 0) return;
      const why = 'a pty needs the package koffi, and it is not installed; run "npm install"';
      services.journal.error({ why, ports: [...this.#wanted.keys()] }, 'ports cannot be exposed');
      return;
    }
    const stale = [...this.#exposed].filter(
      ([name, { settings }]) => !isDeepStrictEqual(settings, this.#wanted.get(name)),
    );
    for (const [name] of stale) this.#exposed.delete(name);
    await Promise.all(stale.map(([, { port }]) => port.stop()));
    for (const { port } of this.#exposed.values()) port.retry();
    const retryMs = limits?.retryMs ?? DOOR_LIMITS.retryMs;
    const starting: Promise<void>[] = [];
    for (const [name, settings] of this.#wanted) {
      if (this.#exposed.has(name)) continue;
      const deps = { services, openSession, libc, retryMs, refreshMs };
      const port = new ExposedPort(name, settings, deps);
      this.#exposed.set(name, { port, settings });
      starting.push(port.start());
    }
    await Promise.all(starting);
    this.#watch();
  }

  /** One timer for all: an event for an opened slave is not to be had in Node. */
  #watch(): void {
    if (this.#exposed.size === 0) {
      if (this.#timer !== null) clearInterval(this.#timer);
      this.#timer = null;
    } else this.#timer ??= setInterval(() => this.#look(), OPEN_POLL_MS);
  }

  #look(): void {
    const idle: ExposedPort[] = [];
    const masters: number[] = [];
    for (const { port } of this.#exposed.values()) {
      const master = port.idleMasterFd;
      if (master === null) continue;
      idle.push(port);
      masters.push(master);
    }
    this.#deps.libc!.poll(masters).forEach(({ isHungUp, isReadable }, index) => {
      if (!isHungUp || isReadable) idle[index]!.opened();
    });
    if (++this.#ticks % LOOKS_APART === 0) {
      for (const { port } of this.#exposed.values()) port.look();
    }
  }
}

/** How late a program's opening may be noticed. What it writes in the meantime waits in the pty. */
const OPEN_POLL_MS = 50;
const LINE_REFRESH_MS = 10_000;
/** Line settings are looked at every 100 ms. */
const LOOKS_APART = 2;

function byPort(exposures: readonly Exposure[]): ReadonlyMap<string, ExposeSettings> {
  return new Map(exposures.map(({ port, settings }) => [port, settings]));
}
