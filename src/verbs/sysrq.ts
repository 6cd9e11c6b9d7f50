import { Fault } from '../core/fault.ts';
import { didYouMean } from '../core/names.ts';

export interface SysrqKey {
  /** What follows the BREAK. */
  key: string;
  /** For the log and for questions: `sysrq c (crash)`. */
  label: string;
  /** It ends or kills something. */
  isDangerous: boolean;
}

/**
 * A key of Linux's magic SysRq by its letter, its digit or its name
 * (Documentation/admin-guide/sysrq.rst). A letter with no name here is taken as it is: machines
 * other than x86 have more.
 * @throws Fault USAGE.
 */
export function sysrqKey(word: string): SysrqKey {
  const lower = word.toLowerCase();
  const known = word.length === 1 ? null : SYSRQ_NAMES[lower];
  const level = /^loglevel-?([0-9])$/.exec(lower)?.[1];
  const key = known ?? level ?? (/^[A-Za-z0-9]$/.test(word) ? word : null);
  if (key === null) {
    const names = Object.keys(SYSRQ_NAMES);
    const near = didYouMean(word, names) || `; names: ${names.join(', ')}, loglevel-0 to -9`;
    throw new Fault('USAGE', `"${word}" is no SysRq key: a letter, a digit or a name${near}`);
  }
  const name = /\d/.test(key)
    ? `loglevel ${key}`
    : Object.keys(SYSRQ_NAMES).find((each) => SYSRQ_NAMES[each] === key);
  return {
    key,
    label: name === undefined ? `sysrq ${key}` : `sysrq ${key} (${name})`,
    isDangerous: DANGEROUS_KEYS.includes(key),
  };
}

export const SYSRQ_NAMES: Readonly<Record<string, string>> = {
  help: 'h',
  crash: 'c',
  reboot: 'b',
  poweroff: 'o',
  sync: 's',
  unmount: 'u',
  term: 'e',
  kill: 'i',
  oom: 'f',
  thaw: 'j',
  'show-tasks': 't',
  'show-blocked': 'w',
  'show-memory': 'm',
  'show-registers': 'p',
  'show-cpus': 'l',
  'show-locks': 'd',
  'show-timers': 'q',
  'dump-trace': 'z',
  'replay-log': 'R',
  'nice-realtime': 'n',
  'secure-attention': 'k',
  'raw-off': 'r',
  debugger: 'g',
};

/** Reboot, crash, power off; SIGTERM and SIGKILL to all but init. */
const DANGEROUS_KEYS = 'bcoei';
