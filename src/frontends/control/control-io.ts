import type { HostTerminal, VerbIo } from '../../core/frontend.ts';
import {
  CONTROL_INPUT_CREDIT_BYTES,
  CONTROL_OUTPUT_CREDIT_BYTES,
  CONTROL_PAYLOAD_BYTES_MAX,
  type ControlFrame,
  type ControlHello,
} from '../../protocols/control.ts';
import { InputGate, type InputListener } from '../input-gate.ts';
import { terminalText } from '../terminal-text.ts';
import { isTimeZone } from '../time-zone.ts';
import { ControlHost } from './host.ts';

/** A verb's view of the `fairlead` command at the other end of the control socket. */
export class ControlIo implements VerbIo {
  readonly isTerminal: boolean;
  readonly timeZone: string;
  readonly progress: VerbIo['progress'];
  readonly #host: ControlHost | null;
  readonly #send: (frame: ControlFrame) => void;
  readonly #cut: (why: string) => void;
  readonly #gate: InputGate;
  readonly #abort = new AbortController();
  readonly #resizeListeners: (() => void)[] = [];
  #columns: number;
  #rows: number;
  #isRaw = false;
  /** Granted to the client, not yet used by it; null before a verb ever listened. */
  #inputCredit: number | null = null;
  #outputCredit = CONTROL_OUTPUT_CREDIT_BYTES;
  #last: Promise<void> = Promise.resolve();
  #creditCame: (() => void) | null = null;
  #isClosed = false;

  constructor(
    hello: ControlHello,
    send: (frame: ControlFrame) => void,
    cut: (why: string) => void,
    inputFailed: (error: unknown) => void,
  ) {
    this.isTerminal = hello.isTerminal;
    this.progress = hello.progress;
    this.timeZone = isTimeZone(hello.timeZone) ? hello.timeZone : 'UTC';
    this.#columns = hello.columns || 80;
    this.#rows = hello.rows || 24;
    this.#send = send;
    this.#cut = cut;
    this.#host = hello.isTerminal ? new ControlHost(send) : null;
    this.#gate = new InputGate({
      pause: () => undefined, // credit alone holds the client back: an interrupt must get through
      resume: () => undefined,
      consumed: (bytes) => this.#grant(bytes),
      failed: (error) => {
        inputFailed(error);
        this.#abort.abort(error);
      },
    });
  }

  get host(): HostTerminal | undefined {
    return this.#host ?? undefined;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  write(output: string | Uint8Array): Promise<void> {
    const bytes = typeof output === 'string' ? terminalText(output, this.#isRaw) : output;
    return this.#enqueue('stdout', bytes);
  }

  writeError(text: string): Promise<void> {
    return this.#enqueue('stderr', terminalText(text, this.#isRaw));
  }

  /** Resolves when everything written so far was sent, or the client left. */
  flushed(): Promise<void> {
    return this.#last;
  }

  size(): { columns: number; rows: number } {
    return { columns: this.#columns, rows: this.#rows };
  }

  onResize(listener: () => void): void {
    this.#resizeListeners.push(listener);
  }

  onInput(listener: InputListener | null, raw: boolean): void {
    const isRaw = this.isTerminal && listener !== null && raw;
    if (isRaw !== this.#isRaw) {
      this.#isRaw = isRaw;
      this.#send({ kind: 'raw-mode', on: isRaw });
    }
    if (listener !== null && this.#inputCredit === null) {
      this.#inputCredit = 0;
      this.#grant(CONTROL_INPUT_CREDIT_BYTES);
    }
    this.#gate.setListener(listener);
  }

  /** A frame from the client; false: it must not send that. */
  take(frame: ControlFrame): boolean {
    switch (frame.kind) {
      case 'stdin':
        if (frame.bytes.length > (this.#inputCredit ?? 0)) {
          this.#cut('it sent more than its credit');
          return true;
        }
        this.#inputCredit! -= frame.bytes.length;
        this.#gate.push(frame.bytes.slice());
        return true;
      case 'stdin-end':
        this.#gate.push(null);
        return true;
      case 'resize':
        this.#columns = frame.columns || this.#columns;
        this.#rows = frame.rows || this.#rows;
        for (const listener of this.#resizeListeners) listener();
        return true;
      case 'interrupt':
        this.#abort.abort(new Error('interrupted'));
        return true;
      case 'output-credit':
        this.#outputCredit += frame.bytes;
        this.#creditCame?.();
        return true;
      default:
        return this.#host?.take(frame) ?? false;
    }
  }

  /** The client left. */
  close(): void {
    this.#isClosed = true;
    this.#host?.close();
    this.#abort.abort(new Error('the client left'));
    this.#creditCame?.();
  }

  #grant(bytes: number): void {
    this.#inputCredit! += bytes;
    this.#send({ kind: 'input-credit', bytes });
  }

  #enqueue(kind: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    const written = this.#last.then(() => this.#writeNow(kind, bytes));
    this.#last = written.catch(() => undefined);
    return written;
  }

  async #writeNow(kind: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      while (this.#outputCredit <= 0 && !this.#isClosed) {
        await new Promise<void>((resolve) => (this.#creditCame = resolve));
      }
      if (this.#isClosed) throw new Error('the client left');
      const length = Math.min(bytes.length - at, this.#outputCredit, CONTROL_PAYLOAD_BYTES_MAX);
      this.#outputCredit -= length;
      this.#send({ kind, bytes: bytes.subarray(at, at + length) });
      at += length;
    }
  }
}
