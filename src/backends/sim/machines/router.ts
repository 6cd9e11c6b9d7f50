import { pause, readKey, readLine, say } from '../machine.ts';
import type { Random, Script, Step, Typed } from '../machine.ts';

const LINKS = ['GigabitEthernet0/1', 'GigabitEthernet0/2', 'TenGigabit1/1'] as const;

type Mode = 'user' | 'enabled' | 'configuring';

const SUFFIX: Readonly<Record<Mode, string>> = {
  user: '>',
  enabled: '#',
  configuring: '(config)#',
};

/** A router's command line: modes, `--More--`, log messages in the middle of what one types. */
export function* router(random: Random, traits: { hostName: string }): Script {
  for (;;) {
    yield* say('\nLabRouter Bootstrap, Version 4.2\nSelf test passed. Loading image...');
    for (let block = 0; block < 40; block++) {
      yield* say('#');
      yield* pause(50);
    }
    yield* say(' [OK]\n\nLabRouter software, version 12.7, 3 interfaces, 512 MB memory\n');
    yield* say('\nPress RETURN to get started.\n');
    yield* runCli(random, traits.hostName);
    yield* say('\n%SYS-5-RELOAD: Reload requested by console\n');
    yield* pause(2_000);
  }
}

function* runCli(random: Random, startName: string): Generator<Step, void, Typed> {
  let mode: Mode = 'user';
  let name = startName;
  yield* readLine(60_000, false);
  for (;;) {
    yield* say(`${name}${SUFFIX[mode]}`);
    const line = yield* readLineOrLog(random);
    const [verb = '', ...words] = line.trim().split(/\s+/);
    const rest = words.join(' ');
    if (verb === '') continue;
    if (verb === 'reload' && mode === 'enabled') return;
    if (verb === 'enable' && mode === 'user') {
      yield* say('Password: ');
      yield* readLine(30_000, false);
      mode = 'enabled';
    } else if (verb.startsWith('conf') && mode === 'enabled') {
      yield* say('Enter configuration commands, one per line. End with "exit".\n');
      mode = 'configuring';
    } else if (verb === 'hostname' && mode === 'configuring' && rest !== '') {
      name = rest;
    } else if (verb === 'exit') {
      mode = mode === 'configuring' ? 'enabled' : 'user';
    } else if (verb === 'show' && 'version'.startsWith(rest)) {
      yield* say('LabRouter software, version 12.7\nUptime is 5 days, 3 hours\n');
    } else if (verb === 'show' && 'interfaces'.startsWith(rest)) {
      yield* page(LINKS.flatMap((link) => describeLink(random, link)));
    } else if (verb === '?' || verb === 'help') {
      yield* say('  enable  configure  exit  hostname  reload  show version|interfaces\n');
    } else {
      yield* say(`% Unknown command: "${line.trim()}"\n`);
    }
  }
}

function* readLineOrLog(random: Random): Generator<Step, string, Typed> {
  for (;;) {
    const typed = yield* readLine(random.between(20_000, 90_000));
    if (typed?.kind === 'line') return typed.text;
    const state = random.pick(['up', 'down']);
    yield* say(`\n%LINK-3-UPDOWN: Interface ${random.pick(LINKS)}, changed state to ${state}\n`);
  }
}

function* page(lines: readonly string[]): Generator<Step, void, Typed> {
  for (const [index, line] of lines.entries()) {
    yield* say(`${line}\n`);
    if (index % 10 !== 9 || index === lines.length - 1) continue;
    yield* say(' --More-- ');
    const typed = yield* readKey(60_000);
    yield* say('\b'.repeat(10) + ' '.repeat(10) + '\b'.repeat(10));
    if (typed?.kind === 'key' && typed.key === 'q') return;
  }
}

function describeLink(random: Random, link: string): string[] {
  return [
    `${link} is up, line protocol is up`,
    `  MTU 1500 bytes, BW 1000000 Kbit, load ${random.between(1, 90)}/255`,
    `  ${random.between(1_000, 99_999)} packets input, 0 input errors, 0 CRC`,
    `  ${random.between(1_000, 99_999)} packets output, 0 collisions`,
    '',
  ];
}
