import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, freeTcpPort, MAIN } from '../e2e/daemon.ts';
import { compileC } from '../support/compile-c.ts';

/** A program that logs ttys: ours, the floor, or a peer. */
export interface Subject {
  readonly name: string;
  /** Starts it on these ttys with an empty directory of its own; resolves when all are open. */
  start(paths: readonly string[], directory: string): Promise<RunningSubject>;
}

export interface RunningSubject {
  readonly pid: number;
  /** From the start of the process to all ports open; null where it does not say. */
  readonly readyMs: number | null;
  stop(): Promise<void>;
  /** What it logged of the n-th tty, without times. After `stop`. */
  log(index: number): Readable;
}

export interface FairleadOptions {
  /** Raw doors at base + n, port number one first. */
  rawBase?: number;
  /** The same for telnet doors, which ask no login. */
  telnetBase?: number;
  /** Where the first port is exposed as a local pty. */
  exposePath?: string;
  sshTcpPort?: number;
  /** An OpenSSH public key for the user `bench`. */
  key?: string;
}

export function fairlead(options: FairleadOptions = {}): Subject {
  return {
    name: 'Fairlead',
    async start(paths, directory) {
      const startedAt = performance.now();
      const daemon = await Daemon.start(directory, fairleadConfig(paths, directory, options));
      return asRunning(daemon, Math.round(performance.now() - startedAt));
    },
  };
}

/** The started daemon as a subject, for rows that start and end it themselves. */
export function asRunning(daemon: Daemon, readyMs: number): RunningSubject {
  return {
    pid: daemon.process.pid!,
    readyMs,
    stop: async () => void (await daemon.stop()),
    log: (index) =>
      outputOf(process.execPath, [
        ...[MAIN, 'log', portName(index), '--format', 'raw'],
        ...['--config', daemon.configPath],
      ]),
  };
}

export function portName(index: number): string {
  return `p${String(index + 1).padStart(4, '0')}`;
}

/** JSON is YAML. Only the first 999 ports can have a number. */
export function fairleadConfig(
  paths: readonly string[],
  directory: string,
  { rawBase, telnetBase, exposePath, sshTcpPort, key }: FairleadOptions = {},
): string {
  return JSON.stringify({
    data: join(directory, 'data'),
    listen: {
      ...(sshTcpPort === undefined ? {} : { ssh: `127.0.0.1:${sshTcpPort}` }),
      ...(rawBase === undefined ? {} : { raw: { base: rawBase, ...NO_LOGIN } }),
      ...(telnetBase === undefined ? {} : { telnet: { base: telnetBase, ...NO_LOGIN } }),
    },
    users: { bench: { role: 'operator', ports: ['*'], keys: key === undefined ? [] : [key] } },
    ports: Object.fromEntries(
      paths.map((path, index) => [
        portName(index),
        {
          ...(index < 999 ? { n: index + 1 } : {}),
          device: path,
          ...(index === 0 && exposePath !== undefined ? { expose: exposePath } : {}),
        },
      ]),
    ),
  });
}

const NO_LOGIN = { host: '127.0.0.1', auth: 'none', allow: ['127.0.0.1/32'], as: 'bench' };

/** The C logger: the floor. `relayTcpPort` joins a TCP client with the first tty. */
export function floor(relayTcpPort = 0): Subject {
  return {
    name: 'C logger',
    async start(paths, directory) {
      const logger = compileC('test/bench/logger.c');
      const startedAt = performance.now();
      const child = spawn(logger, [directory, String(relayTcpPort), ...paths], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      return {
        pid: child.pid!,
        readyMs: Math.round(performance.now() - startedAt),
        stop: () => end(child),
        log: (index) => outputOf(logger, ['--extract', join(directory, `${index}.log`)]),
      };
    },
  };
}

/** conserver, with the finest time it has in front of every line, and 16 ports a child. */
export const conserver: Subject = {
  name: 'conserver',
  async start(paths, directory) {
    const blocks = paths.map(
      (path, index) =>
        `console ${portName(index)} { master localhost; type device; device ${path}; baud 115200; ` +
        `parity none; options !ixon,!ixoff; logfile ${join(directory, `${index}.log`)}; ` +
        `timestamp 1la; rw *; }`,
    );
    const config = join(directory, 'conserver.cf');
    const passwords = join(directory, 'conserver.passwd');
    writeFileSync(config, `${blocks.join('\n')}\naccess * { trusted 127.0.0.1; }\n`);
    writeFileSync(passwords, '*any*:\n');
    const address = ['-M', '127.0.0.1', '-p', String(await freeTcpPort())];
    const child = spawn('conserver', ['-C', config, '-P', passwords, ...address], {
      stdio: 'ignore',
    });
    const readyMs = await logsExist(child, directory, paths.length);
    return {
      pid: child.pid!,
      readyMs,
      stop: () => end(child),
      log: (index) => createReadStream(join(directory, `${index}.log`)).pipe(withoutStamps()),
    };
  },
};

/** ser2net, kept capturing by a client that throws everything away; it has no time to give. */
export const ser2net: Subject = {
  name: 'ser2net',
  async start(paths, directory) {
    const blocks = paths.map(
      (path, index) =>
        `connection: &c${index}\n` +
        `  accepter: conacc(retry-time=1000),file(outfile=/dev/null)\n` +
        `  connector: serialdev,${path},115200n81,local\n` +
        `  options:\n    trace-read: ${join(directory, `${index}.log`)}\n`,
    );
    const config = join(directory, 'ser2net.yaml');
    writeFileSync(config, `%YAML 1.1\n---\n${blocks.join('')}`);
    const child = spawn('ser2net', ['-n', '-d', '-c', config], { stdio: 'ignore' });
    const readyMs = await logsExist(child, directory, paths.length);
    return {
      pid: child.pid!,
      readyMs,
      stop: () => end(child),
      log: (index) => createReadStream(join(directory, `${index}.log`)),
    };
  },
};

/** The peers that are installed here. */
export function installedPeers(): Subject[] {
  const programs: [string, Subject][] = [
    ['conserver', conserver],
    ['ser2net', ser2net],
  ];
  const isInstalled = (command: string): boolean =>
    spawnSync(command, ['-V'], { stdio: 'ignore' }).error === undefined;
  return programs.filter(([command]) => isInstalled(command)).map(([, subject]) => subject);
}

/** A directory for one subject in one row. */
export function subjectDirectory(parent: string, subject: Pick<Subject, 'name'>): string {
  const directory = join(parent, subject.name.replaceAll(' ', '-'));
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** A peer does not say when it is ready: its log files are there when its ports are open. */
async function logsExist(child: ChildProcess, directory: string, count: number): Promise<number> {
  const startedAt = performance.now();
  const missing = new Set(
    Array.from({ length: count }, (_, index) => join(directory, `${index}.log`)),
  );
  for (;;) {
    for (const path of missing) if (existsSync(path)) missing.delete(path);
    if (missing.size === 0) return Math.round(performance.now() - startedAt);
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended: ${child.exitCode}`);
    if (performance.now() - startedAt > 120_000) throw new Error(`${child.spawnfile}: no logs`);
    await sleep(20);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}

/** What a program writes, as a stream that fails when the program does. */
function outputOf(command: string, args: readonly string[]): Readable {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const output = child.stdout;
  child.on('exit', (code) => {
    if (code !== 0) output.destroy(new Error(`${command} ${args.join(' ')}: exit ${code}`));
  });
  return output;
}

/** Takes conserver's `[Sat Nov 21 08:00:00 2026]` and its own lines out of a log. */
function withoutStamps(): Transform {
  let rest = '';
  const clean = (text: string): string =>
    text
      .replace(/\[-- Console \w+ -- [^\]]*\]\r?\n/g, '')
      .replace(/^\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\]/gm, '');
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const text = rest + chunk.toString('latin1');
      const lineEnd = text.lastIndexOf('\n') + 1;
      rest = text.slice(lineEnd);
      done(null, Buffer.from(clean(text.slice(0, lineEnd)), 'latin1'));
    },
    flush(done) {
      done(null, Buffer.from(clean(rest), 'latin1'));
    },
  });
}
