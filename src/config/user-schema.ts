import { parsePasswordHash } from '../auth/password.ts';
import { parseTotpSecret } from '../auth/totp.ts';
import { BUILT_IN_ROLES, DEFAULT_ESCAPE, RIGHTS, type EscapePrefix } from '../core/user.ts';
import {
  checkedText,
  cidrs,
  inWords,
  isPortPattern,
  listOf,
  map,
  name,
  oneOf,
  orNone,
  path,
  publicKey,
  text,
  unixName,
  wrong,
} from './shapes.ts';

const passwordText = 'a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...';
const passwordHash = text(passwordText, (given) =>
  parsePasswordHash(given)
    ? { value: given }
    : wrong(given.startsWith('$scrypt$') ? 'this hash is damaged' : 'this is no scrypt hash'),
);

/** What a secret of one-time codes may look like, to be said after "expected". */
export const TOTP_EXPECTED =
  'base32 of 16 bytes or more, such as "head -c 20 /dev/urandom | base32" makes';

/** RFC 4226 section 4 asks for 128 bits at least. */
const TOTP_BYTES_MIN = 16;

/** A secret as it was given, or what is wrong with it; never repeats it. */
export function readTotpSecret(given: string): { value: string } | { wrong: string } {
  const secret = parseTotpSecret(given);
  if (!secret) return { wrong: 'this is no secret in base32 (A-Z and 2-7)' };
  if (secret.length >= TOTP_BYTES_MIN) return { value: given };
  return { wrong: `this secret has ${secret.length} bytes only` };
}

/** What begins a key of ours: control-E and c. */
const escapeDefault = DEFAULT_ESCAPE.map(asTyped).join('');
const escapeExpected =
  'two characters, the first a control character, as in "^Ec" (control-E and c), or none';
const escape = orNone(text(escapeExpected, readEscape), escapeExpected);

export const userSchema = map('a map with role, ports and keys or a password', {
  role: name.describe(
    `What the user may do: ${Object.keys(BUILT_IN_ROLES).join(', ')}, or a role of \`roles\`.`,
  ),
  ports: listOf(
    checkedText('a pattern of port names such as db1 or "db*", or "@group"', isPortPattern),
    'a list of patterns',
  )
    .prefault([])
    .describe(
      'Patterns of port names (`*`, `?`, `[abc]`), or `@group`. Without any the user has no ports; an admin has all.',
    ),
  keys: listOf(publicKey, 'a list of public keys')
    .prefault([])
    .describe('Public keys, as in a .pub file: ssh-ed25519, ecdsa-sha2-* or ssh-rsa.'),
  keysFile: path.optional().describe('A file with more public keys, one on each line.'),
  password: passwordHash
    .optional()
    .describe('Hash of the password, as `fairlead user hash` prints it; never the password.'),
  passwordFile: path.optional().describe('A file with that hash, instead of `password`.'),
  totp: text(TOTP_EXPECTED, readTotpSecret)
    .optional()
    .describe(
      'Secret of the one-time codes (RFC 6238) asked for besides the password, never besides a key; base32.',
    ),
  totpFile: path.optional().describe('A file with that secret, instead of `totp`.'),
  principals: listOf(
    checkedText('a principal: 1 to 256 characters without "," and control characters', (given) =>
      /^[^\p{Cc},]{1,256}$/u.test(given),
    ),
    'a list of principals',
  )
    .prefault([])
    .describe('Principals of certificates that admit this user, besides the own name.'),
  unix: unixName('the name of a unix user')
    .optional()
    .describe('The unix user who is this user on the control socket.'),
  from: cidrs
    .prefault([])
    .describe('Address blocks the user may come from. Without any: from anywhere.'),
  escape: escape
    .prefault(escapeDefault)
    .describe(
      'The two characters that begin a key of ours, `^X` for control-X; `none`: keys are off.',
    ),
});

export const roleSchema = listOf(oneOf(...RIGHTS), `a list of rights: ${inWords(RIGHTS)}`).min(1, {
  error: () => 'at least one right',
});

export const certificatesSchema = map('a map with authorities', {
  authorities: listOf(publicKey, 'a list of public keys')
    .prefault([])
    .describe('Public keys that sign user certificates, as in a .pub file.'),
  authoritiesFile: path.optional().describe('A file with more of them, one on each line.'),
  revokedFile: path
    .optional()
    .describe(
      'Revoked certificates and keys: a list made by `ssh-keygen -k`, or public keys, one on each line. Read anew when it changes.',
    ),
});

function readEscape(given: string): { value: EscapePrefix } | { wrong: string | null } {
  const keys = /^(\^[@-_a-z]|[^^])(\^[@-_a-z?]|[^])$/.exec(given);
  const [first, second] = [byteOf(keys?.[1]), byteOf(keys?.[2])];
  if (first === null || second === null) return wrong();
  if (first > 0x1f) return wrong(`"${keys![1]}" is no control character`);
  if ([0x00, 0x0a, 0x0d].includes(first)) {
    return wrong(`${asTyped(first)} is what terminals send of themselves`);
  }
  return { value: [first, second] };
}

/** `^E`, or a character of one byte. Null when it is neither. */
function byteOf(key: string | undefined): number | null {
  if (key === undefined) return null;
  if (key === '^?') return 0x7f;
  if (key.length === 2) return key.toUpperCase().charCodeAt(1) & 0x1f;
  const code = key.charCodeAt(0);
  return code < 0x80 ? code : null;
}

function asTyped(byte: number): string {
  return byte < 0x20 ? `^${String.fromCharCode(byte + 0x40)}` : String.fromCharCode(byte);
}
