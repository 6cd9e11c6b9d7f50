import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import type { CommandResult, JournalEntry } from '../daemon.ts';
import { Heard } from '../console.ts';
import type { AgentAnswer, AgentRequest } from './agent.ts';

/** Starts programs in the guest, by the agent that called from there. */
export class Agent {
  readonly #socket: Socket;
  readonly #programs = new Map<number, GuestProgram>();
  #lastId = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // the guest ends before the test
    socket.once('close', () => {
      for (const [id, program] of this.#programs) program.hear({ id, exit: null, signal: null });
    });
    createInterface({ input: socket }).on('line', (line) => {
      const answer = JSON.parse(line) as AgentAnswer;
      this.#programs.get(answer.id)?.hear(answer);
      if ('exit' in answer) this.#programs.delete(answer.id);
    });
  }

  /** `user`: who runs it; root without. */
  start(command: readonly string[], user?: { uid: number; gid: number }): GuestProgram {
    return this.#begin(command, { do: 'start', command, ...(user ? { user } : {}) });
  }

  /** Runs a verb by the control socket at that path in the guest. */
  verb(socket: string, argv: readonly string[]): GuestProgram {
    return this.#begin(['fairlead', ...argv], { do: 'verb', socket, argv });
  }

  #begin(command: readonly string[], request: ProgramRequest): GuestProgram {
    const id = ++this.#lastId;
    const send = (request: ProgramRequest): void => {
      this.#socket.write(`${JSON.stringify({ id, ...request } satisfies AgentRequest)}\n`);
    };
    const program = new GuestProgram(command, send);
    this.#programs.set(id, program);
    send(request);
    return program;
  }

  close(): void {
    this.#socket.destroy();
  }
}

type ProgramRequest = AgentRequest extends infer Request
  ? Request extends { id: number }
    ? Omit<Request, 'id'>
    : never
  : never;

/** A program in the guest. */
export class GuestProgram {
  readonly stdout = new PassThrough();
  readonly out = new Heard();
  readonly err = new Heard();
  readonly exited: Promise<number | null>;
  readonly #command: string;
  readonly #send: (request: ProgramRequest) => void;
  #exit: (code: number | null) => void = () => undefined;

  constructor(command: readonly string[], send: (request: ProgramRequest) => void) {
    this.#command = command.join(' ');
    this.#send = send;
    this.exited = new Promise((resolve) => (this.#exit = resolve));
  }

  hear(answer: AgentAnswer): void {
    if ('out' in answer) {
      const bytes = Buffer.from(answer.out, 'base64');
      this.out.add(bytes);
      this.stdout.write(bytes);
    } else if ('err' in answer) {
      this.err.add(Buffer.from(answer.err, 'base64'));
    } else {
      this.out.end();
      this.stdout.end();
      this.err.end();
      this.#exit(answer.exit);
    }
  }

  type(bytes: string | Uint8Array): void {
    this.#send({ do: 'input', bytes: Buffer.from(bytes).toString('base64') });
  }

  endInput(): void {
    this.#send({ do: 'end-input' });
  }

  signal(signal: NodeJS.Signals): void {
    this.#send({ do: 'signal', signal });
  }

  /** Its end. @throws Error when it failed, unless it may. */
  async result(mayFail?: 'may fail'): Promise<CommandResult> {
    const code = await this.exited;
    const { bytes: stdout } = this.out;
    const { text: stderr } = this.err;
    if (code !== 0 && mayFail === undefined) {
      const said = stdout.toString('latin1').slice(-2_000);
      throw new Error(`${this.#command}\nends with ${code}: ${stderr}${said}`);
    }
    return { code, stdout, stderr };
  }
}

/** The daemon in the guest: its journal. */
export class GuestDaemon {
  readonly journal: JournalEntry[] = [];
  readonly program: GuestProgram;
  readonly #waiting = new Set<() => void>();
  #hasEnded = false;

  constructor(program: GuestProgram) {
    this.program = program;
    createInterface({ input: program.stdout }).on('line', (line) => {
      this.journal.push(JSON.parse(line) as JournalEntry);
      this.#wake();
    });
    void program.exited.then(() => {
      this.#hasEnded = true;
      this.#wake();
    });
  }

  /** The first journal line like this, said already (after the first `from` lines) or yet to come. */
  async said(
    msg: string,
    matches: (entry: JournalEntry) => boolean = () => true,
    from = 0,
  ): Promise<JournalEntry> {
    for (;;) {
      const found = this.journal.slice(from).find((entry) => entry.msg === msg && matches(entry));
      if (found) return found;
      if (this.#hasEnded) {
        const last = this.journal.slice(-10).map((entry) => JSON.stringify(entry));
        const stderr = this.program.err.text;
        throw new Error(`the daemon ended before it said "${msg}":\n${last.join('\n')}\n${stderr}`);
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}
