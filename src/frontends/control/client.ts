import { connect, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { Fault } from '../../core/fault.ts';
import type { VerbIo } from '../../core/frontend.ts';
import {
  CONTROL_PAYLOAD_BYTES_MAX,
  CONTROL_START,
  CONTROL_VERSION,
  decodeControl,
  encodeControl,
  type ControlFrame,
  type ControlHello,
} from '../../protocols/control.ts';
import { PipedChild } from './piped-child.ts';
import { TypedCommands } from './typed-commands.ts';

export interface RemoteRequest {
  /** The control socket. */
  path: string;
  argv: readonly string[];
  stdin: Readable & { setRawMode?(on: boolean): unknown };
  stdout: Writable & { columns?: number; rows?: number };
  stderr: Writable;
  /** Standard output is a terminal (and so, for a session, should be standard input). */
  isTerminal: boolean;
  /** Standard error is a terminal, on which the verb may draw how far its input is. */
  progress?: VerbIo['progress'];
  /** IANA name. */
  timeZone: string;
  /** Gives SIGINT, SIGTERM, SIGHUP, SIGCONT and exit: `process`. */
  signals?: NodeJS.EventEmitter;
  /** The user's own shell, for commands that they pipe a port through. */
  shell?: string;
  /** Stops this process until SIGCONT. */
  stop?: () => void;
}

/**
 * Runs a verb in the daemon with this process's terminal, and resolves with its exit code. Reads
 * standard input only when the verb wants it, so that a loop around the command keeps its own. A
 * closed pipe ends it quietly. The terminal is put back whatever happens.
 * @throws Fault DAEMON_UNREACHABLE when nobody answers or the daemon goes away; DENIED when the
 * socket may not be opened.
 */
export async function runRemote(request: RemoteRequest): Promise<number> {
  const socket = await reach(request.path);
  return new RemoteRun(socket, request).result;
}

class RemoteRun {
  readonly result: Promise<number>;
  readonly #socket: Socket;
  readonly #request: RemoteRequest;
  readonly #resolve: (code: number) => void;
  readonly #reject: (error: unknown) => void;
  #state = CONTROL_START;
  #credit = 0;
  /** Read from stdin, waiting for credit. */
  #input: Uint8Array[] = [];
  #isReading = false;
  #isInputOver = false;
  #saidInputOver = false;
  #isRaw = false;
  #wasInterrupted = false;
  #isOver = false;
  readonly #undo: (() => void)[] = [];
  /** Output still on its way into stdout and stderr. */
  #writing = 0;
  #exitCode: number | null = null;
  #child: PipedChild | null = null;
  readonly #typed = new TypedCommands();
  /** Ends a stop; null: running. */
  #goOn: (() => void) | null = null;

  constructor(socket: Socket, request: RemoteRequest) {
    this.#socket = socket;
    this.#request = request;
    const { promise, resolve, reject } = withResolvers();
    this.result = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#listen();
    const { argv, isTerminal, timeZone, stdout } = request;
    const { columns = 80, rows = 24 } = stdout;
    const hello: ControlHello = {
      version: CONTROL_VERSION,
      argv,
      columns,
      rows,
      isTerminal,
      timeZone,
      ...(request.progress && { progress: request.progress }),
    };
    try {
      this.#send({ kind: 'hello', hello });
    } catch {
      this.#finish(new Fault('USAGE', 'the command line is too long'));
    }
  }

  #listen(): void {
    const { stdout, stderr, signals } = this.#request;
    this.#socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    this.#socket.on('error', () => undefined); // 'close' follows
    this.#socket.on('close', () => {
      if (this.#exitCode === null) this.#finish(wentAway());
    });
    this.#on(stdout, 'resize', () => this.#sendSize());
    this.#on(stdout, 'error', (error) => this.#outputFailed(error));
    this.#on(stderr, 'error', (error) => this.#outputFailed(error));
    if (signals === undefined) return;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      this.#on(signals, signal, () => this.#interrupt());
    }
    this.#on(signals, 'SIGCONT', () => this.#continued());
    this.#on(signals, 'exit', () => this.#setRaw(false));
  }

  #sendSize(): void {
    const { columns = 80, rows = 24 } = this.#request.stdout;
    this.#send({ kind: 'resize', columns, rows });
  }

  #on(emitter: NodeJS.EventEmitter, event: string, listener: (value: unknown) => void): void {
    emitter.on(event, listener);
    this.#undo.push(() => emitter.off(event, listener));
  }

  #receive(bytes: Buffer): void {
    const decoded = decodeControl(this.#state, bytes);
    this.#state = decoded.state;
    for (const event of decoded.events) {
      if (this.#isOver) return;
      if (event.kind === 'frame') this.#take(event.frame);
      else
        this.#finish(new Fault('DAEMON_UNREACHABLE', `what answers is no Fairlead: ${event.why}`));
    }
  }

  #take(frame: ControlFrame): void {
    switch (frame.kind) {
      case 'stdout':
      case 'stderr':
        return this.#pass(frame.bytes, this.#request[frame.kind]);
      case 'input-credit':
        this.#credit += frame.bytes;
        return this.#sendInput();
      case 'raw-mode':
        return this.#setRaw(frame.on);
      case 'exit':
        this.#exitCode = frame.code;
        return this.#finishWhenWritten();
      case 'suspend':
        return this.#suspend();
      case 'pipe-open':
        return this.#openPipe(frame.command);
      case 'pipe-input':
      case 'pipe-end':
      case 'pipe-credit':
      case 'pipe-stop':
        this.#child?.take(frame); // else it just ended, and the daemon does not know yet
        return;
      case 'hello':
      case 'stdin':
      case 'stdin-end':
      case 'resize':
      case 'interrupt':
      case 'output-credit':
      case 'resumed':
      case 'pipe-output':
      case 'pipe-exit':
        this.#finish(new Fault('DAEMON_UNREACHABLE', `the daemon sent a ${frame.kind} frame`));
    }
  }

  /** As CTRL-Z does in a shell: the terminal is as it was before, until somebody says `fg`. */
  #suspend(): void {
    const wasRaw = this.#isRaw;
    this.#setRaw(false);
    // A process that nobody would wake is not stopped by the kernel: then there is no SIGCONT.
    const notStopped = setTimeout(() => this.#goOn?.(), NOT_STOPPED_MS).unref();
    this.#goOn = () => {
      clearTimeout(notStopped);
      this.#goOn = null;
      this.#setRaw(wasRaw);
      this.#sendSize();
      this.#send({ kind: 'resumed' });
    };
    (this.#request.stop ?? stopProcess)();
  }

  #continued(): void {
    if (this.#goOn) return this.#goOn();
    // Stopped by somebody else, e.g. kill -STOP: the shell has set the terminal as it likes it.
    if (!this.#isRaw) return;
    this.#setRaw(false);
    this.#setRaw(true);
    this.#sendSize();
  }

  #openPipe(command: string): void {
    const { stderr, isTerminal, shell = '/bin/sh' } = this.#request;
    if (this.#child || !isTerminal || !this.#typed.wasTyped(command)) {
      const shown = JSON.stringify(command);
      stderr.write(
        `fairlead: the daemon asked for a command that was not typed here: ${shown}\r\n`,
      );
      return this.#send({ kind: 'pipe-exit', code: NOT_RUN });
    }
    this.#child = new PipedChild({
      shell,
      command,
      stderr,
      isRaw: () => this.#isRaw,
      send: (frame) => this.#send(frame),
      over: () => (this.#child = null),
    });
  }

  #pass(bytes: Uint8Array, to: Writable): void {
    this.#writing++;
    to.write(Uint8Array.from(bytes), () => {
      this.#writing--;
      this.#send({ kind: 'output-credit', bytes: bytes.length });
      this.#finishWhenWritten();
    });
  }

  #finishWhenWritten(): void {
    if (this.#exitCode !== null && this.#writing === 0) this.#finish(this.#exitCode);
  }

  /** Nobody reads our output any more, as in `fairlead log db1 | head`. */
  #outputFailed(error: unknown): void {
    const isPipe = (error as NodeJS.ErrnoException).code === 'EPIPE';
    this.#finish(isPipe ? 0 : error);
  }

  /** The first asks the verb to stop; the second does not wait for it. */
  #interrupt(): void {
    if (this.#wasInterrupted) return this.#finish(INTERRUPTED);
    this.#wasInterrupted = true;
    this.#send({ kind: 'interrupt' });
  }

  /** Passes on what credit allows and reads no further than that. */
  #sendInput(): void {
    while (this.#credit > 0 && this.#input.length > 0) {
      const [bytes] = this.#input.splice(0, 1) as [Uint8Array];
      const length = Math.min(bytes.length, this.#credit, CONTROL_PAYLOAD_BYTES_MAX);
      this.#credit -= length;
      this.#send({ kind: 'stdin', bytes: bytes.subarray(0, length) });
      if (length < bytes.length) this.#input.unshift(bytes.subarray(length));
    }
    if (this.#isInputOver) {
      if (this.#input.length > 0 || this.#saidInputOver) return;
      this.#saidInputOver = true;
      this.#send({ kind: 'stdin-end' });
    } else if (this.#credit > 0) this.#readInput();
    else this.#request.stdin.pause();
  }

  #readInput(): void {
    const { stdin } = this.#request;
    if (!this.#isReading) {
      this.#isReading = true;
      this.#on(stdin, 'data', (bytes) => {
        if (this.#isRaw) this.#typed.note(bytes as Buffer);
        this.#input.push(bytes as Buffer);
        this.#sendInput();
      });
      const over = () => {
        if (this.#isInputOver) return;
        this.#isInputOver = true;
        this.#sendInput();
      };
      this.#on(stdin, 'end', over);
      this.#on(stdin, 'error', over);
    }
    stdin.resume();
  }

  #setRaw(on: boolean): void {
    if (on === this.#isRaw) return;
    this.#isRaw = on;
    this.#request.stdin.setRawMode?.(on);
  }

  #send(frame: ControlFrame): void {
    const bytes = encodeControl(frame);
    if (!this.#isOver && this.#socket.writable) this.#socket.write(bytes);
  }

  #finish(outcome: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#child?.hangUp();
    this.#goOn = null;
    const wasCutOff = this.#isRaw;
    this.#setRaw(false);
    for (const undo of this.#undo) undo();
    // A late EPIPE after the reader left must not end the process with a stack trace.
    for (const output of [this.#request.stdout, this.#request.stderr]) {
      output.on('error', () => undefined);
    }
    if (wasCutOff) this.#request.stdout.write(TIDY);
    if (this.#isReading) this.#request.stdin.pause();
    this.#socket.destroy();
    if (typeof outcome === 'number') this.#resolve(outcome);
    else this.#reject(outcome);
  }
}

/** As shells have it: 128 + SIGINT. */
const INTERRUPTED = 130;
/** As shells have it: found, but not to be run. */
const NOT_RUN = 126;
const NOT_STOPPED_MS = 500;
/** Back to the normal screen, cursor and colours, where a verb was cut off in the middle. */
const TIDY = '\x1b[?1047l\x1b[?25h\x1b[0m\r\n';

function stopProcess(): void {
  process.kill(process.pid, 'SIGTSTP');
}

function reach(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.off('error', failed);
      resolve(socket);
    });
    const failed = (cause: NodeJS.ErrnoException) => {
      const fault =
        cause.code === 'EACCES' || cause.code === 'EPERM'
          ? new Fault('DENIED', `no permission for ${path}: join the group fairlead`, cause)
          : new Fault('DAEMON_UNREACHABLE', `no daemon answers at ${path}`, cause);
      reject(fault);
    };
    socket.once('error', failed);
  });
}

function wentAway(): Fault {
  return new Fault('DAEMON_UNREACHABLE', 'the daemon went away');
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers() {
  let resolve!: (code: number) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<number>((a, b) => {
    resolve = a;
    reject = b;
  });
  return { promise, resolve, reject };
}
