/* What the kernel's headers say of the numbers in src/native/constants.ts: one `name number` a line. */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/serial.h>
#include <linux/tty_flags.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>

#define NUMBER(name, value) printf("%s %lu\n", name, (unsigned long)(value))
#define IOCTL(name) NUMBER("IOCTL." #name, (unsigned int)(name))
#define BIT(group, name) NUMBER(#group "." #name, (unsigned int)(name))
#define FIELD(group, name, type, field) NUMBER(#group "." #name, offsetof(struct type, field))
#define SIZE(group, type) NUMBER(#group ".bytes", sizeof(struct type))

int main(void) {
  IOCTL(TCFLSH);
  IOCTL(TIOCEXCL);
  IOCTL(TIOCNXCL);
  IOCTL(TIOCOUTQ);
  IOCTL(TIOCSWINSZ);
  IOCTL(TIOCMGET);
  IOCTL(TIOCMBIS);
  IOCTL(TIOCMBIC);
  NUMBER("IOCTL.TIOCINQ", FIONREAD);
  IOCTL(TIOCGSERIAL);
  IOCTL(TIOCSSERIAL);
  IOCTL(TIOCSBRK);
  IOCTL(TIOCCBRK);
  IOCTL(TIOCSRS485);
  IOCTL(TIOCGICOUNT);
  IOCTL(TCGETS2);
  IOCTL(TCSETS2);
  IOCTL(TCSETSW2);
  IOCTL(TIOCGPTN);
  IOCTL(TIOCSPTLCK);

  SIZE(TERMIOS2, termios2);
  FIELD(TERMIOS2, iflag, termios2, c_iflag);
  FIELD(TERMIOS2, oflag, termios2, c_oflag);
  FIELD(TERMIOS2, cflag, termios2, c_cflag);
  FIELD(TERMIOS2, lflag, termios2, c_lflag);
  FIELD(TERMIOS2, cc, termios2, c_cc);
  FIELD(TERMIOS2, ispeed, termios2, c_ispeed);
  FIELD(TERMIOS2, ospeed, termios2, c_ospeed);
  NUMBER("CC.VTIME", VTIME);
  NUMBER("CC.VMIN", VMIN);

  BIT(IFLAG, IGNBRK);
  BIT(IFLAG, BRKINT);
  BIT(IFLAG, IGNPAR);
  BIT(IFLAG, PARMRK);
  BIT(IFLAG, INPCK);
  BIT(IFLAG, ISTRIP);
  BIT(IFLAG, IXON);
  BIT(IFLAG, IXOFF);
  BIT(CFLAG, CBAUD);
  BIT(CFLAG, BOTHER);
  BIT(CFLAG, CSIZE);
  BIT(CFLAG, CSTOPB);
  BIT(CFLAG, CREAD);
  BIT(CFLAG, PARENB);
  BIT(CFLAG, PARODD);
  BIT(CFLAG, HUPCL);
  BIT(CFLAG, CLOCAL);
  BIT(CFLAG, CIBAUD);
  BIT(CFLAG, CMSPAR);
  BIT(CFLAG, CRTSCTS);
  NUMBER("CHARACTER_SIZE.5", CS5);
  NUMBER("CHARACTER_SIZE.6", CS6);
  NUMBER("CHARACTER_SIZE.7", CS7);
  NUMBER("CHARACTER_SIZE.8", CS8);

  SIZE(ICOUNTER, serial_icounter_struct);
  FIELD(ICOUNTER, cts, serial_icounter_struct, cts);
  FIELD(ICOUNTER, dsr, serial_icounter_struct, dsr);
  FIELD(ICOUNTER, ri, serial_icounter_struct, rng);
  FIELD(ICOUNTER, dcd, serial_icounter_struct, dcd);
  FIELD(ICOUNTER, framing, serial_icounter_struct, frame);
  FIELD(ICOUNTER, overrun, serial_icounter_struct, overrun);
  FIELD(ICOUNTER, parity, serial_icounter_struct, parity);
  FIELD(ICOUNTER, break, serial_icounter_struct, brk);
  FIELD(ICOUNTER, bufferOverrun, serial_icounter_struct, buf_overrun);
  SIZE(SERIAL, serial_struct);
  FIELD(SERIAL, flags, serial_struct, flags);
  NUMBER("SERIAL.ASYNC_LOW_LATENCY", ASYNC_LOW_LATENCY);
  SIZE(RS485, serial_rs485);
  FIELD(RS485, flags, serial_rs485, flags);
  FIELD(RS485, delayBefore, serial_rs485, delay_rts_before_send);
  FIELD(RS485, delayAfter, serial_rs485, delay_rts_after_send);
  NUMBER("RS485.ENABLED", SER_RS485_ENABLED);
  NUMBER("RS485.RTS_ON_SEND", SER_RS485_RTS_ON_SEND);
  NUMBER("RS485.RTS_AFTER_SEND", SER_RS485_RTS_AFTER_SEND);
  NUMBER("RS485.RX_DURING_TX", SER_RS485_RX_DURING_TX);

  NUMBER("ARCHITECTURE.SYS_gettid", SYS_gettid);
  return 0;
}
