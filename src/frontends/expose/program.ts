import { readSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import type { Journal } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { LineState } from '../../core/line-settings.ts';
import type { Session, SessionOptions, SessionOutput } from '../../sessions/session.ts';
import { PtyOutput } from './pty-output.ts';
import type { Pty, PtyLibc, PtyLine } from './pty.ts';

export interface ProgramDeps {
  libc: PtyLibc;
  journal: Journal;
  openSession(options: SessionOptions, output: SessionOutput): Promise<Session>;
}

/**
 * A program that opened the pty, from its first byte to its last: joined to the port by a session,
 * byte for byte, each side no faster than the other takes it. What it sets with tcsetattr(3) the
 * line is set to.
 */
export class Program {
  readonly #pty: Pty;
  readonly #deps: ProgramDeps;
  readonly #output: PtyOutput;
  #session: Session | null = null;
  #stream: ReadStream | null = null;
  #isOver = false;
  #leave!: (how: Departure) => void;
  /** Resolves when the session is over, or never came to be. */
  readonly left: Promise<Departure>;

  /** Whether the line is set to what the pty was last seen set to. */
  #isApplied = true;
  #applying: Promise<void> | null = null;
  /** Known once it is needed: data bits and parity are the port's own. */
  #line: LineState | null = null;

  constructor(pty: Pty, deps: ProgramDeps) {
    this.#pty = pty;
    this.#deps = deps;
    this.#output = new PtyOutput(pty.masterFd);
    this.left = new Promise((resolve) => (this.#leave = resolve));
  }

  /** @throws Fault as `openSession` does. */
  async attach(options: SessionOptions): Promise<void> {
    const session = await this.#deps.openSession(options, {
      write: (bytes, done) => this.#output.write(bytes, done),
      ended: (why) => this.#end({ ended: why }),
      event: (event) => {
        if (event.kind === 'line' && this.#line !== null) {
          this.#line = { ...this.#line, line: event.line, flow: event.flow };
        }
        // What could not be set when the program wanted it, perhaps can be now.
        if (event.kind === 'up' || (event.kind === 'writer' && event.you)) void this.#apply();
      },
    });
    if (this.#isOver) return session.detach('the port is exposed no more');
    this.#session = session;
    await this.#followLine();
    this.#read().catch((err: unknown) => this.#fail(err));
  }

  /** To be called now and then: looks for new line settings, as a pty does not tell. */
  look(): void {
    if (this.#session !== null) void this.#followLine();
  }

  /** Ends the session, as the port is exposed no more. */
  stop(why: string): void {
    this.#session?.detach(why);
    this.#end({ ended: why });
  }

  /** All that is written to the slave, until no program has it open any more. */
  async #read(): Promise<void> {
    for (let isOpen = true; isOpen && !this.#isOver;) {
      await this.#readStream();
      // libuv takes a hang-up for the end after any short read, though more may be there.
      isOpen = await this.#readRest();
    }
    if (this.#isOver) return;
    this.#session!.detach('the program closed it');
    this.#end('closed');
  }

  /** Resolves when the stream has closed: by a hang-up, or as the session is over. */
  async #readStream(): Promise<void> {
    // Not fs.read, which would hold a pool thread for each port. The stream closes its descriptor.
    const stream = new ReadStream(this.#deps.libc.duplicate(this.#pty.masterFd));
    this.#stream = stream;
    let taken = Promise.resolve();
    stream.on('data', (bytes: Buffer) => {
      stream.pause();
      taken = taken
        .then(() => this.#takeInput(bytes))
        .catch((err: unknown) => this.#fail(err))
        .finally(() => stream.resume());
    });
    stream.on('error', () => undefined); // EIO: hung up
    await new Promise((resolve) => stream.once('close', resolve));
    this.#stream = null;
    await taken;
  }

  /** False once there is nothing left and nobody who could write more. */
  async #readRest(): Promise<boolean> {
    for (;;) {
      if (this.#isOver) return false;
      const bytes = tryRead(this.#pty.masterFd);
      if (bytes === 'nothing') return true; // another program has opened it meanwhile
      if (bytes === 'hung up') return false;
      await this.#takeInput(bytes);
    }
  }

  async #takeInput(bytes: Buffer): Promise<void> {
    await this.#followLine(); // a program sets the line and then speaks
    if (!this.#isOver) await this.#session!.input(bytes);
  }

  #fail(err: unknown): void {
    this.#deps.journal.error({ err }, 'input of a program could not be passed on');
    this.stop('its input could not be passed on');
  }

  #end(how: Departure): void {
    this.#isOver = true;
    this.#output.close();
    this.#stream?.destroy();
    this.#leave(how);
  }

  async #followLine(): Promise<void> {
    if (this.#isOver) return; // the master may be closed by now
    const now = this.#pty.line;
    if (now.baud === 0) return; // B0 is how a program hangs up; a line has some speed
    if (!isSame(now, this.#pty.known)) {
      this.#pty.known = now;
      this.#isApplied = false;
      void this.#apply();
    }
    await this.#applying;
  }

  /** One change at a time; what changes meanwhile is set next. */
  #apply(): Promise<void> {
    this.#applying ??= this.#applyAll().finally(() => (this.#applying = null));
    return this.#applying;
  }

  async #applyAll(): Promise<void> {
    while (!this.#isApplied && !this.#isOver) {
      this.#line ??= await this.#session!.lineState().catch(() => null);
      const line = this.#line?.line ?? null;
      if (line === null) return; // no UART
      const wanted = this.#pty.known;
      const isWhole = wanted.stopBits === 1;
      const stopBits = isWhole ? 1 : line.dataBits === 5 ? 1.5 : 2;
      try {
        await this.#session!.setLine({ ...line, baud: wanted.baud, stopBits }, wanted.flow);
      } catch (error) {
        this.#cannotSet(error);
        if (isSame(wanted, this.#pty.known)) return;
      }
      if (isSame(wanted, this.#pty.known)) this.#isApplied = true;
    }
  }

  #cannotSet(error: unknown): void {
    const { journal } = this.#deps;
    if (!(error instanceof Fault)) {
      journal.error({ err: error }, 'line could not be set');
      return;
    }
    const fields = { fault: error.code, why: error.message };
    if (PASSING.includes(error.code)) journal.debug(fields, 'line not set as the program wants it');
    else journal.info(fields, 'line not set as the program wants it');
  }
}

/** The program closed the pty, or the session ended while it has it open. */
export type Departure = 'closed' | { ended: string };

const PASSING = ['NOT_WRITER', 'PORT_DOWN', 'PORT_UNSUPPORTED'];

function isSame(a: PtyLine, b: PtyLine): boolean {
  return a.baud === b.baud && a.stopBits === b.stopBits && a.flow === b.flow;
}

function tryRead(fd: number): Buffer | 'nothing' | 'hung up' {
  const bytes = Buffer.allocUnsafe(READ_BYTES);
  try {
    return bytes.subarray(0, readSync(fd, bytes));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') return 'nothing';
    if (code === 'EIO') return 'hung up';
    throw error;
  }
}

/** A pty gives no more at once. */
const READ_BYTES = 4_096;
