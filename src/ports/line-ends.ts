import type { PaceSettings } from '../core/settings.ts';
import type { Caller } from '../core/user.ts';

const LF = 0x0a;
const CR = 0x0d;
const WRITTEN: Readonly<Record<Exclude<PaceSettings['newline'], 'as-is'>, readonly number[]>> = {
  cr: [CR],
  lf: [LF],
  crlf: [CR, LF],
};

/**
 * Turns the line ends that one client types into those its device wants: CR, LF and CR LF are one
 * each, CR LF also where it comes in two pieces. Pure, but for the last byte it remembers.
 */
export class LineEnds {
  /** The last byte was a CR: an LF now is the rest of its line end. */
  #isAfterCr = false;

  /** The bytes for the device; the same array where nothing is to be changed. */
  map(bytes: Uint8Array, newline: PaceSettings['newline']): Uint8Array {
    if (bytes.length === 0) return bytes;
    const wasAfterCr = this.#isAfterCr;
    this.#isAfterCr = bytes[bytes.length - 1] === CR;
    if (newline === 'as-is' || !bytes.some(endsLine)) return bytes;
    const written = WRITTEN[newline];
    const mapped = new Uint8Array(bytes.length * written.length);
    let length = 0;
    let isAfterCr = wasAfterCr;
    for (const byte of bytes) {
      const isRest = byte === LF && isAfterCr;
      isAfterCr = byte === CR;
      if (isRest) continue;
      if (!endsLine(byte)) mapped[length++] = byte;
      else for (const end of written) mapped[length++] = end;
    }
    return mapped.subarray(0, length);
  }
}

/** The same for one-shot input, of which a client may cut a longer text into pieces. */
export class SentLineEnds {
  #ends = new LineEnds();
  /** Whose text it goes on. */
  #client = '';

  map(caller: Caller, bytes: Uint8Array, newline: PaceSettings['newline']): Uint8Array {
    const client = `${caller.frontend}\n${caller.user}\n${caller.remote}`;
    if (client !== this.#client) this.#ends = new LineEnds();
    this.#client = client;
    return this.#ends.map(bytes, newline);
  }
}

function endsLine(byte: number): boolean {
  return byte === CR || byte === LF;
}
