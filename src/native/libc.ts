import { closeSync, constants as fsConstants, openSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import type * as KoffiModule from 'koffi';
import type { Libc, LineCounters } from '../core/libc.ts';
import type { Rs485Settings } from '../core/settings.ts';
import {
  CC,
  CFLAG,
  CHARACTER_SIZE,
  F_DUPFD_CLOEXEC,
  FLUSH,
  ICOUNTER,
  IFLAG,
  IOCTL,
  LOCK,
  MMAP,
  MODEM,
  POLL,
  RS485,
  SERIAL,
  SOCKET,
  TERMIOS2,
  forArchitecture,
} from './constants.ts';
import type { ArchitectureConstants } from './constants.ts';

type Koffi = typeof KoffiModule;

/**
 * The C library through koffi; null where koffi has no binary (it is an optional package), or on a
 * system whose numbers are not known here. Everything that needs it has a plainer way without.
 */
export async function loadLibc(): Promise<Libc | null> {
  const numbers = process.platform === 'linux' ? forArchitecture(process.arch) : null;
  if (numbers === null) return null;
  let koffi: Koffi;
  try {
    koffi = (await import('koffi')).default as unknown as Koffi;
  } catch {
    return null;
  }
  return createLibc(koffi, numbers);
}

/** Binds the functions once; safe in any thread. */
export function createLibc(koffi: Koffi, numbers: ArchitectureConstants): Libc {
  const library = koffi.load(null);
  // Variadic in C. Linux passes an integer or pointer there as it does any other on both architectures.
  const ioctlPointer = library.func('int ioctl(int fd, unsigned long request, void *argument)');
  const ioctlNumber = library.func('int ioctl(int fd, unsigned long request, long argument)');
  const mmap = library.func(
    'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
  );
  const socket = library.func('int socket(int domain, int type, int protocol)');
  const sendto = library.func(
    'long sendto(int fd, void *bytes, size_t length, int flags, void *address, uint32_t addressLength)',
  );
  const getsockopt = library.func(
    'int getsockopt(int fd, int level, int name, void *value, void *length)',
  );
  const fcntlNumber = library.func('int fcntl(int fd, int command, long argument)');
  const poll = library.func('int poll(void *entries, unsigned long count, int timeoutMs)');
  const flock = library.func('int flock(int fd, int operation)');
  const syscall = library.func('long syscall(long number)');

  // One buffer serves all synchronous calls: none of them re-enters.
  const scratch = Buffer.alloc(Math.max(TERMIOS2.bytes, ICOUNTER.bytes));

  function failure(call: string, errno = koffi.errno()): NodeJS.ErrnoException {
    const code = getSystemErrorName(-errno);
    return Object.assign(new Error(`${call}: ${code}`), { code, errno: -errno, syscall: call });
  }

  function control(name: keyof typeof IOCTL, fd: number, argument: Buffer | number): void {
    const call = typeof argument === 'number' ? ioctlNumber : ioctlPointer;
    if ((call(fd, IOCTL[name], argument) as number) < 0) throw failure(name);
  }

  /** On a pool thread; `argument` stays referenced until the call is back. */
  function controlAsync(
    name: keyof typeof IOCTL,
    fd: number,
    argument: Buffer | number,
  ): Promise<void> {
    const call = typeof argument === 'number' ? ioctlNumber : ioctlPointer;
    return new Promise((resolve, reject) => {
      call.async(fd, IOCTL[name], argument, (error: Error | null, result: number) => {
        // koffi carries errno over to this thread; it holds only until the next call.
        if (error !== null) reject(error);
        else if (result < 0) reject(failure(name));
        else resolve();
      });
    });
  }

  function number(name: 'TIOCINQ' | 'TIOCOUTQ' | 'TIOCGPTN', fd: number): number {
    control(name, fd, scratch);
    return scratch.readInt32LE(0);
  }

  return {
    mapShared(fd, bytes) {
      const protection = MMAP.PROT_READ | MMAP.PROT_WRITE;
      const address: unknown = mmap(null, bytes, protection, MMAP.MAP_SHARED, fd, 0);
      if (BigInt.asIntN(64, koffi.address(address)) === -1n) throw failure('mmap');
      return Buffer.from(koffi.view(address, bytes));
    },

    peerCredentials(fd) {
      const value = Buffer.alloc(12); // struct ucred
      const length = Buffer.alloc(4);
      length.writeInt32LE(value.length);
      if ((getsockopt(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PEERCRED, value, length) as number) < 0) {
        throw failure('getsockopt');
      }
      return {
        pid: value.readInt32LE(0),
        uid: value.readUInt32LE(4),
        gid: value.readUInt32LE(8),
      };
    },

    sendDatagram(path, text) {
      const isAbstract = path.startsWith('@');
      const name = Buffer.from(isAbstract ? `\0${path.slice(1)}` : `${path}\0`);
      if (name.length > SOCKET.pathBytesMax) throw failure('sendto', koffi.os.errno.ENAMETOOLONG);
      const address = Buffer.alloc(2 + name.length);
      address.writeUInt16LE(SOCKET.AF_UNIX);
      name.copy(address, 2);
      const fd = socket(SOCKET.AF_UNIX, SOCKET.SOCK_DGRAM | SOCKET.SOCK_CLOEXEC, 0) as number;
      if (fd < 0) throw failure('socket');
      try {
        const bytes = Buffer.from(text);
        const flags = SOCKET.MSG_NOSIGNAL | SOCKET.MSG_DONTWAIT;
        const sent = Number(sendto(fd, bytes, bytes.length, flags, address, address.length));
        if (sent < 0) throw failure('sendto');
      } finally {
        closeSync(fd);
      }
    },

    openPty(columns, rows) {
      const { O_RDWR, O_NOCTTY, O_NONBLOCK } = fsConstants;
      const masterFd = openSync('/dev/ptmx', O_RDWR | O_NOCTTY | O_NONBLOCK); // Node adds O_CLOEXEC
      try {
        scratch.writeInt32LE(0);
        control('TIOCSPTLCK', masterFd, scratch); // unlockpt(3); devpts has no use for grantpt(3)
        const slavePath = `/dev/pts/${number('TIOCGPTN', masterFd)}`;
        this.setWindowSize(masterFd, columns, rows);
        return { masterFd, slavePath };
      } catch (error) {
        closeSync(masterFd);
        throw error;
      }
    },

    setWindowSize(fd, columns, rows) {
      scratch.fill(0, 0, 8);
      scratch.writeUInt16LE(rows, 0);
      scratch.writeUInt16LE(columns, 2);
      control('TIOCSWINSZ', fd, scratch);
    },

    duplicate(fd) {
      const copy = fcntlNumber(fd, F_DUPFD_CLOEXEC, 0) as number;
      if (copy < 0) throw failure('fcntl');
      return copy;
    },

    poll(fds) {
      const entries = Buffer.alloc(fds.length * POLL.entryBytes);
      fds.forEach((fd, index) => {
        entries.writeInt32LE(fd, index * POLL.entryBytes);
        entries.writeInt16LE(POLL.IN, index * POLL.entryBytes + 4);
      });
      if ((poll(entries, fds.length, 0) as number) < 0) throw failure('poll');
      return fds.map((_, index) => {
        const events = entries.readInt16LE(index * POLL.entryBytes + 6);
        return { isReadable: (events & POLL.IN) !== 0, isHungUp: (events & POLL.HUP) !== 0 };
      });
    },

    inputWaiting: (fd) => number('TIOCINQ', fd),
    outputWaiting: (fd) => number('TIOCOUTQ', fd),
    flush: (fd, which) => control('TCFLSH', fd, FLUSH[which]),

    makeRaw(fd) {
      control('TCGETS2', fd, scratch);
      scratch.writeUInt32LE(0, TERMIOS2.iflag);
      scratch.writeUInt32LE(0, TERMIOS2.oflag);
      scratch.writeUInt32LE(0, TERMIOS2.lflag);
      const cflag =
        scratch.readUInt32LE(TERMIOS2.cflag) & ~(CFLAG.CSIZE | CFLAG.PARENB | CFLAG.HUPCL);
      const size = CHARACTER_SIZE[8]!;
      scratch.writeUInt32LE((cflag | size | CFLAG.CREAD | CFLAG.CLOCAL) >>> 0, TERMIOS2.cflag);
      scratch[TERMIOS2.cc + CC.VMIN] = 1;
      scratch[TERMIOS2.cc + CC.VTIME] = 0;
      control('TCSETS2', fd, scratch);
    },

    async setLine(fd, line, flow, { marksErrors = false, afterOutput = false } = {}) {
      const termios = Buffer.alloc(TERMIOS2.bytes);
      control('TCGETS2', fd, termios); // a copy of what the kernel has: no transfer to the device
      writeLine(termios, line, flow, marksErrors);
      await controlAsync(afterOutput ? 'TCSETSW2' : 'TCSETS2', fd, termios);
    },

    marksErrors(fd) {
      control('TCGETS2', fd, scratch);
      const bits = scratch.readUInt32LE(TERMIOS2.iflag);
      const { IGNBRK, BRKINT, IGNPAR, PARMRK, INPCK, ISTRIP } = IFLAG;
      return (bits & (IGNBRK | BRKINT | IGNPAR | PARMRK | INPCK | ISTRIP)) === (PARMRK | INPCK);
    },

    async keepSignalsOnClose(fd) {
      const termios = Buffer.alloc(TERMIOS2.bytes);
      control('TCGETS2', fd, termios);
      const cflag = termios.readUInt32LE(TERMIOS2.cflag);
      if ((cflag & CFLAG.HUPCL) === 0) return;
      termios.writeUInt32LE((cflag & ~CFLAG.HUPCL) >>> 0, TERMIOS2.cflag);
      await controlAsync('TCSETS2', fd, termios);
    },

    setExclusive: (fd, isExclusive) => control(isExclusive ? 'TIOCEXCL' : 'TIOCNXCL', fd, 0),

    lineCounters(fd) {
      control('TIOCGICOUNT', fd, scratch);
      return readCounters(scratch);
    },

    async setLowLatency(fd) {
      const serial = Buffer.alloc(SERIAL.bytes);
      await controlAsync('TIOCGSERIAL', fd, serial);
      const flags = serial.readInt32LE(SERIAL.flags);
      if ((flags & SERIAL.ASYNC_LOW_LATENCY) !== 0) return;
      serial.writeInt32LE(flags | SERIAL.ASYNC_LOW_LATENCY, SERIAL.flags);
      await controlAsync('TIOCSSERIAL', fd, serial);
    },

    async setRs485(fd, rs485) {
      const wish = Buffer.alloc(RS485.bytes);
      writeRs485(wish, rs485);
      await controlAsync('TIOCSRS485', fd, wish); // the driver writes back what it can do of it
      return readRs485(wish);
    },

    getLine(fd) {
      control('TCGETS2', fd, scratch);
      return readLine(scratch);
    },

    getFlow(fd) {
      control('TCGETS2', fd, scratch);
      if ((scratch.readUInt32LE(TERMIOS2.cflag) & CFLAG.CRTSCTS) !== 0) return 'rtscts';
      return (scratch.readUInt32LE(TERMIOS2.iflag) & IFLAG.IXON) !== 0 ? 'xonxoff' : 'none';
    },

    async setSignals(fd, signals) {
      const wanted = [
        [signals.dtr, MODEM.DTR],
        [signals.rts, MODEM.RTS],
      ] as const;
      for (const name of ['TIOCMBIS', 'TIOCMBIC'] as const) {
        const isRaise = name === 'TIOCMBIS';
        const bits = wanted.reduce((sum, [state, bit]) => (state === isRaise ? sum | bit : sum), 0);
        if (bits === 0) continue;
        const argument = Buffer.alloc(4);
        argument.writeInt32LE(bits);
        await controlAsync(name, fd, argument);
      }
    },

    setBreak: (fd, on) => controlAsync(on ? 'TIOCSBRK' : 'TIOCCBRK', fd, 0),

    async getSignals(fd) {
      const argument = Buffer.alloc(4);
      await controlAsync('TIOCMGET', fd, argument);
      const bits = argument.readInt32LE(0);
      const isOn = (bit: number): boolean => (bits & bit) !== 0;
      return {
        dtr: isOn(MODEM.DTR),
        rts: isOn(MODEM.RTS),
        cts: isOn(MODEM.CTS),
        dsr: isOn(MODEM.DSR),
        dcd: isOn(MODEM.DCD),
        ri: isOn(MODEM.RI),
      };
    },

    lockExclusive(fd) {
      if ((flock(fd, LOCK.EX | LOCK.NB) as number) === 0) return true;
      if (koffi.errno() === koffi.os.errno.EWOULDBLOCK) return false;
      throw failure('flock');
    },

    threadId: () => Number(syscall(numbers.SYS_gettid)),
  };
}

const PARITY_BITS: Readonly<Record<string, number>> = {
  none: 0,
  even: CFLAG.PARENB,
  odd: CFLAG.PARENB | CFLAG.PARODD,
  space: CFLAG.PARENB | CFLAG.CMSPAR,
  mark: CFLAG.PARENB | CFLAG.CMSPAR | CFLAG.PARODD,
};

/**
 * Puts line settings into a termios2, raw, CLOCAL, without HUPCL (a later open then makes no edge
 * on DTR). CSTOPB is 1.5 stop bits at 5 data bits and 2 at all others (16550 data sheet).
 */
function writeLine(
  termios: Buffer,
  line: { baud: number; dataBits: number; parity: string; stopBits: number },
  flow: string,
  marksErrors: boolean,
): void {
  const parity = PARITY_BITS[line.parity];
  const size = CHARACTER_SIZE[line.dataBits];
  if (parity === undefined || size === undefined) throw invalid('no such parity or data bits');
  if (line.stopBits === 1.5 && line.dataBits !== 5) {
    throw invalid('1.5 stop bits exist with 5 data bits only');
  }
  if (line.stopBits === 2 && line.dataBits === 5) {
    throw invalid('with 5 data bits a UART sends 1 or 1.5 stop bits, not 2');
  }
  const ours =
    CFLAG.CBAUD |
    CFLAG.CIBAUD |
    CFLAG.CSIZE |
    CFLAG.CSTOPB |
    CFLAG.PARENB |
    CFLAG.PARODD |
    CFLAG.CMSPAR |
    CFLAG.CRTSCTS |
    CFLAG.HUPCL;
  let cflag = termios.readUInt32LE(TERMIOS2.cflag) & ~ours;
  cflag |= CFLAG.BOTHER | size | parity | CFLAG.CREAD | CFLAG.CLOCAL;
  if (line.stopBits !== 1) cflag |= CFLAG.CSTOPB;
  if (flow === 'rtscts') cflag |= CFLAG.CRTSCTS;
  // Not IGNPAR, which drivers take as leave to drop a byte with a framing error: it is logged as it came.
  let iflag = flow === 'xonxoff' ? IFLAG.IXON | IFLAG.IXOFF : 0;
  if (marksErrors) iflag |= IFLAG.INPCK | IFLAG.PARMRK;
  termios.writeUInt32LE(iflag, TERMIOS2.iflag);
  termios.writeUInt32LE(0, TERMIOS2.oflag);
  termios.writeUInt32LE(0, TERMIOS2.lflag);
  termios.writeUInt32LE(cflag >>> 0, TERMIOS2.cflag);
  termios[TERMIOS2.cc + CC.VMIN] = 1;
  termios[TERMIOS2.cc + CC.VTIME] = 0;
  termios.writeUInt32LE(line.baud, TERMIOS2.ispeed);
  termios.writeUInt32LE(line.baud, TERMIOS2.ospeed);
}

function readLine(termios: Buffer): {
  baud: number;
  dataBits: number;
  parity: string;
  stopBits: number;
} {
  const cflag = termios.readUInt32LE(TERMIOS2.cflag);
  const dataBits = 5 + ((cflag & CFLAG.CSIZE) >>> 4);
  const parityBits = cflag & (CFLAG.PARENB | CFLAG.PARODD | CFLAG.CMSPAR);
  const known = Object.entries(PARITY_BITS).find(([, bits]) => bits === parityBits);
  const isTwo = (cflag & CFLAG.CSTOPB) !== 0;
  return {
    baud: termios.readUInt32LE(TERMIOS2.ospeed), // the kernel fills it in for the old codes too
    dataBits,
    // PARODD without PARENB means nothing.
    parity: (cflag & CFLAG.PARENB) === 0 ? 'none' : (known?.[0] ?? 'none'),
    stopBits: isTwo ? (dataBits === 5 ? 1.5 : 2) : 1,
  };
}

export function readCounters(counters: Buffer): LineCounters {
  return {
    cts: counters.readUInt32LE(ICOUNTER.cts),
    dsr: counters.readUInt32LE(ICOUNTER.dsr),
    dcd: counters.readUInt32LE(ICOUNTER.dcd),
    ri: counters.readUInt32LE(ICOUNTER.ri),
    framing: counters.readUInt32LE(ICOUNTER.framing),
    parity: counters.readUInt32LE(ICOUNTER.parity),
    break: counters.readUInt32LE(ICOUNTER.break),
    overrun: counters.readUInt32LE(ICOUNTER.overrun),
    bufferOverrun: counters.readUInt32LE(ICOUNTER.bufferOverrun),
  };
}

export function writeRs485(struct: Buffer, rs485: Rs485Settings): void {
  let flags = RS485.ENABLED | (rs485.rtsOnSend ? RS485.RTS_ON_SEND : RS485.RTS_AFTER_SEND);
  if (rs485.hearsItself) flags |= RS485.RX_DURING_TX;
  struct.writeUInt32LE(flags, RS485.flags);
  struct.writeUInt32LE(rs485.delayBeforeMs, RS485.delayBefore);
  struct.writeUInt32LE(rs485.delayAfterMs, RS485.delayAfter);
}

export function readRs485(struct: Buffer): Rs485Settings | null {
  const flags = struct.readUInt32LE(RS485.flags);
  if ((flags & RS485.ENABLED) === 0) return null;
  return {
    rtsOnSend: (flags & RS485.RTS_ON_SEND) !== 0,
    delayBeforeMs: struct.readUInt32LE(RS485.delayBefore),
    delayAfterMs: struct.readUInt32LE(RS485.delayAfter),
    hearsItself: (flags & RS485.RX_DURING_TX) !== 0,
  };
}

function invalid(message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`EINVAL: ${message}`), { code: 'EINVAL' });
}
