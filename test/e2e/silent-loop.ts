import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { residentBytes } from '../bench/process-usage.ts';
import { megabytes } from '../bench/row.ts';
import { compileC } from '../support/compile-c.ts';
import { AllDoors } from './all-doors.ts';
import { Daemon, scratchDirectory } from './daemon.ts';
import { EchoProbe, type EchoReport, type ProbePlan } from './echo-probe.ts';
import { knock, misbehave } from './hostile-client.ts';
import { SilentFlood, sourceAddresses } from './silent-flood.ts';
import { SSH_ATTACKS } from './ssh-attacks.ts';
import { COM_PORT_ATTACKS, TELNET_ATTACKS, type TelnetAttack } from './telnet-attacks.ts';

/**
 * `npm run test:silent [-- COUNT]`: so many sockets that never say a word on each door in turn, half
 * of them from the address of a person who logs in meanwhile; then what clients of SSH and telnet can
 * do that they should not, beside an echo. Prints times, memory and the worst echo; exits 1 when a budget is missed.
 */
const count = Number(process.argv[2] ?? 10_000);
const ATTACKS = 20;
const BUDGET = { loginMs: 2_000, closedMs: 35_000, stallMs: 50 };
const OWN_SOURCE = '127.0.0.1';
const OTHER_SOURCE = '127.0.0.7';

let missed = 0;

await withDaemon('certificate', async (doors, daemon) => {
  const probe = await EchoProbe.start(probePlan(doors, true));
  const timed = async (login: () => Promise<unknown>): Promise<number> => {
    const startedAtMs = performance.now();
    await login();
    return performance.now() - startedAtMs;
  };
  /** Perhaps one has to try again: hundreds come between connecting and the first word. */
  const again = async (login: () => Promise<void>): Promise<void> => {
    while (
      await login().then(
        () => false,
        () => true,
      )
    );
  };
  const sshLogin = async (door: AllDoors['ssh'], source: string): Promise<void> => {
    const { code, stderr } = await door.run(['alice@127.0.0.1', 'who'], { key: 'alice', source });
    if (code !== 0) throw new Error(`ssh from ${source}: ${stderr}`);
  };
  const listeners = [
    {
      name: 'ssh',
      tcpPort: doors.ssh.tcpPort,
      login: (source: string) => sshLogin(doors.ssh, source),
    },
    {
      name: 'port-ssh',
      tcpPort: doors.portSsh.tcpPort,
      login: (source: string) => sshLogin(doors.portSsh, source),
    },
    {
      name: 'telnet',
      tcpPort: doors.telnetBase + 1,
      login: async (source: string) => {
        const { heard, socket } = await doors.telnet(1, 'alice', source);
        await heard.until(/you (write|view)/);
        socket.destroy();
      },
    },
    {
      name: 'raw with TLS',
      tcpPort: doors.rawBase + 1,
      login: async (source: string) => {
        const { heard, socket } = await doors.rawTls(1, source);
        await heard.untilLength(1); // it views: the echo types
        socket.destroy();
      },
    },
  ];
  for (const [index, { name, tcpPort, login }] of listeners.entries()) {
    const others = sourceAddresses(index + 1, 250);
    await probe.report();
    const startedAtMs = performance.now();
    const flood = new SilentFlood({
      tcpPort,
      count,
      sources: others.flatMap((address) => [OWN_SOURCE, address]),
    });
    const whileComing = await timed(() => again(() => login(OTHER_SOURCE)));
    await flood.tried();
    const triedAtMs = performance.now();
    const [own, other] = [
      await timed(() => login(OWN_SOURCE)),
      await timed(() => login(OTHER_SOURCE)),
    ];
    const { held } = flood;
    await flood.closed();
    const closedMs = flood.closedAtMs - triedAtMs;
    await flood.stop();
    const echo = await probe.report();
    const { now, peak } = residentBytes(daemon.process.pid!);
    miss(Math.max(own, other) > BUDGET.loginMs || closedMs > BUDGET.closedMs);
    console.log(
      `${name}: ${count} silent in ${seconds(triedAtMs - startedAtMs)}, ${held} of them still there; ` +
        `login ${seconds(own)} from their address, ${seconds(other)} from another, ` +
        `${seconds(whileComing)} while they came; all closed after ${seconds(closedMs)}; ` +
        `RSS ${megabytes(now)}, peak ${megabytes(peak)}; ${inWords(echo)}`,
    );
  }
  await probe.stop();
});

await withDaemon('none', async (doors, daemon) => {
  const probe = await EchoProbe.start(probePlan(doors, false));
  const startedAtMs = performance.now();
  const flood = new SilentFlood({
    tcpPort: doors.rawBase + 1,
    count,
    sources: sourceAddresses(9, 10),
  });
  await flood.tried();
  const triedAtMs = performance.now();
  const stay = Math.min(count, 10 * 64); // the default of caps.perSource
  await flood.closed(count - stay);
  const closedMs = performance.now() - triedAtMs;
  const enteredAtMs = performance.now();
  const { heard, socket } = await doors.raw(1, OTHER_SOURCE);
  await heard.untilLength(1);
  const loginMs = performance.now() - enteredAtMs;
  socket.destroy();
  const { now, peak } = residentBytes(daemon.process.pid!);
  miss(loginMs > BUDGET.loginMs || flood.held !== stay);
  console.log(
    `raw: ${count} silent in ${seconds(triedAtMs - startedAtMs)}, ${flood.held} may stay, the others ` +
      `closed after ${seconds(closedMs)}; login ${seconds(loginMs)} from another address; ` +
      `RSS ${megabytes(now)}, peak ${megabytes(peak)}; ${inWords(await probe.report())}`,
  );
  await flood.stop();

  const sources = sourceAddresses(10, 250)[Symbol.iterator]();
  const source = (): string => sources.next().value!;
  const key = doors.privateKey('alice');
  for (const attack of SSH_ATTACKS) {
    await probe.report();
    for (let i = 0; i < ATTACKS; i++) await attack.run(doors.ssh.tcpPort, 'alice', key);
    const echo = await probe.report();
    miss(echo.worstMs > BUDGET.stallMs);
    console.log(`${ATTACKS} times ${attack.what}: ${inWords(echo)}`);
  }
  for (const attack of TELNET_ATTACKS) {
    await probe.report();
    const startedAtMs = performance.now();
    const { wasCut } = await misbehave(knock(doors.telnetBase + 2, source()), attack.conduct());
    tell(attack, wasCut, performance.now() - startedAtMs, await probe.report());
  }
  for (const attack of COM_PORT_ATTACKS) {
    const { socket, heard } = await doors.telnet(2, 'alice', source());
    await heard.until('you write');
    await probe.report();
    const startedAtMs = performance.now();
    const { wasCut } = await misbehave(socket, attack.conduct());
    tell(attack, wasCut, performance.now() - startedAtMs, await probe.report());
  }
  await probe.stop();
});
process.exitCode = missed > 0 ? 1 : 0;

function tell(attack: TelnetAttack, wasCut: boolean, ms: number, echo: EchoReport): void {
  miss(echo.worstMs > BUDGET.stallMs || wasCut !== attack.isCut);
  const outcome = `${wasCut ? 'cut' : 'served'} after ${seconds(ms)}`;
  console.log(`telnet, ${attack.what}: ${outcome}; ${inWords(echo)}`);
}

/** A daemon with all doors, and a port that gives back at once what it is sent. */
async function withDaemon(
  raw: 'certificate' | 'none',
  use: (doors: AllDoors, daemon: Daemon) => Promise<void>,
): Promise<void> {
  const directory = scratchDirectory();
  const device = spawn(compileC('test/bench/echo.c'), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: device.stdout });
  const [path] = (await once(lines, 'line')) as [string];
  const doors = await AllDoors.plan(directory.path);
  const daemon = await Daemon.start(
    directory.path,
    `
data: ./data
${doors.listen(raw)}
users:
  ${doors.user('alice', 'role: admin')}
  lab: { role: operator, ports: ['*'] }
ports:
  echo: { n: 1, device: ${path} }
  slow: { n: 2, sim: echo }
`,
  );
  try {
    await daemon.said('port up');
    await use(doors, daemon).catch((error: unknown) => {
      for (const entry of daemon.journal) console.error(JSON.stringify(entry));
      throw error;
    });
    const errors = daemon.journal.filter(({ level }) => level === 'error' || level === 'fatal');
    for (const entry of errors) console.log(`journal: ${JSON.stringify(entry)}`);
    miss(errors.length > 0);
  } finally {
    doors.dispose();
    await daemon.stop();
    device.stdin.end();
    lines.close();
    directory.dispose();
  }
}

function probePlan(doors: AllDoors, hasTls: boolean): ProbePlan {
  return { tcpPort: doors.rawBase + 1, tls: hasTls ? doors.tlsOptions() : null };
}

function inWords({ count: echoes, worstMs, ownStallMs }: EchoReport): string {
  return `worst of ${echoes} echoes ${worstMs.toFixed(1)} ms (own stall ${ownStallMs.toFixed(1)} ms)`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}

function miss(isMissed: boolean): void {
  if (isMissed) missed++;
}
