import { createHmac, timingSafeEqual } from 'node:crypto';

/** One step of RFC 6238: a code is made for each. */
export const TOTP_STEP_S = 30;
const TOTP_DIGITS = 6;
/** Steps a client's clock may be off, each way. */
const STEPS_OFF_MAX = 1;
/** RFC 4226 section 4 asks for 128 bits of secret and more; 80 bits is what many tokens have. */
const SECRET_BYTES_MIN = 10;
const SECRET_CHARACTERS_MAX = 256;

/**
 * The bytes of a secret in base32 (RFC 4648 section 6), in either case, with or without padding, in
 * groups or not. null: it is none, or has under 80 bits.
 */
export function parseTotpSecret(text: string): Buffer | null {
  if (text.length > SECRET_CHARACTERS_MAX) return null;
  const digits = text.replace(/[ -]/g, '').replace(/=+$/, '').toUpperCase();
  // 1, 3 and 6 digits over cannot come of whole bytes.
  if (!/^[A-Z2-7]+$/.test(digits) || [1, 3, 6].includes(digits.length % 8)) return null;
  const bytes: number[] = [];
  let [bits, count] = [0, 0];
  for (const digit of digits) {
    bits = ((bits << 5) | BASE32.indexOf(digit)) & 0xfff;
    count += 5;
    if (count < 8) continue;
    count -= 8;
    bytes.push((bits >> count) & 0xff);
  }
  return bytes.length < SECRET_BYTES_MIN ? null : Buffer.from(bytes);
}

/** The code of one step: RFC 4226 section 5.3 with HMAC-SHA-1, six digits. */
export function totpCode(secret: Uint8Array, step: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', secret).update(counter).digest();
  const number = mac.readUInt32BE(mac[19]! & 0x0f) & 0x7fff_ffff;
  return String(number % 10 ** TOTP_DIGITS).padStart(TOTP_DIGITS, '0');
}

/**
 * The step, of the three around `nowS` (Unix seconds), that `code` belongs to; null: of none. The
 * same work whichever it is.
 */
export function matchTotp(secret: Uint8Array, code: string, nowS: number): number | null {
  const given = Buffer.from(code.replace(/ /g, ''));
  const now = Math.floor(nowS / TOTP_STEP_S);
  let matched: number | null = null;
  for (let step = now - STEPS_OFF_MAX; step <= now + STEPS_OFF_MAX; step++) {
    const wanted = Buffer.from(totpCode(secret, Math.max(0, step)));
    if (given.length === wanted.length && timingSafeEqual(given, wanted)) matched = step;
  }
  return matched;
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
