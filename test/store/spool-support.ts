import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RecordKind } from '../../src/core/record.ts';
import type { RecoveredSpool } from '../../src/core/store.ts';
import { loadLibc } from '../../src/native/libc.ts';
import { createSpool } from '../../src/store/spool.ts';
import type { OwnedSpool } from '../../src/store/spool.ts';
import { openSpoolReader } from '../../src/store/spool-reader.ts';
import type { OpenedSpoolReader } from '../../src/store/spool-reader.ts';
import { recoverSpool } from '../../src/store/spool-recovery.ts';

export const DATA_ID = 'b9d2a7d6-0000-4000-8000-00000000da7a';
export const BOOT_ID = '5c0b7c5e-0000-4000-8000-00000000b007';
export const IDS = { dataId: DATA_ID, bootId: BOOT_ID };

/** An entry as a visitor was told of it, its bytes copied. */
export interface SeenEntry {
  port: number | string;
  epoch: number;
  kind: RecordKind;
  seq: number;
  offset: number;
  atUs: number;
  bytes: Buffer;
}

/** A spool with both of its ends in this thread, in a directory of its own. */
export interface SpoolBench {
  path: string;
  spool: OwnedSpool;
  reader: OpenedSpoolReader;
  /** Everything published, as the store sees it; not committed. */
  takeAll(): SeenEntry[];
  recover(): SeenEntry[];
  end(): void;
}

export async function openBench(
  memory: 'mapped' | 'copied',
  size: { bytes?: number; ports?: number } = {},
): Promise<SpoolBench> {
  const libc = memory === 'mapped' ? await requireLibc() : null;
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-spool-'));
  const path = join(directory, 'spool-test.ring');
  const bytes = size.bytes ?? 2_097_152;
  const spool = createSpool({ path, ...IDS, bytes, ports: size.ports ?? 2, libc });
  const reader = openSpoolReader(spool.control, path, libc);
  return {
    path,
    spool,
    reader,
    takeAll() {
      const seen: SeenEntry[] = [];
      while (reader.take(4_194_304, intoList(seen)) > 0);
      return seen;
    },
    recover: () => recoveredEntries(recoverSpool(path, IDS)),
    end() {
      reader.close();
      spool.close();
      rmSync(directory, { recursive: true });
    },
  };
}

export async function requireLibc() {
  const libc = await loadLibc();
  if (libc === null) throw new Error('koffi is needed for this test');
  return libc;
}

/** A visitor that keeps what it is told: `memory` is only lent to it. */
export function intoList(list: SeenEntry[]) {
  return (
    port: number | string,
    epoch: number,
    kind: RecordKind,
    seq: number,
    offset: number,
    atUs: number,
    memory: Buffer,
    start: number,
    length: number,
  ): void => {
    const bytes = Buffer.from(memory.subarray(start, start + length));
    list.push({ port, epoch, kind, seq, offset, atUs, bytes });
  };
}

export function recoveredEntries(recovered: RecoveredSpool): SeenEntry[] {
  const entries: SeenEntry[] = [];
  recovered.visit(intoList(entries));
  return entries;
}

export function uuidOf(port: number): string {
  return `00000000-0000-4000-8000-${String(port).padStart(12, '0')}`;
}

/** What port `port` says in record `seq`: recognizable anywhere. */
export function contentOf(port: number, seq: number, length: number): Buffer {
  return Buffer.alloc(length, `port ${port} record ${seq}; `);
}

/** Puts `bytes` where a read would, and reports how many. */
export function readOf(bytes: Uint8Array) {
  return (memory: Buffer, start: number): number => {
    memory.set(bytes, start);
    return bytes.length;
  };
}
