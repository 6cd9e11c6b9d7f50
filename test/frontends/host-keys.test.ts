import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import ssh2 from 'ssh2';
import { Fault } from '../../src/core/fault.ts';
import { loadHostKeys } from '../../src/frontends/ssh/host-keys.ts';
import { withDirectory } from './fakes.ts';

function refused(...words: string[]) {
  return (error: unknown) => {
    assert.ok(error instanceof Fault && error.code === 'LISTEN_FAILED', String(error));
    for (const word of words)
      assert.ok(error.message.includes(word), `${word} in ${error.message}`);
    return true;
  };
}

describe('host keys', () => {
  it('are made once, for us alone, in the form OpenSSH reads', () =>
    withDirectory(async (data) => {
      const directory = join(data, 'keys');
      const made = await loadHostKeys(directory);
      assert.equal(made.isNew, true);
      assert.equal((await stat(directory)).mode & 0o777, 0o700);
      for (const name of ['ssh_host_ed25519_key', 'ssh_host_rsa_key']) {
        const path = join(directory, name);
        assert.equal((await stat(path)).mode & 0o777, 0o600);
        const derived = execFileSync('ssh-keygen', ['-y', '-f', path], { encoding: 'utf8' });
        const written = await readFile(`${path}.pub`, 'utf8');
        assert.deepEqual(derived.split(' ').slice(0, 2), written.split(' ').slice(0, 2));
      }
      const again = await loadHostKeys(directory);
      assert.deepEqual(again, { ...made, isNew: false });
    }));

  it('are refused when missing, too open, damaged or swapped, with the fingerprint lost', () =>
    withDirectory(async (directory) => {
      const { fingerprints } = await loadHostKeys(directory);
      const ed25519 = join(directory, 'ssh_host_ed25519_key');
      const rsa = join(directory, 'ssh_host_rsa_key');
      const lost = fingerprints[0]!.split(' ')[0]!;

      await rename(ed25519, `${ed25519}.away`);
      await assert.rejects(loadHostKeys(directory), refused('is missing', lost, ed25519));
      await rename(`${ed25519}.away`, ed25519);

      await chmod(ed25519, 0o644);
      await assert.rejects(loadHostKeys(directory), refused('mode 644', 'chmod 600', lost));
      await chmod(ed25519, 0o600);

      const text = await readFile(ed25519, 'utf8');
      await writeFile(ed25519, text.slice(0, 100));
      await assert.rejects(loadHostKeys(directory), refused('is damaged', lost));

      await writeFile(ed25519, await readFile(rsa));
      await assert.rejects(loadHostKeys(directory), refused('does not belong', lost));
      await writeFile(ed25519, text);
      assert.deepEqual((await loadHostKeys(directory)).fingerprints, fingerprints);
    }));

  it('are not made anew when all key files are gone', () =>
    withDirectory(async (directory) => {
      const { fingerprints } = await loadHostKeys(directory);
      for (const name of await readdir(directory)) {
        if (name.includes('_key')) await rm(join(directory, name));
      }
      const lost = fingerprints[0]!.split(' ')[0]!;
      await assert.rejects(loadHostKeys(directory), refused('is missing', lost));
    }));

  it('sign what their public halves verify', () =>
    withDirectory(async (directory) => {
      const { privateKeys } = await loadHostKeys(directory);
      for (const text of privateKeys) {
        const key = ssh2.utils.parseKey(text);
        assert.ok(!(key instanceof Error));
        const hash = key.type === 'ssh-rsa' ? 'sha512' : undefined;
        const signature = key.sign(Buffer.from('x'), hash);
        assert.equal(key.verify(Buffer.from('x'), signature, hash), true);
      }
    }));
});
