import assert from 'node:assert/strict';
import { LINES, type AdapterName, type Appliance, type LoggedRecord } from './appliance.ts';

/** What each adapter's device says, all the time: no letter of the one is in the words of the other. */
const WORDS = { usb0: 'left ', usb1: 'RIGHT ' } as const;
const ADAPTERS = ['usb0', 'usb1'] as const;

/** One return of one adapter. */
export interface Return {
  adapter: AdapterName;
  /** `/dev/ttyUSB0` or `/dev/ttyUSB1`. */
  tty: string;
  /** From the kernel's making the tty until udev made its name in /dev/serial/by-id. */
  namedMs: number;
  /** From then until the port was up, by its record; below zero: even before. */
  upMs: number;
  /** From then until the first byte was captured, by its record. */
  byteMs: number;
}

/**
 * Unplugs both adapters and plugs them in again, the other one first each time, so that they swap
 * their names; ports `usb0` and `usb1` have them by what they are. Their devices talk from the moment
 * they are plugged in until they were heard: QEMU 7.2 was seen to crash when they talk while
 * they are pulled out.
 */
export async function replug(appliance: Appliance, rounds: number): Promise<Return[]> {
  const returns: Return[] = [];
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? (['usb1', 'usb0'] as const) : ADAPTERS;
    returns.push(...(await replugOnce(appliance, order)));
  }
  for (const name of ADAPTERS) {
    const bytes = (await appliance.rx(name)).toString('latin1');
    const stray = new RegExp(`[^${WORDS[name]}]`).exec(bytes);
    assert.equal(stray, null, `${name} has what it did not say: ${bytes.slice(stray?.index)}`);
  }
  return returns;
}

async function replugOnce(appliance: Appliance, order: readonly AdapterName[]): Promise<Return[]> {
  const { daemon } = appliance;
  const from = daemon.journal.length;
  for (const name of order) await appliance.unplug(name);
  for (const name of order) {
    await daemon.said('port down', ({ port }) => port === name, from);
  }
  // The first one back gets the first number.
  const talkers: NodeJS.Timeout[] = [];
  const returns: Return[] = [];
  try {
    for (const name of order) {
      await appliance.plug(name);
      talkers.push(setInterval(() => appliance.line(name).say(WORDS[name]), 20));
      await daemon.said('port up', ({ port }) => port === name, from);
    }
    for (const adapter of order) {
      const down = await daemon.said('port down', ({ port }) => port === adapter, from);
      const sinceUs = Date.parse(String(down['time'])) * 1_000;
      const log = await appliance.logUntil(adapter, (all) => saysAgain(all, sinceUs) !== null);
      const [up, byte] = saysAgain(log, sinceUs)!;
      const tty = String(up['detail']).split(' ')[0]!;
      returns.push({ adapter, tty, ...(await timesOf(appliance, adapter, tty, up, byte)) });
    }
  } finally {
    talkers.forEach(clearInterval);
  }
  return returns;
}

/** The records of the first return after that time: the port is up, and the first bytes. */
function saysAgain(
  log: readonly LoggedRecord[],
  sinceUs: number,
): [LoggedRecord, LoggedRecord] | null {
  const up = log.findIndex(({ kind, atUs }) => kind === 'up' && atUs >= sinceUs);
  const byte = up < 0 ? undefined : log.slice(up).find(({ kind }) => kind === 'rx');
  return byte === undefined ? null : [log[up]!, byte];
}

async function timesOf(
  appliance: Appliance,
  adapter: AdapterName,
  tty: string,
  up: LoggedRecord,
  byte: LoggedRecord,
): Promise<Pick<Return, 'namedMs' | 'upMs' | 'byteMs'>> {
  const link = LINES[adapter].path;
  // Births of the tty, which the kernel makes, and of its name, which udev makes.
  const births = await appliance.shell(
    `until [ "$(readlink -f ${link})" = ${tty} ]; do sleep 0.1; done; stat -c %.6W ${tty} ${link}`,
  );
  const [born, named] = births.trim().split('\n').map(microseconds) as [number, number];
  return {
    namedMs: (named - born) / 1_000,
    upMs: (up.atUs - named) / 1_000,
    byteMs: (byte.atUs - named) / 1_000,
  };
}

function microseconds(seconds: string): number {
  return Math.round(Number(seconds) * 1e6);
}

/** Least, median and most of the times. */
export function describeReturns(returns: readonly Return[]): string {
  const spread = (times: number[]): string => {
    const sorted = times.sort((a, b) => a - b);
    const [least, median, most] = [sorted[0]!, sorted[sorted.length >> 1]!, sorted.at(-1)!];
    return `${least.toFixed(0)} / ${median.toFixed(0)} / ${most.toFixed(0)} ms`;
  };
  return [
    `${returns.length} returns, least / median / most: named`,
    `${spread(returns.map(({ namedMs }) => namedMs))} after the tty is there; then the port is up`,
    `after ${spread(returns.map(({ upMs }) => upMs))}, the first byte captured`,
    `after ${spread(returns.map(({ byteMs }) => byteMs))}`,
  ].join(' ');
}
