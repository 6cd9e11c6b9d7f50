import { globMatches } from '../core/names.ts';
import type { PortStatus } from '../core/port-status.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { formatAge } from './table.ts';

/** What the menu shows. Plain data; `pressKey` makes the next one, `drawMenu` its picture. */
export interface MenuState {
  ports: readonly PortStatus[];
  /** What each port said last, by uuid; those not known yet are absent. */
  lastLines: ReadonlyMap<string, string>;
  filter: string;
  /** uuid of the chosen port; null, or one that does not match: the first that does. */
  chosen: string | null;
  /** First row of the list, or of the help, that is shown. */
  top: number;
  isViewOnly: boolean;
  isHelp: boolean;
  /** Said at the bottom until the next key. */
  status: string | null;
}

export const MENU_START: MenuState = {
  ports: [],
  lastLines: new Map(),
  filter: '',
  chosen: null,
  top: 0,
  isViewOnly: false,
  isHelp: false,
  status: null,
};

export interface ScreenSize {
  columns: number;
  rows: number;
}

export type MenuKey =
  | { press: 'up' | 'down' | 'page-up' | 'page-down' | 'home' | 'end' }
  | { press: 'enter' | 'tab' | 'erase' | 'erase-all' | 'escape' | 'leave' }
  | { press: 'toggle-view' | 'refresh' | 'redraw' }
  | { press: 'text'; text: string };

export type MenuEffect = 'attach' | 'leave' | 'refresh' | 'redraw';

/** One key. Pure. */
export function pressKey(
  before: MenuState,
  key: MenuKey,
  { rows }: ScreenSize,
): { state: MenuState; effect: MenuEffect | null } {
  const state = { ...before, status: null };
  if (state.isHelp && key.press !== 'leave')
    return { state: pressInHelp(state, key, rows), effect: null };
  const shown = matchingPorts(state);
  const at = chosenIndex(state, shown);
  const to = (index: number): { state: MenuState; effect: null } => {
    const chosen = shown[Math.max(0, Math.min(shown.length - 1, index))]?.uuid ?? null;
    return { state: { ...state, chosen }, effect: null };
  };
  const filtered = (filter: string): { state: MenuState; effect: null } => ({
    state: { ...state, filter: filter.slice(0, FILTER_CHARS_MAX) },
    effect: null,
  });
  const page = Math.max(1, listRows(rows) - 1);
  switch (key.press) {
    case 'up':
      return to(at - 1);
    case 'down':
      return to(at + 1);
    case 'page-up':
      return to(at - page);
    case 'page-down':
      return to(at + page);
    case 'home':
      return to(0);
    case 'end':
      return to(shown.length - 1);
    case 'enter':
      if (shown.length > 0) return { ...to(at), effect: 'attach' };
      return { state: { ...state, status: 'no port matches' }, effect: null };
    case 'tab':
      return filtered(completedFilter(state, shown));
    case 'erase':
      return filtered(state.filter.slice(0, -1));
    case 'erase-all':
      return filtered('');
    case 'escape':
      return state.filter === '' ? { state, effect: 'leave' } : filtered('');
    case 'leave':
      return { state, effect: 'leave' };
    case 'toggle-view':
      return { state: { ...state, isViewOnly: !state.isViewOnly }, effect: null };
    case 'refresh':
    case 'redraw':
      return { state, effect: key.press };
    case 'text':
      if (key.text === '?' && state.filter === '') {
        return { state: { ...state, isHelp: true, top: 0 }, effect: null };
      }
      return filtered(state.filter + key.text.replace(/[^!-~]/g, ''));
  }
}

/** The ports that the filter leaves: part of a name, alias or group, or a pattern. */
export function matchingPorts({
  ports,
  filter,
}: Pick<MenuState, 'ports' | 'filter'>): PortStatus[] {
  const wanted = filter.toLowerCase();
  const isPattern = /[*?[]/.test(filter);
  return ports.filter(({ name, aliases, group }) => {
    const words = [name, ...aliases, ...(group === null ? [] : [`@${group}`])];
    return words.some((word) =>
      isPattern ? globMatches(filter, word) : word.toLowerCase().includes(wanted),
    );
  });
}

/** The port that Enter attaches to; null: none matches. */
export function chosenPort(state: MenuState): PortStatus | null {
  const shown = matchingPorts(state);
  return shown[chosenIndex(state, shown)] ?? null;
}

/** Moves the list so that the chosen row is in sight; needed before `drawMenu` and `visiblePorts`. */
export function scrolled(
  state: MenuState,
  { rows }: ScreenSize,
  help: readonly string[],
): MenuState {
  if (state.isHelp) {
    const spare = KEYS_HELP.length + help.length - listRows(rows) - headRows(rows);
    return { ...state, top: Math.max(0, Math.min(spare, state.top)) };
  }
  const shown = matchingPorts(state);
  const at = chosenIndex(state, shown);
  const room = listRows(rows);
  const last = Math.max(0, shown.length - room);
  const top = Math.max(0, Math.min(last, at, Math.max(state.top, at - room + 1)));
  return { ...state, top };
}

export function visiblePorts(state: MenuState, { rows }: ScreenSize): PortStatus[] {
  return state.isHelp ? [] : matchingPorts(state).slice(state.top, state.top + listRows(rows));
}

/**
 * The screen, one text a row, of ASCII and SGR only, each shorter than the screen is wide. `help` is
 * what the help shows below the keys.
 */
export function drawMenu(
  state: MenuState,
  size: ScreenSize,
  nowUs: number,
  help: readonly string[],
): string[] {
  const width = Math.max(1, size.columns - 1);
  const room = listRows(size.rows);
  const rows: string[] = titleRows(size.rows) > 0 ? [title(state)] : [];
  if (state.isHelp) {
    const lines = [...KEYS_HELP, ...help];
    rows.push(...lines.slice(state.top, state.top + room + headRows(size.rows)));
  } else {
    const columns = layOut(state.ports, width);
    if (headRows(size.rows) > 0) rows.push(row(columns, HEAD, width));
    const at = chosenIndex(state, matchingPorts(state));
    for (const [index, port] of visiblePorts(state, size).entries()) {
      const text = row(columns, cellsOf(state, port, nowUs), width);
      const isChosen = state.top + index === at;
      rows.push(isChosen ? `\x1b[7m${text.padEnd(width)}\x1b[0m` : text);
    }
    if (matchingPorts(state).length === 0) {
      rows.push(state.ports.length === 0 ? 'there are no ports you may view' : 'no port matches');
    }
  }
  const bottom = size.rows - footerRows(size.rows);
  while (rows.length < bottom) rows.push('');
  rows.length = bottom;
  if (footerRows(size.rows) > 0) rows.push(state.status ?? footer(state, width));
  return rows.map((text) => (text.startsWith('\x1b[7m') ? text : cut(text, width)));
}

const FILTER_CHARS_MAX = 64;
const WRITER_COLUMNS = 10;
const LAST_LINE_COLUMNS_MIN = 8;
/** Below this the writer is left out. */
const WRITER_FROM_COLUMNS = 60;

const KEYS_HELP: readonly string[] = [
  'Type to filter: part of a name, alias or @group, or a pattern (*, ?, [abc]).',
  '',
  '  arrows, PgUp, PgDn   move',
  '  Enter                attaches; ^Ec. comes back here',
  '  TAB                  completes what was typed',
  '  ^T                   view only, or write',
  '  ^R                   asks anew how the ports are',
  '  ESC                  clears the filter, or leaves',
  '  ^C, ^D               leave',
  '',
];

function pressInHelp(state: MenuState, key: MenuKey, rows: number): MenuState {
  const page = Math.max(1, listRows(rows));
  const moves: Record<string, number> = { up: -1, down: 1, 'page-up': -page, 'page-down': page };
  const move = moves[key.press];
  if (move === undefined) return { ...state, isHelp: false, top: 0 };
  return { ...state, top: state.top + move };
}

/** Title, head, list, footer; a very low screen does without some of them. */
function listRows(rows: number): number {
  return Math.max(1, rows - titleRows(rows) - headRows(rows) - footerRows(rows));
}

function titleRows(rows: number): number {
  return rows >= 3 ? 1 : 0;
}

function headRows(rows: number): number {
  return rows >= 5 ? 1 : 0;
}

function footerRows(rows: number): number {
  return rows >= 2 ? 1 : 0;
}

function chosenIndex(state: MenuState, shown: readonly PortStatus[]): number {
  return Math.max(
    0,
    shown.findIndex((port) => port.uuid === state.chosen),
  );
}

/** The longest beginning that all names that begin with the filter share. */
function completedFilter({ ports, filter }: MenuState, shown: readonly PortStatus[]): string {
  const typed = filter.toLowerCase();
  const begun = ports
    .flatMap(({ name, aliases }) => [name, ...aliases])
    .filter((name) => name.toLowerCase().startsWith(typed));
  if (begun.length === 0) return shown.length === 1 ? shown[0]!.name : filter;
  const [first] = begun as [string];
  let length = first.length;
  for (const name of begun) {
    while (name.slice(0, length).toLowerCase() !== first.slice(0, length).toLowerCase()) length--;
  }
  return length > filter.length ? first.slice(0, length) : filter;
}

function title(state: MenuState): string {
  const total = state.ports.length;
  const count =
    state.filter === ''
      ? `${total} ${total === 1 ? 'port' : 'ports'}`
      : `${matchingPorts(state).length} of ${total}: ${state.filter}_`;
  return `Fairlead  ${count}${state.isViewOnly ? '  (view only)' : ''}`;
}

function footer(state: MenuState, width: number): string {
  if (state.isHelp) return 'arrows scroll, any other key: back';
  const long = 'Enter attaches, type to filter, ^T view only, ^R refresh, ? help, ^C leaves';
  return long.length <= width ? long : 'Enter attaches, ? help, ^C leaves';
}

interface Columns {
  name: number;
  /** 0: left out. */
  writer: number;
}

type Cells = { name: string; state: string; age: string; writer: string; last: string };

const HEAD: Cells = {
  name: 'PORT',
  state: 'STATE',
  age: 'AGE',
  writer: 'WRITER',
  last: 'LAST LINE',
};

function layOut(ports: readonly PortStatus[], width: number): Columns {
  const names = Math.max(4, ...ports.map((port) => port.name.length));
  const writers = Math.max(...ports.map((port) => port.writer?.length ?? 0), 0);
  return {
    name: Math.min(names, Math.max(4, Math.floor(width / 3))),
    writer:
      width < WRITER_FROM_COLUMNS || writers === 0
        ? 0
        : Math.max(6, Math.min(writers, WRITER_COLUMNS)),
  };
}

function cellsOf(state: MenuState, port: PortStatus, nowUs: number): Cells {
  const isDown = port.state === 'down' && port.why !== null;
  return {
    name: port.name,
    state: port.state === 'opening' ? 'open..' : port.state,
    age: formatAge(port.lastByteAtUs, nowUs) ?? '-',
    writer: port.writer ?? '',
    last: isDown ? `(${port.why})` : (state.lastLines.get(port.uuid) ?? ''),
  };
}

function row(columns: Columns, cells: Cells, width: number): string {
  const fixed = [
    cut(cells.name, columns.name).padEnd(columns.name),
    cells.state.padEnd(6),
    cells.age.padStart(4),
    ...(columns.writer === 0 ? [] : [cut(cells.writer, columns.writer).padEnd(columns.writer)]),
  ].join(' ');
  const room = width - fixed.length - 2;
  if (room < LAST_LINE_COLUMNS_MIN) return cut(fixed, width);
  return `${fixed}  ${cut(cells.last, room)}`;
}

/** ASCII of at most so many columns: nobody knows how wide another terminal draws the rest. */
function cut(text: string, columns: number): string {
  const plain = sanitizeText(text)
    .replace(/\s+/g, (space) => ' '.repeat(space.length))
    .replace(/[^ -~]/gu, '?');
  return plain.length <= columns
    ? plain
    : `${plain.slice(0, Math.max(0, columns - 2))}..`.slice(0, columns);
}
