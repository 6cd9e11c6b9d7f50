import type {
  AttachRequest,
  MessageTarget,
  PortAccess,
  PortSession,
  Sequence,
  SessionEvent,
} from '../core/attach.ts';
import type { BackendOpener, LinePart, SharedLine, SharedLines } from '../core/backend.ts';
import type { Clock, Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Flow, LineSettings } from '../core/line-settings.ts';
import type { PortDetails, PortStatus, SessionStatus } from '../core/port-status.ts';
import type { RecordBody } from '../core/record.ts';
import type { PaceTimes, PortSettings, PowerAction } from '../core/settings.ts';
import type { PortPosition, Spool } from '../core/spool.ts';
import type { AuditRow, RegisteredPort } from '../core/store.ts';
import type { Authorizer, Caller } from '../core/user.ts';
import type { Outlet } from './audience.ts';
import { findPort } from './port-names.ts';
import { Port } from './port.ts';
import type { PortServices } from './port-services.ts';
import type { RunCommand } from './power-outlet.ts';
import { realTimers, settledWithin } from './timers.ts';
import type { Timers } from './timers.ts';

export interface RackOptions {
  spool: Spool;
  /** Makes the opener of a port's backend. @throws Fault CONFIG_INVALID before anything changes. */
  makeOpener: (settings: PortSettings) => BackendOpener;
  authorizer: Authorizer;
  clock: Clock;
  journal: Journal;
  audit: (row: AuditRow) => void;
  /** The payload of a record (log/frame.ts), for all kinds but rx. */
  encodeBody: (body: RecordBody) => Uint8Array;
  /** First session number not used yet in this data directory. */
  nextSession: number;
  /** Runs the commands of power outlets. */
  runCommand: RunCommand;
  /** Real ones unless a test says otherwise. */
  timers?: Timers;
}

/** PortAccess which also serves a link: bytes for many of its sessions leave once. */
export interface MulticastPortAccess extends PortAccess {
  /** Like `attach`, at once; no event comes before the return. @throws Fault PORT_UNKNOWN, DENIED. */
  attachTo(request: AttachRequest, outlet: Outlet): PortSession;
}

const PROBE_INTERVAL_MS = 2_000;
/** `start` waits no longer for lines that take their time. */
const START_WAIT_MS = 1_000;
const MESSAGE_CHARS_MAX = 1_000;

/** All ports. The capture thread's side of every session. */
export class Rack implements MulticastPortAccess, SharedLines {
  readonly #services: PortServices;
  readonly #makeOpener: RackOptions['makeOpener'];
  /** By uuid, in the order of the configuration. */
  #ports = new Map<string, Port>();
  /** Where ports that left the configuration stopped counting, should they come back. */
  readonly #left = new Map<string, PortPosition>();
  #nextSession: number;
  #isPublishing = false;
  #cancelProbe: (() => void) | null = null;

  constructor(options: RackOptions) {
    const { spool, authorizer, clock, journal, encodeBody } = options;
    this.#makeOpener = options.makeOpener;
    this.#nextSession = options.nextSession;
    const publishNow = (): void => {
      this.#isPublishing = false;
      spool.publish();
    };
    this.#services = {
      spool,
      authorizer,
      clock,
      journal: journal.child({ room: 'ports' }),
      audit: options.audit,
      encodeBody,
      timers: options.timers ?? realTimers,
      // Once for all reads of a sweep: a microtask runs when the sweep's own callback is through.
      publish: () => {
        if (this.#isPublishing) return;
        this.#isPublishing = true;
        queueMicrotask(publishNow);
      },
      nextSession: () => this.#nextSession++,
      runCommand: options.runCommand,
    };
  }

  /**
   * Begins with these ports, all opened at once. Resolves when each has opened or failed, or after
   * 1 s; the rest goes on by itself.
   * @throws Fault CONFIG_INVALID.
   */
  async start(
    ports: readonly PortSettings[],
    registered: readonly RegisteredPort[],
  ): Promise<void> {
    this.#probeLater();
    await settledWithin(this.#services.timers, START_WAIT_MS, this.#apply(ports, registered));
  }

  /**
   * Goes over to these ports, whole or not at all. Unchanged ports lose no byte and no session; one
   * whose name changed is known by its uuid. Resolves with what changed, in words.
   * @throws Fault CONFIG_INVALID before anything changed.
   */
  async apply(
    ports: readonly PortSettings[],
    registered: readonly RegisteredPort[],
  ): Promise<string[]> {
    const { changes, settled } = await this.#change(ports, registered);
    await settledWithin(this.#services.timers, START_WAIT_MS, settled);
    return changes;
  }

  /** Users, roles or the ports' groups changed. */
  recheckRights(): void {
    for (const port of this.#ports.values()) port.recheckRights();
  }

  /** USR1: ports that are down try at once. */
  retryNow(): void {
    for (const port of this.#ports.values()) port.retryNow();
  }

  /** Writes a MARK record on every port. */
  mark(text = 'MARK'): void {
    for (const port of this.#ports.values()) port.mark(text);
  }

  /** Writes a clock-step record on every port: wall time moved by `stepUs` by itself. */
  clockStepped(stepUs: number): void {
    for (const port of this.#ports.values()) port.clockStepped(stepUs);
  }

  /** Ends all sessions and closes all lines, within about a second. */
  async stop(why = 'the daemon stops'): Promise<void> {
    this.#cancelProbe?.();
    this.#cancelProbe = null;
    const ports = [...this.#ports.values()];
    this.#ports = new Map();
    await Promise.all(ports.map((port) => port.close(why)));
    this.#services.spool.publish();
  }

  join(port: string, by: string, part: LinePart): SharedLine {
    // As the configuration names it: in full.
    return findPort(this.#named(), port, () => false).port.join(by, part);
  }

  // PortAccess

  async attach(
    request: AttachRequest,
    onEvent: (event: SessionEvent) => void,
  ): Promise<PortSession> {
    return this.attachTo(request, outletOf(onEvent));
  }

  attachTo(request: AttachRequest, outlet: Outlet): PortSession {
    return this.#find(request.caller, request.port).attach(request, outlet);
  }

  async ports(caller: Caller): Promise<PortStatus[]> {
    return this.#viewable(caller).map((port) => port.status());
  }

  async who(caller: Caller): Promise<SessionStatus[]> {
    return this.#viewable(caller)
      .flatMap((port) => port.sessions())
      .sort((a, b) => a.session - b.session);
  }

  async kick(caller: Caller, session: number): Promise<void> {
    for (const port of this.#ports.values()) {
      if (port.hasSession(session)) return port.kick(caller, session);
    }
    throw new Fault('SESSION_UNKNOWN', `no session ${session}`);
  }

  async message(caller: Caller, to: MessageTarget, text: string): Promise<number> {
    const said = text.slice(0, MESSAGE_CHARS_MAX);
    if (to === 'all') {
      const ports = this.#viewable(caller);
      return ports.reduce((heard, port) => heard + port.message(caller, null, said), 0);
    }
    if ('port' in to) return this.#find(caller, to.port).message(caller, null, said);
    const port = this.#viewable(caller).find((each) => each.hasSession(to.session));
    if (port) return port.message(caller, to.session, said);
    throw new Fault('SESSION_UNKNOWN', `no session ${to.session}`);
  }

  async send(caller: Caller, port: string, bytes: Uint8Array, pace?: PaceTimes): Promise<void> {
    await this.#find(caller, port).send(caller, bytes, pace ?? null);
  }

  async sendBreak(caller: Caller, port: string, durationMs: number): Promise<void> {
    await this.#find(caller, port).sendBreak(caller, durationMs);
  }

  async setLine(
    caller: Caller,
    port: string,
    line: LineSettings,
    flow: Flow | null,
  ): Promise<void> {
    await this.#find(caller, port).setLine(caller, line, flow);
  }

  async setSignals(
    caller: Caller,
    port: string,
    signals: { dtr?: boolean; rts?: boolean },
  ): Promise<void> {
    await this.#find(caller, port).setSignals(caller, signals);
  }

  async inspect(caller: Caller, port: string): Promise<PortDetails> {
    return this.#find(caller, port).inspect(caller);
  }

  async run(caller: Caller, port: string, sequence: Sequence): Promise<void> {
    await this.#find(caller, port).run(caller, sequence);
  }

  async power(
    caller: Caller,
    port: string,
    action: PowerAction,
    isConfirmed: boolean,
  ): Promise<string> {
    return this.#find(caller, port).power(caller, action, isConfirmed);
  }

  async hold(caller: Caller, port: string, isDown: boolean): Promise<void> {
    this.#find(caller, port).hold(caller, isDown);
  }

  async setLogging(caller: Caller, port: string, isOn: boolean): Promise<void> {
    this.#find(caller, port).setLogging(caller, isOn);
  }

  async note(caller: Caller, port: string, text: string): Promise<void> {
    this.#find(caller, port).note(caller, text);
  }

  #viewable(caller: Caller): Port[] {
    const { authorizer } = this.#services;
    return [...this.#ports.values()].filter((port) =>
      authorizer.allows(caller.user, 'view', port.identity),
    );
  }

  /** @throws Fault PORT_UNKNOWN. */
  #find(caller: Caller, wanted: string): Port {
    const { authorizer } = this.#services;
    return findPort(this.#named(), wanted, ({ port }) =>
      authorizer.allows(caller.user, 'view', port.identity),
    ).port;
  }

  #named(): { port: Port; name: string; aliases: readonly string[] }[] {
    return [...this.#ports.values()].map((port) => {
      const { name, aliases } = port.settings;
      return { port, name, aliases };
    });
  }

  async #apply(
    ports: readonly PortSettings[],
    registered: readonly RegisteredPort[],
  ): Promise<void> {
    const { settled } = await this.#change(ports, registered);
    await settled;
  }

  async #change(
    ports: readonly PortSettings[],
    registered: readonly RegisteredPort[],
  ): Promise<{ changes: string[]; settled: Promise<unknown> }> {
    const wanted = this.#plan(ports, registered);
    const changes: string[] = [];
    const work: Promise<unknown>[] = [];

    const before = this.#ports;
    const after = new Map<string, Port>();
    for (const { uuid, create } of wanted) after.set(uuid, before.get(uuid) ?? create());
    this.#ports = after;
    const gone = [...before.values()].filter((port) => !after.has(port.uuid));
    // First, as a port that stays may have been given the device of one that goes.
    await Promise.all(
      gone.map(async (port) => {
        changes.push(`${port.settings.name} removed`);
        await port.close('the port was removed from the configuration');
        this.#left.set(port.uuid, port.position);
      }),
    );
    for (const { uuid, settings, opener, position } of wanted) {
      const port = this.#ports.get(uuid);
      if (!port) continue; // the rack was stopped meanwhile
      if (!before.has(uuid)) {
        changes.push(`${settings.name} added`);
        work.push(port.open());
        continue;
      }
      if (position.epoch > port.position.epoch) port.beginEpoch(position);
      const differences = differencesOf(port.settings, settings);
      if (differences.length === 0) continue;
      const was = port.settings.name === settings.name ? '' : ` (was ${port.settings.name})`;
      changes.push(`${settings.name}${was} changed: ${differences.join(', ')}`);
      work.push(port.reconfigure(settings, opener));
    }
    return { changes, settled: Promise.all(work) };
  }

  /** Everything that can be refused, before anything changes. */
  #plan(ports: readonly PortSettings[], registered: readonly RegisteredPort[]) {
    const byName = new Map(registered.map((port) => [port.name.toLowerCase(), port]));
    return ports.map((settings) => {
      const known = byName.get(settings.name.toLowerCase());
      if (!known) throw new Fault('CONFIG_INVALID', `port ${settings.name} is not registered`);
      const opener = this.#makeOpener(settings);
      const place = { ...known, position: later(known.position, this.#left.get(known.uuid)) };
      const create = (): Port => new Port(this.#services, settings, opener, place);
      return { uuid: known.uuid, settings, opener, position: place.position, create };
    });
  }

  #probeLater(): void {
    this.#cancelProbe = this.#services.timers.after(PROBE_INTERVAL_MS, () => {
      for (const port of this.#ports.values()) port.probe();
      this.#probeLater();
    });
  }
}

/** One session of this thread. */
function outletOf(onEvent: (event: SessionEvent) => void): Outlet {
  let hasEnded = false;
  return {
    frame(_sessions, epoch, offset, atUs, bytes) {
      if (!hasEnded) onEvent({ kind: 'frame', epoch, offset, atUs, bytes });
    },
    event(_session, event) {
      if (hasEnded) return;
      hasEnded = event.kind === 'ended';
      onEvent(event);
    },
  };
}

/** Settings that differ, by name. */
function differencesOf(before: PortSettings, after: PortSettings): string[] {
  const keys = Object.keys(after) as (keyof PortSettings)[];
  return keys.filter(
    (key) => key !== 'was' && JSON.stringify(before[key]) !== JSON.stringify(after[key]),
  );
}

/** The store may not have committed yet what a port counted before it left. */
function later(position: PortPosition, left: PortPosition | undefined): PortPosition {
  if (!left || left.epoch !== position.epoch) {
    return left && left.epoch > position.epoch ? left : position;
  }
  return left.seq > position.seq ? left : position;
}
