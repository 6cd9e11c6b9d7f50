import { fstatSync, statSync } from 'node:fs';
import { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import type { Backend, BackendSink } from '../../core/backend.ts';
import type { Journal } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Libc } from '../../core/libc.ts';
import { formatLineSettings } from '../../core/line-settings.ts';
import type { SignalStates } from '../../core/line-settings.ts';
import type { DeviceSettings, PortSettings, Rs485Settings } from '../../core/settings.ts';
import type { OpenerFactory } from '../services.ts';
import { explainHeld, explainOpenFailure, explainPath } from './explain.ts';
import { identityOf } from './identity.ts';
import type { DeviceIdentity } from './identity.ts';
import { anotherDevice, closeTtyFd, isPtySlave, makeTtyOpening, openTtyFd } from './open-tty.ts';
import { describeMade, Tty } from './tty.ts';
import type { OpenedTty } from './tty.ts';
import { refuseIfUucpLocked, takeUucpLock } from './uucp-lock.ts';
import type { UucpLock } from './uucp-lock.ts';

/**
 * A serial device: a real UART, an adapter, anything with a tty driver, found by its identity under
 * whatever name it has. A pty given as a device is one all the same.
 */
export const deviceOpener: OpenerFactory<'device'> = (settings, backend, services) => {
  const { libc } = services;
  const journal = services.journal.child({ room: 'backends', port: settings.name });
  const identity = identityOf(backend);
  const openPlain = makeTtyOpening(settings, services);

  async function open(sink: BackendSink): Promise<Backend> {
    const path = locate(identity);
    const isPty = isPtySlave(statSync(path).rdev);
    if (libc === null || isPty) return openPlain(path, sink, identity.check);
    const opened = await openUart({ path, settings, backend, identity, libc, journal });
    const { rdev } = fstatSync(opened.fd);
    return new Tty({
      path,
      opened,
      sink,
      settings,
      services,
      isThere: () => identity.check(rdev),
    });
  }

  return {
    kind: 'device',
    target: identity.target,
    line: settings.line,
    open,
    watchReturn: (returned) => identity.watch(returned),
  };
};

/** @throws Fault PORT_OPEN_FAILED when it is not there, or no tty. */
function locate(identity: DeviceIdentity): string {
  const path = identity.resolve();
  const { target } = identity;
  const isByPath = target.startsWith('/');
  const wrong =
    path === null && !isByPath
      ? `no device here is ${target}; is the adapter plugged in?`
      : explainPath(path ?? target);
  if (wrong !== null) throw new Fault('PORT_OPEN_FAILED', wrong);
  return path ?? target; // it came back this very moment
}

export interface UartRequest {
  path: string;
  settings: PortSettings;
  backend: DeviceSettings;
  identity: DeviceIdentity;
  libc: Libc;
  journal: Journal;
  /** Where /var/lock and /proc are, for tests. */
  root?: string;
}

/**
 * Without the binding, whose open sets the line before it asks for the lock, and throws away what
 * waits. Nothing of the line is touched before it is ours, and no signal beyond what Linux does at the
 * first open (it raises DTR and RTS) and what `signals:` asks for; no close drops them (HUPCL).
 * @throws Fault PORT_OPEN_FAILED.
 */
export async function openUart(request: UartRequest): Promise<OpenedTty> {
  const { path, libc } = request;
  let fd: number | null = null;
  let lock: UucpLock | null = null;
  let isOurs = false;

  async function close(): Promise<void> {
    lock?.release();
    try {
      if (isOurs) libc.setExclusive(fd!, false);
    } catch {
      // Hung up: there is nothing left that could be exclusive.
    }
    await closeTtyFd(fd!);
  }

  try {
    refuseIfUucpLocked(path, request.root);
    fd = await openTtyFd(path);
    if (!libc.lockExclusive(fd)) {
      throw new Fault('PORT_OPEN_FAILED', await explainHeld(path, 'has it locked'));
    }
    libc.setExclusive(fd, true); // ENOTTY: not a tty at all
    isOurs = true;
    if (!request.identity.check(fstatSync(fd).rdev)) throw anotherDevice(path);
    lock = takeUucpLock(path, request.root);
    const signals = await setUp(fd, request);
    const marksErrors = libc.marksErrors(fd);
    const { line } = request.settings;
    const uart = { line, marksErrors, signals };
    return { fd, poller: new Poller(fd), isPty: false, uart, close };
  } catch (cause) {
    if (fd !== null) {
      // Held by somebody else, it is not closed for the last time and keeps its signals anyhow.
      if (isOurs) await libc.keepSignalsOnClose(fd).catch(() => undefined);
      await close();
    }
    if (cause instanceof Fault) throw cause;
    throw new Fault('PORT_OPEN_FAILED', await explainOpenFailure(path, cause), cause);
  }
}

/** Everything the configuration says of the line. Returns its signals as they are then. */
async function setUp(fd: number, request: UartRequest): Promise<SignalStates> {
  const { path, settings, backend, libc, journal } = request;
  const { line, flow } = settings;
  if (backend.signals.dtr !== undefined || backend.signals.rts !== undefined) {
    await libc.setSignals(fd, backend.signals).catch((err: unknown) => {
      journal.warn({ err, path }, 'signals not set at open');
    });
  }
  await libc.setLine(fd, line, flow, { marksErrors: true });
  const made = describeMade(libc, fd, line, flow);
  if (made !== null) {
    throw new Fault(
      'PORT_OPEN_FAILED',
      `${path}: its driver cannot do ${formatLineSettings(line)} ${flow} and makes ${made} of it; configure a line it can do`,
    );
  }
  if (backend.rs485 !== null) await setRs485(fd, path, backend.rs485, libc);
  if (settings.latency === 'low') {
    await libc.setLowLatency(fd).catch((err: unknown) => {
      journal.info({ err, path }, 'driver has no low latency');
    });
  }
  try {
    return await libc.getSignals(fd);
  } catch (error) {
    // ENOTTY, EINVAL and the like: it has none. EIO: no UART answers behind this ttyS.
    if ((error as NodeJS.ErrnoException).code === 'EIO') throw error;
    return {};
  }
}

async function setRs485(
  fd: number,
  path: string,
  wanted: Rs485Settings,
  libc: Libc,
): Promise<void> {
  let made: Rs485Settings | null;
  try {
    made = await libc.setRs485(fd, wanted);
  } catch (cause) {
    const { code = 'failed' } = cause as NodeJS.ErrnoException;
    throw new Fault(
      'PORT_OPEN_FAILED',
      `${path}: its driver refuses RS-485 (${code}); remove "rs485:", or use an adapter that switches by itself`,
      cause,
    );
  }
  const unmet = (Object.keys(wanted) as (keyof Rs485Settings)[]).filter(
    (key) => made?.[key] !== wanted[key],
  );
  if (unmet.length === 0) return;
  const what =
    made === null
      ? 'RS-485'
      : `"rs485:" with ${unmet.map((key) => `${key}: ${wanted[key]}`).join(', ')}`;
  throw new Fault('PORT_OPEN_FAILED', `${path}: its driver cannot do ${what}`);
}
