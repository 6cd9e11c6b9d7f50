import { readFileSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
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

/**
 * Every tty that has a device; the UARTs nobody is behind too, as `hasUart` false. What is asked of one
 * is read when it is asked: of all of a rack's adapters that is a thousand files.
 */
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
  const tty = join(root, CLASS, name);
  let place: string;
  try {
    place = join(root, CLASS, readlinkSync(tty));
  } catch {
    return null;
  }
  // .../1-1.2:1.0/ttyUSB0/tty/ttyUSB0, of which what comes before /tty/ is the device
  const device = dirname(dirname(place));
  if (basename(dirname(place)) !== 'tty' || basename(device) === 'virtual') return null;
  return {
    name,
    device: `/dev/${name}`,
    get rdev() {
      const number = /^(\d+):(\d+)$/.exec(attribute(tty, 'dev') ?? '');
      return number === null ? null : makeRdev(Number(number[1]), Number(number[2]));
    },
    get driver() {
      return driverOf(device);
    },
    get hasUart() {
      return attribute(tty, 'type') !== PORT_UNKNOWN;
    },
    usb: usbOf(device),
  };
}

/** The tty that has this device number now; null: the kernel knows none, as for ptys. */
export function ttyNumbered(rdev: number, root = '/'): TtyFacts | null {
  const { major, minor } = splitRdev(rdev);
  try {
    const place = readlinkSync(join(root, 'sys/dev/char', `${major}:${minor}`));
    return basename(dirname(place)) === 'tty' ? ttyNamed(basename(place), root) : null;
  } catch {
    return null;
  }
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

/** Of the device or, where it has none itself (a usb-serial port has), of what it is part of. */
function driverOf(device: string): string | null {
  for (let directory = device; basename(directory) !== 'devices'; directory = dirname(directory)) {
    if (directory === dirname(directory)) return null;
    try {
      const driver = basename(readlinkSync(join(directory, 'driver')));
      if (!SERIAL_BASE.includes(driver)) return driver;
    } catch {
      continue;
    }
  }
  return null;
}

/** The names of the directories tell where it is plugged; null: not USB. */
function usbOf(device: string): UsbFacts | null {
  const found = /^(.*\/(\d+-[\d.]+))\/\2:(\d+\.\d+)(?=\/|$)/.exec(device);
  if (found === null) return null;
  const [face, usb, usbPath, place] = found as unknown as [string, string, string, string];
  return {
    usbPath,
    place,
    get vendor() {
      return (attribute(usb, 'idVendor') ?? '').toLowerCase();
    },
    get product() {
      return (attribute(usb, 'idProduct') ?? '').toLowerCase();
    },
    get serial() {
      return attribute(usb, 'serial');
    },
    get maker() {
      return attribute(usb, 'manufacturer');
    },
    get model() {
      return attribute(usb, 'product');
    },
    get interface() {
      return Number.parseInt(attribute(face, 'bInterfaceNumber') ?? '0', 16);
    },
    get port() {
      const port = attribute(device, 'port_number');
      return port === null ? null : Number(port);
    },
  };
}

/** ttyS2 before ttyS10. */
const byNumber = new Intl.Collator('en', { numeric: true }).compare;
