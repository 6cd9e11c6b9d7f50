import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createFrontends } from '../../src/frontends/index.ts';
import { FakePorts, fakeServices, noPenalties, VERBS, withDirectory } from './fakes.ts';

describe('frontends', () => {
  it('open what the settings name, change with them, and close', () =>
    withDirectory(async (directory) => {
      const controlPath = join(directory, 'control.sock');
      const ssh = { host: '127.0.0.1', tcpPort: 0, allow: [] };
      const frontends = createFrontends(
        { listen: { ssh: null, raw: null }, ports: [], controlPath },
        fakeServices({}),
        {
          libc: { peerCredentials: () => ({ pid: 1, uid: 1, gid: 1 }) },
          penalties: noPenalties(),
          openSession: new FakePorts().open,
          isVerb: (word) => VERBS.includes(word),
          keysDirectory: join(directory, 'keys'),
          timeZone: 'Etc/UTC',
        },
      );
      assert.deepEqual(
        frontends.all.map(({ kind }) => kind),
        ['control', 'ssh', 'raw'],
      );
      await frontends.start();
      assert.equal(frontends.ssh.tcpPort, null);
      assert.ok(existsSync(controlPath));
      await frontends.update({ listen: { ssh, raw: null }, ports: [] });
      assert.notEqual(frontends.ssh.tcpPort, null);
      await frontends.update({ listen: { ssh: null, raw: null }, ports: [] });
      assert.equal(frontends.ssh.tcpPort, null);
      await frontends.stop();
      assert.ok(!existsSync(controlPath));
    }));
});
