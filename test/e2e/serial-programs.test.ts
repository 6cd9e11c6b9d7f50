import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, describe, it } from 'node:test';
import { hashPassword } from '../../src/auth/password.ts';
import { PROJECT } from '../support/project.ts';
import { requireLibc } from '../support/pty.ts';
import { Heard, Machine, RawClient, SshKit } from './console.ts';
import { Daemon, freeTcpPort, run, scratchDirectory } from './daemon.ts';

const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

/** 1 MB as firmware is: every byte after ^E, after ^Ec and after IAC among random ones. */
function firmware(): Buffer {
  const awkward = [...ALL_BYTES].flatMap((byte) => [
    ...[0x05, byte, 0x05, 0x63, byte, 0xff, byte, 0xff, 0xff, byte],
    ...[0x0d, byte, 0x0a, byte, 0xff, 0xfa, byte, 0xff, 0xf0],
  ]);
  return Buffer.concat([
    randomBytes(500_000),
    Buffer.from(awkward),
    randomBytes(500_000 - awkward.length),
  ]);
}

/** Programs for serial lines, as distributions ship them, against a running daemon. */
describe('programs for serial lines', () => {
  const directory = scratchDirectory();
  const cleanups: (() => Promise<unknown> | void)[] = [];
  let daemon: Daemon;
  let machine: Machine;
  let wire: Wire;
  let ssh: SshKit;
  let telnetBase: number;
  let rawBase: number;
  const exposed = join(directory.path, 'exposed');
  const file = (name: string): string => join(directory.path, name);

  before(async () => {
    machine = new Machine(await requireLibc());
    wire = await Wire.open();
    ssh = new SshKit(directory.path, await freeTcpPort());
    [telnetBase, rawBase] = [(await freeTcpPort()) - 2, (await freeTcpPort()) - 2];
    daemon = await Daemon.start(
      directory.path,
      `
data: ./data
listen:
  ssh: 127.0.0.1:${ssh.tcpPort}
  telnet: { base: ${telnetBase}, auth: none, allow: [127.0.0.1/32], as: lab }
  raw: { base: ${rawBase}, auth: none, allow: [127.0.0.1/32], as: lab }
users:
  lab: { role: operator, ports: ['*'] }
  ann: { role: admin, keys: ['${ssh.makeKey('ann')}'] }
ports:
  uart: { n: 1, device: ${machine.path}, line: 115200 8N1, restoreLine: true, expose: ./exposed }
  wire: { n: 2, tcp: '127.0.0.1:${wire.tcpPort}' }
`,
    );
    await daemon.said('port up', (entry) => entry['port'] === 'uart');
    await daemon.said('port up', (entry) => entry['port'] === 'wire');
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    await nobodyWrites('uart');
    await nobodyWrites('wire');
  });
  after(async () => {
    ssh.dispose();
    await daemon.stop();
    machine.dispose();
    wire.close();
    directory.dispose();
  });

  async function portNamed(name: string): Promise<{ writer: string | null; line: string }> {
    const { stdout } = await daemon.cli(['ports', '--json']);
    const all = JSON.parse(stdout.toString()) as { name: string; writer: null; line: string }[];
    return all.find((port) => port.name === name)!;
  }

  async function nobodyWrites(name: string): Promise<void> {
    while ((await portNamed(name)).writer !== null) await pause();
  }

  async function somebodyWrites(name: string): Promise<void> {
    while ((await portNamed(name)).writer === null) await pause();
  }

  describe('pyserial by rfc2217://', () => {
    async function open(n: number, settings = ''): Promise<PySerial> {
      const python = new PySerial();
      cleanups.push(() => python.end());
      const url = `rfc2217://127.0.0.1:${telnetBase + n}`;
      assert.equal(await python.value(`open(${JSON.stringify(url)}, timeout=30${settings})`), true);
      return python;
    }

    it('changes the baud rate of the line for real, and the line goes back when it leaves', async () => {
      const python = await open(1);
      await python.value("setattr(port, 'baudrate', 57600)");
      assert.equal((await portNamed('uart')).line, '57600 8N1');
      const { stdout } = await run('stty', ['-F', machine.path, 'speed']);
      assert.equal(stdout.toString().trim(), '57600');
      await python.value("setattr(port, 'baudrate', 250000)");
      assert.equal((await portNamed('uart')).line, '250000 8N1');
      await python.end();
      await nobodyWrites('uart');
      while ((await portNamed('uart')).line !== '115200 8N1') await pause();
      const log = await daemon.cli(['log', 'uart', '--format', 'jsonl']);
      assert.match(log.stdout.toString(), /"kind":"line".*57600 8N1/);
    });

    it('has every setting it asks for confirmed, where no UART can say no', async () => {
      const python = await open(2);
      for (const [name, values] of [
        ['bytesize', ['5', '6', '7', '8']],
        ['parity', ["'E'", "'O'", "'M'", "'S'", "'N'"]],
        ['stopbits', ['2', '1.5', '1']],
        ['baudrate', ['300', '9600', '1500000', '115200']],
        ['xonxoff', ['True', 'False']],
        ['rtscts', ['True', 'False']],
        ['dtr', ['False', 'True']],
        ['rts', ['False', 'True']],
        ['break_condition', ['True', 'False']],
      ] as const) {
        for (const value of values) {
          assert.equal(await python.value(`setattr(port, '${name}', ${value})`), null);
        }
      }
      for (const signal of ['cts', 'dsr', 'cd', 'ri']) {
        assert.equal(typeof (await python.value(`port.${signal}`)), 'boolean', signal);
      }
      assert.equal(await python.value('port.reset_input_buffer()'), null);
      assert.equal(await python.value('port.reset_output_buffer()'), null);
      assert.equal(await python.value('port.send_break(0.05)'), null);
    });

    it('reads what there is when its time-out is over', async () => {
      const python = await open(2);
      await python.value("setattr(port, 'timeout', 0.2)");
      assert.equal(await python.value('read(10)'), '');
      wire.say('half');
      await python.value('until(lambda: port.in_waiting == 4)');
      assert.equal(await python.value('read(10)'), Buffer.from('half').toString('hex'));
    });

    it('carries 1 MB of anything both ways', async () => {
      const python = await open(2);
      const [down, up] = [firmware(), firmware()];
      const heard = wire.hears(down.length);
      writeFileSync(file('down'), down);
      wire.say(up);
      const [sent, got] = [
        `port.write(__import__('pathlib').Path(${JSON.stringify(file('down'))}).read_bytes())`,
        `__import__('hashlib').sha256(port.read(${up.length})).hexdigest()`,
      ];
      assert.equal(await python.value(sent), down.length);
      assert.equal(await python.value(got), sha256(up));
      assert.equal(sha256(await heard), sha256(down));
    });
  });

  it('gensio, which ser2net is made of, talks telnet with RFC 2217 to a port', async () => {
    const child = spawn('gensiot', [
      ...['-i', 'stdio(self)'],
      `telnet(rfc2217),tcp,127.0.0.1,${telnetBase + 2}`,
    ]);
    cleanups.push(() => endOf(child));
    const heard = new Heard().listenTo(child.stdout);
    await somebodyWrites('wire');
    const before = wire.heard.length;
    child.stdin.write('from gensio\n');
    await wire.heard.until('from gensio\n', before);
    wire.say(ALL_BYTES);
    wire.say('to gensio\n');
    await heard.until('to gensio\n');
    assert.ok(heard.bytes.includes(ALL_BYTES));
  });

  it('ser2net, connected to a port by RFC 2217, hands it on', async () => {
    const local = await freeTcpPort();
    writeFileSync(
      file('ser2net.yaml'),
      `connection: &far
  accepter: tcp,127.0.0.1,${local}
  connector: telnet(rfc2217),tcp,127.0.0.1,${telnetBase + 2}
`,
    );
    const child = spawn('ser2net', ['-n', '-u', '-c', file('ser2net.yaml')]);
    cleanups.push(() => endOf(child));
    new Heard().listenTo(child.stdout);
    let client: RawClient | null = null;
    while (client === null) {
      client = await RawClient.enter(local).catch(() => null);
      await pause();
    }
    cleanups.push(() => void client.socket.destroy());
    await somebodyWrites('wire');
    const before = wire.heard.length;
    client.socket.write('from ser2net\r');
    await wire.heard.until('from ser2net', before);
    wire.say('to ser2net\r\n');
    await client.heard.until('to ser2net');
  });

  it('socat by raw TCP: 1 MB of anything both ways', async () => {
    const [down, up] = [firmware(), firmware()];
    const heard = wire.hears(down.length);
    const child = spawn('socat', ['-', `TCP:127.0.0.1:${rawBase + 2}`]);
    cleanups.push(() => endOf(child));
    const got = new Heard().listenTo(child.stdout);
    await somebodyWrites('wire');
    child.stdin.write(down);
    wire.say(up);
    assert.equal(sha256(await heard), sha256(down));
    assert.equal(sha256(await got.untilLength(up.length)), sha256(up));
  });

  it('ssh -W: 1 MB of anything both ways', async () => {
    const [down, up] = [firmware(), firmware()];
    const heard = wire.hears(down.length);
    const client = ssh.spawn(['-W', 'wire:1', 'ann@127.0.0.1'], { key: 'ann' });
    cleanups.push(async () => {
      client.process.kill();
      await client.exited;
    });
    await somebodyWrites('wire');
    client.type(down);
    wire.say(up);
    assert.equal(sha256(await heard), sha256(down));
    assert.equal(sha256(await client.out.untilLength(up.length)), sha256(up));
  });

  describe('an exposed pty', () => {
    it('carries 1 MB of anything both ways through socat', async () => {
      const [down, up] = [firmware(), firmware()];
      const from = machine.heard.length;
      const child = spawn('socat', ['-', `OPEN:${exposed},rawer`]);
      cleanups.push(() => endOf(child));
      const got = new Heard().listenTo(child.stdout);
      await somebodyWrites('uart');
      child.stdin.write(down);
      await machine.say(up);
      const heard = (await machine.heard.untilLength(from + down.length)).subarray(from);
      assert.equal(sha256(heard), sha256(down));
      assert.equal(sha256(await got.untilLength(up.length)), sha256(up));
    });

    for (const [name, words, leave] of [
      ['picocom', ['picocom', '-q', '-b', '57600', exposed], '\x01\x18'],
      ['minicom', ['minicom', '-o', '-D', exposed, '-b', '57600'], '\x01xy\r'],
    ] as const) {
      it(`is a serial port to ${name}, whose speed the line follows`, async () => {
        const child = spawn('script', ['-qfec', words.join(' '), '/dev/null'], {
          env: { ...process.env, TERM: 'vt100', HOME: directory.path },
        });
        cleanups.push(() => endOf(child));
        const screen = new Heard().listenTo(child.stdout);
        await somebodyWrites('uart');
        while ((await portNamed('uart')).line !== '57600 8N1') await pause();
        const before = machine.heard.length;
        for (const key of `by ${name}`) child.stdin.write(key);
        await machine.heard.until(`by ${name}`, before);
        await machine.say(`said to ${name}\r\n`);
        await screen.until(`said to ${name}`);
        const ended = once(child, 'close');
        child.stdin.write(leave);
        await ended;
      });
    }
  });
});

/** inetutils' telnet, as a person uses it. */
describe('telnet in character mode', () => {
  const directory = scratchDirectory();
  let machine: Machine;
  let daemon: Daemon;
  let tcpPort: number;

  before(async () => {
    machine = new Machine(await requireLibc());
    tcpPort = await freeTcpPort();
    daemon = await Daemon.start(
      directory.path,
      `
data: ./data
banner: Only for those who keep machines alive
listen:
  ssh: none
  telnet: { base: ${tcpPort - 1}, allow: [127.0.0.0/8] }
users:
  ann: { role: admin, password: '${await hashPassword('open sesame')}' }
ports:
  db1: { n: 1, device: ${machine.path}, motd: mind the gap }
`,
    );
    await daemon.said('port up');
  });
  after(async () => {
    await daemon.stop();
    machine.dispose();
    directory.dispose();
  });

  it("asks for login and password, shows the port, and every key but ^] is the device's", async () => {
    const child = spawn('script', ['-qfec', `inetutils-telnet 127.0.0.1 ${tcpPort}`, '/dev/null'], {
      env: { ...process.env, TERM: 'vt100' },
    });
    const screen = new Heard().listenTo(child.stdout);
    await screen.until('Only for those who keep machines alive');
    await screen.until('login: ');
    child.stdin.write('ann\r');
    await screen.until('Password: ');
    child.stdin.write('open sesame\r');
    await screen.until('mind the gap');
    await screen.until('db1: you write');
    assert.doesNotMatch(screen.text, /open sesame/);

    await machine.say('\r\ndb1 login: ');
    await screen.until('db1 login: ');
    child.stdin.write('root\r');
    await machine.heard.until('root\r');
    assert.doesNotMatch(machine.heard.text, /root\r[\n\0]/, 'Enter is one carriage return');
    for (const keys of ['\x01\x01\x01', '\x03', '\x1a']) {
      const from = machine.heard.length;
      child.stdin.write(keys);
      await machine.heard.until(keys, from);
    }
    child.stdin.write('\x05c?');
    await screen.until('this list');
    child.stdin.write('\x05cw');
    await screen.until(/ann writes from .* by telnet/);

    const ended = once(child, 'close');
    child.stdin.write('\x1d');
    await screen.until('telnet> ');
    child.stdin.write('quit\r');
    await ended;
    await daemon.said('session ended');
  });

  it('leaves by ^Ec. as everywhere', async () => {
    const child = spawn('script', ['-qfec', `inetutils-telnet 127.0.0.1 ${tcpPort}`, '/dev/null']);
    const screen = new Heard().listenTo(child.stdout);
    await screen.until('login: ');
    child.stdin.write('ann\r');
    await screen.until('Password: ');
    child.stdin.write('open sesame\r');
    await screen.until('db1: you write');
    const ended = once(child, 'close');
    child.stdin.write('\x05c.');
    await ended;
    assert.match(screen.text, /Connection closed by foreign host/);
  });
});

/** A line behind TCP: what the daemon connects to, and the test plays. */
class Wire {
  readonly heard = new Heard();
  readonly #server: Server;
  #socket: Socket | null = null;

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#socket = socket;
      socket.on('data', (bytes: Buffer) => this.heard.add(bytes));
      socket.on('error', () => undefined);
    });
  }

  static async open(): Promise<Wire> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Wire(server);
  }

  get tcpPort(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  say(bytes: string | Uint8Array): void {
    this.#socket!.write(bytes);
  }

  /** The next so many bytes that come. */
  async hears(count: number): Promise<Buffer> {
    const from = this.heard.length;
    return (await this.heard.untilLength(from + count)).subarray(from, from + count);
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }
}

/** pyserial in a process of its own: test/e2e/pyserial.py. */
class PySerial {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;

  constructor() {
    // Debian's own Python: another one would not have Debian's pyserial.
    this.#child = spawn('/usr/bin/python3', [join(PROJECT, 'test/e2e/pyserial.py')]);
    this.#child.stderr.resume();
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** What an expression comes to. */
  async value(expression: string): Promise<unknown> {
    this.#child.stdin.write(`${expression}\n`);
    const line = await this.#answers.next();
    assert.ok(!line.done, `pyserial ended at ${expression}`);
    const answer = JSON.parse(line.value) as { value?: unknown; error?: string };
    assert.equal(answer.error, undefined, expression);
    return answer.value;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.stdin.end();
    await once(this.#child, 'close');
  }
}

async function endOf(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill();
  await once(child, 'close');
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 50));
}
