import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Feeder, LINE_RATE, verifyStream, type Fed } from './feeder.ts';
import { cpuNs, residentBytes } from './process-usage.ts';
import { besideFloor, megabytes, type Bench, type Measurement, type Row } from './row.ts';
import {
  fairlead,
  floor,
  installedPeers,
  subjectDirectory,
  type RunningSubject,
  type Subject,
} from './subjects.ts';

/** What one subject did with one load. */
export interface Captured {
  fedBytes: number;
  /** Said by the devices, in no log: by count, and by comparing content. */
  lostBytes: number;
  badPorts: number;
  verifiedPorts: number;
  cpuSecondsPerMegabyte: number;
  /** From the first byte to the end of a clean stop: everything is in the log by then. */
  megabytesPerSecond: number;
  peakBytes: number;
  readyMs: number | null;
  behindBytesMax: number;
}

interface Load {
  ports: number;
  rate: number;
  seconds?: number;
  bytes?: number;
}

/** Long enough for what was fed to be read, committed and, with a peer, written. */
const SETTLE_MS = 1_500;
/**
 * Every log is compared; of more ports than this a sample is (test/e2e/capture.test.ts compares all
 * of 1,024). Each comparison is a `fairlead log` of its own, as a user would ask.
 */
const SAMPLE_PORTS = 256;
const QUICK_SAMPLE_PORTS = 32;

export const CAPTURE_ROWS: readonly Row[] = [
  pacedRow('capture48', 48, 0.07),
  pacedRow('capture256', 256, 0.05),
  {
    name: 'capture1024',
    what: '1,024 ports at 115,200 baud',
    async measure(bench) {
      const load = { ports: 1024, rate: LINE_RATE, seconds: bench.quick ? 5 : 45 };
      return beside(bench, load, (ours, base) => [
        {
          what: '1,024 ports at full rate: bytes lost',
          budget: '0',
          result: lossOf(ours),
          floor: String(base.lostBytes),
          isMet: isWhole(ours),
        },
        {
          what: '1,024 ports: ready',
          budget: '1 s',
          result: `${ours.readyMs} ms`,
          floor: `${base.readyMs} ms`,
          isMet: ours.readyMs !== null && ours.readyMs <= 1_000,
        },
        {
          what: '1,024 ports: RSS at most',
          budget: '300 MB',
          result: megabytes(ours.peakBytes),
          floor: megabytes(base.peakBytes),
          isMet: ours.peakBytes <= 300e6,
        },
        {
          what: '1,024 ports: CPU-s per MB',
          budget: '-',
          result: ours.cpuSecondsPerMegabyte.toFixed(3),
          floor: besideFloor(ours.cpuSecondsPerMegabyte, base.cpuSecondsPerMegabyte, 3),
          isMet: null,
        },
      ]);
    },
  },
  flatRow('flat1', 'one port flat out', 1, 400e6),
  flatRow('flat48', '48 ports flat out together', 48, 8e6),
  {
    name: 'disk',
    what: 'disk per logged byte',
    async measure(bench) {
      // Few ports and many bytes: what is not sealed yet, up to 256 KB of a port, is a small part.
      const load = { ports: 16, rate: 0, bytes: bench.quick ? 4e6 : 16e6 };
      const captured = await capture(bench, fairlead(), load);
      const data = join(subjectDirectory(bench.directory, fairlead()), 'data');
      const perByte = directoryBytes(data) / captured.fedBytes;
      const segments = directoryBytes(join(data, 'log')) / captured.fedBytes;
      return [
        {
          what: 'disk per logged byte, with times (of it the sealed segments)',
          budget: '<= 0.45',
          result: `${perByte.toFixed(2)} (${segments.toFixed(2)})`,
          floor: '',
          isMet: perByte <= 0.45,
        },
      ];
    },
  },
];

function pacedRow(name: string, ports: number, budget: number): Row {
  return {
    name,
    what: `${ports} ports at 115,200 baud, nobody attached`,
    measure: (bench) =>
      beside(
        bench,
        { ports, rate: LINE_RATE, seconds: bench.quick ? 8 : 46 },
        (ours, base, subject) => [
          {
            what: `capture + log, ${ports} ports at 115,200: CPU-s per MB${subject}`,
            budget: `<= ${budget}`,
            result: ours.cpuSecondsPerMegabyte.toFixed(3),
            floor: besideFloor(ours.cpuSecondsPerMegabyte, base.cpuSecondsPerMegabyte, 3),
            isMet: ours.cpuSecondsPerMegabyte <= budget,
          },
          {
            what: `the same: bytes lost; RSS at most${subject}`,
            budget: '0',
            result: `${lossOf(ours)}; ${megabytes(ours.peakBytes)}`,
            floor: `${base.lostBytes}; ${megabytes(base.peakBytes)}`,
            isMet: isWhole(ours),
          },
        ],
      ),
  };
}

function flatRow(name: string, what: string, ports: number, bytes: number): Row {
  return {
    name,
    what,
    measure: (bench) =>
      beside(
        bench,
        { ports, rate: 0, bytes: bench.quick ? bytes / 8 : bytes },
        (ours, base, subject) => [
          {
            what: `${what}, through to the log: MB/s${subject}`,
            budget: '>= 50',
            result: ours.megabytesPerSecond.toFixed(0),
            floor: besideFloor(ours.megabytesPerSecond, base.megabytesPerSecond, 0),
            isMet: ours.megabytesPerSecond >= 50,
          },
          {
            what: `the same: bytes lost${subject}`,
            budget: '0',
            result: lossOf(ours),
            floor: String(base.lostBytes),
            isMet: isWhole(ours),
          },
        ],
      ),
  };
}

/** Ours and the floor under one load, and the peers as further lines without a budget. */
async function beside(
  bench: Bench,
  load: Load,
  lines: (ours: Captured, base: Captured, subject: string) => Measurement[],
): Promise<Measurement[]> {
  const base = await capture(bench, floor(), load);
  const found = lines(await capture(bench, fairlead(), load), base, '');
  for (const peer of bench.peers ? installedPeers() : []) {
    const theirs = lines(await capture(bench, peer, load), base, ` (${peer.name})`);
    found.push(...theirs.map((line) => ({ ...line, budget: '-', isMet: null })));
  }
  return found;
}

/** Feeds a subject, ends it, and compares what it logged with what the kernel took. */
export async function capture(bench: Bench, subject: Subject, load: Load): Promise<Captured> {
  bench.say(`${subject.name}: ${load.ports} ports, ${load.rate || 'flat out'} ...`);
  const feeder = await Feeder.start(load.ports);
  let running: RunningSubject | null = null;
  try {
    running = await subject.start(feeder.paths, subjectDirectory(bench.directory, subject));
    const cpuBefore = cpuNs(running.pid);
    const fed: Fed = await feeder.run(load);
    await sleep(SETTLE_MS);
    const cpu = cpuNs(running.pid) - cpuBefore;
    const { peak } = residentBytes(running.pid);
    const stoppedAt = performance.now();
    await running.stop();
    const seconds = fed.seconds + (performance.now() - stoppedAt) / 1000;
    const { unread } = await feeder.drain();
    const wanted = fed.sent.map((bytes, index) => bytes - unread[index]!);
    const fedBytes = fed.sent.reduce((sum, bytes) => sum + bytes, 0);
    return {
      fedBytes,
      cpuSecondsPerMegabyte: cpu / 1e9 / (fedBytes / 1e6),
      megabytesPerSecond: fedBytes / 1e6 / seconds,
      peakBytes: peak,
      readyMs: running.readyMs,
      behindBytesMax: fed.behindBytesMax,
      ...(await compare(running, wanted, bench.quick)),
    };
  } finally {
    await running?.stop();
    await feeder.close();
  }
}

async function compare(
  running: RunningSubject,
  wanted: readonly number[],
  quick: boolean,
): Promise<Pick<Captured, 'lostBytes' | 'badPorts' | 'verifiedPorts'>> {
  const sample = quick ? QUICK_SAMPLE_PORTS : SAMPLE_PORTS;
  const step = Math.max(1, Math.floor(wanted.length / sample));
  const indexes = [...wanted.keys()].filter((index) => index % step === 0);
  const result = { lostBytes: 0, badPorts: 0, verifiedPorts: indexes.length };
  const work = indexes.values();
  const verifyNext = async (): Promise<void> => {
    for (const index of work) {
      const part = [0, wanted[index]!] as const;
      const verdict = await verifyStream(index, running.log(index), [part]);
      result.lostBytes += Math.max(0, wanted[index]! - verdict.bytes);
      if (verdict.differsAt !== null) result.badPorts++;
    }
  };
  // Two at a time: each is a process of its own, and the smallest machine meant has two cores.
  await Promise.all([verifyNext(), verifyNext()]);
  return result;
}

function isWhole(captured: Captured): boolean {
  return captured.lostBytes === 0 && captured.badPorts === 0;
}

function lossOf({ lostBytes, badPorts, verifiedPorts, fedBytes }: Captured): string {
  const bad = badPorts > 0 ? `, ${badPorts} ports differ` : '';
  return `${lostBytes} of ${megabytes(fedBytes)}${bad} (${verifiedPorts} ports compared)`;
}

function directoryBytes(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((entry) => !entry.startsWith('keys'))
    .map((entry) => statSync(join(directory, entry)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.blocks * 512 : 0), 0);
}
