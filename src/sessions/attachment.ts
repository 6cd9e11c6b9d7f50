import { PERSON_CREDIT_BYTES, PROGRAM_QUEUE_BYTES_MAX } from '../core/attach.ts';
import type { Attached, AttachRequest, PortSession, SessionEvent } from '../core/attach.ts';
import type { LogPlace } from '../core/log-reader.ts';
import type { Timers } from '../ports/timers.ts';
import type { StreamPlace } from './history.ts';
import { InputCredit } from './input-credit.ts';
import { greeting, lineNotice, writerNotice } from './notices.ts';
import { OutputStream } from './output-stream.ts';
import { USUAL_SIZE } from './screen.ts';
import type {
  LineEvent,
  SessionOptions,
  SessionOutput,
  SessionServices,
} from './session-contract.ts';
import type { Teller } from './teller.ts';

/** What a session and the port it is on at the moment have in common. */
export interface AttachmentOwner {
  readonly services: SessionServices;
  readonly options: SessionOptions;
  readonly timers: Timers;
  readonly output: SessionOutput;
  readonly teller: Teller;
  /** The port ended it, and the client is to be told. Nothing follows. */
  ended(why: string): void;
}

const REFUSED_NOTICE_INTERVAL_MS = 5_000;
/** Who attaches is told so after this time, screen or no screen. */
const GREETING_MS = 500;

/** One client on one port, until it leaves or moves to another port. */
export class Attachment {
  readonly input: InputCredit;
  readonly #owner: AttachmentOwner;
  readonly #mode: AttachRequest['mode'];
  #port: PortSession | null = null;
  #stream: OutputStream | null = null;
  /** What the port said before `begin`. */
  #early: SessionEvent[] = [];
  #hasBegun = false;
  #isOver = false;
  #isWriter = false;
  #awaitsWrite = false;
  #refusedToldAtMs = Number.NEGATIVE_INFINITY;

  private constructor(owner: AttachmentOwner, mode: AttachRequest['mode']) {
    this.#owner = owner;
    this.#mode = mode;
    this.input = new InputCredit((seq, bytes, asIs) => this.#port!.input(seq, bytes, asIs));
  }

  /** Attached; nothing is written before `begin`. @throws Fault PORT_UNKNOWN, DENIED, PORT_BUSY. */
  static async open(
    owner: AttachmentOwner,
    port: string,
    mode: AttachRequest['mode'],
  ): Promise<Attachment> {
    const attachment = new Attachment(owner, mode);
    await attachment.#attach(port);
    return attachment;
  }

  get attached(): Attached {
    return this.#port!.attached;
  }

  get port(): PortSession {
    return this.#port!;
  }

  get stream(): OutputStream {
    return this.#stream!;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get isWriter(): boolean {
    return this.#isWriter;
  }

  /** It will get write when whoever has it leaves. */
  get awaitsWrite(): boolean {
    return this.#awaitsWrite;
  }

  /**
   * Output may go to the client. `helpKey` null: keys are off. `from` a place of another attachment
   * to the same port: goes on there.
   */
  begin(from: LogPlace | StreamPlace | 'screen' | null, helpKey: string | null): void {
    const isBack = from !== null && typeof from === 'object' && !('at' in from);
    const { options, timers, teller, services } = this.#owner;
    const wantedWrite = this.#mode !== 'view';
    const about = isBack ? { ...this.attached, motd: null, lastUsedBy: null } : this.attached;
    const lines = greeting(about, wantedWrite, helpKey, services.clock.nowUs());
    let isGreeted = !teller.isOn;
    const greet = (): void => {
      if (isGreeted || this.#isOver) return;
      isGreeted = true;
      teller.lines(lines);
    };
    if (from === 'screen') {
      const size = options.size?.() ?? USUAL_SIZE;
      const greetingRows = (): number => (isGreeted ? 0 : lines.length);
      const cancel = timers.after(GREETING_MS, greet);
      const greetOnce = (): void => {
        cancel();
        greet();
      };
      this.stream.beginWithScreen(size, greetOnce, greetingRows);
    } else {
      greet();
      if (isBack) this.stream.resume(from);
      else this.stream.begin(from);
    }
    const early = this.#early;
    this.#early = [];
    this.#hasBegun = true;
    for (const event of early) this.#onEvent(event);
  }

  /** Gives write up, behind the input already taken, and waits for it no more. */
  async view(): Promise<void> {
    await this.input.sent();
    if (this.#isOver) return;
    this.#awaitsWrite = false;
    await this.port.view();
  }

  /** From now on what is written is the device's bytes and nothing else. */
  becomeProgram(): void {
    if (this.#isOver) return;
    this.port.becomeProgram();
    this.stream.becomeProgram();
  }

  /** The client leaves it. Input already under way still goes to the device; no output follows. */
  leave(why: string): void {
    if (this.#isOver) return;
    this.#finish();
    this.port.detach(why);
  }

  async #attach(port: string): Promise<void> {
    const { services, options, output, timers, teller } = this.#owner;
    const { caller, delivery } = options;
    const creditBytes = delivery === 'person' ? PERSON_CREDIT_BYTES : PROGRAM_QUEUE_BYTES_MAX;
    const request: AttachRequest = { caller, port, mode: this.#mode, delivery, creditBytes };
    this.#port = await services.access.attach(request, (event) => this.#onEvent(event));
    const { attached } = this.#port;
    this.#isWriter = attached.mode === 'write';
    this.#awaitsWrite = !this.#isWriter && this.#mode !== 'view';
    this.#stream = new OutputStream({
      attached,
      caller,
      log: services.log,
      journal: services.journal,
      timers,
      teller,
      write: (bytes, done) => output.write(bytes, done),
      credit: (bytes) => this.port.credit(bytes),
      isTerminal: delivery === 'person' && teller.isOn,
    });
    this.#stream.answers = this.#isWriter;
    this.input.open(attached.inputCreditBytes);
  }

  #onEvent(event: SessionEvent): void {
    if (this.#isOver) return;
    if (!this.#hasBegun) {
      this.#early.push(event);
      return;
    }
    switch (event.kind) {
      case 'frame':
      case 'epoch':
      case 'skipped':
        this.stream.next(event);
        return;
      case 'acknowledged':
        this.input.acknowledged(event.bytes);
        return;
      case 'refused':
        this.#tellRefused(event.why);
        return;
      case 'ended':
        this.#finish();
        this.#owner.ended(event.why);
        return;
      case 'message':
        this.#tellInTurn(`message from ${event.from}: ${event.text}`);
        return;
      default:
        this.#onLineEvent(event);
        this.#owner.output.event?.(event);
    }
  }

  #onLineEvent(event: LineEvent): void {
    switch (event.kind) {
      case 'writer':
        this.#tellInTurn(writerNotice(event, this.#isWriter));
        if (event.you) this.#awaitsWrite = false;
        // Who has to yield is the first to get it back.
        else if (this.#isWriter && event.by !== null) this.#awaitsWrite = true;
        this.#isWriter = event.you;
        this.stream.answers = event.you;
        break;
      case 'down':
        this.#tellInTurn(`the port is down: ${event.why}`);
        break;
      case 'up':
        this.#tellInTurn('the port is up again');
        break;
      case 'line':
        this.#tellInTurn(lineNotice(event));
        break;
      case 'signals':
      case 'break':
      case 'line-error':
        break; // a device may make thousands of them: the log has them, and programs that asked
    }
  }

  /** In its place among the output. */
  #tellInTurn(text: string | null): void {
    if (text !== null && this.#owner.teller.isOn) this.stream.next({ kind: 'notice', text });
  }

  #tellRefused(why: string): void {
    const nowMs = this.#owner.timers.nowMs();
    if (nowMs - this.#refusedToldAtMs < REFUSED_NOTICE_INTERVAL_MS) return;
    this.#refusedToldAtMs = nowMs;
    this.#owner.teller.tell(`input refused: ${why}`);
  }

  #finish(): void {
    this.#isOver = true;
    this.input.close();
    this.#stream?.close();
  }
}
