import type { ServerChannel } from 'ssh2';
import { Fault } from '../../core/fault.ts';
import type { VerbIo } from '../../core/frontend.ts';
import { InputGate, type InputListener } from '../input-gate.ts';
import { terminalText } from '../terminal-text.ts';
import type { ChannelOutput } from './channel-output.ts';
import type { ChannelRequest } from './guards.ts';

/** What the client said of its terminal before it started a shell or a command. */
export interface SshTerminal {
  /** It asked for a pty: its own terminal is raw, so line ends and ^C are ours. */
  hasPty: boolean;
  columns: number;
  rows: number;
  timeZone: string;
}

/** A verb's view of an SSH channel. */
export class ChannelIo implements VerbIo {
  readonly isTerminal: boolean;
  readonly timeZone: string;
  readonly #terminal: SshTerminal;
  readonly #output: ChannelOutput;
  readonly #gate: InputGate;
  readonly #abort = new AbortController();
  readonly #resizeListeners: (() => void)[] = [];
  #breakListener: ((durationMs: number) => Promise<void>) | null = null;
  #signalListener: ((name: string) => boolean) | null = null;
  readonly #keepsInterrupt: boolean;
  #isRaw = false;
  #isReading = false;
  readonly #channel: ServerChannel;

  /** `keepsInterrupt`: ^C is for the device, also before the verb listens. */
  constructor(
    channel: ServerChannel,
    output: ChannelOutput,
    terminal: SshTerminal,
    keepsInterrupt: boolean,
    inputFailed: (error: unknown) => void,
  ) {
    this.#channel = channel;
    this.#output = output;
    this.#terminal = terminal;
    this.#keepsInterrupt = keepsInterrupt;
    this.isTerminal = terminal.hasPty;
    this.timeZone = terminal.timeZone;
    this.#gate = new InputGate({
      pause: () => channel.pause(),
      resume: () => channel.resume(),
      consumed: () => undefined,
      failed: (error) => {
        inputFailed(error);
        this.interrupt();
      },
    });
    // On a terminal ^C must be seen though no verb listens; from a pipe, input waits in the client.
    if (this.isTerminal) this.#startReading();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  write(output: string | Uint8Array): Promise<void> {
    return this.#output.write(
      typeof output === 'string' ? terminalText(output, this.isTerminal) : output,
    );
  }

  writeError(text: string): Promise<void> {
    // With a pty the client has but one screen; a second stream could only overtake the first.
    const to = this.isTerminal ? 'stdout' : 'stderr';
    return this.#output.write(terminalText(text, this.isTerminal), to);
  }

  size(): { columns: number; rows: number } {
    return { columns: this.#terminal.columns, rows: this.#terminal.rows };
  }

  onResize(listener: () => void): void {
    this.#resizeListeners.push(listener);
  }

  onInput(listener: InputListener | null, raw: boolean): void {
    this.#isRaw = listener !== null && raw;
    this.#gate.setListener(listener);
    if (listener !== null) this.#startReading();
  }

  onBreak(listener: ((durationMs: number) => Promise<void>) | null): void {
    this.#breakListener = listener;
  }

  onSignal(listener: ((name: string) => boolean) | null): void {
    this.#signalListener = listener;
  }

  /** What the client asks of the channel; true: it was done. */
  requested(request: ChannelRequest): boolean | Promise<boolean> {
    switch (request.type) {
      case 'break':
        return this.#sendBreak(request.durationMs);
      case 'signal':
        if (this.#signalListener !== null) return this.#signalListener(request.name);
        if (!STOP_SIGNALS.has(request.name)) return false;
        this.interrupt();
        return true;
      case 'window-change':
        if (!isTerminalSize(request.columns, request.rows)) return false;
        this.#terminal.columns = request.columns;
        this.#terminal.rows = request.rows;
        for (const listener of this.#resizeListeners) listener();
        return true;
    }
  }

  /** The verb should stop: ^C, a signal, or the client left. */
  interrupt(): void {
    this.#abort.abort(new Error('the client left'));
  }

  async #sendBreak(durationMs: number): Promise<boolean> {
    if (this.#breakListener === null) return false;
    try {
      await this.#breakListener(durationMs);
      return true;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      // OpenSSH's ~B asks for no answer: the person at the terminal would not know.
      if (this.isTerminal) {
        this.writeError(`BREAK was not sent: ${error.message}\n`).catch(() => undefined);
      }
      return false;
    }
  }

  #startReading(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#channel.on('data', (bytes: Buffer) => this.#push(bytes));
    this.#channel.on('end', () => this.#gate.push(null));
  }

  #push(bytes: Buffer): void {
    const isCooked = this.isTerminal && !this.#isRaw && !this.#keepsInterrupt;
    if (isCooked && bytes.includes(CTRL_C)) return this.interrupt();
    this.#gate.push(bytes);
  }
}

/** What a terminal of today may have; 0 means unknown (RFC 4254 section 6.2). */
export function isTerminalSize(columns: number, rows: number): boolean {
  return [columns, rows].every((value) => value > 0 && value <= 1_000);
}

const CTRL_C = 3;
const STOP_SIGNALS: ReadonlySet<string> = new Set(['INT', 'TERM', 'HUP', 'QUIT']);
