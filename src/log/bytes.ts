import { Fault } from '../core/fault.ts';

/** A stored frame, record or segment that cannot be what was written. */
export function damaged(what: string): Fault {
  return new Fault('LOG_DAMAGED', what);
}

/** Longest varint: 8 groups of 7 bits hold every safe integer. */
export const VARINT_BYTES_MAX = 8;

/**
 * Writes a safe, non-negative integer as a varint (7 bits a byte, low ones first) and returns the
 * place after it. A negative value would never end: callers zigzag what has a sign.
 */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  while (value > 0x7fffffff) {
    target[at++] = (value % 128) | 128;
    value = Math.floor(value / 128);
  }
  while (value > 127) {
    target[at++] = (value & 127) | 128;
    value >>>= 7;
  }
  target[at++] = value;
  return at;
}

/** Signed to unsigned, small magnitudes staying small: 0, -1, 1, -2 become 0, 1, 2, 3. */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

export function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** Reads bounded memory from the front. Every read past the end is a Fault LOG_DAMAGED. */
export class ByteReader {
  readonly memory: Uint8Array;
  readonly end: number;
  at: number;
  constructor(memory: Uint8Array, start = 0, end = memory.length) {
    this.memory = memory;
    this.at = start;
    this.end = end;
  }

  byte(): number {
    if (this.at >= this.end) throw damaged('a record ends too early');
    return this.memory[this.at++];
  }

  /** @throws Fault LOG_DAMAGED when it is cut short, longer than 8 bytes, or no safe integer. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 128;
    }
    throw damaged('a number in a record is too large');
  }

  /** The rest, as a view. */
  rest(): Uint8Array {
    return this.memory.subarray(this.at, this.end);
  }
}
