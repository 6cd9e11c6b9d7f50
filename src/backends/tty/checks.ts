import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Finding } from '../../core/diagnosis.ts';
import { nearestWords } from '../../core/names.ts';
import type { PortStatus } from '../../core/port-status.ts';
import type { DeviceSettings } from '../../core/settings.ts';
import { nameOf } from './account.ts';
import { deniedFix, formatMode } from './explain.ts';
import { freeingAdvice, isGetty } from './held.ts';
import type { Holder } from './holder.ts';
import { describeHolder } from './holder.ts';
import { identityOf } from './identity.ts';
import { udevProperty } from './machine.ts';
import type { Machine } from './machine.ts';
import { attribute, real, splitRdev } from './sysfs.ts';
import type { TtyFacts } from './sysfs.ts';

/** A line to be examined: a configured port's, or one that no port has. */
export interface Line {
  /** A port's name, else its path. */
  subject: string;
  settings: DeviceSettings;
  isConfigured: boolean;
  /** As the daemon knows it; null: no daemon, or no such port. */
  status: PortStatus | null;
}

/** What each check finds wrong with a line, in the order in which it should be mended. */
export function examineLine(line: Line, machine: Machine): Finding[] {
  const patient = findPatient(line, machine);
  const findings: Finding[] = [];
  for (const { id, examine } of CHECKS) {
    const found = examine(patient, machine);
    if (found !== null) findings.push({ id, subject: line.subject, ...found });
  }
  for (const { id, examine } of STATUS_CHECKS) {
    const found = examine(line, findings);
    if (found !== null) findings.push({ id, subject: line.subject, ...found });
  }
  return findings;
}

/** The same for a port that is no device of this machine: what its daemon knows. */
export function examineStatus(status: PortStatus): Finding[] {
  const findings: Finding[] = [];
  for (const { id, examine } of STATUS_CHECKS) {
    const found = examine({ status }, findings);
    if (found !== null) findings.push({ id, subject: status.name, ...found });
  }
  return findings;
}

interface Patient extends Line {
  /** As configured, or where a match is now; null: it is nowhere. */
  path: string | null;
  /** Why it is not known which device is meant. */
  ambiguity: string | null;
  /** `/dev/ttyUSB0`; null: nothing is there. */
  device: string | null;
  facts: TtyFacts | null;
}

type Found = Omit<Finding, 'id' | 'subject'>;

interface StatusCheck {
  id: string;
  examine(patient: Pick<Line, 'status'>, before: readonly Finding[]): Found | null;
}

interface Check {
  id: string;
  examine(patient: Patient, machine: Machine): Found | null;
}

function findPatient(line: Line, machine: Machine): Patient {
  const { settings } = line;
  let path = settings.path;
  let ambiguity: string | null = null;
  if (path === null) {
    try {
      path = identityOf(settings, machine.root).resolve();
    } catch (error) {
      ambiguity = (error as Error).message;
    }
  }
  const device = path === null ? null : real(path, machine.root);
  const facts = machine.ttys.find((tty) => tty.device === device) ?? null;
  return { ...line, path, ambiguity, device, facts };
}

const CHECKS: readonly Check[] = [
  { id: 'two-match', examine: twoMatch },
  { id: 'no-device', examine: noDevice },
  { id: 'not-a-tty', examine: notATty },
  { id: 'no-uart', examine: noUart },
  { id: 'permission', examine: permission },
  { id: 'unit-device-policy', examine: unitDevicePolicy },
  { id: 'getty', examine: getty },
  { id: 'held', examine: held },
  { id: 'modem-manager', examine: modemManager },
  { id: 'kernel-console', examine: kernelConsole },
  { id: 'shared-identity', examine: sharedIdentity },
  { id: 'unstable-path', examine: unstablePath },
  { id: 'no-serial-number', examine: noSerialNumber },
  { id: 'latency-timer', examine: latencyTimer },
];

/** Of what the daemon knows of a port. */
const STATUS_CHECKS: readonly StatusCheck[] = [
  { id: 'wrong-speed', examine: wrongSpeed },
  { id: 'line-errors', examine: lineErrors },
  { id: 'overrun', examine: overrun },
  { id: 'port-down', examine: portDown },
];

function twoMatch({ ambiguity }: Patient): Found | null {
  if (ambiguity === null) return null;
  const [why, fix] = ambiguity.split('; none is taken; ');
  return error(`${why}; none is taken`, fix ?? 'say more in "match:"');
}

function noDevice(patient: Patient, machine: Machine): Found | null {
  if (patient.device !== null || patient.ambiguity !== null) return null;
  const { path } = patient.settings;
  if (path === null) {
    const usb = machine.lines.filter((line) => line.usb !== null);
    const there = usb.map(({ device, usb }) => {
      const serial = usb!.serial === null ? '' : ` serial ${usb!.serial}`;
      return `${device} is ${usb!.vendor}:${usb!.product}${serial} at ${usb!.usbPath}`;
    });
    return error(
      'nothing that is plugged in matches',
      there.length === 0
        ? `${plugIt(machine)} no USB adapter is there at all`
        : `${plugIt(machine)} there is: ${listed(there)}`,
    );
  }
  const known = machine.lines.flatMap((line) => [line.path, line.device]);
  const near = nearestWords(path, new Set(known), NEAREST);
  const others = near.length > 0 ? near : machine.lines.map((line) => line.path);
  return error(
    `${path} does not exist`,
    others.length === 0
      ? `${plugIt(machine)} this machine has no serial line at all`
      : `${plugIt(machine)} ${near.length > 0 ? 'or is it' : 'there is'} ${listed(others)}`,
  );
}

function notATty({ path, device, facts }: Patient, machine: Machine): Found | null {
  if (path === null || device === null || facts !== null) return null;
  const stat = machine.stat(device);
  if (stat === null || /^\/dev\/pts\//.test(device)) return null;
  if (stat.isCharacterDevice()) {
    const { major, minor } = splitRdev(stat.rdev);
    const subsystem = real(`/sys/dev/char/${major}:${minor}/subsystem`, machine.root);
    if (subsystem === null || basename(subsystem) === 'tty') return null;
    return error(
      `${device} is not a tty, it is of the kind "${basename(subsystem)}"`,
      'name a serial device; "fairlead discover" lists them',
    );
  }
  if (stat.isFile() && device.startsWith('/dev/')) {
    return error(
      `${device} is a regular file, not a tty: a program wrote to it while no device was there`,
      `rm ${device}, and plug the adapter in anew`,
    );
  }
  if (stat.isSocket()) {
    return error(`${device} is a unix socket, not a tty`, `configure it as "unix: ${path}"`);
  }
  const kind = stat.isDirectory() ? 'a directory' : 'a file';
  return error(`${device} is ${kind}, not a tty`, 'name a device, such as /dev/ttyUSB0');
}

function noUart({ device, facts }: Patient, machine: Machine): Found | null {
  if (facts === null || facts.hasUart) return null;
  const uarts = machine.lines.filter(({ usb }) => usb === null).map((line) => line.device);
  return error(
    `no UART is behind ${device}: Linux makes a ttyS for each port that might be there (programs say "not a tty" or "Input/output error")`,
    uarts.length === 0
      ? 'this machine has no UART of its own; is the port turned off in its firmware (BIOS)?'
      : `the real ones are ${listed(uarts)}`,
  );
}

function permission({ device }: Patient, machine: Machine): Found | null {
  const { account } = machine;
  const stat = device === null ? null : machine.stat(device);
  if (stat === null || !stat.isCharacterDevice() || account.uid === 0) return null;
  if (mayOpen(stat, account.uid, account.gids)) return null;
  const facts = {
    user: account.name,
    mode: stat.mode,
    owner: nameOf('passwd', stat.uid, machine.root),
    group: nameOf('group', stat.gid, machine.root),
  };
  const why = `user ${account.name} may not read and write ${device} (it belongs to ${facts.owner}:${facts.group}, mode ${formatMode(stat.mode)})`;
  const start = account.unit === null ? 'log in again' : `systemctl restart ${account.unit}`;
  if (mayOpen(stat, account.uid, account.listedGids)) {
    return error(
      `${why}, though it is in the group by now: it was started before`,
      account.unit === null ? `${start}, and start Fairlead anew` : start,
    );
  }
  const inUnit =
    account.unit === null
      ? ''
      : `, or SupplementaryGroups=${facts.group} in the unit; then ${start}`;
  return error(why, `${deniedFix(facts)}${inUnit}`);
}

function unitDevicePolicy({ device, facts }: Patient, machine: Machine): Found | null {
  const { devicesAllowed, unit } = machine.account;
  if (devicesAllowed === null || facts === null || facts.rdev === null) return null;
  const name = machine.driverNames.get(splitRdev(facts.rdev).major);
  if (name === undefined) return null;
  const isAllowed = devicesAllowed.some(
    (rule) => rule === device || (rule.startsWith('char-') && globOf(rule.slice(5)).test(name)),
  );
  if (isAllowed) return null;
  return error(
    `DeviceAllow= of ${unit} does not let it open ${device}`,
    `"systemctl edit ${unit}": [Service] DeviceAllow=char-${name} rw; then systemctl restart ${unit}`,
  );
}

function getty({ device, facts }: Patient, machine: Machine): Found | null {
  if (device === null || facts === null) return null;
  const holder = strangers(null, device, machine).find(isGetty);
  if (holder === undefined && !machine.gettys.includes(facts.name)) return null;
  const who = holder === undefined ? '' : ` (${describeHolder(holder)})`;
  const unit = `serial-getty@${facts.name}.service`;
  // systemd-getty-generator starts one on each console= of the command line: disabled is not enough.
  const isAsked = machine.consolesOfCommandLine.includes(facts.name);
  return error(
    `a login prompt runs on ${device}${who}: it takes bytes that are meant for the port`,
    `systemctl ${isAsked ? 'mask' : 'disable'} --now ${unit}`,
  );
}

function held({ status, device }: Patient, machine: Machine): Found | null {
  if (device === null) return null;
  const holder = strangers(status, device, machine).find((each) => !isGetty(each));
  if (holder === undefined) return null;
  const fix =
    holder.name === 'ModemManager' || holder.name === 'brltty'
      ? freeingAdvice(device, holder)
      : `end it (kill ${holder.pid}), or let it go first`;
  return status?.state === 'up'
    ? warning(`${describeHolder(holder)} has ${device} open too, and may take bytes from it`, fix)
    : error(`${describeHolder(holder)} has ${device}`, fix);
}

function modemManager({ facts }: Patient, machine: Machine): Found | null {
  if (machine.modemManager === null || facts === null || facts.usb === null) return null;
  const { vendor, product, usbPath } = facts.usb;
  const ids = [`+usb:${usbPath}`];
  if (facts.rdev !== null) {
    const { major, minor } = splitRdev(facts.rdev);
    ids.push(`c${major}:${minor}`);
  }
  const isIgnored = ids.some((id) =>
    MODEM_MANAGER_KEYS.some((key) => udevProperty(machine.root, id, key) === '1'),
  );
  if (isIgnored) return null;
  return warning(
    `ModemManager runs, and types AT commands at ${facts.device} whenever it is plugged in`,
    `a udev rule (deploy/udev has one for all): ATTRS{idVendor}=="${vendor}", ATTRS{idProduct}=="${product}", ENV{ID_MM_DEVICE_IGNORE}="1"; then udevadm control --reload and udevadm trigger`,
  );
}

function kernelConsole({ facts }: Patient, machine: Machine): Found | null {
  if (facts === null) return null;
  const { name } = facts;
  const isAsked = machine.consolesOfCommandLine.includes(name);
  if (!isAsked && !machine.consoles.includes(name)) return null;
  return warning(
    `this machine's own kernel writes its messages to ${facts.device}, in between what is sent`,
    isAsked
      ? `take console=${name} from the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), and start it anew`
      : 'see /proc/consoles; the firmware (SPCR, device tree) may have chosen it: console=tty0 on the kernel command line undoes that',
  );
}

function sharedIdentity({ facts, settings }: Patient, machine: Machine): Found | null {
  const line = machine.lines.find((each) => each.device === facts?.device);
  if (line === undefined || !line.sharesIdentity) return null;
  const { usb } = line;
  const twin = machine.lines.find(
    (other) =>
      other !== line &&
      other.sharesIdentity &&
      other.usb!.serial === usb!.serial &&
      other.usb!.product === usb!.product &&
      other.usb!.vendor === usb!.vendor,
  );
  const isById = settings.path?.includes('/by-id/') ?? false;
  const isSafe = settings.match !== null || /\/by-path\//.test(settings.path ?? '');
  if (isSafe) return null;
  const why = `${line.device} and ${twin?.device ?? 'another adapter'} say the same of themselves, to the serial number (${usb!.serial ?? 'none'})`;
  const fix = `name it by where it is plugged: device: ${line.path}, or match: with usbPath: "${usb!.usbPath}"`;
  return isById ? error(`${why}: ${settings.path} is whichever came last`, fix) : warning(why, fix);
}

function unstablePath({ settings, facts, isConfigured }: Patient, machine: Machine): Found | null {
  if (!isConfigured || facts === null || facts.usb === null || settings.path === null) return null;
  if (settings.path !== facts.device) return null;
  const line = machine.lines.find((each) => each.device === facts.device);
  const better =
    line === undefined || line.path === facts.device
      ? `match: {vendor: "${facts.usb.vendor}", product: "${facts.usb.product}", usbPath: "${facts.usb.usbPath}"}`
      : `device: ${line.path}`;
  return warning(
    `${facts.device} is whatever adapter comes first: after a restart or an unplug it may be another one`,
    `configure it as ${better}`,
  );
}

function noSerialNumber({ facts, settings }: Patient, machine: Machine): Found | null {
  if (facts === null || facts.usb === null || facts.usb.serial !== null) return null;
  if (settings.match !== null || /\/by-path\//.test(settings.path ?? '')) return null;
  const line = machine.lines.find((each) => each.device === facts.device);
  return note(
    `this adapter (${facts.usb.vendor}:${facts.usb.product}) has no serial number: nothing tells it from another of its kind`,
    `name it by where it is plugged (${line?.path ?? facts.usb.usbPath}), and leave it in that socket`,
  );
}

function wrongSpeed({ status }: Pick<Line, 'status'>): Found | null {
  if (status === null || status.looksLike === null) return null;
  return error(
    `what comes in is garbled at ${status.line}; it looks like ${status.looksLike}`,
    `try it: fairlead line ${status.name} ${status.looksLike}; then write it into the configuration`,
  );
}

function lineErrors({ status }: Pick<Line, 'status'>): Found | null {
  if (status === null || status.looksLike !== null) return null;
  const { framing, parity } = status.errors;
  if (framing + parity === 0) return null;
  return warning(
    `${framing} framing and ${parity} parity errors since the daemon started`,
    `if they go on: are speed, data bits and parity (${status.line}) those of the device, and is the cable sound, grounded and not too long?`,
  );
}

function overrun({ status }: Pick<Line, 'status'>): Found | null {
  if (status === null || status.errors.overrun === 0) return null;
  return warning(
    `the UART or its driver lost at least ${status.errors.overrun} bytes before Linux could read them`,
    'a UART without a FIFO, or a machine that is too busy: lower the speed, use flow: rtscts, or a USB adapter',
  );
}

function latencyTimer({ facts, status }: Patient, machine: Machine): Found | null {
  if (facts === null || status?.state === 'up') return null;
  const device = join(machine.root, 'sys/class/tty', facts.name, 'device');
  const timerMs = Number(attribute(device, 'latency_timer') ?? 0);
  if (timerMs <= LATENCY_MS_FINE) return null;
  return note(
    `this FTDI adapter holds back what comes in for up to ${timerMs} ms (its latency timer)`,
    `latency: low on the port, or: echo 1 > /sys/class/tty/${facts.name}/device/latency_timer`,
  );
}

/** What the daemon itself says, when no other check has explained it. */
function portDown({ status }: Pick<Line, 'status'>, before: readonly Finding[]): Found | null {
  if (status === null || status.state === 'up') return null;
  if (before.some(({ severity }) => severity === 'error')) return null;
  return error(
    `the port is ${status.state}: ${status.why ?? 'no cause is known'}`,
    'see "fairlead ports"',
  );
}

/** The adapters that brltty's udev rules take for Braille displays, and that are then gone from /dev. */
export function examineBrltty(machine: Machine): Finding[] {
  if (machine.brltty === null) return [];
  const isTaken = takenByUsbfs(machine);
  return [
    {
      id: 'brltty',
      subject: 'machine',
      severity: isTaken ? 'error' : 'warning',
      why: isTaken
        ? 'brltty runs, and has taken a USB adapter for a Braille display: it is gone from /dev'
        : 'brltty runs: it takes CH340, CP210x and FTDI adapters for Braille displays as they are plugged in',
      fix: 'systemctl mask --now brltty.service brltty-udev.service (or apt remove brltty), and plug the adapter in anew',
    },
  ];
}

/** A program in user space speaks to such an adapter, whose driver it sent away (usbfs). */
function takenByUsbfs({ root }: Machine): boolean {
  const directory = join(root, 'sys/bus/usb/drivers/usbfs');
  try {
    const interfaces = readdirSync(directory).filter((name) => name.includes(':'));
    return interfaces.some((name) => {
      const vendor = attribute(join(root, 'sys/bus/usb/devices', name.split(':')[0]!), 'idVendor');
      return vendor !== null && ADAPTER_VENDORS.includes(vendor);
    });
  } catch {
    return false;
  }
}

/** WCH, Silicon Labs, FTDI, Prolific. */
const ADAPTER_VENDORS = ['1a86', '10c4', '0403', '067b'];

/** What of the whole machine keeps this account from knowing more. */
export function examineSight(ownUid: number): Finding[] {
  if (ownUid === 0) return [];
  return [
    {
      id: 'not-root',
      subject: 'machine',
      severity: 'note',
      why: 'only root sees which lines the programs of other users have open',
      fix: 'run it with sudo for a full answer',
    },
  ];
}

/** Set low enough by itself: ftdi_sio's default is 16 ms, `latency: low` makes it 1. */
const LATENCY_MS_FINE = 4;
const NEAREST = 3;
const LISTED_MAX = 8;
/** ModemManager(8): either keeps it away, on the port or on the whole device. */
const MODEM_MANAGER_KEYS = ['ID_MM_PORT_IGNORE', 'ID_MM_DEVICE_IGNORE'];

/** Those that have the device and are not the daemon, which holds the lock of a port that is up. */
function strangers(status: PortStatus | null, device: string, machine: Machine): Holder[] {
  const { lock, openers } = machine.holding.get(device) ?? { lock: null, openers: [] };
  if (status?.state === 'up') return openers.filter(({ pid }) => lock !== null && pid !== lock.pid);
  return [...(lock === null ? [] : [lock]), ...openers];
}

function mayOpen(
  stat: { mode: number; uid: number; gid: number },
  uid: number,
  gids: readonly number[],
): boolean {
  const bits =
    stat.uid === uid ? stat.mode >> 6 : gids.includes(stat.gid) ? stat.mode >> 3 : stat.mode;
  return (bits & 0o6) === 0o6;
}

/** Of systemd's patterns only the star is used for devices. */
function globOf(pattern: string): RegExp {
  const parts = pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}

function plugIt(machine: Machine): string {
  return machine.brltty === null ? 'is the adapter plugged in?' : 'is it plugged in (see brltty)?';
}

function listed(words: readonly string[]): string {
  const more = words.length > LISTED_MAX ? `, and ${words.length - LISTED_MAX} more` : '';
  return `${words.slice(0, LISTED_MAX).join(', ')}${more}`;
}

function error(why: string, fix: string): Found {
  return { severity: 'error', why, fix };
}

function warning(why: string, fix: string): Found {
  return { severity: 'warning', why, fix };
}

function note(why: string, fix: string): Found {
  return { severity: 'note', why, fix };
}
