import { constants } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { createSecureContext, createServer, type Server, type TLSSocket } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { TlsSettings } from '../core/settings.ts';

/**
 * TLS on the connections of one door: TLS 1.2 and later, no resumption (each connection shows its
 * certificate anew, and a new list of authorities holds at once), no renegotiation. A client without
 * a good certificate is let through to be refused by whoever asks for one, with the reason known.
 */
export class DoorTls {
  #files: TlsFiles | null = null;
  #server: Server | null = null;
  readonly #handshakes = new Map<string, (socket: TLSSocket) => void>();
  readonly #failed: (address: string | undefined, why: string) => void;

  /** `failed` hears of clients that spoke no TLS or broke it; their sockets are closed. */
  constructor(failed: (address: string | undefined, why: string) => void) {
    this.#failed = failed;
  }

  /**
   * Reads the files; true when they hold something new. Connections that are open stay as they are.
   * @throws Fault TLS_FAILED naming the file that cannot be used; what was loaded before holds on.
   */
  async load(settings: TlsSettings): Promise<boolean> {
    const files = await readFiles(settings);
    if (this.#files !== null && isSame(this.#files, files)) return false;
    const options = {
      cert: files.cert,
      key: files.key,
      ...(files.clientCa && { ca: files.clientCa }),
      minVersion: 'TLSv1.2' as const,
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    };
    try {
      createSecureContext(options);
    } catch (cause) {
      const { message } = cause as Error;
      const { cert, key, clientCa } = settings;
      const named = [cert, key, ...(clientCa === null ? [] : [clientCa])].join(', ');
      throw new Fault('TLS_FAILED', `${named} cannot be used for TLS: ${message}`, cause);
    }
    this.#files = files;
    // A server cannot be told later to ask for certificates: a new one can. It never listens.
    const server = createServer({
      ...options,
      requestCert: files.clientCa !== null,
      rejectUnauthorized: false,
      allowHalfOpen: true,
    });
    server.on('secureConnection', (socket: TLSSocket) => {
      const shaken = this.#handshakes.get(keyOf(socket));
      if (shaken === undefined) socket.destroy();
      else shaken(socket);
    });
    server.on('tlsClientError', (error: Error & { code?: string }, socket: TLSSocket) => {
      this.#failed(socket.remoteAddress, `TLS: ${error.code ?? error.message}`);
      socket.destroy();
    });
    this.#server = server;
    return true;
  }

  /** Does the handshake of a server over `socket`, which closes with it. */
  shake(socket: Socket, done: (secure: TLSSocket, client: ClientCertificate) => void): void {
    const key = keyOf(socket);
    const forget = () => this.#handshakes.delete(key);
    this.#handshakes.set(key, (secure) => {
      forget();
      done(secure, clientCertificate(secure, this.#files!.clientCa !== null));
    });
    socket.once('close', forget);
    this.#server!.emit('connection', socket); // as node:tls documents for injected connections
  }
}

export interface ClientCertificate {
  /** Subject common name of a certificate that one of our authorities signed; null: none such. */
  user: string | null;
  /** Why there is no user, in words. */
  problem: string | null;
}

interface TlsFiles {
  cert: Buffer;
  key: Buffer;
  clientCa: Buffer | null;
}

async function readFiles({ cert, key, clientCa }: TlsSettings): Promise<TlsFiles> {
  return {
    cert: await read(cert),
    key: await read(key),
    clientCa: clientCa === null ? null : await read(clientCa),
  };
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new Fault('TLS_FAILED', `${path} cannot be read: ${code}`, cause);
  }
}

function isSame(a: TlsFiles, b: TlsFiles): boolean {
  const isSameCa =
    a.clientCa === null || b.clientCa === null
      ? a.clientCa === b.clientCa
      : a.clientCa.equals(b.clientCa);
  return a.cert.equals(b.cert) && a.key.equals(b.key) && isSameCa;
}

function clientCertificate(socket: TLSSocket, isAsked: boolean): ClientCertificate {
  const problem = (why: string): ClientCertificate => ({ user: null, problem: why });
  if (!isAsked) return problem('clients are not asked for a certificate');
  const certificate = socket.getPeerCertificate();
  if (Object.keys(certificate).length === 0) return problem('it showed no certificate');
  if (!socket.authorized) {
    return problem(`its certificate is not good: ${String(socket.authorizationError)}`);
  }
  const name: unknown = certificate.subject.CN; // an array when there are several
  if (typeof name !== 'string' || name === '') {
    return problem('its certificate has not one common name');
  }
  return { user: name, problem: null };
}

/** Of two sockets of one connection, the plain one and that with TLS on it. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
