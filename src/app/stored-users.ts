import { join } from 'node:path';
import type { Journal } from '../core/clock.ts';
import type { Settings } from '../core/settings.ts';
import type { User } from '../core/user.ts';
import { loadLibc } from '../native/libc.ts';
import { openDataDirectory } from '../store/data-directory.ts';
import { schemas } from '../store/database.ts';
import { openState } from '../store/state.ts';
import { packageRoot } from './package-files.ts';
import { SystemClock } from './system-clock.ts';

/**
 * A change to the users of the state database while no daemon runs: it is held as the daemon would
 * hold it, so the store stays the only writer.
 * @throws Fault STORE_IN_USE when a daemon runs after all; STORE_NEWER.
 */
export async function changeStoredUsers(options: {
  dataDirectory: string;
  settings: Settings | null;
  change: { put?: User; remove?: string };
  journal: Journal;
}): Promise<{
  databaseUsers: readonly User[];
  fileUsers: readonly User[];
  roles: readonly string[];
  removed: boolean;
}> {
  const { change, settings } = options;
  const directory = openDataDirectory(options.dataDirectory, await loadLibc());
  try {
    const schema = schemas(join(packageRoot(), 'migrations')).state;
    const state = openState(directory, schema, new SystemClock(), options.journal);
    try {
      if (change.put) state.users.put(change.put);
      const removed = change.remove !== undefined && state.users.remove(change.remove);
      return {
        databaseUsers: state.users.list(),
        fileUsers: settings?.users ?? [],
        roles: Object.keys(settings?.roles ?? {}),
        removed,
      };
    } finally {
      state.db.close();
    }
  } finally {
    directory.release();
  }
}
