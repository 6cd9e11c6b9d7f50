import type { Backend, BackendSink } from '../../core/backend.ts';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import { didYouMean } from '../../core/names.ts';
import type { BackendServices, OpenerFactory } from '../services.ts';
import { runScript, seededRandom } from './machine.ts';
import type { Machine, Random, Script } from './machine.ts';
import { linuxServer } from './machines/linux.ts';
import { router } from './machines/router.ts';
import { uBootBoard } from './machines/u-boot.ts';
import { xenHost } from './machines/xen.ts';

/** Makes a machine at power on. `hostName`: the port's name. */
type MachineFactory = (random: Random, hostName: string) => Machine;

const scripted =
  (script: (random: Random, hostName: string) => Script): MachineFactory =>
  (random, hostName) =>
    runScript(script(random, hostName));

/** Every kind of simulated machine, by the name that `sim: {machine: ...}` takes. */
const MACHINES: Readonly<Record<string, MachineFactory>> = {
  /** A server that runs for ever. */
  linux: scripted((random, hostName) => linuxServer(random, { hostName, panicMeanMs: null })),
  /** A server that panics and reboots every two minutes or so. */
  'linux-panics': scripted((random, hostName) =>
    linuxServer(random, { hostName, panicMeanMs: 120_000 }),
  ),
  router: scripted((random, hostName) => router(random, { hostName })),
  'u-boot': scripted((random, hostName) => uBootBoard(random, { hostName })),
  xen: scripted((random, hostName) => xenHost(random, { hostName })),
  /** Gives back what it is sent, at once: for tests. */
  echo: makeEcho,
};

export const SIM_MACHINES: readonly string[] = Object.keys(MACHINES);

/** Simulated machines, for `fairlead demo` and the benches. `speed` 10 is ten times real time. */
export const simOpener: OpenerFactory<'sim'> = (settings, backend, services) => {
  const factory = MACHINES[backend.machine];
  return {
    kind: 'sim',
    target: backend.machine,
    line: null,
    open(sink) {
      if (factory === undefined) {
        const why = `no simulated machine "${backend.machine}"${didYouMean(backend.machine, SIM_MACHINES)}`;
        return Promise.reject(new Fault('PORT_OPEN_FAILED', why));
      }
      const machine = factory(seededRandom(backend.seed), settings.name);
      return Promise.resolve(powerOn(machine, backend.machine, backend.speed, services, sink));
    },
  };
};

/** Output is looked at this often at most: the capture thread's sweep. */
const TICK_MS = 10;
/** A clock that stepped, or a process that was stopped, must not make a flood. */
const STEP_MS_MAX = 1_000;

/** Runs a machine against the clock. */
export function powerOn(
  machine: Machine,
  name: string,
  speed: number,
  { clock }: Pick<BackendServices, 'clock'>,
  sink: BackendSink,
): Backend {
  const passed = makeStopwatch(clock, speed);
  let machineMs = 0;
  let isClosed = false;
  let mustTellWritable = false;
  let timer: NodeJS.Timeout = setTimeout(run, 0);

  function run(): void {
    machineMs += passed();
    const output = machine.advance(machineMs);
    if (output.length > 0) sink.rx(output);
    if (mustTellWritable && !isClosed) {
      mustTellWritable = false;
      sink.writable();
    }
    if (isClosed) return;
    const restMs = (machine.nextMs() - machineMs) / speed;
    timer = setTimeout(run, Math.min(Math.max(restMs, TICK_MS), STEP_MS_MAX / 2));
  }

  /** Input is answered in the next turn of the loop, never inside the port's own call. */
  function runSoon(): void {
    clearTimeout(timer);
    timer = setTimeout(run, 0);
  }

  function unsupported(what: string): Promise<never> {
    const why = `a simulated machine has no ${what}`;
    return Promise.reject(new Fault('PORT_UNSUPPORTED', why));
  }

  return {
    description: `sim ${name}`,
    write(bytes) {
      if (isClosed) return 0;
      const count = machine.input(bytes);
      mustTellWritable ||= count < bytes.length;
      runSoon();
      return count;
    },
    setWatched: () => undefined, // nothing is read in a sweep here
    setLine: () => unsupported('line settings'),
    setSignals: () => unsupported('signals'),
    sendBreak() {
      if (isClosed) return Promise.reject(new Fault('PORT_GONE', `sim ${name} is switched off`));
      machine.sendBreak();
      return Promise.resolve();
    },
    // A machine hears that a BREAK came, and cannot tell how long it is.
    setBreak(isOn) {
      return isOn ? this.sendBreak(0) : Promise.resolve();
    },
    purge: () => Promise.resolve(),
    signals: () => Promise.resolve({}),
    isAlive: () => !isClosed,
    close() {
      isClosed = true;
      clearTimeout(timer);
      return Promise.resolve();
    },
  };
}

/** Machine time since the last call, in milliseconds; never negative. */
function makeStopwatch(clock: Clock, speed: number): () => number {
  let lastUs = clock.nowUs();
  return () => {
    const nowUs = clock.nowUs();
    const stepMs = Math.min(Math.max((nowUs - lastUs) / 1_000, 0), STEP_MS_MAX);
    lastUs = nowUs;
    return stepMs * speed;
  };
}

function makeEcho(): Machine {
  const INPUT_BYTES_MAX = 16_384;
  let waiting = Buffer.alloc(0);
  let nowMs = 0;
  return {
    advance(toMs) {
      nowMs = toMs;
      const output = waiting;
      waiting = Buffer.alloc(0);
      return output;
    },
    input(bytes) {
      const count = Math.min(bytes.length, INPUT_BYTES_MAX - waiting.length);
      waiting = Buffer.concat([waiting, bytes.subarray(0, count)]);
      return count;
    },
    nextMs: () => (waiting.length > 0 ? nowMs : Infinity),
    sendBreak: () => undefined,
  };
}
