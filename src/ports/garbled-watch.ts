import type { SessionEvent } from '../core/attach.ts';
import type { BackendSink } from '../core/backend.ts';
import type { Journal } from '../core/clock.ts';
import { formatLineSettings } from '../core/line-settings.ts';
import type { FormattedLineSettings, LineSettings } from '../core/line-settings.ts';
import type { SpeedWatch } from '../protocols/wrong-speed.ts';
import type { PortRecorder } from './port-recorder.ts';
import type { Timers } from './timers.ts';

/** Most bytes that are looked at in a second: how fast a line is costs nothing. */
export const SAMPLE_BYTES = 512;
const LOOK_MS = 1_000;
/** So many times in a row it must be seen before it is said, and before it is over. */
const LOOKS = 2;
/** A stretch that goes on is recorded this often. */
const RECORD_MS = 10_000;
/** A line that goes back and forth is told of no more often. */
const TELL_AGAIN_MS = 60_000;

/** What is thought of the bytes of one line. */
export type LineJudge = Pick<SpeedWatch, 'take' | 'verdict'>;

export interface GarbledWatchOwner {
  readonly timers: Timers;
  readonly journal: Journal;
  readonly recorder: PortRecorder;
  judge(line: LineSettings): LineJudge;
  /** To all sessions. */
  tellAll(event: SessionEvent): void;
}

/** What the bytes look like from some offset on. */
interface Opinion {
  looksLike: FormattedLineSettings | null;
  confidence: number;
  from: number;
  looks: number;
}

/**
 * Sees that the device sends at other line settings than the port's, tells everybody, and marks the
 * stretch in the log. Changes nothing. Looks at a sample of each second in which bytes came, only on
 * lines with a UART.
 */
export class GarbledWatch {
  readonly #owner: GarbledWatchOwner;
  #line: LineSettings | null = null;
  /** null: nothing to look at. */
  #judge: LineJudge | null = null;
  #sample: Uint8Array | null = null;
  #sampleBytes = 0;
  #sampleFrom = 0;
  #errors = { framing: 0, parity: 0, breaks: 0 };
  #cancelLook: (() => void) | null = null;
  /** What the last looks say, not sure yet; null: nothing is wrong. */
  #candidate: Opinion | null = null;
  #goodLooks = 0;
  /** What is said now, recorded up to `#recordedTo`; null: nothing is wrong. */
  #said: Opinion | null = null;
  #recordedTo = 0;
  /** The last look that found it ended there. */
  #garbledTo = 0;
  #cancelRecord: (() => void) | null = null;
  #told: { looksLike: FormattedLineSettings | null; atMs: number } | null = null;

  constructor(owner: GarbledWatchOwner) {
    this.#owner = owner;
  }

  /** What the bytes look like when they are not what the port is set to; null: all is well, or unknown. */
  get looksLike(): FormattedLineSettings | null {
    return this.#said?.looksLike ?? null;
  }

  /** False: `rx` need not be called. */
  get wantsBytes(): boolean {
    return this.#judge !== null && this.#sampleBytes < SAMPLE_BYTES;
  }

  /** The line has these settings from now on; null: no UART, or the line is down. */
  lineIs(line: LineSettings | null): void {
    this.#line = line;
    this.end();
  }

  /** Ends what is said, as nothing is known any more: another device, other settings, another epoch. */
  end(): void {
    this.#close();
    this.#cancelLook?.();
    this.#cancelLook = null;
    this.#candidate = null;
    this.#sampleBytes = 0;
    this.#errors = { framing: 0, parity: 0, breaks: 0 };
    this.#judge = this.#line && this.#owner.judge(this.#line);
  }

  /** rx bytes, from this offset on. Copied as far as they are wanted. */
  rx(bytes: Uint8Array, offset: number): void {
    this.#sample ??= new Uint8Array(SAMPLE_BYTES);
    this.#lookLater(offset);
    const room = SAMPLE_BYTES - this.#sampleBytes;
    const taken = bytes.length <= room ? bytes : bytes.subarray(0, room);
    this.#sample.set(taken, this.#sampleBytes);
    this.#sampleBytes += taken.length;
  }

  /** An error stands before the byte that is bad: those behind the sample are not its own. */
  error(event: Parameters<BackendSink['event']>[0]): void {
    if (!this.wantsBytes) return;
    if (event.kind === 'break') {
      this.#errors.breaks++;
    } else if (event.kind === 'line-error' && event.error !== 'overrun') {
      this.#errors[event.error === 'break' ? 'breaks' : event.error] += event.count;
    } else {
      return;
    }
    this.#lookLater(this.#owner.recorder.offset);
  }

  #lookLater(offset: number): void {
    if (this.#cancelLook) return;
    this.#sampleFrom = offset;
    this.#cancelLook = this.#owner.timers.after(LOOK_MS, () => this.#look());
  }

  #look(): void {
    this.#cancelLook = null;
    const judge = this.#judge;
    if (judge === null) return;
    judge.take(this.#sample?.subarray(0, this.#sampleBytes) ?? new Uint8Array(0), this.#errors);
    this.#sampleBytes = 0;
    this.#errors = { framing: 0, parity: 0, breaks: 0 };
    const verdict = judge.verdict();
    if (verdict === null) {
      this.#candidate = null;
      if (this.#said && ++this.#goodLooks >= LOOKS) this.#close();
      return;
    }
    this.#goodLooks = 0;
    const looksLike = verdict.looksLike && formatLineSettings(verdict.looksLike);
    const before = this.#candidate?.looksLike === looksLike ? this.#candidate : null;
    this.#candidate = {
      looksLike,
      confidence: verdict.confidence,
      from: before?.from ?? this.#sampleFrom,
      looks: (before?.looks ?? 0) + 1,
    };
    if (this.#candidate.looks >= LOOKS) this.#isGarbled(this.#candidate);
  }

  #isGarbled(opinion: Opinion): void {
    if (this.#said?.looksLike !== opinion.looksLike) {
      this.#garbledTo = Math.min(this.#garbledTo, opinion.from);
      this.#close();
      this.#recordedTo = opinion.from;
    }
    const isNew = this.#said === null;
    this.#said = opinion;
    this.#garbledTo = this.#owner.recorder.offset;
    if (isNew) {
      this.#tell(opinion);
      this.#record();
    }
    this.#cancelRecord ??= this.#owner.timers.after(RECORD_MS, () => {
      this.#cancelRecord = null;
      this.#record();
    });
  }

  /** The stretch since the last such record. */
  #record(): void {
    const [from, to] = [this.#recordedTo, this.#garbledTo];
    if (!this.#said || from >= to) return;
    const { looksLike, confidence } = this.#said;
    this.#recordedTo = to;
    this.#owner.recorder.record({ kind: 'garbled', from, to, looksLike, confidence });
  }

  #close(): void {
    this.#record();
    this.#cancelRecord?.();
    this.#cancelRecord = null;
    this.#said = null;
    this.#goodLooks = 0;
  }

  #tell({ looksLike, confidence }: Opinion): void {
    const { timers, journal, tellAll } = this.#owner;
    const nowMs = timers.nowMs();
    const told = this.#told;
    if (told?.looksLike === looksLike && nowMs - told.atMs < TELL_AGAIN_MS) return;
    this.#told = { looksLike, atMs: nowMs };
    const line = formatLineSettings(this.#line!);
    journal.warn({ line, looksLike, confidence }, 'the bytes look like other line settings');
    const percent = `${Math.round(confidence * 100)} %`;
    const what =
      looksLike === null
        ? `the bytes are garbled (${percent}), but look like no known settings`
        : `the bytes look like ${looksLike} (${percent})`;
    tellAll({
      kind: 'message',
      from: 'fairlead',
      text: `${what}; the line is at ${line}, and nothing was changed`,
    });
  }
}
