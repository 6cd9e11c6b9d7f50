import { lstat, readlink, rename, symlink, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '../../core/fault.ts';

/**
 * Makes `path` a link to a pty, at once and without a moment in which there is none. What is there
 * already is replaced only when it is a link to a pty, of ours or left by a daemon that was killed.
 * @throws Fault EXPOSE_FAILED naming what is in the way.
 */
export async function placeLink(path: string, slavePath: string): Promise<void> {
  const inTheWay = await whatIsAt(path);
  if (inTheWay !== null) {
    throw new Fault(
      'EXPOSE_FAILED',
      `${path} is ${inTheWay}: it is left alone; remove it, or give "expose" another path`,
    );
  }
  const early = `${path}.${process.pid}.new`;
  try {
    await unlink(early).catch(() => undefined);
    await symlink(slavePath, early);
    await rename(early, path);
  } catch (cause) {
    throw new Fault('EXPOSE_FAILED', explain(path, cause as NodeJS.ErrnoException), cause);
  }
}

/** Removes the link if it still leads to this pty. */
export async function removeLink(path: string, slavePath: string): Promise<void> {
  const target = await readlink(path).catch(() => null);
  if (target === slavePath) await unlink(path).catch(() => undefined);
}

/** What may not be replaced there, in words; null: nothing. */
async function whatIsAt(path: string): Promise<string | null> {
  const status = await lstat(path).catch(() => null);
  if (status === null) return null; // not there; or what else is wrong shows when the link is made
  if (!status.isSymbolicLink()) return status.isDirectory() ? 'a directory' : 'a file';
  const target = await readlink(path).catch(() => '');
  return /^\/dev\/pts\/\d+$/.test(target) ? null : `a link to ${target}`;
}

function explain(path: string, { code, message }: NodeJS.ErrnoException): string {
  const directory = dirname(path);
  switch (code) {
    case 'ENOENT':
      return `${path} cannot be made: there is no directory ${directory}; make it first`;
    case 'ENOTDIR':
      return `${path} cannot be made: ${directory} is not a directory`;
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `${path} cannot be made: the daemon may not write in ${directory} (${code})`;
    default:
      return `${path} cannot be made: ${message}`;
  }
}
