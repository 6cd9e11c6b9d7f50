import type { User } from '../core/user.ts';

/** Users of both sources, and where they disagree. */
export interface MergedUsers {
  users: readonly User[];
  /** One sentence for each name that is in both; an error of `check` (DESIGN 6). */
  clashes: readonly string[];
}

/** Users of fairlead.yaml and of fairlead.db in one list: the file wins. Names differ by more than case. */
export function mergeUsers(
  fileUsers: readonly User[],
  databaseUsers: readonly User[],
): MergedUsers {
  const byLowerName = new Map(fileUsers.map((user) => [user.name.toLowerCase(), user.name]));
  const clashes: string[] = [];
  const added = databaseUsers.filter((user) => {
    const fileName = byLowerName.get(user.name.toLowerCase());
    if (fileName === undefined) return true;
    clashes.push(
      `user "${user.name}" is in the database and ${fileName === user.name ? '' : `as "${fileName}" `}in the configuration file; the file counts; remove one of the two`,
    );
    return false;
  });
  return { users: [...fileUsers, ...added], clashes };
}
