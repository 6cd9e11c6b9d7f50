import type { LineSettings } from '../../src/core/line-settings.ts';

/*
 * A serial line to the bit: what a UART sends as edges in time, and what another one, which samples
 * 16 times in each of its own bits as the 16550 does, makes of them at whatever settings.
 */

/** Times in seconds at which the line changes, from idle (1) to 0 first, then to and fro. */
export interface Wave {
  edges: Float64Array;
}

/** `idleBits`: how long the line rests after the byte of this index. */
export function send(
  bytes: Uint8Array,
  line: LineSettings,
  idleBits: (index: number) => number,
): Wave {
  const edges: number[] = [];
  let level = 1;
  let time = 10 / line.baud;
  const hold = (next: number, bits: number): void => {
    if (next !== level) edges.push(time);
    level = next;
    time += bits / line.baud;
  };
  for (const [index, byte] of bytes.entries()) {
    hold(0, 1);
    let ones = 0;
    for (let bit = 0; bit < line.dataBits; bit++) {
      const value = (byte >> bit) & 1;
      ones += value;
      hold(value, 1);
    }
    if (line.parity !== 'none') hold(parityBit(ones, line), 1);
    hold(1, line.stopBits + idleBits(index));
  }
  return { edges: Float64Array.from(edges) };
}

/** One thing that a UART reports. */
export interface Received {
  /** null: a BREAK. */
  byte: number | null;
  framing: boolean;
  parity: boolean;
}

/**
 * `resync`: what it does after a missing stop bit. `edge`: waits until the line is idle. `level`:
 * takes it for the next start bit, as the data sheet of the 16550 says.
 */
export function receive(
  { edges }: Wave,
  line: LineSettings,
  resync: 'edge' | 'level' = 'edge',
  eventsMax = Infinity,
): Received[] {
  const tick = 1 / (line.baud * 16);
  const received: Received[] = [];
  let passed = 0; // edges at or before the time last asked for
  const levelAt = (time: number): number => {
    while (passed < edges.length && edges[passed]! <= time) passed++;
    while (passed > 0 && edges[passed - 1]! > time) passed--;
    return passed % 2 === 0 ? 1 : 0;
  };
  const sample = (start: number, bit: number): number => {
    const middle = start + bit * 16;
    let votes = 0;
    for (let offset = 7; offset <= 9; offset++) votes += levelAt((middle + offset) * tick);
    return votes >= 2 ? 1 : 0;
  };
  /** First tick from here on at which the line is low after it was high; null: never again. */
  const nextStart = (from: number): number | null => {
    let at = from;
    for (;;) {
      if (levelAt(at * tick) === 0) {
        if (passed >= edges.length) return null;
        at = Math.floor(edges[passed]! / tick) + 1;
        if (levelAt(at * tick) === 0) continue;
      }
      if (passed >= edges.length) return null;
      at = Math.floor(edges[passed]! / tick) + 1;
      if (levelAt(at * tick) === 0) return at;
    }
  };
  const stopBit = line.dataBits + (line.parity === 'none' ? 1 : 2);
  let start = nextStart(0);
  while (start !== null && received.length < eventsMax) {
    if (sample(start, 0) === 1) {
      start = nextStart(start + 10);
      continue;
    }
    let byte = 0;
    for (let bit = 0; bit < line.dataBits; bit++) byte |= sample(start, bit + 1) << bit;
    let ones = 0;
    for (let bit = 0; bit < line.dataBits; bit++) ones += (byte >> bit) & 1;
    const parityLevel = line.parity === 'none' ? null : sample(start, line.dataBits + 1);
    const parity = parityLevel !== null && parityLevel !== parityBit(ones, line);
    const framing = sample(start, stopBit) === 0;
    const isBreak = framing && byte === 0;
    received.push({ byte: isBreak ? null : byte, framing, parity });
    if (framing && !isBreak && resync === 'level') start += stopBit * 16;
    else start = nextStart(start + stopBit * 16 + 9);
  }
  return received;
}

function parityBit(ones: number, line: LineSettings): number {
  switch (line.parity) {
    case 'even':
      return ones % 2;
    case 'odd':
      return 1 - (ones % 2);
    case 'mark':
      return 1;
    default:
      return 0;
  }
}
