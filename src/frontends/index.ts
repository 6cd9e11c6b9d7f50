import type { Penalties } from '../auth/penalties.ts';
import type { Frontend, FrontendServices } from '../core/frontend.ts';
import type { Libc } from '../core/libc.ts';
import type { DoorCaps, ListenSettings } from '../core/settings.ts';
import type { OpenSession } from './binary-session.ts';
import { ControlFrontend } from './control/frontend.ts';
import type { DoorLimits } from './door.ts';
import { ExposeFrontend, type Exposure } from './expose/frontend.ts';
import type { PtyLibc } from './expose/pty.ts';
import { RawFrontend } from './raw/frontend.ts';
import { SshFrontend } from './ssh/frontend.ts';
import { PortSshFrontend, type NumberedSshPort } from './ssh/port-frontend.ts';
import { SshServer } from './ssh/server.ts';
import { TelnetFrontend } from './telnet/frontend.ts';

export interface FrontendSettings {
  listen: ListenSettings;
  /** Ports with a number, for the doors at base + n. */
  ports: readonly NumberedSshPort[];
  /** Ports that are local ptys too. */
  exposes: readonly Exposure[];
  /** Said before login, where the protocol has a place for it; null: nothing. */
  banner: string | null;
  /** Path of the control socket; null: none. Fixed for the life of the daemon. */
  controlPath: string | null;
}

export interface FrontendDeps {
  /** null: koffi is not installed; then the control socket admits nobody and nothing is exposed. */
  libc: (Pick<Libc, 'peerCredentials'> & PtyLibc) | null;
  penalties: Penalties;
  openSession: OpenSession;
  /** Whether a word is a verb of the table; over SSH any other first word is a port. */
  isVerb(word: string): boolean;
  /** `keys/` of the data directory; made when it is not there. */
  keysDirectory: string;
  /** The server's zone, for clients that send none. */
  timeZone: string;
  /** Of Fairlead, for protocols in which a server says what it is. */
  version: string;
  limits?: Partial<DoorLimits>;
}

/** Every way in. A new one is a folder and a line here. */
export function createFrontends(
  settings: FrontendSettings,
  services: FrontendServices,
  deps: FrontendDeps,
): Frontends {
  const { listen, ports, exposes, banner, controlPath } = settings;
  let caps: DoorCaps = listen.caps;
  const given = (kind: string) => {
    const journal = services.journal.child({ frontend: kind });
    return { ...deps, journal, services: { ...services, journal }, caps: () => caps };
  };
  const retryMs = deps.limits?.retryMs;
  const sshServer = new SshServer({
    ...given('ssh'),
    banner,
    ...(retryMs !== undefined && { retryMs }),
  });
  const ssh = new SshFrontend(listen.ssh, sshServer, given('ssh'));
  const portSsh = new PortSshFrontend(listen.portSsh, ports, sshServer, given('port-ssh'));
  const telnet = new TelnetFrontend({ telnet: listen.telnet, banner }, ports, given('telnet'));
  const raw = new RawFrontend(listen.raw, ports, given('raw'));
  const expose = new ExposeFrontend(exposes, given('expose'));
  const control =
    controlPath === null
      ? []
      : [new ControlFrontend(controlPath, { ...given('control'), libc: deps.libc ?? NO_LIBC })];
  const all: Frontend[] = [...control, ssh, portSsh, telnet, raw, expose];
  return {
    all,
    ssh,
    portSsh,
    telnet,
    raw,
    async start() {
      await Promise.all(all.map((frontend) => frontend.start()));
    },
    async stop() {
      await Promise.all(all.map((frontend) => frontend.stop()));
    },
    async update(next) {
      caps = next.listen.caps;
      sshServer.setBanner(next.banner);
      await Promise.all([
        ssh.update(next.listen.ssh),
        portSsh.update(next.listen.portSsh, next.ports),
        telnet.update({ telnet: next.listen.telnet, banner: next.banner }, next.ports),
        raw.update(next.listen.raw, next.ports),
        expose.update(next.exposes),
      ]);
    },
  };
}

export interface Frontends {
  readonly all: readonly Frontend[];
  readonly ssh: SshFrontend;
  readonly portSsh: PortSshFrontend;
  readonly telnet: TelnetFrontend;
  readonly raw: RawFrontend;
  /** Never rejects for a taken address: that door is tried again every 30 s. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** On reload: only what changed is touched; certificates are read anew. */
  update(next: Omit<FrontendSettings, 'controlPath'>): Promise<void>;
}

const NO_LIBC: Pick<Libc, 'peerCredentials'> = {
  peerCredentials() {
    throw new Error('koffi is missing: who connects cannot be told');
  },
};
