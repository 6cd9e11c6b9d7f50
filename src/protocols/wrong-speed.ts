import type { LineSettings } from '../core/line-settings.ts';

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
 * 1. Same speed, other parity? Then whether a byte has an error, or its top bit set, follows from the
 *    other seven or eight bits, for each byte.
 * 2. Another speed? A UART that listens to text at another speed shows few values, each often: the
 *    runs of equal bits in a byte are as long as the bits of the other end. What came is compared
 *    with what a UART like ours shows at each usual speed (docs/decisions/0008).
 * 3. Neither, and still many errors: their speed is not ours, and cannot be told.
 *
 * A healthy line has hardly any errors, whatever goes over it: with none, only 7 bits with parity can
 * be told from 8 bits without.
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
    const verdict = parityAsTopBit(this.#line, seen) ?? otherParity(this.#line, this.#chunks, seen);
    if (verdict) return verdict;
    const errorShare = errorShareOf(seen);
    if (errorShare < ERROR_SHARE_MIN) return null;
    if (errorShare < NOISE_SHARE_MAX && textShare(seen) >= TEXT_SHARE) return null;
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

/** What is looked back at: little, so that a line that was put right is soon right. */
const WINDOW_EVENTS = 2048;
/** Errors belong to a chunk, not to a byte: small chunks tell more, and cost more. */
const CHUNK_EVENTS_MIN = 32;
const CHUNK_EVENTS_MAX = 512;
const EVENTS_MIN = 128;
/** Noise, and a BREAK now and then, are fewer. */
const ERROR_SHARE_MIN = 0.04;
/** So much of a text are bytes that text is made of. */
const TEXT_SHARE = 0.9;
/** Text that can be read came at the right speed, and noise damages no more of it than this. */
const NOISE_SHARE_MAX = 0.25;

/** Bytes and BREAKs are events. */
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

function shareOf({ counts, events }: Seen, isCounted: (byte: number) => boolean): number {
  let sum = 0;
  for (let byte = 0; byte < 256; byte++) if (isCounted(byte)) sum += counts[byte]!;
  return sum / events;
}

function errorShareOf({ framing, parity, breaks, events }: Seen): number {
  return (framing + parity + breaks) / events;
}

function textShare(seen: Seen): number {
  return shareOf(seen, isText);
}

/** What ASCII text is made of, BEL to CR and ESC included. */
function isText(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || (byte >= 0x07 && byte <= 0x0d) || byte === 0x1b;
}

function onesAreOdd(byte: number): boolean {
  let folded = byte ^ (byte >> 4);
  folded ^= folded >> 2;
  return ((folded ^ (folded >> 1)) & 1) === 1;
}

/** So many values that all obey a rule of two ways by chance once in thousands of lines. */
const VALUES_MIN = 12;
/** Some bytes are damaged on a real line. */
const FIT_SHARE_MIN = 0.97;

/** 8 data bits without parity hear 7 with parity: the top bit is the parity of the others. */
function parityAsTopBit(line: LineSettings, seen: Seen): SpeedVerdict | null {
  if (line.dataBits !== 8 || line.parity !== 'none') return null;
  const topShare = shareOf(seen, (byte) => byte >= 0x80);
  const readableShare = shareOf(seen, (byte) => isText(byte & 0x7f));
  // All set or all clear is no parity: Xen marks a console's bytes by the top bit (com1H).
  if (topShare < 0.1 || topShare > 0.9 || readableShare < TEXT_SHARE) return null;
  for (const parity of ['even', 'odd'] as const) {
    const fits = (byte: number): boolean => onesAreOdd(byte) === (parity === 'odd');
    const confidence = shareOf(seen, fits);
    const values = new Set<number>();
    for (let byte = 0; byte < 256; byte++) {
      if (seen.counts[byte]! > 0 && fits(byte)) values.add(byte & 0x7f);
    }
    if (confidence < FIT_SHARE_MIN || values.size < VALUES_MIN) continue;
    return { looksLike: { ...line, dataBits: 7, parity }, confidence };
  }
  return null;
}

/** How far from its expected number of errors a chunk may be, as the mean of squared deviations. */
const MISFIT_MAX = 4;
/** And how much further off all other explanations must be. */
const MISFIT_RATIO_MIN = 4;
/** What can be read, but for the errors. Less than TEXT_SHARE, as a bad NUL leaves no byte. */
const READABLE_SHARE = 0.75;

/**
 * The other end has another parity than ours: the bytes are right, and each has an error or has not,
 * as its bits say. In each chunk as many errors are expected as it has such bytes.
 */
function otherParity(
  line: LineSettings,
  chunks: readonly Chunk[],
  seen: Seen,
): SpeedVerdict | null {
  if (errorShareOf(seen) < ERROR_SHARE_MIN || seen.breaks > ERROR_SHARE_MIN * seen.events) {
    return null;
  }
  if (textShare(seen) < READABLE_SHARE) return null;
  // Where we check parity, a stop bit that is missing is another matter: 8N1 heard as 8E1.
  if (line.parity !== 'none' && seen.framing > 0.3 * seen.parity) return null;
  const fits = parityMistakes(line)
    .map(({ looksLike, isBad }) => ({ looksLike, misfit: misfitOf(chunks, isBad) }))
    .sort((a, b) => a.misfit - b.misfit);
  const [best, next] = fits;
  if (!best || best.misfit > MISFIT_MAX) return null;
  // An error each 33 bytes is taken for noise: so large is a misfit of nothing.
  if (next && next.misfit < MISFIT_RATIO_MIN * Math.max(best.misfit, 0.25)) return null;
  return { looksLike: best.looksLike, confidence: 1 - best.misfit / (2 * MISFIT_MAX) };
}

function misfitOf(chunks: readonly Chunk[], isBad: (byte: number) => boolean): number {
  let sum = 0;
  for (const { bytes, framing, parity } of chunks) {
    let expected = 0;
    for (const byte of bytes) if (isBad(byte)) expected++;
    sum += (framing + parity - expected) ** 2 / (1 + bytes.length / 33);
  }
  return sum / chunks.length;
}

interface ParityMistake {
  looksLike: LineSettings;
  /** A byte of theirs has an error of ours. */
  isBad: (byte: number) => boolean;
}

function parityMistakes(line: LineSettings): ParityMistake[] {
  const { parity, dataBits } = line;
  if (parity === 'none') {
    // Their parity bit is where we expect the stop bit: a framing error when it is 0.
    return [
      { looksLike: { ...line, parity: 'even' }, isBad: (byte) => !onesAreOdd(byte) },
      { looksLike: { ...line, parity: 'odd' }, isBad: onesAreOdd },
    ];
  }
  if (parity !== 'even' && parity !== 'odd') return [];
  const other = parity === 'even' ? 'odd' : 'even';
  const mistakes: ParityMistake[] = [{ looksLike: { ...line, parity: other }, isBad: () => true }];
  if (dataBits === 7) {
    // Their eighth data bit is our parity bit, and 0 in text.
    const isBad = (byte: number): boolean => onesAreOdd(byte) === (parity === 'even');
    mistakes.push({ looksLike: { ...line, dataBits: 8, parity: 'none' }, isBad });
  }
  return mistakes;
}

/** What a UART like ours shows of text at another speed. */
interface Reference {
  /** null: it may be any that is so slow that we see nothing but NULs. */
  baud: number | null;
  /** Share of each byte, none of them 0; a BREAK counts as a NUL. */
  shares: Float32Array;
}

const USUAL_BAUDS = [
  300, 600, 1200, 2400, 4800, 9600, 14_400, 19_200, 28_800, 38_400, 57_600, 115_200, 230_400,
  460_800, 921_600,
];
/** One bit of theirs lasts as long as a byte of ours with its start bit and half of its stop bit. */
const RATIO_MAX = 9.5;
/** Several of their bytes are one of ours: the shares then follow the text, not the speed. */
const RATIO_MIN = 0.2;

function referencesOf(line: LineSettings): readonly Reference[] {
  const levels = sampleLevels();
  const onlyNuls = new Float32Array(256).fill(NOISE_SHARE / 256);
  onlyNuls[0] = 1 - NOISE_SHARE;
  const references: Reference[] = [{ baud: null, shares: onlyNuls }];
  for (const baud of USUAL_BAUDS) {
    const ratio = line.baud / baud;
    if (baud === line.baud || ratio > RATIO_MAX || ratio < RATIO_MIN) continue;
    for (const isPatient of [true, false]) {
      references.push({ baud, shares: sharesHeard(levels, ratio, line, isPatient) });
    }
  }
  return references;
}

/** Bits for each byte by which what came may miss what a reference shows. */
const MISS_BITS_MAX = 2.2;
/** And by how much more any other speed must miss it. */
const LEAD_BITS_MIN = 0.9;

function otherSpeed(
  line: LineSettings,
  seen: Seen,
  references: readonly Reference[],
): SpeedVerdict {
  const nulShare = seen.counts[0]! / seen.events;
  const misses = references
    .map(({ baud, shares }) => ({ baud, bits: missBits(seen, shares), nulShare: shares[0]! }))
    .sort((a, b) => a.bits - b.bits);
  const best = misses[0]!;
  const leadBits = Math.min(
    ...misses.filter(({ baud }) => baud !== best.baud).map(({ bits }) => bits - best.bits),
  );
  const isLikely = best.bits <= MISS_BITS_MAX && leadBits >= LEAD_BITS_MIN;
  // One value again and again fits whatever shows that value often; BREAKs would be there, too.
  if (best.baud !== null && isLikely && nulShare >= best.nulShare / 8) {
    const confidence = (1 - best.bits / 6) * (leadBits / (leadBits + 0.25));
    return { looksLike: { ...line, baud: best.baud }, confidence };
  }
  // Only BREAKs may as well be a line that nobody drives.
  const errorShare = best.baud === null ? 0 : errorShareOf(seen);
  return { looksLike: null, confidence: Math.min(0.95, 0.5 + errorShare) };
}

/** Kullback and Leibler's divergence: bits lost for each byte by taking the reference for what came. */
function missBits({ counts, events }: Seen, shares: Float32Array): number {
  let bits = 0;
  for (let byte = 0; byte < 256; byte++) {
    const share = counts[byte]! / events;
    if (share > 0) bits += share * Math.log2(share / shares[byte]!);
  }
  return bits;
}

/** Any byte may come of noise, or of text unlike the sample. */
const NOISE_SHARE = 0.02;

/**
 * Listens at our settings to levels of which each lasts `ratio` of our bits. `isPatient`: after a
 * missing stop bit it waits until the line rests; else it takes that for the next start bit, as the
 * data sheet of the 16550 says. A BREAK is waited out by both.
 */
function sharesHeard(
  levels: Uint8Array,
  ratio: number,
  line: LineSettings,
  isPatient: boolean,
): Float32Array {
  const stopBit = line.dataBits + (line.parity === 'none' ? 1 : 2);
  const random = randomNumbers(1);
  const counts = new Float32Array(256);
  let total = 0;
  let start = nextStart(levels, ratio, 0);
  while (start < levels.length * ratio) {
    // A start bit is noticed up to 1/16 bit late, and clocks differ a little.
    const late = 0.5 - 0.03 + 0.12 * random();
    const level = (bit: number): number => levels[Math.floor((start + bit + late) / ratio)] ?? 1;
    if (level(0) === 1) {
      start = nextStart(levels, ratio, start + late);
      continue;
    }
    let byte = 0;
    for (let bit = 0; bit < line.dataBits; bit++) byte |= level(bit + 1) << bit;
    counts[byte]!++;
    total++;
    const isStartAgain = !isPatient && level(stopBit) === 0 && byte !== 0;
    start = isStartAgain ? start + stopBit : nextStart(levels, ratio, start + stopBit + late);
  }
  return counts.map((count) => ((1 - NOISE_SHARE) * count) / total + NOISE_SHARE / 256);
}

/** When the line next falls, in our bits. */
function nextStart(levels: Uint8Array, ratio: number, from: number): number {
  let index = Math.floor(from / ratio);
  while (levels[index] === 0) index++;
  while (levels[index] === 1) index++;
  return index * ratio;
}

/** What consoles say. Where a part of it stands does not count: single bytes are compared. */
const SAMPLE =
  '[    0.000000] Linux version 6.1.0-13-amd64 (gcc-12) #1 SMP Debian\r\n' +
  '[    1.204817] usb 1-1: new high-speed USB device number 2 using xhci_hcd\r\n' +
  'Interface GigabitEthernet0/1, changed state to up\r\n\r\nswitch> show version\r\n' +
  '\x1b[0;32m  OK  \x1b[0m Started OpenSSH server daemon.\r\nhost login: root\r\nPassword:\r\n' +
  'root@host:~# ls -la /etc/fstab\r\n-rw-r--r-- 1 root root 782 Jan 7 10:42 /etc/fstab\r\n';

/** Levels of the line while somebody sends SAMPLE, with other bytes and rests in it, one of each bit. */
function sampleLevels(): Uint8Array {
  const random = randomNumbers(7);
  const levels = [1, 1];
  for (let index = 0; index < SAMPLE.length; index++) {
    const byte = random() < 0.125 ? Math.floor(random() * 256) : SAMPLE.charCodeAt(index);
    levels.push(0);
    for (let bit = 0; bit < 8; bit++) levels.push((byte >> bit) & 1);
    levels.push(1);
    const restBits = random() < 0.1 ? Math.floor(random() * 40) : 0;
    for (let bit = 0; bit < restBits; bit++) levels.push(1);
  }
  return Uint8Array.from(levels);
}

/** From 0 to below 1, the same ones each time: a linear congruential generator. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}
