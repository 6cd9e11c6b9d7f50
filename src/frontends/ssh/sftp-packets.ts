/**
 * Packets of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02), the server's
 * side. ssh2 has a stream for it, which reads on whatever waits already, queues replies without
 * bound, and fails on a length of 0xffffffff; so these are ours.
 */

export type SftpRequest =
  | { kind: 'init' }
  | { kind: 'open'; id: number; path: SftpPath; flags: number }
  | { kind: 'close' | 'fstat' | 'readdir'; id: number; handle: string }
  /** `offset` over 2^53 - 1 is told as that. */
  | { kind: 'read'; id: number; handle: string; offset: number; length: number }
  | { kind: 'stat' | 'opendir' | 'realpath' | 'readlink'; id: number; path: SftpPath }
  /** Would change something: `what` in words. */
  | { kind: 'change'; id: number; what: string }
  | { kind: 'unsupported'; id: number }
  /** A packet whose fields do not add up; the one after it is in its place. */
  | { kind: 'malformed'; id: number }
  /** Nothing after this can be read. */
  | { kind: 'broken'; why: string };

/** null: longer than PATH_BYTES_MAX. */
export type SftpPath = string | null;

export const SFTP_STATUS = {
  ok: 0,
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
} as const;

/** Flags of `open` besides reading: write, append, create, truncate, exclusive. */
export const OPEN_FOR_CHANGE = 0x02 | 0x04 | 0x08 | 0x10 | 0x20;

/** No file of ours has a name that long. */
export const PATH_BYTES_MAX = 4_096;
/** As OpenSSH's server has it. */
const PACKET_BYTES_MAX = 262_144;
const HANDLE_BYTES_MAX = 256;

/**
 * Cuts what a client sends into requests. Total: every byte sequence, in any chunking, gives the
 * same requests, at most one packet being kept.
 */
export class SftpDecoder {
  readonly #head = Buffer.alloc(4);
  #headBytes = 0;
  /** The packet being filled; null while its length is read. */
  #packet: Buffer | null = null;
  #packetBytes = 0;
  #isGreeted = false;
  #isBroken = false;

  push(bytes: Uint8Array): SftpRequest[] {
    const requests: SftpRequest[] = [];
    const input = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < input.length && !this.#isBroken;) {
      if (this.#packet === null) {
        this.#head[this.#headBytes++] = input[at++]!;
        if (this.#headBytes === 4) this.#begin(requests);
        continue;
      }
      const count = input.copy(this.#packet, this.#packetBytes, at);
      at += count;
      this.#packetBytes += count;
      if (this.#packetBytes < this.#packet.length) continue;
      this.#take(this.#packet, requests);
      this.#packet = null;
    }
    return requests;
  }

  #begin(requests: SftpRequest[]): void {
    const length = this.#head.readUInt32BE();
    this.#headBytes = 0;
    if (length === 0 || length > PACKET_BYTES_MAX) {
      return this.#break(requests, `a packet of ${length} bytes`);
    }
    this.#packet = Buffer.allocUnsafe(length);
    this.#packetBytes = 0;
  }

  #take(packet: Buffer, requests: SftpRequest[]): void {
    const isInit = packet[0] === TYPE.init;
    if (isInit === this.#isGreeted) {
      return this.#break(requests, isInit ? 'a second greeting' : 'no greeting first');
    }
    if (isInit) {
      this.#isGreeted = true;
      requests.push({ kind: 'init' });
    } else if (packet.length < 5) this.#break(requests, 'a packet without a number');
    else requests.push(decodeRequest(packet));
  }

  #break(requests: SftpRequest[], why: string): void {
    this.#isBroken = true;
    this.#packet = null;
    requests.push({ kind: 'broken', why });
  }
}

export interface SftpAttributes {
  /** null: not told. */
  sizeBytes: number | null;
  /** Type and permission bits, as in stat(2). */
  mode: number;
  /** Seconds since the Unix epoch; the access time is the same. */
  modifiedS: number;
}

export interface SftpName {
  name: string;
  /** The line of `ls -l`. */
  longName: string;
  attributes: SftpAttributes;
}

export function encodeVersion(): Buffer {
  return packetOf(TYPE.version, uint32(3));
}

export function encodeStatus(id: number, code: number, message: string): Buffer {
  return packetOf(TYPE.status, uint32(id), uint32(code), stringOf(message), stringOf(''));
}

export function encodeHandle(id: number, handle: string): Buffer {
  return packetOf(TYPE.handle, uint32(id), stringOf(handle));
}

export function encodeData(id: number, bytes: Uint8Array): Buffer {
  return packetOf(TYPE.data, uint32(id), uint32(bytes.length), bytes);
}

export function encodeNames(id: number, names: readonly SftpName[]): Buffer {
  const parts = names.flatMap(({ name, longName, attributes }) => [
    stringOf(name),
    stringOf(longName),
    attributesOf(attributes),
  ]);
  return packetOf(TYPE.name, uint32(id), uint32(names.length), ...parts);
}

export function encodeAttributes(id: number, attributes: SftpAttributes): Buffer {
  return packetOf(TYPE.attributes, uint32(id), attributesOf(attributes));
}

const TYPE = {
  init: 1,
  version: 2,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attributes: 105,
} as const;

const CHANGES: Readonly<Record<number, string>> = {
  [TYPE.write]: 'writing',
  [TYPE.setstat]: 'changing attributes',
  [TYPE.fsetstat]: 'changing attributes',
  [TYPE.remove]: 'removing',
  [TYPE.mkdir]: 'making a directory',
  [TYPE.rmdir]: 'removing',
  [TYPE.rename]: 'renaming',
  [TYPE.symlink]: 'making a link',
};

const HAS_SIZE = 0x01;
const HAS_PERMISSIONS = 0x04;
const HAS_TIMES = 0x08;

/** `packet` holds at least a type and a number. */
function decodeRequest(packet: Buffer): SftpRequest {
  const fields = new Fields(packet, 5);
  const id = packet.readUInt32BE(1);
  const type = packet[0]!;
  const request = decodeFields(type, id, fields);
  return fields.isMissing ? { kind: 'malformed', id } : request;
}

function decodeFields(type: number, id: number, fields: Fields): SftpRequest {
  const what = CHANGES[type];
  if (what !== undefined) return { kind: 'change', id, what };
  switch (type) {
    case TYPE.open:
      return { kind: 'open', id, path: fields.path(), flags: fields.uint32() };
    case TYPE.close:
      return { kind: 'close', id, handle: fields.handle() };
    case TYPE.fstat:
      return { kind: 'fstat', id, handle: fields.handle() };
    case TYPE.readdir:
      return { kind: 'readdir', id, handle: fields.handle() };
    case TYPE.read: {
      const handle = fields.handle();
      return { kind: 'read', id, handle, offset: fields.uint64(), length: fields.uint32() };
    }
    case TYPE.lstat:
    case TYPE.stat:
      return { kind: 'stat', id, path: fields.path() };
    case TYPE.opendir:
      return { kind: 'opendir', id, path: fields.path() };
    case TYPE.realpath:
      return { kind: 'realpath', id, path: fields.path() };
    case TYPE.readlink:
      return { kind: 'readlink', id, path: fields.path() };
    default:
      return { kind: 'unsupported', id };
  }
}

/** Reads fields in order; one that is not all there sets `isMissing`. */
class Fields {
  isMissing = false;
  readonly #packet: Buffer;
  #at: number;

  constructor(packet: Buffer, at: number) {
    this.#packet = packet;
    this.#at = at;
  }

  uint32(): number {
    return this.#bytes(4)?.readUInt32BE() ?? 0;
  }

  uint64(): number {
    const value = this.#bytes(8)?.readBigUInt64BE() ?? 0n;
    return Number(value > MAX_SAFE ? MAX_SAFE : value);
  }

  path(): SftpPath {
    const bytes = this.#string();
    return bytes.length > PATH_BYTES_MAX ? null : bytes.toString('utf8');
  }

  handle(): string {
    const bytes = this.#string();
    if (bytes.length > HANDLE_BYTES_MAX) this.isMissing = true;
    return bytes.toString('latin1', 0, HANDLE_BYTES_MAX);
  }

  #string(): Buffer {
    return this.#bytes(this.uint32()) ?? NOTHING;
  }

  #bytes(count: number): Buffer | null {
    const end = this.#at + count;
    if (end > this.#packet.length) {
      this.isMissing = true;
      return null;
    }
    const bytes = this.#packet.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const NOTHING = Buffer.alloc(0);

function packetOf(type: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = 1;
  for (const part of parts) length += part.length;
  const packet = Buffer.allocUnsafe(4 + length);
  packet.writeUInt32BE(length);
  packet[4] = type;
  let at = 5;
  for (const part of parts) {
    packet.set(part, at);
    at += part.length;
  }
  return packet;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function stringOf(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function attributesOf({ sizeBytes, mode, modifiedS }: SftpAttributes): Buffer {
  const size = Buffer.alloc(sizeBytes === null ? 0 : 8);
  if (sizeBytes !== null) size.writeBigUInt64BE(BigInt(sizeBytes));
  const flags = HAS_PERMISSIONS | HAS_TIMES | (sizeBytes === null ? 0 : HAS_SIZE);
  return Buffer.concat([uint32(flags), size, uint32(mode), uint32(modifiedS), uint32(modifiedS)]);
}
