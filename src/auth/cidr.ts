import { isIP } from 'node:net';

/** A block of addresses. IPv4-mapped IPv6 (`::ffff:a.b.c.d`) is held as the IPv4 it stands for. */
export interface Cidr {
  family: 4 | 6;
  /** Network address: 4 or 16 bytes, host bits zero. */
  network: Uint8Array;
  prefixBits: number;
}

/** An address as bytes: 4 of IPv4 (also when it came mapped into IPv6), 16 of IPv6. */
export interface IpAddress {
  family: 4 | 6;
  bytes: Uint8Array;
}

/**
 * Reads `10.0.0.0/8`, `2001:db8::/32`, or a single address. Host bits that are set are refused, as
 * sshd does: whoever wrote `10.0.0.7/8` meant one of two things.
 * @returns what is wrong, in words, when it cannot be read.
 */
export function parseCidr(text: string): Cidr | { wrong: string } {
  const slash = text.indexOf('/');
  const address = parseIpAddress(slash < 0 ? text : text.slice(0, slash));
  if (!address || text.includes('%')) return { wrong: `"${text}" is not an address block` };
  const isMapped = address.family === 4 && text.includes(':');
  const bitsMax = address.bytes.length * 8;
  let prefixBits = bitsMax;
  if (slash >= 0) {
    const digits = text.slice(slash + 1);
    prefixBits = /^\d{1,3}$/.test(digits) ? Number(digits) - (isMapped ? 96 : 0) : -1;
    if (prefixBits < 0 || prefixBits > bitsMax) {
      return { wrong: `"${text}" has no prefix length of 0 to ${isMapped ? 128 : bitsMax}` };
    }
  }
  const network = masked(address.bytes, prefixBits);
  if (!network.every((byte, i) => byte === address.bytes[i])) {
    return {
      wrong: `"${text}" has bits set beyond its prefix; write ${formatIpAddress(network)}/${prefixBits} for the block or leave out the prefix for the one address`,
    };
  }
  return { family: address.family, network, prefixBits };
}

/**
 * Reads an address as sockets report it: IPv4, IPv6 with or without a zone (`fe80::1%eth0`), or
 * IPv4-mapped IPv6. Null when it is none.
 */
export function parseIpAddress(text: string): IpAddress | null {
  const bare = text.includes('%') ? text.slice(0, text.indexOf('%')) : text;
  const family = isIP(bare);
  if (family === 4) return { family: 4, bytes: Uint8Array.from(bare.split('.'), Number) };
  if (family !== 6) return null;
  const bytes = bytesOfIpv6(bare);
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff;
  if (isMapped && bytes[11] === 0xff) return { family: 4, bytes: bytes.slice(12) };
  return { family: 6, bytes };
}

/** True when `address` lies in one of the blocks. An address that cannot be read lies in none. */
export function isInAny(blocks: readonly Cidr[], address: string): boolean {
  const parsed = parseIpAddress(address);
  if (!parsed) return false;
  return blocks.some(
    (block) =>
      block.family === parsed.family &&
      masked(parsed.bytes, block.prefixBits).every((byte, i) => byte === block.network[i]),
  );
}

/**
 * Makes the check of a door or a user: true for any address when there are no CIDRs.
 * The CIDRs were checked by config/; one that cannot be read admits nobody.
 */
export function createAddressFilter(cidrs: readonly string[]): (address: string) => boolean {
  if (cidrs.length === 0) return () => true;
  const blocks = cidrs.map(parseCidr).filter((cidr): cidr is Cidr => 'network' in cidr);
  return (address) => isInAny(blocks, address);
}

/** The first `prefixBits` of the address, the rest zero. */
export function masked(bytes: Uint8Array, prefixBits: number): Uint8Array {
  return bytes.map((byte, i) => {
    const keep = Math.min(8, Math.max(0, prefixBits - i * 8));
    return byte & (0xff << (8 - keep));
  });
}

/** Full text of an address's bytes: dotted, or RFC 5952's groups without the `::`. */
export function formatIpAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i]! << 8) | bytes[i + 1]!).toString(16));
  return groups.join(':');
}

/** `text` passed isIP, so it is well formed (RFC 4291 section 2.2). */
function bytesOfIpv6(text: string): Uint8Array {
  const [head = '', tail] = text.split('::');
  const front = groupsOf(head);
  const back = tail === undefined ? [] : groupsOf(tail);
  const groups = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((part) => {
    if (!part.includes('.')) return [parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}
