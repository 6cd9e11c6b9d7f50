import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { postingJournal, type JournalLine } from '../../src/app/journal.ts';

describe('a journal that posts its lines', () => {
  it('drops lines nobody writes, lets a fatal one through, and counts what it dropped', async () => {
    const { port1, port2 } = new MessageChannel();
    const pending = new Int32Array(new SharedArrayBuffer(4));
    const journal = postingJournal(port1, pending).child({ room: 'test' });
    const lines: JournalLine[] = [];
    port2.on('message', (line: JournalLine) => lines.push(line));

    for (let line = 0; line < 5_000; line++) journal.info({ line }, 'said');
    const kept = Atomics.load(pending, 0);
    assert.ok(kept < 5_000);
    journal.fatal({}, 'last words');
    Atomics.store(pending, 0, 0); // the other side has written them all
    journal.info({}, 'again');
    port1.close();
    await once(port2, 'close');

    const dropped = lines.filter((line) => line.message === 'journal lines dropped');
    assert.deepEqual(
      dropped.map((line) => line.fields),
      [{ dropped: 5_000 - kept }],
    );
    const fatal = lines.find((line) => line.level === 'fatal');
    assert.deepEqual([fatal?.message, fatal?.fields], ['last words', { room: 'test' }]);
    assert.equal(lines.at(-1)?.message, 'again');
  });
});
