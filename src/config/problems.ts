import { Fault } from '../core/fault.ts';

/** Something wrong in a configuration file, at its place. */
export interface Problem {
  /** As the operator named it, or as an include led there. */
  file: string;
  /** From 1. */
  line: number;
  /** From 1, in UTF-16 units as editors count. */
  column: number;
  /** `warning`: works, but most likely not what was meant. */
  severity: 'error' | 'warning';
  /** `what is wrong; expected ...; did you mean "..."?` */
  text: string;
}

/** `fairlead.yaml:4:11: ports.db1.line: "115200 9N1" is not a line setting; expected ...`, on one line. */
export function formatProblem(problem: Problem): string {
  const { file, line, column, severity, text } = problem;
  // A key or value that it quotes may hold line ends.
  const words = text.replace(/\p{Cc}+/gu, ' ');
  return `${file}:${line}:${column}: ${severity === 'warning' ? 'warning: ' : ''}${words}`;
}

/** By file in the order the files were read, then by place; the same words at the same place once. */
export function sortProblems(problems: readonly Problem[], files: readonly string[]): Problem[] {
  const order = (file: string): number => {
    const index = files.indexOf(file);
    return index < 0 ? files.length : index;
  };
  const once = new Map(problems.map((problem) => [formatProblem(problem), problem]));
  return [...once.values()].sort(
    (a, b) =>
      order(a.file) - order(b.file) ||
      a.file.localeCompare(b.file) ||
      a.line - b.line ||
      a.column - b.column,
  );
}

/** The errors as one Fault CONFIG_INVALID, a line each. */
export function problemsFault(problems: readonly Problem[]): Fault {
  const errors = problems.filter((problem) => problem.severity === 'error');
  return new Fault('CONFIG_INVALID', errors.map(formatProblem).join('\n'));
}
