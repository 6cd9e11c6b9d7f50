import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ECHO_WAIT_MS, PENDING_BYTES_MAX, TypedInput } from '../../src/ports/typed-input.ts';

/** Plays `>typed`, `<rx` and `+milliseconds` steps; returns what left, by session. */
function play(...steps: string[]): string[] {
  const left: string[] = [];
  const typed = new TypedInput((session, bytes) =>
    left.push(`${session}:${Buffer.from(bytes).toString('latin1')}`),
  );
  let nowMs = 0;
  for (const step of steps) {
    const text = step.slice(1);
    const bytes = Uint8Array.from(Buffer.from(text, 'latin1'));
    if (step.startsWith('+')) typed.expire((nowMs += Number(text)));
    else if (step.startsWith('<')) typed.rx(bytes, 0, bytes.length, nowMs);
    else if (step.startsWith('2>')) typed.typed(2, bytes.subarray(1), nowMs);
    else typed.typed(1, bytes, nowMs);
  }
  return left;
}

const letters = (text: string): string[] => [...text].flatMap((key) => [`>${key}`, `<${key}`]);

describe('typed input', () => {
  it('lets an echoed line go at its end, typed at once or letter by letter', () => {
    assert.deepEqual(play('>ls -l\r', '<ls -l\r\n', '<total 0\r\n'), ['1:ls -l\r']);
    assert.deepEqual(play(...letters('ls'), '>\r', '<\r\ntotal 0\r\n'), ['1:ls\r']);
    assert.deepEqual(play('>a\n', '<a\r\n', '>b\n', '<b\n'), ['1:a\n', '1:b\n']);
    assert.deepEqual(play('>a\r\nb\r\n', '<a\r\nb\r\n'), ['1:a\r', '1:\n', '1:b\r', '1:\n']);
  });

  it('goes on with the next line after CR LF, wherever the chunks are cut', () => {
    assert.deepEqual(play('>a\r', '<a\r', '<\n', '>b\r', '<b', '<\r\n'), ['1:a\r', '1:b\r']);
  });

  it('never lets a password go at a prompt without echo', () => {
    assert.deepEqual(play('>root\r', '<root\r\nPassword: ', '>hunter2\r', '<\r\nLast login'), [
      '1:root\r',
    ]);
    assert.deepEqual(play('>root\rhunter2\r', '<root\r\nPassword: ', '<\r\n# '), ['1:root\r']);
    assert.deepEqual(play('>h', '>u', '>n', '+2100', '>t', '>\r', '<\r\nhu'), []);
  });

  it('keeps first letters that the output happens to begin with', () => {
    assert.deepEqual(play('>Log1n\r', '<Login incorrect\r\n', '+3000'), []);
    assert.deepEqual(play('>Lo', '<Lo', '<gin incorrect\r\n', '+3000'), []);
    assert.deepEqual(play('>L', '<Login', '>ogin2\r', '<ogin2\r\n'), []);
  });

  it('keeps a masked password, letter by letter and with the mask in it', () => {
    assert.deepEqual(play('>h', '<*', '>u', '<*', '>*', '<*', '>\r', '<\r\n', '+3000'), []);
    assert.deepEqual(play('>*', '<*', '+2100', '>u', '<*', '>\r', '<\r\n'), []);
    assert.deepEqual(play('>***\r', '<***\r\n'), []);
  });

  it('begins anew with the line after a mismatch, an interruption or a late echo', () => {
    assert.deepEqual(play('>l', '<l', '<[ 1.0] usb', '>s\r', '<s\r\n', '>id\r', '<id\r\n'), [
      '1:id\r',
    ]);
    assert.deepEqual(play('>ls', '+2000', '<ls', '>x\r', '<x\r\n', '>id\r', '<id\r\n'), ['1:id\r']);
  });

  it('lets a piece without an end go after 2 s of silence, or 256 bytes', () => {
    assert.deepEqual(play('>hello', '<hello', '+1999'), []);
    assert.deepEqual(play('>hello', '<hello', '+2000'), ['1:hello']);
    assert.deepEqual(play(`>${'ab'.repeat(150)}`, `<${'ab'.repeat(150)}`, '+2000'), [
      `1:${'ab'.repeat(128)}`,
      `1:${'ab'.repeat(22)}`,
    ]);
  });

  it('forgets a paste that is longer than it may keep', () => {
    const paste = 'x y '.repeat(PENDING_BYTES_MAX / 4) + '\r';
    assert.deepEqual(play(`>${paste}`, `<${paste}\n`, '+3000'), []);
    const lines = 'ls -l\r'.repeat(100);
    assert.equal(play(`>${lines}`, `<${lines.replaceAll('\r', '\r\n')}`).length, 100);
  });

  it('tells sessions apart and never mixes them', () => {
    assert.deepEqual(play('>a\r', '2>b\r', '<a\r\n', '<b\r\n'), ['1:a\r', '2:b\r']);
    assert.deepEqual(play('>a', '2>b\r', '<ab\r\n'), ['2:b\r']);
  });

  it('lets nothing go that the device did not send in the same order', () => {
    const step = fc.oneof(
      fc.record({ typed: fc.string({ maxLength: 4, unit: fc.constantFrom('a', 'b', '*', '\r') }) }),
      fc.record({
        rx: fc.string({ maxLength: 4, unit: fc.constantFrom('a', 'b', '*', '\r', '\n') }),
      }),
      fc.record({ waitMs: fc.integer({ min: 0, max: ECHO_WAIT_MS }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        let typedText = '';
        let rxText = '';
        let nowMs = 0;
        let typedAt = 0;
        const typed = new TypedInput((_session, bytes) => {
          const piece = Buffer.from(bytes).toString('latin1');
          typedAt = typedText.indexOf(piece, typedAt);
          assert.notEqual(typedAt, -1, 'it was typed');
          typedAt += piece.length;
          const echo = piece.replace(/\r/g, '[\r\n]').replaceAll('*', '\\*');
          assert.match(rxText, new RegExp(echo), 'it was printed');
        });
        for (const action of steps) {
          if ('waitMs' in action) typed.expire((nowMs += action.waitMs));
          else if ('typed' in action) {
            typedText += action.typed;
            typed.typed(1, Buffer.from(action.typed), nowMs);
          } else {
            rxText += action.rx;
            typed.rx(Buffer.from(action.rx), 0, action.rx.length, nowMs);
          }
        }
      }),
    );
  });

  it('keeps every line of which the device did not echo each byte in turn', () => {
    const word = fc.string({ minLength: 2, maxLength: 8, unit: fc.constantFrom('p', 'w', '1') });
    fc.assert(
      fc.property(word, word, fc.nat(20), (secret, output, cut) => {
        fc.pre(!`${output}\r\n`.startsWith(`${secret}\r`));
        const text = `${secret}\r`;
        const chunks = [text.slice(0, cut), text.slice(cut)].filter((chunk) => chunk !== '');
        const left = play(...chunks.map((chunk) => `>${chunk}`), `<${output}\r\n`, '+3000');
        assert.deepEqual(left, []);
      }),
    );
  });
});
