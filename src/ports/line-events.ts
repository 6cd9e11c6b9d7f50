import type { SessionEvent } from '../core/attach.ts';
import type { BackendSink } from '../core/backend.ts';
import type { SignalStates } from '../core/line-settings.ts';
import type { LineErrorCounts } from '../core/port-status.ts';
import type { LineError } from '../core/record.ts';
import type { PortRecorder } from './port-recorder.ts';
import type { Timers } from './timers.ts';

/** Most records that a port makes in a second of BREAKs, of each line error, and of signals. */
export const EVENT_RECORDS_PER_SECOND = 16;
const SECOND_MS = 1_000;

type DeviceEvent = Parameters<BackendSink['event']>[0];
type CountedEvent = Exclude<DeviceEvent, { kind: 'gap' }>;
type EventKind = LineError['error'] | 'signals';

export interface LineEventsOwner {
  readonly timers: Timers;
  readonly recorder: PortRecorder;
  /** To all sessions. */
  tellAll(event: SessionEvent): void;
}

/**
 * What the device says besides bytes: a record for each, everybody told, all counted. A device that
 * floods is not let into the log or to the sessions at its own rate: when a second has had its share
 * of records, the rest of it becomes one, with the count, or with the signals as they are by then.
 */
export class LineEvents {
  readonly counts: LineErrorCounts = { breaks: 0, parity: 0, framing: 0, overrun: 0 };
  readonly #owner: LineEventsOwner;
  readonly #seconds: Record<EventKind, Second> = {
    break: new Second(),
    parity: new Second(),
    framing: new Second(),
    overrun: new Second(),
    signals: new Second(),
  };

  constructor(owner: LineEventsOwner) {
    this.#owner = owner;
  }

  add(event: DeviceEvent): void {
    if (event.kind === 'gap') {
      const { recorder } = this.#owner;
      const { offset } = recorder;
      const { reason } = event;
      recorder.record({ kind: 'gap', from: offset, to: offset, count: null, reason, seqs: 1 });
      return;
    }
    const kind = event.kind === 'line-error' ? event.error : event.kind;
    const count = event.kind === 'line-error' ? event.count : 1;
    if (kind !== 'signals') this.counts[kind === 'break' ? 'breaks' : kind] += count;
    const second = this.#seconds[kind];
    const nowMs = this.#owner.timers.nowMs();
    if (nowMs - second.beganMs >= SECOND_MS) {
      this.#end(kind);
      second.beganMs = nowMs;
    }
    if (second.records < EVENT_RECORDS_PER_SECOND - 1) {
      second.records++;
      this.#report(event);
      return;
    }
    second.held ??= { count: 0, from: this.#owner.recorder.offset, signals: {} };
    second.held.count += count;
    if (event.kind === 'signals') Object.assign(second.held.signals, event.signals);
    const restMs = second.beganMs + SECOND_MS - nowMs;
    second.cancelEnd ??= this.#owner.timers.after(restMs, () => this.#end(kind));
  }

  /** Makes the records that wait for the end of their second: nothing may come before them. */
  flush(): void {
    for (const kind of Object.keys(this.#seconds) as EventKind[]) this.#end(kind);
  }

  #end(kind: EventKind): void {
    const second = this.#seconds[kind];
    const { held } = second;
    second.cancelEnd?.();
    second.cancelEnd = null;
    second.held = null;
    second.records = 0;
    second.beganMs = this.#owner.timers.nowMs();
    if (held === null) return;
    if (kind === 'signals') this.#report({ kind, signals: held.signals });
    else this.#report({ kind: 'line-error', error: kind, count: held.count, from: held.from });
  }

  #report(event: CountedEvent): void {
    const { recorder, tellAll } = this.#owner;
    switch (event.kind) {
      case 'break':
        recorder.record({ kind: 'break', session: null, durationMs: null });
        break;
      case 'signals':
        recorder.record({ kind: 'signals', signals: event.signals, session: null });
        break;
      case 'line-error':
        recorder.record(event);
    }
    tellAll(event);
  }
}

/** What was made of one kind of event since the second began, and what waits for its end. */
class Second {
  beganMs = Number.NEGATIVE_INFINITY;
  records = 0;
  held: { count: number; from: number; signals: SignalStates } | null = null;
  cancelEnd: (() => void) | null = null;
}
