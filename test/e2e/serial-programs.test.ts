import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { freeBase } from '../frontends/fakes.ts';
import { MODEM_STATE } from '../../src/protocols/rfc2217.ts';
import { until } from '../support/pty.ts';
import { TelnetDevice } from '../support/telnet-device.ts';
import { Heard, RawClient, Terminal, type Machine } from './console.ts';
import { freeTcpPort } from './daemon.ts';
import { People } from './people.ts';
import {
  ALL_BYTES,
  end,
  everybodyLeft,
  firmware,
  next,
  nextSession,
  PySerial,
  sha256,
  troubles,
  Wire,
} from './serial-tools.ts';

/**
 * Programs for serial lines, as distributions ship them, against a running daemon. `uart` has all that
 * a UART has (it is behind an RFC 2217 server that the test plays), `wire` and `vm` (a pty) have none.
 */
describe('programs for serial lines', () => {
  const cleanups: (() => Promise<unknown> | void)[] = [];
  const uart = new TelnetDevice();
  let people: People;
  let vm: Machine;
  let wire: Wire;
  let telnetBase: number;
  let rawBase: number;

  before(async () => {
    people = await People.make();
    vm = people.machine();
    wire = await Wire.open();
    await uart.start();
    [telnetBase, rawBase] = [await freeBase(), await freeBase()];
    await people.start(
      `
listen:
  ssh: 127.0.0.1:${people.ssh.tcpPort}
  telnet: { base: ${telnetBase}, auth: none, allow: [127.0.0.1/32], as: lab }
  raw: { base: ${rawBase}, auth: none, allow: [127.0.0.1/32], as: lab }
users:
  lab: { role: operator, ports: ['*'] }
  ann: { role: admin, keys: ['${people.ssh.makeKey('ann')}'] }
ports:
  uart: { n: 1, rfc2217: '127.0.0.1:${uart.tcpPort}', line: 115200 8N1, restoreLine: true, expose: ./exposed-uart }
  wire: { n: 2, tcp: '127.0.0.1:${wire.tcpPort}' }
  vm: { n: 3, device: ${vm.path}, expose: ./exposed-vm }
`,
      ['uart', 'wire', 'vm'],
    );
    assert.deepEqual(troubles(people.daemon), []);
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    people.endClients();
    await everybodyLeft(people.daemon);
  });
  after(async () => {
    await people.dispose();
    await uart.dispose();
    wire.close();
    assert.deepEqual(troubles(people.daemon), []);
  });

  /** What the server behind `uart` was asked for since: `baud 57600`, `control 8`. */
  function askedOfUart(from: number): string[] {
    return uart.requests
      .slice(from)
      .map((request) => ('value' in request ? `${request.kind} ${request.value}` : request.kind));
  }

  async function uartIsAsked(from: number, ...wanted: string[]): Promise<void> {
    const isAsked = (): boolean => wanted.every((request) => askedOfUart(from).includes(request));
    await until(isAsked, `${wanted.join(', ')} at the uart`, 90_000);
  }

  async function hearsAtUart(count: number): Promise<Buffer> {
    let heard = Buffer.alloc(0);
    const hasAll = (): boolean => {
      heard = Buffer.concat([heard, uart.receive()]);
      return heard.length >= count;
    };
    await until(hasAll, `${count} bytes at the uart`, 90_000);
    return heard;
  }

  function start(command: string, args: readonly string[]): ChildProcessWithoutNullStreams {
    const child = spawn(command, args);
    cleanups.push(() => end(child));
    child.stderr.resume();
    return child;
  }

  describe('pyserial by rfc2217://', () => {
    async function open(tcpPort: number, settings = '', query = ''): Promise<PySerial> {
      const python = new PySerial();
      cleanups.push(() => python.end());
      const url = `rfc2217://127.0.0.1:${tcpPort}${query}`;
      const isOpen = await python.value(`open(${JSON.stringify(url)}, timeout=60${settings})`);
      assert.equal(isOpen, true);
      return python;
    }

    it('sets the line for real, everything of it, and the line goes back when it leaves', async () => {
      let from = uart.requests.length;
      const python = await open(telnetBase + 1, ', baudrate=57600, bytesize=7, parity="E"');
      await uartIsAsked(from, 'baud 57600', 'data-bits 7', 'parity 3');
      await people.portIs('uart', ({ line }) => line === '57600 7E1');
      for (const [attribute, value, request] of [
        ...[
          ['baudrate', '250000', 'baud 250000'],
          ['bytesize', '8', 'data-bits 8'],
          ['bytesize', '5', 'data-bits 5'],
        ],
        ...[
          ['parity', "'O'", 'parity 2'],
          ['parity', "'M'", 'parity 4'],
          ['parity', "'S'", 'parity 5'],
          ['parity', "'N'", 'parity 1'],
        ],
        ...[
          ['stopbits', '1.5', 'stop-bits 3'],
          ['bytesize', '8', 'data-bits 8'],
          ['stopbits', '2', 'stop-bits 2'],
        ],
        ...[
          ['xonxoff', 'True', 'control 2'],
          ['xonxoff', 'False', 'control 1'],
          ['rtscts', 'True', 'control 3'],
          ['rtscts', 'False', 'control 1'],
        ],
      ] as const) {
        from = uart.requests.length;
        await python.set(attribute!, value!);
        assert.ok(askedOfUart(from).includes(request!), `${request} for ${attribute} = ${value}`);
      }
      await people.portIs('uart', ({ line }) => line === '250000 8N2');
      from = uart.requests.length;
      await python.end();
      await uartIsAsked(from, 'baud 115200', 'data-bits 8', 'parity 1', 'stop-bits 1', 'control 1');
      await people.portIs('uart', ({ line }) => line === '115200 8N1');
      const records = await people.records('uart', ({ line }) => line === '115200 8N1');
      const lines = records.filter(({ kind }) => kind === 'line').map(({ line }) => line);
      for (const line of ['57600 7E1', '250000 8N2']) assert.ok(lines.includes(line), line);
    });

    it('drives DTR and RTS, sees CTS, DSR, RI and CD change, and sends BREAK', async () => {
      const python = await open(telnetBase + 1);
      for (const [attribute, value, request] of [
        ['dtr', 'False', 'control 9'],
        ['dtr', 'True', 'control 8'],
        ['rts', 'False', 'control 12'],
        ['rts', 'True', 'control 11'],
        ['break_condition', 'True', 'control 5'],
        ['break_condition', 'False', 'control 6'],
      ] as const) {
        const from = uart.requests.length;
        await python.set(attribute, value);
        assert.ok(askedOfUart(from).includes(request), `${request} for ${attribute} = ${value}`);
      }
      const from = uart.requests.length;
      await python.value('port.send_break(0.1)');
      assert.deepEqual(
        askedOfUart(from).filter((request) => request.startsWith('control')),
        ['control 5', 'control 6'],
      );
      await people.records(
        'uart',
        ({ kind, durationMs }) => kind === 'break' && Number(durationMs) >= 100,
      );
      for (const [signal, bit] of [
        ['cts', MODEM_STATE.cts],
        ['dsr', MODEM_STATE.dsr],
        ['ri', MODEM_STATE.ri],
        ['cd', MODEM_STATE.dcd],
      ] as const) {
        await uart.tell({ kind: 'modem-state', value: bit });
        await python.value(`until(lambda: port.${signal})`);
        const others = ['cts', 'dsr', 'ri', 'cd'].filter((other) => other !== signal);
        for (const other of others) assert.equal(await python.value(`port.${other}`), false, other);
        await uart.tell({ kind: 'modem-state', value: 0 });
        await python.value(`until(lambda: not port.${signal})`);
      }
      await uart.tell({ kind: 'modem-state', value: MODEM_STATE.dcd });
      const records = await people.records('uart', ({ signals }) => 'dcd' in Object(signals));
      assert.ok(records.some(({ signals }) => (signals as { cts?: boolean })?.cts === true));
    });

    it('gets all it asks for where no UART can say no, but no BREAK that nobody sends', async () => {
      for (const n of [2, 3]) {
        const python = await open(telnetBase + n);
        for (const [attribute, values] of [
          ['bytesize', ['5', '6', '7', '8']],
          ['parity', ["'E'", "'O'", "'M'", "'S'", "'N'"]],
          ['stopbits', ['2', '1.5', '1']],
          ['baudrate', ['300', '9600', '1500000', '115200']],
          ['xonxoff', ['True', 'False']],
          ['rtscts', ['True', 'False']],
          ['dtr', ['False', 'True']],
          ['rts', ['False', 'True']],
        ] as const) {
          for (const value of values) await python.set(attribute, value);
        }
        const signals = 'port.cts, port.dsr, port.ri, port.cd';
        assert.deepEqual(await python.value(`[${signals}]`), [false, false, false, false]);
        await python.value('port.reset_input_buffer()');
        await python.value('port.reset_output_buffer()');
        const error = await python.error('port.send_break(0.05)');
        assert.match(error, /remote rejected value for option 'control'/);
      }
    });

    it('has what came when its time-out is over', async () => {
      const python = await open(telnetBase + 2);
      await python.set('timeout', '0.2');
      assert.equal(await python.value('read(10)'), '');
      wire.say('half');
      await python.value('until(lambda: port.in_waiting == 4)');
      assert.equal(await python.value('read(10)'), Buffer.from('half').toString('hex'));
    });

    it('reads line by line, and what there is of one when its time-out is over', async () => {
      const python = await open(telnetBase + 2);
      wire.say('one\ntwo\nhal');
      const line = (): Promise<unknown> => python.value('port.readline().decode()');
      assert.equal(await line(), 'one\n');
      assert.equal(await line(), 'two\n');
      await python.set('timeout', '0.2');
      assert.equal(await line(), 'hal');
      assert.equal(await line(), '');
    });

    it('asks for the modem state where it is told to, and has an answer each time', async () => {
      const python = await open(telnetBase + 1, '', '?poll_modem&timeout=60');
      for (const value of [MODEM_STATE.cts | MODEM_STATE.dsr, 0]) {
        await uart.tell({ kind: 'modem-state', value });
        await python.value(`until(lambda: port.cts == ${value === 0 ? 'False' : 'True'})`);
        // As if it had never been told: only an answer makes it know again.
        await python.value('until(lambda: port._modemstate_timeout.expired())');
        await python.set('_modemstate', 'None');
        assert.deepEqual(await python.value('[port.cts, port.dsr]'), [value !== 0, value !== 0]);
      }
    });

    it('has write again each time it opens a port that it has closed', async () => {
      const python = await open(telnetBase + 1);
      for (const baud of [19_200, 38_400, 57_600]) {
        await python.value('port.close()');
        await everybodyLeft(people.daemon); // pyserial itself allows the server 0.3 s
        await python.value('port.open()');
        const from = uart.requests.length;
        await python.set('baudrate', String(baud));
        await uartIsAsked(from, `baud ${baud}`);
      }
      assert.match(await python.error('port.open()'), /already open/);
    });

    it('views while another one writes, sets nothing then, and writes when that one leaves', async () => {
      const first = await open(telnetBase + 1, ', baudrate=57600');
      const second = await open(telnetBase + 1, ', baudrate=57600');
      await uart.send(Buffer.from('to both'));
      for (const python of [first, second]) {
        assert.equal(await python.value('read(7)'), Buffer.from('to both').toString('hex'));
      }
      const refused = await second.error("setattr(port, 'baudrate', 19200)");
      assert.match(refused, /remote rejected value for option 'baudrate'/);
      await first.end();
      await people.portIs('uart', ({ line }) => line === '115200 8N1');
      const from = uart.requests.length;
      await second.set('baudrate', '19200');
      await uartIsAsked(from, 'baud 19200');
    });

    it('carries 1 MB of anything both ways, with RFC 2217 on both sides of the daemon', async () => {
      const python = await open(telnetBase + 1);
      const [down, up] = [firmware(), firmware()];
      const heard = hearsAtUart(down.length);
      const path = people.file('down');
      writeFileSync(path, down);
      const said = uart.send(up);
      const write = `port.write(__import__('pathlib').Path(${JSON.stringify(path)}).read_bytes())`;
      const read = `__import__('hashlib').sha256(port.read(${up.length})).hexdigest()`;
      assert.equal(await python.value(write), down.length);
      assert.equal(await python.value(read), sha256(up));
      assert.equal(sha256(await heard), sha256(down));
      await said;
    });

    it('sets the line through ser2net, whose own far side is an RFC 2217 client', async () => {
      const local = await freeTcpPort();
      ser2net(`telnet(rfc2217),tcp,127.0.0.1,${local}`, telnetBase + 1);
      await listens(local);
      const from = uart.requests.length;
      const python = await open(local, ', baudrate=19200, bytesize=7, parity="O"');
      await uartIsAsked(from, 'baud 19200', 'data-bits 7', 'parity 2');
      const heard = hearsAtUart(ALL_BYTES.length);
      await python.value(`write('${ALL_BYTES.toString('hex')}')`);
      assert.deepEqual(await heard, ALL_BYTES);
      await uart.send(ALL_BYTES);
      assert.equal(await python.value('read(256)'), ALL_BYTES.toString('hex'));
    });
  });

  /** ser2net between a TCP port of ours and a telnet door. */
  function ser2net(accepter: string, tcpPort: number): void {
    const path = people.file(`ser2net-${tcpPort}.yaml`);
    const connector = `telnet(rfc2217),tcp,127.0.0.1,${tcpPort}`;
    writeFileSync(
      path,
      `connection: &far\n  accepter: ${accepter}\n  connector: ${connector}\n  options: { kickolduser: true }\n`,
    );
    start('ser2net', ['-n', '-u', '-c', path]).stdout.resume();
  }

  /** Its first client would be served: this one only looks whether the port is open. */
  async function listens(tcpPort: number): Promise<void> {
    const path = '/proc/net/tcp';
    const wanted = new RegExp(
      `^ *\\d+: 0100007F:${tcpPort.toString(16).toUpperCase().padStart(4, '0')} \\S+ 0A `,
      'm',
    );
    await until(() => wanted.test(readFileSync(path, 'latin1')), `port ${tcpPort}`, 90_000);
  }

  it('gensio, which ser2net is made of, sets the line, sends BREAK and data', async () => {
    const attached = nextSession(people.daemon, 'uart');
    const from = uart.requests.length;
    const child = start('gensiot', [
      ...['-i', 'stdio(self)', '-e', '0x1c'],
      `telnet(rfc2217),tcp,127.0.0.1,${telnetBase + 1}`,
    ]);
    const screen = new Heard().listenTo(child.stdout);
    await attached;
    child.stdin.write('\x1cs38400\n');
    await uartIsAsked(from, 'baud 38400');
    child.stdin.write('\x1c7');
    await uartIsAsked(from, 'data-bits 7');
    child.stdin.write('\x1ce');
    await uartIsAsked(from, 'parity 3');
    child.stdin.write('\x1cb');
    await uartIsAsked(from, 'control 5', 'control 6');
    const heard = hearsAtUart(12);
    child.stdin.write('from gensio\n');
    assert.equal((await heard).toString(), 'from gensio\n');
    await uart.send(Buffer.concat([ALL_BYTES, Buffer.from('to gensio\n')]));
    await screen.until('to gensio\n');
    assert.ok(screen.bytes.includes(ALL_BYTES));
  });

  it('ser2net, connected to a port by RFC 2217, hands it on', async () => {
    const local = await freeTcpPort();
    ser2net(`tcp,127.0.0.1,${local}`, telnetBase + 2);
    await listens(local);
    const attached = nextSession(people.daemon, 'wire');
    const client = await RawClient.enter(local);
    cleanups.push(() => void client.socket.destroy());
    await attached;
    const from = wire.heard.length;
    client.socket.write('from ser2net\r');
    await wire.heard.until('from ser2net\r', from);
    wire.say(ALL_BYTES);
    wire.say('to ser2net\r\n');
    await client.heard.until('to ser2net\r\n');
    assert.ok(client.heard.bytes.includes(ALL_BYTES));
  });

  it('socat by raw TCP: 1 MB of anything both ways', async () => {
    const [down, up] = [firmware(), firmware()];
    const heard = next(wire.heard, down.length);
    const attached = nextSession(people.daemon, 'wire');
    const child = start('socat', ['-', `TCP:127.0.0.1:${rawBase + 2}`]);
    const got = new Heard().listenTo(child.stdout);
    await attached;
    child.stdin.write(down);
    wire.say(up);
    assert.equal(sha256(await heard), sha256(down));
    assert.equal(sha256(await got.untilLength(up.length)), sha256(up));
  });

  it('ssh -W: 1 MB of anything both ways', async () => {
    const [down, up] = [firmware(), firmware()];
    const heard = next(wire.heard, down.length);
    const attached = nextSession(people.daemon, 'wire');
    const client = people.ssh.spawn(['-W', 'wire:1', 'ann@127.0.0.1'], { key: 'ann' });
    await attached;
    client.type(down);
    wire.say(up);
    assert.equal(sha256(await heard), sha256(down));
    assert.equal(sha256(await client.out.untilLength(up.length)), sha256(up));
  });

  describe('an exposed pty', () => {
    it('carries 1 MB of anything both ways through socat', async () => {
      const [down, up] = [firmware(), firmware()];
      const heard = next(vm.heard, down.length);
      const attached = nextSession(people.daemon, 'vm');
      const child = start('socat', ['-', `OPEN:${people.file('exposed-vm')},rawer`]);
      const got = new Heard().listenTo(child.stdout);
      await attached;
      child.stdin.write(down);
      await vm.say(up);
      assert.equal(sha256(await heard), sha256(down));
      assert.equal(sha256(await got.untilLength(up.length)), sha256(up));
    });

    for (const [name, words, leave, question] of [
      ['picocom', ['picocom', '-b', '57600'], '\x01\x18', null],
      ['minicom', ['minicom', '-o', '-b', '57600', '-D'], '\x01x', 'Leave Minicom?'],
    ] as const) {
      it(`is a serial port to ${name}, whose speed the line follows`, async () => {
        const from = uart.requests.length;
        const attached = nextSession(people.daemon, 'uart');
        const command = [...words, people.file('exposed-uart')];
        const terminal = new Terminal(people.libc, command, {
          TERM: 'vt100',
          HOME: people.directory.path,
        });
        cleanups.push(() => terminal.dispose());
        await attached;
        await uartIsAsked(from, 'baud 57600');
        await people.portIs('uart', ({ line }) => line === '57600 8N1');
        const heard = hearsAtUart(`by ${name}`.length);
        for (const key of `by ${name}`) terminal.type(key);
        assert.equal((await heard).toString(), `by ${name}`);
        await uart.send(Buffer.from(`said to ${name}\r\n`));
        await terminal.heard.until(`said to ${name}`);
        const leaving = uart.requests.length;
        terminal.type(leave);
        if (question !== null) {
          await terminal.heard.until(question);
          terminal.type('\r'); // yes
        }
        await terminal.exited;
        await uartIsAsked(leaving, 'baud 115200');
      });
    }
  });
});
