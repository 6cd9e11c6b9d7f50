import { sanitizeText } from '../protocols/sanitize.ts';

export interface Column<Row> {
  title: string;
  /** What the cell shows; null: nothing. */
  of(row: Row): string | number | null;
  right?: boolean;
  /** Left out first when the table is too wide; 0 (default): never. */
  spare?: number;
}

/**
 * Rows as text. Columns in which every row is empty are left out. With `columnsMax` (a terminal) it
 * leaves out spare columns, then cuts the last one, so that no line wraps.
 */
export function formatTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  columnsMax: number | null,
): string {
  let laid: LaidColumn[] = columns
    .map((column) => {
      const cells = rows.map((row) => oneLine(column.of(row)));
      return { column, cells, width: Math.max(column.title.length, ...cells.map(widthOf)) };
    })
    .filter(({ cells }) => cells.some((text) => text !== ''));
  const max = columnsMax ?? Number.POSITIVE_INFINITY;
  while (totalWidth(laid) > max) {
    const spare = Math.max(...laid.map(({ column }) => column.spare ?? 0));
    if (spare === 0) break;
    laid = laid.filter(({ column }) => (column.spare ?? 0) < spare);
  }
  const last = laid.at(-1);
  if (last) {
    last.width = Math.max(MIN_COLUMNS, Math.min(last.width, last.width - totalWidth(laid) + max));
  }
  const line = (texts: string[]): string =>
    texts
      .map((text, index) => pad(text, laid[index]!))
      .join('  ')
      .trimEnd();
  const lines = [line(laid.map(({ column }) => column.title))];
  for (let row = 0; row < rows.length; row++)
    lines.push(line(laid.map(({ cells }) => cells[row]!)));
  return `${lines.join('\n')}\n`;
}

/** `3s`, `12m`, `2h`, `5d`: how long ago, in one unit. */
export function formatAge(us: number | null, nowUs: number): string | null {
  if (us === null) return null;
  const seconds = Math.max(0, Math.floor((nowUs - us) / 1_000_000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

interface LaidColumn {
  column: { title: string; right?: boolean; spare?: number };
  cells: string[];
  width: number;
}

const MIN_COLUMNS = 4;

function oneLine(value: string | number | null): string {
  return value === null ? '' : sanitizeText(String(value)).replace(/\s+/g, ' ');
}

function widthOf(text: string): number {
  return [...text].length;
}

function totalWidth(columns: readonly LaidColumn[]): number {
  return columns.reduce((sum, { width }) => sum + width + 2, -2);
}

function pad(text: string, { column, width }: LaidColumn): string {
  const chars = [...text];
  const cut = chars.length > width ? `${chars.slice(0, width - 2).join('')}..` : text;
  const space = ' '.repeat(width - widthOf(cut));
  return column.right ? space + cut : cut + space;
}
