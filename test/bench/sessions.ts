import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Duplex, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReadStream, WriteStream } from 'node:tty';
import ssh2, { type Client } from 'ssh2';
import { decodeTelnet, TELNET_START, type TelnetState } from '../../src/protocols/telnet.ts';
import { freeTcpPort, MAIN } from '../e2e/daemon.ts';
import { compileC } from '../support/compile-c.ts';
import { Feeder, LINE_RATE, printStream, verifyStream } from './feeder.ts';
import { residentBytes } from './process-usage.ts';
import { megabytes, percentile, type Bench, type Row } from './row.ts';
import { fairlead, floor, portName, subjectDirectory } from './subjects.ts';
import type { FairleadOptions, Subject } from './subjects.ts';

const BUSY_PORTS = 47;
/** Of each kind; with the exposed pty and the stalled one they are 50. */
const READERS_BY_NETWORK = 16;

/** A way in, opened on the first port. */
interface EchoDoor {
  name: string;
  what: string;
  options(directory: string): Promise<FairleadOptions>;
  /** `directory`: the one the options were made for. */
  open(options: FairleadOptions, directory: string): Promise<Duplex>;
}

const ECHO_DOORS: readonly EchoDoor[] = [
  {
    name: 'echo-raw',
    what: 'raw TCP',
    options: async () => ({ rawBase: await freeTcpPort() }),
    open: ({ rawBase }) => dial(rawBase! + 1),
  },
  {
    name: 'echo-ssh',
    what: 'SSH',
    options: async () => ({ sshTcpPort: await freeTcpPort(), key: SSH_KEYS.public }),
    async open({ sshTcpPort }) {
      const client = await login(sshTcpPort!, `bench:${portName(0)}`, SSH_KEYS.private);
      const channel = await new Promise<Duplex>((resolve, reject) =>
        client.shell({ term: 'dumb' }, (error, shell) => (error ? reject(error) : resolve(shell))),
      );
      channel.once('close', () => client.end());
      return channel;
    },
  },
  {
    name: 'echo-telnet',
    what: 'telnet',
    options: async () => ({ telnetBase: await freeTcpPort() }),
    open: ({ telnetBase }) => dial(telnetBase! + 1),
  },
  {
    name: 'echo-cli',
    what: '`fairlead attach` in a pipe',
    options: async () => ({}),
    async open(_options, directory) {
      const config = join(directory, 'fairlead.yaml');
      const child = spawn(process.execPath, [MAIN, 'attach', portName(0), '--config', config], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const duplex = Duplex.from({ readable: child.stdout, writable: child.stdin });
      duplex.once('close', () => child.kill());
      duplex.on('error', () => undefined); // it is destroyed before its input has ended
      return duplex;
    },
  },
  {
    name: 'echo-expose',
    what: 'an exposed pty',
    options: async (directory) => ({ exposePath: join(directory, 'exposed') }),
    open: async ({ exposePath }) => openPty(exposePath!),
  },
];

const SSH_KEYS = ssh2.utils.generateKeyPairSync('ed25519');

const ECHO_ROWS: readonly Row[] = ECHO_DOORS.map((door) => ({
  name: door.name,
  what: `keystroke echo, ${door.what}, 47 other ports busy`,
  async measure(bench) {
    const options = await door.options(bench.directory);
    const directory = subjectDirectory(bench.directory, { name: 'Fairlead' });
    const ours = await echoTimes(bench, fairlead(options), directory, () =>
      door.open(options, directory),
    );
    return [echoLine(door.what, ours, await floorEcho(bench))];
  },
}));

export const SESSION_ROWS: readonly Row[] = [
  ...ECHO_ROWS,
  {
    name: 'readers50',
    what: '50 readers of one port by all frontends, one of which never reads',
    measure: fanOut,
  },
  {
    name: 'last64k',
    what: 'the last 64 KB of a port, asked over SSH',
    measure: lastOfPort,
  },
];

/** Milliseconds from a key to its echo. */
async function echoTimes(
  bench: Bench,
  subject: Subject,
  directory: string,
  open: () => Promise<Duplex>,
): Promise<number[]> {
  bench.say(`${subject.name}: echo ...`);
  const device = spawn(compileC('test/bench/echo.c'), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: device.stdout });
  const [path] = (await once(lines, 'line')) as [string];
  const feeder = await Feeder.start(BUSY_PORTS);
  const running = await subject.start([path, ...feeder.paths], directory);
  try {
    const session = await open();
    const fed = feeder.run({ rate: LINE_RATE });
    await sleep(1_000); // what a session says at first is no echo
    const times = await typeKeys(session, bench.quick ? 300 : 2_000);
    feeder.stop();
    await fed;
    session.destroy();
    return times;
  } finally {
    await running.stop();
    await feeder.close();
    device.stdin.end();
    lines.close();
  }
}

export async function typeKeys(session: Duplex, count: number): Promise<number[]> {
  const times: number[] = [];
  let awaited = -1;
  let heard: () => void = () => undefined;
  session.on('data', (chunk: Buffer) => {
    if (chunk.includes(awaited)) heard();
  });
  for (let i = 0; i < count; i++) {
    const key = 0x61 + (i % 26);
    const echoed = new Promise<void>((resolve) => (heard = resolve));
    awaited = key;
    const pressedAt = performance.now();
    session.write(Uint8Array.of(key));
    await echoed;
    times.push(performance.now() - pressedAt);
    awaited = -1;
    // Out of step with every 10 ms sweep.
    await sleep(2 + (i % 7));
  }
  return times;
}

async function floorEcho(bench: Bench): Promise<number[]> {
  const tcpPort = await freeTcpPort();
  const subject = floor(tcpPort);
  const directory = subjectDirectory(bench.directory, subject);
  return echoTimes(bench, subject, directory, () => dial(tcpPort));
}

function echoLine(door: string, ours: readonly number[], base: readonly number[]) {
  const [p50, p99] = [percentile(ours, 0.5), percentile(ours, 0.99)];
  const [base50, base99] = [percentile(base, 0.5), percentile(base, 0.99)];
  return {
    what: `keystroke echo, ${door}, p50 / p99, 47 other ports busy`,
    budget: '<= 0.4 / 3 ms',
    result: `${p50.toFixed(2)} / ${p99.toFixed(1)} ms`,
    floor: `${base50.toFixed(2)} / ${base99.toFixed(1)} (x ${(p50 / base50).toFixed(1)})`,
    isMet: p50 <= 0.4 && p99 <= 3,
  };
}

async function fanOut(bench: Bench) {
  const bytes = bench.quick ? 4e6 : 16e6;
  const [rawBase, telnetBase, sshTcpPort] = [
    await freeTcpPort(),
    await freeTcpPort(),
    await freeTcpPort(),
  ];
  const exposePath = join(bench.directory, 'exposed');
  const options = { rawBase, telnetBase, sshTcpPort, exposePath, key: SSH_KEYS.public };
  const subject = fairlead(options);
  const feeder = await Feeder.start(1);
  const running = await subject.start(feeder.paths, subjectDirectory(bench.directory, subject));
  const readers: Reader[] = [];
  let stalled: Socket | null = null;
  try {
    // 400 kB a second: 20 MB a second to the readers together, and far more than a stalled one takes.
    const limit = { rate: 400_000, bytes };
    // What it costs to log a busy port, with nobody there, is no session's.
    const unseen = (await feeder.run(limit)).sent[0]!;
    const expected = printStream(0, unseen, unseen + 2 * bytes);
    const before = await restingBytes(running.pid);

    stalled = await dial(rawBase + 1);
    stalled.pause();
    stalled.on('error', () => undefined); // it is to be disconnected
    const add = (name: string, stream: Readable): unknown =>
      readers.push(new Reader(name, stream, expected));
    // In a process of its own: a pty gives 4 KB a read, and between two of them is a turn of this loop.
    const cat = spawn('cat', [exposePath], { stdio: ['ignore', 'pipe', 'ignore'] });
    add('the exposed pty', cat.stdout);
    let client: Client | null = null;
    for (let i = 0; i < READERS_BY_NETWORK; i++) {
      if (i % 8 === 0) client = await login(sshTcpPort, 'bench', SSH_KEYS.private);
      add(`raw TCP ${i}`, await dial(rawBase + 1));
      add(`SSH ${i}`, await forwarded(client!));
      add(`telnet ${i}`, await dialTelnet(telnetBase + 1));
    }
    await sleep(2_000); // a connection is not a session yet
    const attached = residentBytes(running.pid).now;
    let peak = attached;
    const watch = setInterval(() => (peak = Math.max(peak, residentBytes(running.pid).now)), 100);
    const sent = (await feeder.run(limit)).sent[0]!;
    await sleep(2_000);
    clearInterval(watch);
    const short = readers.filter((reader) => !reader.isWrong && reader.got !== sent - unseen);
    const wrong = readers.filter((reader) => reader.isWrong);
    for (const { name, got, isWrong } of [...wrong, ...short].slice(0, 5)) {
      bench.say(`${name}: ${isWrong ? 'wrong after ' : ''}${got} of ${sent - unseen} bytes`);
    }
    const complete = readers.length - short.length - wrong.length;
    for (const reader of readers) reader.leave();
    stalled.destroy();
    await running.stop();
    const log = await verifyStream(0, running.log(0), [[0, sent]]);
    const isLogWhole = log.differsAt === null && log.bytes === sent;
    const growth = peak - before;
    bench.say(`RSS: ${[before, attached, peak].map(megabytes).join(', then ')}`);
    return [
      {
        what: `${readers.length + 1} readers by SSH, telnet, raw TCP and an exposed pty, one stalled: complete readers; log; RSS more by, than after the same with nobody there`,
        budget: `${readers.length}; complete; <= 16 MB`,
        result: `${complete}; ${isLogWhole ? 'complete' : `${log.bytes} of ${sent}`}; ${megabytes(growth)}`,
        floor: '',
        isMet: complete === readers.length && isLogWhole && growth <= 16e6,
      },
    ];
  } finally {
    for (const reader of readers) reader.leave();
    stalled?.destroy();
    await running.stop();
    await feeder.close();
  }
}

/** Compares what it is sent as it comes: fifty copies of the stream would slow every reader. */
class Reader {
  readonly name: string;
  /** Bytes so far, telnet's own aside; when it is wrong, those before. */
  got = 0;
  isWrong = false;
  readonly #stream: Readable;
  #state: TelnetState = TELNET_START;

  /** The stream's bytes hold no IAC: whatever begins with one is telnet's. */
  constructor(name: string, stream: Readable, expected: Buffer) {
    this.name = name;
    this.#stream = stream;
    stream.on('error', () => undefined); // the daemon is stopped before its clients
    stream.on('data', (chunk: Buffer) => {
      const { state, events } = decodeTelnet(this.#state, chunk);
      this.#state = state;
      for (const event of events) {
        if (event.kind !== 'data' || this.isWrong) continue;
        const part = expected.subarray(this.got, this.got + event.bytes.length);
        this.isWrong = !part.equals(event.bytes);
        if (!this.isWrong) this.got += event.bytes.length;
      }
    });
  }

  leave(): void {
    this.#stream.destroy();
  }
}

/** The least that a process has in memory while it has nothing to do: V8 gives back after seconds. */
async function restingBytes(pid: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let looks = 0; looks < 30; looks++) {
    await sleep(500);
    least = Math.min(least, residentBytes(pid).now);
  }
  return least;
}

/** A telnet client that is a program: BINARY both ways. */
async function dialTelnet(tcpPort: number): Promise<Socket> {
  const socket = await dial(tcpPort);
  socket.write(Uint8Array.of(IAC, WILL, BINARY, IAC, DO, BINARY));
  return socket;
}

const [IAC, DO, WILL, BINARY] = [255, 253, 251, 0];

/** `ssh -W`: a channel with a port's bytes and nothing else. */
function forwarded(client: Client): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    client.once('close', () => reject(new Error('the SSH connection was lost')));
    client.forwardOut('127.0.0.1', 0, portName(0), 1, (error, channel) =>
      error ? reject(error) : resolve(channel),
    );
  });
}

/** The end of an exposed pty that a serial program opens; `Fairlead` made it raw. */
function openPty(path: string): Duplex {
  const descriptor = openSync(path, 'r+');
  const duplex = Duplex.from({
    readable: new ReadStream(descriptor),
    writable: new WriteStream(descriptor),
  });
  duplex.on('error', () => undefined); // the daemon may hang it up before it is closed
  return duplex;
}

async function lastOfPort(bench: Bench) {
  const sshTcpPort = await freeTcpPort();
  const keys = ssh2.utils.generateKeyPairSync('ed25519');
  const subject = fairlead({ sshTcpPort, key: keys.public });
  const feeder = await Feeder.start(8);
  const running = await subject.start(feeder.paths, subjectDirectory(bench.directory, subject));
  let client: Client | null = null;
  try {
    const fed = await feeder.run({ rate: 0, bytes: bench.quick ? 2e6 : 64e6 });
    await sleep(2_000);
    client = await login(sshTcpPort, 'bench', keys.private);
    const command = `log ${portName(0)} --last 64K --format raw`;
    const times: number[] = [];
    let isRight = true;
    for (let i = 0; i < 50; i++) {
      const askedAt = performance.now();
      const chunks = await execute(client, command);
      times.push(performance.now() - askedAt);
      if (i > 0) continue;
      const sent = fed.sent[0]!;
      const verdict = await verifyStream(0, Readable.from(chunks), [[sent - 65_536, sent]]);
      isRight = verdict.differsAt === null && verdict.bytes === 65_536;
    }
    const p50 = percentile(times, 0.5);
    return [
      {
        what: 'last 64 KB of a port, over an open SSH connection, p50 / p99',
        budget: '<= 5 ms',
        result: `${p50.toFixed(1)} / ${percentile(times, 0.99).toFixed(1)} ms${isRight ? '' : ', wrong bytes'}`,
        floor: '',
        isMet: p50 <= 5 && isRight,
      },
    ];
  } finally {
    client?.end();
    await running.stop();
    await feeder.close();
  }
}

export async function dial(tcpPort: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: tcpPort, noDelay: true });
  await once(socket, 'connect');
  return socket;
}

async function login(tcpPort: number, username: string, privateKey: string): Promise<Client> {
  const client = new ssh2.Client();
  const ready = once(client, 'ready');
  // As OpenSSH does: with Nagle's algorithm in the client every second command waits 40 ms.
  client.connect({ sock: await dial(tcpPort), username, privateKey });
  await ready;
  client.on('error', () => undefined); // the daemon is stopped before the client
  return client;
}

function execute(client: Client, command: string): Promise<Buffer[]> {
  return new Promise((resolve, reject) =>
    client.exec(command, (error, channel) => {
      if (error) return reject(error);
      const chunks: Buffer[] = [];
      channel.on('data', (chunk: Buffer) => chunks.push(chunk));
      channel.on('close', () => resolve(chunks));
      channel.stderr.resume();
    }),
  );
}
