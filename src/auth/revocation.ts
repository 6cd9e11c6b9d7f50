import { createHash } from 'node:crypto';
import { parseCertificate, type Certificate } from './certificate.ts';
import { Malformed, WireReader } from './ssh-wire.ts';

/** Certificates and keys that are void. */
export interface Revocations {
  /** Why the certificate is void; null: it is not listed. */
  revokes(certificate: Certificate): string | null;
}

/**
 * Reads a revocation list: OpenSSH's KRL (PROTOCOL.krl, `ssh-keygen -k`), or public keys, one a line,
 * `#` before a comment. A key that is listed voids every certificate of it and by it.
 * @throws Malformed when anything in it cannot be read: a part that was left out might be the one
 * that matters.
 */
export function parseRevocations(bytes: Uint8Array): Revocations {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isKrl = buffer.length >= 8 && buffer.readBigUInt64BE() === KRL_MAGIC;
  return isKrl ? readKrl(buffer) : readKeyLines(buffer.toString('utf8'));
}

/** `SSHKRL\n\0` */
const KRL_MAGIC = 0x5353_484b_524c_0a00n;
const KRL_FORMAT_VERSION = 1;

// Sections of a KRL, and within the section of certificates
const CERTIFICATES = 1;
const EXPLICIT_KEY = 2;
const FINGERPRINT_SHA1 = 3;
const SIGNATURE = 4;
const FINGERPRINT_SHA256 = 5;
const EXTENSION = 255;
const SERIAL_LIST = 0x20;
const SERIAL_RANGE = 0x21;
const SERIAL_BITMAP = 0x22;
const KEY_ID = 0x23;
const CERTIFICATE_EXTENSION = 0x39;

/** Keys by themselves, whichever way they are written down. */
class RevokedKeys {
  readonly #blobs = new Set<string>();
  readonly #hashes = { sha1: new Set<string>(), sha256: new Set<string>() };

  add(blob: Buffer): void {
    this.#blobs.add(blob.toString('base64'));
  }

  addHash(algorithm: 'sha1' | 'sha256', hash: Buffer): void {
    if (hash.length !== HASH_BYTES[algorithm]) throw new Malformed('a fingerprint is cut');
    this.#hashes[algorithm].add(hash.toString('base64'));
  }

  has(blob: Buffer): boolean {
    const isHashed = (algorithm: 'sha1' | 'sha256') => {
      const hashes = this.#hashes[algorithm];
      return hashes.size > 0 && hashes.has(createHash(algorithm).update(blob).digest('base64'));
    };
    return this.#blobs.has(blob.toString('base64')) || isHashed('sha1') || isHashed('sha256');
  }

  revokes({ key, authority }: Certificate): string | null {
    if (this.has(key.blob)) return `the key ${key.fingerprint} is revoked`;
    if (this.has(authority.blob)) return `the authority ${authority.fingerprint} is revoked`;
    return null;
  }
}

const HASH_BYTES = { sha1: 20, sha256: 32 };

function readKeyLines(text: string): Revocations {
  const keys = new RevokedKeys();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [type = '', base64 = ''] = line.trim().split(/[ \t]+/);
    const blob = Buffer.from(base64, 'base64');
    const isBase64 = /^[A-Za-z0-9+/]+={0,2}$/.test(base64);
    // The type stands in the key as well. Types we never take may be listed: they match nothing.
    if (!isBase64 || blob.length < 4 || typeOf(blob) !== type) {
      throw new Malformed(`line ${index + 1} is not "type base64 comment" of a public key`);
    }
    keys.add(type.includes('-cert-') ? parseCertificate(blob).key.blob : blob);
  }
  return keys;
}

function typeOf(blob: Buffer): string {
  return new WireReader(blob).text();
}

function readKrl(bytes: Buffer): Revocations {
  const reader = new WireReader(bytes);
  reader.uint64(); // the magic number
  if (reader.uint32() !== KRL_FORMAT_VERSION) throw new Malformed('its format version is not 1');
  reader.take(24); // version of the list, date, flags
  reader.string(); // reserved
  reader.string(); // comment
  const keys = new RevokedKeys();
  const sections: CertificateSection[] = [];
  while (!reader.isAtEnd) {
    const type = reader.byte();
    const section = new WireReader(reader.string());
    switch (type) {
      case CERTIFICATES:
        sections.push(readCertificateSection(section));
        break;
      case EXPLICIT_KEY:
        while (!section.isAtEnd) keys.add(section.string());
        break;
      case FINGERPRINT_SHA1:
        while (!section.isAtEnd) keys.addHash('sha1', section.string());
        break;
      case FINGERPRINT_SHA256:
        while (!section.isAtEnd) keys.addHash('sha256', section.string());
        break;
      case SIGNATURE:
        // To skip it unchecked would be to call a signed list checked.
        throw new Malformed('it is signed, and signatures of revocation lists are not supported');
      case EXTENSION:
        refuseCriticalExtension(section);
        break;
      default:
        throw new Malformed(`it has a section of type ${type}, not known here`);
    }
  }
  return {
    revokes(certificate) {
      const hit = sections.find((section) => section.revokes(certificate));
      if (hit === undefined) return keys.revokes(certificate);
      return `the certificate (serial ${certificate.serial}) is revoked`;
    },
  };
}

interface CertificateSection {
  revokes(certificate: Certificate): boolean;
}

function readCertificateSection(reader: WireReader): CertificateSection {
  /** Empty: the certificates of every authority. */
  const authority = reader.string();
  reader.string(); // reserved
  const keyIds = new Set<string>();
  const serials: ((serial: bigint) => boolean)[] = [];
  while (!reader.isAtEnd) {
    const type = reader.byte();
    const section = new WireReader(reader.string());
    switch (type) {
      case SERIAL_LIST:
        serials.push(readSerialList(section));
        break;
      case SERIAL_RANGE:
        serials.push(readSerialRange(section));
        break;
      case SERIAL_BITMAP:
        serials.push(readSerialBitmap(section));
        break;
      case KEY_ID:
        while (!section.isAtEnd) keyIds.add(section.text());
        break;
      case CERTIFICATE_EXTENSION:
        refuseCriticalExtension(section);
        break;
      default:
        throw new Malformed(`it has a list of certificates of type ${type}, not known here`);
    }
  }
  return {
    revokes({ authority: signer, serial, keyId }) {
      if (authority.length > 0 && !authority.equals(signer.blob)) return false;
      // 0: the authority gave no serial numbers, so ssh-keygen can list none.
      return keyIds.has(keyId) || (serial !== 0n && serials.some((covers) => covers(serial)));
    },
  };
}

function readSerialList(reader: WireReader): (serial: bigint) => boolean {
  const numbers = new Set<bigint>();
  while (!reader.isAtEnd) numbers.add(reader.uint64());
  return (serial) => numbers.has(serial);
}

function readSerialRange(reader: WireReader): (serial: bigint) => boolean {
  const [first, last] = [reader.uint64(), reader.uint64()];
  if (!reader.isAtEnd) throw new Malformed('something follows a range of serial numbers');
  return (serial) => serial >= first && serial <= last;
}

/** Bit i, from the end of the number, stands for the serial offset + i. */
function readSerialBitmap(reader: WireReader): (serial: bigint) => boolean {
  const offset = reader.uint64();
  const bits = reader.mpint();
  if (!reader.isAtEnd) throw new Malformed('something follows a map of serial numbers');
  return (serial) => {
    const index = serial - offset;
    if (index < 0n || index >= BigInt(bits.length) * 8n) return false;
    const bit = Number(index);
    return ((bits[bits.length - 1 - (bit >> 3)]! >> (bit & 7)) & 1) === 1;
  };
}

function refuseCriticalExtension(reader: WireReader): void {
  const name = reader.text();
  const isCritical = reader.byte() !== 0;
  if (isCritical) {
    throw new Malformed(`it has a critical extension "${name.slice(0, 64)}", not known here`);
  }
}
