import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import os from 'node:os';
import { basename } from 'node:path';
import { freeingAdvice, whoHolds } from './held.ts';
import { describeHolder } from './holder.ts';
import { real, ttyNamed } from './sysfs.ts';

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
  if (stat.isFile() && path.startsWith('/dev/')) {
    return `${path} is a regular file, not a tty: a program wrote to it while no device was there; remove it`;
  }
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
  return `${path}: permission denied for user ${facts.user} (it belongs to ${facts.owner}:${facts.group}, mode ${formatMode(facts.mode)}); ${deniedFix(facts)}`;
}

export function deniedFix({ user, mode, group }: AccessFacts): string {
  const groupMayOpen = (mode & 0o060) === 0o060 && group !== 'root';
  return groupMayOpen
    ? `add the user to group ${group} (usermod -aG ${group} ${user}) and start Fairlead anew`
    : `give a group read and write access by a udev rule, and add user ${user} to that group`;
}

/** `0660` */
export function formatMode(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, '0');
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
          : explainNoHardware(path),
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
  const holder = await whoHolds(path);
  return holder === null
    ? `${path}: another process ${how}; find it with "fuser -v ${path}" and end it`
    : `${path} is held by ${describeHolder(holder)}; ${freeingAdvice(path, holder)}`;
}

/** An EIO at opening. Of a UART that is not there as programs say it: `/dev/ttyS4: not a tty`. */
export function explainNoHardware(path: string, root = '/'): string {
  const facts = ttyNamed(basename(real(path, root) ?? path), root);
  return facts === null || facts.hasUart
    ? `${path}: no hardware answers behind it; is this the right one? (see /proc/tty/driver/serial)`
    : `${path}: not a tty that works: Linux made it for a UART that is not there; "fairlead discover" lists the real ones`;
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
