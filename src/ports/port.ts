import { isDeepStrictEqual } from 'node:util';
import type { AttachRequest, PortSession, Sequence } from '../core/attach.ts';
import type { BackendOpener, LinePart, SharedLine } from '../core/backend.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import { formatLineSettings } from '../core/line-settings.ts';
import type { Flow, LineSettings } from '../core/line-settings.ts';
import type { PortDetails, PortStatus, SessionStatus } from '../core/port-status.ts';
import type { PaceTimes, PortSettings, PowerAction } from '../core/settings.ts';
import type { PortPosition } from '../core/spool.ts';
import type { RegisteredPort } from '../core/store.ts';
import type { Caller, PortIdentity } from '../core/user.ts';
import { Audience } from './audience.ts';
import type { Outlet } from './audience.ts';
import { LineControl } from './line-control.ts';
import { SentLineEnds } from './line-ends.ts';
import { LineParts } from './line-parts.ts';
import { requirePace } from './pace.ts';
import { PortGuard } from './port-guard.ts';
import { PortInput } from './port-input.ts';
import { PortLine } from './port-line.ts';
import type { PortLineOwner } from './port-line.ts';
import { PortRecorder, RECORD_BYTES_MAX, recordText } from './port-recorder.ts';
import type { PortServices } from './port-services.ts';
import { PortSessions } from './port-sessions.ts';
import { PowerOutlet } from './power-outlet.ts';
import { Sequences } from './sequences.ts';

/** Most bytes of one `send`. */
const SEND_BYTES_MAX = 1_048_576;

/**
 * One port's life: its line, the numbers of its records, who watches and who writes (DESIGN 3, 4).
 * The bulkhead: nothing that happens here, and no fault of the device or of a session, reaches
 * another port.
 */
export class Port {
  readonly uuid: string;
  readonly portId: number;
  readonly #journal: Journal;
  readonly #guard: PortGuard;
  readonly #recorder: PortRecorder;
  readonly #line: PortLine;
  readonly #control: LineControl;
  readonly #parts: LineParts;
  readonly #audience: Audience;
  readonly #input: PortInput;
  readonly #sessions: PortSessions;
  readonly #sequences: Sequences;
  readonly #power: PowerOutlet;
  readonly #sentEnds = new SentLineEnds();
  #settings: PortSettings;
  #identity: PortIdentity;

  constructor(
    services: PortServices,
    settings: PortSettings,
    opener: BackendOpener,
    registered: RegisteredPort,
  ) {
    const { spool, timers, clock, encodeBody, publish, runCommand, nextSession } = services;
    const { uuid, lastUsedBy } = registered;
    const now = (): PortSettings => this.#settings;
    this.uuid = uuid;
    this.portId = registered.portId;
    this.#settings = settings;
    this.#identity = { name: settings.name, group: settings.group };
    const journal = services.journal.child({ port: settings.name });
    const guard = new PortGuard(services, () => this.#identity);
    const recorder = new PortRecorder(spool, clock, timers, encodeBody, publish, registered);
    const audience = new Audience(
      () => recorder,
      (seat) => this.#sessions.endTooSlow(seat),
    );
    const tellAll = audience.tellAll.bind(audience);
    const input = new PortInput({
      timers,
      clock,
      recorder,
      backend: () => this.#line.backend,
      pace: () => this.#settings.pace,
      // What a device echoes is not to be in the log by this way while it is not by the other.
      inputSetting: () =>
        this.#settings.input === 'masked' && !recorder.isLogging ? 'none' : this.#settings.input,
      lost: (fault) => this.#line.lost(fault),
    });
    const owner = this.#lineOwner();
    const line = new PortLine(() => this.#settings.name, opener, owner, timers, journal);
    const control = new LineControl({ line, recorder, timers, journal, settings: now, tellAll });
    const sessions = new PortSessions({
      uuid,
      clock,
      journal,
      audience,
      line,
      control,
      recorder,
      input,
      guard,
      lastUsedBy,
      settings: now,
      nextSession,
      watchedChanged: () => this.#setWatched(),
      writersLeft: () => this.#sequences.writersLeft(),
    });
    this.#sequences = new Sequences({
      timers,
      clock,
      journal,
      line,
      control,
      recorder,
      input,
      sessions,
      guard,
      settings: now,
    });
    this.#power = new PowerOutlet({
      guard,
      recorder,
      timers,
      journal,
      runCommand,
      tellAll,
      name: () => this.#settings.name,
      settings: () => this.#settings.power,
    });
    this.#parts = new LineParts({
      journal,
      line,
      control,
      recorder,
      input,
      sessions,
      name: () => this.#settings.name,
      nextSession,
      watchedChanged: () => this.#setWatched(),
    });
    this.#journal = journal;
    this.#guard = guard;
    this.#recorder = recorder;
    this.#audience = audience;
    this.#input = input;
    this.#line = line;
    this.#control = control;
    this.#sessions = sessions;
  }

  get settings(): PortSettings {
    return this.#settings;
  }

  get identity(): PortIdentity {
    return this.#identity;
  }

  get position(): PortPosition {
    return this.#recorder.position;
  }

  /** Opens the line; resolves when that succeeded or failed for the first time. */
  open(): Promise<void> {
    return this.#line.start();
  }

  retryNow(): void {
    this.#line.retryNow();
  }

  /** The liveness probe, every 2 s. */
  probe(): void {
    this.#line.probe();
  }

  mark(text: string): void {
    this.#recorder.mark(text);
  }

  clockStepped(stepUs: number): void {
    this.#recorder.record({ kind: 'clock-step', stepUs });
  }

  status(): PortStatus {
    const { name, n, group, aliases } = this.#settings;
    const opener = this.#line.opener;
    return {
      name,
      n,
      uuid: this.uuid,
      state: this.#line.state,
      why: this.#line.why,
      backend: opener.kind,
      target: opener.target,
      line: this.#control.formatted,
      differs: this.#control.differs,
      group,
      aliases,
      epoch: this.#recorder.epoch,
      offset: this.#recorder.offset,
      lastByteAtUs: this.#recorder.lastByteAtUs,
      writer: this.#sessions.writer,
      viewers: this.#sessions.viewers,
      incidents: 0,
      errors: this.#control.errors,
      looksLike: this.#control.looksLike,
    };
  }

  sessions(): SessionStatus[] {
    return this.#sessions.list();
  }

  hasSession(session: number): boolean {
    return this.#sessions.has(session);
  }

  /** @throws Fault DENIED, PORT_BUSY. */
  attach(request: AttachRequest, outlet: Outlet): PortSession {
    return this.#sessions.attach(request, outlet);
  }

  /** Another port, `by`, takes part in the line. */
  join(by: string, part: LinePart): SharedLine {
    return this.#parts.join(by, part);
  }

  /** @throws Fault DENIED, SESSION_UNKNOWN. */
  kick(caller: Caller, session: number): void {
    this.#sessions.kick(caller, session);
  }

  /** To one session, or to all (null). Returns how many heard it. @throws Fault DENIED, SESSION_UNKNOWN. */
  message(caller: Caller, session: number | null, text: string): number {
    this.#guard.authorize(caller, 'view', 'message');
    return this.#sessions.message(session, caller.user, text);
  }

  /** @throws Fault DENIED. */
  async inspect(caller: Caller): Promise<PortDetails> {
    this.#guard.authorize(caller, 'view', 'inspect');
    const line = await this.#control.state();
    return {
      status: this.status(),
      line,
      isLogging: this.#recorder.isLogging,
      isHeld: this.#line.isHeld,
      motd: this.#settings.motd,
      tasks: this.#sequences.tasks(),
      power: this.#power.actions,
    };
  }

  /**
   * Input without a session of its own; resolves when the device took it. `pace` null: at that of
   * the port. A text that comes in several calls has one line end where they cut a CR LF.
   * @throws Fault DENIED, NOT_WRITER while another user writes, PORT_DOWN, PORT_STUCK, USAGE.
   */
  async send(caller: Caller, typed: Uint8Array, pace: PaceTimes | null): Promise<void> {
    this.#guard.authorize(caller, 'write', 'send');
    if (typed.length > SEND_BYTES_MAX) {
      throw new Fault('USAGE', `at most ${SEND_BYTES_MAX} bytes can be sent at once`);
    }
    if (pace !== null) requirePace(pace);
    this.#sessions.requireNoOtherWriter(caller.user);
    this.#line.requireUp();
    const bytes = this.#sentEnds.map(caller, typed, this.#settings.pace.newline);
    if (bytes.length === 0) return;
    await this.#sessions.visit(caller, (session) => {
      this.#sessions.used(caller.user);
      this.#guard.audit(caller, 'send', `session ${session}, ${bytes.length} bytes`);
      return this.#input.send(session, bytes, pace);
    });
  }

  /** For a verb, which needs no write. @throws Fault DENIED, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED, USAGE. */
  async sendBreak(caller: Caller, durationMs: number): Promise<void> {
    this.#guard.authorize(caller, 'break', 'break');
    this.#guard.audit(caller, 'break', `${durationMs} ms`);
    await this.#control.sendBreak(durationMs, null);
  }

  /**
   * For a verb: until the line is opened anew. `flow` null: as it is.
   * @throws Fault DENIED, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED.
   */
  async setLine(caller: Caller, line: LineSettings, flow: Flow | null): Promise<void> {
    this.#guard.authorize(caller, 'control', 'line');
    this.#guard.audit(caller, 'line', `${formatLineSettings(line)}${flow ? ` ${flow}` : ''}`);
    await this.#control.setLine(line, flow, verbOf(caller));
  }

  /** For a verb. @throws Fault DENIED, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async setSignals(caller: Caller, signals: { dtr?: boolean; rts?: boolean }): Promise<void> {
    this.#guard.authorize(caller, 'control', 'signals');
    this.#guard.audit(caller, 'signals', JSON.stringify(signals));
    await this.#control.setSignals(signals, verbOf(caller));
  }

  /** @throws what `Sequences.run` throws. */
  run(caller: Caller, sequence: Sequence): Promise<void> {
    return this.#sequences.run(caller, sequence);
  }

  /** @throws what `PowerOutlet.run` throws. */
  power(caller: Caller, action: PowerAction, isConfirmed: boolean): Promise<string> {
    return this.#power.run(caller, action, isConfirmed);
  }

  /** Closes the line until it is opened again, or opens it anew. @throws Fault DENIED. */
  hold(caller: Caller, isDown: boolean): void {
    this.#guard.authorize(caller, 'control', 'hold');
    this.#guard.audit(caller, 'hold', isDown ? 'down' : 'opened anew');
    this.#journal.info({ user: caller.user, isDown }, 'port held');
    if (isDown) {
      const wasDown = this.#line.state === 'down';
      this.#line.hold(`held down by ${caller.user}`);
      if (wasDown) this.#audience.tellAll({ kind: 'down', why: this.#line.why ?? '' });
    } else {
      this.#line.release(`opened anew by ${caller.user}`);
    }
  }

  /** @throws Fault DENIED. */
  setLogging(caller: Caller, isOn: boolean): void {
    this.#guard.authorize(caller, 'admin', 'logging');
    if (isOn === this.#recorder.isLogging) return;
    const what = `logging turned ${isOn ? 'on' : 'off'} by ${caller.user}`;
    this.#guard.audit(caller, 'logging', isOn ? 'on' : 'off');
    this.#journal.warn({ user: caller.user, isOn }, 'logging of a port turned on or off');
    this.#input.forgetTyped();
    if (isOn) this.#recorder.resumeLogging();
    this.#recorder.mark(what);
    if (!isOn) this.#recorder.stopLogging(what);
    this.#sessions.message(null, 'fairlead', what);
  }

  /** @throws Fault DENIED, USAGE. */
  note(caller: Caller, text: string): void {
    this.#guard.authorize(caller, 'write', 'note');
    if (text.trim() === '') throw new Fault('USAGE', 'a note needs a text');
    this.#guard.audit(caller, 'note', recordText(text));
    this.#recorder.mark(`note by ${caller.user}: ${text}`);
  }

  /** Users or roles changed. */
  recheckRights(): void {
    this.#sessions.recheckRights();
  }

  /**
   * Takes new settings of the same port, closing the device only where it must. Sessions stay.
   * Resolves when the line has its settings, or is being opened anew.
   */
  async reconfigure(settings: PortSettings, opener: BackendOpener): Promise<void> {
    const before = this.#settings;
    this.#settings = settings;
    this.#identity = { name: settings.name, group: settings.group };
    if (settings.input !== before.input) this.#input.forgetTyped();
    if (settings.writers !== before.writers) this.#sessions.setMany(settings.writers === 'many');
    if (!isDeepStrictEqual(settings.idle, before.idle)) this.#sequences.reconfigured();
    if (!isDeepStrictEqual(settings.backend, before.backend)) {
      this.#line.replace(opener, 'the configuration names another device');
      return;
    }
    this.#line.setOpener(opener);
    if (settings.latency !== before.latency) this.#setWatched();
    const isSame = isDeepStrictEqual(settings.line, before.line) && settings.flow === before.flow;
    if (!isSame) await this.#control.reconfigure();
  }

  /** The store began a new epoch for this port. */
  beginEpoch(position: PortPosition): void {
    this.#control.flush();
    const from = this.#recorder.position;
    this.#recorder.beginEpoch(position);
    this.#audience.beginEpoch(from, position);
  }

  /** Ends its sessions and closes the line, within about a second. Nothing follows. */
  async close(why: string): Promise<void> {
    const stopped = this.#sequences.close(why);
    this.#input.drop(null, 'PORT_DOWN', why);
    this.#control.closed();
    this.#parts.close(why);
    this.#sessions.close(why);
    this.#input.reset();
    const wasUp = this.#line.state === 'up';
    await this.#line.close();
    await stopped;
    if (wasUp) this.#recorder.record({ kind: 'down', why: recordText(why) });
    this.#recorder.release();
  }

  #lineOwner(): PortLineOwner {
    return {
      rx: (bytes) => this.#rx(bytes),
      rxInto: (read) => this.#rxInto(read),
      writable: () => {
        this.#input.writable();
        this.#parts.writable();
      },
      event: (event) => {
        this.#control.event(event);
        this.#parts.event(event);
      },
      up: (backend) => {
        this.#control.opened();
        this.#recorder.record({ kind: 'up', detail: recordText(backend.description) });
        this.#input.reset();
        this.#setWatched();
        this.#audience.tellAll({ kind: 'up' });
        this.#parts.up();
        this.#sequences.opened();
      },
      down: (why) => {
        this.#control.closed();
        this.#recorder.record({ kind: 'down', why: recordText(why) });
        this.#sequences.lineDown(why);
        this.#input.drop(null, 'PORT_DOWN', `${this.#settings.name} is down: ${why}`);
        this.#input.reset();
        this.#audience.tellAll({ kind: 'down', why });
        this.#parts.down();
      },
    };
  }

  #rx(bytes: Uint8Array): void {
    if (bytes.length > RECORD_BYTES_MAX) {
      for (let from = 0; from < bytes.length; from += RECORD_BYTES_MAX) {
        this.#rx(bytes.subarray(from, from + RECORD_BYTES_MAX));
      }
      return;
    }
    if (bytes.length === 0) return;
    const offset = this.#recorder.offset;
    const atUs = this.#recorder.rx(bytes);
    if (this.#control.wantsBytes) this.#control.rx(bytes, offset);
    if (this.#input.awaitsEcho) this.#input.rx(bytes);
    if (this.#audience.seats.length > 0) {
      this.#audience.frame(this.#recorder.epoch, offset, atUs, new Uint8Array(bytes));
    }
    this.#parts.rx(bytes);
  }

  #rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number {
    const offset = this.#recorder.offset;
    this.#parts.readBegins();
    const done = this.#recorder.rxInto(read);
    const { count } = done;
    if (count <= 0) {
      this.#recorder.readIsOver();
      this.#parts.readIsOver();
      return count;
    }
    if (this.#control.wantsBytes) {
      const { memory, start } = done;
      this.#control.rx(memory.subarray(start, start + count), offset);
    }
    const isWatched = this.#audience.seats.length > 0;
    if (isWatched || this.#input.awaitsEcho || !this.#parts.isEmpty) {
      // Copied before anything else is spooled: the spool's memory moves on.
      const { memory, start, atUs } = done;
      const bytes = new Uint8Array(count);
      bytes.set(memory.subarray(start, start + count));
      if (this.#input.awaitsEcho) this.#input.rx(bytes);
      this.#recorder.readIsOver();
      if (isWatched) this.#audience.frame(this.#recorder.epoch, offset, atUs, bytes);
      this.#parts.rx(bytes);
    } else {
      this.#recorder.readIsOver();
    }
    this.#parts.readIsOver();
    return count;
  }

  /** Somebody watches, or nobody any more. */
  #setWatched(): void {
    const isWatched =
      !this.#sessions.isEmpty || this.#parts.isWatched || this.#settings.latency === 'low';
    this.#line.backend?.setWatched(isWatched);
  }
}

function verbOf(caller: Caller): { session: null; user: string; isAttached: false } {
  return { session: null, user: caller.user, isAttached: false };
}
