import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import * as constants from '../../src/native/constants.ts';
import { compileC } from '../support/compile-c.ts';

describe('numbers of the kernel', () => {
  const said = new Map(
    execFileSync(compileC('test/e2e/kernel-numbers.c'), { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  );

  it('of ttys are those of its headers, on this architecture', () => {
    const { IOCTL, TERMIOS2, CC, IFLAG, CFLAG, CHARACTER_SIZE, ICOUNTER, SERIAL, RS485 } =
      constants;
    const ARCHITECTURE = constants.forArchitecture(process.arch);
    const groups = {
      IOCTL,
      TERMIOS2,
      CC,
      IFLAG,
      CFLAG,
      CHARACTER_SIZE,
      ICOUNTER,
      SERIAL,
      RS485,
      ARCHITECTURE,
    };
    const ours = new Map(
      Object.entries(groups).flatMap(([group, numbers]) =>
        Object.entries(numbers as Record<string, number>).map(
          ([name, number]) => [`${group}.${name}`, String(number)] as const,
        ),
      ),
    );
    assert.deepEqual(Object.fromEntries([...ours].sort()), Object.fromEntries([...said].sort()));
  });
});
