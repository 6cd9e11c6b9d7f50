import { pause, readLine, say } from '../machine.ts';
import type { Random, Script, Step, Typed } from '../machine.ts';

export interface LinuxTraits {
  hostName: string;
  /** Mean time from a boot to the next panic; null: it panics only when told to by SysRq. */
  panicMeanMs: number | null;
}

type Part<Result = void> = Generator<Step, Result, Typed>;

/** How a session at the console ended. */
type Ending = 'reboot' | 'panic' | 'sysrq panic' | 'sysrq reboot';

const KERNEL = '6.12.41-lab-amd64';
const BANNER = `Linux version ${KERNEL} (build@lab) (gcc 14.2.0, GNU ld 2.44) #1 SMP PREEMPT_DYNAMIC`;

/** Boot messages in order; `at`: kernel time of the first, in seconds. */
const KERNEL_LINES: readonly { at: number; lines: readonly string[] }[] = [
  {
    at: 0,
    lines: [
      BANNER,
      'Command line: root=/dev/vda1 ro console=ttyS0,115200n8 panic=3',
      'BIOS-provided physical RAM map:',
      'BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable',
      'BIOS-e820: [mem 0x0000000000100000-0x00000000bffd6fff] usable',
      'NX (Execute Disable) protection: active',
      'DMI: Fairlead Works Rack Unit 2/RU2-A, BIOS 1.04 02/11/2025',
      'tsc: Detected 2893.202 MHz processor',
    ],
  },
  {
    at: 0.084_113,
    lines: [
      'ACPI: Early table checksum verification disabled',
      'Zone ranges: DMA32 and Normal populated',
      'smpboot: CPU0: Lab Semiconductor R7 (family: 0x19, model: 0x11, stepping: 0x1)',
      'smp: Bringing up secondary CPUs ...',
      'smp: Brought up 1 node, 4 CPUs',
      'devtmpfs: initialized',
      'NET: Registered PF_NETLINK/PF_ROUTE protocol family',
      'PCI: Using configuration type 1 for base access',
      'clocksource: Switched to clocksource tsc',
    ],
  },
  {
    at: 0.731_904,
    lines: [
      'Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled',
      '00:03: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A',
      'printk: console [ttyS0] enabled',
      'virtio_blk virtio1: [vda] 83886080 512-byte logical blocks (42.9 GB)',
      ' vda: vda1 vda2',
      'labnic 0000:00:04.0 eth0: link up, 10000 Mbps full duplex',
      'EXT4-fs (vda1): mounted filesystem with ordered data mode',
      'VFS: Mounted root (ext4 filesystem) readonly on device 254:1.',
      'Run /sbin/init as init process',
    ],
  },
];

const SERVICES = [
  'Journal Service',
  'Create Static Device Nodes in /dev',
  'Network Configuration',
  'Remount Root File System',
  'Time Synchronization',
  'OpenSSH server',
  'PostgreSQL database cluster main',
  'Regular background program processing',
  'Serial Getty on ttyS0',
] as const;

/** What a server says on its console of a quiet afternoon. */
const CHATTER = [
  'labnic 0000:00:04.0 eth0: link down',
  'labnic 0000:00:04.0 eth0: link up, 10000 Mbps full duplex',
  'EXT4-fs (vda2): re-mounted r/w',
  'TCP: request_sock_TCP: possible SYN flooding on port 5432, sending cookies',
  'mce: CPU2: core temperature above threshold, clock throttled (total events = 3)',
  'perf: interrupt took too long (2511 > 2500), lowering the sample rate',
  'audit: backlog of 64 records flushed',
] as const;

interface Death {
  headline: string;
  detail: readonly string[];
  process: string;
  trace: readonly string[];
  panic: string;
}

const DEATHS: readonly Death[] = [
  {
    headline: 'BUG: kernel NULL pointer dereference, address: 0000000000000018',
    detail: [
      '#PF: supervisor read access in kernel mode',
      'Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI',
    ],
    process: 'ksoftirqd/2',
    trace: [
      'labnic_clean_rx_ring+0x1d4/0x3b0 [labnic]',
      'labnic_poll+0x8c/0x140 [labnic]',
      'net_rx_action+0x2a1/0x380',
      'handle_softirqs+0xd9/0x2b0',
      'run_ksoftirqd+0x34/0x50',
      'smpboot_thread_fn+0xf4/0x1f0',
      'kthread+0xfb/0x130',
      'ret_from_fork+0x34/0x50',
    ],
    panic: 'Fatal exception in interrupt',
  },
  {
    headline: 'general protection fault, probably for non-canonical address 0xdead000000000122',
    detail: ['Oops: general protection fault: 0000 [#1] PREEMPT SMP NOPTI'],
    process: 'postgres',
    trace: [
      'list_lru_del_obj+0x5e/0xa0',
      'labfs_evict_extent+0x11b/0x290 [labfs]',
      'labfs_writepages+0x4c7/0x860 [labfs]',
      'do_writepages+0xcf/0x260',
      'file_write_and_wait_range+0x8b/0xb0',
      'labfs_sync_file+0x66/0x2f0 [labfs]',
      'do_syscall_64+0x82/0x190',
      'entry_SYSCALL_64_after_hwframe+0x76/0x7e',
    ],
    panic: 'Fatal exception',
  },
  {
    headline: 'INFO: task raid-check:311 blocked for more than 120 seconds.',
    detail: ['      Not tainted 6.12.41-lab-amd64 #1'],
    process: 'khungtaskd',
    trace: [
      'watchdog+0x1f2/0x480',
      'kthread+0xfb/0x130',
      'ret_from_fork+0x34/0x50',
      'ret_from_fork_asm+0x1a/0x30',
    ],
    panic: 'hung_task: blocked tasks',
  },
];

/** A server with a login on its serial line: boots, idles, is logged in to, dies now and then. */
export function* linuxServer(random: Random, traits: LinuxTraits): Script {
  for (;;) {
    yield* bootFirmware();
    const kernel = makeKernelClock();
    for (const { at, lines } of KERNEL_LINES) {
      kernel.atLeast(at);
      for (const line of lines) yield* kernel.print(random, line);
      yield* pause(random.between(120, 400));
    }
    for (const service of SERVICES) {
      yield* say(`         Starting ${service}...\n`);
      yield* pause(random.between(20, 180));
      yield* say(`[  \x1b[0;32mOK\x1b[0m  ] Started ${service}.\n`);
    }
    const lifeMs =
      traits.panicMeanMs === null ? Infinity : traits.panicMeanMs * (0.5 + random.next());
    const ending = yield* runConsole(random, traits.hostName, lifeMs, kernel);
    if (ending === 'panic' || ending === 'sysrq panic') {
      yield* die(random, kernel, ending === 'panic' ? random.pick(DEATHS) : null);
    } else if (ending === 'reboot') {
      yield* say('\n         Stopping all services...\n');
      yield* pause(600);
      yield* kernel.print(random, 'reboot: Restarting system');
    } else {
      yield* kernel.print(random, 'sysrq: Resetting');
    }
    yield* pause(1_200);
  }
}

function* bootFirmware(): Part {
  yield* say('\x1bc\x1b[?7l\nLabBIOS 1.04 (c) Fairlead Works\nMemory test: 3072 MB OK\n');
  yield* pause(900);
  yield* say('Booting from Hard Disk...\nGRUB loading.\n');
  yield* pause(500);
  yield* say(`Loading Linux ${KERNEL} ...\nLoading initial ramdisk ...\n`);
  yield* pause(700);
}

interface KernelClock {
  print(random: Random, text: string): Part;
  /** Kernel time goes on while nothing is printed. */
  pass(milliseconds: number): void;
  atLeast(seconds: number): void;
}

function makeKernelClock(): KernelClock {
  let seconds = 0;
  return {
    *print(random, text) {
      yield* say(`[${seconds.toFixed(6).padStart(12)}] ${text}\n`);
      seconds += random.between(40, 9_000) / 1e6;
    },
    pass: (milliseconds) => {
      seconds += milliseconds / 1_000;
    },
    atLeast: (wanted) => {
      seconds = Math.max(seconds, wanted);
    },
  };
}

/** Login and shell until the machine goes down. Chatter appears in the middle of what is typed. */
function* runConsole(
  random: Random,
  hostName: string,
  lifeMs: number,
  kernel: KernelClock,
): Part<Ending> {
  let leftMs = lifeMs;
  const shell = makeShell(hostName);
  for (;;) {
    const isPassword = shell.state === 'password';
    yield* say(shell.prompt());
    for (;;) {
      const quietMs = Math.min(random.between(8_000, 45_000), leftMs);
      const typed = yield* readLine(quietMs, !isPassword);
      if (typed === null) {
        leftMs -= quietMs;
        kernel.pass(quietMs);
        if (leftMs <= 0) return 'panic';
        // A dying machine's neighbours complain first; a healthy one is quiet more often than not.
        yield* say(shell.state === 'login' ? '\n' : '');
        yield* kernel.print(random, random.pick(CHATTER));
        continue;
      }
      if (typed.kind === 'sysrq') {
        if (typed.key === 'c') return 'sysrq panic';
        if (typed.key === 'b') return 'sysrq reboot';
        yield* kernel.print(random, 'sysrq: HELP : reboot(b) crash(c) help(h) sync(s)');
        continue;
      }
      if (typed.kind !== 'line') continue;
      yield* say(shell.enter(typed.text));
      break;
    }
    if (shell.isRebooting) return 'reboot';
  }
}

interface Shell {
  readonly state: 'login' | 'password' | 'shell';
  readonly isRebooting: boolean;
  prompt(): string;
  /** What the machine answers to a line. */
  enter(line: string): string;
}

/** Any name and any password will do: it is a play. */
function makeShell(hostName: string): Shell {
  let state: Shell['state'] = 'login';
  let user = '';
  let isRebooting = false;

  const commands: Readonly<Record<string, (argument: string) => string>> = {
    help: () => `${Object.keys(commands).join('  ')}\n`,
    hostname: () => `${hostName}\n`,
    uname: () => `Linux ${hostName} ${KERNEL} x86_64 GNU/Linux\n`,
    uptime: () => ' up 3 min,  1 user,  load average: 0.08, 0.12, 0.05\n',
    whoami: () => `${user}\n`,
    echo: (argument) => `${argument}\n`,
    ls: () => 'backup.sh  notes.txt  restore.log\n',
    cat: (argument) =>
      argument === 'notes.txt'
        ? 'Call the vendor before you touch the RAID.\n'
        : `cat: ${argument}: No such file or directory\n`,
    df: () => 'Filesystem  Size  Used Avail Use% Mounted on\n/dev/vda1    40G   27G   11G  72% /\n',
    reboot: () => {
      isRebooting = true;
      return '\nBroadcast message: the system is going down for reboot now.\n';
    },
    exit: () => {
      state = 'login';
      return '\n';
    },
  };

  return {
    get state() {
      return state;
    },
    get isRebooting() {
      return isRebooting;
    },
    prompt() {
      if (state === 'login') return `\nLab Linux 13 ${hostName} ttyS0\n\n${hostName} login: `;
      if (state === 'password') return 'Password: ';
      return `${user}@${hostName}:~${user === 'root' ? '#' : '$'} `;
    },
    enter(line) {
      const text = line.trim();
      if (state === 'login') {
        if (text !== '') {
          user = text;
          state = 'password';
        }
        return '';
      }
      if (state === 'password') {
        state = 'shell';
        return `\nWelcome to ${hostName}. "help" lists what works here.\n`;
      }
      if (text === '') return '';
      const [name, ...rest] = text.split(/\s+/);
      const command = Object.hasOwn(commands, name!) ? commands[name!] : undefined;
      return command?.(rest.join(' ')) ?? `sh: ${name}: command not found\n`;
    },
  };
}

/** A panic as it looks on a serial line: report, trace, registers, the end. `death` null: SysRq c. */
function* die(random: Random, kernel: KernelClock, death: Death | null): Part {
  const print = (text: string): Part => kernel.print(random, text);
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () => random.between(0, 15).toString(16)).join('');
  yield* say('\n');
  if (death === null) yield* print('sysrq: Trigger a crash');
  else {
    yield* print(death.headline);
    for (const line of death.detail) yield* print(line);
  }
  const cpu = random.between(0, 3);
  const processName = death?.process ?? 'swapper/0';
  const pid = random.between(20, 4_000);
  yield* print(`CPU: ${cpu} UID: 0 PID: ${pid} Comm: ${processName} Not tainted ${KERNEL} #1`);
  yield* print('Hardware name: Fairlead Works Rack Unit 2/RU2-A, BIOS 1.04 02/11/2025');
  if (death !== null) yield* print(`RIP: 0010:${death.trace[0]}`);
  for (const [left, right] of [
    ['RAX', 'RBX'],
    ['RCX', 'RDX'],
    ['RSI', 'RDI'],
  ]) {
    yield* print(`${left}: ffff${hex(12)} ${right}: ${hex(16)}`);
  }
  yield* print('Call Trace:');
  yield* print(' <TASK>');
  for (const frame of death?.trace ?? ['sysrq_handle_crash+0x1a/0x20', 'handle_sysrq+0x9e/0x1d0']) {
    yield* print(` ${frame}`);
  }
  yield* print(' </TASK>');
  if (death !== null) yield* print('---[ end trace 0000000000000000 ]---');
  yield* print(`Kernel panic - not syncing: ${death?.panic ?? 'sysrq triggered crash'}`);
  yield* print(`Kernel Offset: 0x${hex(8)} from 0xffffffff81000000`);
  yield* print('Rebooting in 3 seconds..');
  yield* pause(3_000);
}
