import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import {
  findSpool,
  fittingSpoolBytes,
  prepareSpoolFile,
  spoolBytesFor,
  spoolPath,
} from '../../src/store/spool-file.ts';
import { BLOCK_BYTES, decodeSpoolHeader, encodeSpoolHeader } from '../../src/store/spool-layout.ts';
import { DATA_ID } from './spool-support.ts';

const directory = mkdtempSync(join(tmpdir(), 'fairlead-spool-file-'));
const memory = mkdtempSync('/dev/shm/fairlead-spool-test-');
after(() => {
  rmSync(directory, { recursive: true });
  rmSync(memory, { recursive: true });
});

describe('where the spool is kept', () => {
  const name = `spool-${DATA_ID}.ring`;
  const choose = (...memoryDirectories: string[]) =>
    spoolPath(DATA_ID, { dataDirectory: directory, memoryDirectories });

  it('prefers the first directory in memory, and makes it for its owner alone', () => {
    const first = join(memory, 'first');
    const choice = choose(join(memory, 'missing/deep'), first, join(memory, 'second'));
    assert.deepEqual(choice, { path: join(first, name), warning: null });
    assert.equal(statSync(first).mode & 0o777, 0o700);
  });

  it('shuns a directory that others may write, a link, and one that is not in memory', () => {
    const open = join(memory, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    const link = join(memory, 'link');
    symlinkSync(memory, link);
    const onDisk = '/proc/self';
    const choice = choose(open, link, onDisk);
    assert.equal(choice.path, join(directory, name));
    assert.match(choice.warning!, /beside the data/);
    assert.match(choice.warning!, /open may be written by others/);
    assert.match(choice.warning!, /link is not a directory/);
    assert.match(choice.warning!, /self is not in memory/);
  });

  it('stays with a spool that is there already, so that what a kill left is found', () => {
    const second = join(memory, 'second-choice');
    mkdirSync(second, { mode: 0o700 });
    writeFileSync(join(second, name), '');
    assert.equal(choose(join(memory, 'first'), second).path, join(second, name));
    const places = { dataDirectory: directory, memoryDirectories: [join(memory, 'none'), second] };
    assert.equal(findSpool(DATA_ID, places), join(second, name));
    assert.equal(findSpool('another id', places), null);
    assert.ok(!existsSync(join(memory, 'none')), 'looking makes nothing');
    rmSync(second, { recursive: true });
    writeFileSync(join(directory, name), '');
    const beside = choose(join(memory, 'first'));
    assert.equal(beside.path, join(directory, name));
    assert.match(beside.warning!, /remove/);
    assert.equal(
      findSpool(DATA_ID, { dataDirectory: directory, memoryDirectories: [second] }),
      join(directory, name),
    );
    rmSync(join(directory, name));
  });
});

describe('the file of the spool', () => {
  it('is written in full, for its owner alone', () => {
    const path = join(directory, 'whole.ring');
    const { fd, blocks, warning } = prepareSpoolFile(path, 3_000_000);
    closeSync(fd);
    assert.equal(warning, null);
    assert.equal(blocks, Math.floor((3_000_000 - 4096) / BLOCK_BYTES));
    const stat = statSync(path);
    assert.equal(stat.mode & 0o777, 0o600);
    assert.ok(stat.blocks * 512 >= blocks * BLOCK_BYTES, 'no holes');
  });

  it('is refused, with what to do, when somebody else may have put it there', () => {
    const target = join(directory, 'target');
    writeFileSync(target, 'precious');
    const link = join(directory, 'link.ring');
    symlinkSync(target, link);
    const hardLink = join(directory, 'hard.ring');
    linkSync(target, hardLink);
    const folder = join(directory, 'folder.ring');
    mkdirSync(folder);
    for (const path of [link, hardLink, folder, join(directory, 'no/such.ring')]) {
      assert.throws(
        () => prepareSpoolFile(path, 3_000_000),
        (error) => error instanceof Fault && error.code === 'SPOOL_FAILED',
      );
    }
    assert.equal(statSync(target).size, 8, 'untouched');
    assert.ok(existsSync(folder));
  });

  it('takes at most half of the room there is, down to 2 MiB', () => {
    assert.equal(fittingSpoolBytes(33_554_432, 1e9), 33_554_432);
    assert.equal(fittingSpoolBytes(33_554_432, 64e6), 33_554_432 / 2);
    const docker = 67_108_864; // its /dev/shm
    assert.equal(fittingSpoolBytes(spoolBytesFor(48), docker), spoolBytesFor(48));
    assert.equal(fittingSpoolBytes(33_554_432, 0), 2_097_152);
    assert.equal(fittingSpoolBytes(10, 1e9), 2_097_152);
  });

  it('has two blocks for each port and 4 MiB for the store', () => {
    assert.equal(spoolBytesFor(48), 33_554_432 + 4096);
    fc.assert(
      fc.property(fc.nat(5000), fc.nat(1e8), (ports, wished) => {
        const bytes = spoolBytesFor(ports, wished);
        assert.ok(bytes >= wished);
        assert.ok(bytes >= 2 * ports * BLOCK_BYTES + 4_194_304);
        assert.equal((bytes - 4096) % BLOCK_BYTES, 0);
      }),
    );
  });

  it('has a header that comes back whole or not at all', () => {
    const header = fc.record(
      {
        dataId: fc.string({ maxLength: 60, unit: 'grapheme' }).filter(fits),
        bootId: fc.string({ maxLength: 60 }),
        blocks: fc.integer({ min: 0, max: 65_535 }),
        isMapped: fc.boolean(),
        isClean: fc.boolean(),
      },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(header, fc.nat(4095), fc.integer({ min: 1, max: 255 }), (fields, at, flip) => {
        const page = encodeSpoolHeader(fields);
        assert.deepEqual(decodeSpoolHeader(page), fields);
        page[at]! ^= flip;
        assert.equal(decodeSpoolHeader(page), null);
      }),
    );
  });
});

function fits(id: string): boolean {
  return Buffer.byteLength(id) <= 255;
}
