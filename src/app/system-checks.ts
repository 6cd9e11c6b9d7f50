import { statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Account } from '../backends/tty/account.ts';
import type { Finding } from '../core/diagnosis.ts';
import { readDataId } from '../store/data-directory.ts';
import { findSpool, SPOOL_BYTES } from '../store/spool-file.ts';

export interface SystemFacts {
  hasLibc: boolean;
  /** The data directory; null: none is known. */
  data: string | null;
  account: Pick<Account, 'name' | 'uid'>;
  ownerName(uid: number): string;
  /** For tests; as fs.statfsSync. */
  statfs?: (path: string) => FileSystem | null;
}

export interface FileSystem {
  type: number;
  bsize: number;
  blocks: number;
  bavail: number;
  files: number;
  ffree: number;
}

/** What of the machine would hurt every port: libraries, memory for the spool, the disk. */
export async function examineSystem(facts: SystemFacts): Promise<Finding[]> {
  return [koffi(facts), ...spool(facts), owner(facts), disk(facts)].filter(
    (finding) => finding !== null,
  );
}

/** statfs(2). */
const TMPFS_MAGIC = 0x01021994;
/** Where a spool goes, in order of preference. */
const MEMORY = ['/run', '/dev/shm'];
const MIB = 1_048_576;
/** DESIGN 5: of the disk in use. */
const DISK_WARNING = 0.9;
const DISK_ERROR = 0.95;

function koffi({ hasLibc }: SystemFacts): Finding | null {
  if (hasLibc) return null;
  return {
    id: 'koffi-missing',
    subject: 'machine',
    severity: 'warning',
    why: 'the package koffi is missing, or has no binary for this machine: no BREAK, no signals, no change of settings on an open line, and a kill -9 may cost the last bytes',
    fix: 'npm install (not --omit=optional) in the folder of Fairlead',
  };
}

function spool(facts: SystemFacts): (Finding | null)[] {
  const { data } = facts;
  const id = data === null ? null : readDataId(data);
  const path = id === null ? null : findSpool(id, { dataDirectory: data! });
  if (path !== null) return [spoolPlace(facts, dirname(path))];
  const usable = MEMORY.filter((place) => isTmpfs(facts, place));
  if (usable.length === 0) {
    return [notInMemory(`neither ${MEMORY.join(' nor ')} is a tmpfs`)];
  }
  const room = Math.max(...usable.map((place) => roomOf(facts, place)));
  return [room < 2 * SPOOL_BYTES ? tightSpool(usable.join(', '), room) : null];
}

function spoolPlace(facts: SystemFacts, directory: string): Finding | null {
  return isTmpfs(facts, directory) ? null : notInMemory(`${directory} is no tmpfs`);
}

function notInMemory(why: string): Finding {
  return {
    id: 'spool-on-disk',
    subject: 'spool',
    severity: 'warning',
    why: `the spool, to which every byte goes first, is not in memory: ${why}; it wears the disk and waits for it`,
    fix: 'RuntimeDirectory=fairlead in the unit, or a tmpfs on /run',
  };
}

function tightSpool(places: string, room: number): Finding {
  return {
    id: 'spool-small',
    subject: 'spool',
    severity: 'warning',
    why: `${places} has ${Math.floor(room / MIB)} MiB left: the spool will be smaller than ${SPOOL_BYTES / MIB} MiB, and a slow disk is ridden out for a shorter time`,
    fix: 'free some of it, or mount a larger tmpfs',
  };
}

function owner({ data, account, ownerName }: SystemFacts): Finding | null {
  const stat = data === null ? undefined : statSync(data, { throwIfNoEntry: false });
  if (stat === undefined || account.uid === 0 || stat.uid === account.uid) return null;
  return {
    id: 'data-owner',
    subject: data!,
    severity: 'error',
    why: `the data directory belongs to ${ownerName(stat.uid)}, and ${account.name} is to write it`,
    fix: `chown -R ${account.name} ${data}`,
  };
}

function disk(facts: SystemFacts): Finding | null {
  const { data } = facts;
  const system = data === null ? null : read(facts, data);
  if (system === null || system.blocks === 0) return null;
  const isOutOfFiles = system.files > 0 && system.ffree === 0;
  const used = 1 - system.bavail / system.blocks;
  if (used < DISK_WARNING && !isOutOfFiles) return null;
  const left = Math.floor((system.bavail * system.bsize) / MIB);
  return {
    id: 'disk-full',
    subject: data!,
    severity: used >= DISK_ERROR || isOutOfFiles ? 'error' : 'warning',
    why: isOutOfFiles
      ? 'the disk of the log can hold no more files (no inode is free)'
      : `the disk of the log is ${Math.floor(used * 100)} % full, ${left} MiB are left`,
    fix: `make room on it (du -xh ${data} | sort -h), or move "data:" to another disk`,
  };
}

function isTmpfs(facts: SystemFacts, path: string): boolean {
  return read(facts, path)?.type === TMPFS_MAGIC;
}

function roomOf(facts: SystemFacts, path: string): number {
  const system = read(facts, path);
  return system === null ? 0 : system.bavail * system.bsize;
}

function read({ statfs }: SystemFacts, path: string): FileSystem | null {
  if (statfs !== undefined) return statfs(path);
  try {
    return statfsSync(path);
  } catch {
    return null; // not there
  }
}
