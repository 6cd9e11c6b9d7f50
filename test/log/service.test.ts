import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import type { LogPort } from '../../src/core/log-reader.ts';
import type { LogRecord } from '../../src/core/record.ts';
import type { AuditRow } from '../../src/core/store.ts';
import type { Authorizer, Caller, PortIdentity, Right } from '../../src/core/user.ts';
import { createLogReader } from '../../src/log/service.ts';
import type { LogSource } from '../../src/log/source.ts';

const PORTS: LogPort[] = ['db1', 'db2', 'sw1', 'secret'].map((name) => ({
  uuid: `uuid-${name}`,
  name,
  epochs: [],
}));

const head = { epoch: 1, offset: 0, atUs: 0 };
const RECORDS: LogRecord[] = [
  { ...head, seq: 1, kind: 'tx', session: 1, count: 7, bytes: Buffer.from('show me') },
  { ...head, seq: 2, kind: 'tx-text', session: 1, bytes: Buffer.from('ls') },
  { ...head, seq: 3, kind: 'rx', bytes: Buffer.from('ls') },
];

/** One record for each read. */
const source: LogSource = {
  ports: () => PORTS,
  nameOf: (uuid) => PORTS.find((port) => port.uuid === uuid)?.name ?? null,
  locate: () => ({ epoch: 1, seq: 1 }),
  read: (_uuid, from) => ({
    records: RECORDS.slice(from.seq - 1, from.seq),
    next: { epoch: 1, seq: Math.min(from.seq + 1, 4) },
    atEnd: from.seq >= 3,
  }),
  changed: async () => true,
  close: () => undefined,
};

/** bob sees db*, alice everything and what was typed. */
const authorizer: Authorizer = {
  allows: (user: string, right: Right, port: PortIdentity | null) =>
    user === 'alice' || (user === 'bob' && right === 'view' && port?.group === 'rack'),
  authorize(user, right, port) {
    if (!this.allows(user, right, port)) throw new Fault('DENIED', `${user} lacks ${right}`);
  },
};

function caller(user: string): Caller {
  return { user, remote: '192.0.2.7:5', frontend: 'ssh' };
}

function newService(): { log: ReturnType<typeof createLogReader>; audits: AuditRow[] } {
  const audits: AuditRow[] = [];
  let nowUs = 0;
  const directory = {
    group: (name: string) => (name.startsWith('db') ? 'rack' : null),
    aliases: (name: string) => (name === 'db2' ? ['oracle'] : []),
  };
  const clock = { nowUs: () => (nowUs += 1000) };
  const log = createLogReader(source, authorizer, directory, {
    clock,
    audit: (row) => void audits.push(row),
  });
  return { log, audits };
}

describe('log service', () => {
  it('lists only what the caller may view', async () => {
    const { log } = newService();
    const names = async (user: string): Promise<string[]> =>
      (await log.ports(caller(user))).map((port) => port.name);
    assert.deepEqual(await names('alice'), ['db1', 'db2', 'sw1', 'secret']);
    assert.deepEqual(await names('bob'), ['db1', 'db2']);
    assert.deepEqual(await names('eve'), []);
  });

  it('finds a port by uuid, name, alias or unique prefix', async () => {
    const { log } = newService();
    const found = async (user: string, name: string): Promise<string> =>
      (await log.ports(caller(user), name))[0]!.name;
    assert.equal(await found('bob', 'uuid-db1'), 'db1');
    assert.equal(await found('bob', 'DB2'), 'db2');
    assert.equal(await found('bob', 'Oracle'), 'db2');
    assert.equal(await found('alice', 'sw'), 'sw1');
    await assert.rejects(found('bob', 'sw'), { code: 'PORT_UNKNOWN' });
    await assert.rejects(found('bob', 'sw1'), { code: 'DENIED' });
    await assert.rejects(found('bob', 'd'), { code: 'PORT_UNKNOWN' });
    await assert.rejects(found('bob', 'db3'), /did you mean "db1" or "db2"/);
  });

  it('refuses every call on a port the caller may not view', async () => {
    const { log } = newService();
    const [bob, from] = [caller('bob'), { epoch: 1, seq: 1 }];
    for (const call of [
      log.locate(bob, 'uuid-sw1', { at: 'end' }),
      log.read(bob, 'uuid-sw1', from, 10),
      log.changed(bob, 'uuid-sw1', from, 10),
    ]) {
      await assert.rejects(call, { code: 'DENIED' });
    }
    await assert.rejects(log.read(bob, 'nobody', from, 10), { code: 'PORT_UNKNOWN' });
  });

  it('hides what was typed from those without the right', async () => {
    const { log, audits } = newService();
    const batch = await log.read(caller('bob'), 'uuid-db1', { epoch: 1, seq: 1 }, 10);
    assert.deepEqual(batch.records, [{ ...RECORDS[0], bytes: new Uint8Array() }]);
    // The record after it is hidden whole: the next one comes instead of an empty batch.
    const next = await log.read(caller('bob'), 'uuid-db1', batch.next, 10);
    assert.deepEqual(next.records, [RECORDS[2]]);
    assert(next.atEnd);
    assert.deepEqual(audits, []);
  });

  it('audits a read of typed text once a minute for a caller and port', async () => {
    const { log, audits } = newService();
    for (let i = 0; i < 3; i++) {
      const batch = await log.read(caller('alice'), 'uuid-db1', { epoch: 1, seq: 1 }, 10);
      assert.deepEqual(batch.records, [RECORDS[0]]);
    }
    await log.read(caller('alice'), 'uuid-db2', { epoch: 1, seq: 3 }, 10);
    assert.deepEqual(
      audits.map(({ user, action, port }) => [user, action, port]),
      [['alice', 'read tx', 'db1']],
    );
  });
});
