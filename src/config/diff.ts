import { isDeepStrictEqual } from 'node:util';
import type { PortSettings, Settings } from '../core/settings.ts';

/** What a reload has to do. Names are those of the new settings; of the old ones in `removed`. */
export interface SettingsDiff {
  added: readonly string[];
  removed: readonly string[];
  /** Any setting differs, the spelling of the name included. */
  changed: readonly string[];
  unchanged: readonly string[];
  /** Ports of `added` that carry on the log of one in `removed`. */
  renamed: readonly { from: string; to: string }[];
  /** Ports made by themselves: where, for whom, or what they are. */
  autoPortsChanged: boolean;
  /** Doors, what is said before login, or what certificates are taken. */
  listenChanged: boolean;
  /** Users or roles. */
  usersChanged: boolean;
  markChanged: boolean;
  /** What counts only after a restart, a sentence each. */
  needsRestart: readonly string[];
}

/** Compares settings for a reload. `was` alone is no change: it has done its work once the port is known. */
export function diffSettings(before: Settings, after: Settings): SettingsDiff {
  const old = new Map(before.ports.map((port) => [port.name.toLowerCase(), port]));
  const added: string[] = [];
  const changed: string[] = [];
  const unchanged: string[] = [];
  const renamed: { from: string; to: string }[] = [];
  for (const port of after.ports) {
    const known = old.get(port.name.toLowerCase());
    old.delete(port.name.toLowerCase());
    if (known) (isSamePort(known, port) ? unchanged : changed).push(port.name);
    else added.push(port.name);
  }
  for (const port of after.ports) {
    const former = port.was === null ? undefined : old.get(port.was.toLowerCase());
    if (former && added.includes(port.name)) renamed.push({ from: former.name, to: port.name });
  }
  return {
    added,
    removed: [...old.values()].map((port) => port.name),
    changed,
    unchanged,
    renamed,
    autoPortsChanged: !isDeepStrictEqual(before.autoPorts, after.autoPorts),
    listenChanged:
      !isDeepStrictEqual(before.listen, after.listen) ||
      !isDeepStrictEqual(before.certificates, after.certificates) ||
      before.banner !== after.banner,
    usersChanged:
      !isDeepStrictEqual(before.users, after.users) ||
      !isDeepStrictEqual({ ...before.roles }, { ...after.roles }),
    markChanged: before.markMs !== after.markMs,
    needsRestart: restartReasons(before, after),
  };
}

function isSamePort(a: PortSettings, b: PortSettings): boolean {
  return isDeepStrictEqual({ ...a, was: null }, { ...b, was: null });
}

function restartReasons(before: Settings, after: Settings): string[] {
  const reasons: string[] = [];
  if (before.data !== after.data) {
    reasons.push(`data: ${before.data} stays in use; ${after.data} needs a restart`);
  }
  if (before.log.spoolBytes !== after.log.spoolBytes) {
    reasons.push(
      `log.spool: ${before.log.spoolBytes} bytes stay in use; ${after.log.spoolBytes} need a restart`,
    );
  }
  if (before.log.codec !== after.log.codec) {
    reasons.push(`log.codec: ${before.log.codec} stays in use; ${after.log.codec} needs a restart`);
  }
  return reasons;
}
