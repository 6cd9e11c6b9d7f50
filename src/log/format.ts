import type { LineError, LogRecord } from '../core/record.ts';
import { sanitize, sanitizeText, startSanitizer } from '../protocols/sanitize.ts';
import type { SanitizerState } from '../protocols/sanitize.ts';
import { formatTime } from './time-expression.ts';

export const LOG_FORMATS = ['text', 'time', 'raw', 'jsonl', 'hex'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LogFormatOptions {
  /** IANA name, or `UTC`. */
  timeZone: string;
  /** With what was typed. */
  tx: boolean;
}

/**
 * Records to bytes for a person or a program, a batch at a time, in bounded memory:
 * `raw` the rx bytes and nothing else; `text` what a person reads, made safe, with an event as a
 * line `[fairlead TIME ...]`; `time` the same, each line after the time of its first byte, sessions
 * and signals too, and `^M` where a line was redrawn; `jsonl` one object a record (DESIGN 7);
 * `hex` offset, time, and 16 bytes a row.
 */
export class LogFormatter {
  readonly #format: LogFormat;
  readonly #options: LogFormatOptions;
  #sanitizer: SanitizerState = startSanitizer('text');
  #lineIsOpen = false;
  #epoch: number | null = null;
  /** Users of the sessions seen attaching, to name who typed. */
  readonly #users = new Map<number, string>();
  #parts: Uint8Array[] = [];

  constructor(format: LogFormat, options: LogFormatOptions) {
    this.#format = format;
    this.#options = options;
  }

  push(records: readonly LogRecord[]): Uint8Array {
    for (const record of records) {
      if (!this.#options.tx && (record.kind === 'tx' || record.kind === 'tx-text')) continue;
      if (this.#format === 'raw') {
        if (record.kind === 'rx') this.#parts.push(record.bytes);
      } else if (this.#format === 'jsonl') this.#json(record);
      else this.#readable(record);
    }
    return this.#take();
  }

  /** Ends a line that is still open. */
  end(): Uint8Array {
    this.#endLine();
    return this.#take();
  }

  #take(): Uint8Array {
    const bytes = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    this.#parts = [];
    return bytes;
  }

  #write(text: string): void {
    this.#parts.push(Buffer.from(text));
  }

  #json({ kind, seq, epoch, offset, atUs, ...body }: LogRecord): void {
    const fields: Record<string, unknown> = { ...body };
    if ('bytes' in body) fields['bytes'] = Buffer.from(body.bytes).toString('base64');
    this.#write(`${JSON.stringify({ kind, seq, epoch, offset, atUs, ...fields })}\n`);
  }

  #readable(record: LogRecord): void {
    if (this.#epoch !== null && record.epoch !== this.#epoch) {
      this.#sanitizer = startSanitizer('text');
      this.#event(record.atUs, `epoch ${record.epoch} begins: bytes may be missing before it`);
    }
    this.#epoch = record.epoch;
    if (record.kind === 'attached') this.#remember(record.session, record.user);
    if (record.kind === 'rx') {
      if (this.#format === 'hex') this.#hex(record);
      else if (this.#format === 'time') this.#timed(record);
      else {
        const bytes = this.#sanitized(record.bytes);
        if (bytes.length === 0) return;
        this.#parts.push(bytes);
        this.#lineIsOpen = bytes.at(-1) !== LF;
      }
      return;
    }
    // What follows a gap is not the rest of the sequence before it.
    if (record.kind === 'gap') this.#sanitizer = startSanitizer('text');
    if (this.#format === 'text' && QUIET_IN_TEXT.has(record.kind)) return;
    this.#event(record.atUs, describe(record, this.#users));
  }

  #sanitized(bytes: Uint8Array): Uint8Array {
    const result = sanitize(this.#sanitizer, bytes);
    this.#sanitizer = result.state;
    return result.bytes;
  }

  #timed({ atUs, bytes }: LogRecord & { kind: 'rx' }): void {
    const text = Buffer.from(this.#sanitized(bytes)).toString('utf8').replaceAll('\r', '^M');
    let shown = '';
    for (let at = 0, end; at < text.length; at = end) {
      end = text.indexOf('\n', at) + 1 || text.length;
      if (!this.#lineIsOpen) shown += `${formatTime(atUs, this.#options.timeZone)} `;
      shown += text.slice(at, end);
      this.#lineIsOpen = text[end - 1] !== '\n';
    }
    if (shown !== '') this.#write(shown);
  }

  #hex({ offset, atUs, bytes }: LogRecord & { kind: 'rx' }): void {
    const time = formatTime(atUs, this.#options.timeZone, { digits: 6 });
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let rows = '';
    for (let at = 0; at < buffer.length; at += HEX_ROW_BYTES) {
      const row = buffer.subarray(at, at + HEX_ROW_BYTES);
      const hex = row.toString('hex').replace(/.{4}(?=.)/g, '$& ');
      const shown = row.toString('latin1').replace(/[^ -~]/g, '.');
      rows += `${String(offset + at).padStart(10)} ${time}  ${hex.padEnd(HEX_COLUMNS)}  ${shown}\n`;
    }
    this.#write(rows);
  }

  #event(atUs: number, text: string): void {
    this.#endLine();
    this.#sanitizer = { ...this.#sanitizer, heldCr: false, lineIsEmpty: true };
    const line = text.replace(/[\n\t]+/g, ' ');
    this.#write(`[fairlead ${formatTime(atUs, this.#options.timeZone)} ${line}]\n`);
  }

  #endLine(): void {
    if (this.#lineIsOpen) this.#write('\n');
    this.#lineIsOpen = false;
  }

  #remember(session: number, user: string): void {
    if (this.#users.size >= USERS_MAX) this.#users.delete(this.#users.keys().next().value!);
    this.#users.set(session, user);
  }
}

/** Bytes as a person can read and type them: printable ASCII, `\r \n \t \e \\`, `\xNN`. */
export function escapeBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    const char = String.fromCharCode(byte);
    const escaped = ESCAPES[char];
    if (escaped !== undefined) text += escaped;
    else if (byte >= 0x20 && byte < 0x7f) text += char;
    else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return text;
}

const LF = 0x0a;
const HEX_ROW_BYTES = 16;
const HEX_COLUMNS = 39;
const USERS_MAX = 1000;
const ESCAPES: Readonly<Record<string, string>> = {
  '\r': '\\r',
  '\n': '\\n',
  '\t': '\\t',
  '\x1b': '\\e',
  '\\': '\\\\',
};
/** Not what the machine said or lost; `time` and `jsonl` have them. */
const QUIET_IN_TEXT = new Set<LogRecord['kind']>(['attached', 'detached', 'took-over', 'signals']);

function describe(
  record: Exclude<LogRecord, { kind: 'rx' }>,
  users: ReadonlyMap<number, string>,
): string {
  const who = (session: number): string => {
    const user = users.get(session);
    return user === undefined ? `session ${session}` : `session ${session} ${sanitizeText(user)}`;
  };
  const by = (session: number | null): string => (session === null ? '' : ` by ${who(session)}`);
  switch (record.kind) {
    case 'tx':
      return `tx ${who(record.session)}: ${record.bytes.length > 0 ? escapeBytes(record.bytes) : bytesOf(record.count)}`;
    case 'tx-text':
      return `tx ${who(record.session)} echoed: ${escapeBytes(record.bytes)}`;
    case 'break':
      return record.session === null
        ? 'BREAK received'
        : `BREAK sent${by(record.session)}${record.durationMs === null ? '' : `, ${record.durationMs} ms`}`;
    case 'line-error':
      return describeLineError(record);
    case 'signals': {
      const states = Object.entries(record.signals).map(
        ([name, on]) => `${name}=${on ? 'on' : 'off'}`,
      );
      return `signals: ${states.join(' ')}${by(record.session)}`;
    }
    case 'gap': {
      const missing = record.count === null ? 'bytes missing' : `${bytesOf(record.count)} missing`;
      return `gap: ${missing} (${sanitizeText(record.reason)})`;
    }
    case 'mark':
      return `mark: ${sanitizeText(record.text)}`;
    case 'clock-step':
      return `clock step: ${record.stepUs > 0 ? '+' : ''}${record.stepUs / 1_000_000} s`;
    case 'up':
      return `up: ${sanitizeText(record.detail)}`;
    case 'down':
      return `down: ${sanitizeText(record.why)}`;
    case 'attached':
      return `attached: ${who(record.session)} from ${sanitizeText(record.remote)} by ${record.frontend}, ${record.mode}`;
    case 'detached':
      return `detached: ${who(record.session)} (${sanitizeText(record.why)})`;
    case 'took-over':
      return `write: ${who(record.session)}${record.from === null ? '' : `, taken from ${who(record.from)}`}`;
    case 'line':
      return `line: ${record.line}${by(record.session)}`;
    case 'garbled': {
      const { from, to, looksLike, confidence } = record;
      const percent = `${Math.round(confidence * 100)} %`;
      const what =
        looksLike === null ? 'by no known settings' : `looks like ${sanitizeText(looksLike)}`;
      return `garbled: ${bytesOf(to - from)} from @${from}, ${what} (${percent})`;
    }
  }
}

function describeLineError({ error, count }: LineError): string {
  if (error === 'break') return `BREAK received, ${count} more`;
  if (error === 'overrun') return `line error: overrun, ${bytesOf(count)} lost at least`;
  return `line error: ${error}, ${count === 1 ? 'once' : `${count} times`}`;
}

function bytesOf(count: number): string {
  return count === 1 ? '1 byte' : `${count} bytes`;
}
