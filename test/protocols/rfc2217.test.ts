import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { LineState } from '../../src/core/line-settings.ts';
import {
  COM_PORT_CLIENT,
  COM_PORT_WAITING_MAX,
  hearComPort,
  requestComPort,
  type ComPortClient,
  type ComPortClientEvent,
} from '../../src/protocols/rfc2217-client.ts';
import {
  answerComPort,
  beginComPort,
  COM_PORT_SERVER,
  noteLineState,
  noteSignals,
  planComPort,
  wishComPort,
  type ComPortAction,
  type ComPortServer,
} from '../../src/protocols/rfc2217-server.ts';
import {
  baudOfIos,
  encodeComPort,
  iosOfBaud,
  parseComPort,
  type ComPortCommand,
  type ComPortSide,
} from '../../src/protocols/rfc2217.ts';
import { decodeTelnet, encodeSubnegotiation, TELNET_START } from '../../src/protocols/telnet.ts';

const SIGNATURE = 'Fairlead 1.2.3 db1';

/** What a client sends, and what it is to get, on a UART at 9600 8N1. The 44 is 2c, IAC ff. */
const TRANSCRIPTS: [what: string, sent: string, answer: string][] = [
  ['SIGNATURE', 'fffa2c00fff0', `fffa2c64${Buffer.from(SIGNATURE).toString('hex')}fff0`],
  ["SIGNATURE, the client's own", 'fffa2c007079fff0', ''],
  ['SET-BAUDRATE?', 'fffa2c0100000000fff0', 'fffa2c6500002580fff0'],
  ['SET-BAUDRATE 115200', 'fffa2c010001c200fff0', 'fffa2c650001c200fff0'],
  ['SET-BAUDRATE 250000', 'fffa2c010003d090fff0', 'fffa2c650003d090fff0'],
  ['SET-BAUDRATE 65535, with IAC in it', 'fffa2c010000fffffffffff0', 'fffa2c650000fffffffffff0'],
  ['SET-BAUDRATE of IOS, 9600?', 'fffa2c0100fff0', 'fffa2c6508fff0'],
  ['SET-BAUDRATE of IOS, 115200', 'fffa2c010efff0', 'fffa2c650efff0'],
  ['SET-BAUDRATE of IOS, no such index', 'fffa2c0163fff0', 'fffa2c6508fff0'],
  ['SET-DATASIZE?', 'fffa2c0200fff0', 'fffa2c6608fff0'],
  ['SET-DATASIZE 5', 'fffa2c0205fff0', 'fffa2c6605fff0'],
  ['SET-DATASIZE 7', 'fffa2c0207fff0', 'fffa2c6607fff0'],
  ['SET-DATASIZE 9, which no UART has', 'fffa2c0209fff0', 'fffa2c6608fff0'],
  ['SET-PARITY?', 'fffa2c0300fff0', 'fffa2c6701fff0'],
  ['SET-PARITY NONE', 'fffa2c0301fff0', 'fffa2c6701fff0'],
  ['SET-PARITY ODD', 'fffa2c0302fff0', 'fffa2c6702fff0'],
  ['SET-PARITY EVEN', 'fffa2c0303fff0', 'fffa2c6703fff0'],
  ['SET-PARITY MARK', 'fffa2c0304fff0', 'fffa2c6704fff0'],
  ['SET-PARITY SPACE', 'fffa2c0305fff0', 'fffa2c6705fff0'],
  ['SET-STOPSIZE?', 'fffa2c0400fff0', 'fffa2c6801fff0'],
  ['SET-STOPSIZE 1', 'fffa2c0401fff0', 'fffa2c6801fff0'],
  ['SET-STOPSIZE 2', 'fffa2c0402fff0', 'fffa2c6802fff0'],
  ['SET-STOPSIZE 1.5', 'fffa2c0403fff0', 'fffa2c6803fff0'],
  ['SET-CONTROL flow?', 'fffa2c0500fff0', 'fffa2c6901fff0'],
  ['SET-CONTROL flow none', 'fffa2c0501fff0', 'fffa2c6901fff0'],
  ['SET-CONTROL flow XON/XOFF', 'fffa2c0502fff0', 'fffa2c6902fff0'],
  ['SET-CONTROL flow hardware', 'fffa2c0503fff0', 'fffa2c6903fff0'],
  ['SET-CONTROL BREAK?', 'fffa2c0504fff0', 'fffa2c6906fff0'],
  ['SET-CONTROL BREAK on', 'fffa2c0505fff0', 'fffa2c6905fff0'],
  ['SET-CONTROL BREAK off', 'fffa2c0506fff0', 'fffa2c6906fff0'],
  ['SET-CONTROL DTR?', 'fffa2c0507fff0', 'fffa2c6908fff0'],
  ['SET-CONTROL DTR on', 'fffa2c0508fff0', 'fffa2c6908fff0'],
  ['SET-CONTROL DTR off', 'fffa2c0509fff0', 'fffa2c6909fff0'],
  ['SET-CONTROL RTS?', 'fffa2c050afff0', 'fffa2c690bfff0'],
  ['SET-CONTROL RTS on', 'fffa2c050bfff0', 'fffa2c690bfff0'],
  ['SET-CONTROL RTS off', 'fffa2c050cfff0', 'fffa2c690cfff0'],
  ['SET-CONTROL inbound flow?', 'fffa2c050dfff0', 'fffa2c690efff0'],
  ['SET-CONTROL inbound flow none', 'fffa2c050efff0', 'fffa2c690efff0'],
  ['SET-CONTROL inbound flow XON/XOFF', 'fffa2c050ffff0', 'fffa2c690efff0'],
  ['SET-CONTROL inbound flow hardware', 'fffa2c0510fff0', 'fffa2c690efff0'],
  ['SET-CONTROL flow by DCD, which it has not', 'fffa2c0511fff0', 'fffa2c6901fff0'],
  ['SET-CONTROL inbound flow by DTR, likewise', 'fffa2c0512fff0', 'fffa2c690efff0'],
  ['SET-CONTROL flow by DSR, likewise', 'fffa2c0513fff0', 'fffa2c6901fff0'],
  ['SET-CONTROL 20, which means nothing', 'fffa2c0514fff0', ''],
  ['NOTIFY-LINESTATE, asked for', 'fffa2c06fff0', 'fffa2c6a00fff0'],
  ['NOTIFY-MODEMSTATE, asked for', 'fffa2c07fff0', 'fffa2c6b30fff0'],
  ['FLOWCONTROL-SUSPEND', 'fffa2c08fff0', ''],
  ['FLOWCONTROL-RESUME', 'fffa2c09fff0', ''],
  ['SET-LINESTATE-MASK 16', 'fffa2c0a10fff0', 'fffa2c6e10fff0'],
  ['SET-MODEMSTATE-MASK 0', 'fffa2c0b00fff0', 'fffa2c6f00fff0'],
  ['SET-MODEMSTATE-MASK 16', 'fffa2c0b10fff0', 'fffa2c6f10fff0fffa2c6b10fff0'],
  ['PURGE-DATA rx', 'fffa2c0c01fff0', 'fffa2c7001fff0'],
  ['PURGE-DATA tx', 'fffa2c0c02fff0', 'fffa2c7002fff0'],
  ['PURGE-DATA both', 'fffa2c0c03fff0', 'fffa2c7003fff0'],
  ['PURGE-DATA 4, which means nothing', 'fffa2c0c04fff0', ''],
];

describe('an RFC 2217 server', () => {
  for (const [what, sent, answer] of TRANSCRIPTS) {
    it(`answers ${what}`, () => {
      const device = new Device();
      device.line.signals = { dtr: true, rts: true, cts: true, dsr: true };
      device.begin();
      assert.equal(hex(device.take(bytesOf(sent))), answer);
    });
  }

  it('has in its answers what it then tells when asked', () => {
    const device = new Device();
    const set = ['010001c200', '0207', '0303', '0402', '0503', '0505', '0509', '050c'];
    for (const command of set) device.take(bytesOf(`fffa2c${command}fff0`));
    assert.deepEqual(device.line, {
      line: { baud: 115_200, dataBits: 7, parity: 'even', stopBits: 2 },
      flow: 'rtscts',
      signals: { dtr: false, rts: false },
      isBreaking: true,
    });
    const asked: [string, string][] = [
      ['0100000000', '650001c200'],
      ['0100', '650e'],
      ['0200', '6607'],
      ['0300', '6703'],
      ['0400', '6802'],
      ['0500', '6903'],
      ['0504', '6905'],
      ['0507', '6909'],
      ['050a', '690c'],
      ['050d', '6910'],
    ];
    for (const [question, answer] of asked) {
      assert.equal(hex(device.take(bytesOf(`fffa2c${question}fff0`))), `fffa2c${answer}fff0`);
    }
  });

  it('does nothing to the line for what holds already, nor for a question', () => {
    const device = new Device();
    for (const command of ['0100002580', '0208', '0301', '0401', '0501', '0506', '0508', '050b']) {
      device.take(bytesOf(`fffa2c${command}fff0`));
    }
    for (const question of ['0100000000', '0200', '0300', '0400', '0500', '0504', '0507', '050a']) {
      device.take(bytesOf(`fffa2c${question}fff0`));
    }
    assert.deepEqual(device.done, []);
  });

  it('answers a viewer with what holds', () => {
    const device = new Device();
    device.allows = false;
    const said: [string, string][] = [
      ['010001c200', '6500002580'],
      ['0207', '6608'],
      ['0303', '6701'],
      ['0402', '6801'],
      ['0503', '6901'],
      ['0505', '6906'],
      ['0509', '6908'],
      ['050c', '690b'],
      ['0c03', '7003'],
    ];
    for (const [command, answer] of said) {
      assert.equal(hex(device.take(bytesOf(`fffa2c${command}fff0`))), `fffa2c${answer}fff0`);
    }
    assert.deepEqual(device.done, []);
  });

  it('keeps the wishes of a client where there is no UART to contradict', () => {
    const device = new Device();
    device.line = { line: null, flow: 'none', signals: {}, isBreaking: false };
    device.isSupported = false;
    const said: [string, string][] = [
      ['010001c200', '650001c200'],
      ['0207', '6607'],
      ['0303', '6703'],
      ['0402', '6802'],
      ['0503', '6903'],
      ['0510', '6910'],
      ['0511', '6911'],
      ['0512', '6912'],
      ['0509', '6909'],
      ['050c', '690c'],
      ['0505', '6906'],
      ['0100000000', '650001c200'],
      ['0500', '6911'],
      ['050d', '6912'],
      ['0507', '6909'],
      ['050a', '690c'],
    ];
    for (const [command, answer] of said) {
      assert.equal(hex(device.take(bytesOf(`fffa2c${command}fff0`))), `fffa2c${answer}fff0`);
    }
    const asked = device.asked.map((action) => action.do);
    assert.deepEqual(asked, ['set-signals', 'set-signals', 'set-break']);
  });

  it('tells the modem state under its mask: at the beginning, and as it changes', () => {
    const device = new Device();
    device.line.signals = { dcd: true, cts: true };
    assert.equal(hex(device.begin()), 'fffa2c6b90fff0');
    assert.equal(hex(device.signals({ dsr: true })), 'fffa2c6bb2fff0');
    assert.equal(hex(device.signals({ dsr: true, dtr: false })), '', 'nothing a client sees');
    assert.equal(hex(device.signals({ ri: true })), 'fffa2c6bf0fff0');
    assert.equal(hex(device.signals({ ri: false })), 'fffa2c6bb4fff0');
    device.take(bytesOf('fffa2c0b80fff0'));
    assert.equal(hex(device.signals({ dcd: false })), 'fffa2c6b00fff0');
    assert.equal(hex(device.signals({ cts: false })), '', 'not under the mask');
    device.take(bytesOf('fffa2c0b00fff0'));
    assert.equal(hex(device.signals({ dcd: true })), '');
  });

  it('tells the line state under its mask, which is empty to begin with', () => {
    const device = new Device();
    assert.equal(hex(device.lineState('break')), '');
    device.take(bytesOf('fffa2c0a1cfff0'));
    assert.equal(hex(device.lineState('break')), 'fffa2c6a10fff0');
    assert.equal(hex(device.lineState('framing')), 'fffa2c6a08fff0');
    assert.equal(hex(device.lineState('parity')), 'fffa2c6a04fff0');
    assert.equal(hex(device.lineState('overrun')), '');
  });

  it('tells a suspended client nothing, and what it missed when it resumes', () => {
    const device = new Device();
    device.begin();
    device.take(bytesOf('fffa2c0afffffff0fffa2c08fff0'));
    assert.equal(device.server.isSuspended, true);
    assert.equal(hex(device.signals({ cts: true })), '');
    assert.equal(hex(device.signals({ cts: false, dsr: true })), '');
    assert.equal(hex(device.lineState('break')), '');
    assert.equal(hex(device.take(bytesOf('fffa2c0500fff0'))), 'fffa2c6901fff0');
    assert.equal(hex(device.take(bytesOf('fffa2c09fff0'))), 'fffa2c6b23fff0');
    assert.equal(hex(device.take(bytesOf('fffa2c09fff0'))), '', 'once');
  });

  it('takes any sub-option at all', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 12 })), fc.boolean(), (all, hasUart) => {
        const device = new Device();
        if (!hasUart) device.line.line = null;
        for (const bytes of all) {
          const known =
            bytes.length > 0 ? Uint8Array.from([bytes[0]! % 14, ...bytes.slice(1)]) : bytes;
          for (const one of [bytes, known]) device.take(encodeSubnegotiation(44, one));
        }
      }),
    );
  });
});

describe('the dialect of IOS', () => {
  it('has a number for each usual rate, and 0 for the others', () => {
    for (let index = 3; index <= 16; index++) assert.equal(iosOfBaud(baudOfIos(index)!), index);
    assert.deepEqual([3, 8, 14, 16].map(baudOfIos), [300, 9_600, 115_200, 460_800]);
    assert.deepEqual([0, 1, 2, 17, 255].map(baudOfIos), [null, null, null, null, null]);
    assert.equal(iosOfBaud(250_000), 0);
  });
});

const byte = fc.nat(255);
const request: fc.Arbitrary<ComPortCommand> = fc.oneof(
  fc.constant<ComPortCommand>({ kind: 'signature', text: '' }),
  fc.record({
    kind: fc.constant('baud' as const),
    value: fc.oneof(fc.constantFrom(0, 300, 9_600, 115_200), fc.nat(0xffff_ffff)),
    isIos: fc.constant(false),
  }),
  fc.record({ kind: fc.constant('baud' as const), value: byte, isIos: fc.constant(true) }),
  fc.record({
    kind: fc.constantFrom('data-bits' as const, 'parity' as const, 'stop-bits' as const),
    value: fc.oneof(fc.nat(9), byte),
  }),
  fc.record({
    kind: fc.constantFrom('control' as const, 'purge' as const),
    value: fc.oneof(fc.nat(20), byte),
  }),
  fc.record({
    kind: fc.constantFrom('line-state-mask' as const, 'modem-state-mask' as const),
    value: byte,
  }),
  fc.record({ kind: fc.constantFrom('suspend' as const, 'resume' as const) }),
);

describe('an RFC 2217 command', () => {
  it('is read as it was made, by either side', () => {
    const answer = fc.record({
      kind: fc.constantFrom('line-state' as const, 'modem-state' as const),
      value: byte,
    });
    fc.assert(
      fc.property(
        fc.oneof(request, answer),
        fc.constantFrom<ComPortSide>('client', 'server'),
        (command, side) => {
          assert.deepEqual(parseComPort(side, subOption(encodeComPort(side, command))), {
            ...command,
          });
        },
      ),
    );
  });

  it('is none when cut short, unknown, or of the other side', () => {
    for (const bytes of [[], [1], [1, 0, 0], [5], [12], [13], [99], [105, 1]]) {
      assert.equal(parseComPort('client', Uint8Array.from(bytes)), null, bytes.join());
    }
    assert.equal(parseComPort('server', Uint8Array.of(107)), null);
    assert.equal(parseComPort('server', Uint8Array.of(5, 1)), null);
  });
});

describe('an RFC 2217 client', () => {
  it('and a server agree on the line after any requests', () => {
    fc.assert(
      fc.property(fc.array(request), fc.boolean(), (requests, hasUart) => {
        const device = new Device();
        if (!hasUart) device.line.line = null;
        let client: ComPortClient = COM_PORT_CLIENT;
        const hear = (bytes: Uint8Array): void => {
          for (const option of subOptions(bytes)) client = hearComPort(client, option).client;
        };
        hear(device.begin());
        for (const one of requests) {
          const sent = requestComPort(client, one);
          client = sent.client;
          hear(device.take(sent.bytes));
        }
        assert.deepEqual(client.waiting, []);
        const { line, signals } = client;
        const settings = device.line.line ?? device.server.wishes.line;
        for (const [name, value] of Object.entries(line)) {
          assert.equal(value, settings[name as keyof typeof settings]);
        }
        if (hasUart && client.flow !== null) assert.equal(client.flow, device.line.flow);
        if (client.isBreaking !== null) assert.equal(client.isBreaking, device.line.isBreaking);
        for (const name of ['dtr', 'rts'] as const) {
          if (signals[name] !== undefined) assert.equal(signals[name], device.line.signals[name]);
        }
      }),
    );
  });

  it('tells whether it got what it asked for', () => {
    const asked = requestComPort(COM_PORT_CLIENT, { kind: 'baud', value: 115_200, isIos: false });
    assert.equal(hex(asked.bytes), 'fffa2c010001c200fff0');
    const given = hear(asked.client, '650001c200');
    assert.deepEqual(given.client.line, { baud: 115_200 });
    assert.equal((given.events[0] as { asGiven: boolean }).asGiven, true);
    const refused = hear(asked.client, '6500002580');
    assert.equal((refused.events[0] as { asGiven: boolean }).asGiven, false);
    assert.deepEqual(refused.client.line, { baud: 9_600 });
  });

  it('tells answers to several of its requests apart, whatever their order', () => {
    let client: ComPortClient = COM_PORT_CLIENT;
    for (const value of [3, 8, 11, 5]) {
      client = requestComPort(client, { kind: 'control', value }).client;
    }
    client = hear(client, '690b').client;
    assert.deepEqual(
      client.waiting.map((one) => (one as { value: number }).value),
      [3, 8, 5],
    );
    for (const answer of ['6905', '6903', '6908']) client = hear(client, answer).client;
    assert.deepEqual(client.waiting, []);
    assert.deepEqual(client.signals, { rts: true, dtr: true });
    assert.deepEqual([client.flow, client.isBreaking], ['rtscts', true]);
  });

  it('hears of signals, errors, BREAK and flow control without asking', () => {
    let step = hear(COM_PORT_CLIENT, '6b90');
    assert.deepEqual(step.client.signals, { dcd: true, ri: false, dsr: false, cts: true });
    step = hear(step.client, '6b81');
    assert.deepEqual(step.events, [{ kind: 'signals', signals: { cts: false } }]);
    assert.deepEqual(hear(step.client, '6b80').events, []);
    assert.deepEqual(hear(step.client, '6a1e').events, [
      { kind: 'break' },
      { kind: 'line-error', error: 'framing' },
      { kind: 'line-error', error: 'parity' },
      { kind: 'line-error', error: 'overrun' },
    ]);
    step = hear(step.client, '6c');
    assert.deepEqual(
      [step.events, step.client.isSuspended],
      [[{ kind: 'suspended', isSuspended: true }], true],
    );
    assert.equal(hear(step.client, '6d').client.isSuspended, false);
    assert.deepEqual(hear(step.client, '64').events, [{ kind: 'signature-asked' }]);
  });

  it('takes anything a server may send, and waits for a bounded number of answers', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(113), fc.uint8Array({ maxLength: 5 }))), (all) => {
        let client: ComPortClient = COM_PORT_CLIENT;
        for (const [code, bytes] of all) {
          client = hearComPort(client, Uint8Array.from([code, ...bytes])).client;
        }
      }),
    );
    assert.deepEqual(hear(COM_PORT_CLIENT, '6608').events, [{ kind: 'unexpected' }]);
    assert.deepEqual(hearComPort(COM_PORT_CLIENT, new Uint8Array(0)).events, [
      { kind: 'unexpected' },
    ]);
    let client: ComPortClient = COM_PORT_CLIENT;
    for (let i = 0; i < 1_000; i++) {
      client = requestComPort(client, { kind: 'data-bits', value: 0 }).client;
    }
    assert.equal(client.waiting.length, COM_PORT_WAITING_MAX);
  });

  function hear(
    client: ComPortClient,
    body: string,
  ): { client: ComPortClient; events: ComPortClientEvent[] } {
    return hearComPort(client, bytesOf(body));
  }
});

/** A server over a line that does what it is told, unless the test says otherwise. */
class Device {
  server: ComPortServer = COM_PORT_SERVER;
  line: LineState = {
    line: { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 },
    flow: 'none',
    signals: { dtr: true, rts: true },
    isBreaking: false,
  };
  /** The client may change the line. */
  allows = true;
  /** The line has signals and BREAK. */
  isSupported = true;
  readonly asked: ComPortAction[] = [];
  readonly done: ComPortAction[] = [];

  take(bytes: Uint8Array): Uint8Array {
    const answers: Uint8Array[] = [];
    for (const option of subOptions(bytes)) {
      const one = parseComPort('client', option);
      if (one === null) continue;
      const planned = planComPort(this.server, one, this.line);
      this.server = planned.server;
      if (planned.action !== null) this.#do(planned.action);
      const answered = answerComPort(this.server, one, this.line, SIGNATURE);
      this.server = answered.server;
      answers.push(...answered.answers);
    }
    return Buffer.concat(answers);
  }

  begin(): Uint8Array {
    return this.#told(beginComPort(this.server, this.line.signals));
  }

  signals(signals: LineState['signals']): Uint8Array {
    return this.#told(noteSignals(this.server, signals));
  }

  lineState(what: 'break' | 'framing' | 'parity' | 'overrun'): Uint8Array {
    return this.#told(noteLineState(this.server, what));
  }

  #told({ server, answers }: { server: ComPortServer; answers: Uint8Array[] }): Uint8Array {
    this.server = server;
    return Buffer.concat(answers);
  }

  #do(action: ComPortAction): void {
    this.asked.push(action);
    if (!this.allows) return;
    if (!this.isSupported) {
      this.server = wishComPort(this.server, action);
      return;
    }
    this.done.push(action);
    const { line } = this;
    if (action.do === 'set-line') this.line = { ...line, line: action.line, flow: action.flow };
    if (action.do === 'set-break') this.line = { ...line, isBreaking: action.isOn };
    if (action.do === 'set-signals') {
      this.line = { ...line, signals: { ...line.signals, ...action.signals } };
    }
  }
}

function subOptions(bytes: Uint8Array): Uint8Array[] {
  return decodeTelnet(TELNET_START, bytes).events.map((event) => {
    assert.ok(event.kind === 'subnegotiation' && event.option === 44);
    return event.bytes;
  });
}

function subOption(bytes: Uint8Array): Uint8Array {
  const all = subOptions(bytes);
  assert.equal(all.length, 1);
  return all[0]!;
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'hex');
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
