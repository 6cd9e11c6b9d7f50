/**
 * One serial line for two, told apart by the top bit of each byte: Xen's `com1H` and `com1L`
 * (xen/drivers/char/serial.c). Both halves are seven bits wide.
 */
export type Half = 'high' | 'low';

const TOP_BIT = 0x80;

/** The bytes of `wire` that belong to this half, without the top bit. May share its memory. */
export function takeHalf(wire: Uint8Array, half: Half): Uint8Array {
  const wanted = half === 'high' ? TOP_BIT : 0;
  let count = 0;
  for (const byte of wire) if ((byte & TOP_BIT) === wanted) count++;
  if (half === 'low' && count === wire.length) return wire;
  const taken = new Uint8Array(count);
  let at = 0;
  for (const byte of wire) if ((byte & TOP_BIT) === wanted) taken[at++] = byte & ~TOP_BIT;
  return taken;
}

/** The same bytes as this half sends them; their own top bit has no place on such a line. */
export function putHalf(bytes: Uint8Array, half: Half): Uint8Array {
  const wire = new Uint8Array(bytes.length);
  const topBit = half === 'high' ? TOP_BIT : 0;
  for (const [at, byte] of bytes.entries()) wire[at] = (byte & ~TOP_BIT) | topBit;
  return wire;
}
