import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freeBase } from '../../frontends/fakes.ts';
import { PROJECT } from '../../support/project.ts';
import { Heard } from '../console.ts';
import { MAIN, type CommandResult } from '../daemon.ts';
import { Agent, GuestDaemon, type GuestProgram } from './guest-program.ts';
import { applianceImage, linuxImage, packBuild, xenImage } from './image.ts';
import { startQemu, type Qemu, type Qmp } from './qemu.ts';

/**
 * The daemon on a machine with real UARTs: Debian's kernel under QEMU, with this machine's root, its
 * Node and this build by 9p. Start one at a time.
 */
export interface Appliance {
  /** The far end of a line of `LINES`, where the test plays the device. */
  line(name: LineName): FarEnd;
  /** Raw and telnet doors of port n, on this machine: base + n, 1 to 9. */
  readonly doors: { raw: number; telnet: number };
  readonly daemon: GuestDaemon;
  /** Runs a verb in the guest. @throws Error when it fails, unless `mayFail`. */
  fairlead(args: readonly string[], mayFail?: 'may fail'): Promise<CommandResult>;
  /** Runs a shell's command line in the guest and returns what it printed. @throws Error when it fails. */
  shell(script: string): Promise<string>;
  /** Starts a program in the guest. */
  start(command: readonly string[], user?: { uid: number; gid: number }): GuestProgram;
  /** A port's log, in order. */
  log(port: string): Promise<LoggedRecord[]>;
  /** The same once it is so; looks again and again. */
  logUntil(port: string, isSo: (log: LoggedRecord[]) => boolean): Promise<LoggedRecord[]>;
  /** The rx bytes of a port's log. */
  rx(port: string): Promise<Buffer>;
  plug(name: AdapterName): Promise<void>;
  unplug(name: AdapterName): Promise<void>;
  stop(): Promise<void>;
}

/** A record of `log --format jsonl`. */
export interface LoggedRecord {
  kind: string;
  seq: number;
  offset: number;
  atUs: number;
  /** base64. */
  bytes?: string;
  [field: string]: unknown;
}

/** What is plugged in, by QEMU's name: what the device is, and where the guest has it. */
export const LINES = {
  com2: { device: 'isa-serial,index=1', path: '/dev/ttyS1' },
  com3: { device: 'isa-serial,index=2,irq=5', path: '/dev/ttyS2' },
  pci: { device: 'pci-serial', path: '/dev/ttyS4' },
  usb0: {
    device: 'usb-serial,serial=LEFT,bus=usb.0,port=1,always-plugged=on',
    path: '/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_LEFT-if00-port0',
  },
  usb1: {
    device: 'usb-serial,serial=RIGHT,bus=usb.0,port=2,always-plugged=on',
    path: '/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_RIGHT-if00-port0',
  },
} as const;

export type LineName = keyof typeof LINES;
export type AdapterName = 'usb0' | 'usb1';

/** Two ends of one USB cable, both in the guest: a CDC-ACM adapter, and the gadget it is. */
export const ACM = { host: '/dev/ttyACM0', gadget: '/dev/ttyGS0' } as const;

const DOORS_MAX = 9;
const RAW_BASE = 4000;
/** In the guest. */
export const TELNET_BASE = 2000;

/** A safety net: a guest is ready in some fifteen seconds without KVM. */
const PATIENCE_MS = 180_000;

/**
 * `ports`: the ports of the configuration, YAML in braces or indented by two. `on: 'xen'`: the guest
 * is a hypervisor's dom0, with the hypervisor's tools, and the image of `linuxImage` at its place.
 */
export async function startAppliance({
  ports,
  on,
}: {
  ports: string;
  on?: 'xen';
}): Promise<Appliance> {
  const { kernel, initramfs } = applianceImage(on);
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-appliance-'));
  const socketOf = (name: string): string => join(directory, `${name}.sock`);
  const consoleFile = join(directory, 'console.log');
  const [raw, telnet] = [await freeBase(DOORS_MAX), await freeBase(DOORS_MAX)];
  const reception = createServer();
  reception.listen(0, '127.0.0.1');
  await once(reception, 'listening');
  const { port: callPort } = reception.address() as AddressInfo;
  const forwards = Array.from({ length: DOORS_MAX }, (_, index) => index + 1).flatMap((n) => [
    `hostfwd=tcp:127.0.0.1:${raw + n}-:${RAW_BASE + n}`,
    `hostfwd=tcp:127.0.0.1:${telnet + n}-:${TELNET_BASE + n}`,
  ]);
  const words = [
    ...[
      `console=${on === 'xen' ? 'hvc0' : 'ttyS0'}`,
      'panic=-1',
      'quiet',
      'mitigations=off',
      '8250.nr_uarts=8',
    ],
    `APPLIANCE_PROJECT=${PROJECT}`,
    `APPLIANCE_NODE=${process.execPath}`,
    `APPLIANCE_AGENT=${join(import.meta.dirname, 'agent.js')}`,
    `APPLIANCE_CALL=10.0.2.2:${callPort}`,
  ];
  let qemu: Qemu | null = null;
  let agent: Agent | null = null;
  const farEnds = new Map<LineName, FarEnd>();

  async function stop(): Promise<void> {
    agent?.close();
    reception.close();
    for (const farEnd of farEnds.values()) farEnd.close();
    await qemu?.stop();
    rmSync(directory, { recursive: true, force: true });
  }

  try {
    const build = join(directory, 'build.tar');
    const directories = [dirname(MAIN), import.meta.dirname];
    if (on === 'xen') directories.push(dirname(linuxImage().kernel));
    packBuild(
      build,
      directories.map((path) => relative(PROJECT, path)),
    );
    qemu = await startQemu(
      [
        ...['-cpu', 'Nehalem,+rdrand', '-no-reboot'],
        ...(on === 'xen'
          ? dom0Arguments(kernel, initramfs, words)
          : [
              ...['-smp', '2', '-m', '1024'],
              ...['-kernel', kernel, '-initrd', initramfs, '-append', words.join(' ')],
            ]),
        ...['-chardev', `file,id=console,path=${consoleFile}`, '-serial', 'chardev:console'],
        ...['-fsdev', 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap'],
        ...['-device', 'virtio-9p-pci,fsdev=host,mount_tag=host'],
        ...['-drive', `file=${build},format=raw,if=virtio,readonly=on`],
        ...['-netdev', ['user,id=net', ...forwards].join(',')],
        ...['-device', 'virtio-net-pci,netdev=net,romfile='],
        ...['-device', 'qemu-xhci,id=usb'],
        ...Object.entries(LINES).flatMap(([name, { device }]) => [
          ...['-chardev', `socket,id=${name},path=${socketOf(name)},server=on,wait=off`],
          ...['-device', `${device},id=${name},chardev=${name}`],
        ]),
      ],
      join(directory, 'qmp.sock'),
      { isUrgent: true },
    );
    const { qmp, complaint } = qemu;
    for (const name of Object.keys(LINES) as LineName[]) {
      const sendBreak = (): Promise<unknown> => qmp.execute('chardev-send-break', { id: name });
      farEnds.set(name, await FarEnd.connect(socketOf(name), sendBreak));
    }
    const called = once(reception, 'connection') as Promise<[Socket]>;
    await qmp.execute('cont');
    const late = sleep(PATIENCE_MS, null, { ref: false });
    const call = await Promise.race([called, qemu.ended.then(() => null), late]);
    if (call === null) {
      const said = readFileSync(consoleFile, 'latin1').slice(-3_000);
      throw new Error(`${complaint() ?? 'no agent calls'}; the console of the guest:\n${said}`);
    }
    agent = new Agent(call[0]);
    const guest = agent;
    const daemon = await startDaemon(guest, ports);

    const { path: controlSocket } = await daemon.said('control socket open');
    const fairlead: Appliance['fairlead'] = (args, mayFail) =>
      guest.verb(String(controlSocket), args).result(mayFail);
    const log: Appliance['log'] = async (port) => {
      const { stdout } = await fairlead(['log', port, '--format', 'jsonl', '--tx']);
      return stdout
        .toString()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as LoggedRecord);
    };
    const logUntil: Appliance['logUntil'] = async (port, isSo) => {
      const end = performance.now() + PATIENCE_MS;
      for (;;) {
        const records = await log(port);
        if (isSo(records)) return records;
        if (performance.now() > end) {
          const last = records.slice(-20).map((record) => JSON.stringify(record));
          throw new Error(`not in the log of ${port}:\n${last.join('\n')}`);
        }
        await sleep(50);
      }
    };
    return {
      line: (name) => farEnds.get(name)!,
      doors: { raw, telnet },
      daemon,
      fairlead,
      shell: async (script) =>
        (await guest.start(['/bin/sh', '-ec', script]).result()).stdout.toString(),
      start: (command, user) => guest.start(command, user),
      log,
      logUntil,
      rx: async (port) => (await fairlead(['log', port, '--format', 'raw'])).stdout,
      async plug(name) {
        const [driver, ...properties] = LINES[name].device.split(',');
        const wanted = properties.map((property) => property.split('='));
        await qmp.execute('device_add', {
          ...{ driver, id: name, chardev: name },
          ...(Object.fromEntries(wanted) as Record<string, string>),
          'always-plugged': true,
        });
      },
      async unplug(name) {
        await qmp.execute('device_del', { id: name });
        while (await isThere(qmp, name)) await sleep(10);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The hypervisor's own messages and those of its dom0 go to the guest's console. */
function dom0Arguments(kernel: string, initramfs: string, words: readonly string[]): string[] {
  const { hypervisor } = xenImage();
  return [
    ...['-smp', '2', '-m', '1800', '-kernel', hypervisor],
    ...['-append', 'com1=115200,8n1 console=com1 noreboot dom0_mem=1024M'],
    ...['-initrd', `${kernel} ${words.join(' ')},${initramfs}`],
  ];
}

/** QEMU takes a device away when the guest's driver has let it go. */
async function isThere(qmp: Qmp, name: AdapterName): Promise<boolean> {
  const path = '/machine/peripheral';
  const devices = (await qmp.execute('qom-list', { path })) as { name: string }[];
  return devices.some((device) => device.name === name);
}

const CONFIG = '/data/fairlead.yaml';

async function startDaemon(guest: Agent, ports: string): Promise<GuestDaemon> {
  const anybody = "auth: none, allow: ['10.0.2.2/32', '127.0.0.1/32'], as: lab";
  const yaml = `
data: /data/log
listen:
  ssh: none
  raw: { host: 0.0.0.0, base: ${RAW_BASE}, ${anybody} }
  telnet: { host: 0.0.0.0, base: ${TELNET_BASE}, ${anybody} }
users:
  lab: { role: operator, ports: ['*'] }
ports:
${ports}
`;
  const write = guest.start(['/bin/sh', '-c', `cat >${CONFIG}`]);
  write.type(yaml);
  write.endInput();
  await write.result();
  const daemon = new GuestDaemon(
    guest.start([process.execPath, MAIN, 'serve', '--config', CONFIG]),
  );
  await daemon.said('ready');
  return daemon;
}

/** Of a line: the test is the device. */
export class FarEnd {
  readonly heard = new Heard();
  /** A BREAK to the guest's UART. */
  readonly sendBreak: () => Promise<unknown>;
  readonly #socket: Socket;

  private constructor(socket: Socket, sendBreak: () => Promise<unknown>) {
    this.#socket = socket;
    this.sendBreak = sendBreak;
    socket.on('error', () => undefined); // QEMU ends before the test
    this.heard.listenTo(socket);
  }

  static async connect(path: string, sendBreak: () => Promise<unknown>): Promise<FarEnd> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new FarEnd(socket, sendBreak);
  }

  say(bytes: string | Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** As a device with its CTS off: what is sent to it waits. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }
}
