import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import xterm from '@xterm/headless';
import { Daemon, freeTcpPort, run, scratchDirectory } from './daemon.ts';
import { startGuest, type Guest } from './guest/guest.ts';
import { GUEST_LOGIN } from './guest/image.ts';

const COLUMNS = 100;
const ROWS = 30;

/** A real kernel dies on a serial line: what we hold is what QEMU itself wrote down. */
describe('a real machine', () => {
  const cleanups: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  for (const serial of ['unix', 'pty'] as const) {
    it(`panics on a ${serial} line: every byte is in the log, and replay ends on the screen that live ended on`, async () => {
      const scratch = scratchDirectory();
      cleanups.push(() => scratch.dispose());
      const guest = await startGuest({ serial });
      cleanups.push(() => guest.stop());
      const [sshPort, rawBase] = [await freeTcpPort(), await freeTcpPort()];
      const key = join(scratch.path, 'key');
      await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
      const daemon = await Daemon.start(
        scratch.path,
        `data: ./data
listen:
  ssh: 127.0.0.1:${sshPort}
  raw: { host: 127.0.0.1, base: ${rawBase - 1}, auth: none, allow: [127.0.0.1/32], as: tester }
users:
  tester: { role: admin, keysFile: ./key.pub }
ports:
  guest: { n: 1, ${serial}: ${guest.path} }
`,
      );
      cleanups.push(() => daemon.stop());
      await daemon.said('port up', (entry) => entry['port'] === 'guest');

      const live = new xterm.Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true });
      const line = connect(rawBase, '127.0.0.1');
      await once(line, 'connect');
      line.on('data', (bytes) => live.write(bytes));
      await daemon.said('session attached');

      await guest.run();
      await logIn(guest, (text) => line.write(text));
      line.write('echo c > /proc/sysrq-trigger\r');
      await guest.saidText('end Kernel panic - not syncing: sysrq triggered crash');
      await guest.stop();
      const truth = guest.said();
      await daemon.said('port down', (entry) => entry['port'] === 'guest');

      const logged = await daemon.cli(['log', 'guest', '--format', 'raw']);
      assert.ok(truth.length > 10_000);
      assert.deepEqual(logged.stdout, truth, 'the log with the daemon up');

      writeFileSync(join(scratch.path, 'known_hosts'), '');
      const replayed = await run('ssh', [
        ...['-F', '/dev/null', '-i', key, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
        ...['-o', 'StrictHostKeyChecking=no', '-o', 'LogLevel=ERROR'],
        ...['-o', `UserKnownHostsFile=${join(scratch.path, 'known_hosts')}`],
        ...['-p', String(sshPort), '-tt', 'tester@127.0.0.1'],
        ...['replay', 'guest', '--speed', '1000', '--idle-max', '0.01'],
      ]);
      assert.equal(replayed.code, 0, replayed.stdout.toString());
      const again = new xterm.Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true });
      await written(again, replayed.stdout);
      await written(live, '');
      assert.ok(screenOf(live).some((text) => text.includes('end Kernel panic')));
      assert.deepEqual(screenOf(again), screenOf(live));

      assert.equal(await daemon.stop(), 0);
      const offline = await daemon.cli(['log', 'guest', '--format', 'raw']);
      assert.deepEqual(offline.stdout, truth, 'the log with the daemon stopped');
      const verified = await daemon.cli(['verify']);
      assert.equal(verified.code, 0, verified.stdout.toString());
    });
  }
});

async function logIn(guest: Guest, type: (text: string) => void): Promise<void> {
  await guest.saidText('guest login: ');
  type(`${GUEST_LOGIN.user}\r`);
  await guest.saidText('Password: ');
  type(`${GUEST_LOGIN.password}\r`);
  await guest.saidText('root@guest:~# ');
}

function written(terminal: xterm.Terminal, bytes: Uint8Array | string): Promise<void> {
  return new Promise((resolve) => terminal.write(bytes, resolve));
}

/** Lines of the screen, as a person sees them. */
function screenOf(terminal: xterm.Terminal): string[] {
  const { active } = terminal.buffer;
  return Array.from({ length: ROWS }, (_, row) => {
    return active.getLine(active.viewportY + row)?.translateToString(true) ?? '';
  });
}
