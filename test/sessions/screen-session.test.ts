import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import type { SessionOptions } from '../../src/sessions/session.ts';
import { World, callerOf, settle } from '../ports/support.ts';
import { Client, FakeLog, isNotice } from './support.ts';
import { SIZE, Screen, said } from './terminal.ts';

async function start() {
  const world = await new World().start();
  const log = new FakeLog(world.spool, world.timers);
  const { rack: access, timers, journal } = world;
  const clock = { nowUs: () => timers.nowMs() * 1_000 };
  const services = { access, log, clock, journal, timers };
  const open = (user: string, more: Partial<SessionOptions> = {}) =>
    new Client().open(services, { caller: callerOf(user), size: () => SIZE, ...more });
  return { world, log, open };
}

/** What is seen at the end of a session, our own lines left out. */
async function seen(client: Client): Promise<string[]> {
  const screen = new Screen();
  for (const chunk of client.chunks) if (!isNotice(chunk)) screen.terminal.write(chunk);
  await screen.feed('');
  const shows = screen.shows();
  screen.terminal.dispose();
  return shows;
}

describe('a session that begins with the screen', () => {
  it('sees what another sees who was there from the start, however the join falls', async () => {
    const chunks = said.chain((bytes) =>
      fc
        .array(fc.nat(Math.max(1, bytes.length)), { maxLength: 8 })
        .map((cuts) => [0, ...cuts.sort((a, b) => a - b), bytes.length])
        .map((cuts) => cuts.slice(1).map((to, i) => bytes.subarray(cuts[i], to))),
    );
    await fc.assert(
      fc.asyncProperty(
        chunks,
        fc.nat(9),
        fc.nat(30),
        fc.boolean(),
        async (pieces, attachAt, committed, isWriter) => {
          const { world, log, open } = await start();
          log.committed = 0;
          const watcher = await open('bob', { mode: 'view' });
          await settle(1);
          let newcomer: Promise<Client> | null = null;
          for (const [i, piece] of pieces.entries()) {
            if (i === attachAt % pieces.length) {
              const mode = isWriter ? 'write' : 'view';
              newcomer = open('alice', { from: 'screen', mode });
              log.commit(committed);
            }
            if (piece.length > 0) world.backend.sink.rx(piece);
            if (i % 2 === 0) await settle(1);
          }
          const client = await newcomer!;
          log.commit(1_000);
          // The last word comes live: until it is here the screen is not.
          world.backend.say('\x1b[!p\x1b[?1049l\r\nlast word');
          await client.until(/last word/);
          assert.deepEqual(await seen(client), await seen(watcher));
          assert.equal(client.notices.length, 1);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('writes nothing for a log that holds nothing', async () => {
    const { open } = await start();
    const client = await open('alice', { from: 'screen' });
    await settle(10);
    assert.equal(client.text, '');
    assert.equal(client.notices.length, 1);
  });

  it('keeps a character and a sequence whole that the join cuts', async () => {
    for (const [before, after] of [
      ['caf\xc3', '\xa9!'],
      ['\xe2\x94', '\x80!'],
      ['red \x1b[3', '1mtext!'],
      ['red \x1b', '[31mtext!'],
      ['\x1b]0;ti', 'tle\x07text!'],
      ['asks \x1b[6', 'n!'],
    ] as const) {
      for (const mode of ['write', 'view'] as const) {
        const { world, open } = await start();
        world.backend.say(before);
        const client = await open('alice', { from: 'screen', mode });
        await client.until(mode === 'view' ? /\r/ : new RegExp(escape(before.slice(-1))));
        await settle(10);
        world.backend.say(after);
        await client.until(/!/);
        const isQuestion = before.startsWith('asks');
        if (mode === 'write' || !isQuestion) assert.ok(client.text.includes(joined(before, after)));
        else assert.ok(!client.text.includes('6n') && client.text.endsWith('!'));
      }
    }
  });

  it('greets between what scrolled off and what is seen, and soon in any case', async () => {
    const { world, log, open } = await start();
    for (let i = 0; i < 30; i++) world.backend.say(`line ${i}\r\n`);
    const client = await open('alice', { from: 'screen' });
    await client.until(/line 29/);
    assert.match(client.all, /line 25\r\n\[fairlead: db1: you write; .*\]\r\nline 26\r\n/);
    log.committed = 0;
    const other = await open('bob', { from: 'screen' });
    await settle(5);
    assert.equal(other.all, '');
    await world.timers.advance(500);
    assert.match(other.notices[0]!, /^db1: you view; alice writes/);
    log.commit(1_000);
    await other.until(/line 29/);
    assert.equal(other.notices.length, 1);
  });

  it('fills from the log what is skipped while the screen is made', async () => {
    const { world, log, open } = await start();
    world.backend.say('before\r\n');
    log.committed = 0;
    const client = await open('alice', { from: 'screen' });
    let live = '';
    for (let i = 0; i < 40; i++) {
      const piece = `${i} `.padEnd(10_000, 'x') + '\r\n';
      live += piece;
      world.backend.say(piece);
    }
    log.commit(10_000);
    await client.until(/39 x+\r\n$/);
    assert.ok(client.text.endsWith(live));
    assert.equal(client.notices.length, 1);
  });

  it('falls back on lines when the screen cannot be made, and on live when the log fails', async () => {
    const { world, log, open } = await start();
    world.backend.say('first\r\nlast \x1b[99;99H\x1b[1J');
    const client = await open('alice', { from: 'screen' });
    await client.until(/cannot be shown/);
    world.backend.say('live');
    await client.until(/live/);
    assert.equal(client.text, 'first\r\nlast live');
    log.failure = new Fault('LOG_DAMAGED', 'checksum');
    const other = await open('bob', { from: 'screen' });
    await other.until(/checksum/);
    world.backend.say('again');
    await other.until(/again/);
    assert.match(other.notices[0]!, /^db1: you view/);
  });
});

function joined(before: string, after: string): string {
  const begun = /(?:\x1b.*|[\xc2-\xf4][\x80-\xbf]*)$/.exec(before)![0];
  return begun + after;
}

function escape(text: string): string {
  return text.replace(/[[\]\\]/g, '\\$&');
}
