import { performance } from 'node:perf_hooks';
import type { Clock } from '../core/clock.ts';

/** A wall clock this far from the running count is a step, not drift (DESIGN 2). */
const STEP_US_MIN = 1_000_000;
/** Date.now() counts whole milliseconds: smaller differences are its rounding. */
const DRIFT_US_MIN = 5_000;

/**
 * Wall time with microseconds: a running count, re-anchored to the wall clock by `anchor` once a
 * second. Between anchors it never falls.
 */
export class SystemClock implements Clock {
  #originUs = performance.timeOrigin * 1000;

  constructor() {
    this.anchor();
  }

  nowUs(): number {
    return Math.round(this.#originUs + performance.now() * 1000);
  }

  /** Follows the wall clock. Returns by how many microseconds it stepped; 0 for mere drift. */
  anchor(): number {
    const differenceUs = Date.now() * 1000 - this.nowUs();
    if (Math.abs(differenceUs) < DRIFT_US_MIN) return 0;
    this.#originUs += differenceUs;
    return Math.abs(differenceUs) > STEP_US_MIN ? differenceUs : 0;
  }
}
