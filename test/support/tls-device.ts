import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TlsOptions } from 'node:tls';
import type { ClientTlsSettings } from '../../src/core/settings.ts';
import { TestAuthority } from '../frontends/certificates.ts';

let made: { authority: TestAuthority; server: { cert: string; key: string } } | null = null;

/** Of a terminal server with a certificate for 127.0.0.1 and localhost, and how to reach it. */
export function makeTlsDevice(): { secure: TlsOptions; tls: ClientTlsSettings } {
  if (made === null) {
    const directory = mkdtempSync(path.join(tmpdir(), 'fairlead-tls-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
    const authority = new TestAuthority(directory);
    made = { authority, server: authority.issue('terminal-server') };
  }
  const { authority, server } = made;
  return {
    secure: { cert: readFileSync(server.cert), key: readFileSync(server.key) },
    tls: { ca: authority.certificate, cert: null, key: null, serverName: null },
  };
}
