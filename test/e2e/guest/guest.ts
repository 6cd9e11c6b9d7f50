import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { compileC } from '../../support/compile-c.ts';
import { freeTcpPort } from '../daemon.ts';
import { grubImage, linuxImage, xenImage } from './image.ts';

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
}

/** A safety net: a guest boots in some ten seconds without KVM. */
const PATIENCE_MS = 120_000;

/** Boots a guest of the project's own, stopped before its first instruction. */
export async function startGuest(options: GuestOptions): Promise<Guest> {
  const machineArguments = argumentsOf(options.machine ?? 'linux', options.append ?? '');
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-guest-'));
  const logFile = join(directory, 'serial.log');
  const socket = join(directory, 'serial.sock');
  const qmpSocket = join(directory, 'qmp.sock');
  const tcpPort = options.serial === 'telnet' ? await freeTcpPort() : 0;
  const line = {
    unix: `socket,id=line,path=${socket},server=on,wait=off`,
    pty: 'pty,id=line',
    telnet: `socket,id=line,host=127.0.0.1,port=${tcpPort},server=on,wait=off,telnet=on`,
  }[options.serial];
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-machine', 'pc', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S'],
      ...machineArguments,
      ...['-chardev', `${line},logfile=${logFile},logappend=off`, '-serial', 'chardev:line'],
      ...['-qmp', `unix:${qmpSocket},server=on,wait=off`],
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...process.env,
        LD_PRELOAD: compileC('test/e2e/guest/patient.c', ['-shared', '-fPIC']),
      },
    },
  );
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const exited = once(child, 'exit');
  const endWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', endWithUs);
  let last: Buffer | null = null;
  const said = (): Buffer => last ?? readIfThere(logFile);

  async function stop(): Promise<void> {
    if (last !== null) return;
    // Stopped first: a byte is sent before it is written down. But it may be waiting for a reader
    // that never reads again, so it is not asked for long, and not asked to end.
    await Promise.race([
      qmp?.execute('stop').catch(() => undefined),
      sleep(2_000, undefined, { ref: false }),
    ]);
    if (!hasEnded(child)) child.kill('SIGKILL');
    await exited;
    process.off('exit', endWithUs);
    last = readIfThere(logFile);
    qmp?.close();
    rmSync(directory, { recursive: true, force: true });
  }

  let qmp: Qmp | null = null;
  try {
    qmp = await Qmp.connect(qmpSocket, () => {
      if (hasEnded(child)) throw new Error(`QEMU ended: ${complaint}`);
    });
    const machine = qmp;
    const path = {
      unix: async () => socket,
      pty: () => ptyPath(machine),
      telnet: async () => `127.0.0.1:${tcpPort}`,
    }[options.serial];
    return {
      pid: child.pid!,
      path: await path(),
      said,
      run: async () => void (await machine.execute('cont')),
      qmp: (command, arguments_) => machine.execute(command, arguments_),
      async saidText(text) {
        const deadline = performance.now() + PATIENCE_MS;
        for (;;) {
          const all = said().toString('latin1');
          if (typeof text === 'string' ? all.includes(text) : text.test(all)) return;
          if (hasEnded(child)) throw new Error(`QEMU ended: ${complaint}`);
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

function argumentsOf(machine: NonNullable<GuestOptions['machine']>, append: string): string[] {
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
        ...['-append', 'com1=115200,8n1 console=com1 dom0_mem=256M noreboot'],
        ...['-initrd', `${kernel} console=hvc0 guest.tty=hvc0 ${append},${initramfs}`],
      ];
    }
    case 'grub':
      return ['-cpu', 'qemu64', '-m', '64', '-cdrom', grubImage(), '-boot', 'd'];
  }
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

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** QEMU's machine protocol: one JSON object a line each way. */
class Qmp {
  readonly #socket: Socket;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket });
    this.#answers = this.#lines[Symbol.asyncIterator]();
    socket.on('error', () => undefined); // QEMU ends before its client
  }

  /** Waits for QEMU to listen; `check` throws when that will not happen any more. */
  static async connect(path: string, check: () => void): Promise<Qmp> {
    for (;;) {
      check();
      const socket = connect(path);
      const isOpen = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      if (isOpen) {
        const qmp = new Qmp(socket);
        await qmp.#answers.next(); // QEMU's greeting
        await qmp.execute('qmp_capabilities');
        return qmp;
      }
      await sleep(20);
    }
  }

  async execute(command: string, arguments_?: object): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: arguments_ })}\n`);
    for (;;) {
      const line = await this.#answers.next();
      if (line.done) throw new Error(`QEMU closed before it answered ${command}`);
      const answer = JSON.parse(line.value) as { return?: unknown; error?: { desc: string } };
      if (answer.error) throw new Error(`${command}: ${answer.error.desc}`);
      if ('return' in answer) return answer.return;
    }
  }

  close(): void {
    this.#lines.close();
    this.#socket.destroy();
  }
}
