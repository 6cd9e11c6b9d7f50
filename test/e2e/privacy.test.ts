import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readDataId } from '../../src/store/data-directory.ts';
import { findSpool } from '../../src/store/spool-file.ts';
import { Heard, SshKit, type SshClient } from './console.ts';
import { Daemon, freeTcpPort, scratchDirectory } from './daemon.ts';

/** Unlike anything that could be in a file by chance, in no line of the program below. */
const SECRET = 'hunter2-Xq7vNpZ4';
const LOGIN = 'root-of-the-machine';

/** A login as getty and login do it: the kernel's own echo, and none for the password. */
const LOGIN_PROGRAM = `
while :; do
  printf 'machine login: '
  read -r name
  stty -echo
  printf 'Password: '
  read -r password
  stty echo
  printf '\\nwelcome, %s, your password has %s letters\\n' "$name" "\${#password}"
done
`;

describe('a password typed at a prompt without echo', () => {
  const directory = scratchDirectory();
  let ssh: SshKit;
  let yaml: string;
  let daemon: Daemon;
  let printed: Heard;

  before(async () => {
    ssh = new SshKit(directory.path, await freeTcpPort());
    const program = join(directory.path, 'login');
    writeFileSync(program, LOGIN_PROGRAM);
    yaml = `
data: ${directory.path}/data
listen: { ssh: "127.0.0.1:${ssh.tcpPort}" }
users:
  alice: { role: admin, keys: ["${ssh.makeKey('alice')}"] }
ports:
  db1: { exec: [/bin/sh, ${program}] }
`;
    daemon = await start();
  });
  after(async () => {
    ssh.dispose();
    await daemon.stop();
    directory.dispose();
  });

  async function start(): Promise<Daemon> {
    const started = await Daemon.start(directory.path, yaml);
    printed = new Heard();
    for (const stream of [started.process.stdout!, started.process.stderr!]) {
      stream.on('data', (bytes: Buffer) => printed.add(bytes));
    }
    return started;
  }

  /** Logs in to the machine; `pieces`: the secret as it is typed. */
  async function logIn(client: SshClient, pieces: readonly string[]): Promise<void> {
    const from = client.out.length;
    await client.out.until(/login: $/, Math.max(0, from - 15));
    client.type(`${LOGIN}\r`);
    await client.out.until('Password: ', from);
    for (const piece of pieces) {
      client.type(piece);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    client.type('\r');
    await client.out.until(`your password has ${SECRET.length} letters`, from);
  }

  /** Every file that the daemon has, and what it printed. */
  function searched(): Map<string, Buffer> {
    const files = new Map([['journal', printed.bytes]]);
    const walk = (path: string): void => {
      for (const name of readdirSync(path)) {
        const inside = join(path, name);
        const stat = statSync(inside, { throwIfNoEntry: false });
        if (stat?.isDirectory()) walk(inside);
        else if (stat?.isFile()) files.set(inside, readFileSync(inside));
      }
    };
    const data = join(directory.path, 'data');
    walk(data);
    const spool = findSpool(readDataId(data)!, { dataDirectory: data });
    if (spool !== null) files.set('spool', readFileSync(spool));
    return files;
  }

  function assertNowhere(when: string): void {
    const files = searched();
    assert.ok(files.has('spool'), `no spool ${when}`);
    assert.ok([...files.keys()].some((path) => path.endsWith('fairlead.db-wal')));
    for (const [path, bytes] of files) {
      for (const part of [SECRET, SECRET.slice(0, 8), SECRET.slice(-8)]) {
        assert.ok(!bytes.includes(part), `${part} is in ${path} ${when}`);
      }
    }
    const holders = [...files].filter(([, bytes]) => bytes.includes(LOGIN));
    assert.ok(holders.length > 0, 'the search finds what is there');
  }

  async function typedText(): Promise<string> {
    const { code, stdout, stderr } = await daemon.cli(['log', 'db1', '--tx', '--format', 'jsonl']);
    assert.equal(code, 0, stderr);
    const records = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; bytes?: string });
    const texts = records.filter(({ kind }) => kind === 'tx-text' || kind === 'tx');
    return texts.map(({ bytes = '' }) => Buffer.from(bytes, 'base64').toString()).join('');
  }

  it('is nowhere while the daemon runs, nor after kill -9, nor after a stop; the login name is', async () => {
    const client = ssh.spawn(['-tt', 'alice:db1@127.0.0.1'], { key: 'alice' });
    await client.out.until('db1: you write');
    client.type('\r');
    await client.out.until('Password: ');
    client.type('\r');
    await client.out.until('has 0 letters');
    await logIn(client, [SECRET]);
    await logIn(client, [...SECRET]);
    while (!(await typedText()).includes(LOGIN));
    assert.ok(!(await typedText()).includes(SECRET.slice(0, 4)));
    assertNowhere('while it runs');

    // Half typed, the rest on its way: the worst moment to die.
    client.type(`${LOGIN}\r`);
    await client.out.until(/letters[^]*letters[^]*letters[^]*Password: $/);
    client.type(SECRET);
    await daemon.stop('SIGKILL');
    assertNowhere('after kill -9');

    daemon = await start();
    assertNowhere('after the next start');
    const text = await typedText();
    assert.ok(text.includes(`${LOGIN}\r`));
    assert.ok(!text.includes(SECRET.slice(0, 4)));
    const all = await daemon.cli(['log', 'db1', '--tx']);
    assert.match(all.stdout.toString(), new RegExp(`echoed: ${LOGIN}`));
    assert.equal(await daemon.stop(), 0);
    for (const [path, bytes] of searched()) {
      assert.ok(!bytes.includes(SECRET.slice(0, 8)), `it is in ${path} after the stop`);
    }
  });

  it('is not kept of "send" either', async () => {
    daemon = await start();
    const follow = ssh.spawn(['alice@127.0.0.1', 'log', 'db1', '--follow'], { key: 'alice' });
    await follow.out.until(/login: $/);
    const from = follow.out.length;
    assert.equal((await daemon.cli(['send', 'db1', '--enter', LOGIN])).code, 0);
    await follow.out.until('Password: ', from);
    const sent = await daemon.cli(['send', 'db1', '-'], `${SECRET}\r`);
    assert.equal(sent.code, 0, sent.stderr);
    await follow.out.until(`has ${SECRET.length} letters`, from);
    assertNowhere('after send');
  });
});
