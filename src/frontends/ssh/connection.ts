import type { Connection, PseudoTtyInfo, ServerChannel, Session, WindowChangeInfo } from 'ssh2';
import { EXIT, exitCodeOf, Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import type { Caller } from '../../core/user.ts';
import { splitWords } from '../../protocols/words.ts';
import type { OpenSession } from '../binary-session.ts';
import type { Guest } from '../door.ts';
import { isTimeZone } from '../time-zone.ts';
import { authenticate, type Admission } from './authenticator.ts';
import { ChannelIo, isTerminalSize, type SshTerminal } from './channel-io.ts';
import { ChannelOutput } from './channel-output.ts';
import { openDirectChannel } from './direct-channel.ts';
import { ConnectionGuard, type DirectChannel, type PrivateChannel } from './guards.ts';
import { attachArguments, isNameOf, type DoorPort } from './login-name.ts';
import { refuseOldScp, serveSftp } from './sftp.ts';

export interface SshDeps {
  services: FrontendServices;
  openSession: OpenSession;
  /** Whether a word is a verb; else it is taken for a port. */
  isVerb(word: string): boolean;
  /** Zone of this server, for clients that do not send TZ. */
  timeZone: string;
}

/**
 * One SSH client, from its identification to its end. Serves shells and commands, each a verb,
 * `-W PORT:1`, and the log by sftp; whatever else SSH can ask for is refused.
 */
export class SshConnection {
  readonly #deps: SshDeps;
  readonly #guest: Guest;
  /** The one port whose door it came through; null: the door of all ports. */
  readonly #door: DoorPort | null;
  readonly #guard: ConnectionGuard;
  readonly #journal: FrontendServices['journal'];
  #admission: Admission | null = null;

  constructor(client: Connection, guest: Guest, door: DoorPort | null, deps: SshDeps) {
    const { services } = deps;
    this.#deps = deps;
    this.#guest = guest;
    this.#door = door;
    this.#journal = services.journal.child({ remote: guest.remote });
    // Without a listener an error of one client would end the process.
    client.on('error', (err: Error) => {
      this.#journal.debug({ err: err.message }, 'ssh client failed');
      // ssh2 closes its half; a peer that never closes the other would keep the socket for ever.
      setTimeout(() => guest.socket.destroy(), LINGER_MS).unref();
    });
    this.#guard = new ConnectionGuard(client, {
      onCut: (why) => {
        const user = this.#admission?.destination.user;
        this.#journal.warn({ user, why }, 'ssh client cut');
      },
      onDirect: (host) => this.#openDirect(host),
    });
    client.on('session', (accept) => this.#serveSession(accept()));
    authenticate(client, guest, door, services, (admission) => {
      this.#admission = admission;
      guest.authenticated();
    });
  }

  /** Only once authenticated: ssh2 opens no channel before. */
  #caller(): Caller {
    const { user } = this.#admission!.destination;
    return { user, remote: this.#guest.remote, frontend: 'ssh' };
  }

  /** @throws Fault with the reason the client is told. */
  async #openDirect(host: string): Promise<DirectChannel> {
    if (!this.#admission!.permits.portForwarding) {
      throw new Fault('DENIED', 'the certificate does not permit port forwarding');
    }
    if (this.#door !== null && !isNameOf(this.#door, host)) {
      throw new Fault('DENIED', `this is the door of ${this.#door.name} alone`);
    }
    const { services, openSession } = this.#deps;
    return openDirectChannel(this.#guard, services, openSession, this.#caller(), host);
  }

  #serveSession(session: Session): void {
    const terminal: SshTerminal = {
      hasPty: false,
      columns: 80,
      rows: 24,
      timeZone: this.#deps.timeZone,
    };
    const resize = (info: PseudoTtyInfo | WindowChangeInfo) => {
      if (!isTerminalSize(info.cols, info.rows)) return;
      terminal.columns = info.cols;
      terminal.rows = info.rows;
    };
    session.on('pty', (accept: Answer, reject: Answer, info: PseudoTtyInfo) => {
      if (!this.#admission!.permits.pty) return reject?.();
      terminal.hasPty = true;
      resize(info);
      accept?.();
    });
    // Before the shell only; afterwards the guard asks `io`.
    session.on('window-change', (accept: Answer, _reject: Answer, info: WindowChangeInfo) => {
      resize(info);
      accept?.();
    });
    session.on('env', (accept: Answer, reject: Answer, { key, val }) => {
      if (key !== 'TZ' || !isTimeZone(val)) return reject?.();
      terminal.timeZone = val;
      accept?.();
    });
    const start = (line: string, accept: () => ServerChannel | undefined) => {
      const channel = accept();
      if (channel === undefined) return; // a second shell on one session
      const output = new ChannelOutput(channel, this.#guard);
      const { argv, hint, problem } = this.#plan(line, terminal.hasPty);
      const io = this.#openIo(channel, output, terminal, argv);
      this.#run(argv, problem, hint, io)
        .then((code) => finish(channel, output, code))
        .catch((err: unknown) => {
          this.#journal.error({ err }, 'ssh session failed');
          this.#guard.cut('its session failed');
        });
    };
    session.on('shell', (accept) => start('', accept));
    session.on('exec', (accept, _reject, { command }) => start(command, accept));
    // Without a listener for `sftp` ssh2 has this for all subsystems.
    session.on('subsystem', (accept, reject: Answer, { name }) => {
      if (name !== 'sftp') return reject?.();
      const channel = accept() as ServerChannel | undefined;
      if (channel === undefined) return;
      serveSftp(channel, this.#guard, this.#deps.services, this.#caller());
    });
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
    const privateChannel = channel as unknown as PrivateChannel;
    this.#guard.serveRequests(privateChannel, (request) => io.requested(request));
    this.#guard.onChannelClosed(privateChannel, () => {
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
  #plan(line: string, hasPty: boolean): Plan {
    const { user, port, options } = this.#admission!.destination;
    try {
      const words = splitWords(line);
      const oldScp = refuseOldScp(words);
      if (oldScp !== null) return planOf([], oldScp);
      if (port !== null) return planOf(this.#planFor(port, options, words));
      const [first] = words;
      if (first !== undefined)
        return planOf(this.#deps.isVerb(first) ? words : ['attach', ...words]);
      return hasPty ? planOf(['menu']) : { ...planOf(['ports']), hint: hintFor(user) };
    } catch (error) {
      if (error instanceof Fault) return planOf([], error.message);
      throw error;
    }
  }

  /** @throws Fault USAGE. */
  #planFor(port: string, options: readonly string[], words: readonly string[]): string[] {
    const attach = attachArguments(port, options);
    const [first, ...rest] = words;
    if (first === undefined) return attach;
    const isPort = this.#door !== null && isNameOf(this.#door, first);
    if (first === 'attach' || isPort) return [...attach, ...rest];
    if (this.#deps.isVerb(first)) return [first, port, ...rest];
    const what = this.#door === null ? 'the login name' : 'this door';
    throw new Fault('USAGE', `${first}: not a command; ${what} already says which port`);
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

/** As shells have it: 128 + SIGINT. */
const INTERRUPTED = 130;
const LINGER_MS = 1_000;
