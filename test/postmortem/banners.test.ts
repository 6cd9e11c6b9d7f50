import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BANNER_CHARS_MAX, BANNER_RULES, findBanners } from '../../src/postmortem/rules/banners.ts';

describe('start banners', () => {
  it('are found by their rule in the example of each', () => {
    for (const { id, example } of BANNER_RULES) {
      const text = `login: \r\n${example}\r\n# `;
      assert.deepEqual(
        findBanners(text).map(({ rule }) => rule.id),
        [id],
      );
      assert(example.length <= BANNER_CHARS_MAX);
    }
  });

  it('are not found in what only speaks of systems', () => {
    const text =
      'Linux localhost 6.1.0\r\nU-Boot environment\r\n(XEN) Panic on CPU 0\r\nGNU GRUB menu\r\n';
    assert.deepEqual(findBanners(text), []);
  });
});
