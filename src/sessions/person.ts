import { isTerminalAnswer } from '../protocols/terminal-queries.ts';
import type { EscapePrefix } from '../core/user.ts';
import type { Timers } from '../ports/timers.ts';
import type { Broadcast } from './broadcast.ts';
import { Dialog } from './dialog.ts';
import { EscapeKeys, prefixName } from './escape-keys.ts';
import { doKey } from './key-actions.ts';
import type { Command, Hands, Seat } from './key-actions.ts';
import { SESSION_KEYS } from './session-keys.ts';
import type { SessionKey } from './session-keys.ts';

/**
 * What a person types: our keys, answers to our questions, and all the rest for the device. Knows
 * the session by what `Seat` offers.
 */
export class Person implements Hands {
  readonly #seat: Seat;
  readonly #timers: Timers;
  #keys: EscapeKeys<SessionKey>;
  #dialog: Dialog | null = null;
  #command: Command | null = null;
  #broadcast: Broadcast | null = null;
  #isOver = false;

  constructor(seat: Seat, prefix: EscapePrefix, timers: Timers) {
    this.#seat = seat;
    this.#timers = timers;
    this.#keys = this.#keysBehind(prefix);
  }

  /** `^Ec` */
  get prefixName(): string {
    return prefixName(this.#keys.prefix);
  }

  get prefix(): EscapePrefix {
    return this.#keys.prefix;
  }

  set prefix(prefix: EscapePrefix) {
    const begun = this.#keys.end();
    if (begun.length > 0) void this.send(begun);
    this.#keys = this.#keysBehind(prefix);
  }

  get broadcast(): Broadcast | null {
    return this.#broadcast;
  }

  set broadcast(broadcast: Broadcast | null) {
    this.#broadcast = broadcast;
  }

  get command(): Command | null {
    return this.#command;
  }

  set command(command: Command | null) {
    this.#command = command;
    // What was begun meanwhile is no more for the device than the rest of it.
    this.#keys.end();
  }

  /** Resolves when more may be typed. */
  async input(bytes: Uint8Array): Promise<void> {
    if (this.#dialog) {
      // The device waits for what its terminal answers, question or no question.
      if (isTerminalAnswer(bytes)) await this.#seat.send(bytes);
      else this.#dialog.feed(bytes);
      return;
    }
    const step = this.#keys.step(bytes);
    if (this.#command) {
      if (step.action?.do === 'leave' || (bytes.length === 1 && bytes[0] === CTRL_C))
        this.#command.stop();
      return;
    }
    if (step.unknown !== null) {
      this.#seat.tell(
        `${this.prefixName}${step.unknown} is no key; ${this.prefixName}? lists them`,
      );
    }
    const passed = step.pass ? this.send(step.pass) : undefined;
    if (step.action) doKey(step.action, this, this.#seat);
    return passed;
  }

  /** To the device, and to those that the keys are broadcast to. */
  async send(bytes: Uint8Array): Promise<void> {
    const broadcast = this.#broadcast?.send(bytes);
    await this.#seat.send(bytes);
    await broadcast;
  }

  async asking<T>(talk: (dialog: Dialog) => Promise<T>): Promise<T | null> {
    if (this.#dialog || this.#isOver) return null;
    const dialog = new Dialog((bytes) => this.#seat.print(bytes));
    this.#dialog = dialog;
    const over = talk(dialog).finally(() => {
      if (this.#dialog === dialog) this.#dialog = null;
    });
    this.#seat.hold(over);
    return over;
  }

  /** The person goes to another port: what was connected to this one is so no more. */
  leaveOthers(why: string): void {
    this.#command?.stop();
    if (!this.#broadcast) return;
    this.#broadcast.leave(why);
    this.#broadcast = null;
    this.#seat.tell('keys go to this port only');
  }

  /** The person left, or turned out to be none. Returns what of a key had begun. */
  end(why: string): Uint8Array {
    this.#isOver = true;
    this.#dialog?.close();
    this.leaveOthers(why);
    return this.#keys.end();
  }

  #keysBehind(prefix: EscapePrefix): EscapeKeys<SessionKey> {
    return new EscapeKeys(SESSION_KEYS, prefix, this.#timers, (bytes) => {
      if (!this.#command && !this.#dialog) void this.send(bytes);
    });
  }
}

const CTRL_C = 0x03;
