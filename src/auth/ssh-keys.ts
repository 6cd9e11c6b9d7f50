import { createHash } from 'node:crypto';
import { Fault } from '../core/fault.ts';

/** An OpenSSH public key the SSH door takes. */
export interface PublicKey {
  type: string;
  /** Wire form (RFC 4253 section 6.6). */
  blob: Buffer;
  comment: string;
  /** `SHA256:...`, as `ssh-keygen -l` prints it. */
  fingerprint: string;
  /** Bits of an RSA modulus; null for the others. */
  rsaBits: number | null;
}

/** Curve and length of an uncompressed point, by key type (RFC 5656). */
const ECDSA_CURVES: ReadonlyMap<string, { curve: string; pointBytes: number }> = new Map([
  ['ecdsa-sha2-nistp256', { curve: 'nistp256', pointBytes: 65 }],
  ['ecdsa-sha2-nistp384', { curve: 'nistp384', pointBytes: 97 }],
  ['ecdsa-sha2-nistp521', { curve: 'nistp521', pointBytes: 133 }],
]);
const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 16_384;
const LINE_CHARS_MAX = 16_384;

/** What a key file may hold, to be said after "expected". */
export const PUBLIC_KEY_EXPECTED =
  'an OpenSSH public key, "type base64 comment", of type ssh-ed25519, ecdsa-sha2-* or ssh-rsa (2048 bits or more)';

/**
 * Reads one line of an authorized_keys or .pub file (sshd(8), AUTHORIZED_KEYS FILE FORMAT) without
 * options.
 * @throws Fault USAGE with what is wrong: malformed, a type we do not take, too short, or options
 * in front.
 */
export function parseAuthorizedKey(line: string): PublicKey {
  const refuse = (wrong: string): never => {
    throw new Fault('USAGE', wrong);
  };
  const text = line.trim();
  if (text.length > LINE_CHARS_MAX) refuse('a key of this length cannot be right');
  if (text.includes('PRIVATE KEY'))
    refuse('this is a private key: keep it, and give the .pub file');
  const [type = '', base64 = '', ...words] = text.split(/[ \t]+/);
  if (!isKnownType(type)) refuse(explainType(text, type));
  if (base64 === '') refuse(`the key after "${type}" is missing`);
  const blob = Buffer.from(base64, 'base64');
  if (
    !/^[A-Za-z0-9+/]+={0,2}$/.test(base64) ||
    unpadded(blob.toString('base64')) !== unpadded(base64)
  ) {
    refuse('the key is not base64');
  }
  const key = parsePublicKey(blob);
  if (key.type !== type) refuse('the key is cut or damaged');
  return { ...key, comment: words.join(' ') };
}

/**
 * Reads the wire form of a public key (RFC 4253 section 6.6).
 * @throws Fault USAGE with what is wrong: malformed, a type we do not take, or too short.
 */
export function parsePublicKey(blob: Uint8Array): PublicKey {
  const refuse = (wrong: string): never => {
    throw new Fault('USAGE', wrong);
  };
  const bytes = Buffer.from(blob);
  const fields = readStrings(bytes) ?? [];
  const type = fields[0]?.toString('latin1') ?? '';
  if (!isKnownType(type)) refuse('the key is cut or damaged');
  const rsaBits = checkFields(type, fields, refuse);
  return { type, blob: bytes, comment: '', fingerprint: fingerprintOf(bytes), rsaBits };
}

/** One line of a keys file: a key, or what is wrong with it. */
export type KeyLine = { line: number } & ({ key: PublicKey } | { wrong: string });

/** Reads an authorized_keys file line by line; empty lines and `#` comments are skipped. Never throws. */
export function parseAuthorizedKeys(text: string): KeyLine[] {
  const lines: KeyLine[] = [];
  for (const [index, content] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(content)) continue;
    try {
      lines.push({ line: index + 1, key: parseAuthorizedKey(content) });
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      lines.push({ line: index + 1, wrong: error.message });
    }
  }
  return lines;
}

/** `SHA256:` and the unpadded base64 of the blob's hash. */
export function fingerprintOf(blob: Uint8Array): string {
  return `SHA256:${unpadded(createHash('sha256').update(blob).digest('base64'))}`;
}

/** `type base64 comment`, one form for every spelling of the same key. */
export function formatPublicKey(key: PublicKey): string {
  return `${key.type} ${key.blob.toString('base64')} ${key.comment}`.trimEnd();
}

function isKnownType(type: string): boolean {
  return type === 'ssh-ed25519' || type === 'ssh-rsa' || ECDSA_CURVES.has(type);
}

function explainType(text: string, type: string): string {
  if (text === '') return 'the key is empty';
  if (/^(sk-ssh-|sk-ecdsa-)/.test(type))
    return `keys of a security token (${shortened(type)}) are not taken yet`;
  if (type === 'ssh-dss') return 'DSA keys (ssh-dss) are too weak';
  if (type.includes('-cert-')) {
    return 'this is a certificate, not a key; give the key it was made from, or name the authority that signs certificates';
  }
  const isOption =
    /(^|[\s"])(ssh-(ed25519|rsa)|ecdsa-sha2-\w+) /.test(text) || /^[a-z-]+(=|,)/.test(type);
  if (isOption) {
    return `options in front of a key (${shortened(text.split(/[=, ]/)[0] ?? '')}) are not taken; use from: and role: of the user`;
  }
  return `"${shortened(type)}" is not a kind of key`;
}

/** Fields behind the type: one key for Ed25519 (RFC 8709), curve and point, or e and n. */
function checkFields(
  type: string,
  fields: readonly Buffer[],
  refuse: (wrong: string) => never,
): number | null {
  if (type === 'ssh-ed25519') {
    if (fields.length !== 2 || fields[1]!.length !== 32)
      refuse('the Ed25519 key is cut or damaged');
    return null;
  }
  if (type === 'ssh-rsa') {
    const modulus = fields[2];
    if (fields.length !== 3 || !modulus || fields[1]!.length === 0)
      return refuse('the RSA key is cut or damaged');
    const bits = BigInt(`0x0${modulus.toString('hex')}`).toString(2).length;
    if (bits < RSA_BITS_MIN) refuse(`the RSA key has only ${bits} bits`);
    if (bits > RSA_BITS_MAX) refuse(`the RSA key has ${bits} bits, more than ${RSA_BITS_MAX}`);
    return bits;
  }
  const { curve, pointBytes } = ECDSA_CURVES.get(type)!;
  const [, name, point] = fields;
  const isWhole =
    fields.length === 3 && name?.toString('latin1') === curve && point?.length === pointBytes;
  if (!isWhole || point[0] !== 4) refuse('the ECDSA key is cut or damaged');
  return null;
}

/** SSH strings (RFC 4251 section 5) that fill the blob exactly; null when they do not. */
function readStrings(blob: Buffer): Buffer[] | null {
  const fields: Buffer[] = [];
  let at = 0;
  while (at < blob.length) {
    if (at + 4 > blob.length || fields.length > 3) return null;
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return null;
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  return fields;
}

function unpadded(base64: string): string {
  return base64.replace(/=+$/, '');
}

function shortened(text: string): string {
  return text.length > 32 ? `${text.slice(0, 32)}...` : text;
}
