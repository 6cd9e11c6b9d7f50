import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { DEFAULT_ESCAPE as PREFIX } from '../../src/core/user.ts';
import { EscapeKeys, escapeHelp, stepEscape } from '../../src/sessions/escape-keys.ts';
import type { EscapeTable } from '../../src/sessions/escape-keys.ts';
import { SESSION_KEYS } from '../../src/sessions/session-keys.ts';
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
    const step = stepEscape(table, PREFIX, held, Uint8Array.from(Buffer.from(chunk, 'latin1')));
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
          const step = stepEscape(TABLE, PREFIX, [], chunk);
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
          const step = stepEscape(TABLE, PREFIX, held, Buffer.from(chunk, 'latin1'));
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
    const keys = new EscapeKeys(TABLE, PREFIX, timers, (bytes) =>
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

  it('begin with what was chosen', async () => {
    const timers = new FakeTimers();
    const passed: string[] = [];
    const keys = new EscapeKeys(TABLE, [0x01, 0x1d], timers, (bytes) =>
      passed.push(Buffer.from(bytes).toString()),
    );
    assert.equal(keys.step(Buffer.from('\x01\x1d.')).action, 'leave');
    assert.equal(keys.step(Buffer.from('\x05c.')).pass?.length, 3);
    assert.equal(keys.step(Uint8Array.of(1)).pass, null);
    await timers.advance(500);
    assert.deepEqual(passed, ['\x01']);
    keys.step(Uint8Array.of(1));
    assert.deepEqual([...keys.end()], [1]);
    await timers.advance(500);
    assert.equal(passed.length, 1);
  });

  it('list themselves', () => {
    assert.deepEqual(escapeHelp(TABLE, PREFIX), ['^Ec.   leave', '^Ecl0  send it']);
    assert.deepEqual(escapeHelp(TABLE, [0x1d, 0x7f]), ['^]^?.   leave', '^]^?l0  send it']);
    const help = escapeHelp(SESSION_KEYS, PREFIX);
    // conserver's set, in the order of its manual's keys.
    for (const key of '.,?,a,f,s,w,u,r,p,^R,l0,l?,;,o,i,d,x,b,m,|,!,e,z,\\ooo,L'.split(',')) {
      assert.equal(help.filter((line) => line.startsWith(`^Ec${key.padEnd(4)}  `)).length, 1, key);
    }
    assert.ok(help.length < 40);
  });

  it('send a character by its octal code, and the entries of the break list', () => {
    const actions = (keys: string): unknown =>
      stepEscape(SESSION_KEYS, PREFIX, [], Buffer.from(`\x05c${keys}`, 'latin1')).action;
    for (let byte = 0; byte < 256; byte++) {
      const code = byte.toString(8).padStart(3, '0');
      assert.deepEqual(actions(`\\${code}`), { do: 'type', byte });
    }
    assert.equal(actions('\\400'), null);
    for (const key of '0123456789abcdefghijklmnopqrstuvwxyz') {
      assert.deepEqual(actions(`l${key}`), { do: 'break-list', key });
    }
  });
});
