import type { EscapePrefix, User } from '../core/user.ts';
import type { Database } from './database.ts';

interface UserRow {
  name: string;
  role: string;
  ports: string;
  keys: string;
  password: string | null;
  unix: string | null;
  from_net: string;
  totp: string | null;
  principals: string;
  key_prefix: string | null;
}

/**
 * Users kept in `fairlead.db` by `fairlead user`; those of the configuration file win over them.
 * The only file that knows the table `user`. Names are compared without case.
 */
export class Users {
  readonly list: () => User[];
  readonly get: (name: string) => User | null;
  /** Adds or replaces. */
  readonly put: (user: User) => void;
  /** False: there was no such user. */
  readonly remove: (name: string) => boolean;

  constructor(db: Database) {
    const selectAll = db.prepare<[], UserRow>('SELECT * FROM user ORDER BY name');
    const select = db.prepare<[string], UserRow>('SELECT * FROM user WHERE name = ?');
    const replace = db.prepare<UserRow>(
      `INSERT OR REPLACE INTO user
         (name, role, ports, keys, password, unix, from_net, totp, principals, key_prefix)
       VALUES
         (@name, @role, @ports, @keys, @password, @unix, @from_net, @totp, @principals, @key_prefix)`,
    );
    const remove = db.prepare<[string]>('DELETE FROM user WHERE name = ?');
    this.list = () => selectAll.all().map(asUser);
    this.get = (name) => {
      const row = select.get(name);
      return row ? asUser(row) : null;
    };
    this.put = (user) =>
      void replace.run({
        name: user.name,
        role: user.role,
        ports: JSON.stringify(user.ports),
        keys: JSON.stringify(user.keys),
        password: user.password,
        unix: user.unix,
        from_net: JSON.stringify(user.from),
        totp: user.totp,
        principals: JSON.stringify(user.principals),
        key_prefix: user.escape && JSON.stringify(user.escape),
      });
    this.remove = (name) => remove.run(name).changes > 0;
  }
}

function asUser(row: UserRow): User {
  return {
    name: row.name,
    role: row.role,
    ports: JSON.parse(row.ports) as string[],
    keys: JSON.parse(row.keys) as string[],
    password: row.password,
    unix: row.unix,
    from: JSON.parse(row.from_net) as string[],
    totp: row.totp,
    principals: JSON.parse(row.principals) as string[],
    escape: row.key_prefix === null ? null : (JSON.parse(row.key_prefix) as EscapePrefix),
  };
}
