import { INPUT_CREDIT_BYTES } from '../core/attach.ts';
import type { Attached, AttachRequest, PortSession, SessionEvent } from '../core/attach.ts';
import type { Clock, Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import { formatLineSettings } from '../core/line-settings.ts';
import type { SessionStatus } from '../core/port-status.ts';
import type { PortSettings } from '../core/settings.ts';
import type { Caller } from '../core/user.ts';
import { makeSeat } from './audience.ts';
import type { Audience, Outlet, Seat } from './audience.ts';
import type { LineActor, LineControl } from './line-control.ts';
import type { PortGuard } from './port-guard.ts';
import type { PortInput } from './port-input.ts';
import type { PortLine } from './port-line.ts';
import { recordText } from './port-recorder.ts';
import type { PortRecorder } from './port-recorder.ts';
import { Writers } from './writers.ts';

export interface PortSessionsOwner {
  readonly uuid: string;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly audience: Audience;
  readonly line: PortLine;
  readonly control: LineControl;
  readonly recorder: PortRecorder;
  readonly input: PortInput;
  readonly guard: PortGuard;
  readonly lastUsedBy: { user: string; atUs: number } | null;
  /** As configured now. */
  settings(): PortSettings;
  /** The next session number. */
  nextSession(): number;
  /** The first session came, or the last one left. */
  watchedChanged(): void;
  /** Nobody writes any more: the last one who did has left or gave it up. */
  writersLeft(): void;
}

export function sessionHasEnded(): Fault {
  return new Fault('SESSION_UNKNOWN', 'the session has ended');
}

/**
 * The sessions of one port: who watches, who writes, and what each of them asks of the line
 * (DESIGN 3). Every call authorizes its user.
 */
export class PortSessions {
  readonly #owner: PortSessionsOwner;
  readonly #writers: Writers;
  #lastUsedBy: { user: string; atUs: number } | null;
  #isClosed = false;

  constructor(owner: PortSessionsOwner) {
    this.#owner = owner;
    this.#lastUsedBy = owner.lastUsedBy;
    this.#writers = new Writers(owner.settings().writers === 'many');
  }

  get isEmpty(): boolean {
    return this.#seats.length === 0;
  }

  get viewers(): number {
    return this.#seats.length - this.#writers.current.length;
  }

  /** Names of those who write; null: nobody. */
  get writer(): string | null {
    return this.#writerNames();
  }

  list(): SessionStatus[] {
    return this.#seats.map((seat) => ({
      session: seat.session,
      port: this.#name,
      user: seat.caller.user,
      remote: seat.caller.remote,
      frontend: seat.caller.frontend,
      mode: this.#writers.isWriter(seat.session) ? 'write' : 'view',
      attachedAtUs: seat.attachedAtUs,
      lastInputAtUs: seat.lastInputAtUs,
    }));
  }

  has(session: number): boolean {
    return this.#owner.audience.seatOf(session) !== undefined;
  }

  /**
   * Who asks for write without the right to it views. No event comes before the return.
   * @throws Fault DENIED, PORT_BUSY.
   */
  attach(request: AttachRequest, outlet: Outlet): PortSession {
    const { guard, recorder, audience, line, uuid } = this.#owner;
    const { caller } = request;
    guard.authorize(caller, 'view', 'attach');
    if (request.mode === 'force') guard.authorize(caller, 'write', 'attach');
    if (request.mode === 'write-or-leave') this.#requireFree();
    const session = this.#owner.nextSession();
    const loser = this.#enterWriters(session, request);
    const mode = this.#writers.isWriter(session) ? 'write' : 'view';
    const { user, remote, frontend } = caller;
    const attached = { kind: 'attached', session, user, remote, frontend, mode } as const;
    const seat = makeSeat(session, request, outlet, recorder.record(attached), recorder.offset);
    if (loser !== null) recorder.record({ kind: 'took-over', session, from: loser });
    guard.audit(caller, loser === null ? 'attach' : 'take over', `session ${session}, ${mode}`);
    if (mode === 'write') {
      if (loser !== null) this.#dropInputOf(loser, user);
      this.#tellWriter(loser === null ? null : user, seat);
    }
    audience.add(seat);
    if (loser !== null) this.#owner.control.released(loser);
    if (this.#seats.length === 1) this.#owner.watchedChanged();
    this.#watchSignals();
    this.#owner.journal.info({ session, user, remote, frontend, mode }, 'session attached');
    const { motd, idleTimeoutMs } = this.#owner.settings();
    return this.#sessionOf(seat, {
      session,
      port: this.#name,
      uuid,
      mode,
      writer: this.#writerNames(),
      epoch: recorder.epoch,
      offset: seat.nextOffset,
      state: line.state,
      why: line.why,
      inputCreditBytes: INPUT_CREDIT_BYTES,
      lastUsedBy: this.#lastUsedBy,
      motd,
      idleTimeoutMs,
    });
  }

  /**
   * Work on the line that comes and goes in the log as a session of its own; nobody is attached.
   * Passes on what `work` throws.
   */
  async visit(caller: Caller, work: (session: number) => Promise<void>): Promise<void> {
    const { recorder } = this.#owner;
    const session = this.#owner.nextSession();
    const { user, remote, frontend } = caller;
    recorder.record({ kind: 'attached', session, user, remote, frontend, mode: 'write' });
    let why = 'done';
    try {
      await work(session);
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      recorder.record({ kind: 'detached', session, why: recordText(why) });
    }
  }

  /** This user typed something, just now. */
  used(user: string): void {
    this.#lastUsedBy = { user, atUs: this.#owner.clock.nowUs() };
  }

  /** @throws Fault NOT_WRITER when another user writes, and only one may. */
  requireNoOtherWriter(user: string): void {
    if (this.#owner.settings().writers === 'many') return;
    const other = this.#writerSeats().find((seat) => seat.caller.user !== user);
    if (other) throw new Fault('NOT_WRITER', `${other.caller.user} writes on ${this.#name}`);
  }

  /** @throws Fault DENIED without `admin` or `control`, on another user's session; SESSION_UNKNOWN. */
  kick(caller: Caller, session: number): void {
    const { guard } = this.#owner;
    const seat = this.#seatOf(session);
    const isOwn = seat.caller.user === caller.user;
    if (!isOwn && !guard.allows(caller.user, 'admin')) guard.authorize(caller, 'control', 'kick');
    guard.audit(caller, 'kick', `session ${session} of ${seat.caller.user}`);
    this.#dropInputOf(session, caller.user);
    this.#end(seat, `kicked by ${caller.user}`);
  }

  /** To one session, or to all (null). Returns how many heard it. @throws Fault SESSION_UNKNOWN. */
  message(session: number | null, from: string, text: string): number {
    const event: SessionEvent = { kind: 'message', from, text };
    if (session !== null) {
      this.#owner.audience.tell(this.#seatOf(session), event);
      return 1;
    }
    this.#owner.audience.tellAll(event);
    return this.#seats.length;
  }

  /** Users or roles changed: ends sessions that lost `view`, demotes those that lost `write`. */
  recheckRights(): void {
    const { guard } = this.#owner;
    for (const seat of this.#seats) {
      const { user } = seat.caller;
      if (!guard.allows(user, 'view')) {
        this.#dropInputOf(seat.session, null);
        this.#end(seat, `${user} may no longer view ${this.#name}`);
      } else if (!guard.allows(user, 'write')) {
        this.#dropInputOf(seat.session, null);
        this.#leaveWriters(seat);
      }
    }
  }

  /** `writers` was configured anew. */
  setMany(many: boolean): void {
    const { recorder, control } = this.#owner;
    const { gained, lost } = this.#writers.setMany(many);
    for (const session of gained) recorder.record({ kind: 'took-over', session, from: null });
    for (const session of lost) {
      this.#dropInputOf(session, null);
      control.released(session);
    }
    if (gained.length + lost.length > 0) this.#tellWriter(null, null);
  }

  /** Ends all of them for good. */
  close(why: string): void {
    this.#isClosed = true;
    for (const seat of this.#seats) this.#end(seat, why);
  }

  get #seats(): readonly Seat[] {
    return this.#owner.audience.seats;
  }

  get #name(): string {
    return this.#owner.settings().name;
  }

  /** @throws Fault SESSION_UNKNOWN. */
  #seatOf(session: number): Seat {
    const seat = this.#owner.audience.seatOf(session);
    if (seat) return seat;
    throw new Fault('SESSION_UNKNOWN', `no session ${session}`);
  }

  #sessionOf(seat: Seat, attached: Attached): PortSession {
    const { audience, control, guard } = this.#owner;
    const { caller, session } = seat;
    const actor: LineActor = { session, user: caller.user, isAttached: true };
    /** Calls after the end do nothing. */
    const unlessEnded = async (call: () => Promise<void> | void): Promise<void> => {
      if (!seat.hasEnded) await call();
    };
    const asWriter = (
      right: 'write' | 'break' | 'control',
      action: string,
      call: () => Promise<void>,
    ): Promise<void> =>
      unlessEnded(() => {
        guard.authorize(caller, right, action);
        this.#requireWriter(seat);
        return call();
      });
    return {
      attached,
      credit: (bytes) => audience.credit(seat, bytes),
      input: (seq, bytes, asIs) => this.#acceptInput(seat, seq, bytes, asIs ?? false),
      takeOver: () => unlessEnded(() => this.#takeOver(seat)),
      view: () => unlessEnded(() => this.#leaveWriters(seat)),
      becomeProgram: () => {
        seat.delivery = 'program';
        this.#watchSignals();
      },
      sendBreak: (durationMs) =>
        asWriter('break', 'break', () => {
          guard.audit(caller, 'break', `${durationMs} ms`);
          return control.sendBreak(durationMs, session);
        }),
      setBreak: (isOn) =>
        asWriter('break', 'break', () => {
          if (isOn) guard.audit(caller, 'break', 'held');
          return control.setBreak(isOn, session);
        }),
      setLine: (line, flow) =>
        asWriter('control', 'line', () => {
          guard.audit(caller, 'line', `${formatLineSettings(line)} ${flow}`);
          return control.setLine(line, flow, actor);
        }),
      setSignals: (signals) =>
        asWriter('control', 'signals', () => {
          guard.audit(caller, 'signals', JSON.stringify(signals));
          return control.setSignals(signals, actor);
        }),
      purge: (queue) => asWriter('write', 'purge', () => this.#purge(seat, queue)),
      lineState: async () => {
        if (seat.hasEnded) throw sessionHasEnded();
        guard.authorize(caller, 'view', 'line');
        return control.state();
      },
      detach: (why) => this.#detach(seat, why),
    };
  }

  async #purge(seat: Seat, queue: 'rx' | 'tx' | 'both'): Promise<void> {
    const { input, control, recorder } = this.#owner;
    if (queue !== 'rx') {
      input.discard(seat.session, 'its client threw it away');
      recorder.mark(`session ${seat.session} threw away output that had not gone out`);
    }
    await control.purge(queue);
  }

  /** @throws Fault PORT_BUSY. */
  #requireFree(): void {
    const writer = this.#writerNames();
    if (writer === null || this.#owner.settings().writers === 'many') return;
    throw new Fault('PORT_BUSY', `${writer} writes on ${this.#name}`);
  }

  /** Returns who lost write to it. */
  #enterWriters(session: number, request: AttachRequest): number | null {
    if (request.mode === 'force') return this.#writers.force(session);
    const mayWrite = this.#owner.guard.allows(request.caller.user, 'write');
    if (request.mode !== 'view' && mayWrite) this.#writers.ask(session);
    return null;
  }

  /** @throws Fault DENIED. */
  #takeOver(seat: Seat): void {
    const { guard, recorder, control } = this.#owner;
    const { session, caller } = seat;
    guard.authorize(caller, 'write', 'take over');
    if (this.#writers.isWriter(session)) return;
    const loser = this.#writers.force(session);
    recorder.record({ kind: 'took-over', session, from: loser });
    guard.audit(caller, 'take over', `session ${session}`);
    if (loser !== null) this.#dropInputOf(loser, caller.user);
    this.#tellWriter(loser === null ? null : caller.user, null);
    if (loser !== null) control.released(loser);
  }

  /** A session stops writing, or waiting for it; the next in turn writes. */
  #leaveWriters(seat: Seat): void {
    const { recorder, control } = this.#owner;
    const wrote = this.#writers.isWriter(seat.session);
    const next = this.#writers.leave(seat.session);
    if (next !== null) recorder.record({ kind: 'took-over', session: next, from: seat.session });
    if (!wrote) return;
    this.#tellWriter(null, null);
    control.released(seat.session);
    if (this.#writers.current.length === 0 && !this.#isClosed) this.#owner.writersLeft();
  }

  #detach(seat: Seat, why: string): void {
    if (seat.hasEnded) return;
    seat.hasEnded = true;
    const { audience, recorder, journal } = this.#owner;
    audience.remove(seat);
    const { session, caller } = seat;
    recorder.record({ kind: 'detached', session, why: recordText(why) });
    this.#leaveWriters(seat);
    if (this.isEmpty) this.#owner.watchedChanged();
    this.#watchSignals();
    journal.info({ session, user: caller.user, remote: caller.remote, why }, 'session ended');
  }

  #end(seat: Seat, why: string): void {
    if (seat.hasEnded) return;
    this.#detach(seat, why);
    seat.outlet.event(seat.session, { kind: 'ended', why });
  }

  /** For the audience: a program did not read. */
  endTooSlow(seat: Seat): void {
    const { session, caller } = seat;
    const { user, remote, frontend } = caller;
    const bytes = seat.windowBytes - seat.creditBytes;
    const fields = { session, user, remote, frontend, bytes, fault: 'TOO_SLOW' };
    this.#owner.journal.warn(fields, 'too slow');
    this.#end(seat, `too slow: ${bytes} bytes of output were not read (TOO_SLOW)`);
  }

  /** Programs learn of the modem inputs; people do not ask. */
  #watchSignals(): void {
    this.#owner.control.watchSignals(this.#seats.some(({ delivery }) => delivery === 'program'));
  }

  #writerSeats(): Seat[] {
    return this.#seats.filter((seat) => this.#writers.isWriter(seat.session));
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
    for (const seat of this.#seats) {
      const you = this.#writers.isWriter(seat.session);
      this.#owner.audience.tell(seat, { kind: 'writer', writer, you, by });
    }
  }

  /** @throws Fault NOT_WRITER. */
  #requireWriter(seat: Seat): void {
    if (!this.#writers.isWriter(seat.session)) {
      throw new Fault('NOT_WRITER', this.#notWriterText());
    }
  }

  #notWriterText(): string {
    const writer = this.#writerNames();
    return writer === null ? 'you only view' : `you only view; ${writer} writes`;
  }

  #acceptInput(seat: Seat, seq: number, bytes: Uint8Array, asIs: boolean): void {
    if (seat.hasEnded || seq <= seat.inputSeq) return;
    seat.inputSeq = seq;
    const { audience, input, clock, settings } = this.#owner;
    const answer = (event: SessionEvent): void => audience.tell(seat, event);
    const acknowledge = (): void => {
      answer({ kind: 'acknowledged', seq, bytes: bytes.length });
    };
    const whyNot = this.#whyNoInput(seat, bytes.length);
    if (whyNot !== null) {
      answer({ kind: 'refused', why: whyNot });
      acknowledge();
      return;
    }
    const isTyped = seat.delivery === 'person' && !asIs;
    const newline = isTyped ? settings().pace.newline : 'as-is';
    const sent = seat.lineEnds.map(bytes, newline);
    if (sent.length === 0) return acknowledge();
    seat.inputBytes += bytes.length;
    seat.lastInputAtUs = clock.nowUs();
    this.used(seat.caller.user);
    input.push({
      session: seat.session,
      bytes: sent,
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
    const { guard, line } = this.#owner;
    if (!guard.allows(seat.caller.user, 'write')) {
      return `${seat.caller.user} may not write on ${this.#name} (right "write")`;
    }
    if (!this.#writers.isWriter(seat.session)) return this.#notWriterText();
    if (!line.backend) return line.downText;
    if (seat.inputBytes + bytes > INPUT_CREDIT_BYTES) return 'more input than was allowed at once';
    return null;
  }

  /** Input accepted from a session that now may not write is dropped: `by` has the line at once. */
  #dropInputOf(session: number, by: string | null): void {
    const why = by === null ? 'you may not write any more' : `${by} took over`;
    this.#owner.input.drop(session, 'NOT_WRITER', why);
  }
}
