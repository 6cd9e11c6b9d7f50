import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openOfflineLog } from '../../src/app/offline-log.ts';
import type { LogCursor, LogPort } from '../../src/core/log-reader.ts';
import { dataPaths } from '../../src/store/data-directory.ts';
import { openLogFiles, type LogFiles } from '../../src/store/log-files.ts';
import { Feeder } from '../bench/feeder.ts';
import { fairleadConfig, portName } from '../bench/subjects.ts';
import { cli, Daemon, scratchDirectory, type DaemonOptions } from './daemon.ts';
import type { FedStream } from './fed-stream.ts';
import { StreamCheck, type Part } from './fed-stream.ts';

/** A safety net for what never comes, not a limit to test against. */
const NEVER_MS = 120_000;
const READ_BYTES = 1024 * 1024;

/**
 * Ptys with a feeder behind them and a daemon that logs them, started and killed at will. Knows to
 * the byte what each port's log must hold.
 */
export class FedRack {
  readonly directory: string;
  readonly data: string;
  readonly feeder: Feeder;
  daemon: Daemon | null = null;
  readonly #dispose: () => void;
  /** What was read of each port, by all daemons so far. */
  readonly #parts: Part[][];
  #fedBefore: readonly number[];

  private constructor(feeder: Feeder) {
    const { path, dispose } = scratchDirectory();
    this.directory = path;
    this.data = join(path, 'data');
    this.#dispose = dispose;
    this.feeder = feeder;
    this.#parts = feeder.paths.map(() => []);
    this.#fedBefore = feeder.paths.map(() => 0);
  }

  static async start(ports: number): Promise<FedRack> {
    return new FedRack(await Feeder.start(ports));
  }

  get ports(): number {
    return this.feeder.paths.length;
  }

  get config(): string {
    return fairleadConfig(this.feeder.paths, this.directory);
  }

  /** Starts a daemon on the ttys; milliseconds from its process's start to `ready`. */
  async startDaemon(options: DaemonOptions = {}): Promise<number> {
    const startedAt = performance.now();
    this.daemon = await Daemon.start(this.directory, this.config, options);
    return performance.now() - startedAt;
  }

  /** Starts one and does not wait. */
  launchDaemon(): Daemon {
    this.daemon = Daemon.launch(this.directory, this.config);
    return this.daemon;
  }

  /**
   * With the daemon gone: takes what nobody read out of the ttys. What was fed since the daemon
   * began, less that, is what its log must hold besides.
   */
  async account(): Promise<void> {
    const { sent, unread } = await this.feeder.drain();
    this.#parts.forEach((parts, port) => {
      parts.push([this.#fedBefore[port]!, sent[port]! - unread[port]!]);
    });
    this.#fedBefore = sent;
  }

  /** The daemon runs on and reads all: what was fed so far, its log must hold. */
  expectAll(sent: readonly number[]): void {
    this.#parts.forEach((parts, port) => parts.push([this.#fedBefore[port]!, sent[port]!]));
    this.#fedBefore = sent;
  }

  /** What the log of a port must hold. */
  parts(port: number): readonly Part[] {
    return this.#parts[port]!;
  }

  /** Bytes that all logs together must hold. */
  get bytes(): number {
    return this.#parts.flat().reduce((sum, [from, to]) => sum + to - from, 0);
  }

  /** Bytes that each tty took, as of the last account. */
  get fed(): readonly number[] {
    return this.#fedBefore;
  }

  /** What the log at rest knows of the ports. */
  logged(): LogPort[] {
    const files = this.logAtRest();
    try {
      return files.ports();
    } finally {
      files.close();
    }
  }

  /** Waits until the running daemon has committed all that `parts` tells. */
  async committed(): Promise<void> {
    const wanted = this.#parts.map((parts) =>
      parts.reduce((sum, [from, to]) => sum + to - from, 0),
    );
    await untilCommitted(this.data, wanted);
  }

  /** The log as it is on disk, beside a running daemon. */
  logInPlace(): LogFiles {
    return openLogFiles(dataPaths(this.data), null);
  }

  /** The log as it is without a daemon, with what only the spool holds. */
  logAtRest(): LogFiles {
    return openOfflineLog(this.data);
  }

  /** `fairlead log PORT --format raw`, compared. @throws AssertionError. */
  async compareByCommand(stream: FedStream, port: number): Promise<void> {
    const config = join(this.directory, 'fairlead.yaml');
    const args = ['log', portName(port), '--format', 'raw', '--config', config];
    const { code, stdout, stderr } = await cli(args);
    assert.equal(code, 0, stderr);
    const check = new StreamCheck(stream, port, this.parts(port));
    assert.equal(check.push(stdout), null, portName(port));
    assert.equal(check.missing, 0, `${portName(port)}: bytes missing`);
  }

  /** Some ports by the command, two at a time: each is a process of its own. */
  async compareAllByCommand(stream: FedStream, ports: readonly number[]): Promise<void> {
    const work = ports.values();
    const next = async (): Promise<void> => {
      for (const port of work) await this.compareByCommand(stream, port);
    };
    await Promise.all([next(), next()]);
  }

  /** `fairlead verify`: nothing damaged, and no gap. */
  async verify(): Promise<void> {
    const { code, stdout } = await cli(['verify', '--data', this.data]);
    assert.equal(code, 0, stdout.toString());
    assert.doesNotMatch(stdout.toString(), /^(gap|damage):/m);
  }

  async close(): Promise<void> {
    await this.daemon?.stop('SIGKILL');
    await this.feeder.close();
    this.#dispose();
  }
}

/** Waits until a running daemon has committed so many rx bytes of each port, port number one first. */
export async function untilCommitted(data: string, wanted: readonly number[]): Promise<void> {
  const files = openLogFiles(dataPaths(data), null);
  const endMs = performance.now() + NEVER_MS;
  try {
    for (const [port, bytesWanted] of wanted.entries()) {
      for (;;) {
        const known = files.ports().find(({ name }) => name === portName(port));
        const { uuid, epochs } = known ?? { uuid: '', epochs: [] };
        const bytes = epochs.reduce((sum, one) => sum + one.endOffset - one.firstOffset, 0);
        if (bytes >= bytesWanted) break;
        const last = epochs.at(-1);
        assert.ok(
          performance.now() < endMs,
          `${portName(port)}: ${bytes} of ${bytesWanted} logged`,
        );
        if (last) await files.changed(uuid, { epoch: last.epoch, seq: last.nextSeq }, 1_000);
        else await sleep(20);
      }
    }
  } finally {
    files.close();
  }
}

/** Reads the logs of a rack on from where it was last time, and compares them with what was fed. */
export class RackReader {
  readonly #rack: FedRack;
  readonly #checks: { check: StreamCheck; cursor: LogCursor; parts: number }[];

  constructor(rack: FedRack, stream: FedStream) {
    this.#rack = rack;
    this.#checks = Array.from({ length: rack.ports }, (_, port) => ({
      check: new StreamCheck(stream, port),
      cursor: { epoch: 0, seq: 0 },
      parts: 0,
    }));
  }

  /** @throws AssertionError when a port's log is not exactly what it must hold. */
  compare(files: LogFiles): void {
    const uuids = new Map(files.ports().map(({ name, uuid }) => [name, uuid]));
    for (const [port, state] of this.#checks.entries()) {
      const name = portName(port);
      for (const part of this.#rack.parts(port).slice(state.parts)) {
        state.check.expect(part);
        state.parts++;
      }
      const uuid = uuids.get(name);
      if (uuid === undefined) {
        assert.equal(state.check.missing, 0, `${name} is not in the log`);
        continue;
      }
      for (let atEnd = false; !atEnd;) {
        const batch = files.read(uuid, state.cursor, READ_BYTES);
        for (const record of batch.records) {
          assert.notEqual(record.kind, 'gap', `${name}: ${JSON.stringify(record)}`);
          if (record.kind === 'rx') assert.equal(state.check.push(record.bytes), null, name);
        }
        state.cursor = batch.next;
        atEnd = batch.atEnd;
      }
      assert.equal(state.check.missing, 0, `${name}: bytes missing`);
    }
  }
}
