import { readFile, readdir, readlink, realpath } from 'node:fs/promises';
import { statSync } from 'node:fs';
import { join, relative } from 'node:path';

export interface Holder {
  pid: number;
  /** Of its command, at most 15 characters; empty when it cannot be read. */
  name: string;
}

/** Who holds an flock on the file, from /proc/locks (proc(5)); null when nobody or unknown. */
export async function findLockHolder(path: string, root = '/'): Promise<Holder | null> {
  const locks = await readFile(join(root, 'proc/locks'), 'utf8').catch(() => '');
  let key: string;
  try {
    key = lockKey(statSync(join(root, path)));
  } catch {
    return null;
  }
  for (const line of locks.split('\n')) {
    // 1: FLOCK  ADVISORY  WRITE 1234 00:18:5 0 EOF
    const [, kind, , , pid, file] = line.split(/\s+/);
    if (kind === 'FLOCK' && file === key && Number(pid) > 0) return named(Number(pid), root);
  }
  return null;
}

/** Who has the file open, from the links in /proc/PID/fd; null when nobody we may see. */
export async function findOpener(path: string, root = '/'): Promise<Holder | null> {
  const target = await realpath(join(root, path)).then(
    (found) => `/${relative(root, found)}`,
    () => path,
  );
  return (await findOpeners((file) => file === target, root)).get(target)?.[0] ?? null;
}

/** All who have one of these files open, by file, in one walk through /proc. */
export async function findOpeners(
  isWanted: (file: string) => boolean,
  root = '/',
): Promise<Map<string, Holder[]>> {
  const openers = new Map<string, Holder[]>();
  for (const pid of await processIds(root)) {
    const directory = join(root, 'proc', String(pid), 'fd');
    for (const fd of await readdir(directory).catch(() => [])) {
      const file = await readlink(join(directory, fd)).catch(() => '');
      if (!isWanted(file)) continue;
      const known = openers.get(file) ?? [];
      if (known.at(-1)?.pid === pid) continue;
      openers.set(file, [...known, await named(pid, root)]);
    }
  }
  return openers;
}

/** The first process with one of these names (as in /proc/PID/comm: 15 characters at most). */
export async function findProcess(names: readonly string[], root = '/'): Promise<Holder | null> {
  for (const pid of await processIds(root)) {
    const process = await named(pid, root);
    if (names.includes(process.name)) return process;
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

async function processIds(root: string): Promise<number[]> {
  const names = await readdir(join(root, 'proc')).catch(() => []);
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

async function named(pid: number, root: string): Promise<Holder> {
  const path = join(root, 'proc', String(pid), 'comm');
  return { pid, name: (await readFile(path, 'utf8').catch(() => '')).trim() };
}

/** Device of the file system and inode as /proc/locks writes them: hexadecimal, decimal. */
export function lockKey(stat: { dev: number; ino: number }): string {
  const major = (stat.dev >>> 8) & 0xfff;
  const minor = (stat.dev & 0xff) | ((stat.dev >>> 12) & 0xfff00);
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  return `${hex(major)}:${hex(minor)}:${stat.ino}`;
}
