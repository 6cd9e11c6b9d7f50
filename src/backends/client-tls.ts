import { constants, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { checkServerIdentity, createSecureContext } from 'node:tls';
import type { ConnectionOptions, SecureContext } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { ClientTlsSettings } from '../core/settings.ts';

/**
 * What lines with TLS connect with, one for the process: TLS 1.2 and later, the server's certificate
 * signed by a known authority and made for its name, no renegotiation. Files are read at each
 * opening; what was made of the same files is used again, as the system's authorities alone take
 * several milliseconds to parse.
 */
export class ClientTls {
  readonly #contexts = new Map<string, { files: Files; context: SecureContext }>();

  /**
   * For tls.connect. `host`: what the certificate must be for, unless the settings name another.
   * @throws Fault PORT_OPEN_FAILED naming the file that cannot be used.
   */
  async options(
    description: string,
    host: string,
    settings: ClientTlsSettings,
  ): Promise<ConnectionOptions> {
    const { ca, cert, key, serverName } = settings;
    const name = serverName ?? host;
    return {
      secureContext: await this.#context(description, { ca, cert, key }),
      // An address is never a server name on the wire (RFC 6066, 3), but may stand in a certificate.
      servername: isIP(name) === 0 ? name : '',
      checkServerIdentity: (_servername, certificate) => checkServerIdentity(name, certificate),
    };
  }

  async #context(description: string, paths: Files<string>): Promise<SecureContext> {
    const files = await readFiles(description, paths);
    const key = JSON.stringify(paths);
    const known = this.#contexts.get(key);
    if (known !== undefined && isSame(known.files, files)) return known.context;
    const options = {
      minVersion: 'TLSv1.2' as const,
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      ...(files.ca && { ca: files.ca }),
      ...(files.cert && { cert: files.cert }),
      ...(files.key && { key: files.key }),
    };
    try {
      // A file without a certificate would be taken for an empty list of authorities.
      if (paths.ca !== null) new X509Certificate(files.ca!);
      const context = createSecureContext(options);
      this.#contexts.set(key, { files, context });
      return context;
    } catch (cause) {
      const named = [paths.ca, paths.cert, paths.key].filter((path) => path !== null).join(', ');
      const why = `${named} cannot be used for TLS: ${(cause as Error).message}`;
      throw new Fault('PORT_OPEN_FAILED', `${description}: ${why}`, cause);
    }
  }
}

/** Paths, or what they hold; null: none. */
interface Files<Content = Buffer> {
  ca: Content | null;
  cert: Content | null;
  key: Content | null;
}

async function readFiles(description: string, { ca, cert, key }: Files<string>): Promise<Files> {
  async function read(path: string | null): Promise<Buffer | null> {
    try {
      return path === null ? null : await readFile(path);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const why = `${path} cannot be read (${code}); "tls" names it`;
      throw new Fault('PORT_OPEN_FAILED', `${description}: ${why}`, cause);
    }
  }
  return {
    ca: ca === null ? await readSystemAuthorities() : await read(ca),
    cert: await read(cert),
    key: await read(key),
  };
}

/** Debian and Arch; Fedora; SUSE; Alpine. */
const SYSTEM_AUTHORITIES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** null: the system has none where we look, and those that Node brings along must do. */
async function readSystemAuthorities(): Promise<Buffer | null> {
  for (const path of SYSTEM_AUTHORITIES) {
    const bytes = await readFile(path).catch(() => null);
    if (bytes !== null) return bytes;
  }
  return null;
}

function isSame(a: Files, b: Files): boolean {
  const isSameFile = (one: Buffer | null, other: Buffer | null): boolean =>
    one === null || other === null ? one === other : one.equals(other);
  return isSameFile(a.ca, b.ca) && isSameFile(a.cert, b.cert) && isSameFile(a.key, b.key);
}

/** What went wrong with TLS, in words and with the fix; null when it was something else. */
export function explainTlsError(error: Error & { code?: string }, name: string): string | null {
  const { code = '' } = error;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const { cert } = error as { cert?: { subjectaltname?: string; subject?: { CN?: unknown } } };
    const names = cert?.subjectaltname ?? (cert?.subject?.CN as string | undefined);
    const isFor = names === undefined ? 'another name' : names.slice(0, NAMES_CHARS_MAX);
    return `its certificate is not for ${name} but for ${isFor}; if that is the server, set "serverName" of its "tls" to one of these`;
  }
  const words = CERTIFICATE_ERRORS[code];
  if (words !== undefined) return words;
  if (ALERTS_ABOUT_US.test(code)) {
    return `the server does not take our certificate, or wants one (${code}); name one it knows: "tls: { cert: FILE, key: FILE }"`;
  }
  if (code.endsWith('ALERT_HANDSHAKE_FAILURE')) {
    return `the server refuses the handshake (${code}): it wants a certificate of ours ("tls: { cert: FILE, key: FILE }"), or we have no cipher in common`;
  }
  if (NO_COMMON_VERSION.test(code)) {
    return `the server and we have no version or cipher of TLS in common (${code}); it must speak TLS 1.2 or later`;
  }
  if (code.startsWith('ERR_SSL_')) {
    return `what answers there does not speak TLS (${code}); is it the TCP port with TLS? Without TLS leave "tls" out`;
  }
  return null;
}

/** Names of a certificate that are told: it may have hundreds. */
const NAMES_CHARS_MAX = 200;

const UNKNOWN_AUTHORITY =
  'its certificate is signed by an authority that is not known here; name that authority\'s certificate: "tls: { ca: FILE }"';

/** X509_V_ERR_..., as Node names them (tls.html, "X509 certificate error codes"). */
const CERTIFICATE_ERRORS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired; renew it there (or is the clock here right?)',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; are the clocks here and there right?',
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT:
    'its certificate is signed by nobody but itself; when you have made sure that it is the right one, save it and name it: "tls: { ca: FILE }"',
  CERT_SIGNATURE_FAILURE: 'its certificate is damaged or forged: the signature is wrong',
  CERT_REVOKED: 'its certificate was revoked',
  CERT_UNTRUSTED: 'its certificate is not trusted for this purpose',
  CERT_REJECTED: 'its certificate is not trusted for this purpose',
  INVALID_PURPOSE: 'its certificate is not for a server; its authority must issue another',
  INVALID_CA: 'its certificate is signed by one that is no authority',
  PATH_LENGTH_EXCEEDED: 'its certificate has more authorities in between than these allow',
  CERT_CHAIN_TOO_LONG: 'its certificate has too many authorities in between',
};

const ALERTS_ABOUT_US =
  /ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN)|UNKNOWN_CA|ACCESS_DENIED)$/;
const NO_COMMON_VERSION =
  /PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_SHARED_CIPHER|INSUFFICIENT_SECURITY|DH_KEY_TOO_SMALL/;
