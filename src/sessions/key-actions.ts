import type { Attached } from '../core/attach.ts';
import { Fault } from '../core/fault.ts';
import type { HostTerminal } from '../core/frontend.ts';
import type { LineState } from '../core/line-settings.ts';
import { sameName } from '../core/names.ts';
import type { PortDetails } from '../core/port-status.ts';
import type { Caller, EscapePrefix } from '../core/user.ts';
import { BROADCAST_PORTS_MAX, Broadcast, resolvePorts } from './broadcast.ts';
import type { Dialog } from './dialog.ts';
import { escapeHelp } from './escape-keys.ts';
import { describeLine, describePort, describeSession, motdLines } from './notices.ts';
import { SESSION_KEYS } from './session-keys.ts';
import type { PlainKey, SessionKey } from './session-keys.ts';
import type { SessionServices } from './session-contract.ts';

/** The session, as a person's keys use it. Calls after its end do nothing. */
export interface Seat {
  readonly services: SessionServices;
  readonly caller: Caller;
  readonly attached: Attached;
  readonly isWriter: boolean;
  readonly awaitsWrite: boolean;
  readonly host: HostTerminal | undefined;
  tell(text: string): void;
  lines(texts: readonly string[]): void;
  print(bytes: Uint8Array): void;
  /** Output waits for this. */
  hold(until: Promise<unknown>): void;
  /** Input for the device; resolves when more may be sent. `asIs`: a program's, not typed. */
  send(bytes: Uint8Array, asIs?: boolean): Promise<void>;
  /** Resolves when all input so far is on its way. */
  sent(): Promise<void>;
  replay(lines: number): void;
  /** Output of the device goes there as it is; null: to the person again. */
  divert(to: ((bytes: Uint8Array) => Promise<void> | void) | null): void;
  takeOver(): Promise<void>;
  view(): Promise<void>;
  sendBreak(durationMs: number): Promise<void>;
  lineState(): Promise<LineState>;
  /** To another port; stays where it is if that fails. @throws Fault PORT_UNKNOWN, DENIED. */
  moveTo(port: string): Promise<void>;
  /** To the same port anew, asking for write; nothing is shown twice. @throws Fault DENIED. */
  askForWrite(): Promise<void>;
  leave(why: string): void;
}

/** The fingers: what they are connected to at the moment. */
export interface Hands {
  prefix: EscapePrefix;
  /** `^Ec` */
  readonly prefixName: string;
  broadcast: Broadcast | null;
  command: Command | null;
  /** For the device, and those that the keys are broadcast to. */
  send(bytes: Uint8Array): Promise<void>;
  /**
   * Questions: nothing that is typed meanwhile reaches the device, and what it says is shown after.
   * Null when another question is open.
   */
  asking<T>(talk: (dialog: Dialog) => Promise<T>): Promise<T | null>;
}

/** A command of the person's own machine on the port. */
export interface Command {
  /** Ends it, as far as this session is concerned. */
  stop(): void;
}

const BREAK_MS = 300;
const LISTED_MAX = 200;

/** Does what a key stands for; failures are told. */
export function doKey(key: SessionKey, hands: Hands, seat: Seat): void {
  actionOf(key, hands, seat)().catch((error: unknown) => {
    seat.tell(error instanceof Error ? error.message : String(error));
  });
}

function actionOf(key: SessionKey, hands: Hands, seat: Seat): () => Promise<void> {
  switch (key.do) {
    case 'replay':
      return async () => seat.replay((key as { lines: number }).lines);
    case 'type':
      return () => hands.send(Uint8Array.of((key as { byte: number }).byte));
    case 'break-list':
      return () => breakList((key as { key: string }).key, hands, seat);
    default:
      return () => ACTIONS[key.do as PlainKey](hands, seat);
  }
}

type Action = (hands: Hands, seat: Seat) => Promise<void>;

const ACTIONS: Readonly<Record<PlainKey, Action>> = {
  leave: async (hands, seat) => seat.leave(`left by ${hands.prefixName}.`),
  help: async (hands, seat) => seat.lines(escapeHelp(SESSION_KEYS, hands.prefix)),
  write: askForWrite,
  force: (_hands, seat) => seat.takeOver(),
  view: (_hands, seat) => seat.view(),
  who: tellWho,
  ports: tellPorts,
  move: async (hands, seat) => void (await hands.asking((dialog) => move(dialog, seat))),
  'break-keys': tellBreakKeys,
  reopen: (_hands, { services, caller, attached }) =>
    services.access.hold(caller, attached.port, false),
  down: takeDown,
  details: tellDetails,
  line: async (_hands, seat) => seat.lines(describeLine(await seat.lineState())),
  motd: tellMotd,
  message: sendMessage,
  broadcast: toggleBroadcast,
  note: writeNote,
  pipe: pipeCommand,
  task: runTask,
  prefix: changePrefix,
  suspend: async (_hands, seat) => {
    if (seat.host) return seat.host.suspend();
    const instead = { ssh: '; in ssh it is ~^Z', telnet: '; in telnet it is ^] and z' };
    const { frontend } = seat.caller;
    const hint = frontend === 'ssh' || frontend === 'telnet' ? instead[frontend] : '';
    seat.tell(`only \`fairlead attach\` can suspend itself${hint}`);
  },
  logging: toggleLogging,
};

async function askForWrite(_hands: Hands, seat: Seat): Promise<void> {
  if (seat.isWriter) seat.tell('you write already');
  else if (seat.awaitsWrite) seat.tell('you get write when whoever has it leaves');
  else await seat.askForWrite();
}

async function tellWho(_hands: Hands, seat: Seat): Promise<void> {
  const { services, caller, attached } = seat;
  const all = await services.access.who(caller);
  const here = all.filter(({ port }) => port === attached.port);
  seat.lines(bounded(here.map((session) => describeSession(session, attached.session))));
}

async function tellPorts(_hands: Hands, seat: Seat): Promise<void> {
  const ports = await seat.services.access.ports(seat.caller);
  seat.lines(bounded(ports.map(describePort)));
}

/** Names and aliases are completed; what is typed may be any beginning that fits one port. */
async function move(dialog: Dialog, seat: Seat): Promise<void> {
  const words = await portNames(seat);
  const name = await dialog.ask('move to port:', { words });
  if (name !== null) await seat.moveTo(name);
}

async function portNames({ services, caller }: Seat): Promise<string[]> {
  const ports = await services.access.ports(caller);
  return ports.flatMap(({ name, aliases }) => [name, ...aliases]).sort();
}

function inspect({ services, caller, attached }: Seat): Promise<PortDetails> {
  return services.access.inspect(caller, attached.port);
}

/** Entry 0 is BREAK unless the port has one of its own. */
async function breakList(key: string, hands: Hands, seat: Seat): Promise<void> {
  const { tasks } = await inspect(seat);
  const task = tasks.find(({ breakKey }) => breakKey === key);
  if (task) {
    const isRun = !task.confirm || (await confirmed(hands, `run ${task.name}?`));
    return isRun ? run(seat, task.name, task.confirm) : undefined;
  }
  if (key !== '0') throw new Fault('NOT_FOUND', `the break list has no entry ${key}`);
  await seat.sendBreak(BREAK_MS);
}

async function tellBreakKeys(_hands: Hands, seat: Seat): Promise<void> {
  const { tasks } = await inspect(seat);
  const listed = tasks
    .filter(({ breakKey }) => breakKey !== null)
    .sort((a, b) => a.breakKey!.localeCompare(b.breakKey!));
  const lines = listed.map(({ breakKey, name, help }) => `${breakKey}  ${name}: ${help}`);
  if (!listed.some(({ breakKey }) => breakKey === '0')) lines.unshift('0  BREAK');
  seat.lines(lines);
}

async function runTask(hands: Hands, seat: Seat): Promise<void> {
  const task = await hands.asking(async (dialog) => {
    const { tasks } = await inspect(seat);
    const words = tasks.map(({ name }) => name);
    const name = await dialog.ask('task, ? lists them:', { words, lists: true });
    if (name === null) return null;
    const found = tasks.find((each) => sameName(each.name, name));
    if (!found) throw new Fault('NOT_FOUND', `the port has no task "${name}"`);
    return !found.confirm || (await dialog.confirm(`run ${found.name}?`)) ? found : null;
  });
  if (task) await run(seat, task.name, task.confirm);
}

async function confirmed(hands: Hands, question: string): Promise<boolean> {
  return (await hands.asking((dialog) => dialog.confirm(question))) ?? false;
}

async function run(seat: Seat, task: string, isConfirmed: boolean): Promise<void> {
  const { services, caller, attached } = seat;
  await seat.sent();
  await services.access.run(caller, attached.port, { task, isConfirmed });
  seat.tell(`${task} done`);
}

async function takeDown(hands: Hands, { services, caller, attached }: Seat): Promise<void> {
  const isSure = await confirmed(hands, `take ${attached.port} down?`);
  if (isSure) await services.access.hold(caller, attached.port, true);
}

async function tellDetails(_hands: Hands, seat: Seat): Promise<void> {
  const { status, line, isLogging, isHeld, tasks, power } = await inspect(seat);
  const { name, n, state, why, backend, target, group, aliases } = status;
  seat.lines([
    `${name}${n === null ? '' : ` (${n})`}: ${state}${why === null ? '' : `, ${why}`}`,
    `${backend} ${target}`,
    ...describeLine(line),
    `writer: ${status.writer ?? 'nobody'}, viewers: ${status.viewers}`,
    `epoch ${status.epoch}, offset ${status.offset}`,
    ...(group === null ? [] : [`group: ${group}`]),
    ...(aliases.length === 0 ? [] : [`aliases: ${aliases.join(', ')}`]),
    ...(tasks.length === 0 ? [] : [`tasks: ${tasks.map((task) => task.name).join(', ')}`]),
    ...(power.length === 0 ? [] : [`power: ${power.join(', ')}`]),
    ...(isHeld ? ['it is held down until somebody opens it'] : []),
    ...(isLogging ? [] : ['what it says is NOT logged at the moment']),
  ]);
}

async function tellMotd(_hands: Hands, seat: Seat): Promise<void> {
  const lines = motdLines((await inspect(seat)).motd);
  seat.lines(lines.length === 0 ? ['there is no message of the day'] : lines);
}

async function sendMessage(hands: Hands, seat: Seat): Promise<void> {
  const { services, caller, attached } = seat;
  const text = await hands.asking((dialog) => dialog.ask(`message to all on ${attached.port}:`));
  if (text !== null) await services.access.message(caller, { port: attached.port }, text);
}

async function writeNote(hands: Hands, seat: Seat): Promise<void> {
  const { services, caller, attached } = seat;
  const text = await hands.asking((dialog) => dialog.ask('note for the log:'));
  if (text === null) return;
  await services.access.note(caller, attached.port, text);
  seat.tell('noted');
}

async function toggleLogging(_hands: Hands, seat: Seat): Promise<void> {
  const { services, caller, attached } = seat;
  // All sessions of the port are told, this one too.
  const isOn = !(await inspect(seat)).isLogging;
  await services.access.setLogging(caller, attached.port, isOn);
}

async function toggleBroadcast(hands: Hands, seat: Seat): Promise<void> {
  if (hands.broadcast) {
    hands.broadcast.leave('broadcast ended');
    hands.broadcast = null;
    seat.tell('keys go to this port only');
    return;
  }
  const ports = await hands.asking((dialog) => askPorts(dialog, seat));
  if (ports) await beginBroadcast(ports, hands, seat);
}

/** The list is shown before anything is typed at it; null: no. */
async function askPorts(dialog: Dialog, seat: Seat): Promise<string[] | null> {
  const { services, caller, attached } = seat;
  const ports = await services.access.ports(caller);
  const words = ports.map(({ name }) => name);
  const typed = await dialog.ask('type at this port and (names or globs):', { words });
  if (typed === null) return null;
  const wanted = typed.split(/[\s,]+/).filter((word) => word !== '');
  const { found, unknown } = resolvePorts(wanted, ports, attached.port);
  if (unknown.length > 0) throw new Fault('PORT_UNKNOWN', `no port fits ${unknown.join(', ')}`);
  if (found.length === 0) throw new Fault('PORT_UNKNOWN', 'that names no other port');
  if (found.length > BROADCAST_PORTS_MAX) {
    const most = `keys go to ${BROADCAST_PORTS_MAX} at most`;
    throw new Fault('USAGE', `that names ${found.length} ports; ${most}`);
  }
  seat.lines([`keys will go to ${attached.port} and: ${found.join(', ')}`]);
  return (await dialog.confirm(`type at ${found.length + 1} ports?`)) ? found : null;
}

async function beginBroadcast(ports: string[], hands: Hands, seat: Seat): Promise<void> {
  const { services, caller, attached } = seat;
  const broadcast = new Broadcast(
    (text) => seat.tell(text),
    () => {
      if (hands.broadcast === broadcast) hands.broadcast = null;
      seat.tell('keys go to this port only');
    },
  );
  await broadcast.join(services, caller, ports);
  if (broadcast.names.length === 0) throw new Fault('NOT_WRITER', 'keys go to this port only');
  hands.broadcast = broadcast;
  const names = [attached.port, ...broadcast.names].join(', ');
  seat.tell(`keys go to ${names}; ${hands.prefixName}b ends that`);
}

async function pipeCommand(hands: Hands, seat: Seat): Promise<void> {
  const { host } = seat;
  if (!host) {
    seat.tell('a command of your own machine can be piped in `fairlead attach` only');
    return;
  }
  const line = await hands.asking((dialog) => dialog.ask('command to pipe:'));
  if (line !== null) await pipe(host, line, hands, seat);
}

/** Until the command exits, or the person has enough of it. */
async function pipe(host: HostTerminal, line: string, hands: Hands, seat: Seat): Promise<void> {
  let isStopped = false;
  const piped = host.pipe(line, (bytes) => (isStopped ? undefined : seat.send(bytes, true)));
  const stop = (): void => {
    if (isStopped) return;
    isStopped = true;
    hands.command = null;
    seat.divert(null);
    piped.end();
  };
  hands.command = { stop };
  seat.divert((bytes) => piped.input(bytes));
  seat.tell(`the port is piped to "${line}"; ^C or ${hands.prefixName}. ends that`);
  try {
    const code = await piped.exited;
    seat.tell(`"${line}" ended with status ${code}`);
  } catch (error) {
    seat.tell(`"${line}": ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    stop();
  }
}

async function changePrefix(hands: Hands, seat: Seat): Promise<void> {
  const question = `the two keys that are to begin these, now ${hands.prefixName}:`;
  const keys = await hands.asking((dialog) => dialog.keys(question, 2));
  const [first, second] = keys ?? [];
  if (first === undefined || second === undefined) return;
  if (first === 0 || first >= 0x20 || FORBIDDEN_FIRST.includes(first)) {
    throw new Fault(
      'USAGE',
      'the first is a control character, but not ESC, TAB, Enter, backspace',
    );
  }
  hands.prefix = [first, second];
  seat.tell(`${hands.prefixName} begins the keys of this session now`);
}

/** Backspace, TAB, LF, CR, ESC: each is typed too often, or begins what a terminal sends. */
const FORBIDDEN_FIRST = [0x08, 0x09, 0x0a, 0x0d, 0x1b];

function bounded(lines: readonly string[]): string[] {
  if (lines.length <= LISTED_MAX) return [...lines];
  return [...lines.slice(0, LISTED_MAX), `and ${lines.length - LISTED_MAX} more`];
}
