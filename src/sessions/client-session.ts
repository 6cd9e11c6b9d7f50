import type { Attached } from '../core/attach.ts';
import { Fault } from '../core/fault.ts';
import type { HostTerminal } from '../core/frontend.ts';
import type { Flow, LineSettings, LineState } from '../core/line-settings.ts';
import type { Caller } from '../core/user.ts';
import { realTimers } from '../ports/timers.ts';
import type { Timers } from '../ports/timers.ts';
import { isTerminalAnswer } from '../protocols/terminal-queries.ts';
import { Attachment } from './attachment.ts';
import type { AttachmentOwner } from './attachment.ts';
import { IdleWatch } from './idle-watch.ts';
import type { Seat } from './key-actions.ts';
import { Person } from './person.ts';
import type {
  Session,
  SessionOptions,
  SessionOutput,
  SessionServices,
} from './session-contract.ts';
import { Teller } from './teller.ts';
import { TerminalTrace } from './terminal-trace.ts';

/** One client, on one port at a time. */
export class ClientSession implements Session, Seat, AttachmentOwner {
  readonly services: SessionServices;
  readonly options: SessionOptions;
  readonly output: SessionOutput;
  readonly timers: Timers;
  readonly teller: Teller;
  readonly #idle: IdleWatch;
  readonly #terminal = new TerminalTrace();
  #person: Person | null;
  #attachment: Attachment | null = null;
  /** It is being attached anew. */
  #changing: Promise<void> | null = null;
  #isOver = false;

  constructor(services: SessionServices, options: SessionOptions, output: SessionOutput) {
    this.services = services;
    this.options = options;
    this.output = {
      write: (bytes, done) => {
        this.#terminal.wrote(bytes);
        output.write(bytes, done);
      },
      ended: (why) => output.ended(why),
      event: (event) => output.event?.(event),
    };
    this.timers = services.timers ?? realTimers;
    this.teller = new Teller(
      (bytes, done) => {
        if (!this.#isOver) this.output.write(this.#terminal.trim(bytes), done);
      },
      (text) => this.#untold(text),
      options.notices,
    );
    this.#idle = new IdleWatch(
      this.timers,
      (text) => this.tell(text),
      (why) => this.#letGo(why),
    );
    this.#person = options.keys === null ? null : new Person(this, options.keys, this.timers);
  }

  /** @throws Fault PORT_UNKNOWN, DENIED, PORT_BUSY. */
  async open(): Promise<void> {
    const { port, mode, from } = this.options;
    this.#attachment = await Attachment.open(this, port, mode);
    this.#watchIdle();
    this.#attachment.begin(from, this.#helpKey);
  }

  // What a frontend calls.

  get attached(): Attached {
    return this.#at.attached;
  }

  async input(bytes: Uint8Array): Promise<void> {
    if (this.#isOver) return;
    if (!this.teller.isOn || !isTerminalAnswer(bytes)) this.#idle.typed();
    // A viewer's terminal may answer what was meant for another one: nobody typed that.
    else if (!this.isWriter) return;
    await (this.#person ? this.#person.input(bytes) : this.send(bytes));
  }

  async takeOver(): Promise<void> {
    if (!this.#isOver) await this.#at.port.takeOver();
  }

  view(): Promise<void> {
    return this.#at.view();
  }

  inputDelivered(): Promise<void> {
    return this.#at.input.delivered();
  }

  async sendBreak(durationMs: number): Promise<void> {
    // Not behind input that the device does not take: BREAK may be what it needs.
    await this.#at.input.sent();
    if (!this.#isOver) await this.#at.port.sendBreak(durationMs);
  }

  setLine(line: LineSettings, flow: Flow): Promise<void> {
    return this.#inOrder(() => this.#at.port.setLine(line, flow));
  }

  setSignals(signals: { dtr?: boolean; rts?: boolean }): Promise<void> {
    return this.#inOrder(() => this.#at.port.setSignals(signals));
  }

  setBreak(isOn: boolean): Promise<void> {
    return this.#inOrder(() => this.#at.port.setBreak(isOn));
  }

  async purge(queue: 'rx' | 'tx' | 'both'): Promise<void> {
    if (this.#isOver) return;
    if (queue !== 'rx') this.#at.input.discard();
    await this.#at.port.purge(queue);
  }

  lineState(): Promise<LineState> {
    return this.#at.port.lineState();
  }

  becomeProgram(): void {
    if (this.#isOver) return;
    this.#idle.stop();
    const begun = this.#person?.end('it is a program');
    this.#person = null;
    this.teller.stop();
    this.#at.becomeProgram();
    if (begun) void this.send(begun);
  }

  detach(why = 'left'): void {
    if (this.#isOver) return;
    this.#finish(why);
    this.#at.leave(why);
  }

  // What a port calls.

  ended(why: string): void {
    if (this.#isOver) return;
    this.#restoreTerminal();
    this.tell(`ended: ${why}`);
    this.#finish(why);
    this.output.ended(why);
  }

  // What a person's keys call.

  get caller(): Caller {
    return this.options.caller;
  }

  get host(): HostTerminal | undefined {
    return this.options.host;
  }

  get isWriter(): boolean {
    return this.#at.isWriter;
  }

  get awaitsWrite(): boolean {
    return this.#at.awaitsWrite;
  }

  tell(text: string): void {
    if (!this.#isOver) this.teller.tell(text);
  }

  lines(texts: readonly string[]): void {
    if (!this.#isOver) this.teller.lines(texts);
  }

  print(bytes: Uint8Array): void {
    if (!this.#isOver) this.teller.print(bytes);
  }

  hold(until: Promise<unknown>): void {
    this.#at.stream.hold(until);
  }

  async send(bytes: Uint8Array, asIs = false): Promise<void> {
    // What is typed behind a key that attaches anew is for where it leads.
    if (this.#changing) await this.#changing.catch(() => undefined);
    return this.#at.input.send(bytes, asIs);
  }

  sent(): Promise<void> {
    return this.#at.input.sent();
  }

  replay(lines: number): void {
    this.#at.stream.replay(lines);
  }

  divert(to: ((bytes: Uint8Array) => Promise<void> | void) | null): void {
    this.#at.stream.divert(to);
  }

  moveTo(port: string): Promise<void> {
    return this.#change(async () => {
      const attachment = await Attachment.open(this, port, 'write');
      if (!this.#swap(attachment, `moved to ${attachment.attached.port}`)) return;
      this.#person?.leaveOthers('moved to another port');
      this.#restoreTerminal();
      this.#watchIdle();
      attachment.begin('screen', this.#helpKey);
    });
  }

  askForWrite(): Promise<void> {
    return this.#change(async () => {
      const { port, uuid } = this.attached;
      // What was typed while it wrote goes out first, or is refused so that somebody hears it.
      await this.#at.input.delivered();
      const attachment = await Attachment.open(this, port, 'write');
      const { place } = this.#at.stream;
      if (place === null || attachment.attached.uuid !== uuid) {
        attachment.leave('not now');
        throw new Fault('TOO_SOON', 'history is still being shown; ask again after it');
      }
      if (this.#swap(attachment, 'attached anew to write')) attachment.begin(place, this.#helpKey);
    });
  }

  leave(why: string): void {
    this.#restoreTerminal();
    this.detach(why);
    this.output.ended('left');
  }

  get #at(): Attachment {
    return this.#attachment!;
  }

  get #helpKey(): string | null {
    return this.#person === null ? null : `${this.#person.prefixName}?`;
  }

  /** One at a time; a key pressed meanwhile has no effect. */
  async #change(work: () => Promise<void>): Promise<void> {
    if (this.#changing) return;
    this.#changing = work();
    try {
      await this.#changing;
    } finally {
      this.#changing = null;
    }
  }

  /** False: the session is over, and so is the newcomer. */
  #swap(attachment: Attachment, why: string): boolean {
    if (this.#isOver) {
      attachment.leave('left');
      return false;
    }
    const before = this.#at;
    this.#attachment = attachment;
    before.leave(why);
    return true;
  }

  async #inOrder(call: () => Promise<void>): Promise<void> {
    if (!this.#isOver) await this.#at.input.inOrder(call);
  }

  /** Programs may be silent for as long as they like. */
  #watchIdle(): void {
    const isPerson = this.options.delivery === 'person' && this.teller.isOn;
    this.#idle.start(isPerson ? this.attached.idleTimeoutMs : null);
  }

  #letGo(why: string): void {
    this.#restoreTerminal();
    this.tell(`ended: ${why}`);
    this.detach(why);
    this.output.ended(why);
  }

  /** A person's, from what the device did to it; before anything else is told. */
  #restoreTerminal(): void {
    if (this.#isOver || !this.teller.isOn) return;
    const bytes = this.#terminal.restore();
    if (bytes.length > 0) this.output.write(bytes, () => undefined);
  }

  #untold(text: string): void {
    const { session, port } = this.attached;
    this.services.journal.warn({ session, port, text }, 'a client could not be told');
  }

  #finish(why: string): void {
    this.#isOver = true;
    this.#idle.stop();
    this.#person?.end(why);
  }
}
