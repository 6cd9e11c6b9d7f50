import { isDeepStrictEqual } from 'node:util';
import type { SessionEvent } from '../core/attach.ts';
import type { Backend, BackendSink } from '../core/backend.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import { formatLineSettings } from '../core/line-settings.ts';
import type {
  Flow,
  FormattedLineSettings,
  LineSettings,
  LineState,
  SignalStates,
} from '../core/line-settings.ts';
import type { LineErrorCounts } from '../core/port-status.ts';
import type { PortSettings } from '../core/settings.ts';
import { SpeedWatch } from '../protocols/wrong-speed.ts';
import { GarbledWatch } from './garbled-watch.ts';
import type { LineJudge } from './garbled-watch.ts';
import { LineEvents } from './line-events.ts';
import type { PortLine } from './port-line.ts';
import type { PortRecorder } from './port-recorder.ts';
import { SignalWatch } from './signal-watch.ts';
import type { Timers } from './timers.ts';

/** Longest BREAK that may be asked for. */
export const BREAK_MS_MAX = 10_000;

export interface LineControlOwner {
  readonly line: PortLine;
  readonly recorder: PortRecorder;
  readonly timers: Timers;
  readonly journal: Journal;
  /** As configured now. */
  settings(): PortSettings;
  /** To all sessions. */
  tellAll(event: SessionEvent): void;
  /** Thinks something of the bytes of a line; a test hands in its own. */
  judge?(line: LineSettings): LineJudge;
}

/** Who changes the line. */
export interface LineActor {
  /** For the record; null: a verb. */
  readonly session: number | null;
  readonly user: string;
  /** The session is somebody's, who may leave. */
  readonly isAttached: boolean;
}

interface Signals {
  dtr?: boolean;
  rts?: boolean;
}

interface HeldBreak {
  readonly session: number;
  readonly sinceMs: number;
  readonly begun: Promise<void>;
}

/**
 * What is done to the open line besides writing, and what comes from it besides bytes: BREAK,
 * settings and signals, each with its record, everybody told. Live changes last until the line is
 * opened anew, as configured, or with `restoreLine` until their session leaves. Knows nothing of
 * rights.
 */
export class LineControl {
  readonly #owner: LineControlOwner;
  readonly #watch: SignalWatch;
  readonly #events: LineEvents;
  readonly #garbled: GarbledWatch;
  /** As the line is now; null without a UART. */
  #settings: LineSettings | null;
  #flow: Flow;
  /** Driven since the line was opened. */
  #driven: Signals = {};
  /** The session that changed settings or signals last; null: nobody who could leave. */
  #changer: number | null = null;
  #heldBreak: HeldBreak | null = null;
  /** Changes are made one after the other: the last one asked for is the one that stays. */
  #changes: Promise<unknown> = Promise.resolve();

  constructor(owner: LineControlOwner) {
    this.#owner = owner;
    this.#settings = owner.line.opener.line;
    this.#flow = owner.settings().flow;
    this.#watch = new SignalWatch({
      timers: owner.timers,
      backend: () => owner.line.backend,
      changed: (signals) => this.#events.add({ kind: 'signals', signals }),
    });
    const { timers, recorder, journal, tellAll } = owner;
    this.#events = new LineEvents({ timers, recorder, tellAll });
    const judge = owner.judge ?? ((line: LineSettings) => new SpeedWatch(line));
    this.#garbled = new GarbledWatch({ timers, recorder, journal, tellAll, judge });
  }

  /** Null where there is no UART. */
  get formatted(): FormattedLineSettings | null {
    return this.#settings && formatLineSettings(this.#settings);
  }

  get differs(): boolean {
    const configured = this.#owner.line.opener.line;
    if (this.#settings === null) return false;
    return (
      this.#flow !== this.#owner.settings().flow || !isDeepStrictEqual(this.#settings, configured)
    );
  }

  /** Somebody wants to know of the signals as they change. */
  watchSignals(isNeeded: boolean): void {
    this.#watch.setNeeded(isNeeded);
  }

  /** The line was opened, as configured. */
  opened(): void {
    this.#settings = this.#owner.line.opener.line;
    this.#flow = this.#owner.settings().flow;
    this.#driven = {};
    this.#changer = null;
    this.#watch.opened();
    this.#garbled.lineIs(this.#settings);
  }

  /** The line went down, or is about to be closed. */
  closed(): void {
    this.#watch.closed();
    this.#events.flush();
    this.#garbled.lineIs(null);
    this.#changer = null;
    const held = this.#heldBreak;
    this.#heldBreak = null;
    if (held) this.#recordBreak(held); // the driver ends it with the line
  }

  /** What the device says besides bytes. */
  readonly event: BackendSink['event'] = (event) => {
    if (event.kind === 'signals') this.#watch.told(event.signals);
    this.#garbled.error(event);
    this.#events.add(event);
  };

  /** Of everything the device said besides bytes, since the port is there. */
  get errors(): LineErrorCounts {
    return { ...this.#events.counts };
  }

  /** What the device seems to send at, when it is not what the line is set to. */
  get looksLike(): FormattedLineSettings | null {
    return this.#garbled.looksLike;
  }

  /** False: `rx` need not be called. */
  get wantsBytes(): boolean {
    return this.#garbled.wantsBytes;
  }

  /** rx bytes, from this offset on; they are only read, and not kept. */
  rx(bytes: Uint8Array, offset: number): void {
    this.#garbled.rx(bytes, offset);
  }

  /** Makes the records that still wait: what follows is counted anew, or there is nothing more. */
  flush(): void {
    this.#events.flush();
    this.#garbled.end();
  }

  async state(): Promise<LineState> {
    const signals = await this.#signals();
    const isBreaking = this.#heldBreak !== null;
    return { line: this.#settings, flow: this.#flow, signals, isBreaking };
  }

  /** Resolves when no change is under way. */
  async settled(): Promise<void> {
    await this.#changes.catch(() => undefined);
  }

  /** @throws Fault USAGE, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async sendBreak(durationMs: number, session: number | null): Promise<void> {
    requireBreakDuration(durationMs);
    const backend = this.#owner.line.requireUp();
    if (this.#heldBreak) await this.#endBreak();
    await backend.sendBreak(durationMs);
    this.#owner.recorder.record({ kind: 'break', session, durationMs });
  }

  /** Begins or ends a BREAK of no fixed length. @throws Fault PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async setBreak(isOn: boolean, session: number): Promise<void> {
    const backend = this.#owner.line.requireUp();
    if (!isOn) return this.#endBreak();
    if (this.#heldBreak) return this.#heldBreak.begun;
    const sinceMs = this.#owner.timers.nowMs();
    const held: HeldBreak = { session, sinceMs, begun: backend.setBreak(true) };
    this.#heldBreak = held;
    try {
      await held.begun;
    } catch (error) {
      if (this.#heldBreak === held) this.#heldBreak = null;
      throw error;
    }
  }

  /**
   * `flow` null: as it is. What the driver cannot do leaves the line as it was.
   * @throws Fault PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED.
   */
  async setLine(line: LineSettings, flow: Flow | null, by: LineActor): Promise<void> {
    await this.#change(by, async (backend) => {
      const newFlow = flow ?? this.#flow;
      try {
        await backend.setLine(line, newFlow);
      } catch (error) {
        // A driver that can do only part of it has done that part.
        if (this.#settings)
          await backend.setLine(this.#settings, this.#flow).catch(() => undefined);
        throw error;
      }
      this.#isNow(backend, line, newFlow, by.session, by.user);
    });
  }

  /** @throws Fault PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async setSignals(signals: Signals, by: LineActor): Promise<void> {
    await this.#change(by, async (backend) => {
      await backend.setSignals(signals);
      this.#areNow(backend, signals, by.session);
    });
  }

  /** Throws away what waits in the driver; nothing waits in that of a line that is down. */
  async purge(queue: 'rx' | 'tx' | 'both'): Promise<void> {
    await this.#owner.line.backend?.purge(queue);
  }

  /** A session left, or writes no more: what it began is ended, what it changed perhaps undone. */
  released(session: number): void {
    if (this.#heldBreak?.session === session) this.#guarded(this.#endBreak());
    if (this.#changer !== session) return;
    this.#changer = null;
    if (!this.#owner.settings().restoreLine) return;
    this.#guarded(this.#inTurn((backend) => this.#restore(backend)));
  }

  /** The configuration of the same device changed: on the open line, or by opening it anew. */
  async reconfigure(): Promise<void> {
    const { line, journal, settings } = this.#owner;
    const { backend, opener } = line;
    if (!backend || !opener.line) return;
    const { flow } = settings();
    try {
      await backend.setLine(opener.line, flow);
      this.#isNow(backend, opener.line, flow, null, null);
    } catch (error) {
      journal.warn({ err: error }, 'line settings need the device opened anew');
      line.replace(opener, 'the line settings were changed');
    }
  }

  async #signals(): Promise<SignalStates> {
    const { backend } = this.#owner.line;
    if (!backend) return {};
    const driven = { ...this.#configuredSignals(), ...this.#driven };
    try {
      const told = await backend.signals();
      if (this.#owner.line.backend === backend) this.#watch.observe(told);
      return { ...driven, ...told };
    } catch {
      return driven; // a device that left says so itself
    }
  }

  async #change(by: LineActor, change: (backend: Backend) => Promise<void>): Promise<void> {
    this.#owner.line.requireUp();
    const before = this.#changer;
    // Before it is done: the session may leave meanwhile, and `restore` then goes behind it.
    if (by.isAttached) this.#changer = by.session;
    else if (by.session === null) this.#changer = null;
    const changer = this.#changer;
    try {
      await this.#inTurn(change);
    } catch (error) {
      if (this.#changer === changer) this.#changer = before;
      throw error;
    }
  }

  #inTurn(change: (backend: Backend) => Promise<void>): Promise<void> {
    const run = this.#changes.then(() => change(this.#owner.line.requireUp()));
    this.#changes = run.catch(() => undefined);
    return run;
  }

  async #restore(backend: Backend): Promise<void> {
    const { line, settings } = this.#owner;
    if (this.differs && line.opener.line) {
      const { flow } = settings();
      await backend.setLine(line.opener.line, flow);
      this.#isNow(backend, line.opener.line, flow, null, null);
    }
    const configured = this.#configuredSignals();
    const signals: Signals = {};
    for (const name of ['dtr', 'rts'] as const) {
      // Linux raises both when a line is opened.
      const wanted = configured[name] ?? true;
      if ((this.#driven[name] ?? wanted) !== wanted) signals[name] = wanted;
    }
    if (Object.keys(signals).length === 0) return;
    await backend.setSignals(signals);
    this.#areNow(backend, signals, null);
  }

  async #endBreak(): Promise<void> {
    const held = this.#heldBreak;
    if (!held) return;
    this.#heldBreak = null;
    await held.begun;
    const { backend } = this.#owner.line;
    try {
      await backend?.setBreak(false);
    } finally {
      this.#recordBreak(held);
    }
  }

  #recordBreak({ session, sinceMs }: HeldBreak): void {
    const durationMs = Math.max(1, Math.round(this.#owner.timers.nowMs() - sinceMs));
    this.#owner.recorder.record({ kind: 'break', session, durationMs });
  }

  #configuredSignals(): Signals {
    const { backend } = this.#owner.settings();
    return 'signals' in backend ? backend.signals : {};
  }

  #isNow(
    backend: Backend,
    line: LineSettings,
    flow: Flow,
    session: number | null,
    by: string | null,
  ): void {
    if (this.#owner.line.backend !== backend) return; // opened anew meanwhile, as configured
    this.#settings = line;
    this.#flow = flow;
    this.#garbled.lineIs(line);
    this.#owner.recorder.record({ kind: 'line', line: formatLineSettings(line), session });
    this.#owner.tellAll({ kind: 'line', line, flow, by });
  }

  #areNow(backend: Backend, signals: Signals, session: number | null): void {
    if (this.#owner.line.backend !== backend) return;
    this.#driven = { ...this.#driven, ...signals };
    this.#owner.recorder.record({ kind: 'signals', signals, session });
    this.#owner.tellAll({ kind: 'signals', signals });
  }

  /** Nobody waits for it. */
  #guarded(work: Promise<void>): void {
    work.catch((error: unknown) => {
      // A line that went down meanwhile is put back by being opened anew.
      if (error instanceof Fault && ['PORT_GONE', 'PORT_DOWN'].includes(error.code)) return;
      this.#owner.journal.warn({ err: error }, 'line not put back');
    });
  }
}

/** @throws Fault USAGE. */
export function requireBreakDuration(durationMs: number): void {
  if (durationMs >= 1 && durationMs <= BREAK_MS_MAX) return;
  throw new Fault('USAGE', `a BREAK lasts 1 to ${BREAK_MS_MAX} ms`);
}
