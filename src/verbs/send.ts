import type { PortAccess } from '../core/attach.ts';
import { exitCodeOf, Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import type { PaceTimes } from '../core/settings.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { confirm, YES_OPTION } from './confirm.ts';
import { InputProgress } from './input-progress.ts';
import { isPortList, PORT_LIST, portsMatching } from './port-list.ts';
import { SYSRQ_NAMES, sysrqKey } from './sysrq.ts';
import type { SysrqKey } from './sysrq.ts';
import { flag, needAccess, positiveNumber, text } from './verb.ts';
import type { ParsedVerb, Verb, VerbContext } from './verb.ts';

export const sendVerb: Verb = {
  name: 'send',
  summary: 'types text at a port or at several, or sends a BREAK or a SysRq key',
  usage: 'PORT [TEXT...|-]',
  args: ['<port>', '[text...]'],
  textAfter: 1,
  right: 'write',
  where: 'anywhere',
  needsDaemon: true,
  options: [
    { flags: '--enter', does: 'add a carriage return' },
    { flags: '--file <file>', does: 'send what is in a file (local shell only)' },
    { flags: '--pace <ms>', does: 'wait after each byte and line, as in 5 or 5,200' },
    { flags: '--break', does: 'send a BREAK (right: break)' },
    { flags: '--duration <ms>', does: 'how long the BREAK is; 300 if not given' },
    { flags: '--sysrq <key>', does: "a BREAK, then this key of Linux's SysRq: its letter or name" },
    YES_OPTION,
  ],
  details: [
    'Nothing is added by itself. In TEXT, \\r \\n \\t \\e \\\\ and \\xNN are one byte each. "-" takes the',
    'input as it is. Options come before TEXT: what follows its first word belongs to it, dashes too.',
    `PORT: ${PORT_LIST}.`,
    'A terminal is shown how far --file is. --pace stands for "pace:" of the port; its other half, what',
    'a line end becomes, holds for all that is sent. For a program that must be whole in the end, use',
    '"^Ec|" of "attach" with "sx" or "sz" (package lrzsz), where the other end has their receiver.',
    'Several ports are listed and asked for first; in a pipe that takes --yes. One that fails does not',
    'stop the others.',
    'SysRq keys are asked for too when they end something (b c e i o). Their names:',
    ...inLines([...Object.keys(SYSRQ_NAMES), 'loglevel-0', '...', 'loglevel-9']),
  ],
  examples: [
    { command: 'fairlead send --enter db1 uname -a', does: 'types a line' },
    { command: "fairlead send sw1 '\\x1a'", does: 'types CTRL-Z' },
    { command: "fairlead send 'db*,web1' --enter uptime", does: 'types it at several' },
    { command: 'fairlead send sw1 --pace 5,200 --file boot.cfg', does: 'types a file, slowly' },
    { command: 'fairlead send db1 --break', does: 'a BREAK' },
    { command: 'fairlead send db1 --sysrq show-blocked', does: 'who waits for a disk' },
    { command: 'ssh console send db1 - < setup.txt', does: 'types a file from where you are' },
  ],
  async run(context, parsed) {
    const access = needAccess(context);
    const { caller } = context;
    const input = whatToSend(context, parsed);
    const pace = paceOf(parsed);
    const name = parsed.args[0]!;
    const ports = isPortList(name)
      ? portsMatching(await access.ports(caller), [name]).map((port) => port.name)
      : [name];
    await agree(context, parsed, ports, input);
    switch (input.kind) {
      case 'break':
        return new Receivers(context, ports).each((port) =>
          access.sendBreak(caller, port, input.durationMs),
        );
      case 'sysrq':
        return new Receivers(context, ports).each((port) => sendSysrq(context, port, input.key));
      case 'text':
        return new Receivers(context, ports).each((port) =>
          access.send(caller, port, input.bytes, pace),
        );
      case 'stream':
        return sendStream(context, ports, input.after, pace);
    }
  },
};

function inLines(words: readonly string[], columns = 100): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const line = `${lines.at(-1) ?? ''} ${word}`.trim();
    if (lines.length === 0 || line.length > columns) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines;
}

type Sent =
  | { kind: 'break'; durationMs: number }
  | { kind: 'sysrq'; key: SysrqKey }
  | { kind: 'text'; bytes: Uint8Array }
  /** The verb's input, then `after`. */
  | { kind: 'stream'; after: Uint8Array };

/** @throws Fault USAGE, DENIED. */
function whatToSend(context: VerbContext, parsed: ParsedVerb): Sent {
  const words = parsed.args.slice(1);
  const file = text(parsed, 'file');
  const sysrq = text(parsed, 'sysrq');
  const wantsBreak = flag(parsed, 'break');
  const given = [file !== undefined, words.length > 0, wantsBreak, sysrq !== undefined];
  if (given.filter(Boolean).length > 1) {
    throw new Fault('USAGE', 'give one of TEXT, --file, --break and --sysrq');
  }
  const durationMs = positiveNumber(parsed, 'duration') ?? BREAK_MS;
  if (wantsBreak) return { kind: 'break', durationMs };
  if (sysrq !== undefined) return { kind: 'sysrq', key: sysrqKey(sysrq) };
  const isLocal = ['local', 'control', 'demo'].includes(context.caller.frontend);
  if (file !== undefined && !isLocal) {
    throw new Fault('DENIED', '--file names a file of the server; use "-" and pipe yours in');
  }
  const enter = Buffer.from(flag(parsed, 'enter') ? '\r' : '');
  if (file !== undefined || (words.length === 1 && words[0] === '-')) {
    return { kind: 'stream', after: enter };
  }
  const bytes = Buffer.concat([unescapeText(words.join(' ')), enter]);
  if (bytes.length === 0) throw new Fault('USAGE', 'there is no text to send');
  return { kind: 'text', bytes };
}

/** `5`, `5,200`. @throws Fault USAGE. */
function paceOf(parsed: ParsedVerb): PaceTimes | undefined {
  const given = text(parsed, 'pace');
  if (given === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?$/.exec(given);
  if (match) return { byteMs: Number(match[1]), lineMs: Number(match[2] ?? 0) };
  throw new Fault('USAGE', `--pace takes milliseconds, as in 5 or 5,200, not "${given}"`);
}

/** Lists who gets it and asks, where it is more than one port or does harm. @throws Fault CONFIRM. */
async function agree(
  context: VerbContext,
  parsed: ParsedVerb,
  ports: readonly string[],
  input: Sent,
): Promise<void> {
  const label = input.kind === 'sysrq' ? input.key.label : 'send';
  const isDangerous = input.kind === 'sysrq' && input.key.isDangerous;
  if (ports.length > 1) await context.io.writeError(`to ${ports.join(', ')}\n`);
  if (ports.length > 1 && input.kind === 'stream' && !flag(parsed, 'yes')) {
    // Its input is what to send: no answer can come from there.
    throw new Fault('CONFIRM', `send to ${ports.length} ports must be confirmed: give --yes`);
  }
  if (ports.length > 1) await confirm(context, parsed, `${label} to ${ports.length} ports`);
  else if (isDangerous) await confirm(context, parsed, `${label} to ${ports[0]}`);
}

/**
 * Text as typed on a command line: `\r \n \t \e \\` and `\xNN`; all else is UTF-8.
 * @throws Fault USAGE for another backslash.
 */
export function unescapeText(typed: string): Uint8Array {
  const parts: Buffer[] = [];
  for (const [part] of typed.matchAll(/[^\\]+|\\(?:x[0-9a-fA-F]{2}|[^x]|x.{0,2})?/gs)) {
    if (!part.startsWith('\\')) parts.push(Buffer.from(part));
    else if (/^\\x[0-9a-fA-F]{2}$/.test(part)) parts.push(Buffer.from(part.slice(2), 'hex'));
    else if (part.length === 2 && ESCAPED[part[1]!] !== undefined) {
      parts.push(Buffer.from(ESCAPED[part[1]!]!));
    } else {
      throw new Fault('USAGE', `"${part}" is not one of \\r \\n \\t \\e \\\\ \\xNN`);
    }
  }
  return Buffer.concat(parts);
}

const BREAK_MS = 300;
/** From the end of the BREAK to the key: both must have passed the driver as two things. */
const SYSRQ_WAIT_MS = 100;
const SEND_BYTES = 4096;
const SEND_BYTES_MIN = 64;
/** A piece that takes longer is followed by a smaller one. */
const PIECE_MS = 2_000;
const ESCAPED: Readonly<Record<string, string>> = {
  r: '\r',
  n: '\n',
  t: '\t',
  e: '\x1b',
  '\\': '\\',
};

/** The kernel takes the first character within 5 s of a BREAK as the key (drivers/tty/serial). */
async function sendSysrq(context: VerbContext, port: string, { key, label }: SysrqKey) {
  await needAccess(context).run(context.caller, port, {
    label,
    steps: [
      { do: 'break', durationMs: BREAK_MS },
      { do: 'wait', durationMs: SYSRQ_WAIT_MS },
      { do: 'send', bytes: Buffer.from(key) },
    ],
  });
}

/** The ports it goes to; one that failed is told of once and gets no more. */
class Receivers {
  readonly #context: VerbContext;
  readonly #isOne: boolean;
  #ports: readonly string[];
  #exitCode = 0;

  constructor(context: VerbContext, ports: readonly string[]) {
    this.#context = context;
    this.#ports = ports;
    this.#isOne = ports.length === 1;
  }

  get isEmpty(): boolean {
    return this.#ports.length === 0;
  }

  /** Resolves with the exit code of the first that ever failed. @throws what a lone port answers. */
  async each(send: (port: string) => Promise<void>): Promise<number> {
    if (this.#isOne) {
      await send(this.#ports[0]!);
      return 0;
    }
    const results = await Promise.allSettled(this.#ports.map((port) => send(port)));
    const left: string[] = [];
    for (const [index, result] of results.entries()) {
      const port = this.#ports[index]!;
      if (result.status === 'fulfilled') left.push(port);
      else await this.#failed(port, result.reason);
    }
    this.#ports = left;
    return this.#exitCode;
  }

  async #failed(port: string, error: unknown): Promise<void> {
    const { io, journal } = this.#context;
    if (!(error instanceof Fault)) journal.error({ err: error, verb: 'send' }, 'verb failed');
    this.#exitCode ||= exitCodeOf(error);
    const message = error instanceof Error ? error.message : String(error);
    await io.writeError(`fairlead: ${port}: ${sanitizeText(message)}\n`);
  }
}

/** All of the input, piece by piece, as the devices take it. */
async function sendStream(
  context: VerbContext,
  ports: readonly string[],
  after: Uint8Array,
  pace: PaceTimes | undefined,
): Promise<number> {
  const access: PortAccess = needAccess(context);
  const { io, caller } = context;
  const receivers = new Receivers(context, ports);
  const send = (bytes: Uint8Array) =>
    receivers.each((port) => access.send(caller, port, bytes, pace));
  const progress = new InputProgress(io, ports.length === 1 ? ports[0]! : `${ports.length} ports`);
  let pieceBytes = io.progress ? SEND_BYTES_MIN : SEND_BYTES;
  let exitCode = 0;
  try {
    await eachInput(io, async (bytes) => {
      for (let at = 0; at < bytes.length && !receivers.isEmpty;) {
        const piece = bytes.subarray(at, at + pieceBytes);
        const beganMs = performance.now();
        exitCode = await send(piece);
        pieceBytes = nextPieceBytes(pieceBytes, performance.now() - beganMs);
        at += piece.length;
        await progress.add(piece.length);
      }
      return !receivers.isEmpty;
    });
    if (after.length > 0 && !receivers.isEmpty) exitCode = await send(after);
  } finally {
    await progress.end().catch(() => undefined); // whoever read it has gone
  }
  return exitCode;
}

/** Each piece is a line in the audit and two records: as many as are needed to see how it goes on. */
function nextPieceBytes(pieceBytes: number, tookMs: number): number {
  if (tookMs > PIECE_MS) return Math.max(SEND_BYTES_MIN, Math.floor(pieceBytes / 2));
  if (tookMs < PIECE_MS / 4) return Math.min(SEND_BYTES, pieceBytes * 2);
  return pieceBytes;
}

/**
 * Resolves at the end of the input, or when `take` wants no more. @rejects what `take` throws, or
 * when the caller leaves.
 */
function eachInput(io: VerbIo, take: (bytes: Uint8Array) => Promise<boolean>): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const leave = (): void => reject(new Fault('TIMED_OUT', 'stopped before all was sent'));
    if (io.signal.aborted) leave();
    io.signal.addEventListener('abort', leave, { once: true });
    io.onInput(async (bytes) => {
      if (bytes === null) return resolve();
      try {
        if (!(await take(bytes))) resolve();
      } catch (error) {
        reject(error as Error);
      }
    }, false);
  }).finally(() => io.onInput(null, false));
}
