import { EXIT, Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import type { LogPlace } from '../core/log-reader.ts';
import { isPortName, sameName } from '../core/names.ts';
import type { PortStatus } from '../core/port-status.ts';
import { openSession } from '../sessions/session.ts';
import type { Session, SessionOutput } from '../sessions/session.ts';
import { TIME_EXPRESSIONS } from '../log/time-expression.ts';
import { place } from './log.ts';
import { flag, needAccess, needLog, text } from './verb.ts';
import type { ParsedVerb, Verb, VerbContext } from './verb.ts';

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
    { flags: '--replay <lines>', does: 'first the last so many lines' },
    { flags: '--live', does: 'nothing first: only what comes' },
    { flags: '--wait', does: 'wait until there is such a port and it is up' },
  ],
  details: [
    'A terminal is first shown the screen as it stands. ^Ec. (CTRL-E, c, dot) leaves and ^Ec? lists the',
    'other keys, unless your own are set; every other key goes to the device. If somebody writes',
    'already you view, and write when they leave. Writing needs the right write.',
    'Without a terminal the input goes to the device as it is, with no keys, and nothing comes first;',
    'when it ends, write goes to the next in turn, and output goes on until the port or an interrupt',
    'ends it. --wait takes a whole name or alias.',
    `Times: ${TIME_EXPRESSIONS}.`,
  ],
  examples: [
    { command: 'fairlead attach db1', does: 'to work on db1' },
    {
      command: 'ssh -t console attach db1 --view --from 10m',
      does: 'the last ten minutes, then live',
    },
    { command: 'fairlead attach vm3 --wait', does: 'the console of a machine about to start' },
  ],
  async run(context, parsed) {
    const { io } = context;
    const mode = modeOf(parsed);
    const from = historyOf(context, parsed);
    let port = parsed.args[0]!;
    if (flag(parsed, 'wait')) {
      const found = await waitForPort(context, port);
      if (found === null) return EXIT.ok;
      port = found;
    }
    const why = await attachTo(context, { port, mode, from });
    if (why === null) return EXIT.ok;
    if (!io.isTerminal) await io.writeError(`fairlead: ${why}\n`);
    return EXIT.unreachable;
  },
};

export interface Attachment {
  port: string;
  mode: 'write' | 'view' | 'force';
  /** What is shown before what comes; null: nothing. */
  from: LogPlace | 'screen' | null;
}

/**
 * A session on the verb's own input and output. Resolves with why it ended, null when its own client
 * left. @throws Fault PORT_UNKNOWN, DENIED.
 */
export async function attachTo(
  context: VerbContext,
  { port, mode, from }: Attachment,
): Promise<string | null> {
  const { caller, clock, journal, io, preferences } = context;
  const client = new Client(io);
  const terminal = {
    size: () => io.size(),
    ...(io.host === undefined ? {} : { host: io.host }),
  };
  const session = await openSession(
    { access: needAccess(context), log: needLog(context), clock, journal },
    {
      caller,
      port,
      mode,
      delivery: 'person',
      from,
      notices: io.isTerminal,
      keys: io.isTerminal ? preferences.escape : null,
      ...(io.isTerminal ? terminal : {}),
    },
    client,
  );
  const leave = (): void => {
    session.detach();
    client.ended(LEFT);
  };
  io.signal.addEventListener('abort', leave);
  if (io.signal.aborted) leave();
  io.onBreak?.((durationMs) => session.sendBreak(durationMs));
  io.onSignal?.((name) => takeSignal(name, session, leave));
  io.onInput(async (bytes) => {
    if (bytes !== null) await session.input(bytes);
    else if (io.isTerminal) leave();
    else await session.view();
  }, io.isTerminal);
  try {
    const why = await client.end;
    return why === LEFT ? null : why;
  } finally {
    session.detach();
    io.signal.removeEventListener('abort', leave);
    io.onBreak?.(null);
    io.onSignal?.(null);
    io.onInput(null, false);
  }
}

/** What a session says when its own client ended it. */
const LEFT = 'left';
const WAIT_POLL_MS = 500;
const REPLAY_LINES_MAX = 1_000_000;

function modeOf(parsed: ParsedVerb): 'write' | 'view' | 'force' {
  const force = flag(parsed, 'force');
  if (!flag(parsed, 'view')) return force ? 'force' : 'write';
  if (force) throw new Fault('USAGE', 'give --view or --force, not both');
  return 'view';
}

/** @throws Fault USAGE, TIME_INVALID. */
function historyOf(context: VerbContext, parsed: ParsedVerb): Attachment['from'] {
  const lines = text(parsed, 'replay');
  const from = place(context, text(parsed, 'from'));
  const isLive = flag(parsed, 'live');
  if ([lines !== undefined, from !== null, isLive].filter(Boolean).length > 1) {
    throw new Fault('USAGE', 'give one of --from, --replay and --live');
  }
  if (from !== null) return from;
  if (lines !== undefined) {
    const count = /^\d{1,9}$/.test(lines) ? Number(lines) : 0;
    if (count === 0) throw new Fault('USAGE', `--replay takes a number of lines, not "${lines}"`);
    return { at: 'last-lines', lines: Math.min(count, REPLAY_LINES_MAX) };
  }
  return context.io.isTerminal && !isLive ? 'screen' : null;
}

/**
 * Signals by their SSH names (RFC 4254 section 6.10): those that a terminal makes of keys become
 * these keys, those that end a program end the session.
 */
function takeSignal(name: string, session: Session, leave: () => void): boolean {
  const key = SIGNAL_KEYS[name];
  if (key !== undefined) {
    void session.input(Uint8Array.of(key));
    return true;
  }
  if (!['HUP', 'TERM', 'KILL'].includes(name)) return false;
  leave();
  return true;
}

/** ^C, ^\, ^Z */
const SIGNAL_KEYS: Readonly<Record<string, number>> = { INT: 0x03, QUIT: 0x1c, TSTP: 0x1a };

/**
 * Resolves with the name of the port once it is there and up, null when the caller would not wait.
 * Says once what it waits for. @throws Fault USAGE for what can be no name.
 */
async function waitForPort(context: VerbContext, name: string): Promise<string | null> {
  if (!isPortName(name)) throw new Fault('USAGE', `"${name}" can be no port's name`);
  const access = needAccess(context);
  const { io, caller } = context;
  const waiting = new Waiting(io);
  let told = '';
  try {
    while (!waiting.isOver) {
      const ports = await access.ports(caller);
      const port =
        ports.find((each) => sameName(each.name, name)) ??
        ports.find((each) => each.aliases.some((alias) => sameName(alias, name)));
      if (port?.state === 'up') return port.name;
      const state = port ? 'down' : 'unknown';
      if (state !== told) await io.writeError(`fairlead: ${waitsFor(name, port)}\n`);
      told = state;
      await waiting.sleep(WAIT_POLL_MS);
    }
    return null;
  } finally {
    waiting.close();
  }
}

function waitsFor(name: string, port: PortStatus | undefined): string {
  if (!port) return `waiting for a port "${name}"`;
  return `waiting for ${port.name} to come up${port.why === null ? '' : `: ${port.why}`}`;
}

/** Sleeps until the caller interrupts. On a terminal keys are heard: ^C, ^D and ^Ec. end it. */
class Waiting {
  readonly #io: VerbIo;
  #isOver = false;
  #typed = '';
  #wake: () => void = () => {};

  constructor(io: VerbIo) {
    this.#io = io;
    io.signal.addEventListener('abort', this.#end);
    if (io.signal.aborted) this.#end();
    if (!io.isTerminal) return;
    io.onInput((bytes) => {
      this.#typed = (this.#typed + Buffer.from(bytes ?? [CTRL_D]).toString('latin1')).slice(-100);
      if (/[\x03\x04]|\x05c\./.test(this.#typed)) this.#end();
    }, true);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  async sleep(forMs: number): Promise<void> {
    if (this.#isOver) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, forMs);
    });
    clearTimeout(timer);
  }

  close(): void {
    this.#io.signal.removeEventListener('abort', this.#end);
    if (this.#io.isTerminal) this.#io.onInput(null, false);
  }

  readonly #end = (): void => {
    this.#isOver = true;
    this.#wake();
  };
}

const CTRL_D = 0x04;

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
