import { EXIT, Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import { openSession } from '../sessions/session.ts';
import type { SessionOutput } from '../sessions/session.ts';
import { TIME_EXPRESSIONS } from '../log/time-expression.ts';
import { place } from './log.ts';
import { flag, needAccess, needLog, text } from './verb.ts';
import type { ParsedVerb, Verb } from './verb.ts';

export const attachVerb: Verb = {
  name: 'attach',
  summary: 'opens a terminal on a port',
  usage: 'PORT',
  args: ['<port>'],
  right: 'view',
  where: 'anywhere',
  needsDaemon: true,
  options: [
    { flags: '--view', does: 'only look' },
    { flags: '--force', does: 'take write over from whoever has it' },
    { flags: '--from <time>', does: 'first what the port said from this time or place on' },
  ],
  details: [
    '^Ec. (CTRL-E, c, dot) leaves and ^Ec? lists the other keys; every other key goes to the device.',
    'If somebody writes already you view, and write when they leave. Writing needs the right write.',
    'Without a terminal the input goes to the device as it is, with no keys; when it ends, write goes to',
    'the next in turn, and output goes on until the port or an interrupt ends it.',
    `Times: ${TIME_EXPRESSIONS}.`,
  ],
  examples: [
    { command: 'fairlead attach db1', does: 'to work on db1' },
    {
      command: 'ssh -t console attach db1 --view --from 10m',
      does: 'the last ten minutes, then live',
    },
  ],
  async run(context, parsed) {
    const { caller, clock, journal, io } = context;
    const client = new Client(io);
    const session = await openSession(
      { access: needAccess(context), log: needLog(context), clock, journal },
      {
        caller,
        port: parsed.args[0]!,
        mode: modeOf(parsed),
        delivery: 'person',
        from: place(context, text(parsed, 'from')),
        notices: io.isTerminal,
        keys: io.isTerminal,
      },
      client,
    );
    const leave = (): void => {
      session.detach();
      client.ended(LEFT);
    };
    io.signal.addEventListener('abort', leave);
    if (io.signal.aborted) leave();
    io.onInput(async (bytes) => {
      if (bytes !== null) await session.input(bytes);
      else if (io.isTerminal) leave();
      else await session.view();
    }, io.isTerminal);
    try {
      const why = await client.end;
      if (why === LEFT) return EXIT.ok;
      if (!io.isTerminal) await io.writeError(`fairlead: ${why}\n`);
      return EXIT.unreachable;
    } finally {
      session.detach();
      io.signal.removeEventListener('abort', leave);
      io.onInput(null, false);
    }
  },
};

/** What a session says when its own client ended it. */
const LEFT = 'left';

function modeOf(parsed: ParsedVerb): 'write' | 'view' | 'force' {
  const force = flag(parsed, 'force');
  if (!flag(parsed, 'view')) return force ? 'force' : 'write';
  if (force) throw new Fault('USAGE', 'give --view or --force, not both');
  return 'view';
}

/** Writes one piece after the other; the session's credit bounds how many wait. */
class Client implements SessionOutput {
  /** Why it ended, once all before that is written. @rejects when the reader left. */
  readonly end: Promise<string>;
  readonly #io: VerbIo;
  #written: Promise<void> = Promise.resolve();
  #resolve: (why: string) => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(io: VerbIo) {
    this.#io = io;
    this.end = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Until somebody waits for it, a failure is no unhandled one.
    this.end.catch(() => {});
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#written = this.#written.then(() => this.#io.write(bytes)).then(done);
    this.#written.catch(this.#reject);
  }

  ended(why: string): void {
    const newLine = this.#io.isTerminal ? '\r\n' : '';
    this.#written
      .then(() => (newLine === '' ? undefined : this.#io.write(Buffer.from(newLine))))
      .then(() => this.#resolve(why), this.#reject);
  }
}
