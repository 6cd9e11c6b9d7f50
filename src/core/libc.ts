import type { SignalStates } from './line-settings.ts';
import type { Rs485Settings } from './settings.ts';

export interface SetLineHow {
  /**
   * INPCK and PARMRK: BREAK comes as ff 00 00, a byte with a parity or framing error as ff 00 and the
   * byte, and a true ff as ff ff (termios(3)).
   */
  marksErrors?: boolean;
  /** TCSETSW2: when what was written is out of the UART. Waits for ever while the output is stopped. */
  afterOutput?: boolean;
}

/** `struct serial_icounter_struct`: changes of the inputs, and errors. */
export interface LineCounters {
  cts: number;
  dsr: number;
  dcd: number;
  ri: number;
  framing: number;
  parity: number;
  break: number;
  /** Bytes the UART lost. */
  overrun: number;
  /** Bytes the kernel had no room for. */
  bufferOverrun: number;
}

/**
 * The few C library calls Node has no word for. native/libc.ts makes them with koffi; a test hands
 * in a fake. All are quick and synchronous but those that say otherwise.
 */
export interface Libc {
  /** Maps `bytes` of a file, shared and writable. Pre-allocate the file: a page that tmpfs cannot give is a SIGBUS. */
  mapShared(fd: number, bytes: number): Buffer;
  /** SO_PEERCRED of a connected unix socket (unix(7)). */
  peerCredentials(fd: number): { pid: number; uid: number; gid: number };
  /** One datagram to a unix socket, `@` for the abstract name space: sd_notify(3). */
  sendDatagram(path: string, text: string): void;
  /** posix_openpt + grantpt + unlockpt: a new pty's master (O_NONBLOCK, O_CLOEXEC, O_NOCTTY) and the slave's path. */
  openPty(columns: number, rows: number): { masterFd: number; slavePath: string };
  setWindowSize(fd: number, columns: number, rows: number): void;
  /** Another descriptor of the same open file, O_CLOEXEC: fcntl(2) F_DUPFD_CLOEXEC. */
  duplicate(fd: number): number;
  /**
   * poll(2) without waiting, one call for all. A pty's master is hung up while no program has the
   * slave open; what the last one wrote can be read all the same.
   */
  poll(fds: readonly number[]): { isReadable: boolean; isHungUp: boolean }[];
  /** Bytes in the tty's input queue (TIOCINQ). */
  inputWaiting(fd: number): number;
  /** Bytes in the tty's output queue (TIOCOUTQ). */
  outputWaiting(fd: number): number;
  /** tcflush(3): 'input' TCIFLUSH, 'output' TCOFLUSH, 'both' TCIOFLUSH. */
  flush(fd: number, which: 'input' | 'output' | 'both'): void;
  /** cfmakeraw-like, CLOCAL|CREAD, no HUPCL, no echo: for ptys and after open. */
  makeRaw(fd: number): void;
  /**
   * TCSETS2 on an open tty (BOTHER for any baud), raw, without HUPCL; runs on a pool thread (USB
   * transfers take up to 5 s). @throws Error with errno name.
   */
  setLine(
    fd: number,
    line: { baud: number; dataBits: number; parity: string; stopBits: number },
    flow: string,
    how?: SetLineHow,
  ): Promise<void>;
  /** What the driver made of them (TCGETS2). */
  getLine(fd: number): { baud: number; dataBits: number; parity: string; stopBits: number };
  /** What of CRTSCTS and IXON is set (TCGETS2): `rtscts`, `xonxoff` or `none`. */
  getFlow(fd: number): string;
  /** Whether the tty puts marks into its input as `SetLineHow.marksErrors` asks for (TCGETS2). */
  marksErrors(fd: number): boolean;
  /** Clears HUPCL and nothing else, on a pool thread: a close that follows drops neither DTR nor RTS. */
  keepSignalsOnClose(fd: number): Promise<void>;
  /** TIOCEXCL (true), TIOCNXCL: nobody but root can open the tty any more. */
  setExclusive(fd: number, isExclusive: boolean): void;
  /**
   * What the driver counted since it began (TIOCGICOUNT), modulo 2^32; from memory, no transfer.
   * @throws Error ENOTTY, EINVAL where it counts nothing.
   */
  lineCounters(fd: number): LineCounters;
  /** ASYNC_LOW_LATENCY (TIOCGSERIAL, TIOCSSERIAL), on a pool thread. @throws Error ENOTTY. */
  setLowLatency(fd: number): Promise<void>;
  /**
   * TIOCSRS485, on a pool thread; returns what the driver made of it, null: RS-485 is off.
   * @throws Error ENOTTY, EINVAL where it has no RS-485.
   */
  setRs485(fd: number, rs485: Rs485Settings): Promise<Rs485Settings | null>;
  /** TIOCMBIS/TIOCMBIC of DTR and RTS, on a pool thread. */
  setSignals(fd: number, signals: { dtr?: boolean; rts?: boolean }): Promise<void>;
  /** TIOCSBRK (true) or TIOCCBRK (false), on a pool thread. */
  setBreak(fd: number, on: boolean): Promise<void>;
  /** TIOCMGET, on a pool thread. @throws Error ENOTTY where the driver has no modem lines. */
  getSignals(fd: number): Promise<Required<SignalStates>>;
  /** flock(fd, LOCK_EX | LOCK_NB): false when another process holds it. */
  lockExclusive(fd: number): boolean;
  /** The kernel's id of the calling thread, for os.setPriority. */
  threadId(): number;
}
