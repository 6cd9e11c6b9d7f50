import { setTimeout as sleep } from 'node:timers/promises';
import { LOCAL_ADMIN } from '../../auth/authorizer.ts';
import type { Journal } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import type { Flow, LineSettings } from '../../core/line-settings.ts';
import type { ExposeSettings } from '../../core/settings.ts';
import type { Caller } from '../../core/user.ts';
import { attachMode } from '../attach-mode.ts';
import type { OpenSession } from '../binary-session.ts';
import { placeLink, removeLink } from './link.ts';
import { Program } from './program.ts';
import { Pty, type PtyLibc } from './pty.ts';

export interface ExposedPortDeps {
  services: FrontendServices;
  openSession: OpenSession;
  libc: PtyLibc;
  /** From one try to the next, when the link cannot be made. */
  retryMs: number;
  /** How often an idle pty is given the line's settings, which others may have changed. */
  refreshMs: number;
}

/**
 * One port behind a link to a pty: a program opens it like a serial line of this machine, and is a
 * session until it closes it. Programs come one after the other, each to a pty of its own. One whose
 * session ends (kicked, too slow, refused) sees its line hang up, as when an adapter is pulled out.
 */
export class ExposedPort {
  readonly #port: string;
  readonly #settings: ExposeSettings;
  readonly #deps: ExposedPortDeps;
  readonly #journal: Journal;
  readonly #caller: Caller;
  #life: Promise<void> = Promise.resolve();
  #stopping = new AbortController();
  /** Ends the pause before the next try. */
  #retryNow = new AbortController();
  #idle: { pty: Pty; opened: () => void } | null = null;
  #lookedAtMs = 0;
  #program: Program | null = null;
  /** The last session was refused or ended by the port, not by its program. */
  #wasEnded = false;
  #said: { text: string; atMs: number } | null = null;

  constructor(port: string, settings: ExposeSettings, deps: ExposedPortDeps) {
    this.#port = port;
    this.#settings = settings;
    this.#deps = deps;
    this.#journal = deps.services.journal.child({ port, path: settings.path });
    const user = settings.as ?? LOCAL_ADMIN;
    this.#caller = { user, remote: `pty ${settings.path}`, frontend: 'expose' };
  }

  /** Resolves when the link is there, or why it is not is in the journal. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#life = this.#live(resolve).catch((err: unknown) => {
        this.#journal.error({ err }, 'port is exposed no more');
        resolve();
      });
    });
  }

  /** Removes the link and hangs up. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#retryNow.abort();
    this.#idle?.opened();
    this.#program?.stop('the port is exposed no more');
    await this.#life;
  }

  /** Tries now what would be tried later. */
  retry(): void {
    this.#retryNow.abort();
  }

  /** The master to watch: it is in use once a program opened the slave. Null: one has it open. */
  get idleMasterFd(): number | null {
    return this.#idle?.pty.masterFd ?? null;
  }

  /** `idleMasterFd` is in use. */
  opened(): void {
    this.#idle?.opened();
  }

  /** To be called ten times a second. */
  look(): void {
    this.#program?.look();
    if (this.#idle !== null && performance.now() - this.#lookedAtMs > this.#deps.refreshMs) {
      this.#lookedAtMs = performance.now();
      void this.#refresh(this.#idle.pty);
    }
  }

  async #live(ready: () => void): Promise<void> {
    let pty = await this.#expose(ready);
    ready();
    while (pty !== null && !this.#isStopping) {
      await this.#untilOpened(pty);
      if (this.#isStopping) break;
      await this.#serve(pty);
      if (!this.#isStopping) pty = await this.#replace(pty);
    }
    if (pty === null) return;
    await removeLink(this.#settings.path, pty.slavePath);
    pty.close();
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** A pty with its link, however long it takes; null: stopped. */
  async #expose(failed?: () => void): Promise<Pty | null> {
    while (!this.#isStopping) {
      try {
        const pty = await this.#make();
        this.#journal.info({ pty: pty.slavePath }, 'port exposed');
        return pty;
      } catch (error) {
        this.#cannot(error, 'port cannot be exposed');
        failed?.();
      }
      this.#retryNow = new AbortController();
      await this.#pause(this.#deps.retryMs, this.#retryNow.signal);
    }
    return null;
  }

  /** @throws Fault EXPOSE_FAILED. */
  async #make(): Promise<Pty> {
    const { line, flow } = await this.#lineOfPort();
    const pty = await Pty.make(this.#deps.libc, this.#settings, line, flow);
    try {
      await placeLink(this.#settings.path, pty.slavePath);
      return pty;
    } catch (error) {
      pty.close();
      throw error;
    }
  }

  /** A fresh pty for the next program; null: stopped. */
  async #replace(used: Pty): Promise<Pty | null> {
    let fresh: Pty | null = null;
    try {
      fresh = await this.#make();
    } catch (error) {
      this.#cannot(error, 'port cannot be exposed');
    }
    // Who opened it again before the link led elsewhere is served first.
    while (!this.#wasEnded && !this.#isStopping && used.isInUse) await this.#serve(used);
    used.close();
    // A program that opens again whatever happens is not to keep us busy.
    if (this.#wasEnded) await this.#pause(REFUSAL_PAUSE_MS, this.#stopping.signal);
    if (fresh !== null) return fresh;
    await this.#pause(this.#deps.retryMs, this.#stopping.signal);
    return this.#expose();
  }

  async #untilOpened(pty: Pty): Promise<void> {
    this.#lookedAtMs = performance.now();
    await new Promise<void>((resolve) => (this.#idle = { pty, opened: resolve }));
    this.#idle = null;
  }

  async #serve(pty: Pty): Promise<void> {
    const { services, openSession, libc } = this.#deps;
    const program = new Program(pty, {
      libc,
      journal: this.#journal,
      openSession: (options, output) => openSession(services, options, output),
    });
    this.#program = program;
    this.#wasEnded = true;
    try {
      const attached = program.attach({
        caller: this.#caller,
        port: this.#port,
        mode: attachMode(this.#settings.busy),
        delivery: 'program',
        from: null,
        notices: false,
        keys: null,
      });
      await Promise.race([attached, program.left]);
      const how = await program.left;
      if (how === 'closed') this.#wasEnded = false;
      else if (!this.#isStopping) this.#say({ why: how.ended }, 'exposed session ended');
    } catch (error) {
      this.#cannot(error, 'program refused');
    }
    this.#program = null;
  }

  /** While nobody has it open, the pty shows what the line is set to. */
  async #refresh(pty: Pty): Promise<void> {
    try {
      const { line, flow } = await this.#lineOfPort();
      if (this.#idle?.pty !== pty || pty.isInUse) return;
      const { baud, stopBits, flow: known } = pty.known;
      const isSame = baud === line.baud && (stopBits === 1) === (line.stopBits === 1);
      if (isSame && known === flow) return;
      await pty.setLine(line, flow);
    } catch (err) {
      this.#journal.debug({ err }, 'line settings of the pty not renewed');
    }
  }

  async #lineOfPort(): Promise<{ line: LineSettings; flow: Flow }> {
    const { access } = this.#deps.services;
    try {
      const late = sleep(INSPECT_MS, null, { ref: false });
      const details = await Promise.race([access.inspect(this.#caller, this.#port), late]);
      const line = details?.line.line ?? null;
      if (line !== null) return { line, flow: details!.line.flow };
    } catch (err) {
      this.#journal.debug({ err }, 'line settings of the port not known');
    }
    return { line: NO_UART, flow: 'none' };
  }

  #pause(durationMs: number, signal: AbortSignal): Promise<void> {
    return sleep(durationMs, undefined, { signal, ref: false }).catch(() => undefined);
  }

  #cannot(error: unknown, message: string): void {
    if (error instanceof Fault) this.#say({ fault: error.code, why: error.message }, message);
    else this.#journal.error({ err: error }, message);
  }

  /** The same again at most once a minute. */
  #say(fields: { fault?: string; why: string }, message: string): void {
    const text = `${message} ${fields.why}`;
    const atMs = performance.now();
    if (this.#said?.text === text && atMs - this.#said.atMs < 60_000) return;
    this.#said = { text, atMs };
    if (fields.fault === 'EXPOSE_FAILED') this.#journal.error(fields, message);
    else this.#journal.warn(fields, message);
  }
}

/** What a pty shows for a port that has no line settings. */
const NO_UART: LineSettings = { baud: 115_200, dataBits: 8, parity: 'none', stopBits: 1 };
const INSPECT_MS = 1_000;
const REFUSAL_PAUSE_MS = 1_000;
