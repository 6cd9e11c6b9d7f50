import { existsSync, lstatSync, realpathSync, statSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { basename, dirname, join, parse } from 'node:path';

/**
 * Calls `returned` at each sign that `path` may have come (back): its directory entry was made, or
 * its permissions changed, which udev does a moment after; also those of the device a link leads to.
 * A directory that is not there either (udev removes /dev/serial with its last link) is waited for in
 * its parent. Returns a stop.
 */
export function watchPath(path: string, returned: () => void): () => void {
  const watchers = new Map<string, FSWatcher>();
  const told = tellsNews(() => path, returned);
  let isStopped = false;

  /** Watches each directory on the way that exists, up to two above the path's own. */
  function refresh(): void {
    for (const { directory, entry } of wayTo(path)) {
      if (watchers.has(directory) || !existsSync(directory)) continue;
      try {
        const watcher = watch(directory, { persistent: false }, (_event, name) => {
          if (name !== null && name !== entry && name !== targetIn(directory)) return;
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

  /** The entry that a link leads to, when it is in this directory. */
  function targetIn(directory: string): string | null {
    try {
      const target = realpathSync(path);
      return target !== path && dirname(target) === directory ? basename(target) : null;
    } catch {
      return null;
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
    told();
  }

  refresh();
  return () => {
    isStopped = true;
    for (const directory of [...watchers.keys()]) drop(directory);
  };
}

/**
 * Calls `returned` when `current` names another device than before, or the same with other
 * permissions, after an entry of the directory that `concerns` it came, went or changed. Returns a
 * stop.
 */
export function watchDirectory(options: {
  directory: string;
  concerns: (name: string) => boolean;
  current: () => string | null;
  returned: () => void;
}): () => void {
  const { directory, concerns, current, returned } = options;
  const told = tellsNews(current, returned);
  try {
    const watcher = watch(directory, { persistent: false }, (_event, name) => {
      if (name === null || concerns(name)) told();
    });
    watcher.on('error', () => watcher.close());
    return () => watcher.close();
  } catch {
    return () => undefined; // out of inotify watches: the port's back-off retries anyhow
  }
}

/**
 * Whoever writes to a tty makes an event in its directory, and so does whoever writes to /dev/null:
 * what counts is another node, or another owner or mode.
 */
function tellsNews(current: () => string | null, returned: () => void): () => void {
  let known = stateOf(current());
  return () => {
    const now = stateOf(current());
    if (now === known) return;
    known = now;
    if (now !== null) returned();
  };
}

/** Another node, owner or mode is another state; null: nothing is there. */
export function stateOf(path: string | null): string | null {
  if (path === null) return null;
  try {
    const link = lstatSync(path);
    const node = statSync(path);
    const parts = [path, link.ino, link.ctimeMs, node.ino, node.rdev, node.mode, node.ctimeMs];
    return parts.join(' ');
  } catch {
    return null; // not there
  }
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
