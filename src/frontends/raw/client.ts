import { Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import type { RawDoorSettings } from '../../core/settings.ts';
import { attachMode } from '../attach-mode.ts';
import type { BinarySession, OpenSession } from '../binary-session.ts';
import { doorUser } from '../door-user.ts';
import type { Guest } from '../door.ts';
import { isHttpRequest } from '../http-request.ts';
import { LastWords } from '../last-words.ts';

export interface RawClientSettings extends Pick<RawDoorSettings, 'auth' | 'as' | 'busy'> {
  port: string;
}

/**
 * One client of a raw door: a program, so byte-transparent, without notices, disconnected rather
 * than skipped. One that says nothing is a listener. When it has sent all it wanted (a half-close,
 * as `echo x | nc` does) it gives write up and has the port's last words (last-words.ts). TCP does
 * not tell that from a client that left: such a one goes the same way, or is found out
 * (half-closed.ts).
 */
export function serveRawClient(
  guest: Guest,
  settings: RawClientSettings,
  services: FrontendServices,
  openSession: OpenSession,
): void {
  const { socket, remote } = guest;
  const { port } = settings;
  const journal = services.journal.child({ port, remote });
  const who = doorUser(guest, settings, services.login);
  if ('why' in who) {
    guest.failed();
    journal.warn({ why: who.why }, 'raw client refused');
    socket.destroy();
    return;
  }
  const { user } = who;
  guest.authenticated();
  socket.setKeepAlive(true, KEEPALIVE_MS);

  let isFirstChunk = true;
  let session: BinarySession | null = null;
  const lastWords = new LastWords(() => {
    session?.detach('the client sent all it had, and the line fell silent');
    end();
  });

  function end(): void {
    lastWords.stop();
    socket.end(); // what it can still take, it gets
    setTimeout(() => socket.destroy(), LINGER_MS).unref();
  }

  async function takeInput(bytes: Buffer): Promise<void> {
    socket.pause();
    if (isFirstChunk && isHttpRequest(bytes)) {
      journal.warn({ bytes: bytes.length }, 'HTTP request on a raw door dropped');
      socket.destroy();
      return;
    }
    isFirstChunk = false;
    lastWords.gaveInput();
    await session!.input(bytes);
    socket.resume();
  }

  async function attach(): Promise<void> {
    const opened = await openSession(
      services,
      {
        caller: { user, remote, frontend: 'raw' },
        port,
        mode: attachMode(settings.busy),
        delivery: 'program',
        from: null,
        notices: false,
        keys: null,
      },
      {
        write: (bytes, done) => {
          const written = lastWords.said(done);
          socket.write(bytes, () => written());
        },
        ended: (why) => {
          journal.info({ why }, 'raw session ended');
          end();
        },
      },
    );
    if (socket.destroyed) return opened.detach('the client left');
    session = opened;
    socket.once('close', () => {
      lastWords.stop();
      opened.detach('the client left');
    });
    socket.on('data', (bytes: Buffer) => {
      takeInput(bytes).catch((err: unknown) => {
        journal.error({ err }, 'raw input could not be passed on');
        socket.destroy();
      });
    });
    socket.once('end', () => {
      lastWords
        .inputEnded(opened)
        .catch((err: unknown) => journal.warn({ err }, 'write could not be given up'));
    });
  }

  attach().catch((error: unknown) => {
    if (error instanceof Fault) {
      journal.warn({ fault: error.code, why: error.message }, 'raw client refused');
    } else journal.error({ err: error }, 'raw client could not be served');
    socket.destroy();
  });
}

/** A peer that died in silence is found by probes; libuv sends ten, a second apart. */
const KEEPALIVE_MS = 30_000;
const LINGER_MS = 1_000;
