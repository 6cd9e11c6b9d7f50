import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import tls from 'node:tls';
import type { BackendOpener } from '../../src/core/backend.ts';
import type { ClientTlsSettings } from '../../src/core/settings.ts';
import { hasCode } from '../contracts/backend.ts';
import { TestAuthority } from '../frontends/certificates.ts';
import { backendServices, createOpener, portSettings, RecordingSink } from '../support/backend.ts';
import { until } from '../support/pty.ts';

describe('a line with TLS', () => {
  let directory: string;
  let authority: TestAuthority;
  let stranger: TestAuthority;
  const servers: net.Server[] = [];

  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'fairlead-tls-'));
    authority = new TestAuthority(directory);
    stranger = new TestAuthority(directory, 'stranger');
  });
  after(() => rmSync(directory, { recursive: true, force: true }));
  afterEach(async () => {
    for (const server of servers.splice(0)) {
      server.close();
      await once(server, 'close');
    }
  });

  async function listen(server: net.Server): Promise<number> {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
    return (server.address() as AddressInfo).port;
  }

  /** What it is sent it sends back. */
  function serve(
    files: { cert: string; key: string },
    options: tls.TlsOptions = {},
  ): Promise<number> {
    const [cert, key] = [readFileSync(files.cert), readFileSync(files.key)];
    const server = tls.createServer({ cert, key, ...options }, (socket) => {
      socket.on('error', () => undefined);
      socket.pipe(socket);
    });
    return listen(server);
  }

  function openerOf(
    tcpPort: number,
    changes: Partial<ClientTlsSettings> = {},
    host = '127.0.0.1',
  ): BackendOpener {
    const { certificate } = authority;
    const settings = { ca: certificate, cert: null, key: null, serverName: null, ...changes };
    const backend = { kind: 'tcp', host, tcpPort, tls: settings } as const;
    return createOpener(portSettings(backend), backendServices(null));
  }

  async function works(opener: BackendOpener): Promise<void> {
    const sink = new RecordingSink();
    const backend = await opener.open(sink);
    backend.write(Buffer.from('hello'));
    await until(() => sink.text === 'hello', 'the echo');
    await backend.close();
  }

  async function failure(opener: BackendOpener): Promise<string> {
    const sink = new RecordingSink();
    const error: unknown = await opener.open(sink).then(
      async (backend) => {
        await backend.close();
        return null;
      },
      (reason: unknown) => reason,
    );
    hasCode('PORT_OPEN_FAILED')(error);
    assert.equal(sink.calls, 0, 'not a byte before the server is known');
    return (error as Error).message;
  }

  it('knows a server by the address or name that its certificate is for', async () => {
    const tcpPort = await serve(authority.issue('good'));
    await works(openerOf(tcpPort));
    await works(openerOf(tcpPort, {}, 'localhost'));
    await works(openerOf(tcpPort, { serverName: 'localhost' }));
    assert.equal(
      await failure(openerOf(tcpPort, { serverName: 'ts9.example' })),
      `tcp 127.0.0.1:${tcpPort} (TLS): its certificate is not for ts9.example but for IP Address:127.0.0.1, DNS:localhost; if that is the server, set "serverName" of its "tls" to one of these`,
    );
  });

  it('says that a certificate has expired', async () => {
    const tcpPort = await serve(authority.issue('late', '/CN=late', 0));
    assert.match(
      await failure(openerOf(tcpPort)),
      /^tcp 127\.0\.0\.1:\d+ \(TLS\): its certificate has expired; renew it there/,
    );
  });

  it('says that it does not know the authority, or that there is none', async () => {
    const theirs = await serve(stranger.issue('theirs'));
    assert.match(
      await failure(openerOf(theirs)),
      /signed by an authority that is not known here; name that authority's certificate: "tls: \{ ca: FILE \}"$/,
    );
    assert.match(await failure(openerOf(theirs, { ca: null })), /not known here/);
    const [cert, key] = [stranger.certificate, stranger.certificate.replace(/pem$/, 'key')];
    const own = await serve({ cert, key });
    assert.match(
      await failure(openerOf(own)),
      /signed by nobody but itself; .* save it and name it/,
    );
    await works(openerOf(theirs, { ca: stranger.certificate }));
  });

  it('says that the other side does not speak TLS', async () => {
    const talks = await listen(
      net.createServer((socket) =>
        socket
          .on('error', () => undefined)
          .end('220 ready\r\n')
          .resume(),
      ),
    );
    assert.match(
      await failure(openerOf(talks)),
      /what answers there does not speak TLS \(ERR_SSL_\w+\); is it the TCP port with TLS\? Without TLS leave "tls" out$/,
    );
    const hangsUp = await listen(net.createServer((socket) => socket.destroy()));
    assert.match(await failure(openerOf(hangsUp)), /ended the TLS handshake; does it speak TLS/);
  });

  it('says that a server is too old', async () => {
    const old = await serve(authority.issue('old'), {
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    assert.match(await failure(openerOf(old)), /must speak TLS 1\.2 or later$/);
  });

  it('shows a certificate where one is wanted, and says so when it has none', async () => {
    const wanting = { requestCert: true, ca: readFileSync(authority.certificate) };
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const tcpPort = await serve(authority.issue('strict'), { ...wanting, maxVersion });
      await works(openerOf(tcpPort, authority.issue('fairlead')));
      // With TLS 1.3 the client is through before the server has looked.
      const sink = new RecordingSink();
      const said = await openerOf(tcpPort)
        .open(sink)
        .then(
          async (backend) => {
            await until(() => sink.faults.length > 0, 'the server to refuse');
            await backend.close();
            return sink.faults[0]!.message;
          },
          (error: Error) => error.message,
        );
      assert.match(said, /wants (one|a certificate of ours) .*"tls: \{ cert: FILE, key/);
    }
  });

  it('reads its files at each opening, and names the one that is no good', async () => {
    const tcpPort = await serve(authority.issue('again'));
    const ca = path.join(directory, 'changing.pem');
    const opener = openerOf(tcpPort, { ca });
    assert.match(await failure(opener), /changing\.pem cannot be read \(ENOENT\)/);
    writeFileSync(ca, '-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n');
    assert.match(await failure(opener), /changing\.pem cannot be used for TLS: /);
    copyFileSync(stranger.certificate, ca);
    assert.match(await failure(opener), /not known here/);
    copyFileSync(authority.certificate, ca);
    await works(opener);
  });

  it('gives the whole of a flood, in bounded pieces, to a port that keeps up', async () => {
    const sent = 32 * 1_048_576;
    const [cert, key] = Object.values(authority.issue('flood')).map((file) => readFileSync(file));
    const tcpPort = await listen(
      tls.createServer({ cert: cert!, key: key! }, (socket) => {
        socket.on('error', () => undefined);
        socket.end(Buffer.alloc(sent, 'x'));
      }),
    );
    let received = 0;
    let most = 0;
    const sink = new RecordingSink();
    sink.rx = (bytes) => {
      received += bytes.length;
      most = Math.max(most, bytes.length);
    };
    const backend = await openerOf(tcpPort).open(sink);
    await until(() => sink.faults.length > 0, 'the end');
    assert.equal(received, sent);
    assert.ok(most <= 16_384, `${most} bytes at once`);
    await backend.close();
  });
});
