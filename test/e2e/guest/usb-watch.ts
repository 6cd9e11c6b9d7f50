import type { Appliance } from './appliance.ts';

/** A control request without data as it went to a device: what it was told, and when. */
export interface UsbRequest {
  /** Microseconds of the guest's own clock. */
  atUs: number;
  /** bmRequestType and bRequest, `40 01`: USB 2.0, 9.3. */
  request: string;
  value: number;
}

/** Requests of the drivers: what changes the signals and the line. */
export const USB_REQUEST = {
  /** FTDI's SIO_SET_MODEM_CTRL: bit 0 DTR, bit 1 RTS; bits 8 and 9 say which of them are meant. */
  ftdiSignals: '40 01',
  /** FTDI's SIO_SET_DATA: bit 14 BREAK. */
  ftdiData: '40 04',
  /** CDC's SET_CONTROL_LINE_STATE: bit 0 DTR, bit 1 RTS (PSTN 1.2, 6.3.12). */
  acmSignals: '21 22',
} as const;

export interface UsbWatch {
  /** What the device was told so far. */
  requests(request: string): UsbRequest[];
  stop(): Promise<void>;
}

/**
 * Listens to what the host controller sends to the device behind a tty, by the kernel's own usbmon
 * (Documentation/usb/usbmon.rst): what reached the adapter, with its time, and no program slowed down.
 */
export async function watchUsb(appliance: Appliance, tty: string): Promise<UsbWatch> {
  const where = await appliance.shell(
    `cd "$(readlink -f "/sys/class/tty/$(basename "$(readlink -f ${tty})")/device")"
     while [ ! -e devnum ]; do cd ..; done; cat busnum devnum`,
  );
  const [bus, device] = where.trim().split('\n').map(Number);
  const file = `/sys/kernel/debug/usb/usbmon/${bus}u`;
  // The file is open before the program says so: no request after that is missed.
  const program = appliance.start(['/bin/sh', '-c', `exec <${file}; echo listens; exec cat`]);
  await program.out.until('listens');
  const address = `:${bus}:${String(device).padStart(3, '0')}:0`;
  return {
    requests(request) {
      return program.out.text.split('\n').flatMap((line) => {
        // tag, microseconds, S for submission, address, `s` for a setup packet and its five words
        const [, atUs, event, to, kind, type, code, value] = line.split(' ');
        if (event !== 'S' || kind !== 's' || `${type} ${code}` !== request) return [];
        if (!to!.endsWith(address)) return [];
        return [{ atUs: Number(atUs), request, value: Number.parseInt(value!, 16) }];
      });
    },
    async stop() {
      program.signal('SIGKILL');
      await program.exited;
    },
  };
}
