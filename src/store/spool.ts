import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import type { Libc } from '../core/libc.ts';
import type { PortPosition, Spool, SpoolPort } from '../core/spool.ts';
import { SpoolBlocks } from './spool-blocks.ts';
import { SpoolControl, controlBlocks, createSpoolControl } from './spool-control.ts';
import { prepareSpoolFile, spoolBytesFor, writeSpoolHeader } from './spool-file.ts';
import { spoolFileBytes, uuidToBytes } from './spool-layout.ts';
import type { SpoolHeader } from './spool-layout.ts';
import { copyMemory, mapMemory } from './spool-memory.ts';
import type { SpoolMemory } from './spool-memory.ts';
import { BlockSpoolPort } from './spool-port.ts';

export interface SpoolOptions {
  /** From `spoolPath`. What an earlier daemon left there must be committed already: it is wiped. */
  path: string;
  dataId: string;
  /** /proc/sys/kernel/random/boot_id */
  bootId: string;
  /** Wished size; more is taken when `ports` asks for it, less when there is no room. */
  bytes: number;
  /** How many ports will write. */
  ports: number;
  /** null: no mapping to be had; every entry is written by a system call of its own. */
  libc: Libc | null;
  /** From `createSpoolControl(spoolBytesFor(ports, bytes))`, where the store needs it earlier. */
  control?: SharedArrayBuffer;
}

/** The spool as its owner, on the capture thread, has it. */
export interface OwnedSpool extends Spool {
  /** For the store thread: `openSpoolReader(control, path, libc)`. */
  readonly control: SharedArrayBuffer;
  /** Size of the file. */
  readonly bytes: number;
  /** Reads land in the file itself: not a byte is lost by kill -9. */
  readonly isMapped: boolean;
  /** For the journal: smaller than wished, not mapped. */
  readonly warnings: readonly string[];
  /**
   * True while more waits for the store than it should, and it does commit: who reads a flood does
   * better to wait than to have the spool lose the oldest of it. Never for long when the store is
   * stuck: then the newest bytes are worth more. `nowMs` is of a clock that never steps.
   */
  isBehind(nowMs: number): boolean;
  /**
   * After the last append and the last commit, the reader closed: says in the file that no read was
   * cut short. If all is committed, the file gives back its room. What is appended later is dropped.
   */
  close(): void;
}

/**
 * Makes the spool, empty. docs/decisions/0002 explains its shape.
 * @throws Fault SPOOL_FAILED when the file cannot be made, is not ours, or 2 MiB do not fit.
 */
export function createSpool(options: SpoolOptions): OwnedSpool {
  const { path, dataId, bootId, libc } = options;
  const wished = spoolBytesFor(options.ports, options.bytes);
  const { fd, blocks, warning } = prepareSpoolFile(path, wished);
  const warnings = warning === null ? [] : [warning];
  const bytes = spoolFileBytes(blocks);
  let memory: SpoolMemory | null = null;
  try {
    if (libc !== null) memory = mapMemory(libc, fd, bytes);
  } catch (cause) {
    warnings.push(
      `the spool cannot be mapped: ${cause instanceof Error ? cause.message : 'failed'}`,
    );
  }
  if (memory === null) {
    warnings.push('the spool is not mapped: a kill -9 may lose the read under way');
    memory = copyMemory(fd, bytes);
  }
  const header = { dataId, bootId, blocks, isMapped: memory.isMapped, isClean: false };
  writeSpoolHeader(fd, header);
  const control = options.control ?? createSpoolControl(bytes);
  assert(controlBlocks(control) >= blocks, 'the control was made for this size');
  return new BlockSpool(fd, header, memory, control, warnings);
}

/** Beyond this share of the spool the store is behind. Blocks are seldom full: half of them are used then. */
const BEHIND_SHARE = 3 / 8;
/** A store that has committed nothing for so long is stuck. */
const STUCK_MS = 5_000;

class BlockSpool implements OwnedSpool {
  readonly control: SharedArrayBuffer;
  readonly bytes: number;
  readonly isMapped: boolean;
  readonly warnings: readonly string[];
  readonly #fd: number;
  readonly #header: SpoolHeader;
  readonly #control: SpoolControl;
  readonly #blocks: SpoolBlocks;
  /** By uuid, released ones too until they hold nothing: a port's blocks stay one queue. */
  readonly #ports = new Map<string, BlockSpoolPort>();
  #nextSlot = 0;
  #isClosed = false;
  #announcedEntries = 0;
  #seenCommits = 0;
  #seenCommitMs = Number.NEGATIVE_INFINITY;

  constructor(
    fd: number,
    header: SpoolHeader,
    memory: SpoolMemory,
    control: SharedArrayBuffer,
    warnings: readonly string[],
  ) {
    this.#fd = fd;
    this.#header = header;
    this.control = control;
    this.bytes = spoolFileBytes(header.blocks);
    this.isMapped = memory.isMapped;
    this.warnings = warnings;
    this.#control = new SpoolControl(control);
    this.#blocks = new SpoolBlocks(memory, this.#control, header.blocks);
  }

  port(portId: number, uuid: string, position: PortPosition): SpoolPort {
    for (const [known, port] of this.#ports) {
      if (port.isReleased && this.#blocks.remove(port)) this.#ports.delete(known);
    }
    let port = this.#ports.get(uuid);
    if (port === undefined) {
      const bytes = uuidToBytes(uuid);
      port = new BlockSpoolPort(this.#blocks, this.#nextSlot++, portId, bytes, position.epoch);
      this.#ports.set(uuid, port);
      this.#blocks.add(port);
    } else {
      port.renew(portId, position.epoch);
    }
    return port;
  }

  publish(): void {
    const entries = this.#blocks.entries;
    if (entries === this.#announcedEntries) return;
    this.#announcedEntries = entries;
    this.#control.publish(this.#blocks.publishedBytes);
  }

  isBehind(nowMs: number): boolean {
    if (this.#control.waitingBytes() < BEHIND_SHARE * this.bytes) return false;
    const commits = this.#control.commits();
    if (commits !== this.#seenCommits) {
      this.#seenCommits = commits;
      this.#seenCommitMs = nowMs;
    }
    return nowMs - this.#seenCommitMs < STUCK_MS;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.publish();
    const blocks = this.#blocks.close() ? 0 : this.#header.blocks;
    writeSpoolHeader(this.#fd, { ...this.#header, blocks, isClean: true });
    closeSync(this.#fd);
  }
}
