import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import SQLite from 'better-sqlite3';
import { DEFAULT_ESCAPE, type User } from '../../src/core/user.ts';
import { openDatabase, schemas } from '../../src/store/database.ts';
import { Users } from '../../src/store/users.ts';
import { MIGRATIONS } from './store-support.ts';

const folder = mkdtempSync(join(tmpdir(), 'fairlead-users-'));
after(() => rmSync(folder, { recursive: true }));

/** A state database as version 0.1 left it: three migrations, one user. */
function databaseOfVersion01(path: string): void {
  const old = new SQLite(path);
  const first = readdirSync(join(MIGRATIONS, 'state')).sort().slice(0, 3);
  for (const file of first) old.exec(readFileSync(join(MIGRATIONS, 'state', file), 'utf8'));
  old.pragma('user_version = 3');
  old.exec(`INSERT INTO user VALUES ('Carol', 'view', '["db*"]', '[]', NULL, 'carol', '["::1"]')`);
  old.close();
}

describe('users of the state database', () => {
  it('are those of the version before, with keys as before and nothing asked for besides', () => {
    const path = join(folder, 'old.db');
    databaseOfVersion01(path);
    const db = openDatabase(path, schemas(MIGRATIONS).state);
    assert.deepEqual(new Users(db).list(), [
      {
        name: 'Carol',
        role: 'view',
        ports: ['db*'],
        keys: [],
        password: null,
        unix: 'carol',
        from: ['::1'],
        totp: null,
        principals: [],
        escape: DEFAULT_ESCAPE,
      },
    ]);
    db.close();
  });

  it('come back as they were put, and go', () => {
    const db = openDatabase(join(folder, 'new.db'), schemas(MIGRATIONS).state);
    const users = new Users(db);
    const plain: User = {
      name: 'a',
      role: 'admin',
      ports: [],
      keys: ['ssh-ed25519 AAAA'],
      password: null,
      unix: null,
      from: [],
      totp: null,
      principals: [],
      escape: null,
    };
    const full: User = {
      ...plain,
      name: 'B',
      password: '$scrypt$...',
      totp: 'JBSWY3DPEHPK3PXPJBSWY3DPEE',
      principals: ['ops', 'it, too'],
      escape: [0x1c, 0x2e],
    };
    users.put(plain);
    users.put(full);
    assert.deepEqual(users.list(), [plain, full]);
    users.put({ ...full, name: 'b', escape: DEFAULT_ESCAPE });
    assert.deepEqual(users.get('B'), { ...full, name: 'b', escape: DEFAULT_ESCAPE });
    assert.equal(users.remove('A'), true);
    assert.equal(users.remove('A'), false);
    db.close();
  });
});
