import { join } from 'node:path';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { DataDirectory } from './data-directory.ts';
import type { LogFilePort } from './log-file.ts';
import { LogFileReader, UnbornLogFile } from './log-file-reader.ts';
import { listLogFiles } from './log-shelf.ts';
import type { SegmentPlace } from './segment.ts';
import type { SealedHead } from './sealed-heads.ts';
import type { State } from './tables.ts';

/**
 * Fills a new state database from what the log files say of themselves: ports by name, the newest
 * epoch and the end of the chain of each, and the highest session number. Every port taken over
 * begins a new epoch when it is registered next. Returns how many ports there were.
 */
export function adoptFromLog(
  state: State,
  directory: DataDirectory,
  because: string,
  journal: Journal,
): number {
  const ports = new Map<string, LogFilePort>();
  const heads = new Map<string, Omit<SealedHead, 'port'>>();
  let nextSession = 1;
  const adopt = state.db.transaction(() => {
    for (const reader of openReaders(directory.log, listLogFiles(directory.log), journal)) {
      for (const port of reader.ports()) {
        ports.delete(port.uuid); // the newest file knows the newest name: last in order
        ports.set(port.uuid, port);
        const head = endIfReadable(reader, port.uuid, journal);
        if (head && isAfter(head, heads.get(port.uuid))) heads.set(port.uuid, head);
      }
      try {
        nextSession = Math.max(nextSession, reader.newestSession() + 1);
        const finishedUs = reader.meta('finished_us');
        state.sealed.saveFile({
          name: reader.name,
          beganUs: Number(reader.meta('began_us') ?? 0),
          finishedUs: reader.isFinished && finishedUs !== null ? Number(finishedUs) : null,
        });
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        journal.error({ file: reader.name, err: error }, 'log file damaged');
      }
      reader.close();
    }
    const taken = new Set<string>();
    let id = 0;
    for (const port of [...ports.values()].reverse()) {
      id++;
      const name = taken.has(port.name.toLowerCase()) ? `${port.name}.${id}` : port.name;
      taken.add(name.toLowerCase());
      const { uuid, backend } = port;
      state.ports.save({ id, uuid, name, backend, brokenBecause: because });
      const head = heads.get(port.uuid);
      if (!head) continue;
      state.ports.addEpoch({ port: id, epoch: head.epoch, beganUs: head.lastUs, because });
      state.sealed.save({ ...head, port: id });
    }
    if (ports.size === 0) return;
    state.meta.set('lost-hot', because);
    state.meta.set('next-session', String(nextSession));
  });
  adopt.immediate();
  return ports.size;
}

/**
 * Ends of chains in log files that were not finished when the state database was last written: a
 * crash may have fallen between a segment and the note of it.
 */
export function sealedSinceLastCommit(
  state: State,
  folder: string,
  journal: Journal,
): SealedHead[] {
  const finished = new Set(
    state.sealed.files().flatMap((row) => (row.finishedUs === null ? [] : [row.name])),
  );
  const names = listLogFiles(folder).filter((name) => !finished.has(name));
  const ports = state.ports.all();
  const heads: SealedHead[] = [];
  for (const reader of openReaders(folder, names, journal)) {
    for (const { id, uuid } of ports) {
      const end = endIfReadable(reader, uuid, journal);
      if (end) heads.push({ ...end, port: id });
    }
    reader.close();
  }
  return heads;
}

/** The end of a port's chain as one log file has it; null: no segment of the port. */
export function chainEnd(reader: LogFileReader, uuid: string): Omit<SealedHead, 'port'> | null {
  const span = reader.spans(uuid).at(-1);
  const place = span ? reader.segmentUpTo(uuid, span.epoch, span.lastSeq) : null;
  const segment = place ? reader.segment(uuid, place.epoch, place.firstSeq) : null;
  if (!segment) return null;
  const { epoch, lastSeq, endOffset, lastUs, hash } = segment;
  return { epoch, lastSeq, endOffset, lastUs, hash, file: reader.name };
}

/** A damaged file holds up no start: `verify` names it. */
function endIfReadable(
  reader: LogFileReader,
  uuid: string,
  journal: Journal,
): ReturnType<typeof chainEnd> {
  try {
    return chainEnd(reader, uuid);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    journal.error({ file: reader.name, err: error }, 'log file damaged');
    return null;
  }
}

/** True when `a` stands later in a port's log. */
export function isAfter(
  a: Pick<SegmentPlace, 'epoch' | 'lastSeq'>,
  b: Pick<SegmentPlace, 'epoch' | 'lastSeq'> | undefined,
): boolean {
  if (!b) return true;
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.lastSeq > b.lastSeq);
}

/** Oldest first. */
function openReaders(folder: string, names: readonly string[], journal: Journal): LogFileReader[] {
  const readers: { reader: LogFileReader; beganUs: number }[] = [];
  for (const name of names) {
    try {
      const reader = new LogFileReader(join(folder, name));
      readers.push({ reader, beganUs: Number(reader.meta('began_us') ?? 0) });
    } catch (error) {
      if (error instanceof UnbornLogFile) continue;
      journal.error({ file: name, err: error }, 'log file unreadable, left alone');
    }
  }
  return readers.sort((a, b) => a.beganUs - b.beganUs).map(({ reader }) => reader);
}
