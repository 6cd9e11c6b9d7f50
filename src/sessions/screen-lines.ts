import assert from 'node:assert/strict';
import type { IBuffer, IBufferCell, IBufferLine } from '@xterm/headless';

/** Lines of a buffer as text that scrolls: each begins and ends in no style. */
export class LineWriter {
  readonly #buffer: IBuffer;
  readonly #columns: number;
  readonly #cell: IBufferCell;

  constructor(buffer: IBuffer, columns: number) {
    this.#buffer = buffer;
    this.#columns = columns;
    this.#cell = buffer.getNullCell();
  }

  /** One after the last line from `begin` on that shows something. */
  endOfText(begin: number): number {
    let end = this.#buffer.length;
    while (end > begin && this.#lastColumn(this.#line(end - 1)) < 0) end--;
    return end;
  }

  /** Without the last line's end. */
  lines(begin: number, end: number): string {
    let text = '';
    for (let row = begin; row < end; row++) {
      const isWrapped = row + 1 < end && this.#wrapsInto(row);
      text += this.#text(this.#line(row), isWrapped);
      if (row + 1 < end && !isWrapped) text += '\r\n';
    }
    return text;
  }

  #line(row: number): IBufferLine {
    const line = this.#buffer.getLine(row);
    assert(line, 'a row of the buffer');
    return line;
  }

  /** The next line goes on with this one, so that the client's terminal can wrap it anew. */
  #wrapsInto(row: number): boolean {
    const next = this.#line(row + 1);
    if (!next.isWrapped) return false;
    const last = this.#line(row).getCell(this.#columns - 1, this.#cell)!;
    if (last.getChars() === '' && last.getWidth() !== 0) return false;
    // Only a character wraps: there must be one to write.
    if (this.#lastColumn(next) < 0) return false;
    // A line that comes up while a background is set would be filled with it.
    const first = next.getCell(0, this.#cell)!;
    return first.getChars() !== '' && first.isBgDefault();
  }

  #text(line: IBufferLine, isWrapped: boolean): string {
    const last = isWrapped ? this.#columns - 1 : this.#lastColumn(line);
    let text = '';
    let style = '';
    for (let column = 0; column <= last; column++) {
      const cell = line.getCell(column, this.#cell)!;
      if (cell.getWidth() === 0) continue;
      const wanted = styleOf(cell);
      if (wanted !== style) text += wanted === '' ? '\x1b[0m' : wanted;
      style = wanted;
      // Half a character, where nothing wraps: it would go to the next line.
      const isCut = cell.getWidth() > this.#columns - column;
      text += isCut ? ' ' : cell.getChars() || ' ';
    }
    return style === '' ? text : text + '\x1b[0m';
  }

  /** The last that shows anything; -1: none. */
  #lastColumn(line: IBufferLine): number {
    let column = this.#columns - 1;
    for (; column >= 0; column--) {
      const cell = line.getCell(column, this.#cell)!;
      const chars = cell.getChars();
      if (chars !== '' && chars !== ' ') break;
      if (cell.getWidth() === 0 || !cell.isBgDefault()) break;
      if (cell.isInverse() || cell.isUnderline() || cell.isOverline() || cell.isStrikethrough())
        break;
    }
    return column;
  }
}

/** How a cell looks, as xterm tells of cells and of what it writes next. */
export type CellStyle = Pick<
  IBufferCell,
  | 'isAttributeDefault'
  | 'isBold'
  | 'isDim'
  | 'isItalic'
  | 'isUnderline'
  | 'isBlink'
  | 'isInverse'
  | 'isInvisible'
  | 'isStrikethrough'
  | 'isOverline'
  | 'isFgRGB'
  | 'isFgPalette'
  | 'getFgColor'
  | 'isBgRGB'
  | 'isBgPalette'
  | 'getBgColor'
>;

/** SGR for a cell's looks, from nothing; empty: none. */
export function styleOf(cell: CellStyle): string {
  if (cell.isAttributeDefault()) return '';
  const codes: (number | string)[] = [0];
  if (cell.isBold()) codes.push(1);
  if (cell.isDim()) codes.push(2);
  if (cell.isItalic()) codes.push(3);
  if (cell.isUnderline()) codes.push(4);
  if (cell.isBlink()) codes.push(5);
  if (cell.isInverse()) codes.push(7);
  if (cell.isInvisible()) codes.push(8);
  if (cell.isStrikethrough()) codes.push(9);
  if (cell.isOverline()) codes.push(53);
  if (cell.isFgRGB()) codes.push(rgb(38, cell.getFgColor()));
  else if (cell.isFgPalette()) codes.push(palette(30, cell.getFgColor()));
  if (cell.isBgRGB()) codes.push(rgb(48, cell.getBgColor()));
  else if (cell.isBgPalette()) codes.push(palette(40, cell.getBgColor()));
  return codes.length === 1 ? '' : `\x1b[${codes.join(';')}m`;
}

function rgb(code: number, color: number): string {
  return `${code};2;${(color >>> 16) & 0xff};${(color >>> 8) & 0xff};${color & 0xff}`;
}

/** The 16 usual colours by their own codes: not every terminal knows 256. */
function palette(base: number, color: number): string {
  if (color < 8) return String(base + color);
  return color < 16 ? String(base + 60 + color - 8) : `${base + 8};5;${color}`;
}
