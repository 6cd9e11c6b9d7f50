import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { Fault, FAULT_CODES, exitCodeOf, type FaultCode } from '../src/core/fault.ts';
import { PROJECT } from './support/project.ts';

it('docs/faults.md lists every fault code with its meaning and exit code, and no other', () => {
  const page = readFileSync(join(PROJECT, 'docs/faults.md'), 'utf8');
  const listed = page.split('\n').filter((line) => line.startsWith('| `'));
  const wanted = (Object.keys(FAULT_CODES) as FaultCode[]).map(
    (code) => `| \`${code}\` | ${FAULT_CODES[code]} | ${exitCodeOf(new Fault(code, ''))} |`,
  );
  assert.deepEqual(listed, wanted);
});
