import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon } from '../e2e/daemon.ts';
import { Feeder, LINE_RATE, verifyStream } from './feeder.ts';
import { cpuNs, residentBytes } from './process-usage.ts';
import { megabytes, percentile, type Bench, type Measurement, type Row } from './row.ts';
import { asRunning, fairlead, fairleadConfig, subjectDirectory } from './subjects.ts';

export const SURVIVAL_ROWS: readonly Row[] = [
  {
    name: 'kill-paced',
    what: 'kill -9 with 48 ports at 115,200 baud',
    measure: (bench) => kills(bench, { ports: 48, rate: LINE_RATE, count: bench.quick ? 3 : 20 }),
  },
  {
    name: 'kill-flat',
    what: 'kill -9 with 16 ports flat out',
    measure: (bench) => kills(bench, { ports: 16, rate: 0, count: bench.quick ? 3 : 20 }),
  },
  { name: 'idle', what: 'a daemon without ports', measure: idle },
];

/**
 * Kills the daemon again and again. The devices go on talking until the ttys are full; what the
 * daemon left in the kernel is taken out and counted, so that the next one starts with empty ttys:
 * fed = logged + left, and where one daemon ends and the next begins is known to the byte.
 */
async function kills(
  bench: Bench,
  load: { ports: number; rate: number; count: number },
): Promise<Measurement[]> {
  const directory = subjectDirectory(bench.directory, fairlead());
  const feeder = await Feeder.start(load.ports);
  const config = fairleadConfig(feeder.paths, directory);
  const parts: [number, number][][] = feeder.paths.map(() => []);
  let from = feeder.paths.map(() => 0);
  const readyMs: number[] = [];
  let daemon: Daemon | null = null;
  try {
    for (let i = 0; i <= load.count; i++) {
      bench.say(`daemon ${i + 1} of ${load.count + 1} ...`);
      const startedAt = performance.now();
      daemon = await Daemon.start(directory, config);
      if (i > 0) readyMs.push(performance.now() - startedAt);
      const fed = feeder.run({ rate: load.rate });
      await sleep(200 + Math.random() * 1_000);
      if (i < load.count) {
        daemon.signal('SIGKILL');
        await daemon.exited;
        feeder.stop();
        await fed;
      } else {
        feeder.stop();
        await fed;
        await sleep(1_000);
        await daemon.stop();
      }
      const { sent, unread } = await feeder.drain();
      for (const [port, pieces] of parts.entries()) {
        pieces.push([from[port]!, sent[port]! - unread[port]!]);
      }
      from = sent;
    }
    let missing = 0;
    let bad = 0;
    for (const [port, pieces] of parts.entries()) {
      const verdict = await verifyStream(port, asRunning(daemon!, 0).log(port), pieces);
      missing += Math.max(0, verdict.expected! - verdict.bytes);
      if (verdict.differsAt !== null) bad++;
    }
    const verify = await daemon!.cli(['verify']);
    const gaps = /\d+ gaps/.exec(verify.stdout.toString())?.[0] ?? 'gaps unknown';
    const slowest = percentile(readyMs, 1);
    return [
      {
        what: `kill -9 x ${load.count}, ${load.ports} ports ${load.rate > 0 ? 'at 115,200' : 'flat out'}: bytes missing; verify`,
        budget: '0; clean',
        result: `${missing}${bad > 0 ? `, ${bad} ports differ` : ''}; ${verify.code === 0 ? 'clean' : `exit ${verify.code}`}, ${gaps}`,
        floor: '',
        isMet: missing === 0 && bad === 0 && verify.code === 0,
      },
      {
        what: 'the same: ready again, p50 / slowest',
        budget: '2 s',
        result: `${(percentile(readyMs, 0.5) / 1000).toFixed(2)} / ${(slowest / 1000).toFixed(2)} s`,
        floor: '',
        isMet: slowest <= 2_000,
      },
    ];
  } finally {
    await daemon?.stop('SIGKILL');
    await feeder.close();
  }
}

async function idle(bench: Bench): Promise<Measurement[]> {
  const subject = fairlead();
  const running = await subject.start([], subjectDirectory(bench.directory, subject));
  try {
    await sleep(2_000);
    const before = cpuNs(running.pid);
    const lookMs = bench.quick ? 2_000 : 10_000;
    await sleep(lookMs);
    const cpuMsPerSecond = (cpuNs(running.pid) - before) / 1e6 / (lookMs / 1000);
    const { now } = residentBytes(running.pid);
    return [
      {
        what: 'idle daemon, no ports: RSS; CPU',
        budget: '<= 120 MB',
        result: `${megabytes(now)}; ${cpuMsPerSecond.toFixed(1)} ms/s`,
        floor: '',
        isMet: now <= 120e6,
      },
      {
        what: 'idle daemon, no ports: ready',
        budget: '1 s',
        result: `${running.readyMs} ms`,
        floor: '',
        isMet: running.readyMs! <= 1_000,
      },
    ];
  } finally {
    await running.stop();
  }
}
