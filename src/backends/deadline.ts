/**
 * Waits for `work`, but at most `timeoutMs`: work on a stuck device goes on behind our back, and
 * what becomes of it then nobody hears.
 */
export async function atMost(timeoutMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([work.then(ignore, ignore), timeout]);
  clearTimeout(timer);
}

function ignore(): void {
  // The outcome is of no interest any more.
}
