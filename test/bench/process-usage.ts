import { readdirSync, readFileSync } from 'node:fs';

/** Nanoseconds of CPU a process and its children have used so far (threads that ended excluded). */
export function cpuNs(pid: number): number {
  let total = 0;
  for (const member of processTree(pid)) {
    for (const thread of list(`/proc/${member}/task`)) {
      // The first field of schedstat: time spent on the CPU (kernel, Documentation/scheduler).
      const text = read(`/proc/${member}/task/${thread}/schedstat`);
      total += Number(text.split(' ', 1)[0]);
    }
  }
  return total;
}

/** Resident bytes of a process and its children, now and at most. Shared pages count in each. */
export function residentBytes(pid: number): { now: number; peak: number } {
  let [now, peak] = [0, 0];
  for (const member of processTree(pid)) {
    const status = read(`/proc/${member}/status`);
    now += Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
    peak += Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }
  return { now, peak };
}

/** A process and its descendants. */
function processTree(pid: number): number[] {
  const members = [pid];
  const parents = list('/proc')
    .filter((name) => /^\d+$/.test(name))
    // proc(5), stat: the parent is the second field after the command in brackets.
    .map((name) => [Number(name), Number(/\) \S (\d+)/.exec(read(`/proc/${name}/stat`))?.[1])]);
  for (const member of members) {
    for (const [child, parent] of parents) if (parent === member) members.push(child!);
  }
  return members;
}

/** A process may end while it is looked at: then it counts nothing. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
