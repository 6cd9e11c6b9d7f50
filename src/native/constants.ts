/**
 * Numbers of the kernel's user interface that Node does not export. ioctl numbers, termios bits and
 * `struct termios2` are those of asm-generic, which x86-64 and arm64 share; what differs between
 * the two is in `forArchitecture`. Source: include/uapi/asm-generic/{ioctls,termbits,socket}.h.
 */
export const IOCTL = {
  TCFLSH: 0x540b,
  TIOCEXCL: 0x540c,
  TIOCNXCL: 0x540d,
  TIOCOUTQ: 0x5411,
  TIOCSWINSZ: 0x5414,
  TIOCMGET: 0x5415,
  TIOCMBIS: 0x5416,
  TIOCMBIC: 0x5417,
  TIOCINQ: 0x541b,
  TIOCGSERIAL: 0x541e,
  TIOCSSERIAL: 0x541f,
  TIOCSBRK: 0x5427,
  TIOCCBRK: 0x5428,
  TIOCSRS485: 0x542f,
  TIOCGICOUNT: 0x545d,
  /** _IOR('T', 0x2a, struct termios2), _IOW('T', 0x2b, struct termios2): at once, no drain. */
  TCGETS2: 0x802c542a,
  TCSETS2: 0x402c542b,
  /** _IOW('T', 0x2c, struct termios2): once the output is out, however long that takes. */
  TCSETSW2: 0x402c542c,
  /** _IOR('T', 0x30, unsigned int), _IOW('T', 0x31, int). */
  TIOCGPTN: 0x80045430,
  TIOCSPTLCK: 0x40045431,
} as const;

/** Argument of TCFLSH, by queue. */
export const FLUSH = { input: 0, output: 1, both: 2 } as const;

/** Modem lines of TIOCMGET, TIOCMBIS and TIOCMBIC (TIOCM_*). */
export const MODEM = {
  DTR: 0x002,
  RTS: 0x004,
  CTS: 0x020,
  DCD: 0x040,
  RI: 0x080,
  DSR: 0x100,
} as const;

/** Where the fields of `struct termios2` lie, in bytes. */
export const TERMIOS2 = {
  bytes: 44,
  iflag: 0,
  oflag: 4,
  cflag: 8,
  lflag: 12,
  cc: 17,
  ispeed: 36,
  ospeed: 40,
} as const;

/** Indexes into `c_cc`. */
export const CC = { VTIME: 5, VMIN: 6 } as const;

export const IFLAG = {
  IGNBRK: 0x1,
  BRKINT: 0x2,
  IGNPAR: 0x4,
  PARMRK: 0x8,
  INPCK: 0x10,
  ISTRIP: 0x20,
  IXON: 0x400,
  IXOFF: 0x1000,
} as const;

export const CFLAG = {
  CBAUD: 0x100f,
  /** The speed is in `c_ospeed`, any number. */
  BOTHER: 0x1000,
  CSIZE: 0x30,
  CSTOPB: 0x40,
  CREAD: 0x80,
  PARENB: 0x100,
  PARODD: 0x200,
  HUPCL: 0x400,
  CLOCAL: 0x800,
  CIBAUD: 0x100f0000,
  /** With PARENB: the parity bit is always 1 (with PARODD) or 0. */
  CMSPAR: 0x40000000,
  CRTSCTS: 0x80000000,
} as const;

/** CS5 to CS8. */
export const CHARACTER_SIZE: Readonly<Record<number, number>> = { 5: 0, 6: 0x10, 7: 0x20, 8: 0x30 };

/**
 * Where the fields of `struct serial_icounter_struct` lie, in bytes (linux/serial.h); each an int.
 * `framing`: its `frame`; `ri`: its `rng`; `break`: its `brk`.
 */
export const ICOUNTER = {
  bytes: 80,
  cts: 0,
  dsr: 4,
  ri: 8,
  dcd: 12,
  framing: 24,
  overrun: 28,
  parity: 32,
  break: 36,
  bufferOverrun: 40,
} as const;

/** `struct serial_struct` of a 64-bit system (linux/serial.h, linux/tty_flags.h). */
export const SERIAL = { bytes: 72, flags: 16, ASYNC_LOW_LATENCY: 0x2000 } as const;

/** `struct serial_rs485` (linux/serial.h). */
export const RS485 = {
  bytes: 32,
  flags: 0,
  delayBefore: 4,
  delayAfter: 8,
  ENABLED: 0x01,
  RTS_ON_SEND: 0x02,
  RTS_AFTER_SEND: 0x04,
  RX_DURING_TX: 0x10,
} as const;

export const SOCKET = {
  AF_UNIX: 1,
  SOCK_DGRAM: 2,
  SOCK_CLOEXEC: 0x80000,
  SOL_SOCKET: 1,
  SO_PEERCRED: 17,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  /** sizeof(sockaddr_un.sun_path). */
  pathBytesMax: 108,
} as const;

export const MMAP = { PROT_READ: 1, PROT_WRITE: 2, MAP_SHARED: 1 } as const;

/** fcntl(2). */
export const F_DUPFD_CLOEXEC = 1030;

/** Events of poll(2), and the size of `struct pollfd`. */
export const POLL = { IN: 0x1, HUP: 0x10, entryBytes: 8 } as const;

export const LOCK = { EX: 2, NB: 4 } as const;

export interface ArchitectureConstants {
  /** System call number of gettid(2): older C libraries have no function for it. */
  SYS_gettid: number;
}

const ARCHITECTURES: Readonly<Record<string, ArchitectureConstants>> = {
  x64: { SYS_gettid: 186 },
  arm64: { SYS_gettid: 178 },
};

/** null on an architecture whose numbers nobody checked. */
export function forArchitecture(architecture: string): ArchitectureConstants | null {
  return ARCHITECTURES[architecture] ?? null;
}
