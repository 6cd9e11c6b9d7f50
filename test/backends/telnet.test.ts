import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Backend } from '../../src/core/backend.ts';
import type { ClientTlsSettings } from '../../src/core/settings.ts';
import { encodeNegotiation } from '../../src/protocols/telnet.ts';
import { TELNET_OPTIONS } from '../../src/protocols/telnet-options.ts';
import { describeBackendContract } from '../contracts/backend.ts';
import { backendServices, portSettings, RecordingSink, createOpener } from '../support/backend.ts';
import { until } from '../support/pty.ts';
import { makeTlsDevice } from '../support/tls-device.ts';
import { TelnetDevice, type TelnetDeviceOptions } from '../support/telnet-device.ts';

const IAC = 255;

function openerFor(
  device: TelnetDevice,
  tls: ClientTlsSettings | null = null,
): ReturnType<typeof createOpener> {
  const backend = {
    kind: 'telnet',
    host: '127.0.0.1',
    tcpPort: device.tcpPort,
    tls,
  } as const;
  return createOpener(portSettings(backend), backendServices(null));
}

describeBackendContract('telnet', { unsupported: ['line', 'signals'] }, async () => {
  const device = await new TelnetDevice().start();
  const { send, receive, leave, dispose } = device;
  return { opener: openerFor(device), send, receive, leave, dispose };
});

describeBackendContract('telnet by TLS', { unsupported: ['line', 'signals'] }, async () => {
  const { secure, tls } = makeTlsDevice();
  const device = await new TelnetDevice({ secure }).start();
  const { send, receive, leave, dispose } = device;
  return { opener: openerFor(device, tls), send, receive, leave, dispose };
});

describe('a telnet line', () => {
  let device: TelnetDevice;
  let backend: Backend;
  const sink = { current: new RecordingSink() };

  async function open(options: TelnetDeviceOptions): Promise<void> {
    device = await new TelnetDevice(options).start();
    sink.current = new RecordingSink();
    backend = await openerFor(device).open(sink.current);
  }
  afterEach(async () => {
    await backend.close();
    await device.dispose();
  });

  async function received(length: number): Promise<Buffer> {
    const got: Buffer[] = [];
    await until(() => {
      got.push(device.receive());
      return Buffer.concat(got).length >= length;
    }, `${length} bytes`);
    return Buffer.concat(got);
  }

  const negotiated = (count: number) =>
    until(() => device.negotiations.length >= count, 'the options asked for');

  it('asks for BINARY and SGA both ways', async () => {
    await open({});
    await negotiated(4);
    const { binary, suppressGoAhead } = TELNET_OPTIONS;
    assert.deepEqual(device.negotiations, [
      { verb: 'will', option: binary },
      { verb: 'do', option: binary },
      { verb: 'will', option: suppressGoAhead },
      { verb: 'do', option: suppressGoAhead },
    ]);
  });

  it('speaks as a network virtual terminal to a server without BINARY', async () => {
    await open({ agrees: [] });
    await negotiated(4);
    backend.write(Buffer.from([0x61, 13, 10, 13, IAC, 13]));
    assert.deepEqual(await received(9), Buffer.from([0x61, 13, 0, 10, 13, 0, IAC, 13, 0]));
    for (const piece of [[13], [0, 10, 13, 0], [0x62, 13, 10, 0]]) {
      await device.send(Buffer.from(piece));
    }
    await until(() => sink.current.receivedBytes >= 7, 'the device’s words');
    assert.deepEqual(sink.current.bytes, Buffer.from([13, 10, 13, 0x62, 13, 10, 0]));
  });

  it('serves a server that never negotiates', async () => {
    await open({ isSilent: true, greeting: Buffer.from('login: ') });
    await until(() => sink.current.text === 'login: ', 'the greeting');
    backend.write(Buffer.from('root'));
    assert.equal((await received(4)).toString(), 'root');
  });

  it('takes the server’s echo, and refuses what it has no use for', async () => {
    const { echo, windowSize } = TELNET_OPTIONS;
    await open({
      greeting: Buffer.concat([
        encodeNegotiation('will', echo),
        encodeNegotiation('do', windowSize),
      ]),
    });
    await negotiated(6);
    assert.deepEqual(
      device.negotiations.filter(({ option }) => option === echo || option === windowSize),
      [
        { verb: 'do', option: echo },
        { verb: 'wont', option: windowSize },
      ],
    );
  });

  it('sends BREAK as telnet has it', async () => {
    await open({});
    backend.write(Buffer.from('before'));
    await backend.sendBreak(300);
    backend.write(Buffer.from('after'));
    assert.equal((await received(11)).toString(), 'beforeafter');
    assert.deepEqual(device.commands, ['break']);
  });

  it('ends with a server that negotiates without end', async () => {
    const asks = Array.from({ length: 101 }, (_, i) => encodeNegotiation('do', 50 + (i % 100)));
    await open({ greeting: Buffer.concat(asks) });
    await until(() => sink.current.faults.length > 0, 'the end');
    assert.match(sink.current.faults[0]!.message, /negotiates without end/);
    assert.equal(sink.current.faults[0]!.code, 'PORT_GONE');
    assert.equal(backend.isAlive(), false);
    await assert.rejects(backend.sendBreak(300), { code: 'PORT_GONE' });
  });
});
