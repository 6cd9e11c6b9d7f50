import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { ListenSettings } from '../../src/core/settings.ts';
import { createFrontends, type FrontendDeps } from '../../src/frontends/index.ts';
import { requireLibc } from '../support/pty.ts';
import { FakePorts, fakeServices, freeBase, noPenalties, VERBS, withDirectory } from './fakes.ts';

const CLOSED: ListenSettings = {
  ssh: null,
  portSsh: null,
  telnet: null,
  raw: null,
  caps: { connectionsMax: 1_000, perSourceMax: 64 },
};

describe('frontends', () => {
  const depsIn = (directory: string, libc: FrontendDeps['libc']): FrontendDeps => ({
    libc,
    penalties: noPenalties(),
    openSession: new FakePorts().open,
    isVerb: (word) => VERBS.includes(word),
    keysDirectory: join(directory, 'keys'),
    timeZone: 'Etc/UTC',
    version: '1.2.3',
  });

  it('open what the settings name, change with them, and close', () =>
    withDirectory(async (directory) => {
      const controlPath = join(directory, 'control.sock');
      const path = join(directory, 'db1');
      const nothing = { listen: CLOSED, ports: [], exposes: [], banner: null };
      const frontends = createFrontends(
        { ...nothing, controlPath },
        fakeServices({ lab: {} }),
        depsIn(directory, await requireLibc()),
      );
      assert.deepEqual(
        frontends.all.map(({ kind }) => kind),
        ['control', 'ssh', 'port-ssh', 'telnet', 'raw', 'expose'],
      );
      await frontends.start();
      assert.ok(existsSync(controlPath));
      const tcpPorts = () => [
        frontends.ssh.tcpPort,
        frontends.portSsh.tcpPortOf('db1'),
        frontends.telnet.tcpPortOf('db1'),
        frontends.raw.tcpPortOf('db1'),
      ];
      assert.deepEqual(tcpPorts(), [null, null, null, null]);

      const base = await freeBase();
      const host = '127.0.0.1';
      const program = { host, allow: ['127.0.0.0/8'], as: 'lab', tls: null, busy: 'view' } as const;
      await frontends.update({
        ...nothing,
        listen: {
          ...CLOSED,
          ssh: { host, tcpPort: 0, allow: [] },
          portSsh: { host, base, allow: [] },
          telnet: { ...program, base: base + 1, aliasBase: null, auth: 'none' },
          raw: { ...program, base: base + 2, auth: 'none' },
        },
        ports: [{ name: 'db1', n: 1, aliases: [] }],
        exposes: [
          { port: 'db1', settings: { path, mode: 0o600, group: null, as: null, busy: 'view' } },
        ],
      });
      assert.equal(tcpPorts().includes(null), false);
      assert.ok(existsSync(path));

      await frontends.update(nothing);
      assert.deepEqual(tcpPorts(), [null, null, null, null]);
      assert.equal(existsSync(path), false);
      await frontends.stop();
      assert.equal(existsSync(controlPath), false);
    }));

  it('start without koffi', () =>
    withDirectory(async (directory) => {
      const services = fakeServices({});
      const settings = { path: join(directory, 'db1'), mode: 0o600, group: null, as: null };
      const exposes = [{ port: 'db1', settings: { ...settings, busy: 'view' as const } }];
      const frontends = createFrontends(
        { listen: CLOSED, ports: [], exposes, banner: null, controlPath: join(directory, 'c') },
        services,
        depsIn(directory, null),
      );
      await frontends.start();
      await services.journal.said('ports cannot be exposed');
      await frontends.stop();
    }));
});
