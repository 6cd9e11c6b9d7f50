import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, BackendOpener, BackendSink } from '../../core/backend.ts';
import type { Heard, LoopbackResult } from '../../core/diagnosis.ts';
import type { Fault } from '../../core/fault.ts';
import { formatLineSettings } from '../../core/line-settings.ts';
import type { LineSettings, SignalStates } from '../../core/line-settings.ts';
import { sanitize, startSanitizer } from '../../protocols/sanitize.ts';

/**
 * Opens a line and keeps what it says for so long. Never rejects: a line that cannot be opened says
 * why.
 */
export async function listen(
  opener: BackendOpener,
  durationMs: number,
  signal: AbortSignal,
): Promise<Heard> {
  const sink = new Ear(LAST_BYTES);
  const line = opener.line === null ? null : formatLineSettings(opener.line);
  let backend: Backend;
  try {
    backend = await opener.open(sink);
  } catch (error) {
    return { bytes: 0, text: '', line, why: (error as Error).message };
  }
  await sleep(durationMs, undefined, { signal }).catch(() => undefined);
  await backend.close();
  return {
    bytes: sink.count,
    text: lastLine(sink.bytes()),
    line,
    why: sink.fault?.message ?? null,
  };
}

/**
 * Sends a random pattern, about a second of it, and compares what comes back through a loop-back
 * plug. Then moves RTS and DTR and sees what follows them.
 * @throws Fault of the opener or the line.
 */
export async function testLoopback(
  opener: BackendOpener,
  line: LineSettings,
  pattern: Uint8Array = patternFor(line),
): Promise<LoopbackResult> {
  const ear = new Ear(pattern.length * 2 + EXTRA_BYTES_MAX);
  const backend = await opener.open(ear);
  try {
    const startedMs = performance.now();
    await sendAll(backend, ear, pattern);
    await quiet(ear, pattern.length, line);
    if (ear.fault !== null) throw ear.fault;
    const { parity, framing, overrun, breaks } = ear;
    return {
      device: backend.description,
      line: formatLineSettings(line),
      sentBytes: pattern.length,
      ...compareLoop(pattern, ear.bytes()),
      parity,
      framing,
      overrun,
      breaks,
      durationMs: Math.max(0, Math.round((ear.lastMs ?? performance.now()) - startedMs)),
      signals: {
        rts: await followersOf('rts', backend),
        dtr: await followersOf('dtr', backend),
      },
    };
  } finally {
    await backend.close();
  }
}

/** How much of what was sent came back. Finds its place again after a lost, changed or added byte. */
export function compareLoop(
  sent: Uint8Array,
  received: Uint8Array,
): { right: number; wrong: number; missing: number; extra: number } {
  let right = 0;
  let wrong = 0;
  let missing = 0;
  let extra = 0;
  let at = 0;
  let from = 0;
  while (at < sent.length && from < received.length) {
    if (sent[at] === received[from]) {
      right++;
      at++;
      from++;
      continue;
    }
    const { skipSent, skipReceived } = findAgain(sent.subarray(at), received.subarray(from));
    const changed = Math.min(skipSent, skipReceived);
    wrong += changed;
    missing += skipSent - changed;
    extra += skipReceived - changed;
    at += skipSent;
    from += skipReceived;
  }
  return {
    right,
    wrong,
    missing: missing + sent.length - at,
    extra: extra + received.length - from,
  };
}

/** About a second of the line, with every value of its data bits in it. */
export function patternFor({ baud, dataBits }: LineSettings): Uint8Array {
  const length = Math.max(PATTERN_BYTES.min, Math.min(PATTERN_BYTES.max, Math.floor(baud / 10)));
  const mask = (1 << dataBits) - 1;
  return Uint8Array.from(randomBytes(length), (byte) => byte & mask);
}

const LAST_BYTES = 4_096;
const EXTRA_BYTES_MAX = 4_096;
const PATTERN_BYTES = { min: 64, max: 4_096 };
/** So many equal bytes are no accident. */
const SYNC_BYTES = 6;
const SKIP_MAX = 512;
/** After the last byte could have come back; a USB adapter holds bytes back for 16 ms. */
const QUIET_MS = 500;
const OPEN_END_MS = 3_000;
/** From an ioctl to what the other pin reads: a USB adapter reports changes every 16 ms at best. */
const SETTLE_MS = 100;

/** What a backend tells; keeps the last bytes. */
class Ear implements BackendSink {
  count = 0;
  parity = 0;
  framing = 0;
  overrun = 0;
  breaks = 0;
  lastMs: number | null = null;
  fault: Fault | null = null;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  readonly #bytesMax: number;
  #onWritable: () => void = () => undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#kept);
  }

  rx(bytes: Uint8Array): void {
    this.count += bytes.length;
    this.lastMs = performance.now();
    this.#kept.push(Buffer.from(bytes));
    this.#keptBytes += bytes.length;
    if (this.#keptBytes < 2 * this.#bytesMax) return;
    this.#kept = [this.bytes().subarray(-this.#bytesMax)];
    this.#keptBytes = this.#bytesMax;
  }

  rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number {
    const memory = Buffer.allocUnsafe(LAST_BYTES);
    const count = read(memory, 0, memory.length);
    if (count > 0) this.rx(memory.subarray(0, count));
    return count;
  }

  gone(fault: Fault): void {
    this.fault = fault;
    this.#onWritable();
  }

  writable(): void {
    this.#onWritable();
  }

  event(event: Parameters<BackendSink['event']>[0]): void {
    if (event.kind === 'break') this.breaks++;
    else if (event.kind === 'line-error') {
      if (event.error === 'break') this.breaks += event.count;
      else this[event.error] += event.count;
    }
  }

  /** Resolves true when the line takes bytes again, or went away; false after `timeoutMs`. */
  isWritableWithin(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.#onWritable = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}

async function sendAll(backend: Backend, ear: Ear, pattern: Uint8Array): Promise<void> {
  for (let sent = 0; ear.fault === null;) {
    sent += backend.write(pattern.subarray(sent));
    if (sent >= pattern.length) return;
    // Takes nothing for so long: stuck. What did not go out is told as missing.
    if (!(await ear.isWritableWithin(OPEN_END_MS))) return;
  }
}

/** Waits until all came back, or nothing more does. */
async function quiet(ear: Ear, wanted: number, line: LineSettings): Promise<void> {
  const wireMs = (wanted * (line.dataBits + 4) * 1_000) / line.baud;
  const startedMs = performance.now();
  while (ear.fault === null && ear.count < wanted) {
    await sleep(POLL_MS);
    const nowMs = performance.now();
    const isQuiet = nowMs - Math.max(ear.lastMs ?? 0, startedMs) > QUIET_MS;
    if (isQuiet && (ear.lastMs !== null || nowMs - startedMs > wireMs + QUIET_MS)) return;
    if (nowMs - startedMs > 2 * wireMs + OPEN_END_MS) return;
  }
}

const POLL_MS = 10;

/** The nearest place where both go on the same: bytes to leave out on each side. */
function findAgain(
  sent: Uint8Array,
  received: Uint8Array,
): { skipSent: number; skipReceived: number } {
  for (let distance = 1; distance <= SKIP_MAX; distance++) {
    if (goesOn(sent, received, distance, distance)) {
      return { skipSent: distance, skipReceived: distance };
    }
    if (goesOn(sent, received, distance, 0)) return { skipSent: distance, skipReceived: 0 };
    if (goesOn(sent, received, 0, distance)) return { skipSent: 0, skipReceived: distance };
  }
  return { skipSent: 1, skipReceived: 1 };
}

function goesOn(sent: Uint8Array, received: Uint8Array, a: number, b: number): boolean {
  const length = Math.min(SYNC_BYTES, sent.length - a, received.length - b);
  if (length < 1) return false;
  for (let i = 0; i < length; i++) if (sent[a + i] !== received[b + i]) return false;
  return true;
}

/** Signals that are on when this one is, and off when it is off; null: it cannot be told here. */
async function followersOf(driven: 'rts' | 'dtr', backend: Backend): Promise<string[] | null> {
  const seen: SignalStates[] = [];
  try {
    for (const isOn of [false, true, false, true]) {
      await backend.setSignals({ [driven]: isOn });
      await sleep(SETTLE_MS);
      seen.push(await backend.signals());
    }
  } catch {
    return null; // a line without signals
  }
  const known = SEEN.filter((name) => seen.every((states) => states[name] !== undefined));
  if (known.length === 0) return null;
  return known.filter((name) => seen.every((states, index) => states[name] === (index % 2 === 1)));
}

const SEEN = ['cts', 'dsr', 'dcd', 'ri'] as const;

function lastLine(bytes: Uint8Array): string {
  const said = sanitize(startSanitizer('text'), bytes.subarray(-LAST_BYTES)).bytes;
  const lines = Buffer.from(said)
    .toString('utf8')
    .split(/[\r\n]+/);
  return (lines.findLast((text) => text.trim() !== '') ?? '').trim();
}
