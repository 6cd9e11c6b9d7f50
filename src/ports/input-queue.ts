import { STUCK_OUTPUT_MS } from '../core/attach.ts';
import type { FaultCode } from '../core/fault.ts';
import type { PaceTimes } from '../core/settings.ts';
import { Pace } from './pace.ts';
import type { Timers } from './timers.ts';

/** Accepted input on its way to the device. Who made it learns what became of it, once. */
export interface InputItem {
  readonly session: number;
  readonly bytes: Uint8Array;
  /** For these bytes instead of the port's. */
  readonly pace?: PaceTimes | null;
  /** The device took all of it. */
  taken(): void;
  /** The rest is dropped. */
  refused(code: FaultCode, why: string): void;
}

export interface InputQueueOwner {
  readonly timers: Timers;
  /** How fast the device may be given anything, now. */
  pace(): PaceTimes;
  /** Hands bytes to the device; returns how many it took. */
  write(session: number, bytes: Uint8Array): number;
  /** The first byte of this item is about to go to the device. */
  begun(item: InputItem): void;
  /** An item that began was dropped after the device took `takenBytes` of it. */
  cutShort(item: InputItem, takenBytes: number, why: string): void;
}

/**
 * Input of one port in the order it was accepted, at the device's pace. Bounded by the input credit of
 * the sessions. Waits for a slow device as long as it takes anything at all; what a stuck one leaves is
 * refused.
 */
export class InputQueue {
  readonly #owner: InputQueueOwner;
  #items: { item: InputItem; takenBytes: number; hasBegun: boolean }[] = [];
  #isPumping = false;
  /** The device took less than was offered and has not said `writable` since. */
  #isBlocked = false;
  /** It took nothing for so long that waiting makes no sense: input is tried once, then refused. */
  #isStuck = false;
  #cancelStuckTimer: (() => void) | null = null;
  readonly #pace = new Pace();
  #cancelPaceTimer: (() => void) | null = null;

  constructor(owner: InputQueueOwner) {
    this.#owner = owner;
  }

  push(item: InputItem): void {
    this.#items.push({ item, takenBytes: 0, hasBegun: false });
    if (!this.#isBlocked || this.#isStuck) this.#pump();
    else this.#waitForDevice();
  }

  /** The device can take more. */
  writable(): void {
    this.#isBlocked = false;
    this.#pump();
  }

  /** A new device is open: nothing is known of it yet. */
  reset(): void {
    this.#isBlocked = false;
    this.#isStuck = false;
    this.#stopWaiting();
    this.#pace.reset();
    this.#stopPacing();
  }

  /** Refuses what waits: all of it, or that of one session. */
  drop(session: number | null, code: FaultCode, why: string): void {
    for (const item of this.#remove(session, why)) item.refused(code, why);
  }

  /** Throws away what waits of one session, as it asked for: it counts as taken. */
  discard(session: number, why: string): void {
    for (const item of this.#remove(session, why)) item.taken();
  }

  #remove(session: number | null, why: string): InputItem[] {
    const goes = (entry: { item: InputItem }): boolean =>
      session === null || entry.item.session === session;
    const removed = this.#items.filter(goes);
    if (removed.length === 0) return [];
    this.#items = this.#items.filter((entry) => !goes(entry));
    if (this.#items.length === 0) {
      this.#stopWaiting();
      this.#stopPacing();
    }
    for (const { item, takenBytes, hasBegun } of removed) {
      if (hasBegun) this.#owner.cutShort(item, takenBytes, why);
    }
    return removed.map(({ item }) => item);
  }

  /** `isLate`: for a moment that the pace waited for. */
  #pump(isLate = false): void {
    if (this.#isPumping) return; // the device said `writable` from within a write
    this.#isPumping = true;
    try {
      while (this.#items.length > 0 && this.#offerFirst(isLate));
    } finally {
      this.#isPumping = false;
    }
  }

  /** Offers of the rest of the first item what the pace allows; true: the device took all of that. */
  #offerFirst(isLate: boolean): boolean {
    const first = this.#items[0]!;
    const rest =
      first.takenBytes === 0 ? first.item.bytes : first.item.bytes.subarray(first.takenBytes);
    const times = first.item.pace ?? this.#owner.pace();
    const isPaced = times.byteMs > 0 || times.lineMs > 0;
    const nowMs = isPaced ? this.#owner.timers.nowMs() : 0;
    const count = isPaced ? this.#pace.allows(times, rest, nowMs, isLate) : rest.length;
    if (count === 0 && rest.length > 0) {
      this.#waitForPace(nowMs);
      return false;
    }
    if (!first.hasBegun && !this.#isStuck) this.#begin(first);
    const offered = count === rest.length ? rest : rest.subarray(0, count);
    const takenBytes = count === 0 ? 0 : this.#owner.write(first.item.session, offered);
    if (this.#items[0] !== first) return true; // the line went down in the write
    first.takenBytes += takenBytes;
    if (isPaced) this.#pace.taken(times, rest, takenBytes, nowMs);
    if (takenBytes > 0) {
      this.#isStuck = false;
      this.#stopWaiting();
      if (!first.hasBegun) this.#begin(first);
    }
    if (takenBytes === count) {
      this.#isBlocked = false;
      if (count < rest.length) return true;
      this.#items.shift();
      first.item.taken();
      return true;
    }
    this.#isBlocked = true;
    if (this.#isStuck) this.#giveUp();
    else this.#waitForDevice();
    return false;
  }

  #begin(entry: { item: InputItem; hasBegun: boolean }): void {
    entry.hasBegun = true;
    this.#owner.begun(entry.item);
  }

  #waitForPace(nowMs: number): void {
    const { timers } = this.#owner;
    this.#cancelPaceTimer ??= timers.after(this.#pace.waitMs(nowMs), () => {
      this.#cancelPaceTimer = null;
      this.#pump(true);
    });
  }

  #stopPacing(): void {
    this.#cancelPaceTimer?.();
    this.#cancelPaceTimer = null;
  }

  #waitForDevice(): void {
    this.#cancelStuckTimer ??= this.#owner.timers.after(STUCK_OUTPUT_MS, () => {
      this.#cancelStuckTimer = null;
      this.#isStuck = true;
      // Some drivers never say when there is room again: ask once more before giving up.
      this.#pump();
    });
  }

  #giveUp(): void {
    this.drop(null, 'PORT_STUCK', `the device has taken nothing for ${STUCK_OUTPUT_MS / 1_000} s`);
  }

  #stopWaiting(): void {
    this.#cancelStuckTimer?.();
    this.#cancelStuckTimer = null;
  }
}
