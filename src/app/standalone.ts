import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { listSerialDevices } from '../backends/tty/list.ts';
import { parseLineSettings } from '../core/line-settings.ts';
import { NO_PACE } from '../core/settings.ts';
import type { BackendSettings, PortSettings, Settings } from '../core/settings.ts';
import type { User } from '../core/user.ts';

/** The SSH door of `npm start` and `demo`; the next free one up when it is taken. */
const SSH_TCP_PORT = 8022;
const SSH_TCP_PORTS_TRIED = 20;
const PORT_SSH_BASE = 3000;
const TELNET_BASE = 2000;
const RAW_BASE = 4000;

/** Machines of the demo rack: name, the simulated system, its seed. */
const DEMO_RACK = [
  ['db1', 'linux-panics', 11],
  ['db2', 'linux', 29],
  ['core1', 'router', 5],
  ['board7', 'u-boot', 7],
  ['host3', 'xen', 3],
] as const;

/** Settings without a file: the rack of simulated machines, one of which dies now and then. */
export function demoRack(speed: number): PortSettings[] {
  return DEMO_RACK.map(([name, machine, seed], index) =>
    standalonePort(name, index + 1, { kind: 'sim', machine, seed, speed }),
  );
}

/** A port for each serial device of this machine, named after it: ttyUSB0, ttyS0. */
export function foundPorts(root = '/'): PortSettings[] {
  return listSerialDevices(root).map(({ path, name }, index) =>
    standalonePort(name, index + 1, {
      kind: 'device',
      path,
      match: null,
      signals: {},
      rs485: null,
    }),
  );
}

/** A port as it is when nobody has said more of it: 115200 8N1. */
export function standalonePort(
  name: string,
  n: number | null,
  backend: BackendSettings,
): PortSettings {
  return {
    name,
    was: null,
    n,
    aliases: [],
    group: null,
    backend,
    line: parseLineSettings('115200 8N1'),
    flow: 'none',
    input: 'masked',
    latency: 'normal',
    writers: 'one',
    pace: NO_PACE,
    restoreLine: false,
    onOpen: [],
    onDetach: [],
    idle: null,
    idleTimeoutMs: null,
    motd: null,
    tasks: [],
    power: null,
    expose: null,
  };
}

/** What `npm start` and `demo` serve: these ports, on loopback, for this user, kept in `data`. */
export async function standaloneSettings(options: {
  ports: PortSettings[];
  users: User[];
  data: string;
}): Promise<Settings> {
  const user = options.users[0];
  return {
    files: [],
    data: options.data,
    listen: {
      ssh: { host: '127.0.0.1', tcpPort: await freeSshPort(), allow: [] },
      portSsh: { host: '127.0.0.1', base: PORT_SSH_BASE, allow: [] },
      telnet: {
        host: '127.0.0.1',
        base: TELNET_BASE,
        aliasBase: null,
        auth: 'login',
        allow: [],
        as: null,
        tls: null,
        busy: 'view',
      },
      raw: user
        ? {
            host: '127.0.0.1',
            base: RAW_BASE,
            auth: 'none',
            allow: ['127.0.0.1/32'],
            as: user.name,
            tls: null,
            busy: 'view',
          }
        : null,
      caps: { connectionsMax: 1000, perSourceMax: 64 },
    },
    users: options.users,
    roles: {},
    ports: options.ports,
    banner: null,
    certificates: { authorities: [], revokedFile: null },
    markMs: null,
    autoPorts: [],
    log: { codec: 'brotli', spoolBytes: 33_554_432 },
  };
}

/** `~/.local/state/fairlead/NAME` (XDG Base Directory Specification). */
export function stateDirectory(name: string, xdgStateHome: string | undefined): string {
  return join(xdgStateHome ?? join(homedir(), '.local/state'), 'fairlead', name);
}

export function invokingUser(): { name: string; homeDirectory: string } {
  return { name: userInfo().username, homeDirectory: homedir() };
}

async function freeSshPort(): Promise<number> {
  for (let tcpPort = SSH_TCP_PORT; tcpPort < SSH_TCP_PORT + SSH_TCP_PORTS_TRIED; tcpPort++) {
    const probe = createServer();
    try {
      probe.listen(tcpPort, '127.0.0.1');
      await once(probe, 'listening');
      return tcpPort;
    } catch {
      continue; // taken: the next
    } finally {
      probe.close();
    }
  }
  return SSH_TCP_PORT;
}
