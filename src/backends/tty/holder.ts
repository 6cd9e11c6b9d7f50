import { readFile, readdir, readlink, realpath } from 'node:fs/promises';
import { statSync } from 'node:fs';

export interface Holder {
  pid: number;
  /** Of its command, at most 15 characters; empty when it cannot be read. */
  name: string;
}

/** Who holds an flock on the file, from /proc/locks (proc(5)); null when nobody or unknown. */
export async function findLockHolder(path: string): Promise<Holder | null> {
  const locks = await readFile('/proc/locks', 'utf8').catch(() => '');
  let key: string;
  try {
    key = lockKey(statSync(path));
  } catch {
    return null;
  }
  for (const line of locks.split('\n')) {
    // 1: FLOCK  ADVISORY  WRITE 1234 00:18:5 0 EOF
    const [, kind, , , pid, file] = line.split(/\s+/);
    if (kind === 'FLOCK' && file === key && Number(pid) > 0) return named(Number(pid));
  }
  return null;
}

/** Who has the file open, from the links in /proc/PID/fd; null when nobody we may see. */
export async function findOpener(path: string): Promise<Holder | null> {
  const target = await realpath(path).catch(() => path);
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    const directory = `/proc/${pid}/fd`;
    for (const fd of await readdir(directory).catch(() => [])) {
      const link = await readlink(`${directory}/${fd}`).catch(() => '');
      if (link === target) return named(Number(pid));
    }
  }
  return null;
}

/** `process 1234 (minicom)`; says so when it is this process. */
export function describeHolder(holder: Holder, ownPid = process.pid): string {
  if (holder.pid === ownPid) {
    return `Fairlead itself (process ${holder.pid}): another port has the same device`;
  }
  return `process ${holder.pid}${holder.name === '' ? '' : ` (${holder.name})`}`;
}

async function named(pid: number): Promise<Holder> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  return { pid, name: name.trim() };
}

/** Device of the file system and inode as /proc/locks writes them: hexadecimal, decimal. */
function lockKey(stat: { dev: number; ino: number }): string {
  const major = (stat.dev >>> 8) & 0xfff;
  const minor = (stat.dev & 0xff) | ((stat.dev >>> 12) & 0xfff00);
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  return `${hex(major)}:${hex(minor)}:${stat.ino}`;
}
