import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import type { PortStatus } from '../../src/core/port-status.ts';
import { numberedLines, RawClient } from './console.ts';
import {
  ACM,
  LINES,
  startAppliance,
  TELNET_BASE,
  type Appliance,
  type LoggedRecord,
} from './guest/appliance.ts';
import type { GuestProgram } from './guest/guest-program.ts';
import {
  attachAdapter,
  FtdiAdapter,
  type AdapterLine,
  type ByteError,
} from './guest/ftdi-adapter.ts';
import { describeReturns, replug } from './guest/replug.ts';
import { USB_REQUEST, watchUsb, type UsbRequest, type UsbWatch } from './guest/usb-watch.ts';
import { until } from '../support/pty.ts';
import { ALL_BYTES, PySerial } from './serial-tools.ts';

/** A user of the guest who may open serial lines (group dialout), and is not root: nothing is locked for root. */
const OPERATOR = { uid: 1000, gid: 20 };
/** Of the recipe: how long a board is held in reset. */
const RECIPE_MS = 100;
/** How far a step may be off its time. */
const CLOSE_MS = 5;
/** The same for what a client paces, by way of four threads and a TCP connection of an emulated machine. */
const CLOSE_BY_CLIENT_MS = 50;
/** How often it is tried on a machine that others use. */
const TRIES = 120;
/** Values of ftdiSignals. */
const FTDI = { dtrOn: 0x0101, dtrOff: 0x0100, rtsOn: 0x0202, rtsOff: 0x0200 } as const;

describe('real UARTs, in a guest', () => {
  let appliance: Appliance;
  before(async () => {
    appliance = await startAppliance({
      ports: `
  com2: { n: 1, device: ${LINES.com2.path}, line: 115200 8N1 }
  pci: { n: 2, device: ${LINES.pci.path}, line: 9600 8E1 }
  com3: { n: 3, device: ${LINES.com3.path}, line: 9600 7O2 }
  usb0: { n: 4, match: { vendor: '0403', product: '6001', serial: LEFT } }
  usb1: { n: 5, match: { serial: RIGHT }, reset: [dtr=off rts=on, ${RECIPE_MS}ms, rts=off] }
  acm: { n: 6, device: ${ACM.host} }
  own: { n: 7, match: { serial: OURS } }
`,
    });
    for (const port of ['com2', 'pci', 'com3', 'usb0', 'usb1', 'acm']) {
      await appliance.daemon.said('port up', (entry) => entry['port'] === port);
    }
  });
  after(async () => {
    await appliance?.stop();
  });

  async function status(port: string): Promise<PortStatus> {
    const { stdout } = await appliance.fairlead(['ports', port, '--json']);
    return (JSON.parse(stdout.toString()) as PortStatus[])[0]!;
  }

  async function statusUntil(
    port: string,
    isSo: (status: PortStatus) => boolean,
  ): Promise<PortStatus> {
    for (;;) {
      const now = await status(port);
      if (isSo(now)) return now;
    }
  }

  /** A client of the raw door of port n, once its session is there. */
  async function enter(port: string, n: number): Promise<RawClient> {
    const from = appliance.daemon.journal.length;
    const client = await RawClient.enter(appliance.doors.raw + n);
    await appliance.daemon.said('session attached', (entry) => entry['port'] === port, from);
    return client;
  }

  async function told(port: string, from: number): Promise<string[]> {
    return telling((await appliance.log(port)).slice(from));
  }

  describe('bytes', () => {
    const lines = [
      { port: 'com2', n: 1, set: ['speed 115200', 'cs8', '-parenb', '-cstopb'], mask: 0xff },
      {
        port: 'pci',
        n: 2,
        set: ['speed 9600', 'cs8', ' parenb', '-parodd', '-cstopb'],
        mask: 0xff,
      },
      {
        port: 'com3',
        n: 3,
        set: ['speed 9600', 'cs7', ' parenb', ' parodd', ' cstopb'],
        mask: 0x7f,
      },
    ] as const;
    for (const { port, n, set, mask } of lines) {
      it(`${port}, ${set.join(' ')}: every byte value passes unchanged both ways, and is in the log`, async () => {
        const stty = (await appliance.shell(`stty -F ${LINES[port].path} -a`)).replaceAll(
          '\n',
          ' ',
        );
        for (const word of set) assert.ok(stty.includes(word), `${word} in ${stty}`);

        const client = await enter(port, n);
        const [there, back] = [randomBytes(1_024), randomBytes(1_024)].map((random) =>
          Buffer.concat([ALL_BYTES, random, ALL_BYTES]).map((byte) => byte & mask),
        ) as [Buffer, Buffer];
        const far = appliance.line(port);
        const [heardBefore, loggedBefore] = [far.heard.length, (await appliance.rx(port)).length];

        client.socket.write(there);
        const arrived = await far.heard.untilLength(heardBefore + there.length);
        assert.deepEqual(arrived.subarray(heardBefore), there);
        far.say(back);
        assert.deepEqual(await client.heard.untilLength(back.length), back);
        client.socket.end();
        await client.closed;
        assert.deepEqual((await appliance.rx(port)).subarray(loggedBefore), back);
      });
    }

    it('by RFC 2217: a client sets 115200 8N1 and gets every byte value both ways', async () => {
      const python = new PySerial();
      try {
        const url = `rfc2217://127.0.0.1:${appliance.doors.telnet + 2}`;
        await python.value(`open('${url}', timeout=60, baudrate=115200, bytesize=8, parity='N')`);
        const stty = await appliance.shell(`stty -F ${LINES.pci.path} -a`);
        assert.match(stty, /speed 115200 [^]*-parenb/);
        const far = appliance.line('pci');
        const heardBefore = far.heard.length;
        assert.equal(await python.value(`write('${ALL_BYTES.toString('hex')}')`), 256);
        const arrived = await far.heard.untilLength(heardBefore + 256);
        assert.deepEqual(arrived.subarray(heardBefore), ALL_BYTES);
        far.say(ALL_BYTES);
        assert.equal(await python.value('read(256)'), ALL_BYTES.toString('hex'));
      } finally {
        await python.end();
      }
      await appliance.fairlead(['line', 'pci', '9600 8E1']);
    });

    it('settings changed on an open port lose no byte on its way, in neither direction', async () => {
      const far = appliance.line('com2');
      const [heardBefore, loggedBefore] = [far.heard.length, (await appliance.rx('com2')).length];
      const client = await enter('com2', 1);
      const [there, back] = [numberedLines(8_000), numberedLines(24_000)];

      far.pause(); // what is written now waits: at the far end, in the UART, in its driver, in the daemon
      client.socket.write(there);
      far.say(back);
      for (const line of ['9600 8E1', '57600 8O2', '115200 8N1']) {
        await appliance.fairlead(['line', 'com2', line]);
      }
      far.resume();
      assert.deepEqual(await client.heard.untilLength(back.length), back);
      const arrived = await far.heard.untilLength(heardBefore + there.length);
      assert.deepEqual(arrived.subarray(heardBefore), there);
      client.socket.end();
      await client.closed;
      assert.deepEqual((await appliance.rx('com2')).subarray(loggedBefore), back);
    });
  });

  describe('BREAK and signals', () => {
    it('a BREAK that comes in stands at its place among the bytes, and leaves no byte there', async () => {
      const far = appliance.line('com2');
      const from = (await appliance.log('com2')).length;
      const says = async (text: string, count: number): Promise<void> => {
        far.say(Buffer.from(text, 'latin1'));
        await appliance.logUntil('com2', (log) => rxBytes(log.slice(from)).length === count);
      };
      await says('before', 6);
      await far.sendBreak();
      await appliance.logUntil('com2', (log) =>
        log.slice(from).some(({ kind }) => kind === 'break'),
      );
      // What a marked BREAK looks like to the driver's reader (ff 00 00), as bytes of the device.
      await says('after\xff\0\0', 14);
      assert.deepEqual(await told('com2', from), ['rx before', 'break', 'rx after\xff\0\0']);
      assert.equal((await status('com2')).errors.breaks, 1);
    });

    it('DCD and DSR of a CDC-ACM adapter are recorded as they change, and a BREAK of its device', async () => {
      const from = (await appliance.log('acm')).length;
      const device = appliance.start(['/usr/bin/python3', '-c', GADGET]);
      await device.out.until('open');
      await appliance.logUntil('acm', (log) =>
        telling(log.slice(from)).includes('signals dsr=on dcd=on'),
      );
      await ask(device, 'say hello');
      await appliance.logUntil('acm', (log) => rxBytes(log.slice(from)).length === 5);
      await ask(device, 'break');
      await appliance.logUntil('acm', (log) =>
        log.slice(from).some(({ kind }) => kind === 'break'),
      );
      await ask(device, 'say again');
      await appliance.logUntil('acm', (log) => rxBytes(log.slice(from)).length === 10);
      device.endInput();
      await device.result();
      await appliance.logUntil('acm', (log) =>
        telling(log.slice(from)).includes('signals dsr=off dcd=off'),
      );
      assert.deepEqual(await told('acm', from), [
        ...['signals dsr=on dcd=on', 'rx hello', 'break', 'rx again', 'signals dsr=off dcd=off'],
      ]);
    });

    it('an adapter without BREAK says so, and gets its DTR and RTS all the same', async () => {
      const watch = await watchUsb(appliance, ACM.host);
      try {
        const refused = await appliance.fairlead(['send', 'acm', '--break'], 'may fail');
        assert.notEqual(refused.code, 0);
        assert.match(refused.stderr, /ttyACM0: its driver cannot send BREAK/);
        for (const signals of ['dtr=off', 'rts=off', 'dtr=on', 'rts=on']) {
          await appliance.fairlead(['signals', 'acm', signals]);
        }
        const wanted = [0b10, 0b00, 0b01, 0b11];
        assert.deepEqual(await valuesOf(watch, USB_REQUEST.acmSignals, wanted.length), wanted);
      } finally {
        await watch.stop();
      }
    });

    it('no signal is touched when a port is closed and opened, but for what Linux does at an open', async () => {
      const watch = await watchUsb(appliance, LINES.usb0.path);
      try {
        for (const verb of ['down', 'up']) {
          await appliance.fairlead([verb, 'com2']);
          await appliance.fairlead([verb, 'usb0']);
          const uarts = await appliance.shell('cat /proc/tty/driver/serial');
          assert.match(uarts, /^1: uart:16550A .*RTS.*DTR/m, verb);
        }
        await appliance.fairlead(['signals', 'usb0', 'dtr=on']);
        // ftdi_sio raises both when the tty is opened; the last one is ours.
        const wanted = [FTDI.dtrOn | FTDI.rtsOn, FTDI.dtrOn];
        assert.deepEqual(await valuesOf(watch, USB_REQUEST.ftdiSignals, wanted.length), wanted);
      } finally {
        await watch.stop();
      }
    });
  });

  describe('locks', () => {
    it('other programs see that a line is taken', async () => {
      const { path } = LINES.com2;
      const programs = [
        { command: ['stty', '-F', path, '9600'], user: OPERATOR, says: /busy/ },
        { command: ['picocom', '--exit', path], user: OPERATOR, says: /busy/ },
        { command: ['picocom', '--exit', path], user: undefined, says: /cannot lock/ },
        { command: ['minicom', '-D', path], user: undefined, says: /is locked/ },
      ];
      const results = await Promise.all(
        programs.map(({ command, user }) => appliance.start(command, user).result('may fail')),
      );
      for (const [index, { command, says }] of programs.entries()) {
        const { code, stdout, stderr } = results[index]!;
        assert.notEqual(code, 0, command.join(' '));
        assert.match(`${stdout.toString()}${stderr}`, says, command.join(' '));
      }
    });

    it('a line that another program has is left to it, and the port says who', async () => {
      await appliance.fairlead(['down', 'com3']);
      const terminal = appliance.start([
        'script',
        '-qc',
        `picocom ${LINES.com3.path}`,
        '/dev/null',
      ]);
      await terminal.out.until('Terminal ready');
      await appliance.fairlead(['up', 'com3'], 'may fail');
      const refused = await statusUntil('com3', ({ why }) => /picocom/.test(why ?? ''));
      assert.equal(refused.state, 'down');
      assert.match(refused.why!, /ttyS2 is held by process \d+ \(picocom\)/);
      terminal.type('\x01\x18'); // picocom's keys to leave
      await terminal.exited;
      await appliance.fairlead(['up', 'com3']);
      await appliance.logUntil('com3', (log) => log.at(-1)?.kind === 'up');
    });
  });

  describe('an adapter of our own, for what no emulated UART does', () => {
    let adapter: FtdiAdapter;
    before(async () => {
      adapter = await FtdiAdapter.make('OURS');
      await appliance.start(attachAdapter('10.0.2.2', adapter.tcpPort)).result();
      await appliance.daemon.said('port up', ({ port }) => port === 'own');
    });
    after(() => adapter?.close());

    it('parity and framing errors, lost bytes and BREAK stand at their places in the log', async () => {
      const from = (await appliance.log('own')).length;
      let count = 0;
      // One by one: which of two bad bytes in one reading had which error the driver does not say.
      const says = async (bytes: Buffer, error?: ByteError): Promise<void> => {
        adapter.say(bytes, error);
        count += bytes.length;
        await appliance.logUntil('own', (log) => rxBytes(log.slice(from)).length === count);
      };
      await says(Buffer.from('a'));
      await says(Buffer.from('b'), 'parity');
      await says(Buffer.from('c'));
      await says(Buffer.from('d'), 'framing');
      await says(Buffer.from('e'));
      adapter.sendBreak();
      await says(Buffer.from('f'));
      await says(Buffer.from('g'), 'overrun');
      await says(Buffer.from('h\xff', 'latin1'), 'parity');
      const { errors } = await statusUntil('own', (now) => now.errors.overrun > 0);
      assert.deepEqual(errors, { breaks: 1, parity: 3, framing: 1, overrun: 1 });
      const log = await told('own', from);
      assert.equal(log.filter((line) => line === 'error overrun').length, 1);
      assert.deepEqual(joined(log.filter((line) => line !== 'error overrun')), [
        ...['rx a', 'error parity', 'rx bc', 'error framing', 'rx de', 'break', 'rx fg'],
        ...['error parity', 'rx h', 'error parity', 'rx \xff'],
      ]);
    });

    it('bytes that come make no record of inputs that did not change', async () => {
      await appliance.fairlead(['down', 'own']);
      await until(() => !adapter.isOpen, 'the driver to let go', 90_000);
      adapter.set({ cts: true, dsr: true });
      await appliance.fairlead(['up', 'own']);
      await appliance.logUntil('own', (log) => log.at(-1)?.kind === 'up');
      const from = (await appliance.log('own')).length;
      adapter.say('hello');
      await appliance.logUntil('own', (log) => rxBytes(log.slice(from)).length === 5);
      adapter.set({ cts: false, dsr: false });
      const changed = 'signals cts=off dsr=off';
      await appliance.logUntil('own', (log) => telling(log.slice(from)).includes(changed));
      assert.deepEqual(await told('own', from), ['rx hello', changed]);
    });

    it('a BREAK goes out, as long as it was asked for, with the line settings as they are', async () => {
      const before = adapter.lines.length;
      await appliance.fairlead(['send', 'own', '--break']);
      const [begun, ended, ...more] = adapter.lines.slice(before) as [AdapterLine, AdapterLine];
      assert.deepEqual([begun.isBreaking, ended.isBreaking, more], [true, false, []]);
      for (const { dataBits, parity, stopBits } of [begun, ended]) {
        assert.deepEqual([dataBits, parity, stopBits], [8, 'none', 1]);
      }
      assert.ok(ended.atMs - begun.atMs >= 200, `${ended.atMs - begun.atMs} ms`);
    });

    it('its inputs are recorded as they change, RI and CTS too', async () => {
      const from = (await appliance.log('own')).length;
      const steps = [
        { set: { cts: true }, told: 'signals cts=on' },
        { set: { ri: true }, told: 'signals ri=on' },
        { set: { ri: false, dcd: true, dsr: true }, told: 'signals dsr=on dcd=on ri=off' },
        { set: { cts: false }, told: 'signals cts=off' },
      ];
      for (const { set, told: line } of steps) {
        adapter.set(set);
        await appliance.logUntil('own', (log) => telling(log.slice(from)).includes(line));
      }
      assert.deepEqual(
        await told('own', from),
        steps.map((step) => step.told),
      );
      assert.match(
        (await appliance.fairlead(['signals', 'own'])).stdout.toString(),
        /dcd=on ri=off/,
      );
    });

    it('its settings are those asked for, mark and space parity too', async () => {
      for (const [settings, dataBits, parity, stopBits] of [
        ['9600 7O2', 7, 'odd', 2],
        ['19200 8M1', 8, 'mark', 1],
        ['19200 8S1', 8, 'space', 1],
        ['115200 8N1', 8, 'none', 1],
      ] as const) {
        await appliance.fairlead(['line', 'own', settings]);
        const now = adapter.lines.at(-1)!;
        assert.deepEqual([now.dataBits, now.parity, now.stopBits], [dataBits, parity, stopBits]);
      }
    });
  });

  describe('unplugged and plugged in again', () => {
    it('adapters that swap their names are captured again within 1 s, each by its own port', async () => {
      const rounds = 5;
      const returns = await replug(appliance, rounds);
      console.log(`# ${describeReturns(returns)}`);
      assert.equal(returns.length, 2 * rounds);
      for (const adapter of ['usb0', 'usb1']) {
        const ttys = returns.filter((made) => made.adapter === adapter).map(({ tty }) => tty);
        assert.deepEqual([...new Set(ttys)].sort(), ['/dev/ttyUSB0', '/dev/ttyUSB1']);
      }
      // Half of them: `npm run test:replug` wants it of all, on a machine that has time for it.
      const inTime = returns.filter(({ upMs, byteMs }) => upMs < 1_000 && byteMs < 1_000);
      assert.ok(inTime.length >= rounds);
    });
  });

  describe('reset of a board', () => {
    it('by one verb: the steps of the recipe, each within 5 ms of its time', async () => {
      await comesInTime(CLOSE_MS, async () => {
        await appliance.fairlead(['reset', 'usb1']);
        return [
          { value: FTDI.rtsOn, atMs: 0 },
          { value: FTDI.dtrOff, atMs: 0 },
          { value: FTDI.rtsOff, atMs: RECIPE_MS },
        ];
      });
    });

    it("by RFC 2217: a client's DTR and RTS, in its order and at its pace", async () => {
      const client = appliance.start(['/usr/bin/python3', '-c', RESET_CLIENT]);
      await client.out.until('ready');
      await comesInTime(CLOSE_BY_CLIENT_MS, async () => {
        const from = client.out.length;
        client.type('reset\n');
        const text = (await client.out.until(/ times .*\n/, from)).slice(from);
        const times = JSON.parse(/times (.*)/.exec(text)![1]!) as number[];
        const values = [FTDI.dtrOff, FTDI.rtsOn, FTDI.dtrOn, FTDI.rtsOff, FTDI.dtrOff];
        return values.map((value, at) => ({ value, atMs: (times[at]! - times[0]!) * 1_000 }));
      });
      client.endInput();
      await client.result();
    });

    /** What the adapter of usb1 is to be told, and when, counted from the first step. */
    interface Step {
      value: number;
      atMs: number;
    }

    /**
     * Runs it until every step came at its time: the guest's processors are threads of a machine that
     * others use, too. Which steps come, and in which order, is right each time.
     */
    async function comesInTime(limitMs: number, run: () => Promise<Step[]>): Promise<void> {
      const usb = await watchUsb(appliance, LINES.usb1.path);
      const told = (): UsbRequest[] => usb.requests(USB_REQUEST.ftdiSignals);
      const worstMs: number[] = [];
      try {
        while (worstMs.length < TRIES && !(worstMs.at(-1)! <= limitMs)) {
          const before = told().length + 2;
          await appliance.fairlead(['signals', 'usb1', 'dtr=on', 'rts=off']);
          const steps = await run();
          await until(() => told().length >= before + steps.length, 'the last step', 90_000);
          const came = told().slice(before);
          assert.deepEqual(valueList(told().slice(before - 2, before)), [FTDI.dtrOn, FTDI.rtsOff]);
          assert.deepEqual(valueList(came), valueList(steps));
          const startMs = came[0]!.atUs / 1_000;
          const offMs = came.map(({ atUs }, at) => atUs / 1_000 - startMs - steps[at]!.atMs);
          worstMs.push(Math.max(...offMs.map(Math.abs)));
        }
      } finally {
        await usb.stop();
      }
      const tries = worstMs.map((ms) => ms.toFixed(1)).join(', ');
      console.log(`# reset: the step furthest off its time: ${tries} ms`);
      assert.ok(worstMs.at(-1)! <= limitMs, `not within ${limitMs} ms: ${tries}`);
    }
  });
});

/** What the adapter was told, once that were so many: the watch comes a little later than the verb's answer. */
async function valuesOf(watch: UsbWatch, request: string, count: number): Promise<number[]> {
  await until(() => watch.requests(request).length >= count, `${count} requests`, 90_000);
  return valueList(watch.requests(request));
}

function valueList(of: readonly { value: number }[]): number[] {
  return of.map(({ value }) => value);
}

/** The device behind the CDC-ACM adapter: its end of the cable, steered by words on standard input. */
const GADGET = `
import fcntl, os, sys, time, tty
fd = os.open("${ACM.gadget}", os.O_RDWR | os.O_NOCTTY)
tty.setraw(fd)
print("open", flush=True)
for line in sys.stdin:
    word, _, text = line.strip().partition(" ")
    if word == "say":
        os.write(fd, text.encode())
    else:
        fcntl.ioctl(fd, 0x5427)  # TIOCSBRK
        time.sleep(0.2)
        fcntl.ioctl(fd, 0x5428)  # TIOCCBRK
    print("done " + word, flush=True)
`;

/**
 * esptool's reset of an ESP32 by an RFC 2217 server: held in reset (RTS) for 100 ms, then IO0 low (DTR)
 * for 50 ms while it starts. Runs once for each line of standard input; says when it sent what.
 */
const RESET_CLIENT = `
import socket, sys, threading, time
door = socket.create_connection(("127.0.0.1", ${TELNET_BASE + 5}))
door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
door.sendall(bytes([255, 251, 44]))  # IAC WILL COM-PORT-OPTION
def listen():
    while door.recv(4096): pass
threading.Thread(target=listen, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    times = []
    for control, wait in ((9, 0), (11, 0.1), (8, 0), (12, 0.05), (9, 0)):
        times.append(time.monotonic())
        door.sendall(bytes([255, 250, 44, 5, control, 255, 240]))  # SET-CONTROL
        time.sleep(wait)
    print(" times", times, flush=True)
`;

async function ask(device: GuestProgram, command: string): Promise<void> {
  const before = device.out.length;
  device.type(`${command}\n`);
  await device.out.until('done', before);
}

/** What the line did: `rx hello`, `break`, `signals dcd=on`; who came, went and typed is left out. */
function telling(log: readonly LoggedRecord[]): string[] {
  const lines: string[] = [];
  for (const record of log) {
    const text = rxBytes([record]).toString('latin1');
    // One reading of the port may take more or less at once.
    if (record.kind === 'rx' && lines.at(-1)?.startsWith('rx ')) lines.push(lines.pop()! + text);
    else if (record.kind === 'rx') lines.push(`rx ${text}`);
    else if (record.kind === 'line-error') lines.push(`error ${String(record['error'])}`);
    else if (record.kind === 'signals') lines.push(`signals ${onAndOff(record['signals'])}`);
    else if (!/^(attached|detached|took-over|tx|tx-text)$/.test(record.kind)) {
      lines.push(record.kind);
    }
  }
  return lines;
}

/** With what lies between `rx` and `rx` taken out, they are one. */
function joined(lines: readonly string[]): string[] {
  return lines.reduce<string[]>((all, line) => {
    const isMore = line.startsWith('rx ') && all.at(-1)?.startsWith('rx ') === true;
    return isMore ? [...all.slice(0, -1), all.at(-1)! + line.slice('rx '.length)] : [...all, line];
  }, []);
}

function onAndOff(signals: unknown): string {
  return Object.entries(signals as Record<string, boolean>)
    .map(([name, isOn]) => `${name}=${isOn ? 'on' : 'off'}`)
    .join(' ');
}

function rxBytes(log: readonly LoggedRecord[]): Buffer {
  const chunks = log.filter(({ kind }) => kind === 'rx').map(({ bytes }) => bytes ?? '');
  return Buffer.concat(chunks.map((bytes) => Buffer.from(bytes, 'base64')));
}
