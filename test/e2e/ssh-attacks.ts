import { once } from 'node:events';
import { loginAt, sendPacket, type Attacker } from '../frontends/ssh-attacker.ts';

export interface SshAttack {
  what: string;
  /** Against the door on 127.0.0.1; resolves when the attacker was cut or, if it is not to be, had its answer. */
  run(tcpPort: number, username: string, privateKey: Buffer): Promise<void>;
}

/**
 * What hung or flooded an SSH server made with ssh2, by clients that are logged in. There has to be a
 * port `slow` that takes less input than they send.
 */
export const SSH_ATTACKS: readonly SshAttack[] = [
  {
    what: 'an honest login, for comparison',
    async run(...door) {
      const client = await loginAt(...door);
      client.end();
      await closed(client);
    },
  },
  ...[0, 1, 1_023].map((packetBytes) => ({
    what: `a channel with packets of ${packetBytes} bytes`,
    async run(...door: Parameters<SshAttack['run']>) {
      const attacker = await loginAt(...door);
      const cut = closed(attacker);
      attacker._protocol.session(0, 2_000_000, packetBytes);
      attacker._protocol.exec(0, 'help', false);
      await cut;
    },
  })),
  {
    what: 'a channel with packets and a window of 4 GB, which is served',
    async run(...door) {
      const attacker = await loginAt(...door);
      const opened = confirmed(attacker);
      const answered = new Promise<void>((resolve) => {
        attacker._protocol._handlers['CHANNEL_CLOSE'] = () => resolve();
      });
      attacker._protocol.session(0, 0xffff_ffff, 0xffff_ffff);
      attacker._protocol.exec(await opened, 'help', false);
      await answered;
      attacker.end();
      await closed(attacker);
    },
  },
  {
    what: '200,000 messages to ignore',
    async run(...door) {
      const attacker = await loginAt(...door);
      const ignore = Buffer.from([SSH_MSG_IGNORE, 0, 0, 0, 0]);
      for (let sent = 0; sent < 200_000 && attacker._sock.writable; sent += 10_000) {
        attacker._sock.cork();
        for (let i = 0; i < 10_000; i++) sendPacket(attacker, ignore);
        attacker._sock.uncork();
        if (attacker._sock.writableNeedDrain) await once(attacker._sock, 'drain');
      }
      attacker.end();
      await closed(attacker);
    },
  },
  {
    what: 'a window overrun by 64 MB',
    async run(...door) {
      const attacker = await loginAt(...door);
      const cut = closed(attacker);
      const opened = confirmed(attacker);
      attacker._protocol._handlers['CHANNEL_WINDOW_ADJUST'] = () => undefined;
      attacker._protocol.session(0, 2_000_000, 32_768);
      const channel = await opened;
      attacker._protocol.exec(channel, 'attach slow --force', false);
      const chunk = Buffer.alloc(32_000);
      for (let sent = 0; sent < 64e6 && attacker._sock.writable; sent += 4 * chunk.length) {
        for (let i = 0; i < 4; i++) attacker._protocol.channelData(channel, chunk);
        await new Promise(setImmediate);
      }
      await cut;
    },
  },
];

/** RFC 4253 section 11.2 */
const SSH_MSG_IGNORE = 2;

function closed(attacker: Attacker): Promise<void> {
  return new Promise((resolve) => attacker.once('close', () => resolve()));
}

/** The server's number of the channel that is being opened. */
function confirmed(attacker: Attacker): Promise<number> {
  return new Promise((resolve) => {
    attacker._protocol._handlers['CHANNEL_OPEN_CONFIRMATION'] = (
      _self: unknown,
      { sender }: { sender: number },
    ) => resolve(sender);
  });
}
