import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { TlsSettings } from '../../src/core/settings.ts';

/** An authority and what it signed, made by openssl(1) in a directory of the test's. */
export class TestAuthority {
  readonly #directory: string;
  readonly #name: string;

  constructor(directory: string, name = 'ca') {
    this.#directory = directory;
    this.#name = name;
    const made = ['-keyout', this.#path(`${name}.key`), '-out', this.certificate];
    openssl('req', '-x509', ...NEW_KEY, ...made, '-subj', `/CN=${name}`, '-days', '30');
  }

  /** Path of the authority's own certificate. */
  get certificate(): string {
    return this.#path(`${this.#name}.pem`);
  }

  /** A key and its certificate; `subject` as in `/CN=alice`. */
  issue(name: string, subject = `/CN=${name}`, days = 30): { cert: string; key: string } {
    const key = this.#path(`${name}.key`);
    const cert = this.#path(`${name}.pem`);
    const request = this.#path(`${name}.csr`);
    const names = this.#path(`${name}.names`);
    writeFileSync(names, 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
    openssl('req', ...NEW_KEY, '-keyout', key, '-out', request, '-subj', subject);
    const signer = ['-CA', this.certificate, '-CAkey', this.#path(`${this.#name}.key`)];
    const serial = ['-set_serial', String(Math.trunc(Math.random() * 2 ** 40) + 1)];
    const signed = ['-out', cert, '-days', String(days), '-extfile', names];
    openssl('x509', '-req', '-in', request, ...signer, ...serial, ...signed);
    return { cert, key };
  }

  /** For a door that asks clients for a certificate of this authority. */
  door(name = 'server'): TlsSettings {
    return { ...this.issue(name), clientCa: this.certificate };
  }

  #path(file: string): string {
    return join(this.#directory, file);
  }
}

/** What a client of TLS says first. */
export function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read: () => undefined,
      write: (bytes: Buffer, _encoding, done) => {
        resolve(bytes);
        done();
      },
    });
    connect({ socket: wire });
  });
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
