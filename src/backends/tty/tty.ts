import {
  close as closeFd,
  constants,
  fstatSync,
  open as openFd,
  realpathSync,
  statSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { LinuxBinding } from '@serialport/bindings-cpp';
import { Poller } from '@serialport/bindings-cpp/dist/poller.js';
import type { Backend, BackendOpener, BackendSink } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import type { Libc } from '../../core/libc.ts';
import { formatLineSettings } from '../../core/line-settings.ts';
import type { Flow, LineSettings } from '../../core/line-settings.ts';
import type { SignalStates } from '../../core/record.ts';
import type { PortSettings } from '../../core/settings.ts';
import { atMost } from '../deadline.ts';
import type { BackendServices, OpenerFactory } from '../services.ts';
import { startDescriptor } from './descriptor.ts';
import { explainHeld, explainOpenFailure, explainPath } from './explain.ts';
import { describeHolder, findLockHolder } from './holder.ts';
import { watchPath } from './watch-return.ts';

/** A serial device: a real UART, an adapter, anything with a tty driver. */
export const deviceOpener: OpenerFactory<'device'> = (settings, backend, services) =>
  ttyOpener('device', backend.path, backend.signals, settings.line, settings, services);

/** A pty that another program made (`xl console`, QEMU): a tty without a UART behind it. */
export const ptyOpener: OpenerFactory<'pty'> = (settings, backend, services) =>
  ttyOpener('pty', backend.path, {}, null, settings, services);

interface Signals {
  dtr?: boolean;
  rts?: boolean;
}

function ttyOpener(
  kind: 'device' | 'pty',
  path: string,
  signals: Signals,
  line: LineSettings | null,
  settings: PortSettings,
  services: BackendServices,
): BackendOpener {
  const journal = services.journal.child({ room: 'backends', port: settings.name });
  let wasLocked = false;

  async function open(sink: BackendSink): Promise<Backend> {
    const wrong = explainPath(path);
    if (wrong !== null) throw new Fault('PORT_OPEN_FAILED', wrong);
    // Opening sets the line before it learns of the lock: do not disturb its holder at each retry.
    const holder = wasLocked ? await findLockHolder(path) : null;
    if (holder !== null) {
      const held = `${path} is held by ${describeHolder(holder)}; one program at a time can have a line`;
      throw new Fault('PORT_OPEN_FAILED', held);
    }
    const isPty = isPtySlave(statSync(path).rdev);
    let opened: OpenedTty;
    try {
      opened = await (isPty && services.libc !== null
        ? openPtySlave(path, services.libc)
        : openDevice(path, settings, services.libc));
      wasLocked = false;
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const why = await explainOpenFailure(path, cause);
      wasLocked = why.includes(' is held by ');
      throw new Fault('PORT_OPEN_FAILED', why, cause);
    }
    if (signals.dtr !== undefined || signals.rts !== undefined) {
      await applySignals(opened.fd).catch((err: unknown) => {
        journal.warn({ err, path }, 'signals not set at open');
      });
    }
    return new Tty(path, isPty, opened, sink, settings, services);
  }

  async function applySignals(fd: number): Promise<void> {
    if (services.libc === null) throw new Error('needs the package koffi, which is not installed');
    await services.libc.setSignals(fd, signals);
  }

  return { kind, target: path, line, open, watchReturn: (returned) => watchPath(path, returned) };
}

export interface OpenedTty {
  fd: number;
  poller: Poller;
  /** Without koffi: throws away what waits in both directions. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** By the binding, which takes an exclusive flock; then what the binding has no word for. */
async function openDevice(
  path: string,
  { line, flow }: PortSettings,
  libc: Libc | null,
): Promise<OpenedTty> {
  const isPlain = line.parity !== 'mark' && line.parity !== 'space' && line.stopBits !== 1.5;
  if (!isPlain && libc === null) {
    throw new Fault(
      'PORT_OPEN_FAILED',
      `${path}: ${formatLineSettings(line)} needs the package koffi, which is not installed; run "npm install"`,
    );
  }
  const binding = await LinuxBinding.open({
    path,
    baudRate: line.baud,
    dataBits: line.dataBits,
    parity: line.parity === 'odd' || line.parity === 'even' ? line.parity : 'none',
    stopBits: line.stopBits === 2 ? 2 : 1,
    rtscts: flow === 'rtscts',
    xon: flow === 'xonxoff',
    xoff: flow === 'xonxoff',
    xany: false,
    hupcl: false,
    lock: true,
  });
  const close = (): Promise<void> => binding.close();
  const fd = binding.fd!;
  try {
    // Also clears HUPCL, so that later opens make no edge on DTR: boards reset on it.
    await libc?.setLine(fd, line, flow);
  } catch (error) {
    if (!isPtySlave(fstatSync(fd).rdev)) {
      await close();
      throw error;
    }
  }
  return { fd, poller: binding.poller, flush: () => binding.flush(), close };
}

/** Without the binding, whose open throws away what waits: a pty keeps what nobody has read yet. */
async function openPtySlave(path: string, libc: Libc): Promise<OpenedTty> {
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
  const fd = await promisify(openFd)(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
  const close = (): Promise<void> => promisify(closeFd)(fd);
  try {
    if (!libc.lockExclusive(fd)) {
      throw new Fault('PORT_OPEN_FAILED', await explainHeld(path, 'has it locked'));
    }
    libc.makeRaw(fd);
    return { fd, poller: new Poller(fd), flush: () => Promise.resolve(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Pty slaves: majors 136 to 143 (Documentation/admin-guide/devices.txt). */
function isPtySlave(rdev: number): boolean {
  const major = (rdev >>> 8) & 0xfff;
  return major >= 136 && major <= 143;
}

/** What the driver answers when it cannot: its error names. */
const UNSUPPORTED = new Set(['ENOTTY', 'EINVAL', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'ENOIOCTLCMD']);
/** A control transfer may hang; closing waits no longer than this for it, and for close(2). */
const CLOSE_STEP_MS = 450;

/** An open tty, of either kind. Owns its descriptor; one control operation at a time (USB adapters need it so). */
export class Tty implements Backend {
  readonly description: string;
  readonly #path: string;
  readonly #isPty: boolean;
  readonly #opened: OpenedTty;
  readonly #libc: Libc | null;
  readonly #openedRdev: number;
  readonly #descriptor: ReturnType<typeof startDescriptor>;
  readonly #closing = new AbortController();
  #controls: Promise<unknown> = Promise.resolve();
  #isGone = false;
  /** The line is held in BREAK by `setBreak`. */
  #isBreaking = false;

  constructor(
    path: string,
    isPty: boolean,
    opened: OpenedTty,
    sink: BackendSink,
    settings: PortSettings,
    services: BackendServices,
  ) {
    this.description = describePath(path);
    this.#path = path;
    this.#isPty = isPty;
    this.#opened = opened;
    this.#libc = services.libc;
    this.#openedRdev = fstatSync(opened.fd).rdev;
    this.#descriptor = startDescriptor({
      fd: opened.fd,
      poller: opened.poller,
      sink,
      sweep: services.sweep,
      libc: services.libc,
      isLowLatency: settings.latency === 'low',
      hungUp: (code) => {
        this.#isGone = true;
        sink.gone(this.#goneFault(code));
      },
    });
  }

  write(bytes: Uint8Array): number {
    return this.#descriptor.write(bytes);
  }

  setWatched(watched: boolean): void {
    this.#descriptor.setWatched(watched);
  }

  async setLine(line: LineSettings, flow: Flow): Promise<void> {
    const libc = this.#needUart('line settings');
    await this.#control(`be set to ${formatLineSettings(line)}`, () =>
      libc.setLine(this.#opened.fd, line, flow),
    );
    const is = libc.getLine(this.#opened.fd);
    const made = formatLineSettings({ ...is, baud: line.baud } as LineSettings);
    if (isNear(is.baud, line.baud) && made === formatLineSettings(line)) return;
    throw new Fault(
      'PORT_UNSUPPORTED',
      `${this.#path}: its driver cannot do ${formatLineSettings(line)}; the line is at ${formatLineSettings(is as LineSettings)} now`,
    );
  }

  async setSignals(signals: Signals): Promise<void> {
    const libc = this.#needUart('signals');
    await this.#control('set DTR or RTS', () => libc.setSignals(this.#opened.fd, signals));
  }

  async sendBreak(durationMs: number): Promise<void> {
    const libc = this.#needUart('BREAK');
    const { fd } = this.#opened;
    await this.#control('send BREAK', async () => {
      await libc.setBreak(fd, true);
      // A close does not wait, but the line is released first in any case.
      await sleep(durationMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      await libc.setBreak(fd, false);
    });
  }

  async setBreak(isOn: boolean): Promise<void> {
    const libc = this.#needUart('BREAK');
    await this.#control('send BREAK', async () => {
      await libc.setBreak(this.#opened.fd, isOn);
      this.#isBreaking = isOn;
    });
  }

  /**
   * What came in is read, not flushed: TCIFLUSH would drop bytes that are in no log and that nobody
   * counted. Afterwards the driver's queue is empty all the same.
   */
  purge(queue: 'rx' | 'tx' | 'both'): Promise<void> {
    if (queue !== 'rx') this.#discardOutput();
    if (queue !== 'tx') this.#descriptor.readAll();
    return Promise.resolve();
  }

  async signals(): Promise<SignalStates> {
    const libc = this.#libc;
    if (this.#isPty || libc === null) return {};
    try {
      return await this.#control('tell its signals', () => libc.getSignals(this.#opened.fd));
    } catch (error) {
      if (error instanceof Fault && error.code === 'PORT_UNSUPPORTED') return {};
      throw error;
    }
  }

  isAlive(): boolean {
    if (this.#isGone || this.#closing.signal.aborted) return false;
    try {
      this.#libc?.outputWaiting(this.#opened.fd); // EIO after a hang-up nobody told us of
      return statSync(this.#path).rdev === this.#openedRdev;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#descriptor.stop();
    this.#closing.abort();
    if (this.#libc === null) await atMost(CLOSE_STEP_MS, this.#opened.flush());
    this.#discardOutput();
    await atMost(
      CLOSE_STEP_MS,
      this.#controls.then(() => this.#releaseBreak()),
    );
    // With output waiting, close(2) of a stuck line takes up to 30 s (closing_wait, setserial(8)).
    this.#discardOutput();
    await atMost(CLOSE_STEP_MS, this.#opened.close());
  }

  async #releaseBreak(): Promise<void> {
    if (this.#isBreaking) await this.#libc?.setBreak(this.#opened.fd, false);
  }

  #discardOutput(): void {
    try {
      this.#libc?.flush(this.#opened.fd, 'output');
    } catch {
      // Hung up: nothing waits there any more.
    }
  }

  /** @throws Fault PORT_UNSUPPORTED where nothing stands behind `what`. */
  #needUart(what: string): Libc {
    if (this.#isPty) {
      throw new Fault('PORT_UNSUPPORTED', `${this.#path} is a pty: it has no ${what}`);
    }
    if (this.#libc !== null) return this.#libc;
    throw new Fault(
      'PORT_UNSUPPORTED',
      `${this.#path}: ${what} on an open line needs the package koffi, which is not installed`,
    );
  }

  async #control<Result>(what: string, operation: () => Promise<Result>): Promise<Result> {
    const run = this.#controls.then(() => {
      if (this.#isGone || this.#closing.signal.aborted) throw this.#goneFault(null);
      return operation();
    });
    this.#controls = run.catch(() => undefined);
    try {
      return await run;
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code === undefined || !UNSUPPORTED.has(code))
        throw this.#goneFault(code ?? message, cause);
      throw new Fault(
        'PORT_UNSUPPORTED',
        `${this.#path}: its driver cannot ${what} (${code})`,
        cause,
      );
    }
  }

  #goneFault(code: string | null, cause?: unknown): Fault {
    const why = this.#isPty
      ? 'the other end of the pty closed'
      : 'the device went away (unplugged, or its driver hung up)';
    return new Fault(
      'PORT_GONE',
      `${this.#path}: ${why}${code === null ? '' : ` (${code})`}`,
      cause,
    );
  }
}

/** `/dev/ttyUSB0 (/dev/serial/by-id/...)`: the device as the kernel names it, then as configured. */
function describePath(path: string): string {
  try {
    const device = realpathSync(path);
    return device === path ? path : `${device} (${path})`;
  } catch {
    return path;
  }
}

/** A UART divides its clock by whole numbers: 2 % off is what the other side still reads. */
function isNear(baud: number, wanted: number): boolean {
  return Math.abs(baud - wanted) <= wanted * 0.02;
}
