import { parseCidr } from '../auth/cidr.ts';
import type { UdpAddress } from '../core/settings.ts';
import { placeOf, type Entry } from './files.ts';
import type { Problem } from './problems.ts';
import { hostsOverlap } from './units.ts';
import type { Path } from './yaml-file.ts';
import { pathInWords } from './zod-problems.ts';

/** Whoever takes datagrams: a port, or ports made by themselves. */
export interface UdpUser {
  entry: Entry;
  /** Key of the address, from the entry. */
  listenPath: Path;
  /** Key of the sources, from the entry. */
  fromPath: Path;
  listen: UdpAddress;
  from: readonly string[];
  sourcePort: number | null;
}

/**
 * A datagram goes to one of them, and a socket of ours leaves no room for another one of ours.
 * A port that names its source port comes before one that takes any, and that before ports made by
 * themselves, so only equals are compared.
 */
export function checkUdpSources(
  ports: readonly UdpUser[],
  autoPorts: readonly UdpUser[],
  problems: Problem[],
): void {
  checkSockets([...ports, ...autoPorts], problems);
  const groups = new Map<string, UdpUser[]>();
  const add = (group: string, user: UdpUser): void => {
    const key = `${group} ${addressInWords(user.listen)} ${user.sourcePort}`;
    groups.set(key, [...(groups.get(key) ?? []), user]);
  };
  for (const user of ports) add('port', user);
  for (const user of autoPorts) add('auto', user);
  for (const users of groups.values()) checkGroup(users, problems);
}

/** Two different addresses that meet cannot be bound both: 0.0.0.0 and 10.0.0.1. */
function checkSockets(users: readonly UdpUser[], problems: Problem[]): void {
  const sockets = new Map<string, UdpUser>();
  for (const user of users) {
    const words = addressInWords(user.listen);
    if (sockets.has(words)) continue;
    const { host, udpPort } = user.listen;
    const other = [...sockets.values()].find(
      ({ listen }) => listen.udpPort === udpPort && hostsOverlap(listen.host, host),
    );
    sockets.set(words, user);
    if (!other) continue;
    const { entry } = other;
    const what = `${words} overlaps ${addressInWords(other.listen)} of ${entry.name} (${placeOf(entry)})`;
    refuse(
      user,
      user.listenPath,
      `${what}; expected the same address or another UDP port`,
      problems,
    );
  }
}

function checkGroup(users: readonly UdpUser[], problems: Problem[]): void {
  const taken: { user: UdpUser; block: Block }[] = [];
  for (const user of users) {
    const blocks = user.from.flatMap((cidr) => blockOf(cidr) ?? []);
    for (const other of taken) {
      const block = blocks.find((one) => meets(one, other.block));
      if (!block) continue;
      const { entry } = other.user;
      const port = user.sourcePort === null ? '' : `, port ${user.sourcePort},`;
      const what = `${block.cidr}${port} is already a source of ${entry.name} on ${addressInWords(user.listen)} (${placeOf(entry)})`;
      refuse(user, user.fromPath, `${what}; expected sources of its own`, problems);
      break;
    }
    for (const block of blocks) taken.push({ user, block });
  }
}

function refuse({ entry }: UdpUser, inside: Path, what: string, problems: Problem[]): void {
  const path = [...entry.path, ...inside];
  problems.push(entry.file.problem(path, 'value', `${pathInWords(path)}: ${what}`));
}

/** First and last address of a block, as numbers. */
interface Block {
  cidr: string;
  family: 4 | 6;
  first: bigint;
  last: bigint;
}

function blockOf(cidr: string): Block | null {
  const block = parseCidr(cidr);
  if ('wrong' in block) return null;
  const { family, network, prefixBits } = block;
  const first = network.reduce((number, byte) => number * 256n + BigInt(byte), 0n);
  const size = 1n << BigInt(network.length * 8 - prefixBits);
  return { cidr, family, first, last: first + size - 1n };
}

function meets(a: Block, b: Block): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

function addressInWords({ host, udpPort }: UdpAddress): string {
  return host.includes(':') ? `[${host}]:${udpPort}` : `${host}:${udpPort}`;
}
