import { Fault } from '../core/fault.ts';
import type { PaceTimes } from '../core/settings.ts';

/**
 * Most bytes at once when the clock was looked at late: more would be the flood that a slow device
 * is to be spared. What that costs is not made up for.
 */
export const PACE_BURST_BYTES = 16;

const WAIT_MS_MAX = 60_000;
const LF = 0x0a;
const CR = 0x0d;

/** @throws Fault USAGE. */
export function requirePace(times: PaceTimes): void {
  const isWait = (ms: number): boolean => ms >= 0 && ms <= WAIT_MS_MAX;
  if (isWait(times.byteMs) && isWait(times.lineMs)) return;
  throw new Fault('USAGE', `a pace is 0 to ${WAIT_MS_MAX} ms for each byte, and for each line`);
}

/**
 * When bytes may go to a device that is slower than its line. Bytes keep their distance on average:
 * a timer that comes late lets several go. The wait after a line end is never cut short. Time is an
 * argument.
 */
export class Pace {
  /** When the next byte may go. */
  #dueMs = Number.NEGATIVE_INFINITY;
  /** The last byte was a CR that counted as a line end: an LF now is none. */
  #hasEndedByCr = false;

  /** Nothing waits any more: the next device, or the next byte after a pause, begins anew. */
  reset(): void {
    this.#dueMs = Number.NEGATIVE_INFINITY;
    this.#hasEndedByCr = false;
  }

  /** Milliseconds until the next byte may go. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#dueMs - nowMs);
  }

  /**
   * How many of these bytes may go now. `isLate`: somebody waited for this moment, and what it is
   * late by may be made up for; else the bytes were not there, or the device did not take them.
   */
  allows(times: PaceTimes, bytes: Uint8Array, nowMs: number, isLate: boolean): number {
    if (this.#dueMs > nowMs) return 0;
    const { byteMs, lineMs } = times;
    if (!isLate) this.#dueMs = nowMs;
    const most = byteMs > 0 ? Math.floor((nowMs - this.#dueMs) / byteMs) + 1 : bytes.length;
    const count = Math.min(bytes.length, byteMs > 0 ? Math.min(most, PACE_BURST_BYTES) : most);
    if (lineMs === 0) return count;
    for (let at = 0; at < count; at++) {
      if (this.#endsLine(bytes, at, at === 0 && this.#hasEndedByCr)) return at + 1;
    }
    return count;
  }

  /** The device took the first `count` of these bytes, as many as were allowed or fewer. */
  taken(times: PaceTimes, bytes: Uint8Array, count: number, nowMs: number): void {
    if (count === 0) return;
    const { byteMs, lineMs } = times;
    const isEnd = this.#endsLine(bytes, count - 1, count === 1 && this.#hasEndedByCr);
    this.#hasEndedByCr = isEnd && bytes[count - 1] === CR;
    this.#dueMs += byteMs * count;
    if (count >= PACE_BURST_BYTES) this.#dueMs = Math.max(this.#dueMs, nowMs + byteMs);
    if (isEnd && lineMs > 0) this.#dueMs = nowMs + byteMs + lineMs;
  }

  /** CR LF is one line end, at its LF where that is in sight, else at its CR. */
  #endsLine(bytes: Uint8Array, at: number, isRestOfEnd: boolean): boolean {
    if (bytes[at] === CR) return at + 1 === bytes.length || bytes[at + 1] !== LF;
    return bytes[at] === LF && !isRestOfEnd;
  }
}
