import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Sweep } from '../../src/backends/index.ts';
import { openSocket } from '../../src/backends/socket.ts';
import type { BackendSettings } from '../../src/core/settings.ts';
import { describeBackendContract, hasCode } from '../contracts/backend.ts';
import { backendServices, portSettings, RecordingSink, createOpener } from '../support/backend.ts';
import { until } from '../support/pty.ts';
import { makeSocketDevice } from '../support/socket-device.ts';
import { makeTlsDevice } from '../support/tls-device.ts';

const ALL = ['line', 'signals', 'break'] as const;
let directory: string;
before(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'fairlead-sockets-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

const openerOf = (backend: BackendSettings): ReturnType<typeof createOpener> =>
  createOpener(portSettings(backend), backendServices(null));

describeBackendContract('tcp', { unsupported: ALL }, async () => {
  const device = await makeSocketDevice({ host: '127.0.0.1', port: 0 });
  const tcpPort = (device.server.address() as AddressInfo).port;
  const opener = openerOf({ kind: 'tcp', host: '127.0.0.1', tcpPort, tls: null });
  return { ...device, opener, leave: device.close };
});

describeBackendContract('tcp by TLS', { unsupported: ALL }, async () => {
  const { secure, tls } = makeTlsDevice();
  const device = await makeSocketDevice({ host: '127.0.0.1', port: 0 }, secure);
  const tcpPort = (device.server.address() as AddressInfo).port;
  const opener = openerOf({ kind: 'tcp', host: '127.0.0.1', tcpPort, tls });
  return {
    ...device,
    opener: {
      ...opener,
      // With TLS 1.3 the client is through with the handshake before the server is.
      async open(sink) {
        const arrived = once(device.server, 'secureConnection');
        const backend = await opener.open(sink);
        await arrived;
        return backend;
      },
    },
    leave: device.close,
  };
});

let sockets = 0;
describeBackendContract('unix', { unsupported: ALL }, async () => {
  const socketPath = path.join(directory, `vm${sockets++}.sock`);
  const device = await makeSocketDevice({ path: socketPath });
  return { ...device, opener: openerOf({ kind: 'unix', path: socketPath }), leave: device.close };
});

describe('a network line', () => {
  async function openFailure(backend: BackendSettings): Promise<string> {
    const error: unknown = await openerOf(backend)
      .open(new RecordingSink())
      .then(
        () => assert.fail('it opened'),
        (reason: unknown) => reason,
      );
    hasCode('PORT_OPEN_FAILED')(error);
    return (error as Error).message;
  }

  it('says what was refused and what to do', async () => {
    const device = await makeSocketDevice({ host: '127.0.0.1', port: 0 });
    const tcpPort = (device.server.address() as AddressInfo).port;
    await device.dispose();
    assert.equal(
      await openFailure({ kind: 'tcp', host: '127.0.0.1', tcpPort, tls: null }),
      `tcp 127.0.0.1:${tcpPort}: connection refused; nothing listens there; is the server running, and is the TCP port right?`,
    );
    assert.match(
      await openFailure({ kind: 'tcp', host: 'no-such-host.invalid', tcpPort, tls: null }),
      /^tcp no-such-host\.invalid:\d+: the name (does not resolve|server does not answer); /,
    );
  });

  it('tells a missing socket from a dead one and from no socket at all', async () => {
    const missing = path.join(directory, 'missing.sock');
    assert.equal(
      await openFailure({ kind: 'unix', path: missing }),
      `unix ${missing} does not exist; is the machine running?`,
    );
    const file = path.join(directory, 'file');
    writeFileSync(file, '');
    assert.match(await openFailure({ kind: 'unix', path: file }), /is not a unix socket/);
  });

  it('gives up a connect that nobody answers', async () => {
    const sink = new RecordingSink();
    const opening = openSocket(
      {
        connect: () => new net.Socket(), // never connects, as to a host that drops everything
        readyAt: 'connect',
        sweep: new Sweep(),
        description: 'tcp 192.0.2.1:5001',
        connectTimeoutMs: 20,
        explain: (error) => `${error.code}`,
      },
      sink,
    );
    await assert.rejects(opening, (error: Error) => {
      hasCode('PORT_OPEN_FAILED')(error);
      assert.equal(error.message, 'ETIMEDOUT');
      return true;
    });
    assert.equal(sink.calls, 0);
  });

  it('says in words that the other side reset the connection', async () => {
    const device = await makeSocketDevice({ host: '127.0.0.1', port: 0 });
    const tcpPort = (device.server.address() as AddressInfo).port;
    const connected = once(device.server, 'connection') as Promise<[net.Socket]>;
    const sink = new RecordingSink();
    const backend = await openerOf({ kind: 'tcp', host: '127.0.0.1', tcpPort, tls: null }).open(
      sink,
    );
    const [accepted] = await connected;
    accepted.resetAndDestroy();
    await until(() => sink.faults.length > 0, 'the reset');
    assert.equal(
      sink.faults[0]!.message,
      `tcp 127.0.0.1:${tcpPort}: the other side reset the connection`,
    );
    await backend.close();
    await device.dispose();
  });

  it('sees a unix socket come back', async () => {
    const run = path.join(directory, 'run');
    mkdirSync(run);
    const socketPath = path.join(run, 'vm.sock');
    let returns = 0;
    const stop = openerOf({ kind: 'unix', path: socketPath }).watchReturn!(() => {
      returns++;
    });
    const device = await makeSocketDevice({ path: socketPath });
    await until(() => returns > 0, 'the return');
    stop();
    await device.dispose();
  });
});
