import type { LineSettings, Parity } from '../core/line-settings.ts';

/** What the line said of the bytes of one `take`: how often. */
export interface LineErrorCounts {
  /** Bytes without a stop bit. */
  framing: number;
  parity: number;
  /** BREAKs, and NULs with an error: they left no byte. */
  breaks: number;
}

/** The line is not as it is set. */
export interface SpeedVerdict {
  /** What the other end sends at; null: no usual settings explain it, or several do. */
  looksLike: LineSettings | null;
  /** 0 to 1. */
  confidence: number;
}

/**
 * Tells from what came in that the other end sends at other line settings than ours. Passive: it
 * only ever sees bytes and errors. Three questions, the surest first:
 *
 * 1. Same speed, other parity: the parity bit is a data bit, or a framing error, or a parity error of
 *    ours, for each byte. That is exact: one byte that fits by chance fits in 1 of 2 cases.
 * 2. Another speed: a UART at our speed that listens to text at theirs shows few values, each often:
 *    the runs of equal bits within a byte have the lengths of their bits. What came is compared with
 *    what such a UART shows (docs/decisions/0008).
 * 3. Neither, and still many errors: something else is wrong, or their speed is far from ours.
 *
 * Healthy lines have no framing errors, so without them only the first question is asked.
 */
export class SpeedWatch {
  readonly #line: LineSettings;
  /** Oldest first. */
  #chunks: Chunk[] = [];
  #eventsHeld = 0;
  /** Made when first needed: most lines never need it. */
  #references: readonly Reference[] | null = null;

  constructor(line: LineSettings) {
    this.#line = line;
  }

  /** Some of what came in, in order: a sample will do, but the errors must be those of these bytes. */
  take(bytes: Uint8Array, errors: LineErrorCounts): void {
    const kept = bytes.subarray(Math.max(0, bytes.length - CHUNK_EVENTS_MAX));
    const share = bytes.length === 0 ? 1 : kept.length / bytes.length;
    const framing = Math.round(errors.framing * share);
    const parity = Math.round(errors.parity * share);
    const breaks = Math.min(Math.round(errors.breaks * share), CHUNK_EVENTS_MAX);
    if (kept.length + breaks === 0) return;
    const last = this.#chunks.at(-1);
    if (last && last.bytes.length + last.breaks < CHUNK_EVENTS_MIN) {
      this.#chunks.pop();
      this.#eventsHeld -= last.bytes.length + last.breaks;
      this.#push({
        bytes: joined(last.bytes, kept),
        framing: last.framing + framing,
        parity: last.parity + parity,
        breaks: last.breaks + breaks,
      });
    } else this.#push({ bytes: Uint8Array.from(kept), framing, parity, breaks });
  }

  /** Null: nothing is wrong, or too little was seen to say so. */
  verdict(): SpeedVerdict | null {
    const seen = summaryOf(this.#chunks);
    if (seen.events < EVENTS_MIN) return null;
    const parity = otherParity(this.#line, this.#chunks, seen);
    if (parity) return parity;
    const errorShare = (seen.framing + seen.breaks) / seen.events;
    if (errorShare < ERROR_SHARE_MIN || textShare(seen) > TEXT_SHARE_MAX) return null;
    this.#references ??= referencesOf(this.#line);
    return otherSpeed(this.#line, seen, this.#references);
  }

  #push(chunk: Chunk): void {
    this.#chunks.push(chunk);
    this.#eventsHeld += chunk.bytes.length + chunk.breaks;
    while (this.#eventsHeld > WINDOW_EVENTS && this.#chunks.length > 1) {
      const { bytes, breaks } = this.#chunks.shift()!;
      this.#eventsHeld -= bytes.length + breaks;
    }
  }
}

/** What is looked back at: a few KB, so that a line that was put right is soon right. */
const WINDOW_EVENTS = 4096;
/** Errors belong to a chunk, not to a byte: small chunks tell more. */
const CHUNK_EVENTS_MIN = 64;
const CHUNK_EVENTS_MAX = 512;
const EVENTS_MIN = 128;
/** Noise and a BREAK now and then are fewer. */
const ERROR_SHARE_MIN = 0.04;
/** Text that can be read came at the right speed, whatever the errors. */
const TEXT_SHARE_MAX = 0.9;

interface Chunk {
  bytes: Uint8Array;
  framing: number;
  parity: number;
  breaks: number;
}

/** All chunks together. */
interface Seen {
  /** How often each byte came; a BREAK counts as a NUL. */
  counts: Float64Array;
  /** Bytes and BREAKs. */
  events: number;
  framing: number;
  parity: number;
  breaks: number;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}

function summaryOf(chunks: readonly Chunk[]): Seen {
  const seen = { counts: new Float64Array(256), events: 0, framing: 0, parity: 0, breaks: 0 };
  for (const { bytes, framing, parity, breaks } of chunks) {
    for (const byte of bytes) seen.counts[byte]!++;
    seen.counts[0]! += breaks;
    seen.events += bytes.length + breaks;
    seen.framing += framing;
    seen.parity += parity;
    seen.breaks += breaks;
  }
  return seen;
}

/** Share of bytes that text is made of; NULs do not count. */
function textShare({ counts, events }: Seen): number {
  let text = 0;
  for (let byte = 1; byte < 128; byte++) if (isText(byte)) text += counts[byte]!;
  return text / events;
}

function isText(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || (byte >= 0x07 && byte <= 0x0d) || byte === 0x1b;
}

function otherParity(
  line: LineSettings,
  chunks: readonly Chunk[],
  seen: Seen,
): SpeedVerdict | null {
  return null;
}

/** What a UART at our speed shows of text at theirs. */
interface Reference {
  baud: number;
  resync: Resync;
  /** Share of each byte, none of them 0. */
  shares: Float32Array;
}

type Resync = 'edge' | 'level';

export const USUAL_BAUDS = [
  300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600,
];

function referencesOf(line: LineSettings): readonly Reference[] {
  return USUAL_BAUDS.filter((baud) => baud !== line.baud).flatMap((baud) =>
    (['edge', 'level'] as const).map((resync) => ({
      baud,
      resync,
      shares: sharesAt(line.baud / baud, line, resync),
    })),
  );
}

const SMOOTHING = 0.02;

/** Simulates the UART: `ratio` is how many of our bits one of theirs lasts. */
function sharesAt(ratio: number, line: LineSettings, resync: Resync): Float32Array {
  const levels = referenceLevels();
  const dataBits = line.dataBits;
  const stopAt = dataBits + (line.parity === 'none' ? 1 : 2);
  const counts = new Float32Array(256);
  let total = 0;
  let random = 1;
  const level = (time: number): number => levels[Math.floor(time / ratio)] ?? 1;
  const end = levels.length * ratio;
  let start = 0; // in our bits
  let at = 0;
  const nextStart = (from: number): number => {
    let index = Math.floor(from / ratio);
    if (levels[index] === 0) {
      while (index < levels.length && levels[index] === 0) index++;
    }
    while (index < levels.length && levels[index] === 1) index++;
    return Math.max(from, index * ratio);
  };
  start = nextStart(0);
  while (start < end) {
    random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
    const late = (random / 2_147_483_648) * 0.12 - 0.03;
    const sample = (bit: number): number => level(start + bit + 0.5 + late);
    if (sample(0) === 1) {
      start = nextStart(start + 0.6);
      continue;
    }
    let byte = 0;
    for (let bit = 0; bit < dataBits; bit++) byte |= sample(bit + 1) << bit;
    counts[byte]!++;
    total++;
    at = start + stopAt + 0.5;
    const stop = sample(stopAt);
    if (stop === 0 && byte !== 0 && resync === 'level') start = start + stopAt;
    else start = nextStart(at);
  }
  const shares = counts.map(
    (count) => ((1 - SMOOTHING) * count) / Math.max(1, total) + SMOOTHING / 256,
  );
  return shares;
}

const SAMPLE =
  '[    0.000000] Linux version 6.1.0-13-amd64 (gcc-12) #1 SMP Debian\r\n' +
  '[    1.204817] usb 1-1: new high-speed USB device number 2 using xhci_hcd\r\n' +
  'Interface GigabitEthernet0/1, changed state to up\r\n\r\nswitch> show version\r\n' +
  '\x1b[0;32m  OK  \x1b[0m Started OpenSSH server daemon.\r\nhost login: root\r\nPassword:\r\n' +
  'root@host:~# ls -la /etc/fstab\r\n-rw-r--r-- 1 root root 782 Jan 7 10:42 /etc/fstab\r\n';

/** Levels of the line, one of each of their bits, while somebody sends SAMPLE. */
function referenceLevels(): Uint8Array {
  const levels: number[] = [1, 1, 1, 1];
  let random = 7;
  const next = (below: number): number => {
    random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((random / 2_147_483_648) * below);
  };
  for (const char of SAMPLE) {
    const byte = next(8) === 0 ? next(256) : char.charCodeAt(0);
    levels.push(0);
    for (let bit = 0; bit < 8; bit++) levels.push((byte >> bit) & 1);
    levels.push(1);
    if (next(10) === 0) for (let idle = next(40); idle > 0; idle--) levels.push(1);
  }
  return Uint8Array.from(levels);
}

export function scores(
  seen: Seen,
  references: readonly Reference[],
): { baud: number; bits: number; resync: Resync }[] {
  return references
    .map(({ baud, shares, resync }) => {
      let bits = 0;
      for (let byte = 0; byte < 256; byte++) {
        const share = seen.counts[byte]! / seen.events;
        if (share > 0) bits += share * Math.log2(share / shares[byte]!);
      }
      return { baud, bits, resync };
    })
    .sort((a, b) => a.bits - b.bits);
}

function otherSpeed(
  line: LineSettings,
  seen: Seen,
  references: readonly Reference[],
): SpeedVerdict {
  const list = scores(seen, references);
  debug.push(list);
  return { looksLike: null, confidence: 0.5 };
}
export const debug: unknown[] = [];
