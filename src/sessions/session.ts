import { PERSON_CREDIT_BYTES, PROGRAM_QUEUE_BYTES_MAX } from '../core/attach.ts';
import type {
  Attached,
  AttachRequest,
  PortAccess,
  PortSession,
  SessionEvent,
} from '../core/attach.ts';
import type { Clock, Journal } from '../core/clock.ts';
import type { LogPlace, LogReader } from '../core/log-reader.ts';
import type { Caller } from '../core/user.ts';
import { realTimers } from '../ports/timers.ts';
import type { Timers } from '../ports/timers.ts';
import { EscapeKeys, SESSION_KEYS, escapeHelp } from './escape-keys.ts';
import type { SessionKey } from './escape-keys.ts';
import { History } from './history.ts';
import { InputCredit } from './input-credit.ts';
import { greeting, notice, notices, skippedNotice, writerNotice } from './notices.ts';

export interface SessionServices {
  access: PortAccess;
  log: LogReader;
  clock: Clock;
  journal: Journal;
  /** Real ones unless a test says otherwise. */
  timers?: Timers;
}

export interface SessionOptions {
  caller: Caller;
  /** Name, alias or unique prefix. */
  port: string;
  mode: AttachRequest['mode'];
  /** A person skips what they cannot take; a program is disconnected instead. */
  delivery: AttachRequest['delivery'];
  /** Where history begins; null: live only. */
  from: LogPlace | null;
  /** Lines of Fairlead's own among the output, for people. */
  notices: boolean;
  /** The `^Ec` keys act. */
  keys: boolean;
}

export interface SessionOutput {
  /** `done` once the client took the bytes. They are shared: not to be changed. */
  write(bytes: Uint8Array, done: () => void): void;
  /** The port or a key ended the session; after `detach` it is not called. Nothing follows. */
  ended(why: string): void;
}

export interface Session {
  readonly attached: Attached;
  /** `bytes` is taken over. Resolves when more may be sent: until then do not read the socket. */
  input(bytes: Uint8Array): Promise<void>;
  /** @throws Fault DENIED. */
  takeOver(): Promise<void>;
  /** Gives write up, behind the input already taken, and waits for it no more. */
  view(): Promise<void>;
  /** Resolves when the device took, or the port refused, all input so far; or the session is over. */
  inputDelivered(): Promise<void>;
  /** @throws Fault DENIED, NOT_WRITER, PORT_UNSUPPORTED, PORT_DOWN. */
  sendBreak(durationMs: number): Promise<void>;
  /** The client left. Input already taken still goes to the device; no output follows. */
  detach(why?: string): void;
}

/** History that may be under way to the client at once. */
const HISTORY_BYTES_MAX = 65_536;
const HISTORY_PIECE_BYTES = 32_768;
/** Notices that may be under way; more are left out. */
const NOTICE_BYTES_MAX = 8_192;
/** Notices that may wait for the history before them. */
const HELD_NOTICES_MAX = 100;
const REFUSED_NOTICE_INTERVAL_MS = 5_000;

/**
 * Joins one client to one port: history from the log and live bytes without a seam, input under
 * credit, notices and keys for people. The same for every frontend.
 * @throws Fault PORT_UNKNOWN, DENIED.
 */
export async function openSession(
  services: SessionServices,
  options: SessionOptions,
  output: SessionOutput,
): Promise<Session> {
  const session = new ClientSession(services, options, output);
  await session.open();
  return session;
}

/** What goes to the client in order: bytes and what is told between them. */
type StreamItem =
  Extract<SessionEvent, { kind: 'frame' | 'skipped' | 'epoch' }> | { kind: 'notice'; text: string };

class ClientSession implements Session {
  readonly #services: SessionServices;
  readonly #options: SessionOptions;
  readonly #output: SessionOutput;
  readonly #timers: Timers;
  readonly #keys: EscapeKeys<SessionKey> | null;
  readonly #input: InputCredit;
  #port: PortSession | null = null;
  #isOver = false;
  #isWriter = false;

  /** Items wait while the stream's turn is the log's, or before the attach was answered. */
  #waiting: StreamItem[] = [];
  #heldNotices = 0;
  #isHolding = true;
  #early: SessionEvent[] = [];

  #history: History | null = null;
  #historyBytes = 0;
  #historyMayGoOn: (() => void) | null = null;
  /** The log is followed up to here; a skip that begins here is filled from it. Null: joined. */
  #joinsAt: number | null = null;
  /** Each hole to fill must be smaller, or a client slower than its port would never see it live. */
  #fillBytesMax = Number.POSITIVE_INFINITY;

  #noticeBytes = 0;
  #noticesLeftOut = 0;
  #refusedToldAtMs = Number.NEGATIVE_INFINITY;

  constructor(services: SessionServices, options: SessionOptions, output: SessionOutput) {
    this.#services = services;
    this.#options = options;
    this.#output = output;
    this.#timers = services.timers ?? realTimers;
    this.#input = new InputCredit((seq, bytes) => this.#port!.input(seq, bytes));
    this.#keys = options.keys
      ? new EscapeKeys(SESSION_KEYS, this.#timers, (bytes) => void this.#input.send(bytes))
      : null;
  }

  get attached(): Attached {
    return this.#port!.attached;
  }

  async open(): Promise<void> {
    const { caller, port, mode, delivery, from } = this.#options;
    const creditBytes = delivery === 'person' ? PERSON_CREDIT_BYTES : PROGRAM_QUEUE_BYTES_MAX;
    const request: AttachRequest = { caller, port, mode, delivery, creditBytes };
    this.#port = await this.#services.access.attach(request, (event) => this.#onEvent(event));
    const { attached } = this.#port;
    this.#isWriter = attached.mode === 'write';
    this.#input.open(attached.inputCreditBytes);
    this.#tell(greeting(attached, mode === 'write', this.#keys !== null));
    const early = this.#early;
    this.#early = [];
    for (const event of early) this.#onEvent(event);
    void this.#run(async () => {
      if (from !== null) await this.#joinHistory(from);
    });
  }

  async input(bytes: Uint8Array): Promise<void> {
    if (this.#isOver) return;
    const step = this.#keys?.step(bytes);
    if (!step) return this.#input.send(bytes);
    if (step.unknown !== null) this.#tell(`^Ec${step.unknown} is no key; ^Ec? lists them`);
    const passed = step.pass ? this.#input.send(step.pass) : undefined;
    if (step.action) this.#act(step.action);
    return passed;
  }

  async takeOver(): Promise<void> {
    if (!this.#isOver) await this.#port!.takeOver();
  }

  async view(): Promise<void> {
    await this.#input.sent();
    if (!this.#isOver) await this.#port!.view?.();
  }

  inputDelivered(): Promise<void> {
    return this.#input.delivered();
  }

  async sendBreak(durationMs: number): Promise<void> {
    if (!this.#isOver) await this.#port!.sendBreak(durationMs);
  }

  detach(why = 'left'): void {
    if (this.#isOver) return;
    this.#finish();
    this.#port!.detach(why);
  }

  // From the port.

  #onEvent(event: SessionEvent): void {
    if (this.#isOver) return;
    if (!this.#port) {
      this.#early.push(event);
      return;
    }
    switch (event.kind) {
      case 'frame':
      case 'epoch':
        this.#next(event);
        break;
      case 'skipped':
        if (!this.#isHolding && this.#mayFill(event)) void this.#run(() => this.#fill(event));
        else this.#next(event);
        break;
      case 'acknowledged':
        this.#input.acknowledged(event.bytes);
        break;
      case 'refused':
        this.#tellRefused(event.why);
        break;
      case 'writer': {
        const text = writerNotice(event, this.#isWriter);
        this.#isWriter = event.you;
        if (text !== null) this.#next({ kind: 'notice', text });
        break;
      }
      case 'down':
        this.#next({ kind: 'notice', text: `the port is down: ${event.why}` });
        break;
      case 'up':
        this.#next({ kind: 'notice', text: 'the port is up again' });
        break;
      case 'message':
        this.#next({ kind: 'notice', text: `message from ${event.from}: ${event.text}` });
        break;
      case 'ended':
        this.#tell(`ended: ${event.why}`);
        this.#finish();
        this.#output.ended(event.why);
    }
  }

  /** Delivers it, or has it wait behind the history. */
  #next(item: StreamItem): void {
    if (!this.#isHolding) {
      this.#deliver(item);
      return;
    }
    if (item.kind === 'notice' && ++this.#heldNotices > HELD_NOTICES_MAX) this.#noticesLeftOut++;
    else this.#waiting.push(item);
  }

  #deliver(item: StreamItem): void {
    switch (item.kind) {
      case 'frame': {
        if (this.#joinsAt !== null && item.offset >= this.#joinsAt) this.#joinsAt = null;
        const { length } = item.bytes;
        this.#output.write(item.bytes, () => this.#port!.credit(length));
        break;
      }
      case 'skipped':
        this.#joinsAt = null;
        this.#mustTell(skippedNotice(item.from, item.to));
        break;
      case 'epoch':
        this.#joinsAt = null;
        this.#mustTell('continuity is not proven here: a new epoch begins');
        break;
      case 'notice':
        this.#tell(item.text);
    }
  }

  // History.

  /** Runs `work` while live items wait, then lets them follow. */
  async #run(work: () => Promise<void>): Promise<void> {
    this.#isHolding = true;
    await work();
    for (let item = this.#waiting.shift(); item && !this.#isOver; item = this.#waiting.shift()) {
      if (item.kind === 'notice') this.#heldNotices--;
      if (item.kind === 'skipped' && this.#mayFill(item)) await this.#fill(item);
      else this.#deliver(item);
    }
    this.#isHolding = false;
  }

  async #joinHistory(from: LogPlace): Promise<void> {
    const { log } = this.#services;
    const { caller } = this.#options;
    const { uuid, epoch, offset } = this.attached;
    const sink = {
      write: (bytes: Uint8Array) => this.#writeHistory(bytes),
      notice: (text: string) => this.#mustTell(text),
    };
    try {
      const live = { epoch, offset };
      this.#history = await History.begin({ log, caller, uuid }, sink, from, live);
      if (await this.#history.deliver(live)) this.#joinsAt = this.#endOfHeldFrames(offset);
    } catch (error) {
      this.#historyFailed(error);
    }
  }

  /** A skip that began while the log was read is no hole: the log goes on there. */
  #mayFill({ from, to }: { from: number; to: number }): boolean {
    return this.#history !== null && from === this.#joinsAt && to - from <= this.#fillBytesMax;
  }

  async #fill({ epoch, from, to }: { epoch: number; from: number; to: number }): Promise<void> {
    this.#fillBytesMax = (to - from) / 2;
    this.#joinsAt = null;
    try {
      this.#history!.deliveredUpTo({ epoch, offset: from });
      if (await this.#history!.deliver({ epoch, offset: to })) {
        this.#joinsAt = this.#endOfHeldFrames(to);
      }
    } catch (error) {
      this.#historyFailed(error);
    }
  }

  /** Where the frames that wait end: there a skip began, if one did. */
  #endOfHeldFrames(from: number): number {
    let end = from;
    for (const item of this.#waiting) {
      if (item.kind === 'frame') end = item.offset + item.bytes.length;
      else if (item.kind !== 'notice') break;
    }
    return end;
  }

  #historyFailed(error: unknown): void {
    const { session, port } = this.attached;
    this.#history = null;
    this.#joinsAt = null;
    this.#services.journal.warn({ session, port, err: error }, 'history could not be read');
    this.#mustTell(`no history: ${error instanceof Error ? error.message : String(error)}`);
  }

  async #writeHistory(bytes: Uint8Array): Promise<boolean> {
    for (let from = 0; from < bytes.length; from += HISTORY_PIECE_BYTES) {
      const piece = bytes.subarray(from, from + HISTORY_PIECE_BYTES);
      while (this.#historyBytes + piece.length > HISTORY_BYTES_MAX && !this.#isOver) {
        await new Promise<void>((resolve) => (this.#historyMayGoOn = resolve));
      }
      if (this.#isOver) return false;
      this.#historyBytes += piece.length;
      this.#output.write(piece, () => {
        this.#historyBytes -= piece.length;
        this.#historyMayGoOn?.();
      });
    }
    return !this.#isOver;
  }

  // For people.

  #act(key: SessionKey): void {
    switch (key) {
      case 'leave':
        this.detach('left by ^Ec.');
        this.#output.ended('left');
        break;
      case 'help':
        this.#writeNotice(notices(escapeHelp(SESSION_KEYS)));
        break;
      case 'force':
        void this.#tellFailure(this.takeOver());
        break;
      case 'view':
        void this.#tellFailure(this.view());
        break;
      case 'who':
        void this.#tellFailure(this.#tellWho());
    }
  }

  async #tellWho(): Promise<void> {
    const all = await this.#services.access.who(this.#options.caller);
    const here = all.filter((other) => other.port === this.attached.port);
    const lines = here.map(({ session, user, remote, frontend, mode }) => {
      const you = session === this.attached.session ? ' (you)' : '';
      return `${session} ${user} ${mode === 'write' ? 'writes' : 'views'} from ${remote} by ${frontend}${you}`;
    });
    if (!this.#isOver) this.#writeNotice(notices(lines));
  }

  async #tellFailure(call: Promise<void>): Promise<void> {
    try {
      await call;
    } catch (error) {
      this.#tell(error instanceof Error ? error.message : String(error));
    }
  }

  #tellRefused(why: string): void {
    const nowMs = this.#timers.nowMs();
    if (nowMs - this.#refusedToldAtMs < REFUSED_NOTICE_INTERVAL_MS) return;
    this.#refusedToldAtMs = nowMs;
    this.#tell(`input refused: ${why}`);
  }

  /** Tells a person, unless they do not even take what they were told before. */
  #tell(text: string): void {
    if (!this.#options.notices || this.#isOver) return;
    if (this.#noticeBytes > NOTICE_BYTES_MAX) this.#noticesLeftOut++;
    else this.#mustTell(text);
  }

  /** What the stream itself misses: bounded by the credit that must return in between. */
  #mustTell(text: string): void {
    if (this.#isOver) return;
    if (!this.#options.notices) {
      const { session, port } = this.attached;
      this.#services.journal.warn({ session, port, text }, 'a client could not be told');
      return;
    }
    const leftOut = this.#noticesLeftOut;
    this.#noticesLeftOut = 0;
    if (leftOut > 0) this.#writeNotice(notice(`${leftOut} notices were left out`));
    this.#writeNotice(notice(text));
  }

  #writeNotice(bytes: Uint8Array): void {
    if (!this.#options.notices) return;
    this.#noticeBytes += bytes.length;
    this.#output.write(bytes, () => (this.#noticeBytes -= bytes.length));
  }

  #finish(): void {
    this.#isOver = true;
    this.#keys?.stop();
    this.#input.close();
    this.#waiting = [];
    this.#historyMayGoOn?.();
  }
}
