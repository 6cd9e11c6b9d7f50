import { PROGRAM_QUEUE_BYTES_MAX } from '../../core/attach.ts';
import { Fault } from '../../core/fault.ts';
import type { HostTerminal, PipedCommand } from '../../core/frontend.ts';
import {
  CONTROL_PAYLOAD_BYTES_MAX,
  CONTROL_PIPE_CREDIT_BYTES,
  type ControlFrame,
} from '../../protocols/control.ts';

/** The daemon's side of what the `fairlead` command does on the user's own machine. */
export class ControlHost implements HostTerminal {
  readonly #send: (frame: ControlFrame) => void;
  #suspended: { promise: Promise<void>; resolve(): void; reject(error: Error): void } | null = null;
  #pipe: Pipe | null = null;
  #isClosed = false;

  constructor(send: (frame: ControlFrame) => void) {
    this.#send = send;
  }

  async suspend(): Promise<void> {
    if (this.#isClosed) throw left();
    if (!this.#suspended) {
      let resolve!: () => void;
      let reject!: (error: Error) => void;
      const promise = new Promise<void>((a, b) => {
        resolve = a;
        reject = b;
      });
      this.#suspended = { promise, resolve, reject };
      this.#send({ kind: 'suspend' });
    }
    return this.#suspended.promise;
  }

  pipe(command: string, output: (bytes: Uint8Array) => Promise<void> | void): PipedCommand {
    const fault = this.#whyNot(command);
    if (fault) return refused(fault);
    const pipe = new Pipe(this.#send, output, () => (this.#pipe = null));
    this.#pipe = pipe;
    this.#send({ kind: 'pipe-open', command });
    return pipe;
  }

  /** A frame from the client; false: it must not send that now. */
  take(frame: ControlFrame): boolean {
    if (frame.kind === 'resumed') {
      const suspended = this.#suspended;
      this.#suspended = null;
      suspended?.resolve();
      return suspended !== null;
    }
    return this.#pipe?.take(frame) ?? false;
  }

  /** The client left. */
  close(): void {
    this.#isClosed = true;
    this.#suspended?.promise.catch(() => {}); // perhaps nobody waits any more
    this.#suspended?.reject(left());
    this.#pipe?.fail(left());
  }

  #whyNot(command: string): Error | null {
    if (this.#isClosed) return left();
    if (this.#pipe) return new Fault('USAGE', 'a command runs already');
    if (command.trim() === '') return new Fault('USAGE', 'there is no command to run');
    const isLong = Buffer.byteLength(command) > COMMAND_BYTES_MAX;
    return isLong ? new Fault('USAGE', 'the command is too long') : null;
  }
}

const COMMAND_BYTES_MAX = 4_096;

class Pipe implements PipedCommand {
  readonly exited: Promise<number>;
  readonly #send: (frame: ControlFrame) => void;
  readonly #output: (bytes: Uint8Array) => Promise<void> | void;
  readonly #over: () => void;
  #resolve: (code: number) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #credit = CONTROL_PIPE_CREDIT_BYTES;
  /** What the client may still send of the command's output. */
  #granted = CONTROL_PIPE_CREDIT_BYTES;
  #mayGoOn: { promise: Promise<void>; resolve(): void } | null = null;
  #isEnded = false;
  #saidEnd = false;
  #isOver = false;
  /** Why it is being stopped. */
  #fault: Fault | null = null;
  #taken: Promise<void> = Promise.resolve();

  constructor(
    send: (frame: ControlFrame) => void,
    output: (bytes: Uint8Array) => Promise<void> | void,
    over: () => void,
  ) {
    this.#send = send;
    this.#output = output;
    this.#over = over;
    this.exited = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.exited.catch(() => {}); // until somebody waits for it
  }

  /** `bytes` is copied. */
  async input(bytes: Uint8Array): Promise<void> {
    if (this.#isOver || this.#isEnded || this.#fault) return;
    this.#waiting.push(bytes.slice());
    this.#waitingBytes += bytes.length;
    this.#pass();
    if (this.#waitingBytes > PROGRAM_QUEUE_BYTES_MAX) {
      return this.#stop(new Fault('TOO_SLOW', 'the command did not read its input'));
    }
    if (this.#waitingBytes === 0) return;
    if (!this.#mayGoOn) {
      let resolve!: () => void;
      const promise = new Promise<void>((a) => (resolve = a));
      this.#mayGoOn = { promise, resolve };
    }
    return this.#mayGoOn.promise;
  }

  end(): void {
    this.#isEnded = true;
    this.#pass();
  }

  take(frame: ControlFrame): boolean {
    switch (frame.kind) {
      case 'pipe-credit':
        this.#credit += frame.bytes;
        this.#pass();
        return true;
      case 'pipe-output':
        this.#granted -= frame.bytes.length;
        if (this.#granted < 0) return false;
        this.#hand(frame.bytes.slice());
        return true;
      case 'pipe-exit':
        void this.#taken.then(() => this.#finish(() => this.#resolve(frame.code)));
        return true;
      default:
        return false;
    }
  }

  fail(error: Error): void {
    this.#finish(() => this.#reject(error));
  }

  /** One piece of output after the other, as whoever gets it has time. */
  #hand(bytes: Uint8Array): void {
    this.#taken = this.#taken
      .then(() => (this.#isOver || this.#fault ? undefined : this.#output(bytes)))
      .catch(() => undefined) // who takes it has its own way to say so
      .then(() => {
        if (this.#isOver) return;
        this.#granted += bytes.length;
        this.#send({ kind: 'pipe-credit', bytes: bytes.length });
      });
  }

  #pass(): void {
    while (this.#credit > 0 && this.#waiting.length > 0 && !this.#isOver) {
      const bytes = this.#waiting.shift()!;
      const length = Math.min(bytes.length, this.#credit, CONTROL_PAYLOAD_BYTES_MAX);
      this.#credit -= length;
      this.#waitingBytes -= length;
      this.#send({ kind: 'pipe-input', bytes: bytes.subarray(0, length) });
      if (length < bytes.length) this.#waiting.unshift(bytes.subarray(length));
    }
    if (this.#waiting.length > 0) return;
    this.#letGoOn();
    if (!this.#isEnded || this.#saidEnd || this.#isOver) return;
    this.#saidEnd = true;
    this.#send({ kind: 'pipe-end' });
  }

  #stop(fault: Fault): void {
    this.#fault = fault;
    this.#drop();
    this.#send({ kind: 'pipe-stop' });
  }

  #finish(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#over();
    this.#drop();
    if (this.#fault) this.#reject(this.#fault);
    else settle();
  }

  #drop(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#letGoOn();
  }

  #letGoOn(): void {
    this.#mayGoOn?.resolve();
    this.#mayGoOn = null;
  }
}

function refused(fault: Error): PipedCommand {
  const exited = Promise.reject<number>(fault);
  exited.catch(() => {}); // until somebody waits for it
  return { input: () => undefined, end: () => undefined, exited };
}

function left(): Error {
  return new Error('the client left');
}
