import type { SignalStates } from './record.ts';

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
  /** TCSETS2 on an open tty (BOTHER for any baud); runs on a pool thread (USB transfers take up to 5 s). @throws Error with errno name. */
  setLine(
    fd: number,
    line: { baud: number; dataBits: number; parity: string; stopBits: number },
    flow: string,
  ): Promise<void>;
  /** What the driver made of them (TCGETS2). */
  getLine(fd: number): { baud: number; dataBits: number; parity: string; stopBits: number };
  /** What of CRTSCTS and IXON is set (TCGETS2): `rtscts`, `xonxoff` or `none`. */
  getFlow(fd: number): string;
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
