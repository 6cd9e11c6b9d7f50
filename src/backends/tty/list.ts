import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { listTtys, real } from './sysfs.ts';
import type { TtyFacts } from './sysfs.ts';

export interface SerialDevice extends TtyFacts {
  /** The most stable path there is: by-id, else by-path, else the device itself. */
  path: string;
  /** Of USB: in which a name made from what it says of itself is no name, as another says the same. */
  sharesIdentity: boolean;
}

/**
 * Serial lines of this machine with something behind them: USB adapters, UARTs of every kind, but no
 * ttyS without one (Linux makes a ttyS for every port that might be there).
 */
export function listSerialDevices(root = '/'): SerialDevice[] {
  const ttys = listTtys(root).filter(({ hasUart }) => hasUart);
  const byId = linksOf('/dev/serial/by-id', root);
  const byPath = linksOf('/dev/serial/by-path', root);
  return ttys.map((facts) => {
    const sharesIdentity = ttys.some((other) => other !== facts && areAlike(facts, other));
    const isKnown = facts.usb !== null && facts.usb.serial !== null && !sharesIdentity;
    const { device } = facts;
    const stable = isKnown
      ? (byId.get(device) ?? byPath.get(device))
      : (byPath.get(device) ?? (sharesIdentity ? undefined : byId.get(device)));
    return { ...facts, path: stable ?? device, sharesIdentity };
  });
}

/** Two lines that udev would give one name: /dev/serial/by-id then points at whichever came last. */
function areAlike(a: TtyFacts, b: TtyFacts): boolean {
  if (a.usb === null || b.usb === null) return false;
  return ALIKE.every((key) => a.usb![key] === b.usb![key]);
}

const ALIKE = ['vendor', 'product', 'serial', 'maker', 'model', 'interface', 'port'] as const;

/** By device: the link in this directory that leads there. */
function linksOf(directory: string, root: string): Map<string, string> {
  const links = new Map<string, string>();
  let names: string[];
  try {
    names = readdirSync(join(root, directory)).sort();
  } catch {
    return links;
  }
  for (const name of names) {
    const path = `${directory}/${name}`;
    const device = real(path, root);
    // Of usb and usbv2, say, the first: udev makes both for one device.
    if (device !== null && !links.has(device)) links.set(device, path);
  }
  return links;
}
