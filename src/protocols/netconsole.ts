/**
 * What the Linux kernel's netconsole sends, as console text. Source: Documentation/networking/netconsole.rst,
 * drivers/net/netconsole.c, kernel/printk/printk.c.
 *
 * Basic: the text a serial console would show, cut into datagrams of about 1,000 bytes. Extended:
 * `[RELEASE,]PRIORITY,SEQUENCE,MICROSECONDS,FLAG[,KEY=VALUE]...;TEXT`, one message each, the longer
 * ones in fragments (`ncfrag=OFFSET/TOTAL`), unprintable bytes as `\xNN`.
 */
export interface NetconsoleSink {
  /** Text of the console; lines end with CR LF, as from the kernel's serial driver. */
  text(bytes: Uint8Array): void;
  /** Something is missing before the text given next. */
  gap(reason: string): void;
}

/** A message that came early waits this long for those before it, and a part of one for the rest. */
export const REORDER_MS = 250;
/** Messages that wait; and how far one may be from the expected one to count as late or early at all. */
const WINDOW = 64;
const FRAGMENTED_MAX = 16;
/** CONSOLE_EXT_LOG_MAX of the kernel is 8192. */
const MESSAGE_BYTES_MAX = 16_384;

interface Message {
  sequence: number;
  text: Uint8Array;
}

interface Fragments {
  head: Head;
  total: number;
  body: Uint8Array;
  /** Ranges that came, sorted, not touching. */
  parts: [from: number, to: number][];
  dueMs: number;
}

interface Head {
  sequence: number;
  microseconds: number;
  caller: string | null;
  fragment: { offset: number; total: number } | null;
  bodyAt: number;
}

/**
 * One kernel's datagrams, put in order. Total: any datagrams give text, within bounded memory and
 * without a byte of text left out; only a message that came twice within the window is dropped. Time
 * is handed in: call `expire` when `dueMs` has come.
 */
export class NetconsoleStream {
  readonly #sink: NetconsoleSink;
  /** Of the next message; null: none came yet. */
  #expected: number | null = null;
  #early = new Map<number, Message>();
  #earlyDueMs: number | null = null;
  #fragmented = new Map<number, Fragments>();
  /** Sequences within the window behind `#expected` that did come. */
  #recent = new Set<number>();

  constructor(sink: NetconsoleSink) {
    this.#sink = sink;
  }

  /** When something that waits has waited long enough; null: nothing waits. */
  get dueMs(): number | null {
    let dueMs = this.#earlyDueMs;
    for (const { dueMs: partDueMs } of this.#fragmented.values()) {
      if (dueMs === null || partDueMs < dueMs) dueMs = partDueMs;
    }
    return dueMs;
  }

  take(datagram: Uint8Array, nowMs: number): void {
    this.expire(nowMs);
    const head = readHead(datagram);
    if (head === null) {
      // What waits is older than this: the kernel may have been told to use the basic format.
      this.#flush();
      this.#sink.text(consoleText(datagram));
      return;
    }
    const { fragment } = head;
    const body = datagram.subarray(head.bodyAt);
    if (fragment === null) {
      this.#arrived({ sequence: head.sequence, text: render(head, body) }, nowMs);
    } else {
      this.#addFragment(head, fragment, body, nowMs);
    }
  }

  /** Gives out what has waited too long. */
  expire(nowMs: number): void {
    for (const [sequence, fragments] of this.#fragmented) {
      if (fragments.dueMs <= nowMs) this.#giveUpFragments(sequence, fragments, nowMs);
    }
    if (this.#earlyDueMs !== null && this.#earlyDueMs <= nowMs) this.#releaseEarly();
  }

  /** Gives out all that waits. */
  end(): void {
    this.#flush();
  }

  #addFragment(
    head: Head,
    fragment: { offset: number; total: number },
    body: Uint8Array,
    nowMs: number,
  ): void {
    const { sequence } = head;
    const { offset, total } = fragment;
    if (this.#recent.has(sequence)) return; // a part of a message that came whole
    let fragments = this.#fragmented.get(sequence);
    if (fragments && fragments.total !== total) {
      this.#giveUpFragments(sequence, fragments, nowMs);
      fragments = undefined;
    }
    if (!fragments) {
      if (this.#fragmented.size >= FRAGMENTED_MAX) {
        const [oldest, its] = this.#fragmented.entries().next().value!;
        this.#giveUpFragments(oldest, its, nowMs);
      }
      const dueMs = nowMs + REORDER_MS;
      fragments = { head, total, body: new Uint8Array(total), parts: [], dueMs };
      this.#fragmented.set(sequence, fragments);
    }
    fragments.body.set(body, offset);
    fragments.parts = withRange(fragments.parts, [offset, offset + body.length]);
    const [first] = fragments.parts;
    if (fragments.parts.length === 1 && first![0] === 0 && first![1] === total) {
      this.#fragmented.delete(sequence);
      this.#arrived({ sequence, text: render(head, fragments.body) }, nowMs);
    }
  }

  /** Some of a message never came: the rest of it stands where it belongs, and says so. */
  #giveUpFragments(sequence: number, fragments: Fragments, nowMs: number): void {
    this.#fragmented.delete(sequence);
    const { head, body, parts, total } = fragments;
    const came = parts.map(([from, to]) => body.subarray(from, to));
    const missing = total - came.reduce((sum, part) => sum + part.length, 0);
    this.#sink.gap(
      `netconsole: ${missing} of ${total} bytes of message ${sequence} did not arrive`,
    );
    this.#arrived({ sequence, text: render(head, joined(came)) }, nowMs);
  }

  #arrived(message: Message, nowMs: number): void {
    const { sequence } = message;
    const expected = this.#expected ?? sequence;
    if (sequence < expected - WINDOW || sequence > expected + WINDOW) {
      this.#releaseEarly();
      const next = this.#expected ?? sequence;
      // Backwards: another boot, or the kernel tells its whole buffer once more.
      if (sequence > next) this.#missing(next, sequence - 1);
      if (sequence < next) this.#recent.clear();
      this.#deliver(message);
    } else if (sequence < expected) {
      if (this.#recent.has(sequence)) return;
      this.#recent.add(sequence); // late, and called missing by now
      this.#sink.text(message.text);
    } else if (sequence === expected) {
      this.#deliver(message);
      this.#deliverNext();
    } else if (!this.#early.has(sequence)) {
      this.#early.set(sequence, message);
      this.#earlyDueMs ??= nowMs + REORDER_MS;
    }
  }

  #deliver(message: Message): void {
    const { sequence, text } = message;
    this.#expected = sequence + 1;
    this.#recent.add(sequence);
    this.#recent.delete(sequence - WINDOW);
    // After a jump others may lie outside the window.
    if (this.#recent.size > 2 * WINDOW) {
      for (const seen of this.#recent) if (seen < sequence - WINDOW) this.#recent.delete(seen);
    }
    this.#sink.text(text);
  }

  /** Those that waited for the one just delivered. */
  #deliverNext(): void {
    for (;;) {
      const next = this.#early.get(this.#expected!);
      if (!next) break;
      this.#early.delete(next.sequence);
      this.#deliver(next);
    }
    if (this.#early.size === 0) this.#earlyDueMs = null;
  }

  /** What waited is given out in order, with what is missing between. */
  #releaseEarly(): void {
    this.#earlyDueMs = null;
    const waiting = [...this.#early.values()].sort((a, b) => a.sequence - b.sequence);
    this.#early.clear();
    for (const message of waiting) {
      const expected = this.#expected!;
      if (message.sequence > expected) this.#missing(expected, message.sequence - 1);
      this.#deliver(message);
    }
  }

  #flush(): void {
    for (const [sequence, fragments] of this.#fragmented) {
      this.#giveUpFragments(sequence, fragments, fragments.dueMs);
    }
    this.#releaseEarly();
  }

  /** The kernel numbers also what its console log level keeps back. */
  #missing(first: number, last: number): void {
    const which = first === last ? `message ${first}` : `messages ${first} to ${last}`;
    this.#sink.gap(
      `netconsole: ${which} did not arrive (lost, or below the kernel's console log level)`,
    );
  }
}

const HEAD_BYTES_MAX = 256;
const HEAD_PATTERN =
  /^(?:([^,;\s]*[^\d,;\s][^,;\s]*),)?(\d{1,3}),(\d{1,15}),(\d{1,15}),([-+c])((?:,[^;]*)?);/;

/** null: no extended message, or none that a kernel sends. */
function readHead(datagram: Uint8Array): Head | null {
  const match = HEAD_PATTERN.exec(latin1(datagram.subarray(0, HEAD_BYTES_MAX)));
  if (!match) return null;
  const fields = match[6]!.split(',');
  const valueOf = (key: string): string | null => {
    const field = fields.find((one) => one.startsWith(`${key}=`));
    return field === undefined ? null : field.slice(key.length + 1);
  };
  const part = /^(\d{1,6})\/(\d{1,6})$/.exec(valueOf('ncfrag') ?? '');
  const fragment = part && { offset: Number(part[1]), total: Number(part[2]) };
  if (fragment && fragment.total > MESSAGE_BYTES_MAX) return null;
  if (fragment && fragment.offset + datagram.length - match[0].length > fragment.total) return null;
  return {
    sequence: Number(match[3]),
    microseconds: Number(match[4]),
    caller: valueOf('caller'),
    fragment,
    bodyAt: match[0].length,
  };
}

/** `[    5.826507] text`, as the kernel's own consoles print it; lines of its dictionary follow. */
function render({ microseconds, caller }: Head, body: Uint8Array): Uint8Array {
  const seconds = String(Math.floor(microseconds / 1_000_000)).padStart(5);
  const fraction = String(microseconds % 1_000_000).padStart(6, '0');
  const by = caller === null ? '' : `[${caller.padStart(6)}]`;
  const prefix = ascii(`[${seconds}.${fraction}]${by} `);
  const unescaped = unescape(body);
  const isWhole = unescaped.length > 0 && unescaped[unescaped.length - 1] === LF;
  return consoleText(joined([prefix, unescaped, isWhole ? NOTHING : LINE_END]));
}

const NOTHING = new Uint8Array(0);
const CR = 0x0d;
const LF = 0x0a;
const BACKSLASH = 0x5c;
const LINE_END = Uint8Array.of(LF);

/** `\xNN` is a byte; anything else stands for itself. */
function unescape(body: Uint8Array): Uint8Array {
  if (!body.includes(BACKSLASH)) return body;
  const bytes = new Uint8Array(body.length);
  let length = 0;
  for (let at = 0; at < body.length; at++) {
    const value = body[at] === BACKSLASH ? escapedAt(body, at) : null;
    bytes[length++] = value ?? body[at]!;
    if (value !== null) at += 3;
  }
  return bytes.subarray(0, length);
}

function escapedAt(body: Uint8Array, at: number): number | null {
  if (body[at + 1] !== 0x78 || at + 3 >= body.length) return null;
  const text = String.fromCharCode(body[at + 2]!, body[at + 3]!);
  return /^[0-9a-f]{2}$/i.test(text) ? Number.parseInt(text, 16) : null;
}

/** Each LF that has no CR before it becomes CR LF. */
function consoleText(bytes: Uint8Array): Uint8Array {
  let bare = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === LF && bytes[at - 1] !== CR) bare++;
  }
  if (bare === 0) return bytes;
  const text = new Uint8Array(bytes.length + bare);
  let length = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === LF && bytes[at - 1] !== CR) text[length++] = CR;
    text[length++] = bytes[at]!;
  }
  return text;
}

/** Adds a range and joins those that touch or overlap. */
function withRange(
  ranges: readonly [number, number][],
  added: [number, number],
): [number, number][] {
  const sorted = [...ranges, added].sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [from, to] of sorted) {
    const last = merged.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
