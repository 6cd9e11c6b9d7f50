import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { People, press } from './people.ts';

/**
 * Files that must arrive whole: `^Ec|` with the senders of lrzsz, to a machine that runs their
 * receivers on its console. Their protocols use every byte there is.
 */
describe('a file sent through ^Ec|', () => {
  let people: People;
  const name = 'upload.bin';

  before(async () => {
    people = await People.make();
    mkdirSync(people.file('received'));
    const receive = 'echo ready; read command; $command; echo "received $?"; cat';
    await people.start(
      `
listen: { ssh: '127.0.0.1:${people.ssh.tcpPort}' }
defaults: { pace: { newline: lf } }
ports:
  board: { exec: [sh, -c, 'cd ${people.file('received')}; ${receive}'] }
`,
      ['board'],
    );
  });
  afterEach(() => people.endClients());
  after(() => people.dispose());

  it('arrives byte for byte, whatever line ends are typed as', async () => {
    const sent = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
    writeFileSync(people.file(name), sent);
    const terminal = people.terminal(people.fairlead('attach', 'board'));
    await terminal.heard.until('ready');
    await press(terminal, 'rz\r', 'waiting to receive');
    await press(terminal, '\x05c|', 'command to pipe:');
    await press(terminal, `sz -q ${people.file(name)}\r`, 'ended with status 0');
    await terminal.heard.until('received 0');
    assert.ok(readFileSync(people.file(`received/${name}`)).equals(sent));
    await press(terminal, '\x05c.', '\r\n');
    assert.equal(await terminal.exited, 0);
  });
});
