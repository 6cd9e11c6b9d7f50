import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { globMatches } from '../../src/core/names.ts';

/** What a pattern means, said in another way: by all the ways to cut the name. */
function means(pattern: string, name: string): boolean {
  if (pattern === '') return name === '';
  if (pattern[0] === '*') {
    return Array.from(name + ' ').some((_, at) => means(pattern.slice(1), name.slice(at)));
  }
  const fits = pattern[0] === '?' || pattern[0]!.toLowerCase() === name[0]?.toLowerCase();
  return name !== '' && fits && means(pattern.slice(1), name.slice(1));
}

describe('a pattern of names', () => {
  it('matches what its stars and question marks say', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', 'B', '*', '?'), { maxLength: 8 });
    const names = fc.array(fc.constantFrom('a', 'b', 'A'), { maxLength: 8 });
    fc.assert(
      fc.property(letters, names, (pattern, name) => {
        const [glob, text] = [pattern.join(''), name.join('')];
        assert.equal(globMatches(glob, text), means(glob, text), `${glob} ${text}`);
      }),
      { numRuns: 2_000 },
    );
  });

  it('takes a set, its opposite and a range, without case', () => {
    assert.ok(globMatches('db[12]', 'DB1'));
    assert.ok(!globMatches('db[12]', 'db3'));
    assert.ok(globMatches('db[!12]', 'db3'));
    assert.ok(globMatches('[a-c]x.y', 'Bx.y'));
    assert.ok(!globMatches('bx.y', 'bxzy'), 'a dot is a dot');
    assert.ok(globMatches('a[', 'a['), 'a set that is never closed is a bracket');
  });

  it('is done at once, however many stars somebody writes', () => {
    // A regular expression would try more ways than there are atoms.
    assert.ok(!globMatches(`${'*a'.repeat(30)}*x`, 'a'.repeat(64)));
    assert.ok(!globMatches(`${'*'.repeat(60)}x`, 'a'.repeat(64)));
  });
});
