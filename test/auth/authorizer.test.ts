import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createAuthorizer, LOCAL_ADMIN } from '../../src/auth/authorizer.ts';
import { RIGHTS, type PortIdentity, type Right, type User } from '../../src/core/user.ts';
import { user as plainUser } from './support.ts';

function user(name: string, role: string, ports: readonly string[] = []): User {
  return plainUser(name, { role, ports });
}

const db1: PortIdentity = { name: 'db1', group: 'rack3' };
const sw1: PortIdentity = { name: 'sw1', group: null };
const vm1: PortIdentity = { name: 'VM1', group: 'Rack3' };

const people = [
  user('alice', 'admin'),
  user('bob', 'operator', ['db*']),
  user('carol', 'view', ['@rack3']),
  user('dave', 'operator'),
  user('erin', 'auditor', ['*']),
  user('frank', 'chief', ['sw?', '[x-z]*']),
  user('grace', 'admin', ['db1']),
  user('heidi', 'nosuchrole', ['*']),
  user('ivan', 'constructor', ['*']),
];
const roles = { auditor: ['view', 'tx'], chief: ['admin'] };

describe('createAuthorizer', () => {
  const authorizer = createAuthorizer(people, roles);

  it('decides by role and port: the matrix', () => {
    const all = RIGHTS.join(' ');
    const operator = 'view write break control export';
    const matrix: [string, string, string, string][] = [
      // who, on db1 (rack3), on sw1 (no group), on VM1 (Rack3)
      ['alice', all, all, all],
      ['bob', operator, '', ''],
      ['carol', 'view', '', 'view'],
      ['dave', '', '', ''],
      ['erin', 'view tx', 'view tx', 'view tx'],
      ['frank', '', all, ''],
      ['grace', all, '', ''],
      ['heidi', '', '', ''],
      ['ivan', '', '', ''],
      ['nobody', '', '', ''],
      [LOCAL_ADMIN, all, all, all],
    ];
    for (const [name, ...expected] of matrix) {
      for (const [index, port] of [db1, sw1, vm1].entries()) {
        const allowed = RIGHTS.filter((right) => authorizer.allows(name, right, port));
        assert.equal(allowed.join(' '), expected[index], `${name} on ${port.name}`);
      }
    }
  });

  it('asks for an unconfined admin where no port is meant', () => {
    const admins = people.filter(({ name }) => authorizer.allows(name, 'admin', null));
    assert.deepEqual(
      admins.map(({ name }) => name),
      ['alice'],
    );
    assert.equal(authorizer.allows('bob', 'view', null), true);
    assert.equal(authorizer.allows('bob', 'tx', null), false);
  });

  it('names the user, the right and the port when it refuses', () => {
    const refusals: [string, Right, PortIdentity | null, string][] = [
      [
        'carol',
        'write',
        db1,
        'carol may not write on db1: needs the right "write" (role view has: view)',
      ],
      [
        'bob',
        'break',
        sw1,
        'bob may not send BREAK on sw1: has the right "break", but only on db*',
      ],
      ['dave', 'view', db1, 'dave may not view on db1: has the right "view", but only on no ports'],
      [
        'bob',
        'admin',
        null,
        'bob may not administer: needs the right "admin" (role operator has: view, write, break, control, export)',
      ],
      ['grace', 'admin', null, 'grace may not administer: the right "admin" is confined to db1'],
      [
        'heidi',
        'view',
        db1,
        'heidi may not view on db1: needs the right "view" (role nosuchrole has: no rights)',
      ],
      ['mallory', 'view', db1, 'mallory may not view on db1: there is no such user'],
    ];
    for (const [name, right, port, message] of refusals) {
      assert.throws(() => authorizer.authorize(name, right, port), { code: 'DENIED', message });
    }
    authorizer.authorize('bob', 'write', db1);
  });

  it('takes new users and roles with the next call, answers given before forgotten', () => {
    const changing = createAuthorizer([user('bob', 'operator', ['db*'])], {});
    assert.equal(changing.allows('bob', 'write', db1), true);
    changing.update([user('bob', 'operator', ['sw*'])], {});
    assert.equal(changing.allows('bob', 'write', db1), false);
    assert.equal(changing.allows('bob', 'write', sw1), true);
    changing.update([], {});
    assert.equal(changing.allows('bob', 'write', sw1), false);
  });
});
