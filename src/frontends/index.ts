import type { Frontend, FrontendServices } from '../core/frontend.ts';
import type { Libc } from '../core/libc.ts';
import type { ListenSettings } from '../core/settings.ts';
import type { Penalties } from '../auth/penalties.ts';
import type { OpenSession } from './binary-session.ts';
import { ControlFrontend } from './control/frontend.ts';
import type { DoorLimits } from './door.ts';
import { RawFrontend, type NumberedPort } from './raw/frontend.ts';
import { SshFrontend } from './ssh/frontend.ts';

export interface FrontendSettings {
  listen: ListenSettings;
  /** Ports with a number, for the doors at base + n. */
  ports: readonly NumberedPort[];
  /** Path of the control socket; null: none. Fixed for the life of the daemon. */
  controlPath: string | null;
}

export interface FrontendDeps {
  libc: Pick<Libc, 'peerCredentials'>;
  penalties: Penalties;
  openSession: OpenSession;
  /** Whether a word is a verb of the table; over SSH any other first word is a port. */
  isVerb(word: string): boolean;
  /** `keys/` of the data directory; made when it is not there. */
  keysDirectory: string;
  /** The server's zone, for SSH clients that send none. */
  timeZone: string;
  limits?: Partial<DoorLimits>;
}

/** Every way in. A new one is a folder and a line here. */
export function createFrontends(
  settings: FrontendSettings,
  services: FrontendServices,
  deps: FrontendDeps,
): Frontends {
  const { listen, ports, controlPath } = settings;
  const given = (kind: string) => ({
    ...deps,
    services: { ...services, journal: services.journal.child({ frontend: kind }) },
  });
  const ssh = new SshFrontend(listen.ssh, given('ssh'));
  const raw = new RawFrontend(listen.raw, ports, given('raw'));
  const control = controlPath === null ? [] : [new ControlFrontend(controlPath, given('control'))];
  const all: Frontend[] = [...control, ssh, raw];
  return {
    all,
    ssh,
    raw,
    async start() {
      await Promise.all(all.map((frontend) => frontend.start()));
    },
    async stop() {
      await Promise.all(all.map((frontend) => frontend.stop()));
    },
    async update(next) {
      await Promise.all([ssh.update(next.listen.ssh), raw.update(next.listen.raw, next.ports)]);
    },
  };
}

export interface Frontends {
  readonly all: readonly Frontend[];
  readonly ssh: SshFrontend;
  readonly raw: RawFrontend;
  /** Never rejects for a taken address: that door is tried again every 30 s. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** On reload: only doors that changed are touched. */
  update(next: Pick<FrontendSettings, 'listen' | 'ports'>): Promise<void>;
}
