import { STUCK_OUTPUT_MS } from '../core/attach.ts';
import type { FaultCode } from '../core/fault.ts';
import type { Timers } from './timers.ts';

/** Accepted input on its way to the device. Who made it learns what became of it, once. */
export interface InputItem {
  readonly session: number;
  readonly bytes: Uint8Array;
  /** The device took all of it. */
  taken(): void;
  /** The rest is dropped. */
  refused(code: FaultCode, why: string): void;
}

export interface InputQueueOwner {
  readonly timers: Timers;
  /** Hands bytes to the device; returns how many it took. */
  write(session: number, bytes: Uint8Array): number;
  /** The first byte of this item is about to go to the device. */
  begun(item: InputItem): void;
  /** An item that began was dropped after the device took `takenBytes` of it. */
  cutShort(item: InputItem, takenBytes: number, why: string): void;
}

/**
 * Input of one port in the order it was accepted. Bounded by the input credit of the sessions.
 * Waits for a slow device as long as it takes anything at all; what a stuck one leaves is refused.
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
    if (this.#items.length === 0) this.#stopWaiting();
    for (const { item, takenBytes, hasBegun } of removed) {
      if (hasBegun) this.#owner.cutShort(item, takenBytes, why);
    }
    return removed.map(({ item }) => item);
  }

  #pump(): void {
    if (this.#isPumping) return; // the device said `writable` from within a write
    this.#isPumping = true;
    try {
      while (this.#items.length > 0 && this.#offerFirst());
    } finally {
      this.#isPumping = false;
    }
  }

  /** Offers the rest of the first item; true: the device took all of it. */
  #offerFirst(): boolean {
    const first = this.#items[0]!;
    if (!first.hasBegun && !this.#isStuck) this.#begin(first);
    const rest =
      first.takenBytes === 0 ? first.item.bytes : first.item.bytes.subarray(first.takenBytes);
    const takenBytes = rest.length === 0 ? 0 : this.#owner.write(first.item.session, rest);
    if (this.#items[0] !== first) return true; // the line went down in the write
    first.takenBytes += takenBytes;
    if (takenBytes > 0) {
      this.#isStuck = false;
      this.#stopWaiting();
      if (!first.hasBegun) this.#begin(first);
    }
    if (takenBytes === rest.length) {
      this.#isBlocked = false;
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
