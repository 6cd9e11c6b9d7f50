import type { Connection, PseudoTtyInfo, ServerChannel, Session, WindowChangeInfo } from 'ssh2';
import { EXIT, exitCodeOf, Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import type { Caller } from '../../core/user.ts';
import { splitWords } from '../../protocols/words.ts';
import type { OpenSession } from '../binary-session.ts';
import type { Guest } from '../door.ts';
import { isTimeZone } from '../time-zone.ts';
import { authenticate } from './authenticator.ts';
import { ChannelIo, type SshTerminal } from './channel-io.ts';
import { ChannelOutput } from './channel-output.ts';
import { openDirectChannel } from './direct-channel.ts';
import { ConnectionGuard, type PrivateChannel } from './guards.ts';
import { attachArguments, type Destination } from './login-name.ts';

export interface SshDeps {
  services: FrontendServices;
  openSession: OpenSession;
  /** Whether a word is a verb; else it is taken for a port. */
  isVerb(word: string): boolean;
  /** Zone of this server, for clients that do not send TZ. */
  timeZone: string;
}

/**
 * One SSH client, from its identification to its end. Serves shells and commands, each a verb, and
 * `-W PORT:1`; whatever else SSH can ask for is refused.
 */
export class SshConnection {
  readonly #deps: SshDeps;
  readonly #guest: Guest;
  readonly #guard: ConnectionGuard;
  readonly #journal: FrontendServices['journal'];
  #destination: Destination | null = null;

  constructor(client: Connection, guest: Guest, deps: SshDeps) {
    const { services } = deps;
    this.#deps = deps;
    this.#guest = guest;
    this.#journal = services.journal.child({ remote: guest.remote });
    // Without a listener an error of one client would end the process.
    client.on('error', (err: Error) => {
      this.#journal.debug({ err: err.message }, 'ssh client failed');
      // ssh2 closes its half; a peer that never closes the other would keep the socket for ever.
      setTimeout(() => guest.socket.destroy(), LINGER_MS).unref();
    });
    this.#guard = new ConnectionGuard(client, {
      onCut: (why) => this.#journal.warn({ user: this.#destination?.user, why }, 'ssh client cut'),
      onDirect: (host) =>
        openDirectChannel(this.#guard, services, deps.openSession, this.#caller(), host),
    });
    client.on('session', (accept) => this.#serveSession(accept()));
    authenticate(client, guest, services, (destination) => {
      this.#destination = destination;
      guest.authenticated();
    });
  }

  /** Only once authenticated: ssh2 opens no channel before. */
  #caller(): Caller {
    return { user: this.#destination!.user, remote: this.#guest.remote, frontend: 'ssh' };
  }

  #serveSession(session: Session): void {
    const terminal: SshTerminal = {
      hasPty: false,
      columns: 80,
      rows: 24,
      timeZone: this.#deps.timeZone,
    };
    let io: ChannelIo | null = null;
    const resize = (info: PseudoTtyInfo | WindowChangeInfo) => {
      if (!isTerminalSize(info.cols) || !isTerminalSize(info.rows)) return;
      terminal.columns = info.cols;
      terminal.rows = info.rows;
    };
    session.on('pty', (accept: Answer, _reject: Answer, info: PseudoTtyInfo) => {
      terminal.hasPty = true;
      resize(info);
      accept?.();
    });
    session.on('window-change', (accept: Answer, _reject: Answer, info: WindowChangeInfo) => {
      resize(info);
      accept?.();
      io?.resized();
    });
    session.on('env', (accept: Answer, reject: Answer, { key, val }) => {
      if (key !== 'TZ' || !isTimeZone(val)) return reject?.();
      terminal.timeZone = val;
      accept?.();
    });
    session.on('signal', (accept: Answer, reject: Answer, { name }) => {
      if (!STOP_SIGNALS.has(name)) return reject?.();
      accept?.();
      io?.interrupt();
    });
    const start = (line: string, accept: () => ServerChannel | undefined) => {
      const channel = accept();
      // A second shell on one session; `io` is the first one's.
      if (channel === undefined) return;
      const output = new ChannelOutput(channel, this.#guard);
      const { argv, hint, problem } = this.#plan(line);
      io = this.#openIo(channel, output, terminal, argv);
      this.#run(argv, problem, hint, io)
        .then((code) => finish(channel, output, code))
        .catch((err: unknown) => {
          this.#journal.error({ err }, 'ssh session failed');
          this.#guard.cut('its session failed');
        });
    };
    session.on('shell', (accept) => start('', accept));
    session.on('exec', (accept, _reject, { command }) => start(command, accept));
  }

  #openIo(
    channel: ServerChannel,
    output: ChannelOutput,
    terminal: SshTerminal,
    argv: readonly string[],
  ): ChannelIo {
    const io = new ChannelIo(channel, output, terminal, argv[0] === 'attach', (err) =>
      this.#journal.error({ err }, 'input could not be handled'),
    );
    this.#guard.onChannelClosed(channel as unknown as PrivateChannel, () => {
      output.close();
      io.interrupt();
    });
    return io;
  }

  async #run(argv: readonly string[], problem: string, hint: string, io: ChannelIo) {
    let code: number = EXIT.usage;
    try {
      if (problem !== '') await io.writeError(`${problem}\n`);
      else code = await this.#deps.services.runVerb(this.#caller(), argv, io);
      if (hint !== '') await io.write(hint);
      return code;
    } catch (error) {
      if (io.signal.aborted) return INTERRUPTED;
      if (error instanceof Fault) await io.writeError(`${error.message}\n`).catch(() => undefined);
      else this.#journal.error({ err: error, verb: argv[0] }, 'verb failed');
      return exitCodeOf(error);
    }
  }

  /** What a login name and a command line together ask for (DESIGN 7). */
  #plan(line: string): Plan {
    const { user, port, options } = this.#destination!;
    let words: string[];
    try {
      words = splitWords(line);
    } catch (error) {
      return planOf([], (error as Fault).message);
    }
    const [first, ...rest] = words;
    if (port === null) {
      if (first === undefined) return { argv: ['ports'], problem: '', hint: hintFor(user) };
      return planOf(this.#deps.isVerb(first) ? words : ['attach', ...words]);
    }
    const attach = attachArguments(port, options);
    if (attach === null) {
      return planOf([], `${options.join(':')}: after the port come only "view" and "force"`);
    }
    if (first === undefined) return planOf(attach);
    if (!this.#deps.isVerb(first)) {
      return planOf([], `${first}: not a command; the login name already says which port`);
    }
    return planOf([first, port, ...rest]);
  }
}

/** Absent where the client did not ask for a reply, whatever ssh2's types say. */
type Answer = (() => void) | undefined;

interface Plan {
  argv: readonly string[];
  /** Why nothing is run; empty: nothing wrong. */
  problem: string;
  /** Said after a good end. */
  hint: string;
}

function planOf(argv: readonly string[], problem = ''): Plan {
  return { argv, problem, hint: '' };
}

function hintFor(user: string): string {
  return `\nTo attach to a port: ssh ${user}:PORT@HOST, or: ssh -t ${user}@HOST PORT\n`;
}

/** Exit status after the last byte of output: OpenSSH drops what comes later. */
function finish(channel: ServerChannel, output: ChannelOutput, code: number): void {
  void output.flushed().then(() => {
    channel.exit(code);
    channel.end();
    channel.resume(); // unread input would hold back ssh2's close
  });
}

function isTerminalSize(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 1_000;
}

const STOP_SIGNALS: ReadonlySet<string> = new Set(['INT', 'TERM', 'HUP', 'QUIT']);
/** As shells have it: 128 + SIGINT. */
const INTERRUPTED = 130;
const LINGER_MS = 1_000;
