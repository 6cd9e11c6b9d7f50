import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { after, afterEach, before, describe, it } from 'node:test';
import type { SessionStatus } from '../../src/core/port-status.ts';
import { TestAuthority } from '../frontends/certificates.ts';
import { freeBase } from '../frontends/fakes.ts';
import { until } from '../support/pty.ts';
import { Heard, type Machine } from './console.ts';
import { People } from './people.ts';
import {
  everybodyLeft,
  firmware,
  next,
  nextSession,
  sha256,
  troubles,
  Wire,
} from './serial-tools.ts';

/** openssl's own client at doors that know their users by certificate. */
describe('doors with TLS', () => {
  let people: People;
  let authority: TestAuthority;
  let stranger: TestAuthority;
  let db1: Machine;
  let wire: Wire;
  let bases: { telnet: number; raw: number };
  const clients: Client[] = [];

  before(async () => {
    people = await People.make();
    authority = new TestAuthority(people.directory.path);
    stranger = new TestAuthority(people.directory.path, 'stranger');
    db1 = people.machine();
    wire = await Wire.open();
    bases = { telnet: await freeBase(), raw: await freeBase() };
    const { cert, key, clientCa } = authority.door();
    const tls = `tls: { cert: ${cert}, key: ${key}, clientCa: ${clientCa} }`;
    await people.start(
      `
listen:
  ssh: none
  telnet: { base: ${bases.telnet}, auth: certificate, allow: [127.0.0.0/8], ${tls} }
  raw: { base: ${bases.raw}, auth: certificate, allow: [127.0.0.0/8], ${tls} }
users:
  alice: { role: operator, ports: ['*'] }
  bob: { role: operator, ports: ['*'], from: [127.0.0.9] }
ports:
  db1: { n: 1, device: ${db1.path} }
  wire: { n: 2, tcp: '127.0.0.1:${wire.tcpPort}' }
`,
      ['db1', 'wire'],
    );
    assert.deepEqual(troubles(people.daemon), []);
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.end()));
    await everybodyLeft(people.daemon);
  });
  after(async () => {
    await people.dispose();
    wire.close();
    const refused = /"msg":"(telnet|raw) client refused"/;
    const noTls = /"why":"TLS: /;
    assert.deepEqual(troubles(people.daemon, [refused, noTls]), []);
  });

  const sessions = (): number =>
    people.daemon.journal.filter(({ msg }) => msg === 'session attached').length;

  interface Wanted {
    as?: { cert: string; key: string };
    /** Whose signature the client trusts at the server's certificate. */
    trusts?: TestAuthority;
    /** Whom the server sees: who fails is refused for a while. */
    source?: string;
  }

  function enter(tcpPort: number, { as, trusts = authority, source }: Wanted = {}): Client {
    const client = new Client([
      ...['-connect', `127.0.0.1:${tcpPort}`, '-CAfile', trusts.certificate],
      ...(as === undefined ? [] : ['-cert', as.cert, '-key', as.key]),
      ...(source === undefined ? [] : ['-bind', `${source}:0`]),
    ]);
    clients.push(client);
    return client;
  }

  it('a telnet door knows a person by the certificate, and asks for no password', async () => {
    const attached = nextSession(people.daemon, 'db1');
    const alice = enter(bases.telnet + 1, { as: authority.issue('alice') });
    await alice.heard.until('db1: you write');
    assert.doesNotMatch(alice.heard.text, /login|assword/);
    assert.equal((await attached)['user'], 'alice');
    const from = db1.heard.length;
    alice.process.stdin.write('uname -a\r');
    await db1.heard.until('uname -a\r', from);
    await db1.say('Linux db1\r\n');
    await alice.heard.until('Linux db1');
    const [session] = await people.rows<SessionStatus>('who');
    assert.deepEqual(
      [session!.user, session!.frontend, session!.mode],
      ['alice', 'telnet', 'write'],
    );
  });

  it('a raw door carries 1 MB of anything both ways, as the user of the certificate', async () => {
    const [down, up] = [firmware(), firmware()];
    const attached = nextSession(people.daemon, 'wire');
    const alice = enter(bases.raw + 2, { as: authority.issue('alice') });
    assert.equal((await attached)['user'], 'alice');
    const heard = next(wire.heard, down.length);
    alice.process.stdin.write(down);
    wire.say(up);
    assert.equal(sha256(await heard), sha256(down));
    assert.equal(sha256(await alice.heard.untilLength(up.length)), sha256(up));
  });

  it('refuse who shows no certificate, one of another authority, of nobody, or from elsewhere', async () => {
    // As of another name of the same file: the authority they know signs none of these.
    const other = stranger.issue('impostor', '/CN=alice');
    const ghost = authority.issue('ghost');
    const bob = authority.issue('bob');
    let source = 2;
    for (const [kind, base] of Object.entries(bases)) {
      for (const [as, why] of [
        [undefined, 'it showed no certificate'],
        [other, 'its certificate is not good: '],
        [ghost, 'there is no user ghost'],
        [bob, 'bob may not come from 127.0.0.'],
      ] as const) {
        const before = sessions();
        const said = new Set(people.daemon.journal);
        const client = enter(base + 1, { as: as!, source: `127.0.0.${++source + 100}` });
        const isAnswered = (): boolean => client.hasExited || sessions() > before;
        await until(isAnswered, 'the client to be sent away', 90_000);
        assert.equal(sessions(), before, `nobody is attached: ${why}`);
        const entry = await people.daemon.said(`${kind} client refused`, (line) => !said.has(line));
        assert.ok(String(entry['why']).startsWith(why), String(entry['why']));
        assert.doesNotMatch(client.heard.text, /db1/);
      }
      const attached = nextSession(people.daemon, 'db1');
      const client = enter(base + 1, { as: bob, source: '127.0.0.9' });
      assert.equal((await attached)['user'], 'bob');
      const from = db1.heard.length;
      client.process.stdin.write(`bob by ${kind}\r`);
      await db1.heard.until(`bob by ${kind}\r`, from);
      await client.end();
    }
  });

  it('let a client find out that it is not the server it trusts', async () => {
    const before = sessions();
    for (const base of Object.values(bases)) {
      const client = enter(base + 1, { as: authority.issue('alice'), trusts: stranger });
      assert.notEqual(await client.exited, 0);
      assert.match(client.errors.text, /verify error|certificate verify failed/);
    }
    assert.equal(sessions(), before);
  });

  it('say nothing to who speaks no TLS', async () => {
    for (const base of Object.values(bases)) {
      const child = spawn('socat', ['-', `TCP:127.0.0.1:${base + 1},bind=127.0.0.200`]);
      const heard = new Heard().listenTo(child.stdout);
      const closed = once(child, 'close');
      child.stdin.write('root\r\nGET / HTTP/1.1\r\n\r\n');
      await closed;
      // A TLS alert at most: fatal, of two bytes.
      assert.ok(heard.length === 0 || heard.bytes[0] === 21, heard.text);
    }
    assert.ok(!db1.heard.text.includes('root'));
  });
});

/** `openssl s_client`, with what it prints about the connection left out. */
class Client {
  readonly process: ChildProcessWithoutNullStreams;
  readonly heard: Heard;
  readonly errors: Heard;
  readonly exited: Promise<number | null>;

  constructor(args: readonly string[]) {
    const verified = ['-verify_return_error', '-verify_ip', '127.0.0.1'];
    this.process = spawn('openssl', ['s_client', '-quiet', ...verified, ...args]);
    this.process.stdin.on('error', () => undefined); // it may exit before it has read all
    this.heard = new Heard().listenTo(this.process.stdout);
    this.errors = new Heard().listenTo(this.process.stderr);
    this.exited = once(this.process, 'close').then(([code]) => code as number | null);
  }

  get hasExited(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  async end(): Promise<void> {
    this.process.kill();
    await this.exited;
  }
}
