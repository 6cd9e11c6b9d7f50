import { Fault } from '../core/fault.ts';
import { createAddressFilter, parseCidr } from './cidr.ts';
import { parsePublicKey, type PublicKey } from './ssh-keys.ts';
import { isSignedBy, SIGNATURE_ALGORITHMS } from './ssh-signature.ts';
import { Malformed, WireReader, wireString } from './ssh-wire.ts';

/** An OpenSSH certificate as it is written (PROTOCOL.certkeys); nothing of it is verified yet. */
export interface Certificate {
  /** `ssh-ed25519-cert-v01@openssh.com`, whatever the algorithm it was offered under. */
  type: string;
  /** The key that was certified. */
  key: PublicKey;
  serial: bigint;
  /** 1: of a user, 2: of a host. */
  kind: number;
  keyId: string;
  principals: readonly string[];
  /** Unix seconds: valid from `validAfter` on, and before `validBefore`. */
  validAfter: bigint;
  validBefore: bigint;
  /** Data by name. */
  criticalOptions: ReadonlyMap<string, Buffer>;
  extensions: ReadonlyMap<string, Buffer>;
  /** The key that signed it. */
  authority: PublicKey;
  /** What the signature covers, and the signature. */
  signed: Buffer;
  signature: Buffer;
}

/** What a valid certificate is held against. */
export interface CertificateRules {
  /** Wire forms of the keys that may sign, base64. */
  authorities: ReadonlySet<string>;
  /** The user's name and other principals; one of them has to be in the certificate. */
  principals: readonly string[];
  remoteAddress: string;
  /** Unix seconds. */
  now: number;
}

/**
 * The algorithm of the user's signature where a certificate is offered under `name`: `rsa-sha2-512`
 * for `rsa-sha2-512-cert-v01@openssh.com`. null: not the name of a certificate we take; SHA-1 is not.
 */
export function certifiedAlgorithm(name: string): string | null {
  const algorithm = name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : '';
  return Object.values(SIGNATURE_ALGORITHMS).flat().includes(algorithm) ? algorithm : null;
}

/**
 * Reads a certificate of an Ed25519, ECDSA or RSA key.
 * @throws Fault LOGIN_FAILED with what is wrong: malformed, a key we would not take either, or signed
 * by a certificate.
 */
export function parseCertificate(blob: Uint8Array): Certificate {
  try {
    return read(blob);
  } catch (error) {
    if (error instanceof Malformed) refuse(`the certificate is damaged: ${error.message}`);
    throw error;
  }
}

/**
 * Whether the certificate admits a user, all but revocation. As sshd does for TrustedUserCAKeys: one
 * without principals admits nobody, and an option that is critical and unknown refuses.
 * @throws Fault LOGIN_FAILED with the reason it does not.
 */
export function checkCertificate(certificate: Certificate, rules: CertificateRules): void {
  const { authority, validAfter, validBefore, principals } = certificate;
  if (!rules.authorities.has(authority.blob.toString('base64'))) {
    refuse(`${authority.fingerprint} is no authority of ours`);
  }
  if (!isSignedBy(authority.blob, certificate.signed, certificate.signature)) {
    refuse('the signature of the certificate is wrong or made with SHA-1');
  }
  if (certificate.kind !== USER_CERTIFICATE) refuse('the certificate is not one of a user');
  const now = BigInt(Math.floor(rules.now));
  if (now < validAfter) refuse(`the certificate is valid only from ${formatTime(validAfter)} on`);
  if (now >= validBefore) refuse(`the certificate expired at ${formatTime(validBefore)}`);
  if (!principals.some((principal) => rules.principals.includes(principal))) {
    refuse(
      principals.length === 0
        ? 'the certificate names no principal'
        : `the certificate is for ${principals.map(printable).join(', ').slice(0, 200)}`,
    );
  }
  for (const [name, data] of certificate.criticalOptions) {
    checkCriticalOption(name, data, rules.remoteAddress);
  }
}

/** `"alice laptop" (serial 7) by SHA256:...`: for the journal and the audit. */
export function describeCertificate(certificate: Certificate): string {
  const { keyId, serial, authority } = certificate;
  return `"${printable(keyId)}" (serial ${serial}) by ${authority.fingerprint}`;
}

const SUFFIX = '-cert-v01@openssh.com';
const USER_CERTIFICATE = 1;
/** sshd's bound; a certificate for more people than that is no certificate. */
const PRINCIPALS_MAX = 256;
const OPTIONS_MAX = 64;

/** How many strings of the key follow the nonce. */
const KEY_FIELDS: ReadonlyMap<string, number> = new Map([
  ['ssh-ed25519', 1],
  ['ecdsa-sha2-nistp256', 2],
  ['ecdsa-sha2-nistp384', 2],
  ['ecdsa-sha2-nistp521', 2],
  ['ssh-rsa', 2],
]);

function read(blob: Uint8Array): Certificate {
  const reader = new WireReader(blob);
  const type = reader.text();
  const plainType = type.endsWith(SUFFIX) ? type.slice(0, -SUFFIX.length) : '';
  const keyFields = KEY_FIELDS.get(plainType);
  if (keyFields === undefined) throw new Malformed('its type is not known');
  reader.string(); // the nonce
  const keyParts = [wireString(plainType)];
  for (let i = 0; i < keyFields; i++) keyParts.push(wireString(reader.string()));
  const serial = reader.uint64();
  const kind = reader.uint32();
  const keyId = reader.text();
  const principals = readAll(reader.string(), PRINCIPALS_MAX, (list) => list.text());
  const validAfter = reader.uint64();
  const validBefore = reader.uint64();
  const criticalOptions = readOptions(reader.string());
  const extensions = readOptions(reader.string());
  reader.string(); // reserved
  const authorityBlob = reader.string();
  const signedBytes = reader.position;
  const signature = reader.string();
  if (!reader.isAtEnd) throw new Malformed('something follows it');
  return {
    type,
    key: plainKey(Buffer.concat(keyParts), 'certified'),
    serial,
    kind,
    keyId,
    principals,
    validAfter,
    validBefore,
    criticalOptions,
    extensions,
    authority: plainKey(authorityBlob, "authority's"),
    signed: Buffer.from(blob.subarray(0, signedBytes)),
    signature,
  };
}

/** Refuses certificates in the authority's place, too: they are no plain keys. */
function plainKey(blob: Buffer, whose: string): PublicKey {
  try {
    return parsePublicKey(blob);
  } catch (error) {
    if (error instanceof Fault) throw new Malformed(`the ${whose} key: ${error.message}`);
    throw error;
  }
}

/** Names with data, sorted and each but once (PROTOCOL.certkeys, Critical options). */
function readOptions(bytes: Buffer): ReadonlyMap<string, Buffer> {
  const pairs = readAll(bytes, OPTIONS_MAX, (list) => [list.text(), list.string()] as const);
  const isSorted = pairs.every(([name], i) => i === 0 || compare(pairs[i - 1]![0], name) < 0);
  if (!isSorted) throw new Malformed('its options are not in order');
  return new Map(pairs);
}

function readAll<T>(bytes: Buffer, max: number, readOne: (reader: WireReader) => T): T[] {
  const reader = new WireReader(bytes);
  const all: T[] = [];
  while (!reader.isAtEnd) {
    if (all.length === max) throw new Malformed(`it has a list of more than ${max}`);
    all.push(readOne(reader));
  }
  return all;
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function checkCriticalOption(name: string, data: Buffer, remoteAddress: string): void {
  switch (name) {
    case 'source-address': {
      const cidrs = onlyString(data).split(',');
      if (!cidrs.every((cidr) => 'network' in parseCidr(cidr))) {
        refuse('the certificate has a source-address that cannot be read');
      }
      if (!createAddressFilter(cidrs)(remoteAddress)) {
        refuse(`the certificate may not be used from ${remoteAddress}`);
      }
      return;
    }
    case 'force-command':
      return refuse('the certificate forces a command, which there is not here');
    case 'verify-required':
      return refuse('the certificate asks for a verified security token, which is not supported');
    default:
      return refuse(`the certificate has a critical option "${printable(name)}", not known here`);
  }
}

function onlyString(data: Buffer): string {
  try {
    const reader = new WireReader(data);
    const text = reader.text();
    return reader.isAtEnd ? text : '';
  } catch (error) {
    if (error instanceof Malformed) return '';
    throw error;
  }
}

function formatTime(seconds: bigint): string {
  const date = new Date(Number(seconds) * 1_000);
  return Number.isNaN(date.getTime()) ? `second ${seconds}` : date.toISOString();
}

/** An authority may write anything here; a journal and a terminal must not take all of it. */
function printable(text: string): string {
  return text.slice(0, 100).replace(/[^\x20-\x7e]/g, '?');
}

function refuse(why: string): never {
  throw new Fault('LOGIN_FAILED', why);
}
