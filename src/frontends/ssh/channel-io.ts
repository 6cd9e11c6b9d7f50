import type { ServerChannel } from 'ssh2';
import type { VerbIo } from '../../core/frontend.ts';
import { InputGate, type InputListener } from '../input-gate.ts';
import { terminalText } from '../terminal-text.ts';
import type { ChannelOutput } from './channel-output.ts';

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

  /** `window-change`; the terminal's fields have the new size. */
  resized(): void {
    for (const listener of this.#resizeListeners) listener();
  }

  /** The verb should stop: ^C, a signal, or the client left. */
  interrupt(): void {
    this.#abort.abort(new Error('the client left'));
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

const CTRL_C = 3;
