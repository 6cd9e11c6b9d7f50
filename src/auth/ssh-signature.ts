import { createPublicKey, verify, type JsonWebKey } from 'node:crypto';
import { Malformed, WireReader } from './ssh-wire.ts';

/** Signature algorithms by the type of key that makes them. No SHA-1: RSA signs as RFC 8332 has it. */
export const SIGNATURE_ALGORITHMS: Readonly<Record<string, readonly string[]>> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ecdsa-sha2-nistp384': ['ecdsa-sha2-nistp384'],
  'ecdsa-sha2-nistp521': ['ecdsa-sha2-nistp521'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
};

/**
 * Whether `signature` (RFC 4253 section 6.6: string algorithm, string bytes) over `data` was made by
 * the key of `keyBlob`, with one of `algorithms`. Malformed keys and signatures: false.
 */
export function isSignedBy(
  keyBlob: Uint8Array,
  data: Uint8Array,
  signature: Uint8Array,
  algorithms?: readonly string[],
): boolean {
  try {
    const reader = new WireReader(signature);
    const algorithm = reader.text();
    const bytes = reader.string();
    const key = new WireReader(keyBlob);
    const type = key.text();
    const known = SIGNATURE_ALGORITHMS[type] ?? [];
    if (!reader.isAtEnd || !known.includes(algorithm)) return false;
    if (algorithms !== undefined && !algorithms.includes(algorithm)) return false;
    return isValid(type, algorithm, key, data, bytes);
  } catch (error) {
    if (error instanceof Malformed || isOpenSslError(error)) return false;
    throw error;
  }
}

function isValid(
  type: string,
  algorithm: string,
  key: WireReader,
  data: Uint8Array,
  signature: Buffer,
): boolean {
  if (type === 'ssh-ed25519') {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: base64url(key.string()) };
    return verify(null, data, publicKey(jwk), signature);
  }
  if (type === 'ssh-rsa') {
    const [e, n] = [key.mpint(), key.mpint()];
    const jwk = { kty: 'RSA', e: base64url(e), n: base64url(n) };
    // Some leave out leading zeros, and OpenSSL wants the width of the modulus.
    const hash = algorithm === 'rsa-sha2-512' ? 'sha512' : 'sha256';
    return verify(hash, data, publicKey(jwk), widened(signature, n.length));
  }
  const { crv, hash, width } = CURVES[type]!;
  key.string(); // the curve's name, which the type says already
  const point = key.string();
  if (point[0] !== UNCOMPRESSED || point.length !== 1 + 2 * width) return false;
  const [x, y] = [point.subarray(1, 1 + width), point.subarray(1 + width)];
  const jwk = { kty: 'EC', crv, x: base64url(x), y: base64url(y) };
  const numbers = new WireReader(signature); // RFC 5656 section 3.1.2
  const [r, s] = [numbers.mpint(), numbers.mpint()];
  const pair = Buffer.concat([widened(r, width), widened(s, width)]);
  return verify(hash, data, { key: publicKey(jwk), dsaEncoding: 'ieee-p1363' }, pair);
}

const CURVES: Readonly<Record<string, { crv: string; hash: string; width: number }>> = {
  'ecdsa-sha2-nistp256': { crv: 'P-256', hash: 'sha256', width: 32 },
  'ecdsa-sha2-nistp384': { crv: 'P-384', hash: 'sha384', width: 48 },
  'ecdsa-sha2-nistp521': { crv: 'P-521', hash: 'sha512', width: 66 },
};
/** SEC 1 section 2.3.3. */
const UNCOMPRESSED = 4;

function publicKey(jwk: JsonWebKey) {
  return createPublicKey({ key: jwk, format: 'jwk' });
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}

/** @throws Malformed when it is wider already. */
function widened(bytes: Buffer, width: number): Buffer {
  if (bytes.length > width) throw new Malformed('the signature is longer than its key');
  return Buffer.concat([Buffer.alloc(width - bytes.length), bytes]);
}

/** A point beside its curve, a key of the wrong length: OpenSSL or Node says so by an error with a code. */
function isOpenSslError(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^ERR_(OSSL|CRYPTO|INVALID)/.test(code);
}
