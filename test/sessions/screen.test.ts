import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { realTimers } from '../../src/ports/timers.ts';
import { QUERIES_START, stripQueries } from '../../src/protocols/terminal-queries.ts';
import { RESET_MODES, restoreScreen } from '../../src/sessions/screen.ts';
import { FakeTimers } from '../ports/support.ts';
import { SIZE, Screen, said } from './terminal.ts';

/** What a device says, cut at any byte: before it the past, after it what comes live. */
async function attachAfter(past: Uint8Array, live: Uint8Array, before = ''): Promise<void> {
  const watcher = new Screen();
  const first = stripQueries(QUERIES_START, past);
  const second = stripQueries(first.state, live);
  await watcher.feed(first.bytes, second.bytes);
  const client = new Screen();
  const { older, screen } = await restoreScreen(first.bytes, SIZE, 0, realTimers);
  await client.feed(before, older, screen, second.bytes);
  assert.deepEqual(client.shows(), watcher.shows());
  watcher.terminal.dispose();
  client.terminal.dispose();
}

const restore = (text: string, size = SIZE, reservedRows = 0) =>
  restoreScreen(Buffer.from(text), size, reservedRows, realTimers);

describe('the screen as it stands', () => {
  it('is what one sees who watched from the start, and goes on alike', async () => {
    await fc.assert(
      fc.asyncProperty(said, fc.nat({ max: 1_000 }), async (bytes, at) => {
        const cut = bytes.length === 0 ? 0 : at % (bytes.length + 1);
        await attachAfter(bytes.subarray(0, cut), bytes.subarray(cut));
      }),
      { numRuns: 500 },
    );
  });

  it('shows a menu that was drawn at fixed places, and what scrolled off before it', async () => {
    let menu = Array.from({ length: 30 }, (_, i) => `boot ${i}\r\n`).join('');
    menu += '\x1b[2J\x1b[?25l\x1b[2;3H\x1b(0lqqqqk\x1b(B\x1b[3;3H\x1b[7mLinux \x1b[0m\x1b[4;3HXen';
    await attachAfter(
      Buffer.from(menu),
      Buffer.from('\x1b[3;3HLinux\x1b[4;3H\x1b[7mXen'),
      '$ ssh\r\n',
    );
    const { older, screen } = await restore(menu);
    assert.match(Buffer.from(older).toString(), /^boot 0\r\nboot 1\r\n[^]*boot 24\r\n$/);
    const client = new Screen();
    await client.feed('$ ssh port\r\n', older, 'hello\r\n', screen);
    assert.equal(client.text(), '\n  ┌────┐\n  Linux \n  Xen\n\n');
    // Nothing that the client's terminal showed is gone.
    assert.deepEqual([client.older()[0], client.older()[26]], ['$ ssh port', 'hello']);
    client.terminal.dispose();
  });

  it('shows a log as text that scrolls, with room for the greeting', async () => {
    const log =
      Array.from({ length: 50 }, (_, i) => `\x1b[32mline\x1b[0m ${i}\r\n`).join('') + '# ';
    const { older, screen } = await restore(log, SIZE, 2);
    const client = new Screen();
    await client.feed('$ ssh port\r\n', older, '\r\n[hello]\r\n', screen);
    assert.equal(
      client.text(),
      '[hello]\nline 47\nline 48\nline 49\n# '.replace('[hello]', '\n[hello]').trimEnd(),
    );
    assert.deepEqual(client.older().slice(0, 2), ['$ ssh port', 'line 0']);
    assert.equal(Buffer.from(screen).includes('\x1b[2J'), false);
    client.terminal.dispose();
    // A screen that was drawn long ago has scrolled off as well.
    const cleared = await restore(`\x1b[2J\x1b[H${log}`);
    assert.equal(Buffer.from(cleared.screen).includes('\x1b[2J'), false);
  });

  it('colours nothing that was not, where a coloured line wraps at the foot of the screen', async () => {
    const { older, screen } = await restore(`\x1b[44m${'x'.repeat(21)}\x1b[0m\r\nend`);
    const client = new Screen();
    await client.feed('\r\n'.repeat(10), older, screen);
    const lines = client.shows();
    assert.deepEqual(lines.slice(-2), ['<bg4>x', 'end']);
    assert.equal(lines.at(-3), '<bg4>x'.repeat(20));
    client.terminal.dispose();
  });

  it('is empty for nothing, and takes any size', async () => {
    const nothing = await restore('');
    const client = new Screen();
    await client.feed('x', nothing.older, nothing.screen);
    assert.equal(client.terminal.buffer.active.cursorY, 0);
    client.terminal.dispose();
    for (const size of [0, -1, Number.NaN, 1e9]) {
      const { screen } = await restore('text', { columns: size, rows: size });
      assert.match(Buffer.from(screen).toString().replaceAll('\r\n', ''), /^te?/);
    }
  });

  it('is bounded in time and memory, whatever the device says', async () => {
    const heapBytes = process.memoryUsage().heapUsed;
    for (const bomb of [
      ...['\x1b[2147483647S', '\x1b[99999L', '\x1b[2147483647T', 'x\x1b[2147483647b'],
      ...['\x1b[2147483647I', '\x1b[2147483647Z', '\x1b[9999;9999H\n', '\x1b[256L', '\x1b[256S'],
    ]) {
      const bytes = bomb.repeat(Math.ceil(65_536 / bomb.length)).slice(0, 65_536);
      await restore(bytes, { columns: 80, rows: 24 });
    }
    assert.ok(process.memoryUsage().heapUsed - heapBytes < 100_000_000);
    const slow = new FakeTimers();
    slow.nowMs = (() => {
      let nowMs = 0;
      return () => (nowMs += 100);
    })();
    await assert.rejects(
      restoreScreen(Buffer.alloc(65_536, 'x\n'), SIZE, 0, slow),
      (error) => error instanceof Fault && error.code === 'TIMED_OUT',
    );
  });

  it('fails where xterm does, and not in a timer where nobody could catch it', async () => {
    await assert.rejects(restore('\x1b[6;20H\x1b[1J'));
  });

  it('brings a terminal back to its usual modes, with its text and cursor where they were', async () => {
    await fc.assert(
      fc.asyncProperty(said, async (bytes) => {
        const client = new Screen();
        await client.feed(stripQueries(QUERIES_START, bytes).bytes, '\x1b[?47l\x1b[?6l\x1b[3;4H');
        const { cursorX, cursorY } = client.terminal.buffer.active;
        const text = client.text();
        await client.feed(RESET_MODES);
        const after = client.terminal.buffer.active;
        assert.equal(after.cursorY, cursorY);
        assert.equal(after.cursorX, cursorX);
        assert.equal(client.text(), text);
        const fresh = new Screen();
        assert.equal(client.shows()[1], fresh.shows()[1]);
        client.terminal.dispose();
        fresh.terminal.dispose();
      }),
      { numRuns: 200 },
    );
  });
});
