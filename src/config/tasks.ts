import { didYouMean, NAME_PATTERN } from '../core/names.ts';
import type { TaskSettings } from '../core/settings.ts';
import { formatProblem, type Problem } from './problems.ts';
import { NAME_EXPECTED } from './shapes.ts';
import { BREAK_KEY_PATTERN, type TaskValue } from './step-schema.ts';
import type { Path, YamlFile } from './yaml-file.ts';
import { pathInWords } from './zod-problems.ts';

/** `reset`, `tasks` and `breaks` of one place: the file, the defaults, a profile, a port. */
export interface TaskLayer {
  file: YamlFile;
  /** Of the map that holds them. */
  path: Path;
  /** Steps of the task `reset`; null: an inherited one is taken away. */
  reset?: Steps | null;
  tasks: Readonly<Record<string, TaskValue>>;
  breaks: Readonly<Record<string, Steps | null>>;
}

type Steps = NonNullable<TaskValue>['steps'];

/** Empty layers are left out. */
export function taskLayers(
  file: YamlFile,
  path: Path,
  value: Partial<Pick<TaskLayer, 'reset' | 'tasks' | 'breaks'>>,
): TaskLayer[] {
  const { reset, tasks = {}, breaks = {} } = value;
  const count = Object.keys(tasks).length + Object.keys(breaks).length;
  if (count === 0 && reset === undefined) return [];
  return [{ file, path, tasks, breaks, ...(reset !== undefined && { reset }) }];
}

/** The names in `tasks` and `breaks` as written: right or wrong, of a map with other problems too. */
export function checkTaskNames(
  file: YamlFile,
  path: Path,
  raw: unknown,
  problems: Problem[],
): void {
  const check = (section: string, isRight: RegExp, what: string, expected: string): void => {
    const named = fieldOf(raw, section);
    if (typeof named !== 'object' || named === null || Array.isArray(named)) return;
    for (const key of Object.keys(named)) {
      if (isRight.test(key)) continue;
      const place = [...path, section, key];
      const text = `${pathInWords(place)}: "${key}" is no ${what}; expected ${expected}`;
      problems.push(file.problem(place, 'key', text));
    }
  };
  check('tasks', NAME_PATTERN, 'name', NAME_EXPECTED);
  check('breaks', BREAK_KEY_PATTERN, 'key', 'one character, 0-9 or a-z');
}

/**
 * The tasks of a port, the break list included: of one name the nearest layer counts (the last), and
 * `none` takes one away. Problems stand where the nearer one is written, in words that do not name
 * the port: what two profiles disagree about is told once.
 */
export function mergeTasks(layers: readonly TaskLayer[], problems: Problem[]): TaskSettings[] {
  const merged = new Map<string, Placed>();
  for (const layer of layers) applyLayer(layer, merged, problems);
  checkKeys([...merged.values()], layers, problems);
  return [...merged.values()].map(({ task }) => task);
}

/** Name of the task that the key `reset` stands for, and that key. */
const RESET_TASK = 'reset';

interface Placed {
  task: TaskSettings;
  layer: TaskLayer;
  path: Path;
}

function applyLayer(layer: TaskLayer, merged: Map<string, Placed>, problems: Problem[]): void {
  const here = new Map<string, Path>();
  const inherited = [...merged.values()].map(({ task }) => task.name);

  function apply(name: string, path: Path, value: TaskValue): void {
    const first = here.get(name.toLowerCase());
    here.set(name.toLowerCase(), first ?? path);
    if (first) {
      const at = placeOf(layer.file, first);
      const text = `${pathInWords(path)}: there is a task "${name}" already (${at}); expected a name of its own (case does not count)`;
      problems.push(layer.file.problem(path, 'key', text));
    } else if (value) {
      merged.set(name.toLowerCase(), { task: { name, ...value }, layer, path });
    } else if (!merged.delete(name.toLowerCase())) {
      const text = `${pathInWords(path)}: there is no task "${name}" to take away${didYouMean(name, inherited)}`;
      problems.push(layer.file.problem(path, 'key', text, 'warning'));
    }
  }

  if (layer.reset !== undefined) {
    const { reset: steps } = layer;
    const value = steps && { help: null, confirm: false, breakKey: null, steps };
    apply(RESET_TASK, [...layer.path, RESET_TASK], value);
  }
  for (const [name, value] of Object.entries(layer.tasks)) {
    apply(name, [...layer.path, 'tasks', name], value);
  }
  for (const [key, steps] of Object.entries(layer.breaks)) {
    const value = steps && { help: null, confirm: false, breakKey: key, steps };
    apply(`break-${key}`, [...layer.path, 'breaks', key], value);
  }
}

/** One task for each key. A task may be asked for by its key, so another's name is taken, too. */
function checkKeys(
  placed: readonly Placed[],
  layers: readonly TaskLayer[],
  problems: Problem[],
): void {
  const taken = new Map<string, Placed>();
  const nearestLast = [...placed].sort((a, b) => layers.indexOf(a.layer) - layers.indexOf(b.layer));
  for (const one of nearestLast) {
    const { name, breakKey } = one.task;
    const isAlsoKey = BREAK_KEY_PATTERN.test(name.toLowerCase());
    const words = new Set([breakKey, isAlsoKey ? name.toLowerCase() : null]);
    for (const word of words) {
      if (word === null) continue;
      const other = taken.get(word);
      taken.set(word, other ?? one);
      if (!other) continue;
      const path = word === breakKey && isTask(one) ? [...one.path, 'key'] : one.path;
      const text = `${pathInWords(path)}: "${word}" already stands for the task ${other.task.name} (${placeOf(other.layer.file, other.path)}); expected another one`;
      problems.push(one.layer.file.problem(path, path === one.path ? 'key' : 'value', text));
    }
  }
}

/** Not an entry of `breaks`, whose key is its name in the file. */
function isTask({ path }: Placed): boolean {
  return path.at(-2) === 'tasks';
}

function placeOf(file: YamlFile, path: Path): string {
  return formatProblem(file.problem(path, 'key', '')).slice(0, -': '.length);
}

function fieldOf(raw: unknown, key: string): unknown {
  return typeof raw === 'object' && raw !== null ? (raw as Record<string, unknown>)[key] : null;
}
