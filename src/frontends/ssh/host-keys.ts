import {
  createHash,
  generateKeyPair,
  randomBytes,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import ssh2 from 'ssh2';
import { Fault } from '../../core/fault.ts';

/** The keys by which clients know this server, as the files hold them. */
export interface HostKeys {
  privateKeys: string[];
  /** `SHA256:... ssh-ed25519`, for the journal and `doctor`. */
  fingerprints: string[];
  /** Made just now. */
  isNew: boolean;
}

/**
 * Reads the ed25519 and RSA host keys of `directory`, or makes them if there never were any. Keys
 * are made once: a new one under an old name teaches people to click away the warning that protects
 * them. So where any trace of a key is left, a key that is missing, unreadable, damaged or readable
 * by others is an error.
 * @throws Fault LISTEN_FAILED naming the file, the fingerprint of the lost key, and what to do.
 */
export async function loadHostKeys(directory: string): Promise<HostKeys> {
  const traces = await Promise.all(KEY_NAMES.map((name) => findTrace(directory, name)));
  const isNew = traces.every((trace) => trace.privateKey === null && trace.publicKey === null);
  const record = await readIfThere(join(directory, RECORD_NAME));
  if (isNew && record === null) await makeHostKeys(directory);

  const keys: HostKeys = { privateKeys: [], fingerprints: [], isNew: isNew && record === null };
  for (const name of KEY_NAMES) {
    const { privateKey, publicBlob } = await readHostKey(directory, name, record);
    keys.privateKeys.push(privateKey);
    keys.fingerprints.push(`${fingerprint(publicBlob)} ${typeOf(publicBlob)}`);
  }
  return keys;
}

const KEY_NAMES = ['ssh_host_ed25519_key', 'ssh_host_rsa_key'] as const;
/** Remembers the fingerprints of the keys made, should the key files all go missing. */
const RECORD_NAME = 'ssh_host_fingerprints';
const RSA_BITS = 3072;

async function findTrace(directory: string, name: string) {
  return {
    privateKey: await readIfThere(join(directory, name)).catch(() => ''),
    publicKey: await readIfThere(join(directory, `${name}.pub`)),
  };
}

async function readHostKey(
  directory: string,
  name: string,
  record: string | null,
): Promise<{ privateKey: string; publicBlob: Buffer }> {
  const path = join(directory, name);
  const publicText = await readIfThere(`${path}.pub`);
  const wanted =
    publicText === null ? null : Buffer.from(publicText.split(/\s+/)[1] ?? '', 'base64');
  const shut = (what: string, fix: string, cause?: unknown) => {
    const known = wanted === null ? recorded(record, name) : fingerprint(wanted);
    const lost = known === null ? '' : ` Clients know it as ${known}.`;
    return new Fault('LISTEN_FAILED', `the SSH host key ${path} ${what}.${lost} ${fix}`, cause);
  };
  const restore =
    `Restore it from a backup; or, to have clients warned of new keys, ` +
    `remove ${join(directory, 'ssh_host_*')} and start again.`;

  let privateKey: string;
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const mode = (await file.stat()).mode & 0o777;
      if ((mode & 0o077) !== 0) {
        throw shut(`can be read by others (mode ${mode.toString(8)})`, `chmod 600 ${path}`);
      }
      privateKey = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw shut('is missing', restore, cause);
    throw shut(`cannot be read (${code ?? String(cause)})`, restore, cause);
  }

  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error || !parsed.isPrivateKey()) {
    throw shut('is damaged', restore, parsed instanceof Error ? parsed : undefined);
  }
  const publicBlob = parsed.getPublicSSH();
  if (wanted !== null && !wanted.equals(publicBlob)) {
    throw shut(`does not belong to ${name}.pub beside it`, restore);
  }
  return { privateKey, publicBlob };
}

async function makeHostKeys(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const generate = promisify(generateKeyPair);
  const ed25519 = (await generate('ed25519')).privateKey.export({ format: 'jwk' });
  const rsa = await generate('rsa', { modulusLength: RSA_BITS });
  const made = [
    { name: KEY_NAMES[0], ...sshPartsOfEd25519(ed25519) },
    { name: KEY_NAMES[1], ...sshPartsOfRsa(rsa.privateKey) },
  ];
  const lines = made.map(({ name, publicBlob }) => `${name} ${fingerprint(publicBlob)}\n`);
  for (const { name, publicBlob, privateParts } of made) {
    const path = join(directory, name);
    await writeOnce(path, openSshPem(publicBlob, privateParts), 0o600);
    const text = `${typeOf(publicBlob)} ${publicBlob.toString('base64')} fairlead\n`;
    await writeOnce(`${path}.pub`, text, 0o644);
  }
  await writeOnce(join(directory, RECORD_NAME), lines.join(''), 0o600);
}

/** Never follows a link and never overwrites; on disk when it resolves. */
async function writeOnce(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function recorded(record: string | null, name: string): string | null {
  const line = record?.split('\n').find((text) => text.startsWith(`${name} `));
  return line?.split(' ')[1] ?? null;
}

function fingerprint(publicBlob: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(publicBlob).digest('base64').replace(/=+$/, '')}`;
}

function typeOf(publicBlob: Buffer): string {
  return publicBlob.toString('latin1', 4, 4 + publicBlob.readUInt32BE(0));
}

/** RFC 8709: string "ssh-ed25519", string key; private: string key, string seed and key. */
function sshPartsOfEd25519(jwk: JsonWebKey) {
  const type = sshString('ssh-ed25519');
  const key = Buffer.from(jwk.x!, 'base64url');
  const seed = Buffer.from(jwk.d!, 'base64url');
  return {
    publicBlob: Buffer.concat([type, sshString(key)]),
    privateParts: Buffer.concat([type, sshString(key), sshString(Buffer.concat([seed, key]))]),
  };
}

/** RFC 4253, 6.6: string "ssh-rsa", mpint e, mpint n; private (PROTOCOL.key): n e d iqmp p q. */
function sshPartsOfRsa(key: KeyObject) {
  const jwk = key.export({ format: 'jwk' });
  const type = sshString('ssh-rsa');
  const number = (name: 'n' | 'e' | 'd' | 'qi' | 'p' | 'q') =>
    mpint(Buffer.from(jwk[name]!, 'base64url'));
  return {
    publicBlob: Buffer.concat([type, number('e'), number('n')]),
    privateParts: Buffer.concat([
      type,
      ...(['n', 'e', 'd', 'qi', 'p', 'q'] as const).map((name) => number(name)),
    ]),
  };
}

/** OpenSSH's PROTOCOL.key, openssh-key-v1, without encryption. */
function openSshPem(publicBlob: Buffer, privateParts: Buffer): string {
  const check = randomBytes(4);
  let secret = Buffer.concat([check, check, privateParts, sshString('fairlead')]);
  const padding = (8 - (secret.length % 8)) % 8;
  secret = Buffer.concat([secret, Buffer.from(Array.from({ length: padding }, (_, i) => i + 1))]);
  const one = Buffer.from([0, 0, 0, 1]);
  const all = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    sshString('none'), // cipher
    sshString('none'), // key derivation
    sshString(''),
    one, // number of keys
    sshString(publicBlob),
    sshString(secret),
  ]);
  const lines = all.toString('base64').match(/.{1,70}/g)!;
  return [
    '-----BEGIN OPENSSH PRIVATE KEY-----',
    ...lines,
    '-----END OPENSSH PRIVATE KEY-----',
    '',
  ].join('\n');
}

function sshString(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** RFC 4251: big-endian, a zero byte in front where the top bit would say negative. */
function mpint(value: Buffer): Buffer {
  return sshString(value[0]! & 0x80 ? Buffer.concat([Buffer.alloc(1), value]) : value);
}
