import {
  Composer,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  type CST,
  type Document,
  type Node,
  type Pair,
} from 'yaml';
import type { Problem } from './problems.ts';

/** Keys and list places from the top of a file to a value: `['ports', 'db1', 'n']`. */
export type Path = readonly (string | number)[];

/** One parsed file: plain values, and where each of them stands. */
export interface YamlFile {
  /** As it is to be shown. */
  readonly name: string;
  /** Maps are objects without prototype, keys are the text as written. Null for an empty file. */
  readonly value: unknown;
  /** False when the syntax is broken: `value` is null then. */
  readonly isWhole: boolean;
  /** A problem at a key, or at its value; where there is no such path, at the nearest above it. */
  problem(path: Path, at: 'key' | 'value', text: string, severity?: Problem['severity']): Problem;
}

/** Deeper than any configuration; the composer recurses, and far deeper input would end the process. */
const DEPTH_MAX = 64;
/** Values after aliases are filled in: a few hundred bytes can otherwise stand for billions. */
const VALUES_MAX = 200_000;

/** Parses a file. Never throws: what is wrong goes to `problems`. */
export function parseYamlFile(name: string, text: string, problems: Problem[]): YamlFile {
  const lineCounter = new LineCounter();
  const places = new Map<string, { key: number; value: number }>();
  const report = (offset: number, what: string): void => {
    problems.push(problemAt(offset, what, 'error'));
  };

  function problemAt(offset: number, what: string, severity: Problem['severity']): Problem {
    const { line, col } = lineCounter.linePos(offset);
    return { file: name, line: Math.max(1, line), column: Math.max(1, col), severity, text: what };
  }

  function problem(
    path: Path,
    at: 'key' | 'value',
    what: string,
    severity: Problem['severity'] = 'error',
  ): Problem {
    for (let length = path.length; length > 0; length--) {
      const place = places.get(placeKey(path.slice(0, length)));
      if (!place) continue;
      return problemAt(length === path.length ? place[at] : place.key, what, severity);
    }
    return problemAt(0, what, severity);
  }

  const document = parseBounded(text, lineCounter, report);
  const value = document && convert(document, places, report);
  return {
    name,
    value,
    isWhole: document !== null,
    problem,
  };
}

function placeKey(path: Path): string {
  return path.join('\0');
}

/** Null when the syntax is broken, which was reported. */
function parseBounded(
  text: string,
  lineCounter: LineCounter,
  report: (offset: number, what: string) => void,
): Document.Parsed | null {
  const tokens = tokensOf(text, lineCounter, report);
  if (!tokens) return null;
  const composer = new Composer({ prettyErrors: false, uniqueKeys: false });
  const [document, second] = [...composer.compose(tokens, true, text.length)];
  if (!document) return null;
  for (const { message, pos } of [...document.errors, ...document.warnings]) {
    report(pos[0], `this is not YAML: ${lowerFirst(message)}${hintFor(text, pos[0])}`);
  }
  if (second) report(second.range[0], 'a second document starts here; expected one');
  return document.errors.length > 0 || second ? null : document;
}

/** The parser works with a stack of its own, so the depth can be seen before the composer recurses. */
function tokensOf(
  text: string,
  lineCounter: LineCounter,
  report: (offset: number, what: string) => void,
): CST.Token[] | null {
  const parser = new Parser(lineCounter.addNewLine);
  const tokens: CST.Token[] = [];
  lineCounter.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    // a level is a collection and the value waiting in it: at most two entries
    if (parser.stack.length > DEPTH_MAX * 2) {
      report(parser.offset, `nested deeper than ${DEPTH_MAX} levels; expected a configuration`);
      return null;
    }
  }
  tokens.push(...parser.end());
  return tokens;
}

/** `ssh: [::1]:8022` starts a list. */
function hintFor(text: string, offset: number): string {
  const lineStart = text.lastIndexOf('\n', offset - 1) + 1;
  const line = text.slice(lineStart, offset + 8);
  return /:\s*\[[0-9a-f:]*:[0-9a-f:]*\]:\d/i.test(line)
    ? '; write an IPv6 address in quotes: "[::1]:8022"'
    : '';
}

/** Plain values of a document, and the place of each in `places`. */
function convert(
  document: Document.Parsed,
  places: Map<string, { key: number; value: number }>,
  report: (offset: number, what: string) => void,
): unknown {
  /** The latest of each name so far; `Alias.resolve` would walk the document for each alias. */
  const anchors = new Map<string, Node>();
  let aliasesOpen = 0;
  let valuesLeft = VALUES_MAX;

  function valueOf(
    node: Node | null,
    path: Path,
    keyOffset: number,
    open: readonly Node[],
  ): unknown {
    const offset = node?.range?.[0] ?? keyOffset;
    places.set(placeKey(path), { key: keyOffset, value: offset });
    if (valuesLeft-- <= 0) {
      if (valuesLeft === -1) report(offset, `more than ${VALUES_MAX} values; check the aliases`);
      return null;
    }
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      if (!target || open.includes(target)) {
        report(offset, `alias "*${node.source}" ${target ? 'stands for itself' : 'has no anchor'}`);
        return null;
      }
      aliasesOpen++;
      const inside = valueOf(target, path, keyOffset, open);
      aliasesOpen--;
      places.set(placeKey(path), { key: keyOffset, value: offset });
      return inside;
    }
    if (node?.anchor !== undefined && aliasesOpen === 0) anchors.set(node.anchor, node);
    if (isScalar(node)) return node.value;
    if (open.length > DEPTH_MAX) {
      report(offset, `nested deeper than ${DEPTH_MAX} levels; check the aliases`);
      return null;
    }
    if (isSeq(node)) {
      return node.items.map((item, index) => {
        const child = item as Node | null;
        return valueOf(child, [...path, index], child?.range?.[0] ?? offset, [...open, node]);
      });
    }
    if (isMap(node)) return mapOf(node.items as Pair<Node, Node | null>[], path, [...open, node]);
    return null;
  }

  function mapOf(
    pairs: readonly Pair<Node, Node | null>[],
    path: Path,
    open: readonly Node[],
  ): Record<string, unknown> {
    const map = Object.create(null) as Record<string, unknown>; // `__proto__` is a key like any other
    for (const { key, value } of pairs) {
      const offset = key?.range?.[0] ?? value?.range?.[0] ?? 0;
      const name = keyText(key);
      if (name === null) {
        report(offset, 'a key is missing or is no text; expected "key: value"');
      } else if (Object.hasOwn(map, name)) {
        report(offset, `duplicate key "${name}"; expected each once`);
      } else {
        map[name] = valueOf(value, [...path, name], offset, open);
      }
    }
    return map;
  }

  return valueOf(document.contents, [], 0, []);
}

/** A key as written: `1.10` is a name, not the number 1.1. */
function keyText(key: Node | null): string | null {
  if (!isScalar(key) || key.value === null) return null;
  return typeof key.value === 'string' ? key.value : (key.source ?? null);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
