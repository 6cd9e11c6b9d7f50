import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCommand } from '../../src/app/run-command.ts';

const node = (program: string): string[] => [process.execPath, '-e', program];

describe('a configured command', () => {
  it('answers with its status and what it printed on both streams', async () => {
    const result = await runCommand(
      node('process.stdout.write("out\\n", () => { console.error("err"); process.exitCode = 3; })'),
      60_000,
    );
    assert.equal(result.status, 3);
    assert.deepEqual(result.output.split('\n').sort(), ['err', 'out']);
  });

  it('is no shell: its words are passed as they are', async () => {
    const result = await runCommand(
      [...node('console.log(process.argv[1])'), '$(id) ; `id` | x'],
      60_000,
    );
    assert.deepEqual(result, { status: 0, output: '$(id) ; `id` | x' });
  });

  it('keeps 4 KB of a long output, and waits for its end', async () => {
    const result = await runCommand(node('process.stdout.write("x".repeat(1e6))'), 60_000);
    assert.deepEqual(result, { status: 0, output: 'x'.repeat(4_096) });
  });

  it('is ended when it takes too long, also with a child that holds its output', async () => {
    const result = await runCommand(['/bin/sh', '-c', 'echo begun; sleep 1000 & wait'], 500);
    assert.equal(result.status, null);
    assert.match(result.output, /did not end within 0\.5 s/);
  });

  it('that is not there says so', async () => {
    const result = await runCommand(['/no/such/program'], 60_000);
    assert.equal(result.status, null);
    assert.match(result.output, /ENOENT/);
  });
});
