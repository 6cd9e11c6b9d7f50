import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { watchHalfClosed } from '../../src/frontends/half-closed.ts';
import { TestAuthority } from './certificates.ts';
import { withDirectory } from './fakes.ts';

/** Both ends of a TCP connection. */
async function pair(): Promise<{ ours: Socket; theirs: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const theirs = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [ours] = (await once(server, 'connection')) as [Socket];
  server.close();
  for (const socket of [ours, theirs]) socket.on('error', () => undefined);
  return { ours, theirs };
}

/** `once` would reject for the error that goes before. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

describe('a half-closed connection', () => {
  it('stays while its client listens, and is closed when that is gone', async () => {
    const { ours, theirs } = await pair();
    ours.resume();
    theirs.end();
    await once(ours, 'end');
    watchHalfClosed(ours);
    const looks = 3;
    let looked = 0;
    const write = ours.write.bind(ours);
    await new Promise<void>((resolve) => {
      ours.write = ((...given: Parameters<typeof write>) => {
        if (++looked === looks) resolve();
        return write(...given);
      }) as typeof ours.write;
    });
    ours.write('still there');
    const [heard] = (await once(theirs, 'data')) as [Buffer];
    assert.equal(heard.toString(), 'still there');
    const closed = closeOf(ours);
    theirs.resetAndDestroy();
    await closed;
  });

  it('is closed under TLS, too', () =>
    withDirectory(async (directory) => {
      const authority = new TestAuthority(directory);
      const { cert, key } = authority.issue('server');
      const { ours, theirs } = await pair();
      const server = createTlsServer({
        cert: readFileSync(cert),
        key: readFileSync(key),
        allowHalfOpen: true,
      });
      server.emit('connection', ours);
      const ca = readFileSync(authority.certificate);
      const client = connectTls({ socket: theirs, host: '127.0.0.1', ca });
      client.on('error', () => undefined);
      const [secure] = (await once(server, 'secureConnection')) as [TLSSocket];
      secure.on('error', () => undefined);
      secure.resume();
      client.end();
      await once(secure, 'end');
      watchHalfClosed(ours);
      const closed = closeOf(secure);
      theirs.resetAndDestroy();
      await closed;
    }));
});
