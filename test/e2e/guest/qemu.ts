import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** A QEMU of ours, stopped before its first instruction. Ends with this process at the latest. */
export interface Qemu {
  readonly pid: number;
  readonly qmp: Qmp;
  readonly ended: Promise<unknown>;
  /** Why it ended, in its own words; null while it runs. */
  readonly complaint: () => string | null;
  /** Kills it; to be called more than once. */
  stop(): Promise<void>;
}

export interface QemuOptions {
  env?: NodeJS.ProcessEnv;
  /** Before other programs of this machine, if we may: times in the guest are to be looked at. */
  isUrgent?: boolean;
}

/** `qmpSocket`: where it will listen. Without KVM: nested machines open /dev/kvm and then fail. */
export async function startQemu(
  arguments_: readonly string[],
  qmpSocket: string,
  { env = {}, isUrgent = false }: QemuOptions = {},
): Promise<Qemu> {
  const child = spawn(
    'nice',
    [
      ...['-n', isUrgent ? '-10' : '0', 'qemu-system-x86_64'],
      ...['-machine', 'pc', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S'],
      ...arguments_,
      ...['-qmp', `unix:${qmpSocket},server=on,wait=off`],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } },
  );
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (words += text));
  const exited = once(child, 'exit');
  const endWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', endWithUs);
  const complaint = (): string | null => {
    const how = child.signalCode ?? child.exitCode;
    return how === null ? null : `QEMU ended (${how}): ${words}`;
  };
  let qmp: Qmp | null = null;

  async function stop(): Promise<void> {
    if (!hasEnded(child)) child.kill('SIGKILL');
    await exited;
    process.off('exit', endWithUs);
    qmp?.close();
  }

  try {
    qmp = await Qmp.connect(qmpSocket, () => {
      const why = complaint();
      if (why !== null) throw new Error(why);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { pid: child.pid!, qmp, ended: exited, complaint, stop };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** QEMU's machine protocol: one JSON object a line each way. */
export class Qmp {
  readonly #socket: Socket;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;
  #last: Promise<unknown> = Promise.resolve();

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

  /** One command after the other: answers carry no number. */
  execute(command: string, arguments_?: object): Promise<unknown> {
    const answer = this.#last.then(() => this.#execute(command, arguments_));
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #execute(command: string, arguments_?: object): Promise<unknown> {
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
