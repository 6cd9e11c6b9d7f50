import type { PortAccess } from '../core/attach.ts';
import { Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import { flag, needAccess, positiveNumber, text } from './verb.ts';
import type { Verb, VerbContext } from './verb.ts';

export const sendVerb: Verb = {
  name: 'send',
  summary: 'types text at a port, or sends a BREAK',
  usage: 'PORT [TEXT...|-]',
  args: ['<port>', '[text...]'],
  right: 'write',
  where: 'anywhere',
  needsDaemon: true,
  options: [
    { flags: '--enter', does: 'add a carriage return' },
    { flags: '--file <file>', does: 'send what is in a file (local shell only)' },
    { flags: '--break', does: 'send a BREAK (right: break)' },
    { flags: '--duration <ms>', does: 'how long the BREAK is; 300 if not given' },
  ],
  details: [
    'Nothing is added by itself. In TEXT, \\r \\n \\t \\e \\\\ and \\xNN are one byte each. "-" takes the',
    'input as it is. A text that starts with a dash comes after "--".',
  ],
  examples: [
    { command: 'fairlead send db1 --enter uptime', does: 'types a line' },
    { command: "fairlead send sw1 '\\x1a'", does: 'types CTRL-Z' },
    { command: 'fairlead send db1 --break', does: 'a BREAK, e.g. for SysRq' },
    { command: 'ssh console send db1 - < setup.txt', does: 'types a file from where you are' },
  ],
  async run(context, parsed) {
    const access = needAccess(context);
    const [port, ...words] = parsed.args as [string, ...string[]];
    const file = text(parsed, 'file');
    const takesInput = file !== undefined || (words.length === 1 && words[0] === '-');
    const wantsBreak = flag(parsed, 'break');
    const given = [file !== undefined, words.length > 0, wantsBreak].filter(Boolean).length;
    if (given > 1) throw new Fault('USAGE', 'give one of TEXT, --file and --break');

    if (wantsBreak) {
      await access.sendBreak(context.caller, port, positiveNumber(parsed, 'duration') ?? BREAK_MS);
      return 0;
    }
    if (file !== undefined && context.caller.frontend === 'ssh') {
      throw new Fault('DENIED', '--file names a file of the server; use "-" and pipe yours in');
    }
    if (takesInput) await sendInput(context, access, port);
    const typed = takesInput ? '' : unescapeText(words.join(' '));
    const bytes = Buffer.concat([
      Buffer.from(typed),
      Buffer.from(flag(parsed, 'enter') ? '\r' : ''),
    ]);
    if (!takesInput && bytes.length === 0) throw new Fault('USAGE', 'there is no text to send');
    if (bytes.length > 0) await access.send(context.caller, port, bytes);
    return 0;
  },
};

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
const SEND_BYTES = 4096;
const ESCAPED: Readonly<Record<string, string>> = {
  r: '\r',
  n: '\n',
  t: '\t',
  e: '\x1b',
  '\\': '\\',
};

/** All of the input, piece by piece, as the device takes it. */
async function sendInput(context: VerbContext, access: PortAccess, port: string): Promise<void> {
  await eachInput(context.io, async (bytes) => {
    for (let at = 0; at < bytes.length; at += SEND_BYTES) {
      await access.send(context.caller, port, bytes.subarray(at, at + SEND_BYTES));
    }
  });
}

/** Resolves at the end of the input. @rejects what `take` throws, or when the caller leaves. */
function eachInput(io: VerbIo, take: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const leave = (): void => reject(new Fault('TIMED_OUT', 'stopped before all was sent'));
    if (io.signal.aborted) leave();
    io.signal.addEventListener('abort', leave, { once: true });
    io.onInput(async (bytes) => {
      if (bytes === null) return resolve();
      try {
        await take(bytes);
      } catch (error) {
        reject(error as Error);
      }
    }, false);
  }).finally(() => io.onInput(null, false));
}
