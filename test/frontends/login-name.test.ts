import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  attachArguments,
  destinationOf,
  parseLoginName,
} from '../../src/frontends/ssh/login-name.ts';

describe('login name', () => {
  const whole = (text: string, isUser: boolean) => {
    const name = parseLoginName(text);
    assert.ok(name !== null, `${text} is refused`);
    return destinationOf(name, 'alice', isUser);
  };

  it('is a user, a user and a port, or a port', () => {
    assert.deepEqual(whole('alice', true), { user: 'alice', port: null, options: [] });
    assert.deepEqual(whole('alice:db1', true), { user: 'alice', port: 'db1', options: [] });
    assert.deepEqual(whole('alice+db1', true), { user: 'alice', port: 'db1', options: [] });
    assert.deepEqual(whole('db1', false), { user: 'alice', port: 'db1', options: [] });
  });

  it('has options after the port', () => {
    assert.deepEqual(whole('alice+db1+view', true).options, ['view']);
    assert.deepEqual(whole('db1:force', false).options, ['force']);
    assert.deepEqual(attachArguments('db1', ['view']), ['attach', 'db1', '--view']);
    assert.equal(attachArguments('db1', ['rm']), null);
  });

  for (const text of [
    '',
    ':db1',
    'alice:',
    'alice:..',
    'alice:-x',
    '-x',
    '../x',
    'a\nb',
    'a\0b',
    'a b',
    'a;b',
    '\u202ealice',
    'x'.repeat(65_536),
  ]) {
    it(`refuses ${JSON.stringify(text).slice(0, 30)}`, () => {
      assert.equal(parseLoginName(text), null);
    });
  }
});
