import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../e2e/daemon.ts';
import { linuxImage } from '../e2e/guest/image.ts';
import { compileC } from '../support/compile-c.ts';

/**
 * A libvirt of the test's own, with one guest, `vm`, that is off at first: the session of an ordinary
 * user, its sockets and files in a directory of its own. Needs libvirtd, its QEMU driver and virsh.
 */
export interface Libvirt {
  /** The command that anybody may start: `virsh ... console vm`. */
  command(word: 'console' | 'ttyconsole'): string[];
  /**
   * Makes the guest a new machine, which waits for `resume`: whoever is to hear its first byte can
   * connect before.
   */
  start(): Promise<void>;
  /** Lets the guest run, once QEMU has seen that the line has a reader. */
  resume(): Promise<void>;
  /** Takes its power away. */
  destroy(): Promise<void>;
  /** Every byte the guest sent since `start`, as QEMU itself wrote it down: the truth. */
  said(): Buffer;
  stop(): Promise<void>;
}

const GUEST = 'vm';
/** libvirt's sessions are not for root. */
const NOBODY = 65_534;
/** QEMU looks this often whether a pty has got a reader (chardev/char-pty.c), and tells nobody. */
const READER_LOOK_MS = 1_000;
const PATIENCE_MS = 60_000;

export async function startLibvirt(): Promise<Libvirt> {
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-libvirt-'));
  const inside = (name: string): string => join(directory, name);
  const truth = inside('serial.log');
  const { kernel, initramfs } = linuxImage();
  copyFileSync(kernel, inside('kernel'));
  copyFileSync(initramfs, inside('initramfs'));
  copyFileSync(compileC('test/e2e/guest/patient.c', ['-shared', '-fPIC']), inside('patient.so'));
  for (const name of ['run', 'config', 'config/libvirt', 'cache', 'data']) mkdirSync(inside(name));
  writeFileSync(inside('config/libvirt/qemu.conf'), SETTINGS);
  writeFileSync(inside('vm.xml'), machine(directory));

  const env = {
    PATH: process.env['PATH'],
    HOME: directory,
    XDG_RUNTIME_DIR: inside('run'),
    XDG_CONFIG_HOME: inside('config'),
    XDG_CACHE_HOME: inside('cache'),
    XDG_DATA_HOME: inside('data'),
  };
  const socket = inside('run/libvirt/libvirt-sock');
  const virsh = ['virsh', '--connect', `qemu+unix:///session?socket=${socket}`];
  const journal = inside('libvirtd.log');

  let daemon: ChildProcess | null = null;
  let alreadySaid = 0;

  /** @throws Error with what virsh said. */
  async function ask(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(virsh[0]!, [...virsh.slice(1), ...words]);
    if (code === 0) return stdout.toString();
    const said = existsSync(journal) ? readFileSync(journal, 'utf8').slice(-1_000) : '';
    throw new Error(`virsh ${words.join(' ')}: ${stderr}\nlibvirtd: ${said}`);
  }

  const all = (): Buffer => (existsSync(truth) ? readFileSync(truth) : Buffer.alloc(0));

  /** The guest outlives libvirtd, so it is ended by its own number. */
  function kill(): void {
    daemon?.kill('SIGKILL');
    const numbers = inside('run/libvirt/qemu/run');
    if (!existsSync(numbers)) return;
    for (const name of readdirSync(numbers).filter((name) => name === `${GUEST}.pid`)) {
      try {
        process.kill(Number(readFileSync(join(numbers, name), 'utf8')), 'SIGKILL');
      } catch {
        // it has ended
      }
    }
  }

  async function stop(): Promise<void> {
    const exited = daemon && daemon.exitCode === null ? once(daemon, 'exit') : null;
    kill();
    await exited;
    process.off('exit', kill);
    rmSync(directory, { recursive: true, force: true });
  }

  try {
    const program = programOf('libvirtd');
    const isRoot = process.getuid?.() === 0;
    if (isRoot) giveAway(directory);
    const who = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
    daemon = spawn('/bin/sh', ['-c', 'exec "$0" >"$1" 2>&1', program, journal], {
      ...{ env, ...who, stdio: 'ignore' },
    });
    process.once('exit', kill);
    await isThere(socket, daemon);
    await ask('define', inside('vm.xml'));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    command: (word) => [...virsh, word, GUEST],
    async start() {
      alreadySaid = all().length;
      await ask('start', '--paused', GUEST);
    },
    async resume() {
      await sleep(2 * READER_LOOK_MS);
      await ask('resume', GUEST);
    },
    destroy: async () => void (await ask('destroy', GUEST)),
    said: () => all().subarray(alreadySaid),
    stop,
  };
}

/** No other program and no right is needed then. */
const SETTINGS = `stdio_handler = "file"
security_driver = "none"
namespaces = []
cgroup_controllers = []
`;

/** Without KVM, and with a QEMU whose log file has each byte once. */
function machine(directory: string): string {
  return `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>${GUEST}</name>
  <memory unit='MiB'>192</memory>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>${directory}/kernel</kernel>
    <initrd>${directory}/initramfs</initrd>
    <cmdline>console=ttyS0,115200 panic=0</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_reboot>restart</on_reboot>
  <devices>
    <serial type='pty'><log file='${directory}/serial.log' append='on'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:env name='LD_PRELOAD' value='${directory}/patient.so'/>
  </qemu:commandline>
</domain>
`;
}

/** It lies beside what only root has in its PATH. */
function programOf(name: string): string {
  const path = `${process.env['PATH']}:/usr/local/sbin:/usr/sbin:/sbin`;
  const found = path.split(':').find((directory) => existsSync(join(directory, name)));
  if (found === undefined) {
    throw new Error(
      `no ${name}: apt-get install --no-install-recommends libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients`,
    );
  }
  return join(found, name);
}

function giveAway(directory: string): void {
  chownSync(directory, NOBODY, NOBODY);
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    chownSync(join(directory, name), NOBODY, NOBODY);
  }
}

async function isThere(socket: string, daemon: ChildProcess): Promise<void> {
  for (const endMs = performance.now() + PATIENCE_MS; !existsSync(socket);) {
    if (daemon.exitCode !== null) throw new Error(`libvirtd ended with ${daemon.exitCode}`);
    if (performance.now() > endMs) throw new Error(`libvirtd does not listen on ${socket}`);
    await sleep(50);
  }
}
