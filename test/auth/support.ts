import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoginOptions } from '../../src/auth/login.ts';
import type { ReadIfChanged } from '../../src/auth/revocation-file.ts';
import { wireString } from '../../src/auth/ssh-wire.ts';
import type { Journal } from '../../src/core/clock.ts';
import { DEFAULT_ESCAPE, type User } from '../../src/core/user.ts';

/** A user who may not do anything in any way, but for what is given. */
export function user(name: string, more: Partial<User> = {}): User {
  return {
    name,
    role: 'view',
    ports: [],
    keys: [],
    password: null,
    unix: null,
    from: [],
    totp: null,
    principals: [],
    escape: DEFAULT_ESCAPE,
    ...more,
  };
}

/** A clock that stands still until it is set, a journal and files in memory. */
export class Surroundings {
  /** Unix seconds. */
  nowS = 1_800_000_000;
  readonly said: string[] = [];
  /** Content by path, with a version; a missing one cannot be read. */
  readonly files = new Map<string, { version: string; bytes: Uint8Array }>();
  reads = 0;

  readonly journal: Journal = {
    fatal: (_fields, message) => this.said.push(message),
    error: (_fields, message) => this.said.push(message),
    warn: (_fields, message) => this.said.push(message),
    info: (_fields, message) => this.said.push(message),
    debug: (_fields, message) => this.said.push(message),
    child: () => this.journal,
  };

  readonly readIfChanged: ReadIfChanged = (path, knownVersion) => {
    this.reads++;
    const file = this.files.get(path);
    if (file === undefined) throw new Error('no such file');
    return file.version === knownVersion ? null : file;
  };

  get loginOptions(): LoginOptions {
    return {
      uidOf: () => null,
      ownUid: 7,
      certificates: { authorities: [], revokedFile: null },
      readIfChanged: this.readIfChanged,
      clock: { nowUs: () => this.nowS * 1_000_000 },
      journal: this.journal,
    };
  }
}

/** Keys, certificates and revocation lists as OpenSSH's ssh-keygen makes them. */
export class Keygen {
  readonly directory: string;

  /** In a directory of its own unless one is given. */
  constructor(directory = mkdtempSync(join(tmpdir(), 'fairlead-keys-'))) {
    this.directory = directory;
  }

  dispose(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** `type base64 comment` of a new key. */
  key(name: string, type: string, bits = type === 'rsa' ? 2048 : 256): string {
    this.#run(['-t', type, '-b', String(bits), '-N', '', '-C', name, '-f', this.path(name)]);
    return this.publicKey(name);
  }

  publicKey(name: string): string {
    return readFileSync(this.path(`${name}.pub`), 'utf8').trim();
  }

  /** Certifies a key; `NAME-cert.pub` lies beside it, where ssh finds it. Returns the wire form. */
  certify(name: string, authority: string, options: readonly string[]): Buffer {
    this.#run(['-s', this.path(authority), '-I', `${name} id`, ...options, this.path(name)]);
    return blobOf(readFileSync(this.path(`${name}-cert.pub`), 'utf8'));
  }

  /** A revocation list (KRL) of the specification's lines, for an authority or of all. */
  revocationList(authority: string | null, ...lines: readonly string[]): Buffer {
    writeFileSync(this.path('spec'), lines.join('\n'));
    const of = authority === null ? [] : ['-s', this.path(`${authority}.pub`)];
    this.#run(['-k', '-f', this.path('krl'), ...of, this.path('spec')]);
    return readFileSync(this.path('krl'));
  }

  #run(args: readonly string[]): void {
    execFileSync('ssh-keygen', ['-q', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  }
}

export function blobOf(line: string): Buffer {
  return Buffer.from(line.split(' ')[1]!, 'base64');
}

/** What a certificate made by hand says; each field as its bytes would have it. */
export interface HandMade {
  type?: string;
  serial?: bigint;
  kind?: number;
  keyId?: string;
  principals?: readonly string[];
  validAfter?: bigint;
  validBefore?: bigint;
  /** Pairs of name and data. */
  criticalOptions?: readonly (readonly [string, Buffer])[];
  extensions?: readonly (readonly [string, Buffer])[];
  authorityBlob?: Buffer;
  /** Bytes behind the signature. */
  rest?: Buffer;
}

/** An Ed25519 authority that signs whatever it is told to: what ssh-keygen refuses to write. */
export class CarelessAuthority {
  readonly #privateKey: KeyObject;
  readonly blob: Buffer;
  /** As a user of it would have it in the configuration. */
  readonly line: string;
  /** Wire form of the key it certifies. */
  readonly certified: Buffer;
  readonly #certifiedKey: KeyObject;
  /** Of the key it certifies. */
  readonly holder: KeyObject;

  constructor() {
    const own = generateKeyPairSync('ed25519');
    const certified = generateKeyPairSync('ed25519');
    this.#privateKey = own.privateKey;
    this.blob = ed25519Blob(own.publicKey);
    this.line = `ssh-ed25519 ${this.blob.toString('base64')} careless`;
    this.certified = ed25519Blob(certified.publicKey);
    this.#certifiedKey = certified.publicKey;
    this.holder = certified.privateKey;
  }

  certify(given: HandMade = {}): Buffer {
    const signed = Buffer.concat([
      wireString(given.type ?? 'ssh-ed25519-cert-v01@openssh.com'),
      wireString(Buffer.alloc(32, 7)), // nonce
      wireString(rawEd25519(this.#certifiedKey)),
      uint64(given.serial ?? 7n),
      uint32(given.kind ?? 1),
      wireString(given.keyId ?? 'by hand'),
      wireString(Buffer.concat((given.principals ?? ['alice']).map((name) => wireString(name)))),
      uint64(given.validAfter ?? 0n),
      uint64(given.validBefore ?? 0xffff_ffff_ffff_ffffn),
      wireString(pairs(given.criticalOptions ?? [])),
      wireString(pairs(given.extensions ?? [['permit-pty', Buffer.alloc(0)]])),
      wireString(''),
      wireString(given.authorityBlob ?? this.blob),
    ]);
    const signature = sign(null, signed, this.#privateKey);
    const wire = Buffer.concat([wireString('ssh-ed25519'), wireString(signature)]);
    return Buffer.concat([signed, wireString(wire), given.rest ?? Buffer.alloc(0)]);
  }
}

export function sha256(blob: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

function pairs(options: readonly (readonly [string, Buffer])[]): Buffer {
  return Buffer.concat(options.flatMap(([name, data]) => [wireString(name), wireString(data)]));
}

function rawEd25519(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: 'jwk' }).x!, 'base64url');
}

function ed25519Blob(key: KeyObject): Buffer {
  return Buffer.concat([wireString('ssh-ed25519'), wireString(rawEd25519(key))]);
}
