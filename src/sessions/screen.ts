import type { Terminal } from '@xterm/headless';
import { Fault } from '../core/fault.ts';
import type { Timers } from '../ports/timers.ts';
import { LineWriter, styleOf } from './screen-lines.ts';
import type { CellStyle } from './screen-lines.ts';

export interface TerminalSize {
  columns: number;
  rows: number;
}

/** What brings a terminal to where one stands that saw all of it: written one after the other. */
export interface RestoredScreen {
  /** Lines that scrolled off, ended; between these and the screen something may be said. */
  older: Uint8Array;
  screen: Uint8Array;
}

/** How much of the end of the log makes a screen. */
export const SCREEN_BYTES = 65_536;
/** Of a client that does not say. */
export const USUAL_SIZE: TerminalSize = { columns: 80, rows: 24 };

const COLUMNS_MAX = 500;
const ROWS_MAX = 200;
const OLDER_ROWS_MAX = 1_000;
const DEADLINE_MS = 2_000;
/** Other sessions have their turn after so long; the clock is looked at after each piece. */
const SLICE_MS = 10;
const PIECE_BYTES = 128;
/** Most that one sequence may repeat a character: xterm would follow any number. */
const CHARACTERS_MAX = 4_096;

/**
 * Makes the screen that `bytes`, which must end between two sequences, leave on a terminal of that
 * size. What only ever scrolled comes as scrolled text, below what the client's terminal shows now,
 * with `reservedRows` of the screen left for others; what was drawn at fixed places, such as GRUB's
 * menu, comes on a clean screen. The terminal used for this is gone when it returns.
 * @throws Fault TIMED_OUT when it takes too long; what xterm throws at some sequences.
 */
export async function restoreScreen(
  bytes: Uint8Array,
  size: TerminalSize,
  reservedRows: number,
  timers: Timers,
): Promise<RestoredScreen> {
  // Loaded by the first who needs it: a daemon without people does not pay for it.
  const { default: xterm } = await import('@xterm/headless');
  const columns = clamp(size.columns, 2, COLUMNS_MAX);
  const rows = clamp(size.rows, 2, ROWS_MAX);
  const terminal = new xterm.Terminal({
    cols: columns,
    rows,
    scrollback: OLDER_ROWS_MAX,
    allowProposedApi: true,
    logLevel: 'off',
  });
  try {
    const drawn = watchDrawing(terminal);
    await feed(terminal, bytes, timers);
    const state = readState(terminal);
    const isScrolled =
      drawn.hasScrolledOff() &&
      terminal.buffer.active.type === 'normal' &&
      state.region === null &&
      !terminal.modes.originMode;
    const restored = isScrolled
      ? asScrolledText(terminal, state, reservedRows)
      : asDrawnScreen(terminal, state);
    return { older: encode(restored.older), screen: encode(restored.screen) };
  } finally {
    terminal.dispose();
  }
}

/**
 * Brings a terminal back from whatever a device did to it, without touching its cursor or its
 * text: normal screen and character sets, no margins, no mouse, cursor visible. Not from origin
 * mode (DECOM): to end that moves the cursor.
 */
export const RESET_MODES =
  '\x1b[?47l\x1b[0m\x1b(B\x1b)B\x0f\x1b7\x1b[r\x1b8\x1b[4l\x1b[?7h\x1b[?45l\x1b[?25h' +
  '\x1b[?1l\x1b>\x1b[?9;1000;1002;1003;1004;1006;2004l';

function clamp(value: number, least: number, most: number): number {
  return Number.isFinite(value) ? Math.max(least, Math.min(most, Math.floor(value))) : least;
}

/**
 * At once and not by xterm's own `write`, whose errors nobody could catch: some sequences throw.
 * @throws what xterm throws.
 */
async function feed(terminal: Terminal, bytes: Uint8Array, timers: Timers): Promise<void> {
  const { _core: core } = terminal as unknown as Internals;
  const deadlineMs = timers.nowMs() + DEADLINE_MS;
  let sliceEndMs = timers.nowMs() + SLICE_MS;
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) {
    core.writeSync(bytes.subarray(from, from + PIECE_BYTES));
    if (timers.nowMs() < sliceEndMs) continue;
    if (timers.nowMs() > deadlineMs) {
      throw new Fault('TIMED_OUT', 'the device draws too much to make its screen in time');
    }
    await new Promise((resolve) => setImmediate(resolve));
    sliceEndMs = timers.nowMs() + SLICE_MS;
  }
}

/** Keeps sequences from hanging the terminal, and finds out if its screen was drawn or scrolled. */
function watchDrawing(terminal: Terminal): { hasScrolledOff(): boolean } {
  const { parser, rows, cols: columns } = terminal;
  let scrolledLines = 0;
  /** Scrolled lines when something was last drawn at a fixed place. */
  let drawnAt = Number.NEGATIVE_INFINITY;
  const draws = (): boolean => {
    drawnAt = scrolledLines;
    return false;
  };
  terminal.onScroll(() => scrolledLines++);
  for (const final of 'HfdrSTsu') parser.registerCsiHandler({ final }, draws);
  parser.registerCsiHandler({ final: 'J' }, ([what]) => what !== 0 && draws());
  for (const final of 'hl') {
    parser.registerCsiHandler(
      { prefix: '?', final },
      (modes) =>
        modes.some((mode) => mode === 6 || mode === 47 || mode === 1047 || mode === 1049) &&
        draws(),
    );
  }
  for (const final of 'cM78') parser.registerEscHandler({ final }, draws);
  // What moves so many lines or tabs is looped over, however many there are.
  for (const final of 'LMSTIZ') {
    parser.registerCsiHandler({ final }, ([count]) => Number(count) > columns + rows);
  }
  parser.registerCsiHandler({ final: 'b' }, ([count]) => Number(count) > CHARACTERS_MAX);
  return { hasScrolledOff: () => scrolledLines - drawnAt >= rows };
}

/** What xterm knows and its interface does not tell. */
interface TerminalState {
  /** First and last row of the scroll region, from 0; null: the whole screen. */
  region: Region | null;
  regionOfNormal: Region | null;
  /** Of the next character. */
  style: string;
  /** DECSC, of each buffer; null: nothing was saved. */
  saved: SavedCursor | null;
  savedInNormal: SavedCursor | null;
  /** Character sets as designated, and which of them is in use. */
  charsets: string;
  isCursorHidden: boolean;
  mouseEncoding: string;
}

type Region = readonly [top: number, bottom: number];

interface SavedCursor {
  row: number;
  column: number;
  style: string;
  charset: string;
}

/** Names of xterm 6.0.0 that are not its interface; a test fails when they move. */
interface Internals {
  _core: {
    writeSync(bytes: Uint8Array): void;
    _inputHandler: { _curAttrData: CellStyle };
    _bufferService: { buffers: { active: InternalBuffer; normal: InternalBuffer } };
    _charsetService: {
      glevel: number;
      charset: Charset | undefined;
      _charsets: (Charset | undefined)[];
    };
    coreService: { isCursorHidden: boolean };
    coreMouseService: { activeEncoding: string };
  };
}

interface InternalBuffer {
  ybase: number;
  scrollTop: number;
  scrollBottom: number;
  savedX: number;
  savedY: number;
  savedCurAttrData: CellStyle;
  savedCharset: Charset | undefined;
}

type Charset = Readonly<Record<string, string>>;
function readState(terminal: Terminal): TerminalState {
  const { _core: core } = terminal as unknown as Internals;
  const { active, normal } = core._bufferService.buffers;
  const { glevel, charset, _charsets: sets } = core._charsetService;
  const designated = ['(', ')', '*', '+'].map((which, g) => {
    // DECRC brings back the set in use, not the one designated.
    const set = charsetOf(g === glevel ? charset : sets[g]);
    return set === 'B' ? '' : `\x1b${which}${set}`;
  });
  return {
    region: regionOf(active, terminal.rows),
    regionOfNormal: regionOf(normal, terminal.rows),
    style: styleOf(core._inputHandler._curAttrData),
    saved: savedCursor(active, terminal.rows),
    savedInNormal: savedCursor(normal, terminal.rows),
    charsets: designated.join('') + ['', '\x0e', '\x1bn', '\x1bo'][glevel]!,
    isCursorHidden: core.coreService.isCursorHidden,
    mouseEncoding: core.coreMouseService.activeEncoding,
  };
}

function regionOf({ scrollTop, scrollBottom }: InternalBuffer, rows: number): Region | null {
  return scrollTop === 0 && scrollBottom === rows - 1 ? null : [scrollTop, scrollBottom];
}

function savedCursor(buffer: InternalBuffer, rows: number): SavedCursor | null {
  const { savedX, savedY, savedCurAttrData, savedCharset } = buffer;
  const style = styleOf(savedCurAttrData);
  const charset = charsetOf(savedCharset);
  if (savedX === 0 && savedY === 0 && style === '' && charset === 'B') return null;
  const row = clamp(savedY - buffer.ybase, 0, rows - 1);
  return { row, column: savedX, style, charset };
}

/** Of those in use: DEC special graphics, UK, and all others as ASCII. */
function charsetOf(charset: Charset | undefined): string {
  if (charset?.['q'] === '\u2500') return '0';
  return charset?.['#'] === '\u00a3' ? 'A' : 'B';
}

/** The lines follow what the client's terminal shows. */
function asScrolledText(
  terminal: Terminal,
  state: TerminalState,
  reservedRows: number,
): { older: string; screen: string } {
  const buffer = terminal.buffer.active;
  const text = new LineWriter(buffer, terminal.cols);
  const cursorRow = buffer.baseY + buffer.cursorY;
  // Once it scrolled, the cursor may stand above empty lines that are part of the screen.
  const end = buffer.baseY > 0 ? buffer.length : Math.max(text.endOfText(0), cursorRow + 1);
  const begin = Math.max(0, end - Math.max(1, terminal.rows - reservedRows));
  const older = begin === 0 ? '' : text.lines(0, begin) + '\r\n';
  const up = end - 1 - cursorRow;
  const position = (column: number): string => '\r' + (column === 0 ? '' : `\x1b[${column}C`);
  const screen =
    text.lines(begin, end) +
    (up === 0 ? '' : `\x1b[${up}A`) +
    cursorAt(terminal, position) +
    modesOf(terminal, state);
  return { older, screen };
}

/** Everything at its place on a clean screen; what the client's terminal showed scrolls off. */
function asDrawnScreen(
  terminal: Terminal,
  state: TerminalState,
): { older: string; screen: string } {
  const { rows, cols, modes } = terminal;
  const { normal, alternate, active } = terminal.buffer;
  const text = new LineWriter(normal, cols);
  const older = normal.baseY === 0 ? '' : text.lines(0, normal.baseY) + '\r\n';
  let screen = `\x1b[0m\x1b[${rows};1H${'\n'.repeat(rows)}\x1b[2J\x1b[H`;
  screen += text.lines(normal.baseY, text.endOfText(normal.baseY));
  if (active.type === 'alternate') {
    // Where the cursor is put back when the device leaves the alternate screen.
    screen += regionText(state.regionOfNormal) + savedAt(state.savedInNormal ?? HOME, cols);
    screen += '\x1b[?1049h\x1b[0m\x1b(B\x1b[2J\x1b[H';
    const other = new LineWriter(alternate, cols);
    screen += other.lines(0, other.endOfText(0));
    // Some terminals have one region for both screens.
    if (state.regionOfNormal && !state.region) screen += '\x1b[r';
  }
  screen += regionText(state.region);
  if (state.saved) screen += `${savedAt(state.saved, cols)}\x1b7\x1b[0m\x1b(B`;
  const top = modes.originMode ? (state.region?.[0] ?? 0) : 0;
  if (modes.originMode) screen += '\x1b[?6h';
  const position = (column: number): string => place(active.cursorY - top, column);
  screen += cursorAt(terminal, position) + modesOf(terminal, state);
  return { older, screen };
}

const HOME: SavedCursor = { row: 0, column: 0, style: '', charset: 'B' };

/** Where DECSC is to find the cursor. */
function savedAt({ row, column, style, charset }: SavedCursor, columns: number): string {
  return `${place(row, Math.min(column, columns - 1))}${style}\x1b(${charset}`;
}

/** Moves the cursor home. */
function regionText(region: Region | null): string {
  return region === null ? '' : `\x1b[${region[0] + 1};${region[1] + 1}r`;
}

function place(row: number, column: number): string {
  return `\x1b[${row + 1};${column + 1}H`;
}

/** Past the last column it waits there for the next character: only writing brings it there. */
function cursorAt(terminal: Terminal, position: (column: number) => string): string {
  const { cursorX, cursorY, baseY } = terminal.buffer.active;
  if (cursorX < terminal.cols) return position(cursorX);
  const line = terminal.buffer.active.getLine(baseY + cursorY)!;
  const isWide = line.getCell(terminal.cols - 1)!.getWidth() === 0;
  const column = terminal.cols - (isWide ? 2 : 1);
  const cell = line.getCell(column)!;
  return `${position(column)}${styleOf(cell)}${cell.getChars() || ' '}\x1b[0m`;
}

/** All that does not move the cursor. */
function modesOf(terminal: Terminal, state: TerminalState): string {
  const { modes } = terminal;
  const mouse = { none: '', x10: '9', vt200: '1000', drag: '1002', any: '1003' };
  const encoding = { SGR: '1006', SGR_PIXELS: '1016' }[state.mouseEncoding] ?? '';
  const set = [
    modes.applicationCursorKeysMode ? '1' : '',
    modes.applicationKeypadMode ? '66' : '',
    modes.reverseWraparoundMode ? '45' : '',
    modes.bracketedPasteMode ? '2004' : '',
    mouse[modes.mouseTrackingMode],
    encoding,
  ].filter((mode) => mode !== '');
  return (
    state.style +
    state.charsets +
    (modes.insertMode ? '\x1b[4h' : '') +
    (set.length === 0 ? '' : `\x1b[?${set.join(';')}h`) +
    (modes.wraparoundMode ? '' : '\x1b[?7l') +
    (state.isCursorHidden ? '\x1b[?25l' : '')
  );
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
