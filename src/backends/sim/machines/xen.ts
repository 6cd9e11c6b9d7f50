import { pause, readKey, readLine, say } from '../machine.ts';
import type { Random, Script, Step, Typed } from '../machine.ts';

const GUESTS = ['web1', 'mail1', 'build7'] as const;

/** A Xen host: hypervisor and dom0 share the line; CTRL-A three times moves the input between them. */
export function* xenHost(random: Random, traits: { hostName: string }): Script {
  for (;;) {
    yield* hypervisor(' Xen 4.20.0 (lab)');
    yield* hypervisor('Bootloader: GRUB 2.12');
    yield* hypervisor('Command line: com1=115200,8n1 console=com1 noreboot=no');
    yield* hypervisor('System RAM: 16383MB (16776704kB)');
    yield* hypervisor('Brought up 8 CPUs');
    yield* hypervisor('*** Building a PV Dom0 ***');
    yield* pause(400);
    yield* hypervisor("*** Serial input to DOM0 (type 'CTRL-a' three times to switch input)");
    yield* say('[    0.000000] Linux version 6.12.41-lab-dom0 (build@lab) #1 SMP\n');
    yield* say('[    0.000000] Command line: console=hvc0 root=/dev/vda1 ro\n');
    yield* pause(1_500);
    for (const guest of GUESTS) {
      yield* say(`xl: started guest ${guest}\n`);
      yield* pause(random.between(300, 900));
    }
    yield* runHost(random, traits.hostName);
    yield* hypervisor('Hardware Dom0 crashed: rebooting machine in 5 seconds.');
    yield* pause(5_000);
  }
}

function* hypervisor(text: string): Generator<Step, void, Typed> {
  yield* say(`(XEN) ${text}\n`);
}

/** Until dom0 dies, which takes a quarter of an hour or so, or key `R` at the hypervisor. */
function* runHost(random: Random, hostName: string): Generator<Step, void, Typed> {
  let isHypervisor = false;
  const quietPeriods = random.between(15, 40);
  for (let period = 0; period < quietPeriods;) {
    if (!isHypervisor) yield* say(`\n${hostName} login: `);
    const quietMs = random.between(15_000, 45_000);
    const typed = isHypervisor ? yield* readKey(quietMs) : yield* readLine(quietMs);
    if (typed === null) {
      period++;
      const guest = random.pick(GUESTS);
      yield* hypervisor(`d${GUESTS.indexOf(guest) + 1}: ${guest} balloon target reached`);
    } else if (typed.kind === 'switch') {
      isHypervisor = !isHypervisor;
      const owner = isHypervisor ? 'Xen' : 'DOM0';
      yield* hypervisor(`*** Serial input to ${owner} (type 'CTRL-a' three times to switch input)`);
    } else if (typed.kind === 'key') {
      if (typed.key === 'R') return;
      yield* hypervisor(`'${typed.key}' pressed -> installed handlers: R (reboot machine)`);
    }
  }
  yield* say('[ 5121.300417] BUG: unable to handle page fault for address: ffffc90000a41000\n');
  yield* say('[ 5121.300902] RIP: e030:labback_map_grants+0x2c1/0x510 [labback]\n');
  yield* say('[ 5121.301377] Call Trace:\n');
  for (const frame of ['labback_dispatch+0x1aa/0x3d0', 'labback_schedule+0x9f/0x230']) {
    yield* say(`[ 5121.301602]  ${frame} [labback]\n`);
  }
  yield* say('[ 5121.302118] Kernel panic - not syncing: Fatal exception\n');
}
