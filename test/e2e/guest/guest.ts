import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compileC } from '../../support/compile-c.ts';
import { freeTcpPort } from '../daemon.ts';
import { grubImage, linuxImage, xenImage } from './image.ts';
import { startQemu, type Qemu, type Qmp } from './qemu.ts';

/** A real machine's serial line: Linux under QEMU, without KVM. Start one at a time. */
export interface Guest {
  readonly pid: number;
  /** The serial line: a unix socket that QEMU listens on, the path of a pty, or host:port. */
  readonly path: string;
  /** Every byte the guest sent on the line so far, as QEMU itself wrote it down: the truth. */
  said(): Buffer;
  /**
   * Lets the guest run. It starts stopped, so that whoever is to hear its first byte can connect
   * before: QEMU throws away what is said while nobody is connected, its log file has it all.
   */
  run(): Promise<void>;
  /** One command of QEMU's machine protocol: `system_reset`, `stop`, `cont`, `query-status`... */
  qmp(command: string, arguments_?: object): Promise<unknown>;
  /** Resolves when the guest has said it; looks at the truth, not at the line. */
  saidText(text: string | RegExp): Promise<void>;
  /** Ends QEMU; `said` still answers. */
  stop(): Promise<void>;
}

export interface GuestOptions {
  /** `telnet`: QEMU is the telnet server, and an IAC BREAK is a BREAK of the guest's UART. */
  serial: 'unix' | 'pty' | 'telnet';
  /**
   * `xen`: Debian's hypervisor on com1, with the same Linux as its dom0 on hvc0. `grub`: a boot
   * loader's menu on the line, which nobody has to leave.
   */
  machine?: 'linux' | 'xen' | 'grub';
  /** More words for the kernel's command line: `panic=5`, `guest.die=2`. */
  append?: string;
  /** Of Xen: `com1H` has the top bit of each byte set, both ways. */
  console?: 'com1' | 'com1H';
  /** Gives it a network card, whose host 10.0.2.2 is this machine's loopback; the packets go into this file. */
  packets?: string;
}

/** A safety net: a guest boots in some ten seconds without KVM. */
const PATIENCE_MS = 120_000;

/** Boots a guest of the project's own, stopped before its first instruction. */
export async function startGuest(options: GuestOptions): Promise<Guest> {
  const machineArguments = argumentsOf(options);
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-guest-'));
  const logFile = join(directory, 'serial.log');
  const socket = join(directory, 'serial.sock');
  const tcpPort = options.serial === 'telnet' ? await freeTcpPort() : 0;
  const line = {
    unix: `socket,id=line,path=${socket},server=on,wait=off`,
    pty: 'pty,id=line',
    telnet: `socket,id=line,host=127.0.0.1,port=${tcpPort},server=on,wait=off,telnet=on`,
  }[options.serial];
  let last: Buffer | null = null;
  const said = (): Buffer => last ?? readIfThere(logFile);

  async function stop(): Promise<void> {
    if (last !== null) return;
    // Stopped first: a byte is sent before it is written down. But it may be waiting for a reader
    // that never reads again, so it is not asked for long, and not asked to end.
    await Promise.race([
      qemu?.qmp.execute('stop').catch(() => undefined),
      sleep(2_000, undefined, { ref: false }),
    ]);
    await qemu?.stop();
    last = readIfThere(logFile);
    rmSync(directory, { recursive: true, force: true });
  }

  let qemu: Qemu | null = null;
  try {
    qemu = await startQemu(
      [
        ...machineArguments,
        ...networkArguments(options.packets),
        ...['-chardev', `${line},logfile=${logFile},logappend=off`, '-serial', 'chardev:line'],
      ],
      join(directory, 'qmp.sock'),
      { env: { LD_PRELOAD: compileC('test/e2e/guest/patient.c', ['-shared', '-fPIC']) } },
    );
    const { pid, qmp, complaint } = qemu;
    const path = {
      unix: async () => socket,
      pty: () => ptyPath(qmp),
      telnet: async () => `127.0.0.1:${tcpPort}`,
    }[options.serial];
    return {
      pid,
      path: await path(),
      said,
      run: async () => void (await qmp.execute('cont')),
      qmp: (command, arguments_) => qmp.execute(command, arguments_),
      async saidText(text) {
        const deadline = performance.now() + PATIENCE_MS;
        for (;;) {
          const all = said().toString('latin1');
          if (typeof text === 'string' ? all.includes(text) : text.test(all)) return;
          const why = complaint();
          if (why !== null) throw new Error(why);
          if (performance.now() > deadline) {
            throw new Error(
              `the guest did not say ${String(text)}; its last words: ${all.slice(-500)}`,
            );
          }
          await sleep(50);
        }
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function argumentsOf(options: GuestOptions): string[] {
  const { machine = 'linux', append = '', console = 'com1' } = options;
  switch (machine) {
    case 'linux': {
      const { kernel, initramfs } = linuxImage();
      const words = `console=ttyS0,115200 panic=0 ${append}`;
      return [
        ...['-cpu', 'max', '-m', '192', '-kernel', kernel],
        ...['-initrd', initramfs, '-append', words],
      ];
    }
    case 'xen': {
      const { hypervisor, kernel, initramfs } = xenImage();
      // A dom0 kernel dies early on the richer CPU models of an emulator.
      return [
        ...['-cpu', 'qemu64', '-m', '640', '-kernel', hypervisor],
        ...['-append', `com1=115200,8n1 console=${console} dom0_mem=256M noreboot`],
        ...['-initrd', `${kernel} console=hvc0 guest.tty=hvc0 ${append},${initramfs}`],
      ];
    }
    case 'grub':
      return ['-cpu', 'qemu64', '-m', '64', '-cdrom', grubImage(), '-boot', 'd'];
  }
}

function networkArguments(packets: string | undefined): string[] {
  if (packets === undefined) return [];
  return [
    ...['-netdev', 'user,id=net', '-device', 'e1000,netdev=net'],
    ...['-object', `filter-dump,id=dump,netdev=net,file=${packets}`],
  ];
}

async function ptyPath(qmp: Qmp): Promise<string> {
  const devices = (await qmp.execute('query-chardev')) as { label: string; filename: string }[];
  const line = devices.find((device) => device.label === 'line');
  if (!line?.filename.startsWith('pty:')) throw new Error(`no pty: ${JSON.stringify(devices)}`);
  return line.filename.slice('pty:'.length);
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
