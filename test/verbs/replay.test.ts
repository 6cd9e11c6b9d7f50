import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import xterm from '@xterm/headless';
import { replayKeys } from '../../src/verbs/replay.ts';
import type { ReplayControls } from '../../src/verbs/replay.ts';
import { Bench, NOW_US } from './fakes.ts';

/** A boot as a BIOS, a boot loader and a kernel print it, in reads of uneven length. */
const BOOT = [
  '\x1bc\x1b[?7l\x1b[2JSeaBIOS (version 1.16.2)\r\n\x1b[?7h',
  '\x1b[0;30;47m\x1b[1;1H  GNU GRUB  version 2.06  \x1b[0m\x1b[5;4H*Debian\x1b[6;5HAdvanced',
  '\x1b[20;2HThe highlighted entry is started in 5s.\x1b[20;36H4\x1b[20;36H3\x1b[5;4H\x1b[6n',
  '\x1b[0m\x1b[2J\x1b[H[    0.000000] Linux version 6.1.0\r\r\n',
  ...Array.from({ length: 60 }, (_, line) => `[    ${line}.000000] device ${line} ready\r\n`),
  '\x1b]0;title\x07\x1b[1;31mKernel panic - not syncing\x1b[0m: ä€\r\n',
  '---[ end Kernel panic ]---\x1b[5n',
].join('');

/** Silent for `pauseUs` once the kernel has said its first word. */
function bootLog(bench: Bench, pauseUs = 0): void {
  const bytes = Buffer.from(BOOT);
  let at = 0;
  let atUs = NOW_US;
  for (let read = 0; at < bytes.length; read++) {
    const length = 1 + ((read * 37) % 120);
    bench.log.rx(atUs, bytes.subarray(at, at + length));
    if (bytes.subarray(at, at + length).includes('Linux')) atUs += pauseUs;
    at += length;
    atUs += 40_000;
  }
}

/** Only a seek back writes this: the boot above clears in another order. */
const CLEARED = '\x1b[0m\x1b[H\x1b[2J';

async function screenOf(bytes: Uint8Array): Promise<{ lines: string[]; answers: string[] }> {
  const terminal = new xterm.Terminal({ cols: 80, rows: 24, allowProposedApi: true });
  const answers: string[] = [];
  terminal.onData((text) => answers.push(text));
  await new Promise<void>((done) => terminal.write(bytes, done));
  const { active } = terminal.buffer;
  const lines = [`cursor ${active.cursorX},${active.cursorY}`];
  for (let row = 0; row < active.length; row++) {
    lines.push(active.getLine(row)!.translateToString(true));
  }
  terminal.dispose();
  return { lines, answers };
}

describe('replay', () => {
  it('ends on the screen that live ended on, and nothing answers', async () => {
    for (const isTerminal of [true, false]) {
      const bench = new Bench();
      bootLog(bench);
      bench.io.isTerminal = isTerminal;
      assert.equal(await bench.run('replay', 'db1', '--speed', '500'), 0, bench.io.errors);
      const live = await screenOf(Buffer.from(BOOT));
      const replayed = await screenOf(bench.io.bytes);
      assert.deepEqual(replayed.lines, live.lines);
      assert.ok(live.answers.length >= 2);
      assert.deepEqual(replayed.answers, []);
      assert.equal(bench.io.hasListener, false);
    }
  });

  it('ends on that screen also when it was paused, stepped and turned back on the way', async () => {
    const bench = new Bench();
    bootLog(bench, 3_600_000_000);
    bench.io.isTerminal = true;
    const { io } = bench;
    const done = bench.run('replay', 'db1');
    await io.when(() => io.output.includes('Linux'));
    assert.equal(io.isRaw, true);
    io.type(' ');
    await io.when(() => /\[paused 12:00:0\d\.\d{3} @\d+ x1\]/.test(io.output));
    io.type('.').type('.');
    await io.when(() => /\[paused 13:00:0\d\.\d{3} @\d+ x1\]/.test(io.output));
    io.type('\x1b[D');
    await io.when(() => io.output.includes(CLEARED));
    io.type('\x1b[C').type('+'.repeat(10)).type(' ');
    assert.equal(await done, 0);
    const live = await screenOf(Buffer.from(BOOT));
    const replayed = await screenOf(io.bytes);
    assert.deepEqual(replayed.lines.slice(-24), live.lines.slice(-24));
  });

  it('plays from and to a place', async () => {
    const bench = new Bench();
    bench.log
      .rx(NOW_US - 3, 'one')
      .rx(NOW_US - 2, 'two')
      .rx(NOW_US - 1, 'three');
    assert.equal(await bench.run('replay', 'db1', '--from', '@4', '--to', '@8'), 0);
    assert.equal(bench.io.output, 'woth');
  });

  it('waits as long as the port was silent, or less when told', async () => {
    const bench = new Bench();
    bench.log.rx(NOW_US - 3_600_000_000, 'one').rx(NOW_US, 'two');
    const startMs = performance.now();
    assert.equal(await bench.run('replay', 'db1', '--idle-max', '0.05'), 0);
    assert.ok(performance.now() - startMs >= 49);
    assert.equal(bench.io.output, 'onetwo');
  });

  it('leaves by key and by interrupt, with the terminal tidy', async () => {
    for (const leave of ['q', '\x03', '\x05c.', null]) {
      const bench = new Bench();
      bench.log.rx(NOW_US - 3_600_000_000, '\x1b[?25l\x1b[31mone').rx(NOW_US, 'two');
      bench.io.isTerminal = true;
      const done = bench.run('replay', 'db1');
      await bench.io.when(() => bench.io.output.includes('one'));
      if (leave === null) bench.io.abort();
      else bench.io.type(leave);
      assert.equal(await done, 0);
      assert.match(bench.io.output, /\x1b\[\?25h\x1b\[0m$/);
      assert.doesNotMatch(bench.io.output, /two/);
    }
  });

  it('plays nothing of an empty log, and refuses what makes no sense', async () => {
    assert.equal(await new Bench().run('replay', 'db1'), 0);
    for (const option of ['--speed', '--idle-max']) {
      assert.equal(await new Bench().run('replay', 'db1', option, 'x'), 2);
    }
    assert.equal(await new Bench().run('replay', 'db1', '--speed', '5000'), 2);
    assert.equal(await new Bench().run('replay', 'nope'), 3);
  });
});

describe('replay keys', () => {
  function pressed(...chunks: string[]): string[] {
    const asked: string[] = [];
    let isPaused = false;
    let speed = 1;
    const controls: ReplayControls = {
      get speed() {
        return speed;
      },
      place: () => ({ playUs: 0, atUs: null, epoch: null, offset: null, speed, isPaused }),
      pause: () => void asked.push(((isPaused = true), 'pause')),
      resume: () => void asked.push(((isPaused = false), 'resume')),
      step: () => void asked.push('step'),
      seekBy: (seconds) => void asked.push(`seek ${seconds}`),
      setSpeed: (wanted) => void asked.push(`speed ${(speed = wanted)}`),
      stop: () => void asked.push('stop'),
    };
    const listener = replayKeys(controls);
    for (const chunk of chunks) listener(Buffer.from(chunk, 'latin1'));
    return asked;
  }

  it('do what help says, one by one, all at once, and in pieces', () => {
    const keys = [' ', '.', ' ', '\x1b[C', '\x1bOD', '\x1b[A', '+', '\x1b[B', '-', 'q', '\x05c.'];
    const expected = [
      ...['pause', 'step', 'resume', 'seek 10', 'seek -10'],
      ...['speed 2', 'speed 4', 'speed 2', 'speed 1', 'stop', 'stop'],
    ];
    assert.deepEqual(pressed(...keys), expected);
    assert.deepEqual(pressed(keys.join('')), expected);
    assert.deepEqual(pressed(...keys.join('')), expected);
  });

  it('are not what a terminal says of itself', () => {
    assert.deepEqual(pressed('\x1b[?64;1;2c\x1b[24;80R\x1b[0n', '\x1b[?12;2$y', '\x1b[1;5C'), []);
  });
});
