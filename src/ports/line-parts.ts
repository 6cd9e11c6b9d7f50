import type { BackendSink, LinePart, SharedLine } from '../core/backend.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { FaultCode } from '../core/fault.ts';
import type { Flow, LineSettings, SignalStates } from '../core/line-settings.ts';
import type { LineActor, LineControl } from './line-control.ts';
import type { PortInput } from './port-input.ts';
import type { PortLine } from './port-line.ts';
import { recordText } from './port-recorder.ts';
import type { PortRecorder } from './port-recorder.ts';
import type { PortSessions } from './port-sessions.ts';

/** Input of one part that is under way to the device; a write over it waits. */
export const PART_INPUT_BYTES_MAX = 16_384;
/** Of one part in one go: others get their turn between. */
const ITEM_BYTES_MAX = 4_096;

export interface LinePartsOwner {
  readonly journal: Journal;
  readonly line: PortLine;
  readonly control: LineControl;
  readonly recorder: PortRecorder;
  readonly input: PortInput;
  readonly sessions: PortSessions;
  /** Of the port, now. */
  name(): string;
  /** The next session number. */
  nextSession(): number;
  /** A part is watched, or none any more. */
  watchedChanged(): void;
}

/**
 * Other ports that are a part of this port's line (`split`). Each hears all that comes from the
 * device once this port's log has it, and writes among this port's sessions, without being one of
 * its writers: in the log it is a session of its own from the first thing it does to the line.
 */
export class LineParts {
  readonly #owner: LinePartsOwner;
  /** Replaced, never changed, so that a round under way goes over the parts it began with. */
  #parts: readonly Part[] = [];
  #isReading = false;
  /** Events that the backend told from within a read: the log has them behind its bytes. */
  #afterRead: Parameters<BackendSink['event']>[0][] = [];

  constructor(owner: LinePartsOwner) {
    this.#owner = owner;
  }

  get isEmpty(): boolean {
    return this.#parts.length === 0;
  }

  get isWatched(): boolean {
    return this.#parts.some((part) => part.isWatched);
  }

  /** `by` is the port whose part it is. */
  join(by: string, listener: LinePart): SharedLine {
    const part = new Part(this.#owner, by, listener, () => {
      this.#parts = this.#parts.filter((other) => other !== part);
      if (part.isWatched) this.#owner.watchedChanged();
    });
    this.#parts = [...this.#parts, part];
    return part;
  }

  /** Bytes the log has already. They are only read, and not kept. */
  rx(bytes: Uint8Array): void {
    for (const part of this.#parts) part.listener.rx(bytes);
  }

  readBegins(): void {
    this.#isReading = true;
  }

  readIsOver(): void {
    this.#isReading = false;
    if (this.#afterRead.length === 0) return;
    for (const event of this.#afterRead.splice(0)) this.event(event);
  }

  readonly event: BackendSink['event'] = (event) => {
    if (this.#isReading) this.#afterRead.push(event);
    else for (const part of this.#parts) part.listener.event(event);
  };

  up(): void {
    for (const part of this.#parts) part.listener.up();
  }

  /** The line is not up any more, and says why itself. */
  down(): void {
    for (const part of this.#parts) part.down();
  }

  writable(): void {
    for (const part of this.#parts) part.writable();
  }

  /** The port is no more: nothing of it is kept by a part that stays. */
  close(why: string): void {
    const parts = this.#parts;
    this.#parts = [];
    for (const part of parts) part.portClosed(why);
  }
}

class Part implements SharedLine {
  readonly listener: LinePart;
  readonly #by: string;
  /** null: it left, or the port is no more. */
  #owner: LinePartsOwner | null;
  #remove: () => void;
  #whyClosed = 'it was left';
  isWatched = false;
  /** In this port's log, from the first thing it did; null: it only listened so far. */
  #session: number | null = null;
  /** Accepted, not yet with the device. */
  #waitingBytes = 0;
  /** Told that there is no room: hears when there is. */
  #isRefused = false;

  constructor(owner: LinePartsOwner, by: string, listener: LinePart, remove: () => void) {
    this.#owner = owner;
    this.#by = by;
    this.listener = listener;
    this.#remove = remove;
  }

  get whyDown(): string | null {
    if (!this.#owner) return this.#whyClosed;
    const { line } = this.#owner;
    return line.backend ? null : line.downText;
  }

  get isOpening(): boolean {
    return this.#owner?.line.state === 'opening';
  }

  write(bytes: Uint8Array): number {
    if (!this.#owner?.line.backend) return 0;
    this.#isRefused = false;
    let takenBytes = 0;
    while (takenBytes < bytes.length) {
      const roomBytes = PART_INPUT_BYTES_MAX - this.#waitingBytes;
      const item = bytes.slice(takenBytes, takenBytes + Math.min(roomBytes, ITEM_BYTES_MAX));
      if (item.length === 0 || !this.#push(item)) break;
      takenBytes += item.length;
    }
    this.#isRefused = takenBytes < bytes.length;
    return takenBytes;
  }

  async setLine(line: LineSettings, flow: Flow): Promise<void> {
    await this.#require().control.setLine(line, flow, this.#actor());
  }

  async setSignals(signals: { dtr?: boolean; rts?: boolean }): Promise<void> {
    await this.#require().control.setSignals(signals, this.#actor());
  }

  async sendBreak(durationMs: number): Promise<void> {
    await this.#require().control.sendBreak(durationMs, this.#enter());
  }

  async setBreak(isOn: boolean): Promise<void> {
    await this.#require().control.setBreak(isOn, this.#enter());
  }

  async signals(): Promise<SignalStates> {
    const state = await this.#owner?.control.state();
    return state?.signals ?? {};
  }

  setWatched(watched: boolean): void {
    if (!this.#owner || watched === this.isWatched) return;
    this.isWatched = watched;
    this.#owner.watchedChanged();
  }

  leave(): void {
    const owner = this.#owner;
    if (!owner) return;
    this.#exit(`${this.#by} left the line`);
    this.#owner = null;
    this.#remove();
    this.#remove = () => undefined;
  }

  down(): void {
    this.#exit('the line went down');
    this.#isRefused = false;
    this.listener.down(this.whyDown ?? '');
  }

  portClosed(why: string): void {
    const name = this.#owner?.name() ?? '';
    this.#exit(why);
    this.#owner = null;
    this.#remove = () => undefined;
    this.#whyClosed = `${name} is down: ${why}`;
    this.listener.down(this.#whyClosed);
  }

  /** The device can take more. */
  writable(): void {
    if (!this.#isRefused || this.#waitingBytes > PART_INPUT_BYTES_MAX / 2) return;
    this.#isRefused = false;
    this.listener.writable();
  }

  /** False: it was refused at once, as the device is stuck. */
  #push(bytes: Uint8Array): boolean {
    const { input } = this.#require();
    const session = this.#enter();
    let isRefusedAtOnce = false;
    let hasReturned = false;
    this.#waitingBytes += bytes.length;
    input.push({
      session,
      bytes,
      taken: () => {
        this.#waitingBytes -= bytes.length;
        this.writable();
      },
      refused: (code, why) => {
        this.#waitingBytes -= bytes.length;
        if (hasReturned) this.#lost(bytes.length, code, why);
        else isRefusedAtOnce = true;
      },
    });
    hasReturned = true;
    return !isRefusedAtOnce;
  }

  /** What the part thinks was sent is not; what the device took of it is in the port's log. */
  #lost(bytes: number, fault: FaultCode, why: string): void {
    this.#isRefused = true;
    const by = this.#by;
    this.#owner?.journal.warn({ by, bytes, fault, why }, 'input of a part of the line dropped');
  }

  /** @throws Fault PORT_GONE. */
  #require(): LinePartsOwner {
    if (this.#owner) return this.#owner;
    throw new Fault('PORT_GONE', this.#whyClosed);
  }

  #actor(): LineActor {
    return { session: this.#enter(), user: this.#by, isAttached: true };
  }

  #enter(): number {
    if (this.#session !== null) return this.#session;
    const { recorder, sessions, nextSession } = this.#require();
    const session = nextSession();
    this.#session = session;
    const caller = { user: this.#by, remote: 'split', frontend: 'local' } as const;
    recorder.record({ kind: 'attached', session, ...caller, mode: 'write' });
    sessions.used(this.#by);
    return session;
  }

  #exit(why: string): void {
    const session = this.#session;
    if (session === null || !this.#owner) return;
    const { input, control, recorder } = this.#owner;
    input.drop(session, 'PORT_DOWN', why);
    this.#session = null;
    control.released(session);
    recorder.record({ kind: 'detached', session, why: recordText(why) });
  }
}
