/** How much of a mark the input broke off after: nothing, ff, or ff 00. */
export type ParmrkHeld = 0 | 1 | 2;

/** `at`: it stands before this one of the decoded bytes, which is the bad one if `bad`. */
export interface ParmrkMark {
  at: number;
  kind: 'break' | 'bad';
}

export interface ParmrkDecoded {
  /** What the line carried, its bad bytes included, and none of the marks. */
  bytes: Buffer;
  marks: ParmrkMark[];
  held: ParmrkHeld;
}

const MARK = 0xff;

/**
 * What a tty puts into its input with INPCK and PARMRK (termios(3); drivers/tty/n_tty.c): `ff 00 00`
 * is a BREAK, `ff 00 c` the byte c with a parity or framing error, `ff ff` a byte ff. A NUL with an
 * error cannot be told from a BREAK: it counts as one and leaves no byte.
 *
 * Total: every byte sequence decodes, in any chunking, to the same bytes and marks. A ff before
 * anything else is no mark (it came before PARMRK was set): both bytes are taken as they are.
 */
export function decodeParmrk(held: ParmrkHeld, input: Uint8Array): ParmrkDecoded {
  const bytes = Buffer.allocUnsafe(input.length + 1); // a ff held from before may turn out a byte
  const marks: ParmrkMark[] = [];
  let length = 0;
  let state = held;
  for (let i = 0; i < input.length;) {
    if (state === 0) {
      const found = input.indexOf(MARK, i);
      const end = found < 0 ? input.length : found;
      bytes.set(input.subarray(i, end), length);
      length += end - i;
      i = end + 1;
      if (found >= 0) state = 1;
      continue;
    }
    const byte = input[i++]!;
    if (state === 1) {
      state = byte === 0 ? 2 : 0;
      if (byte === 0) continue;
      bytes[length++] = MARK;
      if (byte !== MARK) bytes[length++] = byte;
      continue;
    }
    state = 0;
    marks.push({ at: length, kind: byte === 0 ? 'break' : 'bad' });
    if (byte !== 0) bytes[length++] = byte;
  }
  return { bytes: bytes.subarray(0, length), marks, held: state };
}

/** Nothing follows any more: what of a mark is there stands for itself. */
export function endParmrk(held: ParmrkHeld): Buffer {
  return Buffer.from([MARK, 0]).subarray(0, held);
}
