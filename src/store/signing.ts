import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { writeFileOnce } from './data-directory.ts';

/** The key that signs checkpoints of the log (ed25519). */
export interface SigningKey {
  /** First 16 hex digits of the public key's sha256. */
  id: string;
  /** PEM (SPKI): goes into every log file. */
  publicKey: string;
  sign(text: string): Buffer;
}

/**
 * The signing key of a data directory, made at first use.
 * @throws Fault STORE_FAILED when `log-signing.key` is not an ed25519 key.
 */
export function openSigningKey(keysFolder: string): SigningKey {
  const path = join(keysFolder, 'log-signing.key');
  if (!existsSync(path)) {
    const { privateKey } = generateKeyPairSync('ed25519');
    writeFileOnce(path, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(readFileSync(path));
  } catch (cause) {
    throw new Fault(
      'STORE_FAILED',
      `${path} is not a readable key; put the right one back, or move it away to have a new one made`,
      cause,
    );
  }
  const publicKey = createPublicKey(privateKey);
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  return {
    id: keyId(pem),
    publicKey: pem,
    sign: (text) => sign(null, Buffer.from(text), privateKey),
  };
}

export function keyId(publicKey: string): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
}

/** False for a wrong signature and for anything that is no key. */
export function isSignedBy(publicKey: string, text: string, signature: Uint8Array): boolean {
  try {
    return verify(null, Buffer.from(text), createPublicKey(publicKey), signature);
  } catch {
    return false;
  }
}

/** One chain's end at the time of a checkpoint. */
export interface CheckpointHead {
  uuid: string;
  segment: number;
  hash: Buffer;
}

/** The text that a checkpoint's signature stands for. Stored for ever: never change. */
export function checkpointText(
  dataId: string,
  file: string,
  atUs: number,
  heads: readonly CheckpointHead[],
): string {
  const lines = heads.map((head) => `${head.uuid} ${head.segment} ${head.hash.toString('hex')}`);
  return ['fairlead checkpoint 1', dataId, file, atUs, ...lines.sort(), ''].join('\n');
}
