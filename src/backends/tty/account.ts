import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Whoever opens the lines: the service's user, or the one who asks. */
export interface Account {
  name: string;
  uid: number;
  /** Groups that its processes have now. */
  gids: readonly number[];
  /** Groups it would have after a new login or start. */
  listedGids: readonly number[];
  /** `fairlead.service`; null: no unit starts it. */
  unit: string | null;
  /** What the unit's DeviceAllow= lets it open; null: everything. */
  devicesAllowed: readonly string[] | null;
}

/** Runs a command, an argument vector. Never rejects; `status` null when it could not be run. */
export type Run = (argv: readonly string[]) => Promise<{ status: number | null; output: string }>;

export const UNIT = 'fairlead.service';

/**
 * The account that the lines are for. `daemonUid`: of the daemon that answers, null when none does;
 * then the unit's if there is one, else the caller's own.
 */
export async function accountOfLines(options: {
  run: Run;
  own: { uid: number; gids: readonly number[] };
  daemonUid: number | null;
  root?: string;
}): Promise<Account> {
  const { run, own, daemonUid, root = '/' } = options;
  const unit = parseUnit((await run(SHOW_UNIT)).output);
  const unitUid = unit === null ? null : uidOf(unit.user, root);
  if (unit !== null && unitUid !== null && (daemonUid === null || daemonUid === unitUid)) {
    const listed = [
      ...listedGids(unitUid, root),
      ...unit.groups.map((group) => gidOf(group, root)).filter((gid) => gid !== null),
    ];
    return {
      name: unit.user,
      uid: unitUid,
      gids: (unit.pid > 0 ? gidsOfProcess(unit.pid, root) : null) ?? listed,
      listedGids: listed,
      unit: UNIT,
      devicesAllowed: unit.devicesAllowed,
    };
  }
  const uid = daemonUid ?? own.uid;
  const listed = listedGids(uid, root);
  return {
    name: nameOf('passwd', uid, root),
    uid,
    gids: uid === own.uid ? own.gids : listed,
    listedGids: listed,
    unit: null,
    devicesAllowed: null,
  };
}

/** Of /etc/passwd or /etc/group; the number itself when it has no name there. */
export function nameOf(file: 'passwd' | 'group', id: number, root = '/'): string {
  const entry = entries(file, root).find(([, , number]) => number === String(id));
  return entry?.[0] ?? String(id);
}

const SHOW_UNIT = [
  'systemctl',
  'show',
  UNIT,
  '--property=LoadState,MainPID,User,SupplementaryGroups,DevicePolicy,DeviceAllow',
];

interface Unit {
  user: string;
  pid: number;
  groups: readonly string[];
  devicesAllowed: readonly string[] | null;
}

/** `KEY=VALUE` lines; DeviceAllow once for each device. null: no such unit, or no systemd. */
function parseUnit(output: string): Unit | null {
  const values = (key: string): string[] =>
    output
      .split('\n')
      .filter((line) => line.startsWith(`${key}=`))
      .map((line) => line.slice(key.length + 1).trim())
      .filter((value) => value !== '');
  if (values('LoadState')[0] !== 'loaded') return null;
  const allowed = values('DeviceAllow').map((value) => value.split(/\s+/)[0]!);
  const isOpen = (values('DevicePolicy')[0] ?? 'auto') === 'auto' && allowed.length === 0;
  return {
    user: values('User')[0] ?? 'root',
    pid: Number(values('MainPID')[0] ?? 0),
    groups: (values('SupplementaryGroups')[0] ?? '').split(/\s+/).filter((name) => name !== ''),
    devicesAllowed: isOpen ? null : allowed,
  };
}

function gidsOfProcess(pid: number, root: string): number[] | null {
  try {
    const status = readFileSync(join(root, 'proc', String(pid), 'status'), 'utf8');
    const numbers = (key: string): number[] =>
      (new RegExp(`^${key}:(.*)$`, 'm').exec(status)?.[1] ?? '')
        .split(/\s+/)
        .filter((word) => word !== '')
        .map(Number);
    return [...numbers('Gid').slice(0, 1), ...numbers('Groups')];
  } catch {
    return null; // it ended meanwhile
  }
}

function listedGids(uid: number, root: string): number[] {
  const user = entries('passwd', root).find(([, , number]) => number === String(uid));
  if (user === undefined) return [];
  const groups = entries('group', root).filter(([, , , members]) =>
    (members ?? '').split(',').includes(user[0]!),
  );
  return [Number(user[3]), ...groups.map(([, , gid]) => Number(gid))];
}

function uidOf(name: string, root: string): number | null {
  const entry = entries('passwd', root).find(([known]) => known === name);
  return entry === undefined ? (name === 'root' ? 0 : null) : Number(entry[2]);
}

function gidOf(name: string, root: string): number | null {
  const entry = entries('group', root).find(([known]) => known === name);
  return entry === undefined ? null : Number(entry[2]);
}

function entries(file: 'passwd' | 'group', root: string): string[][] {
  try {
    const text = readFileSync(join(root, 'etc', file), 'utf8');
    return text.split('\n').map((line) => line.split(':'));
  } catch {
    return []; // a bare container: numbers have to do
  }
}
