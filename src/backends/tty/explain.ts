import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import os from 'node:os';
import { describeHolder, findLockHolder, findOpener } from './holder.ts';

/** Why a tty could not be opened, and what to do, in one sentence that begins with its path. */
export async function explainOpenFailure(path: string, cause: unknown): Promise<string> {
  const wrong = explainPath(path) ?? explainAccess(path);
  if (wrong !== null) return wrong;
  const text = cause instanceof Error ? cause.message : String(cause);
  const reason = REASONS.find(({ pattern }) => pattern.test(text));
  return reason === undefined ? `${path}: ${text}` : reason.explain(path);
}

/** What is wrong with the path itself; null when a character device is there. */
export function explainPath(path: string): string | null {
  let stat: Stats;
  try {
    stat = statSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES') {
      return `${path}: permission denied on a directory above it; let ${userName()} search it`;
    }
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return path.startsWith('/dev/pts/')
        ? `${path} does not exist; is the machine or program it belongs to running?`
        : `${path} does not exist; is the adapter plugged in?`;
    }
    return `${path}: ${(error as Error).message}`;
  }
  if (stat.isCharacterDevice()) return null;
  if (stat.isSocket())
    return `${path} is a unix socket, not a tty; configure it as "unix: ${path}"`;
  return `${path} is ${kindOf(stat)}, not a tty; name a device such as /dev/ttyUSB0`;
}

export interface AccessFacts {
  user: string;
  mode: number;
  owner: string;
  group: string;
}

/** The sentence for a device that the user may not open. */
export function describeDenied(path: string, facts: AccessFacts): string {
  const { user, owner, group } = facts;
  const mode = (facts.mode & 0o777).toString(8).padStart(4, '0');
  const groupMayOpen = (facts.mode & 0o060) === 0o060 && group !== 'root';
  const fix = groupMayOpen
    ? `add the user to group ${group} (usermod -aG ${group} ${user}) and start Fairlead anew`
    : `give a group read and write access by a udev rule, and add user ${user} to that group`;
  return `${path}: permission denied for user ${user} (it belongs to ${owner}:${group}, mode ${mode}); ${fix}`;
}

/** Messages of the binding hold the C library's words, not the error's name. */
const REASONS: readonly { pattern: RegExp; explain: (path: string) => string | Promise<string> }[] =
  [
    {
      pattern: /cannot lock|resource temporarily unavailable|EAGAIN|EWOULDBLOCK/i,
      explain: (path) => explainHeld(path, 'has it locked'),
    },
    { pattern: /busy|EBUSY/i, explain: (path) => explainHeld(path, 'has it for itself') },
    {
      pattern: /inappropriate ioctl|ENOTTY/i,
      explain: (path) => `${path} is not a tty; name a device such as /dev/ttyUSB0`,
    },
    {
      pattern: /input\/output error|EIO/i,
      explain: (path) =>
        path.startsWith('/dev/pts/')
          ? `${path}: the other end of the pty is closed; is its program still running?`
          : `${path}: no hardware answers behind it; is this the right one? (see /proc/tty/driver/serial)`,
    },
    {
      pattern: /no such device|ENODEV|ENXIO/i,
      explain: (path) => `${path}: its driver has no device behind it; is the adapter plugged in?`,
    },
    {
      pattern: /too many open files|EMFILE|ENFILE/i,
      explain: (path) => `${path}: too many open files; raise LimitNOFILE of the service`,
    },
    {
      pattern: /permission denied|operation not permitted|EACCES|EPERM/i,
      explain: (path) =>
        `${path}: permission denied by the system; does a sandbox (DeviceAllow of the service, a container) keep it out?`,
    },
  ];

/** `how`: `has it locked`. Names the holder where it can be found. */
export async function explainHeld(path: string, how: string): Promise<string> {
  const holder = (await findLockHolder(path)) ?? (await findOpener(path));
  return holder === null
    ? `${path}: another process ${how}; find it with "fuser -v ${path}" and end it`
    : `${path} is held by ${describeHolder(holder)}; one program at a time can have a line`;
}

function explainAccess(path: string): string | null {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return null;
  } catch {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return explainPath(path);
    return describeDenied(path, {
      user: userName(),
      mode: stat.mode,
      owner: nameOf('/etc/passwd', stat.uid),
      group: nameOf('/etc/group', stat.gid),
    });
  }
}

/** Of /etc/passwd or /etc/group; the number itself when it has no name there. */
function nameOf(file: string, id: number): string {
  try {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const [name, , number] = line.split(':');
      if (number === String(id)) return name!;
    }
  } catch {
    // No such file in a bare container: the number has to do.
  }
  return String(id);
}

function userName(): string {
  try {
    return os.userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}

function kindOf(stat: Stats): string {
  if (stat.isDirectory()) return 'a directory';
  if (stat.isBlockDevice()) return 'a block device';
  return stat.isFIFO() ? 'a pipe' : 'a regular file';
}
