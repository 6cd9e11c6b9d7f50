import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { openOfflineLog } from '../../src/app/offline-log.ts';
import { packageRoot } from '../../src/app/package-files.ts';
import { dataPaths, readDataId } from '../../src/store/data-directory.ts';
import { openDatabase, schemas, type Database, type Schema } from '../../src/store/database.ts';
import { Meta } from '../../src/store/meta.ts';
import { listLogFiles } from '../../src/store/log-shelf.ts';
import type { LogFiles } from '../../src/store/log-files.ts';
import { spoolPath } from '../../src/store/spool-file.ts';
import { verifyLog } from '../../src/store/verify.ts';
import { portName, fairleadConfig } from '../bench/subjects.ts';
import {
  crashStates,
  readTrace,
  seededRandom,
  tracedEnvironment,
  writeState,
  type FileEvent,
} from '../support/powercut/replay.ts';
import { percentile } from '../bench/row.ts';
import { cli, Daemon } from './daemon.ts';
import { FedRack, untilCommitted } from './fed-rack.ts';
import type { FedStream } from './fed-stream.ts';
import { StreamCheck, type Part } from './fed-stream.ts';

export interface PowerCutReport {
  states: number;
  /** In which a daemon was started. */
  restarts: number;
  fedBytes: number;
  segments: number;
  /** Of each state: how long before the cut the oldest byte was read that is missing. */
  ageMs: { median: number; worst: number };
  /** The same less the time since the commit in flight at the cut, if any, had begun to write. */
  beforeCommitMs: { median: number; worst: number };
}

const PORTS = 8;
/** A port's segment of 256 KB is sealed every 2.5 s. */
const FEED = { rate: 100_000, seconds: 8 };
const READ_BYTES = 1024 * 1024;

/**
 * Runs a daemon once, noting what it does to its data directory, and cuts the power at random
 * moments from its first write to its clean end. The power takes the spool. Every state of the disk
 * must open whole and hold of each port a prefix of what was fed; on some of them a daemon starts.
 * @throws AssertionError.
 */
export async function cutPower(
  states: number,
  restarts: number,
  options: { stream: FedStream; seed: number; say?: (text: string) => void },
): Promise<PowerCutReport> {
  const { stream, seed } = options;
  const say = options.say ?? (() => undefined);
  const rack = await FedRack.start(PORTS);
  const outcome = { states: 0, restarts: 0 };
  try {
    const trace = join(rack.directory, 'trace');
    mkdirSync(rack.data, { mode: 0o700 });
    await rack.startDaemon({ env: tracedEnvironment(rack.data, trace) });
    const fed = await rack.feeder.run(FEED);
    rack.expectAll(fed.sent);
    await rack.committed();
    await rack.daemon!.stop();
    const run = describeRun(rack);
    const events = readTrace(trace);
    const random = seededRandom(seed);
    const cuts = Array.from({ length: states }, () => randomCut(events.length, random));
    const restartEvery = Math.floor(states / restarts);
    const ages: { ageMs: number; beforeCommitMs: number }[] = [];
    for (const { cut, state } of crashStates(events, cuts, random)) {
      const directory = join(rack.directory, `cut-${cut}`);
      const data = join(directory, 'data');
      mkdirSync(data, { recursive: true });
      writeState(state, data);
      loseSpool(run.dataId, data);
      const where = `seed ${seed}, cut before event ${cut} of ${events.length}`;
      const found = readPrefixes(data, stream, run.sent, where);
      const wasStopped = checkDatabases(data, where);
      ages.push(ageOfLoss(events, cut, found, run));
      outcome.states++;
      if (outcome.states % restartEvery === 0 && outcome.restarts < restarts) {
        await restart(rack, directory, { found, wasStopped }, stream, where);
        outcome.restarts++;
      }
      say(
        `${where}: ${found.reduce((sum, bytes) => sum + bytes, 0)} bytes, ${JSON.stringify(ages.at(-1))}`,
      );
      rmSync(directory, { recursive: true });
    }
    return {
      ...outcome,
      fedBytes: run.sent.reduce((sum, bytes) => sum + bytes, 0),
      segments: run.segments,
      ageMs: summary(ages.map(({ ageMs }) => ageMs)),
      beforeCommitMs: summary(ages.map(({ beforeCommitMs }) => beforeCommitMs)),
    };
  } finally {
    await rack.close();
  }
}

export function formatPowerCutReport(report: PowerCutReport): string {
  const { states, restarts, fedBytes, segments, ageMs, beforeCommitMs } = report;
  const ms = ({ median, worst }: { median: number; worst: number }): string =>
    `median ${Math.round(median)} ms, worst ${Math.round(worst)} ms`;
  return (
    `${states} power cuts over ${fedBytes} bytes in ${segments} segments: 0 databases damaged, ` +
    `every log a prefix; the oldest missing byte was read before the cut: ${ms(ageMs)}; ` +
    `before the commit in flight: ${ms(beforeCommitMs)}; ${restarts} daemons started on them`
  );
}

/** Start and stop do more kinds of things than the time between, so they get more than their share. */
function randomCut(events: number, random: () => number): number {
  const part = random();
  const share = random();
  if (part < 0.2) return Math.floor(0.05 * share * events);
  if (part < 0.4) return Math.floor((1 - 0.12 * share) * events);
  return Math.floor(share * events);
}

/** What one run logged in the end, and when each byte was read. */
interface Run {
  dataId: string;
  sent: number[];
  segments: number;
  /** Of each port its reads: time, and offset after it. */
  reads: { atUs: number; endOffset: number }[][];
}

function describeRun(rack: FedRack): Run {
  const dataId = readDataId(rack.data)!;
  loseSpool(dataId, rack.data);
  const files = rack.logAtRest();
  try {
    const uuids = uuidsOf(files);
    const reads = Array.from({ length: rack.ports }, (_, port) => {
      const found: { atUs: number; endOffset: number }[] = [];
      readAll(files, uuids.get(portName(port))!, (bytes, offset, atUs) => {
        found.push({ atUs, endOffset: offset + bytes.length });
      });
      return found;
    });
    const sent = reads.map((port) => port.at(-1)!.endOffset);
    const { segments } = verified(files, 'the whole run');
    assert.ok(segments > PORTS, 'segments were sealed');
    return { dataId, sent, segments, reads };
  } finally {
    files.close();
  }
}

/** Power takes what was in memory. */
function loseSpool(dataId: string, data: string): void {
  rmSync(spoolPath(dataId, { dataDirectory: data }).path, { force: true });
}

/** How much of each port's stream a state holds; anything but a prefix is an error. */
function readPrefixes(
  data: string,
  stream: FedStream,
  sent: readonly number[],
  where: string,
): number[] {
  const { database, log } = dataPaths(data);
  if (!existsSync(database) && listLogFiles(log).length === 0) return sent.map(() => 0);
  const files = openOfflineLog(data);
  try {
    const uuids = uuidsOf(files);
    const found = sent.map((bytes, port) => {
      const check = new StreamCheck(stream, port, [[0, bytes]]);
      const uuid = uuids.get(portName(port));
      if (uuid === undefined) return 0;
      readAll(files, uuid, (piece) => {
        assert.equal(check.push(piece), null, `${where}: ${portName(port)}`);
      });
      return check.found;
    });
    verified(files, where);
    return found;
  } finally {
    files.close();
  }
}

/** The log says itself that it is whole. */
function verified(files: LogFiles, where: string): { segments: number } {
  const walk = verifyLog(files);
  for (;;) {
    const step = walk.next();
    if (!step.done) continue;
    assert.equal(step.value.damage, null, where);
    assert.deepEqual(step.value.gaps, [], where);
    return step.value.counts;
  }
}

/** True when the last that the state database knows is a clean stop: then nothing can be missing. */
function checkDatabases(data: string, where: string): boolean {
  const { database, log } = dataPaths(data);
  const { state, log: logFile } = schemas(join(packageRoot(), 'migrations'));
  const check = (path: string, schema: Schema): Database => {
    const db = openDatabase(path, schema);
    assert.equal(db.pragma('integrity_check', { simple: true }), 'ok', `${where}: ${path}`);
    return db;
  };
  for (const name of listLogFiles(log)) check(join(log, name), logFile).close();
  if (!existsSync(database)) return false;
  const db = check(database, state);
  const wasStopped = new Meta(db).get('clean-stop') === 'yes';
  db.close();
  return wasStopped;
}

/**
 * How long before the cut the oldest missing byte of any port was read; and how long before the
 * commit in flight began to write, which nothing can shorten.
 */
function ageOfLoss(
  events: readonly FileEvent[],
  cut: number,
  found: readonly number[],
  run: Run,
): { ageMs: number; beforeCommitMs: number } {
  const cutUs = events[cut]!.atUs;
  const lost = run.reads.flatMap((reads, port) => {
    const first = reads.find(({ endOffset }) => endOffset > found[port]!);
    return first && first.atUs < cutUs ? [first.atUs] : [];
  });
  if (lost.length === 0) return { ageMs: 0, beforeCommitMs: 0 };
  const oldestUs = Math.min(...lost);
  // The commit in flight: the state's WAL was written since its last sync.
  const isWal = ({ path }: FileEvent): boolean => path === 'fairlead.db-wal';
  const before = events.slice(0, cut);
  const lastSync = before.findLastIndex((event) => isWal(event) && event.kind === 'sync');
  const begun = before.find(
    (event, index) => index > lastSync && isWal(event) && event.kind === 'write',
  );
  return {
    ageMs: (cutUs - oldestUs) / 1000,
    beforeCommitMs: Math.max(0, ((begun?.atUs ?? cutUs) - oldestUs) / 1000),
  };
}

/** A daemon starts on the state, begins new epochs unless nothing can be missing, captures, and finds nothing damaged. */
async function restart(
  rack: FedRack,
  directory: string,
  { found, wasStopped }: { found: readonly number[]; wasStopped: boolean },
  stream: FedStream,
  where: string,
): Promise<void> {
  const before = rack.fed;
  const daemon = await Daemon.start(directory, fairleadConfig(rack.feeder.paths, directory));
  const data = join(directory, 'data');
  const { sent } = await rack.feeder.run({ rate: 0, bytes: 5_000 });
  rack.expectAll(sent);
  const logged = sent.map((bytes, port) => found[port]! + bytes - before[port]!);
  await untilCommitted(data, logged);
  await daemon.stop();
  const files = openOfflineLog(data);
  try {
    const ports = files.ports(); // by name, which is by number
    assert.equal(ports.length, rack.ports, where);
    for (const [port, { name, uuid, epochs }] of ports.entries()) {
      const parts: Part[] = [
        [0, found[port]!],
        [before[port]!, sent[port]!],
      ];
      const check = new StreamCheck(stream, port, parts);
      readAll(files, uuid, (bytes) => {
        assert.equal(check.push(bytes), null, `${where}: ${name} after the restart`);
      });
      assert.equal(check.missing, 0, `${where}: ${name} after the restart`);
      const { endOffset } = epochs.at(-1)!;
      const wanted = wasStopped ? logged[port]! : sent[port]! - before[port]!;
      assert.equal(endOffset, wanted, `${where}: ${name}: the newest epoch`);
    }
  } finally {
    files.close();
  }
  const { code, stdout } = await cli(['verify', '--data', data]);
  assert.equal(code, 0, `${where}: ${stdout.toString()}`);
}

function uuidsOf(files: LogFiles): Map<string, string> {
  return new Map(files.ports().map(({ name, uuid }) => [name, uuid]));
}

/** All rx bytes of a port; a gap is an error. */
function readAll(
  files: LogFiles,
  uuid: string,
  visit: (bytes: Uint8Array, offset: number, atUs: number) => void,
): void {
  let cursor = { epoch: 0, seq: 0 };
  for (let atEnd = false; !atEnd;) {
    const batch = files.read(uuid, cursor, READ_BYTES);
    for (const record of batch.records) {
      assert.notEqual(record.kind, 'gap', JSON.stringify(record));
      if (record.kind === 'rx') visit(record.bytes, record.offset, record.atUs);
    }
    cursor = batch.next;
    atEnd = batch.atEnd;
  }
}

function summary(values: readonly number[]): { median: number; worst: number } {
  return { median: percentile(values, 0.5), worst: Math.max(...values) };
}
