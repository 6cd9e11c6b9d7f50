import { execFileSync } from 'node:child_process';
import { feederProgram } from '../bench/feeder.ts';

/** A stretch of a port's stream: from, to. */
export type Part = readonly [from: number, to: number];

/** The same as in feeder.c, `stream_at`. */
const BASE_BYTES = 4 << 20;
const BLOCK_BYTES = 65_536;

/** What the feeder says on each port, as a function of port and offset. */
export class FedStream {
  readonly #base = execFileSync(feederProgram(), ['base'], { maxBuffer: 2 * BASE_BYTES });
  readonly #starts = new Map<number, number>();

  /** The stream of a port from `offset` on, as far as it lies in one piece. */
  piece(port: number, offset: number): Buffer {
    const block = Math.floor(offset / BLOCK_BYTES);
    const start = this.#startOf(port, block);
    return this.#base.subarray(start + (offset % BLOCK_BYTES), start + BLOCK_BYTES);
  }

  #startOf(port: number, block: number): number {
    const key = port * 2 ** 32 + block;
    const known = this.#starts.get(key);
    if (known !== undefined) return known;
    const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
    let hash =
      u64(BigInt(block) * 0x9e3779b97f4a7c15n) ^ u64(BigInt(port + 1) * 0xd1342543de82ef95n);
    hash ^= hash >> 29n;
    hash = u64(hash * 0xbf58476d1ce4e5b9n);
    hash ^= hash >> 32n;
    const start = Number(hash % BigInt(BASE_BYTES));
    this.#starts.set(key, start);
    return start;
  }
}

/** Compares a port's log, as it comes in, with the parts of its stream that it must hold. */
export class StreamCheck {
  readonly #stream: FedStream;
  readonly #port: number;
  readonly #parts: Part[] = [];
  #part = 0;
  /** Bytes of the current part that were found. */
  #within = 0;
  /** Bytes found in all. */
  found = 0;

  constructor(stream: FedStream, port: number, parts: readonly Part[] = []) {
    this.#stream = stream;
    this.#port = port;
    for (const part of parts) this.expect(part);
  }

  /** Adds what must follow. */
  expect(part: Part): void {
    this.#parts.push(part);
  }

  /** Bytes that must still come. */
  get missing(): number {
    let missing = -this.#within;
    for (const [from, to] of this.#parts.slice(this.#part)) missing += to - from;
    return missing;
  }

  /** Null: all of it is what was fed; else where it is not. */
  push(bytes: Uint8Array): string | null {
    for (let at = 0; at < bytes.length;) {
      const part = this.#parts[this.#part];
      if (!part) return `${bytes.length - at} bytes too much after ${this.found}`;
      const [from, to] = part;
      if (from + this.#within === to) {
        this.#part++;
        this.#within = 0;
        continue;
      }
      const place = from + this.#within;
      const wanted = this.#stream.piece(this.#port, place).subarray(0, to - place);
      const length = Math.min(wanted.length, bytes.length - at);
      const given = bytes.subarray(at, at + length);
      if (wanted.compare(given, 0, length, 0, length) !== 0) {
        const same = given.findIndex((byte, index) => byte !== wanted[index]);
        return `byte ${this.found + same} is not byte ${place + same} of what was fed`;
      }
      at += length;
      this.#within += length;
      this.found += length;
    }
    return null;
  }
}
