import { isIP } from 'node:net';

const MS_PER_UNIT: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const BYTES_PER_UNIT: Readonly<Record<string, number>> = {
  k: 1_024,
  m: 1_048_576,
  g: 1_073_741_824,
};

/** Milliseconds of `100ms`, `90s`, `10m`, `1h`, `1.5h`, `2d`; null when it is none. */
export function parseDurationMs(text: string): number | null {
  const match = /^(\d{1,9}(?:\.\d{1,3})?) ?(ms|[smhd])$/i.exec(text.trim());
  if (!match) return null;
  return Math.round(Number(match[1]) * MS_PER_UNIT[match[2]!.toLowerCase()]!);
}

/** Bytes of `64K`, `32M`, `1G` (powers of 1,024; `MB` and `MiB` are read the same) or a number; null when it is none. */
export function parseSizeBytes(text: string): number | null {
  const match = /^(\d{1,12})(?: ?([kmg])i?b?)?$/i.exec(text.trim());
  if (!match) return null;
  return Number(match[1]) * (match[2] ? BYTES_PER_UNIT[match[2].toLowerCase()]! : 1);
}

/** A host and a TCP port. */
export interface Address {
  host: string;
  tcpPort: number;
}

/** Reads `127.0.0.1:8022`, `[::1]:8022`, `rack3:8022`; null when it is none. TCP port 0: the system chooses. */
export function parseAddress(text: string): Address | null {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text.trim());
  if (!match) return null;
  const [host, tcpPort] = [match[1] ?? match[2]!, Number(match[3])];
  const isHostRight = match[1] === undefined ? isHost(host) : isIP(host.split('%')[0]!) === 6;
  return isHostRight && tcpPort <= 65_535 ? { host, tcpPort } : null;
}

/** True for an IP address or a host name (RFC 1123). `1.2.3` and `300.1.1.1` are neither. */
export function isHost(text: string): boolean {
  if (isIP(text) !== 0) return true;
  if (text.length > 253 || /^[\d.]+$/.test(text)) return false;
  return text
    .split('.')
    .every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/.test(label));
}

/**
 * True when a listener on one host would meet a listener on the other, given the same TCP port.
 * `::` also takes IPv4 (Linux, IPV6_V6ONLY off); a name may stand for any address of its own.
 */
export function hostsOverlap(a: string, b: string): boolean {
  const [first, second] = [canonicalHost(a), canonicalHost(b)];
  if (first === second || first === '::' || second === '::') return true;
  const isOther = (host: string): boolean => isIP(host) !== 6;
  if (first === '0.0.0.0') return isOther(second);
  if (second === '0.0.0.0') return isOther(first);
  if (first === 'localhost') return isLoopback(second);
  return second === 'localhost' && isLoopback(first);
}

/** True when only this machine can reach it. */
export function isLoopback(host: string): boolean {
  const canonical = canonicalHost(host);
  return (
    canonical === 'localhost' ||
    canonical === '::1' ||
    (isIP(canonical) === 4 && canonical.startsWith('127.'))
  );
}

/** One spelling for each IPv6 address and name. */
export function canonicalHost(host: string): string {
  if (isIP(host) !== 6 || host.includes('%')) return host.toLowerCase();
  return new URL(`http://[${host}]`).hostname.slice(1, -1);
}
