import { basename } from 'node:path';
import { findLockHolder, findOpener, findOpeners } from './holder.ts';
import type { Holder } from './holder.ts';
import { real } from './sysfs.ts';
import { findUucpHolder } from './uucp-lock.ts';

/** By a lock (flock or UUCP lock file), else by whoever has it open; null: nobody we may see. */
export async function whoHolds(path: string, root = '/'): Promise<Holder | null> {
  return (await lockHolder(path, root)) ?? (await findOpener(path, root));
}

/** Who has a line, told apart: a lock is one program's, open it may be for many. */
export interface Holding {
  lock: Holder | null;
  openers: readonly Holder[];
}

/** For many devices, `/dev/ttyUSB0`, in one walk through /proc. */
export async function holdingOfEach(
  devices: readonly string[],
  root = '/',
): Promise<Map<string, Holding>> {
  const openers = await findOpeners((file) => devices.includes(file), root);
  const holding = new Map<string, Holding>();
  for (const device of devices) {
    const lock = await lockHolder(device, root);
    holding.set(device, { lock, openers: openers.get(device) ?? [] });
  }
  return holding;
}

/** What to do about a program that has the line. */
export function freeingAdvice(path: string, holder: Holder): string {
  const name = basename(real(path) ?? path);
  if (GETTYS.test(holder.name)) {
    return `a login prompt runs on it: "systemctl mask --now serial-getty@${name}.service"`;
  }
  if (holder.name === 'ModemManager') {
    return 'it takes the line for a modem: install the udev rule of deploy/udev, or "systemctl mask --now ModemManager"';
  }
  if (holder.name === 'brltty') {
    return 'it takes the adapter for a Braille display: "systemctl mask --now brltty.service brltty-udev.service"';
  }
  return 'one program at a time can have a line';
}

/** agetty, getty, mgetty; and login, which agetty becomes. */
const GETTYS = /getty$|^login$/;

export function isGetty(holder: Holder): boolean {
  return GETTYS.test(holder.name);
}

async function lockHolder(path: string, root: string): Promise<Holder | null> {
  return (await findLockHolder(path, root)) ?? (await findUucpHolder(path, root));
}
