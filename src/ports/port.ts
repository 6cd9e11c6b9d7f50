import { isDeepStrictEqual } from 'node:util';
import { INPUT_CREDIT_BYTES } from '../core/attach.ts';
import type { Attached, AttachRequest, PortSession, SessionEvent } from '../core/attach.ts';
import type { BackendOpener } from '../core/backend.ts';
import type { Clock, Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import { formatLineSettings } from '../core/line-settings.ts';
import type { Flow, LineSettings } from '../core/line-settings.ts';
import type { PortStatus, SessionStatus } from '../core/port-status.ts';
import type { RecordBody } from '../core/record.ts';
import type { PortSettings } from '../core/settings.ts';
import type { PortPosition, Spool } from '../core/spool.ts';
import type { AuditRow, RegisteredPort } from '../core/store.ts';
import type { Authorizer, Caller, PortIdentity, Right } from '../core/user.ts';
import { Audience, makeSeat } from './audience.ts';
import type { Outlet, Seat } from './audience.ts';
import { LineControl } from './line-control.ts';
import { PortInput } from './port-input.ts';
import { PortLine } from './port-line.ts';
import type { PortLineOwner } from './port-line.ts';
import { PortRecorder, RECORD_BYTES_MAX } from './port-recorder.ts';
import type { Timers } from './timers.ts';
import { Writers } from './writers.ts';

/** What every port of the rack shares. */
export interface PortServices {
  spool: Spool;
  authorizer: Authorizer;
  clock: Clock;
  journal: Journal;
  audit: (row: AuditRow) => void;
  encodeBody: (body: RecordBody) => Uint8Array;
  timers: Timers;
  /** Tells the store that something was spooled; may gather several calls. */
  publish: () => void;
  /** The next session number. */
  nextSession: () => number;
}

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
  readonly #services: PortServices;
  readonly #journal: Journal;
  readonly #recorder: PortRecorder;
  readonly #line: PortLine;
  readonly #control: LineControl;
  readonly #audience: Audience;
  readonly #input: PortInput;
  readonly #writers: Writers;
  #settings: PortSettings;
  #identity: PortIdentity;
  #lastUsedBy: { user: string; atUs: number } | null;

  constructor(
    services: PortServices,
    settings: PortSettings,
    opener: BackendOpener,
    registered: RegisteredPort,
  ) {
    this.uuid = registered.uuid;
    this.portId = registered.portId;
    this.#services = services;
    this.#settings = settings;
    this.#identity = { name: settings.name, group: settings.group };
    this.#journal = services.journal.child({ port: settings.name });
    this.#recorder = new PortRecorder(
      services.spool,
      services.clock,
      services.encodeBody,
      services.publish,
      registered,
    );
    this.#lastUsedBy = registered.lastUsedBy;
    this.#writers = new Writers(settings.writers === 'many');
    this.#audience = new Audience(
      () => this.#recorder,
      (seat) => this.#endTooSlow(seat),
    );
    this.#input = new PortInput({
      timers: services.timers,
      recorder: this.#recorder,
      backend: () => this.#line.backend,
      inputSetting: () => this.#settings.input,
      lost: (fault) => this.#line.lost(fault),
    });
    this.#line = new PortLine(
      () => this.#settings.name,
      opener,
      this.#lineOwner(),
      services.timers,
      this.#journal,
    );
    this.#control = new LineControl(this.#line, this.#recorder, this.#journal, settings.flow);
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
    this.#recorder.record({ kind: 'mark', text: short(text) });
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
      differs: this.#control.differsFrom(this.#settings.flow),
      group,
      aliases,
      epoch: this.#recorder.epoch,
      offset: this.#recorder.offset,
      lastByteAtUs: this.#recorder.lastByteAtUs,
      writer: this.#writerNames(),
      viewers: this.#audience.seats.length - this.#writers.current.length,
      incidents: 0,
    };
  }

  sessions(): SessionStatus[] {
    return this.#audience.seats.map((seat) => ({
      session: seat.session,
      port: this.#settings.name,
      user: seat.caller.user,
      remote: seat.caller.remote,
      frontend: seat.caller.frontend,
      mode: this.#modeOf(seat),
      attachedAtUs: seat.attachedAtUs,
      lastInputAtUs: seat.lastInputAtUs,
    }));
  }

  hasSession(session: number): boolean {
    return this.#audience.seatOf(session) !== undefined;
  }

  /**
   * Who asks for write without the right to it views. No event comes before the return.
   * @throws Fault DENIED.
   */
  attach(request: AttachRequest, outlet: Outlet): PortSession {
    const { caller } = request;
    this.#authorize(caller, 'view');
    if (request.mode === 'force') this.#authorize(caller, 'write');
    if (this.#audience.seats.length === 0) this.#setWatched(true);
    const session = this.#services.nextSession();
    const loser = this.#enterWriters(session, request);
    const mode = this.#writers.isWriter(session) ? 'write' : 'view';
    const { user, remote, frontend } = caller;
    const atUs = this.#recorder.record({
      kind: 'attached',
      session,
      user,
      remote,
      frontend,
      mode,
    });
    const seat = makeSeat(session, request, outlet, atUs, this.#recorder.offset);
    if (loser !== null) this.#recorder.record({ kind: 'took-over', session, from: loser });
    this.#audit(caller, loser === null ? 'attach' : 'take over', `session ${session}, ${mode}`);
    if (mode === 'write') {
      if (loser !== null) this.#dropInputOf(loser, user);
      this.#tellWriter(loser === null ? null : user, seat);
    }
    this.#audience.add(seat);
    this.#journal.info({ session, user, remote, frontend, mode }, 'session attached');
    return this.#sessionOf(seat, {
      session,
      port: this.#settings.name,
      uuid: this.uuid,
      mode,
      writer: this.#writerNames(),
      epoch: this.#recorder.epoch,
      offset: seat.nextOffset,
      state: this.#line.state,
      why: this.#line.why,
      inputCreditBytes: INPUT_CREDIT_BYTES,
      lastUsedBy: this.#lastUsedBy,
    });
  }

  /** @throws Fault DENIED without `admin` or `control`, on another user's session; SESSION_UNKNOWN. */
  kick(caller: Caller, session: number): void {
    const seat = this.#audience.seatOf(session);
    if (!seat) throw new Fault('SESSION_UNKNOWN', `no session ${session}`);
    const { authorizer } = this.#services;
    const isOwn = seat.caller.user === caller.user;
    if (!isOwn && !authorizer.allows(caller.user, 'admin', this.#identity)) {
      this.#authorize(caller, 'control');
    }
    this.#audit(caller, 'kick', `session ${session} of ${seat.caller.user}`);
    this.#dropInputOf(session, caller.user);
    this.#end(seat, `kicked by ${caller.user}`);
  }

  /** Returns how many sessions heard it. */
  message(from: string, text: string): number {
    this.#audience.tellAll({ kind: 'message', from, text });
    return this.#audience.seats.length;
  }

  /**
   * Input without a session of its own; resolves when the device took it.
   * @throws Fault DENIED, NOT_WRITER while another user writes, PORT_DOWN, PORT_STUCK, USAGE.
   */
  async send(caller: Caller, bytes: Uint8Array): Promise<void> {
    this.#authorize(caller, 'write');
    if (bytes.length > SEND_BYTES_MAX) {
      throw new Fault('USAGE', `at most ${SEND_BYTES_MAX} bytes can be sent at once`);
    }
    const others = this.#writerSeats().filter((seat) => seat.caller.user !== caller.user);
    if (others.length > 0 && this.#settings.writers === 'one') {
      throw new Fault('NOT_WRITER', `${others[0]!.caller.user} writes on ${this.#settings.name}`);
    }
    this.#line.requireUp();
    if (bytes.length === 0) return;
    const session = this.#services.nextSession();
    const { user, remote, frontend } = caller;
    const mode = 'write';
    const atUs = this.#recorder.record({ kind: 'attached', session, user, remote, frontend, mode });
    this.#lastUsedBy = { user, atUs };
    this.#audit(caller, 'send', `session ${session}, ${bytes.length} bytes`);
    let why = 'sent';
    try {
      await this.#input.send(session, bytes);
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      this.#recorder.record({ kind: 'detached', session, why: short(why) });
    }
  }

  /**
   * `seat` null: asked for by a verb, which needs no write.
   * @throws Fault DENIED, NOT_WRITER, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED, USAGE.
   */
  async sendBreak(caller: Caller, durationMs: number, seat: Seat | null): Promise<void> {
    this.#authorize(caller, 'break');
    this.#requireWriter(seat);
    this.#audit(caller, 'break', `${durationMs} ms`);
    await this.#control.sendBreak(durationMs, seat?.session ?? null);
  }

  /**
   * Until the line is opened anew. `flow` null: as it is.
   * @throws Fault DENIED, NOT_WRITER, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED.
   */
  async setLine(
    caller: Caller,
    line: LineSettings,
    flow: Flow | null,
    seat: Seat | null,
  ): Promise<void> {
    this.#authorize(caller, 'control');
    this.#requireWriter(seat);
    this.#audit(caller, 'line', `${formatLineSettings(line)}${flow ? ` ${flow}` : ''}`);
    await this.#control.setLine(line, flow, seat?.session ?? null);
  }

  /** @throws Fault DENIED, NOT_WRITER, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async setSignals(
    caller: Caller,
    signals: { dtr?: boolean; rts?: boolean },
    seat: Seat | null,
  ): Promise<void> {
    this.#authorize(caller, 'control');
    this.#requireWriter(seat);
    this.#audit(caller, 'signals', JSON.stringify(signals));
    await this.#control.setSignals(signals, seat?.session ?? null);
  }

  /** Users or roles changed: ends sessions that lost `view`, demotes those that lost `write`. */
  recheckRights(): void {
    const { authorizer } = this.#services;
    for (const seat of this.#audience.seats) {
      const { user } = seat.caller;
      if (!authorizer.allows(user, 'view', this.#identity)) {
        this.#dropInputOf(seat.session, null);
        this.#end(seat, `${user} may no longer view ${this.#settings.name}`);
      } else if (!authorizer.allows(user, 'write', this.#identity)) {
        this.#dropInputOf(seat.session, null);
        this.#leaveWriters(seat);
      }
    }
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
    if (settings.writers !== before.writers) this.#setWriters(settings.writers === 'many');
    if (!isDeepStrictEqual(settings.backend, before.backend)) {
      this.#line.replace(opener, 'the configuration names another device');
      return;
    }
    this.#line.setOpener(opener);
    if (settings.latency !== before.latency) this.#setWatched(this.#audience.seats.length > 0);
    const isSame = isDeepStrictEqual(settings.line, before.line) && settings.flow === before.flow;
    if (!isSame) await this.#control.reconfigure(settings.flow);
  }

  /** The store began a new epoch for this port. */
  beginEpoch(position: PortPosition): void {
    const from = this.#recorder.position;
    this.#recorder.beginEpoch(position);
    this.#audience.beginEpoch(from, position);
  }

  /** Ends its sessions and closes the line, within about a second. Nothing follows. */
  async close(why: string): Promise<void> {
    this.#input.drop(null, 'PORT_DOWN', why);
    for (const seat of this.#audience.seats) this.#end(seat, why);
    this.#input.reset();
    const wasUp = this.#line.state === 'up';
    await this.#line.close();
    if (wasUp) this.#recorder.record({ kind: 'down', why: short(why) });
    this.#recorder.release();
  }

  // The line.

  #lineOwner(): PortLineOwner {
    return {
      rx: (bytes) => this.#rx(bytes),
      rxInto: (read) => this.#rxInto(read),
      writable: () => this.#input.writable(),
      event: (event) => {
        switch (event.kind) {
          case 'break':
            this.#recorder.record({ kind: 'break', session: null, durationMs: null });
            break;
          case 'signals':
            this.#recorder.record({ kind: 'signals', signals: event.signals, session: null });
            break;
          case 'line-error':
            this.#recorder.record(event);
        }
      },
      up: (backend) => {
        this.#control.opened(this.#settings.flow);
        this.#recorder.record({ kind: 'up', detail: short(backend.description) });
        this.#input.reset();
        this.#setWatched(this.#audience.seats.length > 0);
        this.#audience.tellAll({ kind: 'up' });
      },
      down: (why) => {
        this.#recorder.record({ kind: 'down', why: short(why) });
        this.#input.drop(null, 'PORT_DOWN', `${this.#settings.name} is down: ${why}`);
        this.#input.reset();
        this.#audience.tellAll({ kind: 'down', why });
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
    if (this.#input.awaitsEcho) this.#input.rx(bytes);
    if (this.#audience.seats.length > 0) {
      this.#audience.frame(this.#recorder.epoch, offset, atUs, new Uint8Array(bytes));
    }
  }

  #rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number {
    const offset = this.#recorder.offset;
    const done = this.#recorder.rxInto(read);
    const { count } = done;
    if (count <= 0) {
      this.#recorder.readIsOver();
      return count;
    }
    const isWatched = this.#audience.seats.length > 0;
    if (isWatched || this.#input.awaitsEcho) {
      // Copied before anything else is spooled: the spool's memory moves on.
      const { memory, start, atUs } = done;
      const bytes = new Uint8Array(count);
      bytes.set(memory.subarray(start, start + count));
      if (this.#input.awaitsEcho) this.#input.rx(bytes);
      this.#recorder.readIsOver();
      if (isWatched) this.#audience.frame(this.#recorder.epoch, offset, atUs, bytes);
    } else {
      this.#recorder.readIsOver();
    }
    return count;
  }

  #setWatched(hasSessions: boolean): void {
    this.#line.backend?.setWatched(hasSessions || this.#settings.latency === 'low');
  }

  // Sessions.

  #sessionOf(seat: Seat, attached: Attached): PortSession {
    /** Calls after the end do nothing. */
    const unlessEnded = async (call: () => Promise<void> | void): Promise<void> => {
      if (!seat.hasEnded) await call();
    };
    return {
      attached,
      credit: (bytes) => this.#audience.credit(seat, bytes),
      input: (seq, bytes) => this.#acceptInput(seat, seq, bytes),
      takeOver: () => unlessEnded(() => this.#takeOver(seat)),
      view: () => unlessEnded(() => this.#leaveWriters(seat)),
      sendBreak: (durationMs) => unlessEnded(() => this.sendBreak(seat.caller, durationMs, seat)),
      setLine: (line, flow) => unlessEnded(() => this.setLine(seat.caller, line, flow, seat)),
      setSignals: (signals) => unlessEnded(() => this.setSignals(seat.caller, signals, seat)),
      detach: (why) => this.#detach(seat, why),
    };
  }

  /** Returns who lost write to it. */
  #enterWriters(session: number, request: AttachRequest): number | null {
    if (request.mode === 'force') return this.#writers.force(session);
    const mayWrite = this.#services.authorizer.allows(request.caller.user, 'write', this.#identity);
    if (request.mode === 'write' && mayWrite) this.#writers.ask(session);
    return null;
  }

  /** @throws Fault DENIED. */
  #takeOver(seat: Seat): void {
    this.#authorize(seat.caller, 'write');
    if (this.#writers.isWriter(seat.session)) return;
    const loser = this.#writers.force(seat.session);
    this.#recorder.record({ kind: 'took-over', session: seat.session, from: loser });
    this.#audit(seat.caller, 'take over', `session ${seat.session}`);
    if (loser !== null) this.#dropInputOf(loser, seat.caller.user);
    this.#tellWriter(loser === null ? null : seat.caller.user, null);
  }

  /** A session stops writing, or waiting for it; the next in turn writes. */
  #leaveWriters(seat: Seat): void {
    const wrote = this.#writers.isWriter(seat.session);
    const next = this.#writers.leave(seat.session);
    if (next !== null) {
      this.#recorder.record({ kind: 'took-over', session: next, from: seat.session });
    }
    if (wrote) this.#tellWriter(null, null);
  }

  #setWriters(many: boolean): void {
    const { gained, lost } = this.#writers.setMany(many);
    for (const session of gained) {
      this.#recorder.record({ kind: 'took-over', session, from: null });
    }
    for (const session of lost) this.#dropInputOf(session, null);
    if (gained.length + lost.length > 0) this.#tellWriter(null, null);
  }

  #detach(seat: Seat, why: string): void {
    if (seat.hasEnded) return;
    seat.hasEnded = true;
    this.#audience.remove(seat);
    const { session, caller } = seat;
    this.#recorder.record({ kind: 'detached', session, why: short(why) });
    this.#leaveWriters(seat);
    if (this.#audience.seats.length === 0) this.#setWatched(false);
    this.#journal.info({ session, user: caller.user, remote: caller.remote, why }, 'session ended');
  }

  #end(seat: Seat, why: string): void {
    if (seat.hasEnded) return;
    this.#detach(seat, why);
    seat.outlet.event(seat.session, { kind: 'ended', why });
  }

  #endTooSlow(seat: Seat): void {
    const { session, caller } = seat;
    const { user, remote, frontend } = caller;
    const bytes = seat.windowBytes - seat.creditBytes;
    this.#journal.warn({ session, user, remote, frontend, bytes, fault: 'TOO_SLOW' }, 'too slow');
    this.#end(seat, `too slow: ${bytes} bytes of output were not read (TOO_SLOW)`);
  }

  #modeOf(seat: Seat): 'write' | 'view' {
    return this.#writers.isWriter(seat.session) ? 'write' : 'view';
  }

  #writerSeats(): Seat[] {
    return this.#audience.seats.filter((seat) => this.#writers.isWriter(seat.session));
  }

  #writerNames(entering?: Seat): string | null {
    const seats = this.#writerSeats();
    if (entering) seats.push(entering);
    const names = new Set(seats.map((seat) => seat.caller.user));
    return names.size === 0 ? null : [...names].join(', ');
  }

  /** Tells everybody who writes now. `by`: who took it over; `entering`: writes, is not told. */
  #tellWriter(by: string | null, entering: Seat | null): void {
    const writer = this.#writerNames(entering ?? undefined);
    for (const seat of this.#audience.seats) {
      const you = this.#writers.isWriter(seat.session);
      this.#audience.tell(seat, { kind: 'writer', writer, you, by });
    }
  }

  /** @throws Fault DENIED. */
  #authorize(caller: Caller, right: Right): void {
    this.#services.authorizer.authorize(caller.user, right, this.#identity);
  }

  /** @throws Fault NOT_WRITER. */
  #requireWriter(seat: Seat | null): void {
    if (seat && !this.#writers.isWriter(seat.session)) {
      throw new Fault('NOT_WRITER', this.#notWriterText());
    }
  }

  #notWriterText(): string {
    const writer = this.#writerNames();
    return writer === null ? 'you only view' : `you only view; ${writer} writes`;
  }

  #audit(caller: Caller, action: string, detail: string): void {
    const { user, remote, frontend } = caller;
    const atUs = this.#services.clock.nowUs();
    const port = this.#settings.name;
    this.#services.audit({ atUs, user, remote, frontend, action, port, detail });
  }

  // Input.

  #acceptInput(seat: Seat, seq: number, bytes: Uint8Array): void {
    if (seat.hasEnded || seq <= seat.inputSeq) return;
    seat.inputSeq = seq;
    const answer = (event: SessionEvent): void => this.#audience.tell(seat, event);
    const acknowledge = (): void => {
      answer({ kind: 'acknowledged', seq, bytes: bytes.length });
    };
    const whyNot = this.#whyNoInput(seat, bytes.length);
    if (whyNot !== null) {
      answer({ kind: 'refused', why: whyNot });
      acknowledge();
      return;
    }
    if (bytes.length === 0) return acknowledge();
    seat.inputBytes += bytes.length;
    seat.lastInputAtUs = this.#services.clock.nowUs();
    this.#lastUsedBy = { user: seat.caller.user, atUs: seat.lastInputAtUs };
    this.#input.push({
      session: seat.session,
      bytes,
      taken: () => {
        seat.inputBytes -= bytes.length;
        acknowledge();
      },
      refused: (_code, why) => {
        seat.inputBytes -= bytes.length;
        answer({ kind: 'refused', why });
        acknowledge();
      },
    });
  }

  #whyNoInput(seat: Seat, bytes: number): string | null {
    if (!this.#writers.isWriter(seat.session)) {
      if (this.#services.authorizer.allows(seat.caller.user, 'write', this.#identity)) {
        return this.#notWriterText();
      }
      return `${seat.caller.user} may not write on ${this.#settings.name} (right "write")`;
    }
    if (!this.#services.authorizer.allows(seat.caller.user, 'write', this.#identity)) {
      return `${seat.caller.user} may not write on ${this.#settings.name} (right "write")`;
    }
    if (!this.#line.backend) return this.#line.downText;
    if (seat.inputBytes + bytes > INPUT_CREDIT_BYTES) return 'more input than was allowed at once';
    return null;
  }

  /** Input accepted from a session that now may not write is dropped: `by` has the line at once. */
  #dropInputOf(session: number, by: string | null): void {
    const why = by === null ? 'you may not write any more' : `${by} took over`;
    this.#input.drop(session, 'NOT_WRITER', why);
  }
}

/** Texts from elsewhere must fit a record. */
function short(text: string): string {
  return text.length > 1_000 ? `${text.slice(0, 1_000)}...` : text;
}
