import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { makeRdev } from '../../src/backends/tty/sysfs.ts';

export interface FakeAdapter {
  /** `ttyUSB0` */
  name: string;
  usbPath: string;
  vendor?: string;
  product?: string;
  serial?: string | null;
  model?: string;
  interface?: number;
  /** Of usb-serial drivers; null: as cdc_acm, the tty is a child of the interface. */
  port?: number | null;
  driver?: string;
  latencyTimer?: number;
}

/** A made-up machine: /dev, /sys, /proc and /run as Linux lays them out, below a folder of its own. */
export class FakeMachine {
  readonly root = mkdtempSync(join(tmpdir(), 'fairlead-machine-'));

  constructor() {
    for (const directory of ['dev', 'sys/class/tty', 'sys/dev/char', 'proc', 'etc']) {
      mkdirSync(join(this.root, directory), { recursive: true });
    }
  }

  /** Plugs it in, and makes the links that udev makes. */
  plug(adapter: FakeAdapter): number {
    const { name, usbPath, vendor = '0403', product = '6001', serial = 'A1', port = 0 } = adapter;
    const { model = 'FT232R USB UART', driver = 'ftdi_sio', latencyTimer } = adapter;
    const number = (adapter.interface ?? 0).toString(16).padStart(2, '0');
    const usb = `sys/devices/pci0000:00/0000:00:04.0/usb1/${usbPath}`;
    const place = `1.${adapter.interface ?? 0}`;
    const face = `${usb}/${usbPath}:${place}`;
    const device = port === null ? face : `${face}/${name}`;
    this.file(`${usb}/idVendor`, vendor);
    this.file(`${usb}/idProduct`, product);
    this.file(`${usb}/product`, model);
    if (serial !== null) this.file(`${usb}/serial`, serial);
    this.file(`${face}/bInterfaceNumber`, number);
    if (port !== null) this.file(`${device}/port_number`, String(port));
    if (latencyTimer !== undefined) this.file(`${device}/latency_timer`, String(latencyTimer));
    const rdev = this.#tty(name, device, driver);
    const end = port === null ? '' : `-port${port}`;
    const id = [vendor, model.replaceAll(' ', '_'), ...(serial === null ? [] : [serial])].join('_');
    this.link(`dev/serial/by-id/usb-${id}-if${number}${end}`, `dev/${name}`);
    const at = usbPath.replace(/^\d+-/, '');
    this.link(`dev/serial/by-path/pci-0000:00:04.0-usb-0:${at}:${place}${end}`, `dev/${name}`);
    return rdev;
  }

  /** What the kernel does when it is pulled; udev's links stay until `tidy`. */
  pull({ name, usbPath }: Pick<FakeAdapter, 'name' | 'usbPath'>): void {
    const { major, minor } = numberOf(name);
    for (const path of [
      `dev/${name}`,
      `sys/class/tty/${name}`,
      `sys/dev/char/${major}:${minor}`,
      `sys/devices/pci0000:00/0000:00:04.0/usb1/${usbPath}`,
    ]) {
      rmSync(join(this.root, path), { recursive: true, force: true });
    }
  }

  /** udev takes away /dev/serial with its last link. */
  tidy(): void {
    rmSync(join(this.root, 'dev/serial'), { recursive: true, force: true });
  }

  /** A ttyS; `hasUart` false: Linux made it for a port that is not there. */
  uart(name: string, hasUart = true): number {
    const device = `sys/devices/platform/serial8250/${name}`;
    const rdev = this.#tty(name, device, 'serial8250');
    this.file(`sys/class/tty/${name}/type`, hasUart ? '4' : '0');
    return rdev;
  }

  process(pid: number, name: string, files: readonly string[] = []): void {
    this.file(`proc/${pid}/comm`, `${name}\n`);
    mkdirSync(join(this.root, `proc/${pid}/fd`), { recursive: true });
    files.forEach((file, fd) => symlinkSync(file, join(this.root, `proc/${pid}/fd/${fd}`)));
  }

  file(path: string, text: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
  }

  /** Relative, as udev and sysfs have them. */
  link(path: string, target: string): void {
    const at = join(this.root, path);
    mkdirSync(dirname(at), { recursive: true });
    rmSync(at, { force: true });
    symlinkSync(relative(dirname(at), join(this.root, target)), at);
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  #tty(name: string, device: string, driver: string): number {
    const { major, minor } = numberOf(name);
    const tty = `${device}/tty/${name}`;
    this.file(`${tty}/dev`, `${major}:${minor}\n`);
    this.link(`${tty}/device`, device);
    this.link(`${tty}/subsystem`, 'sys/class/tty');
    mkdirSync(join(this.root, 'sys/bus/drivers', driver), { recursive: true });
    this.link(`${device}/driver`, `sys/bus/drivers/${driver}`);
    this.link(`sys/class/tty/${name}`, tty);
    this.link(`sys/dev/char/${major}:${minor}`, tty);
    this.file(`dev/${name}`, '');
    return makeRdev(major, minor);
  }
}

/** As Documentation/admin-guide/devices.txt has them. */
function numberOf(name: string): { major: number; minor: number } {
  const [, kind, number] = /^tty([A-Z]+)(\d+)$/.exec(name)!;
  const major = { USB: 188, ACM: 166, S: 4 }[kind!] ?? 204;
  return { major, minor: Number(number) + (kind === 'S' ? 64 : 0) };
}
