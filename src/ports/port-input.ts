import type { Backend } from '../core/backend.ts';
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { FaultCode } from '../core/fault.ts';
import type { PaceTimes, PortSettings } from '../core/settings.ts';
import { InputQueue } from './input-queue.ts';
import type { InputItem } from './input-queue.ts';
import { RECORD_BYTES_MAX } from './port-recorder.ts';
import type { PortRecorder } from './port-recorder.ts';
import type { Timers } from './timers.ts';
import { TypedInput } from './typed-input.ts';

const SEND_PIECE_BYTES = 16_384;

export interface PortInputOwner {
  readonly timers: Timers;
  readonly clock: Clock;
  readonly recorder: PortRecorder;
  /** The open device; null when the line is not up. */
  backend(): Backend | null;
  /** How fast the device may be given anything, as configured now. */
  pace(): PaceTimes;
  /** What the log keeps of typed input, as configured now. */
  inputSetting(): PortSettings['input'];
  /** The device failed while it was written to. */
  lost(fault: Fault): void;
}

/**
 * Accepted input of one port on its way to the device: logged as its setting says, written in order,
 * and, when masked, watched for its echo (DESIGN 5).
 */
export class PortInput {
  readonly #owner: PortInputOwner;
  readonly #queue: InputQueue;
  readonly #typed: TypedInput;
  #cancelExpiry: (() => void) | null = null;
  /** Bytes that devices of this port have taken so far, and when the last ones; null: none yet. */
  takenBytes = 0;
  lastTakenAtUs: number | null = null;
  /** Echoes that came in from within `backend.write`: compared after what it took is known. */
  #echoesInWrite: Uint8Array[] | null = null;

  constructor(owner: PortInputOwner) {
    this.#owner = owner;
    const { recorder } = owner;
    this.#typed = new TypedInput((session, bytes) => {
      recorder.record({ kind: 'tx-text', session, bytes });
    });
    this.#queue = new InputQueue({
      timers: owner.timers,
      pace: () => owner.pace(),
      write: (session, bytes) => this.#write(session, bytes),
      begun: (item) => this.#recordTx(item),
      cutShort: ({ session, bytes }, takenBytes, why) => {
        const text = `input of session ${session} cut short: the device took ${takenBytes} of ${bytes.length} bytes: ${why}`;
        recorder.record({ kind: 'mark', text });
      },
    });
  }

  push(item: InputItem): void {
    this.#queue.push(item);
  }

  /**
   * Resolves when the device took all of it; `pace` null: at that of the port.
   * @throws Fault PORT_STUCK, PORT_DOWN.
   */
  async send(session: number, bytes: Uint8Array, pace: PaceTimes | null = null): Promise<void> {
    const pieces: Promise<void>[] = [];
    for (let from = 0; from < bytes.length; from += SEND_PIECE_BYTES) {
      const piece = bytes.slice(from, from + SEND_PIECE_BYTES);
      pieces.push(
        new Promise((resolve, reject) => {
          const refused = (code: FaultCode, why: string): void => reject(new Fault(code, why));
          this.#queue.push({ session, bytes: piece, pace, taken: resolve, refused });
        }),
      );
    }
    await Promise.all(pieces);
  }

  /** Refuses what still waits: all of it (null), or that of one session. */
  drop(session: number | null, code: FaultCode, why: string): void {
    this.#queue.drop(session, code, why);
  }

  /** Throws away what waits of one session, as it asked for. */
  discard(session: number, why: string): void {
    this.#queue.discard(session, why);
  }

  /** The device can take more. */
  writable(): void {
    this.#queue.writable();
  }

  /** Another device, or none: nothing is known of its queue, and no echo will come. */
  reset(): void {
    this.#queue.reset();
    this.forgetTyped();
  }

  forgetTyped(): void {
    this.#typed.clear();
    this.#cancelExpiry?.();
    this.#cancelExpiry = null;
  }

  /** False: `rx` need not be called. */
  get awaitsEcho(): boolean {
    return this.#typed.isActive || this.#echoesInWrite !== null;
  }

  /** The device sent bytes, logged already. Copied. */
  rx(bytes: Uint8Array): void {
    if (this.#echoesInWrite) this.#echoesInWrite.push(bytes.slice());
    else this.#typed.rx(bytes, 0, bytes.length, this.#owner.timers.nowMs());
  }

  #write(session: number, bytes: Uint8Array): number {
    const backend = this.#owner.backend();
    if (!backend) return 0;
    const isMasked = this.#owner.inputSetting() === 'masked';
    let takenBytes = 0;
    if (isMasked) this.#echoesInWrite = [];
    try {
      takenBytes = backend.write(bytes);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#owner.lost(new Fault('PORT_GONE', `writing failed: ${message}`, error));
    }
    if (takenBytes > 0) {
      this.takenBytes += takenBytes;
      this.lastTakenAtUs = this.#owner.clock.nowUs();
    }
    const echoes = this.#echoesInWrite;
    this.#echoesInWrite = null;
    if (isMasked && takenBytes > 0 && this.#owner.backend() === backend) {
      this.#typed.typed(session, bytes.subarray(0, takenBytes), this.#owner.timers.nowMs());
      for (const echo of echoes ?? []) this.rx(echo);
      this.#expireLater();
    }
    return takenBytes;
  }

  /** Has what was typed forgotten in time. */
  #expireLater(): void {
    const dueMs = this.#typed.dueMs;
    if (this.#cancelExpiry || dueMs === null) return;
    const { timers } = this.#owner;
    this.#cancelExpiry = timers.after(Math.max(1, dueMs - timers.nowMs()), () => {
      this.#cancelExpiry = null;
      this.#typed.expire(timers.nowMs());
      this.#expireLater();
    });
  }

  #recordTx({ session, bytes }: InputItem): void {
    const { recorder } = this.#owner;
    if (this.#owner.inputSetting() !== 'full') {
      recorder.record({ kind: 'tx', session, count: bytes.length, bytes: new Uint8Array(0) });
      return;
    }
    for (let from = 0; from < bytes.length; from += RECORD_BYTES_MAX) {
      const piece = bytes.subarray(from, from + RECORD_BYTES_MAX);
      recorder.record({ kind: 'tx', session, count: piece.length, bytes: piece });
    }
  }
}
