import assert from 'node:assert';
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Fault } from '../../core/fault.ts';
import type { DeviceMatch, DeviceSettings } from '../../core/settings.ts';
import { listTtys, real, ttyNamed, ttyNumbered } from './sysfs.ts';
import type { TtyFacts, UsbFacts } from './sysfs.ts';
import { stateOf, watchDirectory, watchPath } from './watch-return.ts';

/** Which device a port means, under whatever name the kernel gives it today. */
export interface DeviceIdentity {
  /** For `ports`: the path as configured, or `usb 0403:6001 serial A1`. */
  readonly target: string;
  /**
   * Where it is now; null: it is not there.
   * @throws Fault PORT_OPEN_FAILED when two devices match: neither is taken.
   */
  resolve(): string | null;
  /**
   * Whether the device that was opened is the wanted one. `rdev`: of the open descriptor. Between
   * `resolve` and open the name may have gone to another device, so it is asked after open, of the
   * kernel and not of the links that udev has not taken away yet. A second device that matches does
   * not take the line from one that is open.
   */
  check(rdev: number): boolean;
  /** Calls `returned` at each sign that it may be back. Returns a stop. */
  watch(returned: () => void): () => void;
}

/** `root`: where /dev and /sys are, for tests. */
export function identityOf(settings: DeviceSettings, root = '/'): DeviceIdentity {
  if (settings.path !== null) return byPath(settings.path, root);
  assert(settings.match !== null, 'a device has a path or a match');
  return byMatch(settings.match, root);
}

/** Whether all that is said of the wanted device is so of this one. */
export function matches(match: DeviceMatch, { usb }: Pick<TtyFacts, 'usb'>): boolean {
  if (usb === null) return false;
  return (Object.keys(match) as (keyof DeviceMatch)[]).every(
    (key) => match[key] === undefined || match[key] === usb[key],
  );
}

/** `usb 0403:6001 serial A1 interface 0 at 1-1.2`: what a `match` says. */
export function describeMatch(match: DeviceMatch): string {
  const { vendor, product, serial } = match;
  const words = ['usb'];
  if (vendor !== undefined || product !== undefined) {
    words.push(`${vendor ?? '*'}:${product ?? '*'}`);
  }
  if (serial !== undefined) words.push(`serial ${serial}`);
  if (match.interface !== undefined) words.push(`interface ${match.interface}`);
  if (match.usbPath !== undefined) words.push(`at ${match.usbPath}`);
  return words.join(' ');
}

function byPath(path: string, root: string): DeviceIdentity {
  return {
    target: path,
    resolve: () => (existsSync(join(root, path)) ? path : null),
    check: checkOnce(
      () => join(root, path),
      (rdev) => {
        if (numberAt(path, root) !== rdev) return false;
        const facts = ttyNumbered(rdev, root);
        return facts === null || isNameOf(path, facts.usb);
      },
    ),
    watch: (returned) => watchPath(join(root, path), returned),
  };
}

function byMatch(match: DeviceMatch, root: string): DeviceIdentity {
  const target = describeMatch(match);
  const candidates = (): TtyFacts[] => listTtys(root).filter((facts) => matches(match, facts));
  function resolve(): string | null {
    const found = candidates();
    if (found.length > 1) throw new Fault('PORT_OPEN_FAILED', describeSeveral(target, found));
    const device = found[0]?.device;
    return device !== undefined && existsSync(join(root, device)) ? device : null;
  }
  return {
    target,
    resolve,
    check: checkOnce(
      (rdev) => join(root, ttyNumbered(rdev, root)?.device ?? '/dev'),
      (rdev) => {
        const facts = ttyNumbered(rdev, root);
        return facts !== null && matches(match, facts);
      },
    ),
    watch: (returned) =>
      watchDirectory({
        directory: join(root, 'dev'),
        concerns: (name) => existsSync(join(root, 'sys/class/tty', name)) || name.startsWith('tty'),
        current() {
          try {
            const device = resolve();
            return device === null ? null : join(root, device);
          } catch {
            return null; // two of them still
          }
        },
        returned,
      }),
  };
}

/**
 * Asks the kernel once for each node that appears: an open line is checked every 2 s, and what a node
 * stands for never changes.
 */
function checkOnce(
  nodeOf: (rdev: number) => string,
  isRight: (rdev: number) => boolean,
): (rdev: number) => boolean {
  let known: { rdev: number; state: string } | null = null;
  return (rdev) => {
    const state = stateOf(nodeOf(rdev));
    if (known !== null && known.rdev === rdev && known.state === state) return true;
    known = null;
    if (state === null || !isRight(rdev)) return false;
    known = { rdev, state };
    return true;
  };
}

/** Which devices match, and what to add so that one does. */
function describeSeveral(target: string, found: readonly TtyFacts[]): string {
  const shown = found.slice(0, 2);
  const [first, second] = shown.map(({ usb }) => usb!) as [UsbFacts, UsbFacts];
  const apart = APART.filter((key) => first[key] !== second[key]);
  const facts = shown.map(({ device, usb }) => {
    const words = apart.map((key) => `${key} ${usb![key] ?? 'none'}`);
    return words.length === 0 ? device : `${device} (${words.join(', ')})`;
  });
  const fix =
    apart.length === 0
      ? 'they are lines of one interface: name one by its path in /dev/serial/by-id or by-path'
      : `add ${apart.join(' or ')} to "match:", which tells them apart`;
  const many = found.length > 2 ? `, and ${found.length - 2} more` : '';
  return `${target} means ${facts.join(' and ')}${many}; none is taken; ${fix}`;
}

/** In the order in which they are best taken. */
const APART = ['serial', 'interface', 'usbPath', 'vendor', 'product'] as const;

/** The device number behind a path, by sysfs where the kernel knows the node, else by the node itself. */
function numberAt(path: string, root: string): number | null {
  const device = real(path, root);
  if (device === null) return null;
  const facts = dirname(device) === '/dev' ? ttyNamed(basename(device), root) : null;
  if (facts !== null) return facts.rdev;
  try {
    return statSync(join(root, device)).rdev;
  } catch {
    return null;
  }
}

/**
 * Whether udev would give a device this name (60-serial.rules): a link that points at a reused ttyUSB
 * number stays for a moment. Only names that udev makes say anything; any other is taken as it is.
 */
function isNameOf(path: string, usb: UsbFacts | null): boolean {
  const name = basename(path);
  if (/\/serial\/by-id\/usb-[^/]+$/.test(path)) {
    const end = /-if([0-9a-f]{2})(?:-port(\d+))?$/.exec(name);
    if (usb === null) return false;
    if (end === null) return true;
    if (Number.parseInt(end[1]!, 16) !== usb.interface) return false;
    if (end[2] !== undefined && usb.port !== null && Number(end[2]) !== usb.port) return false;
    // Loosely: udev replaces what it will not have in a name, and leaves out an odd serial number.
    const said = usb.serial !== null && !ODD_SERIAL.test(usb.serial) ? usb.serial : usb.model;
    return bare(name).includes(bare(said ?? usb.product));
  }
  const plug = /\/serial\/by-path\/[^/]*usb(?:v\d+)?-\d+:([\d.]+):([\d.]+?)(?:-port(\d+))?$/.exec(
    path,
  );
  if (plug === null) return true;
  if (usb === null || usb.place !== plug[2]) return false;
  if (plug[3] !== undefined && usb.port !== null && Number(plug[3]) !== usb.port) return false;
  return usb.usbPath.replace(/^\d+-/, '') === plug[1];
}

/** udev-builtin-usb_id.c takes no serial number with these in it. */
const ODD_SERIAL = /[\x00-\x1f\x80-\u{10ffff},]/u;

function bare(text: string): string {
  return `_${text.replace(/[^A-Za-z0-9]+/g, '_')}_`.replace(/_+/g, '_').toLowerCase();
}
