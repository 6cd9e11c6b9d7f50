import type { PortAccess, PortSession, SessionEvent } from '../core/attach.ts';
import { EXIT } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import type { Caller } from '../core/user.ts';
import { sanitize, sanitizeText, startSanitizer } from '../protocols/sanitize.ts';
import { PORT_LIST, portsMatching } from './port-list.ts';
import { flag, needAccess } from './verb.ts';
import type { Verb } from './verb.ts';

export const watchVerb: Verb = {
  name: 'watch',
  summary: 'shows many ports as one stream, with the name in front of each line',
  usage: 'GLOB...',
  args: ['<globs...>'],
  right: 'view',
  where: 'anywhere',
  needsDaemon: true,
  options: [
    { flags: '--unattended', does: 'only what ports say while nobody writes on them' },
    { flags: '--json', does: 'print one JSON object a line' },
  ],
  details: [
    `GLOB: ${PORT_LIST}.`,
    'What comes from now on, in whole lines made safe to show, until CTRL-C. "*" behind a name:',
    'somebody writes there. What happens besides is in brackets: [down: ...], [up], [break]. A line that',
    'does not end is shown after a second of silence, or in pieces of 4 KB.',
    'JSON: {port, writer, atUs, epoch, offset, text} for a line, where offset is its first byte, and',
    '{port, writer, atUs, event} for what happens besides. Ports that are added later are not followed.',
  ],
  examples: [
    { command: "fairlead watch 'db*'", does: 'all that match' },
    { command: "fairlead watch '*' --unattended", does: 'what nobody else is looking after' },
  ],
  async run(context, parsed) {
    const { io, caller, clock } = context;
    const access = needAccess(context);
    const ports = portsMatching(await access.ports(caller), parsed.args);
    const nameColumns = Math.max(...ports.map(({ name }) => name.length)) + 1;
    const printer = new Printer(io, flag(parsed, 'json'), nameColumns);
    const isUnattendedOnly = flag(parsed, 'unattended');
    const watched = ports.map(
      ({ name }) => new WatchedPort(name, printer, isUnattendedOnly, () => clock.nowUs()),
    );
    const flushing = setInterval(() => {
      for (const port of watched) port.flushWhenSilent();
    }, FLUSH_EVERY_MS);
    const interrupted = aborted(io.signal);
    try {
      const all = attachAll(watched, access, caller, io.signal);
      const ended = all.then(() => Promise.all(watched.map((port) => port.ended)));
      await Promise.race([interrupted.promise, printer.failed, ended]);
      if (io.signal.aborted) return EXIT.ok;
      await printer.written();
      return EXIT.unreachable;
    } finally {
      clearInterval(flushing);
      interrupted.stop();
      for (const port of watched) port.detach();
    }
  },
};

/** Output under way to this verb from all ports at once; each has its share, within bounds. */
const CREDIT_BYTES_TOTAL = 16_777_216;
const CREDIT_BYTES_MIN = 8_192;
const CREDIT_BYTES_MAX = 262_144;
const LINE_BYTES_MAX = 4_096;
const SILENCE_MS = 1_000;
const FLUSH_EVERY_MS = 250;
const WRITE_CHARS_MAX = 65_536;

async function attachAll(
  watched: readonly WatchedPort[],
  access: PortAccess,
  caller: Caller,
  signal: AbortSignal,
): Promise<void> {
  const share = Math.floor(CREDIT_BYTES_TOTAL / watched.length);
  const creditBytes = Math.max(CREDIT_BYTES_MIN, Math.min(CREDIT_BYTES_MAX, share));
  for (const port of watched) {
    if (signal.aborted) return;
    await port.attach(access, caller, creditBytes);
  }
}

/** One of the ports: cuts what it says into lines, and gives credit back as they are written. */
class WatchedPort {
  /** Resolves when there is nothing more to come from it. */
  readonly ended: Promise<void>;
  readonly #name: string;
  readonly #printer: Printer;
  readonly #isUnattendedOnly: boolean;
  readonly #nowUs: () => number;
  #end: () => void = () => {};
  #session: PortSession | null = null;
  #isDetached = false;
  /** What came before the attach was answered. */
  #early: SessionEvent[] = [];
  #writer: string | null = null;
  #sanitizer = startSanitizer('text');
  /** The line that has begun; null: none. */
  #line: { epoch: number; offset: number; atUs: number; text: string; bytes: number } | null = null;
  #heardAtMs = 0;

  constructor(name: string, printer: Printer, isUnattendedOnly: boolean, nowUs: () => number) {
    this.#name = name;
    this.#printer = printer;
    this.#isUnattendedOnly = isUnattendedOnly;
    this.#nowUs = nowUs;
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  /** Never rejects: a port that cannot be watched is told of, and over. */
  async attach(access: PortAccess, caller: Caller, creditBytes: number): Promise<void> {
    try {
      const session = await access.attach(
        { caller, port: this.#name, mode: 'view', delivery: 'person', creditBytes },
        (event) => this.#hear(event),
      );
      if (this.#isDetached) return session.detach('left');
      this.#session = session;
      const { writer, state, why } = session.attached;
      this.#writer = writer;
      if (state !== 'up') this.#tell(why === null ? state : `${state}: ${why}`);
      for (const event of this.#early) this.#hear(event);
      this.#early = [];
    } catch (error) {
      this.#tell(`cannot be watched: ${error instanceof Error ? error.message : String(error)}`);
      this.#end();
    }
  }

  detach(): void {
    this.#isDetached = true;
    this.#session?.detach('left');
  }

  /** Shows a line that was begun and not ended, such as a prompt. */
  flushWhenSilent(): void {
    if (this.#line && performance.now() - this.#heardAtMs >= SILENCE_MS) this.#endLine(false);
  }

  get #isLeftOut(): boolean {
    return this.#isUnattendedOnly && this.#writer !== null;
  }

  #hear(event: SessionEvent): void {
    if (this.#isDetached) return;
    if (!this.#session) {
      this.#early.push(event);
      return;
    }
    switch (event.kind) {
      case 'frame':
        return this.#frame(event);
      case 'writer':
        this.#endLine(false);
        this.#writer = event.writer;
        return;
      case 'skipped':
        return this.#tell(`skipped ${event.to - event.from} bytes`);
      case 'down':
        return this.#tell(`down: ${event.why}`);
      case 'up':
      case 'break':
        return this.#tell(event.kind);
      case 'epoch':
        return this.#tell('continuity is not proven here: a new epoch begins');
      case 'message':
        return this.#tell(`message from ${event.from}: ${event.text}`);
      case 'ended':
        this.#tell(`ended: ${event.why}`);
        return this.#end();
      case 'line':
      case 'signals':
      case 'line-error':
      case 'acknowledged':
      case 'refused':
        return;
    }
  }

  #frame({ epoch, offset, atUs, bytes }: Extract<SessionEvent, { kind: 'frame' }>): void {
    this.#heardAtMs = performance.now();
    for (let start = 0; start < bytes.length && !this.#isLeftOut;) {
      this.#line ??= { epoch, offset: offset + start, atUs, text: '', bytes: 0 };
      const lineFeed = bytes.indexOf(LF, start);
      const room = start + LINE_BYTES_MAX - this.#line.bytes;
      const end = Math.min(room, lineFeed < 0 ? bytes.length : lineFeed + 1);
      const safe = sanitize(this.#sanitizer, bytes.subarray(start, end));
      this.#sanitizer = safe.state;
      this.#line.text += Buffer.from(safe.bytes).toString('utf8');
      this.#line.bytes += end - start;
      const isWhole = bytes[end - 1] === LF;
      if (isWhole || this.#line.bytes >= LINE_BYTES_MAX) this.#endLine(isWhole);
      start = end;
    }
    this.#printer.done(() => this.#session!.credit(bytes.length));
  }

  /** `isWhole`: the device ended it, so it is shown even when it is empty. */
  #endLine(isWhole: boolean): void {
    const line = this.#line;
    this.#line = null;
    if (!line || this.#isLeftOut) return;
    const { epoch, offset, atUs } = line;
    const text = lastDrawn(line.text);
    if (text === '' && !isWhole) return;
    this.#printer.line({ port: this.#name, writer: this.#writer, atUs, epoch, offset, text });
  }

  #tell(what: string): void {
    this.#endLine(false);
    if (this.#isLeftOut) return;
    const event = sanitizeText(what).replace(/\s+/g, ' ');
    this.#printer.line({ port: this.#name, writer: this.#writer, atUs: this.#nowUs(), event });
  }
}

const LF = 0x0a;

/** A line that was redrawn in place, as it stood in the end. */
function lastDrawn(text: string): string {
  const drawn = text.replace(/\n$/, '').split('\r');
  return (drawn.findLast((part) => part.trim() !== '') ?? '').trimEnd();
}

interface Line {
  port: string;
  writer: string | null;
  atUs: number;
  epoch?: number;
  offset?: number;
  text?: string;
  event?: string;
}

/** Writes lines in the order they came. What waits is bounded by the credit of the ports. */
class Printer {
  /** Rejects when the reader left. */
  readonly failed: Promise<never>;
  readonly #io: VerbIo;
  readonly #isJson: boolean;
  readonly #nameColumns: number;
  #fail: (error: unknown) => void = () => {};
  #waiting: (string | (() => void))[] = [];
  #writing: Promise<void> | null = null;

  constructor(io: VerbIo, isJson: boolean, nameColumns: number) {
    this.#io = io;
    this.#isJson = isJson;
    this.#nameColumns = nameColumns;
    this.failed = new Promise((_resolve, reject) => (this.#fail = reject));
    this.failed.catch(() => {}); // also when nobody waits for it any more
  }

  line(line: Line): void {
    const { port, writer, text, event } = line;
    const name = `${port}${writer === null ? '' : '*'}`.padEnd(this.#nameColumns);
    const shown = `${name} | ${text ?? `[${event}]`}`.trimEnd();
    this.#push(`${this.#isJson ? JSON.stringify(line) : shown}\n`);
  }

  /** Called once all lines before it are written. */
  done(call: () => void): void {
    this.#push(call);
  }

  async written(): Promise<void> {
    await this.#writing;
  }

  #push(item: string | (() => void)): void {
    this.#waiting.push(item);
    this.#writing ??= this.#writeAll().catch(this.#fail);
  }

  async #writeAll(): Promise<void> {
    await Promise.resolve(); // what comes in one go is written in one go
    while (this.#waiting.length > 0) {
      let text = '';
      let taken = 0;
      const calls: (() => void)[] = [];
      for (const item of this.#waiting) {
        if (text.length >= WRITE_CHARS_MAX) break;
        taken++;
        if (typeof item === 'string') text += item;
        else calls.push(item);
      }
      this.#waiting = this.#waiting.slice(taken);
      if (text !== '') await this.#io.write(text);
      for (const call of calls) call();
    }
    this.#writing = null;
  }
}

function aborted(signal: AbortSignal): { promise: Promise<void>; stop(): void } {
  let stop = (): void => {};
  const promise = new Promise<void>((resolve) => {
    const heard = (): void => resolve();
    if (signal.aborted) resolve();
    signal.addEventListener('abort', heard);
    stop = () => signal.removeEventListener('abort', heard);
  });
  return { promise, stop };
}
