import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SessionEvent } from '../../src/core/attach.ts';
import { parseLineSettings } from '../../src/core/line-settings.ts';
import type { LineSettings } from '../../src/core/line-settings.ts';
import { GarbledWatch, SAMPLE_BYTES } from '../../src/ports/garbled-watch.ts';
import type { LineJudge } from '../../src/ports/garbled-watch.ts';
import { PortRecorder } from '../../src/ports/port-recorder.ts';
import {
  callerOf,
  encodeBody,
  FakeJournal,
  FakeSpool,
  FakeTimers,
  LINE,
  portSettings,
  registered,
  World,
} from './support.ts';

type Verdict = ReturnType<LineJudge['verdict']>;

const AT_9600: Verdict = { looksLike: parseLineSettings('9600 8N1'), confidence: 0.87 };
const UNKNOWN: Verdict = { looksLike: null, confidence: 0.6 };

/** A line whose judge says what it is told to. */
class Line {
  readonly timers = new FakeTimers();
  readonly spool = new FakeSpool();
  readonly journal = new FakeJournal();
  readonly events: SessionEvent[] = [];
  readonly taken: { bytes: string; errors: Parameters<LineJudge['take']>[1] }[] = [];
  readonly judged: LineSettings[] = [];
  verdict: Verdict = null;
  readonly recorder = new PortRecorder(
    this.spool,
    { nowUs: () => this.timers.nowMs() * 1_000 },
    this.timers,
    encodeBody,
    () => undefined,
    registered('db1'),
  );
  readonly watch = new GarbledWatch({
    timers: this.timers,
    journal: this.journal,
    recorder: this.recorder,
    judge: (line) => {
      this.judged.push(line);
      return {
        take: (bytes, errors) => {
          this.taken.push({ bytes: Buffer.from(bytes).toString('latin1'), errors: { ...errors } });
        },
        verdict: () => this.verdict,
      };
    },
    tellAll: (event) => this.events.push(event),
  });

  constructor(line: LineSettings | null = LINE) {
    this.watch.lineIs(line);
  }

  say(bytes: Uint8Array): void {
    const { offset } = this.recorder;
    this.recorder.rx(bytes);
    if (this.watch.wantsBytes) this.watch.rx(bytes, offset);
  }

  /** So many seconds in each of which 100 bytes come. */
  async talk(seconds: number, verdict: Verdict): Promise<void> {
    this.verdict = verdict;
    for (let i = 0; i < seconds; i++) {
      this.say(Buffer.alloc(100, 'x'));
      await this.timers.advance(1_000);
    }
  }

  get stretches(): [number, number, string | null][] {
    return this.spool.of('garbled').map(({ from, to, looksLike }) => [from, to, looksLike]);
  }
}

describe('the watch for garbled lines', () => {
  it('looks at a sample once a second, and never at a quiet line', async () => {
    const line = new Line();
    await line.timers.advance(60_000);
    assert.equal(line.taken.length, 0);
    for (let i = 0; i < 1_000; i++) line.say(Buffer.alloc(4_000, 'abc'));
    assert.equal(line.watch.wantsBytes, false);
    await line.timers.advance(60_000);
    assert.equal(line.taken.length, 1);
    assert.equal(line.taken.at(0)!.bytes, 'abc'.repeat(200).slice(0, SAMPLE_BYTES));
  });

  it('counts the errors of the sampled bytes, and of those only', async () => {
    const line = new Line();
    line.watch.error({ kind: 'line-error', error: 'framing', count: 1 });
    line.say(Buffer.from('a'));
    line.watch.error({ kind: 'line-error', error: 'parity', count: 2 });
    line.watch.error({ kind: 'line-error', error: 'overrun', count: 9 });
    line.watch.error({ kind: 'break' });
    line.watch.error({ kind: 'line-error', error: 'break', count: 3 });
    line.say(Buffer.alloc(4_000, 'b'));
    line.watch.error({ kind: 'line-error', error: 'framing', count: 50 });
    await line.timers.advance(1_000);
    assert.deepEqual(line.taken.at(0)!.errors, { framing: 1, parity: 2, breaks: 4 });
    line.watch.error({ kind: 'break' });
    await line.timers.advance(1_000);
    assert.deepEqual(line.taken.slice(1), [
      { bytes: '', errors: { framing: 0, parity: 0, breaks: 1 } },
    ]);
  });

  it('says it once, when it was seen twice, and marks the stretch', async () => {
    const line = new Line();
    await line.talk(3, null);
    await line.talk(1, AT_9600);
    assert.equal(line.watch.looksLike, null);
    await line.talk(1, AT_9600);
    assert.equal(line.watch.looksLike, '9600 8N1');
    assert.deepEqual(line.spool.of('garbled'), [
      { kind: 'garbled', from: 300, to: 500, looksLike: '9600 8N1', confidence: 0.87 },
    ]);
    const text =
      'the bytes look like 9600 8N1 (87 %); the line is at 115200 8N1, and nothing was changed';
    assert.deepEqual(line.events, [{ kind: 'message', from: 'fairlead', text }]);
    await line.talk(30, AT_9600);
    assert.equal(line.events.length, 1);
    assert.equal(line.journal.lines.length, 1);
  });

  it('is not alarmed by one look', async () => {
    const line = new Line();
    for (let i = 0; i < 10; i++) {
      await line.talk(1, AT_9600);
      await line.talk(1, null);
    }
    assert.deepEqual([line.stretches, line.events], [[], []]);
  });

  it('records a long stretch piece by piece, each 10 s, and its end', async () => {
    const line = new Line();
    await line.talk(25, AT_9600);
    await line.talk(1, null);
    assert.equal(line.watch.looksLike, '9600 8N1');
    await line.talk(1, null);
    assert.equal(line.watch.looksLike, null);
    const { stretches } = line;
    assert.deepEqual(
      stretches.map(([from]) => from),
      [0, ...stretches.slice(0, -1).map(([, to]) => to)],
      'one goes on where the last one ended',
    );
    assert.equal(stretches.at(-1)![1], 2_500);
    assert.equal(stretches.length, 4);
  });

  it('records the rest of a stretch also when the device falls silent', async () => {
    const line = new Line();
    await line.talk(5, AT_9600);
    await line.timers.advance(20_000);
    assert.deepEqual(line.stretches, [
      [0, 200, '9600 8N1'],
      [200, 500, '9600 8N1'],
    ]);
    assert.equal(line.watch.looksLike, '9600 8N1', 'as far as anybody knows');
  });

  it('goes over to another opinion where that begins', async () => {
    const line = new Line();
    await line.talk(4, UNKNOWN);
    assert.equal(line.watch.looksLike, null);
    await line.talk(4, AT_9600);
    assert.equal(line.watch.looksLike, '9600 8N1');
    await line.talk(2, null);
    assert.deepEqual(line.stretches, [
      [0, 200, null],
      [200, 400, null],
      [400, 600, '9600 8N1'],
      [600, 800, '9600 8N1'],
    ]);
    assert.match((line.events[0] as { text: string }).text, /garbled \(60 %\), but look like no/);
    assert.equal(line.events.length, 2);
  });

  it('ends when the line is set anew or goes down, and begins with nothing known', async () => {
    const line = new Line();
    await line.talk(4, AT_9600);
    line.watch.lineIs(parseLineSettings('9600 8N1'));
    assert.equal(line.watch.looksLike, null);
    assert.deepEqual(line.stretches.at(-1), [200, 400, '9600 8N1']);
    assert.deepEqual(line.judged.at(-1), parseLineSettings('9600 8N1'));
    await line.talk(1, AT_9600);
    line.watch.lineIs(null);
    assert.equal(line.watch.wantsBytes, false);
    await line.talk(5, AT_9600);
    assert.equal(line.stretches.length, 2);
  });

  it('tells of a line that goes back and forth once a minute at most', async () => {
    const line = new Line();
    for (let i = 0; i < 30; i++) {
      await line.talk(2, AT_9600);
      await line.talk(2, null);
    }
    assert.equal(line.stretches.length, 30);
    assert.equal(line.events.length, 2);
  });

  it('asks nothing of a line without a UART', async () => {
    const line = new Line(null);
    await line.talk(5, AT_9600);
    assert.deepEqual([line.taken, line.judged, line.stretches], [[], [], []]);
  });
});

describe('a port whose device sends at another speed', () => {
  /** What a UART at 115200 makes of a line at 9600: NULs, each with a framing error, and BREAKs. */
  async function garble(world: World, seconds: number): Promise<void> {
    for (let i = 0; i < seconds; i++) {
      for (let n = 0; n < 200; n++) {
        world.backend.sink.event({ kind: 'line-error', error: 'framing', count: 1 });
        world.backend.say(Uint8Array.of([0x00, 0x80, 0xf8, 0xfe][(n * 7) % 4]!));
      }
      await world.timers.advance(1_000);
    }
  }

  it('shows it, until the line is set anew', async () => {
    const world = await new World().start([
      portSettings('db1', { backend: { kind: 'pty', path: '/dev/pts/1', command: null } }),
    ]);
    await garble(world, 20);
    const [garbled] = await world.rack.ports(callerOf('alice'));
    assert.equal(garbled!.errors.framing, 4_000);
    const stretches = world.spool.of('garbled');
    assert.ok(stretches.length > 0);
    for (const [index, { from }] of stretches.entries()) {
      if (index > 0) assert.equal(from, stretches[index - 1]!.to);
    }
    await world.rack.setLine(callerOf('alice'), 'db1', parseLineSettings('9600 8N1'), null);
    const [set] = await world.rack.ports(callerOf('alice'));
    assert.equal(set!.looksLike, null);
    const before = world.spool.of('garbled').length;
    for (let i = 0; i < 20; i++) {
      world.backend.say('Welcome to minicom 2.8, and to a line that is set as it should be\r\n');
      await world.timers.advance(1_000);
    }
    assert.equal(world.spool.of('garbled').length, before);
  });
});
