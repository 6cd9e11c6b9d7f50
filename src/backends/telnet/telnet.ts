import type { Backend } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import { encodeCommand } from '../../protocols/telnet.ts';
import type { OpenerFactory } from '../services.ts';
import { reachServer } from '../tcp/tcp.ts';
import { TelnetLine } from './telnet-line.ts';

/** A telnet server: a terminal server's port, a machine's own console. It has BREAK, and no settings. */
export const telnetOpener: OpenerFactory<'telnet'> = (_settings, backend, services) => {
  const server = reachServer('telnet', backend, services);
  const { description } = server;
  return {
    kind: 'telnet',
    ...server,
    async open(sink) {
      const line = new TelnetLine({ description, more: [], sink });
      line.start(await server.open(line.streamSink));
      await line.settled(SETTLED_MS);
      return telnetBackend(line, description);
    },
  };
};

/** A server that answers nothing of options is served so much later. */
const SETTLED_MS = 2_000;

/** What a telnet connection can do by itself: bytes, and a BREAK as long as the server makes it. */
export function telnetBackend(line: TelnetLine, description: string): Backend {
  function unsupported(what: string): Promise<never> {
    const why = `${description} is reached by telnet alone: it has no ${what}`;
    return Promise.reject(new Fault('PORT_UNSUPPORTED', why));
  }

  return {
    description,
    write: (bytes) => line.write(bytes),
    setWatched: () => undefined, // read at once anyhow
    setLine: () => unsupported('line settings'),
    setSignals: () => unsupported('signals'),
    async sendBreak() {
      if (!line.isAlive()) throw new Fault('PORT_GONE', `${description} went away`);
      line.command(encodeCommand('break'));
    },
    setBreak: () => unsupported('BREAK of a length of our choice'),
    purge: () => Promise.resolve(), // what was sent cannot be called back
    signals: () => Promise.resolve({}),
    isAlive: () => line.isAlive(),
    close: () => line.close(),
  };
}
