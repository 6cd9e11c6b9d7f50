import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { joinWords, splitWords } from '../../src/protocols/words.ts';

describe('splitWords', () => {
  const examples: [string, string[]][] = [
    ['', []],
    ['  \t ', []],
    ['log db1 --last 200', ['log', 'db1', '--last', '200']],
    [`send db1 'two words' "and \\"more\\""`, ['send', 'db1', 'two words', 'and "more"']],
    [`a\\ b '' c""d`, ['a b', '', 'cd']],
    [`"\\x" '\\'`, ['\\x', '\\']],
    ['$HOME * ~ ; | # `x`', ['$HOME', '*', '~', ';', '|', '#', '`x`']],
    ['one\\\ntwo "th\\\nree"', ['onetwo', 'three']],
  ];
  for (const [line, words] of examples) {
    it(`takes ${JSON.stringify(line)} apart`, () => assert.deepEqual(splitWords(line), words));
  }

  for (const line of [`it's`, '"open', 'end\\', `'a' "b`]) {
    it(`refuses ${JSON.stringify(line)}`, () => {
      assert.throws(
        () => splitWords(line),
        (error) => error instanceof Fault && error.code === 'USAGE',
      );
    });
  }

  it('gives back any words that were joined', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' })), (words) => {
        assert.deepEqual(splitWords(joinWords(words)), words);
      }),
    );
  });
});
