import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import {
  attachArguments,
  destinationOf,
  parseLoginName,
  type DoorPort,
} from '../../src/frontends/ssh/login-name.ts';

describe('login name', () => {
  const door = { name: 'db1', aliases: ['core'] };
  const whole = (text: string, isUser: boolean, of: DoorPort | null = null) => {
    const name = parseLoginName(text, of);
    assert.ok(name !== null, `${text} is refused`);
    return destinationOf(name, 'alice', isUser, of);
  };

  it('is a user, a user and a port, or a port', () => {
    assert.deepEqual(whole('alice', true), { user: 'alice', port: null, options: [] });
    assert.deepEqual(whole('alice:db1', true), { user: 'alice', port: 'db1', options: [] });
    assert.deepEqual(whole('alice+db1', true), { user: 'alice', port: 'db1', options: [] });
    assert.deepEqual(whole('db1', false), { user: 'alice', port: 'db1', options: [] });
  });

  it('has options after the port', () => {
    assert.deepEqual(whole('alice+db1+view', true)?.options, ['view']);
    assert.deepEqual(whole('db1:force', false)?.options, ['force']);
    assert.deepEqual(whole('alice+db1+from=2026-11-20T03:12:00+wait', true)?.options, [
      'from=2026-11-20T03:12:00',
      'wait',
    ]);
  });

  it("has options after the user at the port's own door", () => {
    const db1 = { user: 'alice', port: 'db1' };
    assert.deepEqual(whole('alice', true, door), { ...db1, options: [] });
    assert.deepEqual(whole('alice:replay=9:view', true, door), {
      ...db1,
      options: ['replay=9', 'view'],
    });
    assert.deepEqual(whole('alice:DB1:view', true, door), { ...db1, options: ['view'] });
    assert.deepEqual(whole('core', false, door), { ...db1, options: [] });
    assert.deepEqual(whole('DB1:view', false, door), { ...db1, options: ['view'] });
    assert.equal(whole('db2', false, door), null, 'another port');
    assert.equal(parseLoginName('alice:replay=9', null), null, 'elsewhere a port comes first');
  });

  it('becomes the arguments of attach', () => {
    assert.deepEqual(
      attachArguments('db1', ['view', 'replay=200', 'from=@1/2=3', 'wait', 'force']),
      ['attach', 'db1', '--view', '--replay', '200', '--from', '@1/2=3', '--wait', '--force'],
    );
    assert.deepEqual(attachArguments('db1', []), ['attach', 'db1']);
    assert.deepEqual(attachArguments('db1', ['replay=100000']).slice(2), ['--replay', '100000']);
  });

  for (const option of [
    'rm',
    'VIEW',
    'view=1',
    'wait=',
    'replay',
    'replay=',
    'replay=0',
    'replay=100001',
    'replay=-1',
    'replay=1e3',
    'from',
    'from=',
    '',
  ]) {
    it(`has no option "${option}", and says which there are`, () => {
      assert.throws(
        () => attachArguments('db1', ['view', option]),
        (error) =>
          error instanceof Fault &&
          error.code === 'USAGE' &&
          error.message.startsWith(`"${option}" is no option`) &&
          /view, force, wait, replay=LINES \(1 to 100000\) and from=TIME$/.test(error.message),
      );
    });
  }

  it('hints at + when a colon has cut a time', () => {
    const { options } = whole('alice:db1:from=03:12', true)!;
    assert.throws(() => attachArguments('db1', options), /"12" is no option.*put \+ between/);
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
      assert.equal(parseLoginName(text, null), null);
      assert.equal(parseLoginName(text, door), null);
    });
  }
});
