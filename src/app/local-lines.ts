import { basename } from 'node:path';
import { createBackends, Sweep } from '../backends/index.ts';
import { accountOfLines, nameOf } from '../backends/tty/account.ts';
import type { Run } from '../backends/tty/account.ts';
import { examineBrltty, examineLine, examineSight, examineStatus } from '../backends/tty/checks.ts';
import type { Line } from '../backends/tty/checks.ts';
import { holdingOfEach } from '../backends/tty/held.ts';
import { identityOf } from '../backends/tty/identity.ts';
import { listSerialDevices } from '../backends/tty/list.ts';
import { kernelConsoles, surveyMachine } from '../backends/tty/machine.ts';
import { listen, testLoopback } from '../backends/tty/probe.ts';
import { listTtys, real } from '../backends/tty/sysfs.ts';
import type { BackendOpener } from '../core/backend.ts';
import type { Journal } from '../core/clock.ts';
import type { DiscoveredLine, Finding, Heard, LoopbackResult } from '../core/diagnosis.ts';
import { Fault } from '../core/fault.ts';

import { sameName } from '../core/names.ts';
import type { PortStatus } from '../core/port-status.ts';
import type { DeviceSettings, PortSettings, Settings } from '../core/settings.ts';
import { loadLibc } from '../native/libc.ts';
import { onePort } from '../verbs/port-list.ts';
import type { DiscoverOptions, LineActions, LoopbackOptions } from '../verbs/verb.ts';
import type { DaemonView } from './daemon-view.ts';
import { standalonePort } from './standalone.ts';
import { examineSystem } from './system-checks.ts';
import { SystemClock } from './system-clock.ts';

/** What `discover` and `doctor` work with, besides this machine's /dev, /proc and /sys. */
export interface LocalLinesContext {
  /** null: there is no configuration. @throws Fault CONFIG_INVALID. */
  settings(): Promise<Settings | null>;
  /** Absolute; null: none is known. */
  data(): Promise<string | null>;
  /** null: none runs. @throws Fault DENIED, DAEMON_UNREACHABLE. */
  daemon(): Promise<DaemonView | null>;
  run: Run;
  journal: Journal;
  root?: string;
}

/** The serial lines of this machine: what is there, what is wrong with them. */
export function localLines(context: LocalLinesContext): LineActions {
  const { root = '/' } = context;
  return {
    async discover(options, signal, report) {
      const known = await lookAround(context);
      for (const { why, fix } of known.trouble) await report(`${why}; ${fix}`);
      const devices = listSerialDevices(root);
      const consoles = kernelConsoles(root);
      const holding = await holdingOfEach(
        devices.map(({ device }) => device),
        root,
      );
      const found = devices.map((device): DiscoveredLine => {
        const { lock, openers } = holding.get(device.device)!;
        const { path, driver, usb, sharesIdentity } = device;
        const port = portOf(known, device.device, root);
        return {
          path,
          device: device.device,
          driver,
          usb: usb === null ? null : withoutPlace(usb),
          sharesIdentity,
          isConsole: consoles.includes(device.name),
          heldBy: lock ?? openers[0] ?? null,
          port: port?.name ?? null,
          said: null,
        };
      });
      await Promise.all(
        found.map(async (line) => {
          const status = known.daemon?.ports.find(({ name }) => name === line.port);
          if (status !== undefined) line.said = await saidInLog(known.daemon!, status);
        }),
      );
      if (options.listenMs !== null)
        await listenToFree(context, known, found, options, signal, report);
      return found;
    },

    async doctor(about) {
      const known = await lookAround(context);
      const account = await accountOfLines({
        run: context.run,
        own: { uid: process.geteuid!(), gids: [process.getegid!(), ...process.getgroups!()] },
        daemonUid: known.daemon?.uid ?? null,
        root,
      });
      const machine = await surveyMachine({ account, run: context.run, root });
      const lines = about === null ? linesToExamine(known, root) : null;
      const one = about === null ? null : lineCalled(about, known, root);
      const ofLines = (one === null ? lines! : [one]).flatMap((line) =>
        'settings' in line ? examineLine(line, machine) : examineStatus(line.status),
      );
      return [
        ...ofLines,
        ...examineBrltty(machine),
        ...(await examineSystem({
          hasLibc: (await loadLibc()) !== null,
          data: await context.data().catch(() => null),
          account,
          ownerName: (uid) => nameOf('passwd', uid, root),
        })),
        ...known.trouble,
        ...examineSight(process.geteuid!()),
      ];
    },

    async loopback(options) {
      const known = await lookAround(context);
      const line = lineCalled(options.about, known, root);
      if (!('settings' in line)) {
        const { name, backend } = line.status;
        throw new Fault(
          'PORT_UNSUPPORTED',
          `${name} is no serial device of this machine: ${backend}`,
        );
      }
      if (!options.isConfirmed) throw new Fault('CONFIRM', 'it sends random bytes: give --yes');
      const { daemon } = known;
      const { status } = line;
      const configured = known.ports.find((port) => port.name === line.subject);
      const settings = portFor(line, configured, options);
      const test = async (): Promise<LoopbackResult> =>
        testLoopback(await openerOf(settings, context.journal), settings.line);
      if (daemon === null || status === null) return test();
      await daemon.run('down', status.name);
      try {
        return await test();
      } finally {
        await daemon.run('up', status.name);
      }
    },
  };
}

interface Known {
  /** Device ports of the configuration and, without one, of the daemon. */
  ports: readonly PortSettings[];
  daemon: DaemonView | null;
  /** Why something is not known. */
  trouble: readonly Finding[];
}

async function lookAround(context: LocalLinesContext): Promise<Known> {
  const trouble: Finding[] = [];
  const settings = await context.settings().catch((error: unknown) => {
    trouble.push(findingOf('configuration', error, 'fairlead check'));
    return null;
  });
  const daemon = await context.daemon().catch((error: unknown) => {
    trouble.push(
      findingOf('daemon', error, 'run it with sudo, or see "systemctl status fairlead"'),
    );
    return null;
  });
  const ports = settings?.ports ?? daemon?.ports.flatMap(asSettings) ?? [];
  return { ports, daemon, trouble };
}

/** @throws what is no Fault. */
function findingOf(subject: string, error: unknown, fix: string): Finding {
  if (!(error instanceof Fault)) throw error;
  return { id: subject, subject, severity: 'warning', why: error.message, fix };
}

/** A port that a daemon without a configuration file made: `fairlead serve --ports`. */
function asSettings({ name, backend, target }: PortStatus): PortSettings[] {
  if (backend !== 'device' || !target.startsWith('/')) return [];
  return [standalonePort(name, null, deviceAt(target))];
}

function deviceAt(path: string): DeviceSettings {
  return { kind: 'device', path, match: null, signals: {}, rs485: null };
}

function portOf(known: Known, device: string, root: string): PortSettings | null {
  return known.ports.find((port) => deviceOf(port, root) === device) ?? null;
}

function deviceOf({ backend }: PortSettings, root: string): string | null {
  if (backend.kind !== 'device') return null;
  try {
    const path = identityOf(backend, root).resolve();
    return path === null ? null : real(path, root);
  } catch {
    return null; // two match: the port has neither
  }
}

function withoutPlace(usb: NonNullable<DiscoveredLine['usb']>): DiscoveredLine['usb'] {
  const { vendor, product, serial, maker, model, usbPath } = usb;
  return { vendor, product, serial, maker, model, interface: usb.interface, usbPath };
}

async function saidInLog(daemon: DaemonView, { name, line }: PortStatus): Promise<Heard> {
  return { bytes: null, text: await daemon.lastLine(name), line, why: null };
}

/** Opens those that nobody holds and no running daemon serves, all at once. */
async function listenToFree(
  context: LocalLinesContext,
  known: Known,
  found: readonly DiscoveredLine[],
  { listenMs, line }: DiscoverOptions,
  signal: AbortSignal,
  report: (text: string) => Promise<void>,
): Promise<void> {
  const free = found.filter(({ said, heldBy }) => said === null && heldBy === null);
  if (free.length === 0) return;
  await report(
    `listening for ${listenMs! / 1_000} s to ${free.map(({ device }) => device).join(' ')}: opening raises DTR and RTS, which resets some boards`,
  );
  await Promise.all(
    free.map(async (each) => {
      const configured = known.ports.find(({ name }) => name === each.port);
      const settings =
        configured ?? standalonePort(basename(each.device), null, deviceAt(each.path));
      const at = line === null ? settings : { ...settings, line };
      each.said = await listen(await openerOf(at, context.journal), listenMs!, signal);
    }),
  );
}

/** Those of the configuration; without any, whatever is there. */
function linesToExamine(known: Known, root: string): (Line | { status: PortStatus })[] {
  const configured = known.ports.flatMap((port) => lineOf(port, known));
  const others = (known.daemon?.ports ?? [])
    .filter(({ name }) => !known.ports.some((port) => sameName(port.name, name)))
    .map((status) => ({ status }));
  const notDevices = known.ports
    .filter(({ backend }) => backend.kind !== 'device')
    .flatMap(({ name }) => known.daemon?.ports.find((status) => status.name === name) ?? [])
    .map((status) => ({ status }));
  if (known.ports.length + others.length > 0) return [...configured, ...notDevices, ...others];
  return listSerialDevices(root).map(({ path }) => freeLine(path, path));
}

function lineOf(port: PortSettings, known: Known): Line[] {
  if (port.backend.kind !== 'device') return [];
  const status = known.daemon?.ports.find(({ name }) => name === port.name) ?? null;
  return [{ subject: port.name, settings: port.backend, isConfigured: true, status }];
}

function freeLine(subject: string, path: string): Line {
  return { subject, settings: deviceAt(path), isConfigured: false, status: null };
}

/**
 * `about`: a port, a path, or a tty's bare name.
 * @throws Fault PORT_UNKNOWN.
 */
function lineCalled(about: string, known: Known, root: string): Line | { status: PortStatus } {
  const tty = listTtys(root).find(({ name }) => name === about);
  const isPort = known.ports.some(({ name }) => sameName(name, about));
  if (about.startsWith('/') || (tty !== undefined && !isPort)) {
    const path = tty?.device ?? about;
    const device = real(path, root);
    const port = device === null ? null : portOf(known, device, root);
    const named = known.ports.find(({ backend }) => 'path' in backend && backend.path === path);
    const line = [port ?? named ?? []].flat().flatMap((each) => lineOf(each, known))[0];
    return line === undefined ? freeLine(about, path) : { ...line, subject: (port ?? named)!.name };
  }
  const all = [
    ...known.ports.map(({ name, aliases }) => ({ name, aliases })),
    ...(known.daemon?.ports ?? []).map(({ name, aliases }) => ({ name, aliases })),
  ].filter((port, at, list) => list.findIndex(({ name }) => name === port.name) === at);
  const { name } = onePort(all, about);
  const port = known.ports.find((each) => each.name === name);
  const line = port === undefined ? undefined : lineOf(port, known)[0];
  if (line !== undefined) return line;
  const status = known.daemon?.ports.find((each) => each.name === name);
  if (status !== undefined) return { status };
  throw new Fault(
    'NOT_FOUND',
    `${name} is no serial device, and no daemon runs that knows more of it`,
  );
}

/** Settings for the test: flow control would stop a line whose plug does not loop it. */
function portFor(
  line: Line,
  configured: PortSettings | undefined,
  options: LoopbackOptions,
): PortSettings {
  const port = configured ?? standalonePort('loopback', null, line.settings);
  return { ...port, line: options.line ?? port.line, flow: 'none' };
}

async function openerOf(settings: PortSettings, journal: Journal): Promise<BackendOpener> {
  const backends = createBackends({
    libc: await loadLibc(),
    sweep: new Sweep(),
    clock: new SystemClock(),
    journal,
    lines: {
      join() {
        throw new Fault('PORT_UNSUPPORTED', 'a part of another line is no device');
      },
    },
  });
  return backends.makeOpener(settings);
}
