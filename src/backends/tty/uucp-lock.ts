import { linkSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../../core/fault.ts';
import { describeHolder } from './holder.ts';
import type { Holder } from './holder.ts';
import { real } from './sysfs.ts';

/** Our claim on a line by the file that minicom, cu, picocom and kermit look for. */
export interface UucpLock {
  /** Removes the file, if it still is ours. To be called before the line is closed. */
  release(): void;
}

/** FHS 3.0, 5.9. */
const DIRECTORY = '/var/lock';
/** A lock that others keep making and removing is not fought for. */
const TRIES_MAX = 5;

/**
 * Makes /var/lock/LCK..ttyS0 for `/dev/ttyS0`, or for a link to it. The format is that of HDB UUCP
 * (FHS 3.0, 5.9.1): the pid in ten characters, and a newline. A file whose process is dead is taken
 * over, and so is one with our own pid: it is of an earlier life, as the line itself is ours (flock)
 * when this is called. Returns null where there is no such directory, or it cannot be written to.
 * `root`: where /dev, /proc and /var/lock are, for tests.
 * @throws Fault PORT_OPEN_FAILED when a live process has the line by its lock file.
 */
export function takeUucpLock(path: string, root = '/'): UucpLock | null {
  const file = lockFile(path, root);
  const own = join(root, DIRECTORY, `LTMP.${process.pid}`);
  try {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      refuseIfUucpLocked(path, root);
      removeIfThere(file); // nobody lives who made it
      // Made whole under another name: nobody is to read a lock without its pid.
      writeFileSync(own, `${String(process.pid).padStart(10)}\n`, { mode: 0o644 });
      try {
        linkSync(own, file);
        return { release: () => releaseLock(file) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      } finally {
        removeIfThere(own);
      }
    }
  } catch (error) {
    if (error instanceof Fault) throw error;
  }
  return null;
}

/**
 * For before the line is opened, as an open alone raises its signals.
 * @throws Fault PORT_OPEN_FAILED as `takeUucpLock`.
 */
export function refuseIfUucpLocked(path: string, root = '/'): void {
  const file = lockFile(path, root);
  const pid = livePid(file);
  if (pid === null || pid === process.pid) return;
  throw new Fault(
    'PORT_OPEN_FAILED',
    `${path} is held by ${describeHolder(named(pid, root))}, says ${file}; end it, or remove the file if it has nothing to do with the line`,
  );
}

/** The live process that has a line by its UUCP lock file, which may be this one; null: nobody. */
export function findUucpHolder(path: string, root = '/'): Promise<Holder | null> {
  const pid = livePid(lockFile(path, root));
  return Promise.resolve(pid === null ? null : named(pid, root));
}

function releaseLock(file: string): void {
  try {
    if (pidIn(file) === process.pid) unlinkSync(file);
  } catch {
    // Somebody cleaned up, or made the directory read-only: the next one finds our pid dead.
  }
}

/** By the name of the device itself: `/dev/serial/by-id/...` is for people. */
function lockFile(path: string, root: string): string {
  const device = real(path, root) ?? path;
  const name = device.replace(/^\/dev\//, '').replaceAll('/', '_');
  return join(root, DIRECTORY, `LCK..${name}`);
}

function livePid(file: string): number | null {
  const pid = pidIn(file);
  if (pid === null) return null;
  try {
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? pid : null;
  }
}

/** null: no file, or none that tells a pid. Old programs write the number as four bytes. */
function pidIn(file: string): number | null {
  let content: Buffer;
  try {
    content = readFileSync(file);
  } catch {
    return null;
  }
  const text = /^\s*(\d{1,10})\s/.exec(`${content.toString('latin1', 0, 32)}\n`)?.[1];
  const pid = text === undefined && content.length === 4 ? content.readInt32LE(0) : Number(text);
  return Number.isInteger(pid) && pid > 0 && pid <= PID_MAX ? pid : null;
}

/** Of 64-bit Linux (proc_sys_kernel(5), pid_max). */
const PID_MAX = 4_194_304;

function named(pid: number, root: string): Holder {
  try {
    const name = readFileSync(join(root, 'proc', String(pid), 'comm'), 'utf8').trim();
    return { pid, name };
  } catch {
    return { pid, name: '' };
  }
}

function removeIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
