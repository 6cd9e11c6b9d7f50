import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import fc from 'fast-check';
import type { PortAccess } from '../../src/core/attach.ts';
import { Fault } from '../../src/core/fault.ts';
import { DEFAULT_ESCAPE } from '../../src/core/user.ts';
import { connectPortAccess } from '../../src/ports/link-client.ts';
import { servePortAccess } from '../../src/ports/link.ts';
import { World, callerOf, settle } from '../ports/support.ts';
import { Client, FakeLog, isNotice } from './support.ts';

/**
 * The attach contract (DESIGN 3) under whatever a day brings, in-thread and across a link: no
 * session sees a lost, doubled or reordered byte that it was not told of; input arrives once, in
 * order. Bytes of the device and of each client are numbered, so every mistake shows where it is.
 */
type Step =
  | { do: 'say'; bytes: number }
  | { do: 'commit'; records: number }
  | { do: 'attach'; back: number; mode: 'write' | 'view' | 'force'; program: boolean }
  | { do: 'detach' | 'stall' | 'go on' | 'take over'; client: number }
  /** Keys of ours: ask for write, spy. */
  | { do: 'key'; client: number; key: 'a' | 's' }
  | { do: 'type'; client: number; bytes: number }
  | { do: 'unplug' | 'restart link' | 'settle' }
  | { do: 'room'; bytes: number }
  | { do: 'wait'; ms: number };

const client = fc.nat(7);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('say' as const), bytes: sizes(20_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('say' as const), bytes: fc.constant(400_001) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('commit' as const), records: fc.nat(300) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('attach' as const),
      back: fc.oneof(fc.constant(-1), sizes(400_000)),
      mode: fc.constantFrom('write' as const, 'view' as const, 'force' as const),
      program: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'detach' as const,
        'stall' as const,
        'stall' as const,
        'go on' as const,
        'take over' as const,
      ),
      client,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('key' as const),
      client,
      key: fc.constantFrom('a' as const, 's' as const, 'a' as const),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('type' as const), client, bytes: sizes(100_000) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('unplug' as const, 'restart link' as const, 'settle' as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('room' as const), bytes: sizes(50_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(3_000) }) },
);

function sizes(max: number): fc.Arbitrary<number> {
  return fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max }));
}

/** What the device says from offset 0 on: letters whose order shows their place. */
const DEVICE = Buffer.from(
  Uint8Array.from({ length: 40_000_000 }, (_, at) => 97 + ((at * 7 + (at >> 9)) % 26)),
);

/** One client and what it may rightly have seen and sent. */
class Checked extends Client {
  readonly number: number;
  readonly from: number;
  isProgram = false;
  isGone = false;
  sent: number[] = [];
  #counter = 0;

  constructor(number: number, from: number, isProgram: boolean) {
    super();
    this.number = number;
    this.from = from;
    this.isProgram = isProgram;
  }

  /** Three bits say who typed it, five count. */
  nextInput(bytes: number): Uint8Array {
    return Uint8Array.from({ length: bytes }, () => (this.number << 5) | (this.#counter++ & 31));
  }

  get wasRefused(): boolean {
    return this.notices.some((line) => /^input refused/.test(line));
  }

  /** Follows the output byte by byte; returns the offset it reached. */
  follow(): number {
    let at = this.from;
    for (const chunk of this.chunks) {
      if (isNotice(chunk)) {
        for (const match of chunk.toString().matchAll(/skipped (\d+) bytes \((\d+)\.\.(\d+)\)/g)) {
          const [count, from, to] = match.slice(1).map(Number) as [number, number, number];
          assert.equal(from, at, 'a skip begins where the output ended');
          assert.equal(count, to - from);
          at = to;
        }
        continue;
      }
      const right = DEVICE.subarray(at, at + chunk.length);
      assert.ok(chunk.equals(right), `client ${this.number}: wrong bytes from ${at} on`);
      at += chunk.length;
    }
    return at;
  }
}

async function play(steps: readonly Step[], acrossLink: boolean): Promise<void> {
  const world = new World();
  const { timers } = world;
  const log = new FakeLog(world.spool, timers);
  log.committed = 0;
  let offset = 0;
  let roomBytes = Number.POSITIVE_INFINITY;
  let taken: number[] = [];
  let wasUnplugged = false;
  const opener = world.makeOpener({ name: 'db1', line: null } as never);
  opener.onOpen = (backend) => {
    backend.roomBytes = roomBytes;
    backend.sink.rx(new Uint8Array(0));
  };
  await world.start();

  let link: { access: PortAccess; close(): void } = { access: world.rack, close: () => undefined };
  const openLink = (): void => {
    if (!acrossLink) return;
    const channel = new MessageChannel();
    const served = servePortAccess(channel.port1, world.rack, world.journal);
    const access = connectPortAccess(channel.port2, timers);
    const close = (): void => {
      served.end('link restarted');
      channel.port2.close();
    };
    link = { access, close };
  };
  openLink();
  const clients: Checked[] = [];
  const pick = (number: number): Checked | undefined => {
    const open = clients.filter((candidate) => !candidate.isGone && candidate.endedWhy === null);
    return open[number % Math.max(1, open.length)];
  };
  const gather = (): void => {
    taken = opener.backends.flatMap((backend) => backend.written);
  };
  const isUp = (): boolean => !opener.backend.isClosed;

  async function attach(wanted: Extract<Step, { do: 'attach' }>): Promise<void> {
    if (clients.length === 8) return;
    const isLive = wanted.back < 0;
    const from = isLive ? offset : Math.max(0, offset - wanted.back);
    const newcomer = new Checked(clients.length, from, wanted.program);
    clients.push(newcomer);
    const { journal } = world;
    const clock = { nowUs: () => timers.nowMs() * 1_000 };
    await newcomer.open(
      { access: link.access, log, clock, journal, timers },
      {
        caller: callerOf(`user${newcomer.number}`),
        mode: wanted.mode,
        delivery: wanted.program ? 'program' : 'person',
        from: isLive ? null : { at: 'offset', offset: from },
        // A program has no notices, but the test must hear of what its history lacks.
        notices: true,
        keys: wanted.program ? null : DEFAULT_ESCAPE,
      },
    );
  }

  for (const now of steps) {
    switch (now.do) {
      case 'say': {
        if (!isUp()) break;
        const bytes = DEVICE.subarray(offset, offset + now.bytes);
        offset += now.bytes;
        if (now.bytes % 2 === 0) opener.backend.say(bytes);
        else opener.backend.sink.rx(bytes);
        break;
      }
      case 'commit':
        log.commit(now.records);
        break;
      case 'attach':
        await attach(now);
        break;
      case 'detach': {
        const leaving = pick(now.client);
        leaving?.session.detach();
        if (leaving) leaving.isGone = true;
        break;
      }
      case 'stall': {
        const stalling = pick(now.client);
        if (stalling) stalling.isStalled = true;
        break;
      }
      case 'go on':
        pick(now.client)?.goOn();
        break;
      case 'take over':
        await pick(now.client)?.session.takeOver();
        break;
      case 'key': {
        const typist = pick(now.client);
        if (typist && !typist.isProgram) void typist.session.input(Buffer.from(`\x05c${now.key}`));
        break;
      }
      case 'type': {
        const typist = pick(now.client);
        const bytes = typist?.nextInput(now.bytes);
        if (!typist || !bytes) break;
        typist.sent.push(...bytes);
        void typist.session.input(bytes);
        break;
      }
      case 'unplug':
        wasUnplugged = true;
        if (isUp()) opener.backend.sink.gone(new Fault('PORT_GONE', 'unplugged'));
        break;
      case 'restart link':
        if (!acrossLink) break;
        link.close();
        for (const { session } of clients) session.detach();
        for (const gone of clients) gone.isGone = true;
        openLink();
        break;
      case 'settle':
        await settle(3);
        break;
      case 'room':
        roomBytes = now.bytes;
        if (isUp()) {
          opener.backend.roomBytes = 0;
          opener.backend.giveRoom(now.bytes);
        }
        break;
      case 'wait':
        await timers.advance(now.ms);
    }
  }

  // The day is over: everything that can go on does.
  log.commit(1_000_000);
  roomBytes = Number.POSITIVE_INFINITY;
  await timers.advance(6_500);
  opener.backend.giveRoom(roomBytes);
  for (let turn = 0; turn < 60; turn++) {
    for (const each of clients) each.goOn();
    await settle(4);
  }
  gather();

  for (const each of clients) {
    const reached = each.follow();
    assert.ok(reached <= offset);
    if (!each.isGone && each.endedWhy === null) {
      assert.equal(reached, offset, `client ${each.number} has everything`);
    }
    const arrived = taken.filter((byte) => byte >> 5 === each.number);
    const isWhole = !each.wasRefused && !each.isGone && each.endedWhy === null;
    if (isWhole) assert.deepEqual(arrived, each.sent, `input of ${each.number} arrived whole`);
    // Who is gone does not hear that an unplugged device lost what it had not taken.
    else assertInOrder(arrived, each.sent, each.wasRefused || (each.isGone && wasUnplugged));
  }
  link.close();
  await world.rack.stop();
  assertLogIsWhole(world, offset);
}

/** What arrived is what was sent, in order; without a refusal its beginning. */
function assertInOrder(
  arrived: readonly number[],
  sent: readonly number[],
  isRefused: boolean,
): void {
  if (!isRefused) {
    assert.deepEqual(arrived, sent.slice(0, arrived.length));
    return;
  }
  let at = 0;
  for (const byte of arrived) {
    at = sent.indexOf(byte, at) + 1;
    assert.ok(at > 0, 'input is sent once and in order');
  }
}

function assertLogIsWhole(world: World, offset: number): void {
  const logged = Buffer.concat(world.spool.of('rx').map(({ bytes }) => bytes));
  assert.ok(logged.equals(DEVICE.subarray(0, offset)), 'the log has every byte');
}

describe('the attach contract', () => {
  for (const acrossLink of [false, true]) {
    it(`holds ${acrossLink ? 'across a link' : 'in-thread'}, whatever happens`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80, size: 'max' }), (steps) =>
          play(steps, acrossLink),
        ),
        { numRuns: 60 },
      );
    });
  }
});
