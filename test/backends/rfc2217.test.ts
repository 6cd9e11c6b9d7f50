import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Backend } from '../../src/core/backend.ts';
import type { ClientTlsSettings, PortSettings } from '../../src/core/settings.ts';
import { LINE_STATE, MODEM_STATE, type ComPortCommand } from '../../src/protocols/rfc2217.ts';
import { encodeNegotiation } from '../../src/protocols/telnet.ts';
import { TELNET_OPTIONS } from '../../src/protocols/telnet-options.ts';
import { describeBackendContract } from '../contracts/backend.ts';
import {
  backendServices,
  noise,
  portSettings,
  RecordingSink,
  createOpener,
} from '../support/backend.ts';
import { until } from '../support/pty.ts';
import {
  ALL_OPTIONS,
  answerAsAsked,
  TelnetDevice,
  type TelnetDeviceOptions,
} from '../support/telnet-device.ts';
import { makeTlsDevice } from '../support/tls-device.ts';
import { FakeJournal } from '../frontends/fakes.ts';
import { TelnetDoor } from '../frontends/telnet-door.ts';

const { comPort } = TELNET_OPTIONS;
const PLAIN = ALL_OPTIONS.filter((option) => option !== comPort);

function openerFor(
  device: TelnetDevice,
  changes: Partial<PortSettings> = {},
  signals: { dtr?: boolean; rts?: boolean } = {},
  journal = new FakeJournal(),
  tls: ClientTlsSettings | null = null,
): ReturnType<typeof createOpener> {
  const { tcpPort } = device;
  const backend = { kind: 'rfc2217', host: '127.0.0.1', tcpPort, tls, signals } as const;
  return createOpener(portSettings(backend, changes), { ...backendServices(null), journal });
}

describeBackendContract('rfc2217', { unsupported: [] }, async () => {
  const device = await new TelnetDevice().start();
  const { send, receive, leave, dispose } = device;
  return { opener: openerFor(device), send, receive, leave, dispose };
});

describeBackendContract('rfc2217 by TLS', { unsupported: [] }, async () => {
  const { secure, tls } = makeTlsDevice();
  const device = await new TelnetDevice({ secure }).start();
  const { send, receive, leave, dispose } = device;
  const opener = openerFor(device, {}, {}, new FakeJournal(), tls);
  return { opener, send, receive, leave, dispose };
});

describeBackendContract(
  'rfc2217 of a server that knows only telnet',
  { unsupported: ['line', 'signals'] },
  async () => {
    const device = await new TelnetDevice({ agrees: PLAIN }).start();
    const { send, receive, leave, dispose } = device;
    return { opener: openerFor(device), send, receive, leave, dispose };
  },
);

describe('a line behind an RFC 2217 server', () => {
  let device: TelnetDevice;
  let backend: Backend | null = null;
  let sink: RecordingSink;
  let journal: FakeJournal;

  async function open(
    options: TelnetDeviceOptions,
    changes: Partial<PortSettings> = {},
    signals: { dtr?: boolean; rts?: boolean } = {},
  ): Promise<Backend> {
    device = await new TelnetDevice(options).start();
    sink = new RecordingSink();
    journal = new FakeJournal();
    backend = await openerFor(device, changes, signals, journal).open(sink);
    return backend;
  }
  afterEach(async () => {
    await backend?.close();
    await device.dispose();
    backend = null;
  });

  /** Settings of the line that were asked for, in the words of the wire. */
  const settingsAsked = () =>
    device.requests.flatMap((request) =>
      ['baud', 'data-bits', 'parity', 'stop-bits'].includes(request.kind) && 'value' in request
        ? [`${request.kind} ${request.value}`]
        : request.kind === 'control' && ![7, 10].includes(request.value)
          ? [`control ${request.value}`]
          : [],
    );

  it('is set as configured before it is open', async () => {
    await open(
      {},
      { line: { baud: 9_600, dataBits: 7, parity: 'even', stopBits: 2 }, flow: 'xonxoff' },
      { dtr: true, rts: false },
    );
    assert.deepEqual(settingsAsked(), [
      ...['baud 9600', 'data-bits 7', 'parity 3', 'stop-bits 2'],
      ...['control 2', 'control 8', 'control 12'],
    ]);
    assert.deepEqual(journal.lines, []);
  });

  it('is configured line settings and all, and leaves signals alone that nobody configured', async () => {
    const opened = await open({});
    assert.deepEqual([openerFor(device).line?.baud, openerFor(device).kind], [115_200, 'rfc2217']);
    assert.ok(!settingsAsked().some((asked) => /^control ([89]|1[12])$/.test(asked)));
    assert.match(opened.description, /^rfc2217 127\.0\.0\.1:\d+$/);
  });

  it('takes the server up on its own offer', async () => {
    await open({ agrees: PLAIN, greeting: encodeNegotiation('will', comPort) });
    assert.deepEqual(journal.lines, []);
    assert.ok(settingsAsked().includes('baud 115200'));
  });

  it('changes settings and signals, with mark, space and 1.5', async () => {
    const line = await open({});
    device.requests.length = 0;
    await line.setLine({ baud: 250_000, dataBits: 5, parity: 'mark', stopBits: 1.5 }, 'rtscts');
    await line.setSignals({ dtr: false });
    assert.deepEqual(settingsAsked(), [
      ...['baud 250000', 'data-bits 5', 'parity 4', 'stop-bits 3', 'control 3', 'control 9'],
    ]);
    assert.deepEqual(await line.signals(), { dtr: false, rts: false });
  });

  it('says what the server made of settings it cannot do', async () => {
    const answer = (request: ComPortCommand): ComPortCommand | null =>
      request.kind === 'stop-bits' ? { kind: 'stop-bits', value: 1 } : answerAsAsked(request);
    const line = await open({ answer });
    await assert.rejects(
      line.setLine({ baud: 9_600, dataBits: 8, parity: 'none', stopBits: 2 }, 'none'),
      {
        code: 'PORT_UNSUPPORTED',
        message: `rfc2217 127.0.0.1:${device.tcpPort}: the server cannot do 9600 8N2, flow none; the line is at 9600 8N1, flow none now`,
      },
    );
    assert.equal(line.isAlive(), true);
  });

  it('takes a baud rate that is as near as a UART comes', async () => {
    const answer = (request: ComPortCommand): ComPortCommand | null =>
      request.kind === 'baud' ? { ...request, value: 115_384 } : answerAsAsked(request);
    await open({ answer });
    assert.deepEqual(journal.lines, []);
  });

  it('opens all the same, and says so, where the server will not set it', async () => {
    const answer = (request: ComPortCommand): ComPortCommand | null =>
      request.kind === 'baud' ? { ...request, value: 9_600 } : answerAsAsked(request);
    await open({ answer });
    assert.deepEqual(
      journal.lines.map(({ level, message }) => [level, message]),
      [['warn', 'line not as configured']],
    );
    assert.match(String(journal.lines[0]!['why']), /the line is at 9600 8N1/);
    await device.send(Buffer.from('ready'));
    await until(() => sink.text === 'ready', 'bytes');
  });

  it('warns where the server refuses, and goes on as telnet', async () => {
    const line = await open({ agrees: PLAIN });
    assert.equal(journal.lines.length, 1);
    assert.equal(journal.lines[0]!['how'], 'refuses');
    await line.sendBreak(300);
    await until(() => device.commands.length > 0, 'the BREAK');
    assert.deepEqual(device.commands, ['break']);
    assert.deepEqual(device.requests, []);
  });

  it('holds BREAK on for as long as it is told', async () => {
    const line = await open({});
    device.requests.length = 0;
    const startedMs = performance.now();
    await line.sendBreak(120);
    assert.ok(performance.now() - startedMs >= 115);
    await line.setBreak(true);
    await line.setBreak(false);
    assert.deepEqual(settingsAsked(), ['control 5', 'control 6', 'control 5', 'control 6']);
  });

  it('ends a BREAK before it closes', async () => {
    const line = await open({});
    await line.setBreak(true);
    device.requests.length = 0;
    await line.close();
    await until(() => device.requests.length > 0, 'the end of the BREAK');
    assert.deepEqual(settingsAsked(), ['control 6']);
  });

  it('throws output away at the server, and never input', async () => {
    const line = await open({});
    device.requests.length = 0;
    await line.purge('rx');
    await line.purge('tx');
    await line.purge('both');
    assert.deepEqual(device.requests, [
      { kind: 'purge', value: 2 },
      { kind: 'purge', value: 2 },
    ]);
  });

  it('tells what the server notifies of', async () => {
    const line = await open({});
    await device.tell({ kind: 'modem-state', value: MODEM_STATE.cts | MODEM_STATE.dcd });
    await device.tell({ kind: 'modem-state', value: MODEM_STATE.cts | MODEM_STATE.dcdChanged });
    await device.tell({ kind: 'line-state', value: LINE_STATE.break | LINE_STATE.framing });
    await until(() => sink.events.length >= 4, 'the events');
    assert.deepEqual(sink.events, [
      { kind: 'signals', signals: { dcd: true, ri: false, dsr: false, cts: true } },
      { kind: 'signals', signals: { dcd: false } },
      { kind: 'break' },
      { kind: 'line-error', error: 'framing', count: 1 },
    ]);
    assert.deepEqual(await line.signals(), {
      ...{ dtr: true, rts: false, dcd: false, ri: false, dsr: false, cts: true },
    });
    const masks = device.requests.filter(({ kind }) => kind.endsWith('mask'));
    assert.deepEqual(masks, [
      { kind: 'line-state-mask', value: 30 },
      { kind: 'modem-state-mask', value: 255 },
    ]);
  });

  it('writes nothing while the server has it suspended', async () => {
    const line = await open({});
    await device.tell({ kind: 'suspend' });
    await device.send(Buffer.from('suspended'));
    await until(() => sink.text === 'suspended', 'what came behind it');
    assert.equal(line.write(Buffer.from('later')), 0);
    assert.equal(sink.writableCalls, 0);
    await device.tell({ kind: 'resume' });
    await until(() => sink.writableCalls > 0, 'writable');
    assert.equal(line.write(Buffer.from('now')), 3);
    let got = '';
    await until(() => (got += device.receive().toString()).length >= 3, 'the bytes');
    assert.equal(got, 'now');
  });

  it('tells the server once who it is', async () => {
    await open({});
    for (let i = 0; i < 3; i++) await device.tell({ kind: 'signature', text: '' });
    await device.send(Buffer.from('done'));
    await until(() => sink.text === 'done', 'what came behind it');
    await until(() => device.requests.some(({ kind }) => kind === 'signature'), 'the signature');
    assert.deepEqual(
      device.requests.filter(({ kind }) => kind === 'signature'),
      [{ kind: 'signature', text: 'Fairlead' }],
    );
  });

  it('fails to open when the server leaves meanwhile', async () => {
    device = await new TelnetDevice({ isSilent: true }).start();
    device.server.once('connection', (socket) => socket.once('data', () => socket.end()));
    sink = new RecordingSink();
    await assert.rejects(openerFor(device).open(sink), { code: 'PORT_OPEN_FAILED' });
    assert.deepEqual(sink.faults, []);
  });

  it('fails what waits for an answer when the server leaves, or the line is closed', async () => {
    let isMute = false;
    const answer = (request: ComPortCommand): ComPortCommand | null =>
      isMute ? null : answerAsAsked(request);
    const line = await open({ answer });
    isMute = true;
    const first = assert.rejects(line.setSignals({ dtr: false }), { code: 'PORT_GONE' });
    device.leave();
    await first;
    assert.equal(sink.faults.length, 1);
    await line.close();
    await device.dispose();
    const again = await open({ answer: (request) => (isMute ? answerAsAsked(request) : null) });
    isMute = false;
    const second = assert.rejects(again.setSignals({ dtr: false }), { code: 'PORT_GONE' });
    await again.close();
    await second;
  });

  it('hands over every byte both ways, cut anywhere', async () => {
    const line = await open({});
    const bytes = Buffer.concat([Buffer.from([255, 255, 250, 13, 0, 13, 10, 240]), noise(200_000)]);
    const wire = [...bytes].flatMap((byte) => (byte === 255 ? [255, 255] : [byte]));
    for (let at = 0; at < wire.length; at += 999) {
      await device.sendRaw(Buffer.from(wire.slice(at, at + 999)));
    }
    await until(() => sink.receivedBytes >= bytes.length, 'all of it');
    assert.ok(sink.bytes.equals(bytes));
    const got: Buffer[] = [];
    let sent = 0;
    await until(() => {
      sent += line.write(bytes.subarray(sent));
      got.push(device.receive());
      return Buffer.concat(got).length >= bytes.length;
    }, 'all of it at the device');
    assert.ok(Buffer.concat(got).equals(bytes));
  });
});

describe("a line behind another Fairlead's telnet door", () => {
  it('is set, driven, told of events, and passes every byte', async () => {
    const door = await TelnetDoor.open();
    const sink = new RecordingSink();
    const journal = new FakeJournal();
    const tcpPort = door.frontend.tcpPortOf('echo')!;
    const settings = portSettings(
      { kind: 'rfc2217', host: '127.0.0.1', tcpPort, tls: null, signals: { rts: false } },
      { line: { baud: 19_200, dataBits: 7, parity: 'even', stopBits: 2 }, flow: 'rtscts' },
    );
    const line = await createOpener(settings, { ...backendServices(null), journal }).open(sink);
    assert.deepEqual(journal.lines, []);
    const [session] = door.ports.sessions;
    assert.deepEqual(session!.line, {
      line: settings.line,
      flow: 'rtscts',
      signals: { dtr: true, rts: false },
      isBreaking: false,
    });
    await line.sendBreak(20);
    const breaks = session!.calls.filter(([name]) => name === 'setBreak');
    assert.deepEqual(breaks, [
      ['setBreak', true],
      ['setBreak', false],
    ]);
    session!.output.event?.({ kind: 'break' });
    session!.output.event?.({ kind: 'signals', signals: { cts: true, dcd: true } });
    await until(() => sink.events.some(({ kind }) => kind === 'break'), 'the BREAK');
    const saysDcd = (event: (typeof sink.events)[number]): boolean =>
      event.kind === 'signals' && event.signals.dcd === true;
    await until(() => sink.events.some(saysDcd), 'the signals');
    assert.equal((await line.signals()).cts, true);
    const bytes = noise(300_000);
    let sent = 0;
    await until(() => {
      sent += line.write(bytes.subarray(sent));
      return sink.receivedBytes >= bytes.length;
    }, 'the echo');
    assert.ok(sink.bytes.equals(bytes));
    await line.close();
    await door.close();
  });
});
