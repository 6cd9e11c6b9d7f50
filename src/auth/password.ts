import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { Fault } from '../core/fault.ts';

/** `$scrypt$ln=15,r=8,p=1$salt$hash`, base64 without padding (the PHC string format). */
export interface PasswordHash {
  /** log2 of scrypt's N (RFC 7914). */
  ln: number;
  r: number;
  p: number;
  salt: Buffer;
  hash: Buffer;
}

/** 32 MB and about 0.1 s of one core. */
const COST = { ln: 15, r: 8, p: 1 };
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** A longer one is refused unread: it would only buy work for a stranger. */
const PASSWORD_BYTES_MAX = 1024;
/** scrypt refuses to use more; 128 * N * r of the dearest parameters we take, and a little. */
const MEMORY_BYTES_MAX = 300 * 1_048_576;

/** The libuv pool has 16 threads for the whole process and file I/O needs them. */
export const SCRYPT_CONCURRENT_MAX = 2;
export const SCRYPT_QUEUE_MAX = 64;

/** Makes the `password:` of a user, with a fresh salt. @throws Fault USAGE when empty or too long. */
export async function hashPassword(password: string): Promise<string> {
  if (password === '') throw new Fault('USAGE', 'the password is empty');
  if (isTooLong(password)) {
    throw new Fault('USAGE', `the password is longer than ${PASSWORD_BYTES_MAX} bytes`);
  }
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, { ...COST, salt, hash: Buffer.alloc(HASH_BYTES) });
  return `$scrypt$ln=${COST.ln},r=${COST.r},p=${COST.p}$${base64(salt)}$${base64(hash)}`;
}

/** Null when the text is no scrypt hash, or asks for more than 256 MB or for next to no work. */
export function parsePasswordHash(text: string): PasswordHash | null {
  const match =
    /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/.exec(
      text,
    );
  if (!match) return null;
  const [ln, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])];
  if (ln < 10 || ln > 18 || r < 1 || r > 16 || p < 1 || p > 4) return null;
  if (128 * 2 ** ln * r > 256 * 1_048_576) return null;
  const [salt, hash] = [Buffer.from(match[4]!, 'base64'), Buffer.from(match[5]!, 'base64')];
  return { ln, r, p, salt, hash };
}

export interface PasswordVerifier {
  /**
   * True when `password` is the one of `stored`. With `stored` null (no such user, no password, or
   * an address that is not allowed) the same work is done for nothing, so that time tells nothing.
   * @throws Fault LOGIN_FAILED when more than 64 others wait: refused without work.
   */
  verify: (password: string, stored: string | null) => Promise<boolean>;
}

/** One for each process: it runs two scrypts at once and lets 64 wait. `deriveHash` is for tests. */
export function createPasswordVerifier(deriveHash = derive): PasswordVerifier {
  const waiting: (() => void)[] = [];
  let running = 0;
  /** Has the cost of a fresh hash and fits no password. */
  const dummy: PasswordHash = {
    ...COST,
    salt: randomBytes(SALT_BYTES),
    hash: randomBytes(HASH_BYTES),
  };

  async function takeTurn(): Promise<void> {
    if (running < SCRYPT_CONCURRENT_MAX) {
      running++;
      return;
    }
    if (waiting.length >= SCRYPT_QUEUE_MAX) {
      throw new Fault('LOGIN_FAILED', 'too many logins at once; try again in a moment');
    }
    await new Promise<void>((resolve) => waiting.push(resolve));
  }

  /** Hands the turn to the next in line, or gives it back. */
  function endTurn(): void {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }

  return {
    async verify(password, stored) {
      const wanted = stored === null ? null : parsePasswordHash(stored);
      const isHopeless = isTooLong(password);
      await takeTurn();
      try {
        const target = wanted ?? dummy;
        const derived = await deriveHash(isHopeless ? '' : password, target);
        const isSame = timingSafeEqual(derived, target.hash);
        return isSame && wanted !== null && !isHopeless;
      } finally {
        endTurn();
      }
    },
  };
}

function isTooLong(password: string): boolean {
  return Buffer.byteLength(password) > PASSWORD_BYTES_MAX;
}

/** NFC: the same letters typed on a Mac and on a PC are the same password. */
function derive(password: string, target: PasswordHash): Promise<Buffer> {
  const { ln, r, p, salt, hash } = target;
  return new Promise((resolve, reject) => {
    scrypt(
      password.normalize('NFC'),
      salt,
      hash.length,
      { N: 2 ** ln, r, p, maxmem: MEMORY_BYTES_MAX },
      (error, derived) => {
        if (error) reject(error);
        else resolve(derived);
      },
    );
  });
}

function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
