import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { startGuest } from './guest.ts';
import { GUEST_LOGIN } from './image.ts';

describe('the test guest', () => {
  it('boots, lets root in, panics when told to, and its truth is what came over the line', async () => {
    const guest = await startGuest({ serial: 'unix' });
    try {
      const line = connect(guest.path);
      await once(line, 'connect');
      const heard: Buffer[] = [];
      line.on('data', (chunk: Buffer) => heard.push(chunk));
      const closed = once(line, 'close');

      await guest.run();
      await guest.saidText('Linux version');
      await guest.saidText('guest: ready');
      await guest.saidText('guest login: ');
      line.write(`${GUEST_LOGIN.user}\r`);
      await guest.saidText('Password: ');
      line.write(`${GUEST_LOGIN.password}\r`);
      await guest.saidText('root@guest:~# ');
      line.write('echo c > /proc/sysrq-trigger\r');
      await guest.saidText('end Kernel panic - not syncing: sysrq triggered crash');

      await guest.stop();
      await closed;
      assert.ok(guest.said().length > 10_000);
      assert.deepEqual(Buffer.concat(heard), guest.said());
    } finally {
      await guest.stop();
    }
  });
});
