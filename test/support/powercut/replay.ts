import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { compileC } from '../compile-c.ts';

/** What a program did to one file, in order; paths are relative to the directory watched. */
export type FileEvent = { atUs: number; path: string } & (
  | { kind: 'write'; offset: number; bytes: Uint8Array }
  | { kind: 'truncate'; size: number }
  /** fsync or fdatasync of a file, or of a directory. */
  | { kind: 'sync' }
  | { kind: 'unlink' }
  | { kind: 'rename'; to: string }
  | { kind: 'create' }
);

/** Contents of the files after the power came back, by path. */
export type DiskState = ReadonlyMap<string, Uint8Array>;

/** What a disk writes whole or not at all. */
const SECTOR_BYTES = 512;

/**
 * The environment that makes a program (and its children) note what it does to files in
 * `directory` (absolute) into `trace`.
 */
export function tracedEnvironment(directory: string, trace: string): Record<string, string> {
  return {
    LD_PRELOAD: compileC('test/support/powercut/shim.c', ['-shared', '-fPIC']),
    POWERCUT_DIRECTORY: realpathSync(directory),
    POWERCUT_TRACE: trace,
    UV_USE_IO_URING: '0', // its writes pass by the C library
  };
}

/** Reads a trace; SQLite's -shm is left out, as it is made anew when a database is opened. */
export function readTrace(path: string): FileEvent[] {
  const trace = readFileSync(path);
  const events: FileEvent[] = [];
  for (let at = 0; at < trace.length;) {
    const operation = trace.readUInt8(at);
    const atUs = Number(trace.readBigUInt64LE(at + 1));
    const offset = Number(trace.readBigUInt64LE(at + 9));
    const pathEnd = at + 25 + trace.readUInt32LE(at + 17);
    const name = trace.toString('utf8', at + 25, pathEnd);
    const bytes = trace.subarray(pathEnd, pathEnd + trace.readUInt32LE(at + 21));
    at = pathEnd + bytes.length;
    if (name.endsWith('-shm') || name.endsWith(' (deleted)')) continue;
    const head = { atUs, path: name };
    // The numbers are shim.c's.
    if (operation === 1) events.push({ ...head, kind: 'write', offset, bytes });
    else if (operation === 2) events.push({ ...head, kind: 'truncate', size: offset });
    else if (operation === 3) events.push({ ...head, kind: 'sync' });
    else if (operation === 4) events.push({ ...head, kind: 'unlink' });
    else if (operation === 5) events.push({ ...head, kind: 'rename', to: bytes.toString() });
    else if (operation === 6) events.push({ ...head, kind: 'create' });
    else throw new Error(`operation ${operation} in ${path}`);
  }
  return events;
}

/**
 * What a disk may hold after a power cut just before event number `cut`, for each cut in ascending
 * order. Everything synced is there. Of what was written since, a random part is: in any order, and
 * in sectors of 512 bytes. Names (create, unlink, rename) are kept in order, as by a journaling
 * file system: any sync makes all names so far durable, and of the later ones the first few are.
 */
export function* crashStates(
  events: readonly FileEvent[],
  cuts: readonly number[],
  random: () => number,
): Generator<{ cut: number; state: DiskState }> {
  const disk = new Disk();
  let next = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    for (; next < Math.min(cut, events.length); next++) disk.apply(events[next]!);
    yield { cut, state: disk.afterPowerCut(random) };
  }
}

/** Writes a state into a directory. */
export function writeState(state: DiskState, directory: string): void {
  for (const [path, bytes] of state) {
    const target = join(directory, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, bytes);
  }
}

/** Random numbers 0 to 1 that are the same for the same seed (mulberry32): a state can be had again. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Change = Extract<FileEvent, { kind: 'write' | 'truncate' }>;
type NameChange = (names: Map<string, TracedFile>) => void;

/** A file as it is on the disk, and what was done to it since its last sync. */
class TracedFile {
  readonly durable = new Contents();
  pending: Change[] = [];

  sync(): void {
    for (const change of this.pending) this.durable.apply(change);
    this.pending = [];
  }

  afterPowerCut(random: () => number): Uint8Array {
    const contents = this.durable.copy();
    // How much of the cache had reached the disk differs from cut to cut: from nothing to all.
    const share = random();
    for (const change of this.pending) {
      if (change.kind === 'truncate') {
        if (random() < share) contents.apply(change);
        continue;
      }
      for (const sector of sectorsOf(change)) if (random() < share) contents.apply(sector);
    }
    return contents.bytes();
  }
}

class Disk {
  /** Names as the program sees them, and as the disk surely has them. */
  readonly #names = new Map<string, TracedFile>();
  #durableNames = new Map<string, TracedFile>();
  #pendingNames: NameChange[] = [];

  apply(event: FileEvent): void {
    switch (event.kind) {
      case 'create':
        this.#file(event.path);
        break;
      case 'write':
      case 'truncate':
        this.#file(event.path).pending.push(event);
        break;
      case 'sync':
        this.#names.get(event.path)?.sync();
        this.#durableNames = new Map(this.#names);
        this.#pendingNames = [];
        break;
      case 'unlink':
        this.#rename((names) => names.delete(event.path));
        break;
      case 'rename': {
        const file = this.#file(event.path);
        this.#rename((names) => {
          names.delete(event.path);
          names.set(event.to, file);
        });
        break;
      }
    }
  }

  afterPowerCut(random: () => number): DiskState {
    const names = new Map(this.#durableNames);
    const kept = Math.floor(random() * (this.#pendingNames.length + 1));
    for (const change of this.#pendingNames.slice(0, kept)) change(names);
    return new Map([...names].map(([path, file]) => [path, file.afterPowerCut(random)]));
  }

  /** The file of that name; made when it is not there yet. */
  #file(path: string): TracedFile {
    let file = this.#names.get(path);
    if (!file) {
      const made = new TracedFile();
      file = made;
      this.#rename((names) => names.set(path, made));
    }
    return file;
  }

  #rename(change: NameChange): void {
    change(this.#names);
    this.#pendingNames.push(change);
  }
}

/** Bytes that grow as they are written; what was never written is zero. */
class Contents {
  #bytes = Buffer.alloc(0);
  #size = 0;

  apply(change: Change): void {
    if (change.kind === 'truncate') {
      if (change.size < this.#size) this.#bytes.fill(0, change.size, this.#size);
      this.#grow(change.size);
      this.#size = change.size;
      return;
    }
    const end = change.offset + change.bytes.length;
    this.#grow(end);
    this.#bytes.set(change.bytes, change.offset);
    this.#size = Math.max(this.#size, end);
  }

  copy(): Contents {
    const copy = new Contents();
    copy.#bytes = Buffer.from(this.#bytes);
    copy.#size = this.#size;
    return copy;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#size);
  }

  #grow(size: number): void {
    if (size <= this.#bytes.length) return;
    const larger = Buffer.alloc(Math.max(size, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** A write as the disk does it, sector by sector. */
function* sectorsOf(write: Extract<Change, { kind: 'write' }>): Generator<Change> {
  const end = write.offset + write.bytes.length;
  for (let from = write.offset; from < end;) {
    const to = Math.min(end, (Math.floor(from / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    const bytes = write.bytes.subarray(from - write.offset, to - write.offset);
    yield { ...write, offset: from, bytes };
    from = to;
  }
}
