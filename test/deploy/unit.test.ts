import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { PROJECT } from '../support/project.ts';

const DEPLOY = join(PROJECT, 'deploy');
const UNIT = readFileSync(join(DEPLOY, 'fairlead.service'), 'utf8');
const settings = parseUnit(UNIT);

describe('the systemd unit', () => {
  it('says what DESIGN 11 asks for', () => {
    const wanted = {
      Type: 'notify',
      User: 'fairlead',
      Group: 'fairlead',
      SupplementaryGroups: 'dialout',
      RuntimeDirectory: 'fairlead',
      RuntimeDirectoryPreserve: 'yes',
      StateDirectory: 'fairlead',
      StateDirectoryMode: '0700',
      LimitNOFILE: '16384',
      ExecReload: '/bin/kill -HUP $MAINPID',
      DevicePolicy: 'closed',
      ProtectSystem: 'strict',
      NoNewPrivileges: 'yes',
      CapabilityBoundingSet: '',
    };
    for (const [name, value] of Object.entries(wanted)) {
      assert.deepEqual(settings.get(name), [value], name);
    }
    assert.ok(Number(settings.get('WatchdogSec')?.[0]) > 0, 'WatchdogSec');
    const devices = settings.get('DeviceAllow') ?? [];
    for (const name of ['char-ttyS', 'char-ttyUSB', 'char-ttyACM', 'char-pts', '/dev/ptmx']) {
      assert.ok(devices.includes(`${name} rw`), `DeviceAllow=${name} rw`);
    }
  });

  it('has nothing that deletes the spool, hides the ttys or stops V8', () => {
    const never = ['DynamicUser', 'RemoveIPC', 'PrivateDevices', 'MemoryDenyWriteExecute'];
    assert.deepEqual(
      never.filter((name) => settings.has(name)),
      [],
    );
  });

  it('makes the thread pool as large as the design asks', () => {
    assert.match(settings.get('Environment')?.join(' ') ?? '', /UV_THREADPOOL_SIZE=16\b/);
  });

  it('uses the user that sysusers.d makes', () => {
    const users = readFileSync(join(DEPLOY, 'sysusers.d/fairlead.conf'), 'utf8');
    assert.match(users, /^u fairlead /m);
    assert.match(users, /^m fairlead dialout$/m);
  });

  it(
    'is understood by systemd and keeps the service on a short leash',
    { skip: !hasSystemd() },
    () => {
      const directory = mkdtempSync(join(tmpdir(), 'fairlead-unit-'));
      try {
        // What it starts is not installed here: any program that exists will do for the check.
        const unit = join(directory, 'fairlead.service');
        writeFileSync(unit, UNIT.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
        const verify = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
        const complaints = verify.stderr
          .split('\n')
          .filter((line) => line.includes('fairlead.service'));
        assert.deepEqual(complaints, []);
        assert.equal(verify.status, 0, verify.stderr);
        const security = spawnSync(
          'systemd-analyze',
          ['security', '--offline=true', '--threshold=25', unit],
          { encoding: 'utf8' },
        );
        assert.equal(security.status, 0, security.stdout.split('\n').slice(-3).join('\n'));
      } finally {
        rmSync(directory, { recursive: true });
      }
    },
  );
});

describe('the udev rule', () => {
  const rules = readFileSync(join(DEPLOY, 'udev/70-fairlead.rules'), 'utf8');

  it('gives adapters to dialout and keeps ModemManager away', () => {
    assert.match(rules, /ttyUSB.*GROUP="dialout"/);
    assert.match(rules, /ttyUSB.*ENV\{ID_MM_PORT_IGNORE\}="1"/);
  });

  it('touches neither names nor links, by which ports are found again', () => {
    assert.doesNotMatch(rules, /^[^#]*\b(NAME|SYMLINK)\b/m);
  });
});

/** Values by name, in order; a unit may give one more than once. */
function parseUnit(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const match = /^([A-Za-z]+)=(.*)$/.exec(line);
    if (match) found.set(match[1]!, [...(found.get(match[1]!) ?? []), match[2]!]);
  }
  return found;
}

function hasSystemd(): boolean {
  return spawnSync('systemd-analyze', ['--version']).status === 0;
}
