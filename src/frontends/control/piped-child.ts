import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import {
  CONTROL_PAYLOAD_BYTES_MAX,
  CONTROL_PIPE_CREDIT_BYTES,
  type ControlFrame,
} from '../../protocols/control.ts';

export interface PipedChildRequest {
  /** The user's own shell. */
  shell: string;
  /** As its user typed it: this runs with their rights, on their machine. */
  command: string;
  /** What it says of itself goes to the user, not to the port. */
  stderr: Writable;
  /** The terminal is raw, so lines need their CR. */
  isRaw: () => boolean;
  send(frame: ControlFrame): void;
  over(): void;
}

/** The client's side of a piped command: a child process between the two credits. */
export class PipedChild {
  readonly #request: PipedChildRequest;
  readonly #child: ChildProcessWithoutNullStreams;
  #credit = CONTROL_PIPE_CREDIT_BYTES;
  #output: Buffer[] = [];
  /** Its exit status, once nothing more comes from it. */
  #exitCode: number | null = null;
  #isOver = false;
  /** It was told to end. */
  #ending: NodeJS.Timeout | undefined;

  constructor(request: PipedChildRequest) {
    this.#request = request;
    const { shell, command, stderr } = request;
    this.#child = spawn(shell, ['-c', command], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.on('error', (error) => {
      this.#say(`fairlead: ${shell} could not be started: ${error.message}\n`);
      this.#exited(NOT_STARTED);
    });
    this.#child.on('close', (code, signal) =>
      this.#exited(code ?? SIGNALLED + signalNumber(signal)),
    );
    this.#child.stdin.on('error', () => undefined); // it closed its input: the rest is dropped
    this.#child.stdout.on('data', (bytes: Buffer) => {
      this.#output.push(bytes);
      this.#pass();
    });
    this.#child.stderr.on('data', (bytes: Buffer) => {
      this.#child.stderr.pause();
      const shown = request.isRaw() ? bytes.toString('latin1').replace(/\r?\n/g, '\r\n') : bytes;
      stderr.write(
        typeof shown === 'string' ? Buffer.from(shown, 'latin1') : shown,
        () => void this.#child.stderr.resume(),
      );
    });
  }

  /** A frame for it; false: it is none of these. */
  take(frame: ControlFrame): boolean {
    switch (frame.kind) {
      case 'pipe-input': {
        const { length } = frame.bytes;
        // The callback also comes when it takes no more: what it does not want holds up nobody.
        this.#child.stdin.write(frame.bytes.slice(), () => {
          if (!this.#isOver) this.#request.send({ kind: 'pipe-credit', bytes: length });
        });
        return true;
      }
      case 'pipe-end':
        this.#child.stdin.end();
        this.#ending = setTimeout(() => this.#child.kill('SIGTERM'), END_MS);
        return true;
      case 'pipe-credit':
        this.#credit += frame.bytes;
        this.#pass();
        return true;
      case 'pipe-stop':
        this.#child.kill('SIGTERM');
        return true;
      default:
        return false;
    }
  }

  /** The session is over: as when a terminal is closed. */
  hangUp(): void {
    this.#isOver = true;
    clearTimeout(this.#ending);
    this.#child.kill('SIGHUP');
    this.#child.unref();
    this.#child.stdin.destroy();
    this.#child.stdout.destroy();
    this.#child.stderr.destroy();
  }

  #pass(): void {
    while (this.#credit > 0 && this.#output.length > 0 && !this.#isOver) {
      const bytes = this.#output.shift()!;
      const length = Math.min(bytes.length, this.#credit, CONTROL_PAYLOAD_BYTES_MAX);
      this.#credit -= length;
      this.#request.send({ kind: 'pipe-output', bytes: bytes.subarray(0, length) });
      if (length < bytes.length) this.#output.unshift(bytes.subarray(length));
    }
    if (this.#output.length > 0) this.#child.stdout.pause();
    else if (this.#exitCode === null) this.#child.stdout.resume();
    else this.#finish(this.#exitCode);
  }

  #exited(code: number): void {
    clearTimeout(this.#ending);
    this.#exitCode ??= code;
    this.#pass();
  }

  #finish(code: number): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#request.send({ kind: 'pipe-exit', code });
    this.#request.over();
  }

  #say(text: string): void {
    this.#request.stderr.write(this.#request.isRaw() ? text.replace(/\n/g, '\r\n') : text);
  }
}

const END_MS = 2_000;
/** As shells have it. */
const NOT_STARTED = 127;
const SIGNALLED = 128;

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : constants.signals[signal];
}
