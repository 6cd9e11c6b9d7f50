import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { CONNECTS_AT_ONCE_MAX, HOST_BACKOFF_MS, HostGate } from '../../src/backends/host-gate.ts';
import type { Backend, BackendOpener } from '../../src/core/backend.ts';
import type { Journal } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import { PortLine } from '../../src/ports/port-line.ts';
import { FakeTimers, settle } from '../ports/support.ts';
import { silentJournal } from '../support/backend.ts';

const HOST = '10.0.0.9';
/** How long a connect takes that somebody answers, or that nobody does. */
const ANSWER_MS = 20;
const TIMEOUT_MS = 10_000;

/** A terminal server that can be unplugged, with some of its TCP ports refusing. */
class FakeServer {
  isAway = false;
  readonly refusing = new Set<number>();
  connects: { tcpPort: number; atMs: number }[] = [];
  connecting = 0;
  connectingMost = 0;
  readonly #timers: FakeTimers;
  /** Open connections: what tells each of its end. */
  readonly open = new Map<number, () => void>();

  constructor(timers: FakeTimers) {
    this.#timers = timers;
  }

  async connect(tcpPort: number, ended: () => void): Promise<void> {
    this.connects.push({ tcpPort, atMs: this.#timers.nowMs() });
    this.connecting++;
    this.connectingMost = Math.max(this.connectingMost, this.connecting);
    const { isAway } = this;
    await new Promise<void>((resolve) =>
      this.#timers.after(isAway ? TIMEOUT_MS : ANSWER_MS, resolve),
    );
    this.connecting--;
    if (isAway) throw failure('ETIMEDOUT');
    if (this.refusing.has(tcpPort)) throw failure('ECONNREFUSED');
    this.open.set(tcpPort, ended);
  }
}

function failure(code: string): Fault {
  const cause = Object.assign(new Error(code), { code });
  return new Fault('PORT_OPEN_FAILED', `tcp ${HOST}: ${code}`, cause);
}

describe('lines at one host', () => {
  let timers: FakeTimers;
  let server: FakeServer;
  let gate: HostGate;
  let journal: { message: string; fields: object }[];
  let lines: Map<number, { line: PortLine; lose: () => void }>;

  beforeEach(() => {
    timers = new FakeTimers();
    server = new FakeServer(timers);
    journal = [];
    lines = new Map();
    const note = (fields: object, message: string): number => journal.push({ message, fields });
    const noting: Journal = { ...silentJournal, warn: note, info: note, child: () => noting };
    gate = new HostGate({ nowUs: () => timers.nowMs() * 1_000 }, noting, timers);
  });

  /** Ports of the real core on that host, as a rack starts them. */
  async function start(...tcpPorts: number[]): Promise<void> {
    for (const tcpPort of tcpPorts) {
      const state = { gone: (): void => undefined };
      const opener: BackendOpener = {
        kind: 'tcp',
        target: `${HOST}:${tcpPort}`,
        line: null,
        open: (sink) =>
          gate.pass(HOST, async (ended) => {
            await server.connect(tcpPort, ended);
            state.gone = () => {
              ended();
              server.open.delete(tcpPort);
              sink.gone(new Fault('PORT_GONE', 'the other side closed the connection'));
            };
            const backend = { description: `tcp ${tcpPort}`, close: () => Promise.resolve() };
            return backend as Partial<Backend> as Backend;
          }),
        watchReturn: (returned) => gate.watchReturn(HOST, returned),
        hurry: () => gate.hurry(HOST),
      };
      const nothing = (): void => undefined;
      const owner = { rx: nothing, writable: nothing, event: nothing, up: nothing, down: nothing };
      const port = new PortLine(
        () => `port${tcpPort}`,
        opener,
        { ...owner, rxInto: () => 0 },
        timers,
        silentJournal,
      );
      lines.set(tcpPort, { line: port, lose: () => state.gone() });
      void port.start();
    }
    await settle();
  }

  const stateOf = (tcpPort: number): string => lines.get(tcpPort)!.line.state;
  const upCount = (): number =>
    [...lines.values()].filter(({ line }) => line.state === 'up').length;
  const range = (count: number): number[] => Array.from({ length: count }, (_, i) => 5_001 + i);

  it('connect at most four at a time', async () => {
    await start(...range(48));
    assert.equal(server.connecting, CONNECTS_AT_ONCE_MAX);
    await timers.advance(12 * ANSWER_MS);
    assert.equal(upCount(), 48);
    assert.equal(server.connects.length, 48);
    assert.equal(server.connectingMost, CONNECTS_AT_ONCE_MAX);
  });

  it('are tried by one of them while it is away, and all at once when it answers', async () => {
    await start(...range(48));
    await timers.advance(12 * ANSWER_MS);
    server.isAway = true;
    await timers.advance(60_000); // long after it answered last
    for (const { lose } of lines.values()) lose();
    server.connects = [];
    await timers.advance(TIMEOUT_MS + 400);
    const first = server.connects.length;
    assert.ok(first <= CONNECTS_AT_ONCE_MAX + 1, `${first} connects before it is known`);
    server.connects = [];
    await timers.advance(120_000);
    // Each takes 10 s, then waits 5 s at most.
    const probes = server.connects.length;
    assert.ok(probes >= 8 && probes <= 12, `${probes} connects in two minutes`);
    const tried = new Set(server.connects.map(({ tcpPort }) => tcpPort));
    assert.ok(tried.size >= 8, `not always the same one: ${[...tried].join(' ')}`);
    assert.equal(upCount(), 0);
    const said = journal.filter(({ message }) => message === 'host does not answer');
    assert.equal(said.length, 1);

    server.isAway = false;
    server.connects = [];
    server.connectingMost = 0;
    await timers.advance(TIMEOUT_MS + HOST_BACKOFF_MS.max + 1_000);
    assert.equal(upCount(), 48);
    assert.equal(server.connectingMost, CONNECTS_AT_ONCE_MAX);
    const successes = server.connects.slice(-47);
    const spreadMs = successes.at(-1)!.atMs - successes[0]!.atMs;
    assert.ok(spreadMs <= 13 * ANSWER_MS + 100, `all within ${spreadMs} ms`);
    assert.ok(journal.some(({ message }) => message === 'host answers again'));
  });

  it('say since when it does not answer, and when it is tried next', async () => {
    server.isAway = true;
    await start(...range(8));
    await timers.advance(TIMEOUT_MS);
    const whys = [...lines.values()].map(({ line }) => line.why);
    assert.equal(whys.filter((why) => why === `tcp ${HOST}: ETIMEDOUT`).length, 4);
    const told = `${HOST} does not answer (since 1970-01-01T00:00:11Z); next try in 1 s`;
    assert.equal(whys.filter((why) => why === told).length, 4);
    await timers.advance(2_000);
    const later = [...lines.values()].map(({ line }) => line.why);
    assert.ok(
      later.some((why) => why?.endsWith('; it is being tried now')),
      later.join('\n'),
    );
  });

  it('keep a refused TCP port to themselves', async () => {
    server.refusing.add(5_002);
    await start(5_001, 5_002);
    await timers.advance(30_000);
    assert.equal(stateOf(5_001), 'up');
    assert.equal(lines.get(5_002)!.line.why, `tcp ${HOST}: ECONNREFUSED`);
    server.refusing.clear();
    await timers.advance(6_500);
    assert.equal(stateOf(5_002), 'up');
    assert.equal(journal.length, 0);
  });

  it('are not held up by one that a firewall swallows', async () => {
    await start(5_001, 5_002);
    await timers.advance(60_000);
    // As seen by that line alone.
    const original = server.connect.bind(server);
    server.connect = async (tcpPort, ended) => {
      if (tcpPort === 5_003) {
        server.connects.push({ tcpPort, atMs: timers.nowMs() });
        throw failure('EHOSTUNREACH');
      }
      await original(tcpPort, ended);
    };
    await start(5_003);
    await timers.advance(60_000);
    server.connects = [];
    lines.get(5_001)!.lose();
    await timers.advance(1_000);
    assert.equal(stateOf(5_001), 'up');
    await timers.advance(60_000);
    const tries = server.connects.filter(({ tcpPort }) => tcpPort === 5_003).length;
    assert.ok(tries <= 16, `${tries} tries of the swallowed port in a minute`);
    assert.equal(journal.length, 0);
  });

  it('try at once when somebody asks, whatever the back-off', async () => {
    server.isAway = true;
    await start(...range(6));
    await timers.advance(60_000);
    while (server.connecting > 0) await timers.advance(100);
    server.isAway = false;
    for (const { line } of lines.values()) line.retryNow();
    await timers.advance(50 + 2 * ANSWER_MS + 100);
    assert.equal(upCount(), 6);
  });

  it('leave nothing behind when they are closed', async () => {
    await start(...range(6));
    await timers.advance(1_000);
    assert.equal(gate.hostCount, 1);
    for (const { line } of lines.values()) await line.close();
    for (const ended of server.open.values()) ended();
    assert.equal(gate.hostCount, 0);
  });
});
