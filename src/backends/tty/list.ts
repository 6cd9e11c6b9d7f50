import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';

export interface SerialDevice {
  /** The most stable path there is: by-id, else by-path, else the device itself. */
  path: string;
  /** `/dev/ttyUSB0` */
  device: string;
}

/**
 * Serial ports of this machine with something behind them: USB adapters, and those ttyS that have a
 * UART (`/sys/class/tty/ttySN/type` is not 0, PORT_UNKNOWN in linux/serial_core.h; Linux makes a
 * ttyS for every port that might be there).
 */
export function listSerialDevices(root = '/'): SerialDevice[] {
  const devices = entries(join(root, 'sys/class/tty'))
    .filter((name) => /^tty(USB|ACM|AMA|S)\d+$/.test(name) && hasUart(root, name))
    .map((name) => join(root, 'dev', name));
  const stable = new Map<string, string>();
  for (const directory of ['dev/serial/by-path', 'dev/serial/by-id']) {
    for (const name of entries(join(root, directory))) {
      const path = join(root, directory, name);
      stable.set(realpathSync(path), path);
    }
  }
  return devices.map((device) => ({ path: stable.get(device) ?? device, device }));
}

function hasUart(root: string, name: string): boolean {
  if (!name.startsWith('ttyS')) return true;
  try {
    return readFileSync(join(root, 'sys/class/tty', name, 'type'), 'utf8').trim() !== '0';
  } catch {
    return false;
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}
