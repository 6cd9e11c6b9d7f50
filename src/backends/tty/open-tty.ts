import { close, constants, fstatSync, open, statSync } from 'node:fs';
import { promisify } from 'node:util';
import { LinuxBinding } from '@serialport/bindings-cpp';
import { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import type { Backend, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import type { Libc } from '../../core/libc.ts';
import { formatLineSettings } from '../../core/line-settings.ts';
import type { PortSettings } from '../../core/settings.ts';
import { explainHeld, explainOpenFailure, explainPath } from './explain.ts';
import { describeHolder, findLockHolder } from './holder.ts';
import { Tty } from './tty.ts';
import type { OpenedTty, TtyServices } from './tty.ts';
import { refuseIfUucpLocked, takeUucpLock } from './uucp-lock.ts';
import type { UucpLock } from './uucp-lock.ts';

/**
 * Opens ttys of one port, at each call the one of this path: ptys, and without koffi all of them.
 * `isRight`: whether the tty that was opened, by its device number, is the one that is wanted, now and
 * as long as it is open; by default the one that the path leads to.
 */
export type TtyOpening = (
  path: string,
  sink: BackendSink,
  isRight?: (rdev: number) => boolean,
) => Promise<Backend>;

/** Everything it throws is a Fault PORT_OPEN_FAILED with cause and fix. */
export function makeTtyOpening(settings: PortSettings, services: TtyServices): TtyOpening {
  const { libc } = services;
  let wasLocked = false;

  return async (path, sink, isRight = (rdev) => isAt(path, rdev)) => {
    const wrong = explainPath(path);
    if (wrong !== null) throw new Fault('PORT_OPEN_FAILED', wrong);
    // The binding sets a line before it learns of the lock: do not disturb its holder at each retry.
    const holder = wasLocked ? await findLockHolder(path) : null;
    if (holder !== null) {
      const held = `${path} is held by ${describeHolder(holder)}; one program at a time can have a line`;
      throw new Fault('PORT_OPEN_FAILED', held);
    }
    let opened: OpenedTty;
    try {
      opened = await (libc === null ? openByBinding(path, settings) : openPtySlave(path, libc));
      wasLocked = false;
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const why = await explainOpenFailure(path, cause);
      wasLocked = why.includes(' is held by ');
      throw new Fault('PORT_OPEN_FAILED', why, cause);
    }
    const { rdev } = fstatSync(opened.fd);
    if (!isRight(rdev)) {
      await opened.close();
      throw anotherDevice(path);
    }
    return new Tty({ path, opened, sink, settings, services, isThere: () => isRight(rdev) });
  };
}

/** Between the look and the open, the name went to another device. */
export function anotherDevice(path: string): Fault {
  return new Fault(
    'PORT_OPEN_FAILED',
    `${path} became another device while it was opened; it was given back`,
  );
}

/** What the tty of this path is, as long as it is. */
function isAt(path: string, rdev: number): boolean {
  try {
    return statSync(path).rdev === rdev;
  } catch {
    return false;
  }
}

/** Pty slaves: majors 136 to 143 (Documentation/admin-guide/devices.txt). */
export function isPtySlave(rdev: number): boolean {
  const major = (rdev >>> 8) & 0xfff;
  return major >= 136 && major <= 143;
}

/** O_CLOEXEC is Node's own. On the pool: the open of a tty may take its time. */
export function openTtyFd(path: string): Promise<number> {
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
  return promisify(open)(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
}

export const closeTtyFd: (fd: number) => Promise<void> = promisify(close);

/** Without the binding, whose open throws away what waits: a pty keeps what nobody has read yet. */
async function openPtySlave(path: string, libc: Libc): Promise<OpenedTty> {
  if (!isPtySlave(statSync(path).rdev)) {
    throw new Fault('PORT_OPEN_FAILED', `${path} is not a pty; configure it as "device: ${path}"`);
  }
  const fd = await openTtyFd(path);
  try {
    if (!libc.lockExclusive(fd)) {
      throw new Fault('PORT_OPEN_FAILED', await explainHeld(path, 'has it locked'));
    }
    libc.makeRaw(fd);
    const poller = new Poller(fd);
    return { fd, poller, isPty: true, uart: null, close: () => closeTtyFd(fd) };
  } catch (error) {
    await closeTtyFd(fd);
    throw error;
  }
}

/** For lines without koffi. The binding takes an exclusive flock, and touches no signal. */
async function openByBinding(path: string, { line, flow }: PortSettings): Promise<OpenedTty> {
  if (line.parity === 'mark' || line.parity === 'space' || line.stopBits === 1.5) {
    throw new Fault(
      'PORT_OPEN_FAILED',
      `${path}: ${formatLineSettings(line)} needs the package koffi, which is not installed; run "npm install"`,
    );
  }
  const isPty = isPtySlave(statSync(path).rdev);
  if (!isPty) refuseIfUucpLocked(path);
  const binding = await LinuxBinding.open({
    path,
    baudRate: line.baud,
    dataBits: line.dataBits,
    parity: line.parity,
    stopBits: line.stopBits,
    rtscts: flow === 'rtscts',
    xon: flow === 'xonxoff',
    xoff: flow === 'xonxoff',
    xany: false,
    hupcl: false,
    lock: true,
  });
  let lock: UucpLock | null = null;
  try {
    if (!isPty) lock = takeUucpLock(path);
  } catch (error) {
    await binding.close();
    throw error;
  }
  return {
    fd: binding.fd!,
    poller: binding.poller,
    isPty,
    uart: null,
    flush: () => binding.flush(),
    close() {
      lock?.release();
      return binding.close();
    },
  };
}
