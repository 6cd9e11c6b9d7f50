import { existsSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { UsbIdentity } from '../../core/diagnosis.ts';

/** A tty with hardware behind it, as the kernel describes it in sysfs. Paths are as seen below `root`. */
export interface TtyFacts {
  /** `ttyUSB0` */
  name: string;
  /** `/dev/ttyUSB0` */
  device: string;
  /** As stat(2) gives it; null where the kernel says none. */
  rdev: number | null;
  /** `ftdi_sio`, `cdc_acm`, `serial`; null: none is bound. */
  driver: string | null;
  /** False: Linux made a ttyS for a port that might be there, and nothing is (PORT_UNKNOWN). */
  hasUart: boolean;
  usb: UsbFacts | null;
}

export interface UsbFacts extends UsbIdentity {
  /** Configuration and interface as in the kernel's name of the interface: `1.0` of `1-1.2:1.0`. */
  place: string;
  /** Of adapters with several lines on one interface; null: it has one (or no usb-serial driver). */
  port: number | null;
}

/** Every tty that has a device; the UARTs nobody is behind too, as `hasUart` false. */
export function listTtys(root = '/'): TtyFacts[] {
  let names: string[];
  try {
    names = readdirSync(join(root, CLASS)).sort(byNumber);
  } catch {
    return []; // no sysfs, as in some containers
  }
  return names.map((name) => ttyNamed(name, root)).filter((facts) => facts !== null);
}

/** null: no tty of that name, or it is virtual (a pty, a screen of the machine itself). */
export function ttyNamed(name: string, root = '/'): TtyFacts | null {
  const directory = join(root, CLASS, name);
  if (!existsSync(join(directory, 'device'))) return null;
  const number = /^(\d+):(\d+)$/.exec(attribute(directory, 'dev') ?? '');
  return {
    name,
    device: `/dev/${name}`,
    rdev: number === null ? null : makeRdev(Number(number[1]), Number(number[2])),
    driver: driverOf(join(directory, 'device'), root),
    hasUart: attribute(directory, 'type') !== PORT_UNKNOWN,
    usb: usbOf(join(directory, 'device'), root),
  };
}

/** The tty that has this device number now; null: the kernel knows none, as for ptys. */
export function ttyNumbered(rdev: number, root = '/'): TtyFacts | null {
  const { major, minor } = splitRdev(rdev);
  const path = real(join('/sys/dev/char', `${major}:${minor}`), root);
  return path === null || !/^tty$/.test(basename(dirname(path)))
    ? null
    : ttyNamed(basename(path), root);
}

/** `/dev/ttyUSB0` of any path that leads there; null: nothing is there. */
export function real(path: string, root = '/'): string | null {
  try {
    return `/${relative(realpathSync(root), realpathSync(join(root, path)))}`;
  } catch {
    return null;
  }
}

/** The content of a small file of sysfs without its line end; null: there is none, or it is empty. */
export function attribute(directory: string, name: string): string | null {
  try {
    return readFileSync(join(directory, name), 'utf8').trim() || null;
  } catch {
    return null;
  }
}

/** dev_t as stat(2) gives it: gnu_dev_makedev, the lower 32 bits. */
export function makeRdev(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

export function splitRdev(rdev: number): { major: number; minor: number } {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
}

const CLASS = 'sys/class/tty';
/** PORT_UNKNOWN of linux/serial_core.h. */
const PORT_UNKNOWN = '0';
/** Of the kernel's own layer between a UART and its tty, since Linux 6.5 (serial_base_bus.c). */
const SERIAL_BASE = ['port', 'ctrl'];

function driverOf(device: string, root: string): string | null {
  for (const directory of upFrom(device, root)) {
    try {
      const driver = basename(realpathSync(join(directory, 'driver')));
      if (!SERIAL_BASE.includes(driver)) return driver;
    } catch {
      continue; // bound further up, as a usb-serial port is by its interface
    }
  }
  return null;
}

function usbOf(device: string, root: string): UsbFacts | null {
  const way = upFrom(device, root);
  const at = way.findIndex((directory) => existsSync(join(directory, 'bInterfaceNumber')));
  const usb = way.slice(at + 1).find((directory) => existsSync(join(directory, 'idVendor')));
  if (at < 0 || usb === undefined) return null;
  const port = attribute(way[0]!, 'port_number');
  const usbPath = basename(usb);
  return {
    vendor: (attribute(usb, 'idVendor') ?? '').toLowerCase(),
    product: (attribute(usb, 'idProduct') ?? '').toLowerCase(),
    serial: attribute(usb, 'serial'),
    maker: attribute(usb, 'manufacturer'),
    model: attribute(usb, 'product'),
    interface: Number.parseInt(attribute(way[at]!, 'bInterfaceNumber') ?? '0', 16),
    usbPath,
    place: basename(way[at]!).slice(usbPath.length + 1),
    port: port === null ? null : Number(port),
  };
}

/** A device's directory and those above it, as far as sysfs has devices. */
function upFrom(device: string, root: string): string[] {
  const way: string[] = [];
  let directory: string;
  let top: string;
  try {
    directory = realpathSync(device);
    top = realpathSync(join(root, 'sys'));
  } catch {
    return way; // unplugged meanwhile
  }
  for (; directory.startsWith(`${top}/`); directory = dirname(directory)) way.push(directory);
  return way;
}

/** ttyS2 before ttyS10. */
function byNumber(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
