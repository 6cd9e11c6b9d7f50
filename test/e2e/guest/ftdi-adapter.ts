import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Heard } from '../console.ts';

/** What a UART tells of one byte. */
export type ByteError = 'parity' | 'framing' | 'overrun' | 'break';
/** The inputs of a serial line. */
export type Inputs = Readonly<Record<'cts' | 'dsr' | 'ri' | 'dcd', boolean>>;

/** What the driver last set, decoded. */
export interface AdapterLine {
  dataBits: number;
  parity: 'none' | 'odd' | 'even' | 'mark' | 'space';
  stopBits: 1 | 1.5 | 2;
  isBreaking: boolean;
  /** On the adapter's clock, performance.now(). */
  atMs: number;
}

/**
 * A USB serial adapter as FTDI's FT232R, played by the test for a kernel's vhci-hcd: what no emulator's
 * UART does it does, as its chip tells every byte's errors and all four inputs, and is told of BREAK.
 *
 * Speaks USB/IP after the import (Documentation/usb/usbip_protocol.rst); the guest's kernel is handed
 * the socket by `attachAdapter`. Requests and status bytes are those of drivers/usb/serial/ftdi_sio.h.
 */
export class FtdiAdapter {
  readonly heard = new Heard();
  /** SET_DATA requests so far. */
  readonly lines: AdapterLine[] = [];
  /** DTR and RTS as last driven. */
  readonly outputs = { dtr: false, rts: false };
  readonly #serial: string;
  readonly #server: Server;
  #socket: Socket | null = null;
  #received: Buffer = Buffer.alloc(0);
  #inputs: Inputs = { cts: false, dsr: false, ri: false, dcd: false };
  /** Reads of the driver that wait for something to tell: their numbers. */
  readonly #reads: number[] = [];
  /** Packets that wait for a read: two bytes of status, then data. */
  readonly #packets: Buffer[] = [];

  private constructor(serial: string, server: Server) {
    this.#serial = serial;
    this.#server = server;
    server.on('connection', (socket) => this.#plugged(socket));
  }

  static async make(serial: string): Promise<FtdiAdapter> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FtdiAdapter(serial, server);
  }

  get tcpPort(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The tty is open: its driver waits for bytes. */
  get isOpen(): boolean {
    return this.#reads.length > 0;
  }

  /** Bytes of the device. With an error, each of them has it. */
  say(bytes: string | Uint8Array, error?: ByteError): void {
    const all = Buffer.from(bytes);
    const size = error === undefined ? PACKET_BYTES_MAX - STATUS_BYTES : 1;
    for (let at = 0; at < all.length; at += size) {
      this.#tell(all.subarray(at, at + size), error);
    }
  }

  /** The far end holds the line in BREAK: the chip tells it with a byte of zero. */
  sendBreak(): void {
    this.#tell(Buffer.of(0), 'break');
  }

  set(inputs: Partial<Inputs>): void {
    this.#inputs = { ...this.#inputs, ...inputs };
    // Else a driver that opens it learns of them with the first byte.
    if (this.isOpen) this.#tell(Buffer.alloc(0));
  }

  unplug(): void {
    this.#socket?.destroy();
  }

  close(): void {
    this.unplug();
    this.#server.close();
  }

  #plugged(socket: Socket): void {
    this.#socket?.destroy();
    this.#socket = socket;
    this.#received = Buffer.alloc(0);
    this.#reads.length = 0;
    this.#packets.length = 0;
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      while (this.#takeCommand());
    });
  }

  /** One command of the host controller, if it is here whole. */
  #takeCommand(): boolean {
    const header = this.#received;
    if (header.length < HEADER_BYTES) return false;
    const [command, number, direction, endpoint] = [0, 4, 12, 16].map((at) =>
      header.readUInt32BE(at),
    ) as [number, number, number, number];
    if (command === COMMAND.unlink) {
      this.#received = header.subarray(HEADER_BYTES);
      this.#unlink(number, header.readUInt32BE(20));
      return true;
    }
    const bytes = header.readUInt32BE(24);
    const dataEnd = HEADER_BYTES + (direction === OUT ? bytes : 0);
    if (header.length < dataEnd) return false;
    const data = header.subarray(HEADER_BYTES, dataEnd);
    this.#received = header.subarray(dataEnd);
    if (endpoint === 0) this.#control(number, direction, header.subarray(40, 48));
    else if (direction === OUT) {
      this.heard.add(data);
      this.#answer(number, Buffer.alloc(0), data.length);
    } else {
      this.#reads.push(number);
      this.#flush();
    }
    return true;
  }

  #unlink(number: number, unlinked: number): void {
    const at = this.#reads.indexOf(unlinked);
    if (at >= 0) this.#reads.splice(at, 1);
    const answer = Buffer.alloc(HEADER_BYTES);
    answer.writeUInt32BE(COMMAND.unlinked, 0);
    answer.writeUInt32BE(number, 4);
    answer.writeInt32BE(at >= 0 ? -ECONNRESET : 0, 20);
    this.#socket!.write(answer);
  }

  #tell(data: Buffer, error?: ByteError): void {
    const { cts, dsr, ri, dcd } = this.#inputs;
    const modem = 0x01 | (cts ? 0x10 : 0) | (dsr ? 0x20 : 0) | (ri ? 0x40 : 0) | (dcd ? 0x80 : 0);
    const line = TRANSMITTER_EMPTY | (error === undefined ? 0 : LINE_STATUS[error]);
    this.#packets.push(Buffer.concat([Buffer.of(modem, line), data]));
    this.#flush();
  }

  #flush(): void {
    while (this.#reads.length > 0 && this.#packets.length > 0) {
      const packet = this.#packets.shift()!;
      this.#answer(this.#reads.shift()!, packet, packet.length);
    }
  }

  #control(number: number, direction: number, setup: Buffer): void {
    const [type, request] = [setup[0]!, setup[1]!];
    const value = setup.readUInt16LE(2);
    const length = setup.readUInt16LE(6);
    const answer =
      type === 0x80 && request === GET_DESCRIPTOR
        ? descriptor(value, this.#serial)
        : (type & VENDOR) !== 0
          ? this.#vendor(request, value)
          : Buffer.alloc(direction === OUT ? 0 : 2);
    if (answer === null) this.#answer(number, Buffer.alloc(0), 0, -EPIPE);
    else this.#answer(number, answer.subarray(0, length), Math.min(answer.length, length));
  }

  /** What the driver sets or asks of the chip. */
  #vendor(request: number, value: number): Buffer {
    switch (request) {
      case FTDI.modemControl:
        if ((value & 0x100) !== 0) this.outputs.dtr = (value & 1) !== 0;
        if ((value & 0x200) !== 0) this.outputs.rts = (value & 2) !== 0;
        return Buffer.alloc(0);
      case FTDI.setData:
        this.lines.push({
          dataBits: value & 0xff,
          parity: PARITIES[(value >> 8) & 7]!,
          stopBits: STOP_BITS[(value >> 11) & 3]!,
          isBreaking: (value & 0x4000) !== 0,
          atMs: performance.now(),
        });
        return Buffer.alloc(0);
      case FTDI.getModemStatus: {
        const { cts, dsr, ri, dcd } = this.#inputs;
        const modem = (cts ? 0x10 : 0) | (dsr ? 0x20 : 0) | (ri ? 0x40 : 0) | (dcd ? 0x80 : 0);
        return Buffer.of(0x01 | modem, TRANSMITTER_EMPTY);
      }
      case FTDI.getLatency:
        return Buffer.of(16);
      default:
        return Buffer.alloc(2);
    }
  }

  #answer(number: number, data: Buffer, actualBytes: number, status = 0): void {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(COMMAND.submitted, 0);
    header.writeUInt32BE(number, 4);
    header.writeInt32BE(status, 20);
    header.writeUInt32BE(actualBytes, 24);
    this.#socket!.write(Buffer.concat([header, data]));
  }
}

/** Makes a kernel take the adapter for one that is plugged in: `tcpPort` as the guest reaches it. */
export function attachAdapter(host: string, tcpPort: number): string[] {
  // The kernel keeps the socket; number 0 is the first port of the virtual hub.
  const program = `
import socket
link = socket.create_connection(("${host}", ${tcpPort}))
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
with open("/sys/devices/platform/vhci_hcd.0/attach", "w") as attach:
    attach.write("0 %d ${DEVICE_ID} ${FULL_SPEED}" % link.fileno())
`;
  return ['/usr/bin/python3', '-c', program];
}

const DEVICE_ID = 0x1_0001;
/** enum usb_device_speed. */
const FULL_SPEED = 2;
const HEADER_BYTES = 48;
const COMMAND = { submit: 1, unlink: 2, submitted: 3, unlinked: 4 } as const;
const OUT = 0;
const ECONNRESET = 104;
const EPIPE = 32;
const GET_DESCRIPTOR = 6;
/** Of bmRequestType. */
const VENDOR = 0x40;
const PACKET_BYTES_MAX = 64;
const STATUS_BYTES = 2;
const TRANSMITTER_EMPTY = 0x60;
const LINE_STATUS: Readonly<Record<ByteError, number>> = {
  overrun: 0x02,
  parity: 0x04,
  framing: 0x08,
  break: 0x10,
};
const FTDI = { modemControl: 1, setData: 4, getModemStatus: 5, getLatency: 10 } as const;
const PARITIES = ['none', 'odd', 'even', 'mark', 'space'] as const;
const STOP_BITS = [1, 1.5, 2] as const;
const STRINGS = ['', 'FTDI', 'FT232R USB UART'];

/** USB 2.0, 9.6. null: it has no such descriptor. */
function descriptor(value: number, serial: string): Buffer | null {
  const index = value & 0xff;
  switch (value >> 8) {
    case 1: // device: USB 2.0, 0403:6001, version 6.00 (FT232R), strings 1, 2 and 3
      return Buffer.from('120100020000004003040160000601020301', 'hex');
    case 2: // configuration: one interface of the vendor's, bulk in 81, bulk out 02
      return Buffer.from(
        '090220000101008032' + '0904000002ffffff00' + '07058102400000' + '07050202400000',
        'hex',
      );
    case 3: {
      if (index === 0) return Buffer.of(4, 3, 0x09, 0x04);
      const text = Buffer.from([...STRINGS, serial][index] ?? '', 'utf16le');
      return Buffer.concat([Buffer.of(text.length + 2, 3), text]);
    }
    default:
      return null;
  }
}
