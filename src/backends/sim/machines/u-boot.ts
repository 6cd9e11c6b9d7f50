import { pause, readKey, readLine, say } from '../machine.ts';
import type { Random, Script, Step, Typed } from '../machine.ts';

/** Seconds one has to stop the automatic boot. */
const BOOT_DELAY_S = 3;

/**
 * A development board: boot loader with its countdown, then a firmware that reports its work and
 * at times is bitten by its watchdog.
 */
export function* uBootBoard(random: Random, traits: { hostName: string }): Script {
  for (;;) {
    yield* say('\nU-Boot SPL 2025.07 (lab)\nTrying to boot from MMC1\n');
    yield* pause(200);
    yield* say('\n\nU-Boot 2025.07 (lab)\n\n');
    yield* say(`Model: Fairlead Works ${traits.hostName}\nDRAM:  512 MiB\n`);
    yield* say('MMC:   mmc@4809c000: 0\nIn:    serial\nOut:   serial\nErr:   serial\n');
    if (yield* isAutobootStopped()) yield* runPrompt();
    else yield* runFirmware(random);
    yield* pause(400);
  }
}

function* isAutobootStopped(): Generator<Step, boolean, Typed> {
  yield* say(`Hit any key to stop autoboot:  ${BOOT_DELAY_S} `);
  for (let left = BOOT_DELAY_S; left > 0; left--) {
    const typed = yield* readKey(1_000);
    if (typed !== null) {
      yield* say('\n');
      return true;
    }
    yield* say(`\b\b\b ${left - 1} `);
  }
  yield* say('\n');
  return false;
}

/** Until `boot` or `reset`. */
function* runPrompt(): Generator<Step, void, Typed> {
  for (;;) {
    yield* say('=> ');
    const typed = yield* readLine(Infinity);
    const command = typed?.kind === 'line' ? typed.text.trim() : '';
    if (command === 'reset') return yield* say('resetting ...\n');
    if (command === 'boot') return yield* say('## Starting application at 0x82000000 ...\n');
    if (command === 'version') yield* say('U-Boot 2025.07 (lab)\n');
    else if (command === 'printenv') {
      yield* say('baudrate=115200\nbootcmd=run mmcboot\nbootdelay=3\nstdin=serial\n');
    } else if (command === 'help') yield* say('boot  help  printenv  reset  version\n');
    else if (command !== '') {
      yield* say(`Unknown command '${command}' - try 'help'\n`);
    }
  }
}

function* runFirmware(random: Random): Generator<Step, void, Typed> {
  yield* say('## Starting application at 0x82000000 ...\n');
  const reports = random.between(20, 120);
  for (let report = 1; report <= reports; report++) {
    yield* pause(random.between(1_000, 3_000));
    const degrees = (40 + random.next() * 12).toFixed(1);
    yield* say(`sensor: report ${report}, ${degrees} C, ${random.between(3_280, 3_320)} mV\n`);
  }
  if (random.next() < 0.5) {
    const pc = random.between(0x82000000, 0x82040000).toString(16);
    yield* say('data abort\n');
    yield* say(`pc : [<${pc}>]          lr : [<82003a14>]\n`);
    yield* say('sp : 9df2fd90  ip : 0000000c     fp : 82041f00\n');
    yield* say('Resetting CPU ...\n\nresetting ...\n');
  } else {
    yield* say('sensor: bus stuck, waiting\n');
    yield* pause(8_000);
    yield* say('watchdog: reset\n');
  }
}
