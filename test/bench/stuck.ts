import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PortStatus } from '../../src/core/port-status.ts';
import { Daemon } from '../e2e/daemon.ts';
import { compileC } from '../support/compile-c.ts';
import { megabytes, percentile, type Bench, type Measurement, type Row } from './row.ts';
import { dial, typeKeys } from './sessions.ts';
import { fairleadConfig, subjectDirectory } from './subjects.ts';

const STUCK_PORTS = 48;
/** More than a session may have under way, and than a tty takes. */
const PASTE_BYTES = 200_000;

export const STUCK_ROWS: readonly Row[] = [
  {
    name: 'stuck48',
    what: '48 devices that take nothing, pasted at, and an endless source of NULs',
    measure,
  },
];

async function measure(bench: Bench): Promise<Measurement[]> {
  const rawBase = (await freeTcpPorts(2 + STUCK_PORTS)) - 1;
  const directory = subjectDirectory(bench.directory, { name: 'Fairlead' });
  const echo = spawn(compileC('test/bench/echo.c'), { stdio: ['pipe', 'pipe', 'inherit'] });
  const devices = spawn(compileC('test/bench/nul.c'), [String(STUCK_PORTS)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [echoPath] = await linesOf(echo, 1);
  const paths = [echoPath!, ...(await linesOf(devices, 1 + STUCK_PORTS))];
  const daemon = await Daemon.start(directory, fairleadConfig(paths, directory, { rawBase }));
  const pid = daemon.process.pid!;
  const sockets: Socket[] = [];
  try {
    const session = await dial(rawBase + 1);
    sockets.push(session);
    for (let stuck = 0; stuck < STUCK_PORTS; stuck++) {
      const socket = await dial(rawBase + 3 + stuck);
      socket.on('error', () => undefined);
      socket.resume().write('x');
      sockets.push(socket);
    }
    await sleep(1_000);
    await typeKeys(session, 300);
    const before = privateBytes(pid);
    const diskBefore = bytesIn(join(directory, 'data'));
    const [, ...stuck] = sockets;
    for (const socket of stuck) socket.write(Buffer.alloc(PASTE_BYTES, 'x'));
    devices.stdin.write('go\n');
    bench.say('48 stuck, NULs without end ...');
    const times = await typeKeys(session, bench.quick ? 1_000 : 5_000);
    const after = privateBytes(pid);
    const raw = await nulsOf(daemon);
    for (const socket of sockets) socket.destroy();
    await daemon.stop();
    const disk = Math.max(0, bytesIn(join(directory, 'data')) - diskBefore);
    const [p50, p99] = [percentile(times, 0.5), percentile(times, 0.99)];
    const share = disk / raw;
    const what = `${STUCK_PORTS} stuck devices and one endless source of NULs`;
    return [
      {
        what: `${what}: keystroke echo on another port, p50 / p99`,
        budget: 'p99 < 20 ms',
        result: `${p50.toFixed(2)} / ${p99.toFixed(1)} ms`,
        floor: '',
        isMet: p99 < 20,
      },
      {
        what: `${what}: RSS`,
        budget: '+16 MB at most',
        result: `+${megabytes(after - before)}`,
        floor: '',
        isMet: after - before <= 16e6,
      },
      {
        what: `${what}: disk for NULs`,
        budget: '<= 1 % of raw',
        result: `${(share * 100).toFixed(2)} % of ${megabytes(raw)}`,
        floor: '',
        isMet: share <= 0.01,
      },
    ];
  } finally {
    for (const socket of sockets) socket.destroy();
    await daemon.stop();
    echo.stdin.end();
    devices.stdin.end();
  }
}

/** The first of so many in a row, below those that the kernel gives to clients. */
async function freeTcpPorts(count: number): Promise<number> {
  for (;;) {
    const first = 10_000 + Math.floor(Math.random() * 20_000);
    const servers = Array.from({ length: count }, () => createServer());
    try {
      for (const [index, server] of servers.entries()) {
        await once(server.listen(first + index, '127.0.0.1'), 'listening');
      }
      return first;
    } catch {
      // One of them is taken: elsewhere, then.
    } finally {
      for (const server of servers) server.close();
    }
  }
}

async function nulsOf(daemon: Daemon): Promise<number> {
  const { stdout } = await daemon.cli(['ports', 'p0002', '--json']);
  const [status] = JSON.parse(stdout.toString()) as PortStatus[];
  return status!.offset;
}

async function linesOf(child: ChildProcess, count: number): Promise<string[]> {
  const reader = createInterface({ input: child.stdout! });
  const lines: string[] = [];
  reader.on('line', (line) => lines.push(line));
  while (lines.length < count) await once(reader, 'line');
  reader.close();
  return lines;
}

/** Resident, but for the spool: that is set aside once for all ports, and fills whatever they say. */
function privateBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

/** What a directory takes on the disk. */
function bytesIn(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + lstatSync(join(parentPath, name)).blocks * 512, 0);
}
