import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { RecordKind } from '../core/record.ts';
import type { RecoveredSpool } from '../core/store.ts';
import {
  BLOCK,
  BLOCKS_MAX,
  BLOCK_BYTES,
  BLOCK_EMPTY,
  BLOCK_HEAD_BYTES,
  BLOCK_MAGIC,
  ENTRY,
  ENTRY_HEAD_BYTES,
  FILE_HEADER_BYTES,
  KIND_OF_NUMBER,
  PATTERN,
  STATE_CLOSED,
  STATE_END,
  STATE_OPEN,
  blockCrc,
  blockStart,
  decodeSpoolHeader,
  entryBytes,
  entryCrc,
  openCheck,
  spoolFileBytes,
  uuidFromBytes,
} from './spool-layout.ts';
import type { SpoolHeader } from './spool-layout.ts';

type RecoveredVisitor = Parameters<RecoveredSpool['visit']>[0];

/**
 * Reads what a daemon left in its spool, mapped or not, killed or stopped. Never throws over what
 * the file holds: it reads up to the first damage of each block and says so. Entries that were
 * committed already may be among them; the store knows them by seq. A spool of another data
 * directory gives none.
 */
export function recoverSpool(
  path: string,
  expected: { dataId: string; bootId: string },
): RecoveredSpool {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return nothing(code === 'ENOENT' ? `there is no spool at ${path}` : `${path}: ${code}`);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return nothing(`${path} is not a file`);
    const header = readHeader(fd);
    if (header !== null && header.dataId !== expected.dataId) {
      return nothing(`${path} belongs to another data directory`);
    }
    const inFile = Math.floor((stat.size - FILE_HEADER_BYTES) / BLOCK_BYTES);
    const blocks = Math.max(0, Math.min(BLOCKS_MAX, inFile, header?.blocks ?? BLOCKS_MAX));
    const found = surveyBlocks(fd, blocks);
    const isWhole = header !== null && stat.size >= spoolFileBytes(header.blocks);
    const why = whyNotContinuous(header, expected.bootId, isWhole, found.damagedBlocks);
    return {
      isContinuous: why === null,
      why,
      visit: (visitor) => visitBlocks(path, found.used, visitor),
      cutShort: [...found.cutShort],
    };
  } finally {
    closeSync(fd);
  }
}

function nothing(why: string): RecoveredSpool {
  return { isContinuous: false, why, visit: () => undefined, cutShort: [] };
}

function whyNotContinuous(
  header: SpoolHeader | null,
  bootId: string,
  isWhole: boolean,
  damagedBlocks: number,
): string | null {
  if (header === null) return 'the header of the spool is damaged';
  if (!isWhole) return 'the spool is shorter than it was made';
  if (damagedBlocks > 0) return `${damagedBlocks} blocks of the spool are damaged`;
  if (header.isClean) return null; // nothing was being read, so nothing can be missing
  if (header.bootId !== bootId) return 'the computer was restarted and the daemon had not stopped';
  if (!header.isMapped) {
    return 'the daemon was killed and its spool was not mapped: a read may have been cut short';
  }
  return null;
}

function readHeader(fd: number): SpoolHeader | null {
  const page = Buffer.alloc(FILE_HEADER_BYTES);
  return readFully(fd, page, 0) ? decodeSpoolHeader(page) : null;
}

/** A block whose head is good. */
interface UsedBlock {
  block: number;
  uuid: string;
  epoch: number;
  firstSeq: number;
  order: number;
}

interface Survey {
  /** By port, epoch and seq. */
  used: UsedBlock[];
  damagedBlocks: number;
  cutShort: Set<string>;
}

function surveyBlocks(fd: number, blocks: number): Survey {
  const survey: Survey = { used: [], damagedBlocks: 0, cutShort: new Set() };
  const image = new BlockImage();
  for (let block = 0; block < blocks; block++) {
    if (!image.readHead(fd, block)) {
      survey.damagedBlocks++;
      continue;
    }
    if (!image.isUsed()) continue;
    const head = image.head();
    if (head === null || !image.read(fd, block)) {
      survey.damagedBlocks++;
      continue;
    }
    survey.used.push({ block, ...head });
    const end = image.walk(() => undefined);
    if (end === 'damaged') survey.damagedBlocks++;
    if (end === 'cut short') survey.cutShort.add(head.uuid);
  }
  survey.used.sort(
    (a, b) =>
      (a.uuid < b.uuid ? -1 : a.uuid > b.uuid ? 1 : 0) ||
      a.epoch - b.epoch ||
      a.firstSeq - b.firstSeq ||
      a.order - b.order,
  );
  return survey;
}

function visitBlocks(path: string, used: readonly UsedBlock[], visitor: RecoveredVisitor): void {
  if (used.length === 0) return;
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const image = new BlockImage();
    let lastUuid = '';
    let lastEpoch = -1;
    let lastSeq = -1;
    for (const { block, uuid, epoch } of used) {
      if (uuid !== lastUuid || epoch !== lastEpoch) lastSeq = -1;
      lastUuid = uuid;
      lastEpoch = epoch;
      // Looked at again: a spool that is in use has moved on since the survey.
      if (!image.read(fd, block)) continue;
      const head = image.head();
      if (head?.uuid !== uuid || head.epoch !== epoch) continue;
      image.walk((kind, seq, offset, atUs, start, length) => {
        if (seq <= lastSeq) return;
        lastSeq = seq;
        visitor(uuid, epoch, kind, seq, offset, atUs, image.buffer, start, length);
      });
    }
  } finally {
    closeSync(fd);
  }
}

/** One block as it is in the file. */
class BlockImage {
  readonly buffer = Buffer.alloc(BLOCK_BYTES);
  readonly #words = new Int32Array(this.buffer.buffer, this.buffer.byteOffset, BLOCK_BYTES / 4);
  readonly #doubles = new Float64Array(this.buffer.buffer, this.buffer.byteOffset, BLOCK_BYTES / 8);

  readHead(fd: number, block: number): boolean {
    return readFully(fd, this.buffer.subarray(0, BLOCK_HEAD_BYTES), blockStart(block));
  }

  read(fd: number, block: number): boolean {
    return readFully(fd, this.buffer, blockStart(block));
  }

  /** False: never begun, or killed while it was being begun, when nothing in it was needed. */
  isUsed(): boolean {
    return this.#words[BLOCK.magic] !== BLOCK_EMPTY;
  }

  /** null when the head is damaged. */
  head(): Omit<UsedBlock, 'block'> | null {
    const words = this.#words;
    if (words[BLOCK.magic] !== BLOCK_MAGIC) return null;
    if (words[BLOCK.crc] !== blockCrc(this.buffer, 0)) return null;
    return {
      uuid: uuidFromBytes(this.buffer, BLOCK.uuidBytes),
      epoch: this.#doubles[BLOCK.epoch]!,
      firstSeq: this.#doubles[BLOCK.firstSeq]!,
      order: this.#doubles[BLOCK.order]!,
    };
  }

  /** Visits the entries up to the end of what was written, or to the first damage. */
  walk(
    visitor: (
      kind: RecordKind,
      seq: number,
      offset: number,
      atUs: number,
      start: number,
      length: number,
    ) => void,
  ): 'whole' | 'cut short' | 'damaged' {
    const words = this.#words;
    const doubles = this.#doubles;
    const seed = words[BLOCK.crc]!;
    let lastSeq = -1;
    for (let at = BLOCK_HEAD_BYTES; at <= BLOCK_BYTES - ENTRY_HEAD_BYTES;) {
      const word = at >> 2;
      const state = words[word + ENTRY.state];
      if (state === STATE_END) return 'whole';
      const seq = doubles[(at >> 3) + ENTRY.seq]!;
      const offset = doubles[(at >> 3) + ENTRY.offset]!;
      const atUs = doubles[(at >> 3) + ENTRY.atUs]!;
      const start = at + ENTRY_HEAD_BYTES;
      if (state === STATE_OPEN) {
        if (words[word + ENTRY.check] !== openCheck(seed, words, word)) return 'damaged';
        const known = words[word + ENTRY.kindAndLength]! >>> 8;
        const length = known > 0 ? known : writtenBytes(this.buffer, start);
        if (!(seq > lastSeq) || length > BLOCK_BYTES - start) return 'damaged';
        if (length === 0) return 'whole';
        visitor('rx', seq, offset, atUs, start, length);
        return 'cut short';
      }
      const packed = words[word + ENTRY.kindAndLength]!;
      const length = packed >>> 8;
      const kind = KIND_OF_NUMBER[packed & 0xff];
      if (
        state !== STATE_CLOSED ||
        kind === undefined ||
        length > BLOCK_BYTES - start ||
        words[word + ENTRY.crc] !== entryCrc(this.buffer, at, length, seed) ||
        !(seq > lastSeq)
      ) {
        return 'damaged';
      }
      lastSeq = seq;
      visitor(kind, seq, offset, atUs, start, length);
      at += entryBytes(length);
    }
    return 'whole';
  }
}

/** How much a read that never returned had put at `start`: up to the last byte that is no pattern. */
function writtenBytes(block: Buffer, start: number): number {
  let end = BLOCK_BYTES;
  while (end > start && block[end - 1] === PATTERN[end - 1]) end--;
  return end - start;
}

function readFully(fd: number, buffer: Buffer, position: number): boolean {
  for (let done = 0; done < buffer.length;) {
    const count = readSync(fd, buffer, done, buffer.length - done, position + done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}
