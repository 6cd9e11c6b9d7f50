import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LOCAL_ADMIN } from '../../src/auth/authorizer.ts';
import { createLogin } from '../../src/auth/login.ts';
import { mergeUsers } from '../../src/auth/merge-users.ts';
import { parseAuthorizedKey } from '../../src/auth/ssh-keys.ts';
import { Fault } from '../../src/core/fault.ts';
import type { User } from '../../src/core/user.ts';
import { ED25519_KEY, RSA_KEY } from './public-keys.ts';

function user(name: string, more: Partial<User> = {}): User {
  const nothing = { role: 'view', ports: [], keys: [], password: null, unix: null, from: [] };
  return { name, ...nothing, ...more };
}

/** Compares in the clear and remembers what it was asked. */
function plainPasswords() {
  const asked: (string | null)[] = [];
  return {
    asked,
    verify(password: string, stored: string | null): Promise<boolean> {
      asked.push(stored);
      return Promise.resolve(password === stored);
    },
  };
}

const uids: Record<string, number> = { root: 0, daemon: 7, alice: 1000, bob: 1001 };
const unix = { uidOf: (name: string) => uids[name] ?? null, ownUid: 7 };
const blob = parseAuthorizedKey(ED25519_KEY).blob;
const otherBlob = parseAuthorizedKey(RSA_KEY).blob;

describe('createLogin', () => {
  it('works as hard for whoever may not come in', async () => {
    const passwords = plainPasswords();
    const users = [
      user('alice', { password: 'a', from: ['10.0.0.0/8'] }),
      user('bob', { password: null }),
    ];
    const login = createLogin(users, { ...unix, passwords });
    assert.equal(await login.withPassword('alice', 'a', '10.1.1.1'), true);
    assert.equal(await login.withPassword('alice', 'a', '::ffff:10.1.1.1'), true);
    assert.equal(await login.withPassword('alice', 'a', '192.0.2.1'), false);
    assert.equal(await login.withPassword('bob', 'a', '10.1.1.1'), false);
    assert.equal(await login.withPassword('mallory', 'a', '10.1.1.1'), false);
    assert.deepEqual(passwords.asked, ['a', 'a', null, null, null]);
  });

  it('refuses when too many log in at once', async () => {
    const verify = (): Promise<boolean> => Promise.reject(new Fault('LOGIN_FAILED', 'too many'));
    const login = createLogin([user('alice')], { ...unix, passwords: { verify } });
    assert.equal(await login.withPassword('alice', 'a', '10.1.1.1'), false);
  });

  it('knows users by key, from where they may come', () => {
    const users = [
      user('alice', { keys: [`${ED25519_KEY} laptop`, 'rubbish'] }),
      user('bob', { keys: [RSA_KEY, ED25519_KEY], from: ['10.0.0.0/8'] }),
    ];
    const login = createLogin(users, unix);
    assert.deepEqual(login.usersOfKey(blob, '10.0.0.1'), ['alice', 'bob']);
    assert.deepEqual(login.usersOfKey(blob, '192.0.2.1'), ['alice']);
    assert.equal(login.withKey('alice', new Uint8Array(blob), '192.0.2.1'), true);
    assert.equal(login.withKey('bob', otherBlob, '10.0.0.1'), true);
    assert.equal(login.withKey('bob', otherBlob, '192.0.2.1'), false);
    assert.equal(login.withKey('alice', otherBlob, '10.0.0.1'), false);
    assert.equal(login.withKey('mallory', blob, '10.0.0.1'), false);
    assert.deepEqual(login.usersOfKey(new Uint8Array(), '10.0.0.1'), []);
  });

  it('knows users of the control socket; root and its own uid are always admin', () => {
    const login = createLogin([user('al', { unix: 'alice' }), user('x', { unix: 'gone' })], unix);
    assert.equal(login.ofUnixUser(1000), 'al');
    assert.equal(login.ofUnixUser(1001), null);
    assert.equal(login.ofUnixUser(0), LOCAL_ADMIN);
    assert.equal(login.ofUnixUser(7), LOCAL_ADMIN);
    assert.equal(login.exists(LOCAL_ADMIN), false, 'nobody can log in as it');
    login.update([
      user('viewer', { unix: 'root' }),
      user('boss', { unix: 'daemon', role: 'admin' }),
    ]);
    assert.equal(login.ofUnixUser(0), LOCAL_ADMIN);
    assert.equal(login.ofUnixUser(7), 'boss');
  });

  it('takes new users with the next call', async () => {
    const login = createLogin([user('alice', { keys: [ED25519_KEY] })], {
      ...unix,
      passwords: plainPasswords(),
    });
    login.update([user('bob', { keys: [ED25519_KEY], password: 'b' })]);
    assert.equal(login.exists('alice'), false);
    assert.deepEqual(login.usersOfKey(blob, '::1'), ['bob']);
    assert.equal(await login.withPassword('bob', 'b', '::1'), true);
  });
});

describe('mergeUsers', () => {
  it('lets the file win and names each clash', () => {
    const { users, clashes } = mergeUsers(
      [user('alice', { role: 'admin' }), user('bob')],
      [user('Alice'), user('carol'), user('bob', { role: 'admin' })],
    );
    assert.deepEqual(
      users.map(({ name, role }) => `${name} ${role}`),
      ['alice admin', 'bob view', 'carol view'],
    );
    assert.deepEqual(clashes, [
      'user "Alice" is in the database and as "alice" in the configuration file; the file counts; remove one of the two',
      'user "bob" is in the database and in the configuration file; the file counts; remove one of the two',
    ]);
  });
});
