import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  EscapeKeys,
  SESSION_KEYS,
  escapeHelp,
  stepEscape,
} from '../../src/sessions/escape-keys.ts';
import type { EscapeTable } from '../../src/sessions/escape-keys.ts';
import { FakeTimers } from '../ports/support.ts';

const TABLE: EscapeTable<string> = {
  '.': { help: 'leave', action: 'leave' },
  l: { help: 'break', next: { '0': { help: 'send it', action: 'break0' } } },
};

/** What chunks come to: passed bytes as text, actions as `<action>`, unknown keys as `<?key>`. */
function play(table: EscapeTable<string>, ...chunks: string[]): string {
  let held: readonly number[] = [];
  let log = '';
  for (const chunk of chunks) {
    const step = stepEscape(table, held, Uint8Array.from(Buffer.from(chunk, 'latin1')));
    held = step.held;
    if (step.pass) log += Buffer.from(step.pass).toString('latin1');
    if (step.action) log += `<${step.action}>`;
    if (step.unknown !== null) log += `<?${step.unknown}>`;
  }
  return log + (held.length > 0 ? `(${held.length})` : '');
}

describe('escape keys', () => {
  it('take a chunk that is a sequence, and its keys one by one', () => {
    for (const chunks of [['\x05c.'], ['\x05', 'c', '.'], ['\x05c', '.'], ['\x05', 'c.']]) {
      assert.equal(play(TABLE, ...chunks), '<leave>');
    }
    assert.equal(play(TABLE, '\x05cl0'), '<break0>');
    assert.equal(play(TABLE, '\x05', 'c', 'l', '0'), '<break0>');
    assert.equal(play(TABLE, '\x05cl'), '(3)');
  });

  it('pass a sequence inside a longer chunk', () => {
    for (const chunk of ['\x05c.x', 'x\x05c.', '\x05c.\x05c.', 'x\x05']) {
      assert.equal(play(TABLE, chunk), chunk);
    }
    assert.equal(play(TABLE, '\x05', 'c.x'), '\x05c.x');
    assert.equal(play(TABLE, '\x05c', 'paste'), '\x05cpaste');
  });

  it('pass what turns out to be none, and begin anew with the chunk that showed it', () => {
    assert.equal(play(TABLE, '\x05', 'e'), '\x05e');
    assert.equal(play(TABLE, '\x05', '\x05', 'c', '.'), '\x05<leave>');
    assert.equal(play(TABLE, '\x05', '\x05c.'), '\x05<leave>');
  });

  it('name a key that means nothing', () => {
    assert.equal(play(TABLE, '\x05', 'c', 'q'), '<?q>');
    assert.equal(play(TABLE, '\x05cq'), '<?q>');
    assert.equal(play(TABLE, '\x05clx'), '<?x>');
  });

  it('pass every other byte, unchanged and at once', () => {
    const bytes = fc.uint8Array({ maxLength: 5 }).filter((chunk) => chunk[0] !== 5);
    fc.assert(
      fc.property(fc.array(bytes), (chunks) => {
        for (const chunk of chunks) {
          const step = stepEscape(TABLE, [], chunk);
          assert.deepEqual(step.pass ?? new Uint8Array(0), chunk);
          assert.deepEqual(step.held, []);
        }
      }),
    );
    assert.equal(play(TABLE, '\x01', '\x01', '\x01', '\x1d'), '\x01\x01\x01\x1d');
  });

  it('lose no byte, whatever the chunks', () => {
    const key = fc.constantFrom('\x05', 'c', '.', 'l', '0', 'q', 'x');
    fc.assert(
      fc.property(fc.array(fc.string({ unit: key, minLength: 1, maxLength: 5 })), (chunks) => {
        const sent = chunks.join('');
        let held: readonly number[] = [];
        let count = 0;
        for (const chunk of chunks) {
          const step = stepEscape(TABLE, held, Buffer.from(chunk, 'latin1'));
          const used = held.length + chunk.length - (step.pass?.length ?? 0) - step.held.length;
          assert.ok(used === 0 || step.action !== null || step.unknown !== null);
          assert.ok(used >= 0 && used <= 4);
          held = step.held;
          count += used + (step.pass?.length ?? 0);
        }
        assert.equal(count + held.length, sent.length);
      }),
    );
  });

  it('hand a lone ^E on after 500 ms', async () => {
    const timers = new FakeTimers();
    const passed: string[] = [];
    const keys = new EscapeKeys(TABLE, timers, (bytes) =>
      passed.push(Buffer.from(bytes).toString()),
    );
    keys.step(Uint8Array.of(5));
    await timers.advance(499);
    assert.deepEqual(passed, []);
    await timers.advance(1);
    assert.deepEqual(passed, ['\x05']);
    assert.equal(keys.step(Buffer.from('c')).pass?.length, 1);
    keys.step(Uint8Array.of(5));
    keys.step(Buffer.from('c'));
    await timers.advance(60_000);
    assert.equal(keys.step(Buffer.from('.')).action, 'leave');
    assert.equal(passed.length, 1);
  });

  it('list themselves', () => {
    assert.deepEqual(escapeHelp(TABLE), ['^Ec.  leave', '^Ecl0  send it']);
    assert.ok(escapeHelp(SESSION_KEYS).length >= 5);
  });
});
