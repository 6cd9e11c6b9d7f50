import { existsSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { dirname, join, parse } from 'node:path';

/**
 * Calls `returned` at each sign that `path` may have come (back): its directory entry was made, or
 * its permissions changed, which udev does a moment after. A directory that is not there either
 * (udev removes /dev/serial with its last link) is waited for in its parent. Returns a stop.
 */
export function watchPath(path: string, returned: () => void): () => void {
  const watchers = new Map<string, FSWatcher>();
  let isStopped = false;

  /** Watches each directory on the way that exists, up to two above the path's own. */
  function refresh(): void {
    for (const { directory, entry } of wayTo(path)) {
      if (watchers.has(directory) || !existsSync(directory)) continue;
      try {
        const watcher = watch(directory, { persistent: false }, (_event, name) => {
          if (name !== null && name !== entry) return;
          drop(join(directory, entry)); // a directory that went and came is another one
          changed();
        });
        watcher.on('error', () => drop(directory));
        watchers.set(directory, watcher);
      } catch {
        // Out of inotify watches, or it went away meanwhile: the port's back-off retries anyhow.
      }
    }
  }

  function drop(directory: string): void {
    watchers.get(directory)?.close();
    watchers.delete(directory);
  }

  function changed(): void {
    if (isStopped) return;
    for (const directory of watchers.keys()) if (!existsSync(directory)) drop(directory);
    refresh();
    if (existsSync(path)) returned();
  }

  refresh();
  return () => {
    isStopped = true;
    for (const directory of [...watchers.keys()]) drop(directory);
  };
}

/** The path's directory and two above it, each with the entry that leads on; not the root. */
function wayTo(path: string): { directory: string; entry: string }[] {
  const way: { directory: string; entry: string }[] = [];
  for (let rest = path; way.length < 3; rest = dirname(rest)) {
    const directory = dirname(rest);
    if (directory === rest || directory === parse(rest).root) break;
    way.push({ directory, entry: rest.slice(join(directory, '/').length) });
  }
  return way;
}
