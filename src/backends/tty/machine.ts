import { readFileSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import type { Account, Run } from './account.ts';
import { holdingOfEach } from './held.ts';
import type { Holding } from './held.ts';
import { findProcess } from './holder.ts';
import type { Holder } from './holder.ts';
import { listSerialDevices } from './list.ts';
import type { SerialDevice } from './list.ts';
import { listTtys } from './sysfs.ts';
import type { TtyFacts } from './sysfs.ts';

/** What `doctor` looks at: this machine, seen once. */
export interface Machine {
  root: string;
  account: Account;
  /** With something behind them. */
  lines: readonly SerialDevice[];
  /** Those with nothing behind them too. */
  ttys: readonly TtyFacts[];
  /** By device, `/dev/ttyUSB0`. */
  holding: ReadonlyMap<string, Holding>;
  modemManager: Holder | null;
  brltty: Holder | null;
  /** Names of ttys with a running login prompt of systemd: `ttyS0`. */
  gettys: readonly string[];
  /** Names of ttys the kernel writes its messages to, and those its command line asks for. */
  consoles: readonly string[];
  consolesOfCommandLine: readonly string[];
  /** Driver of a character device's major number, as DeviceAllow= says it: `ttyUSB`. */
  driverNames: ReadonlyMap<number, string>;
  stat(path: string): Stats | null;
}

/** `root`: where /dev, /proc, /run and /sys are; `stat`: as fs.statSync of a path below it. */
export async function surveyMachine(options: {
  account: Account;
  run: Run;
  root?: string;
  stat?: (path: string) => Stats | null;
}): Promise<Machine> {
  const { account, run, root = '/' } = options;
  const ttys = listTtys(root);
  const units = await run(LIST_GETTYS);
  return {
    root,
    account,
    lines: listSerialDevices(root),
    ttys,
    holding: await holdingOfEach(
      ttys.map(({ device }) => device),
      root,
    ),
    modemManager: await findProcess(['ModemManager'], root),
    brltty: await findProcess(['brltty'], root),
    gettys: units.output.match(/(?<=serial-getty@)[^.\s]+(?=\.service)/g) ?? [],
    consoles: kernelConsoles(root),
    consolesOfCommandLine: wordsOf('proc/cmdline', /(?:^|\s)console=([^,\s]+)/g, root),
    driverNames: new Map(
      wordsOf('proc/devices', /^\s*(\d+ \S+)$/gm, root).map((entry) => {
        const [major, name] = entry.split(' ') as [string, string];
        return [Number(major), name];
      }),
    ),
    stat: options.stat ?? ((path) => statSync(join(root, path), { throwIfNoEntry: false }) ?? null),
  };
}

/** Names of the ttys that the kernel writes its messages to: `ttyS0`. */
export function kernelConsoles(root = '/'): string[] {
  return wordsOf('proc/consoles', /^(\S+)/gm, root);
}

/**
 * What udev knows of a device, from its database: `ID_MM_PORT_IGNORE`. `id`: `c188:0`, `+usb:1-1`.
 */
export function udevProperty(root: string, id: string, key: string): string | null {
  const [value] = wordsOf(join('run/udev/data', id), new RegExp(`^E:${key}=(.*)$`, 'gm'), root);
  return value ?? null;
}

const LIST_GETTYS = [
  'systemctl',
  'list-units',
  '--plain',
  '--no-legend',
  '--state=active',
  'serial-getty@*',
];

function wordsOf(file: string, pattern: RegExp, root: string): string[] {
  try {
    const text = readFileSync(join(root, file), 'utf8');
    return Array.from(text.matchAll(pattern), (match) => match[1]!);
  } catch {
    return []; // no such file in a container: nothing is known of it
  }
}
