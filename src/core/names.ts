/** A port's or user's name: starts with a letter or digit, at most 64 characters (DESIGN 2). */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Names are compared without case and keep their spelling. All digits is a session or `n`, never a name. */
export function isPortName(text: string): boolean {
  return NAME_PATTERN.test(text) && !/^\d+$/.test(text);
}

export function sameName(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/**
 * Matches a name against a shell-like pattern: `*`, `?`, `[abc]`; without case. Takes at most pattern
 * times name steps, whatever the pattern: anybody who is logged in may write one.
 * @throws SyntaxError for a range upside down, `[z-a]`.
 */
export function globMatches(pattern: string, name: string): boolean {
  const parts = globParts(pattern.toLowerCase());
  const text = name.toLowerCase();
  let part = 0;
  /** The last `*` and where what follows it was tried: the one place to try again one further. */
  let star = -1;
  let triedAt = 0;
  for (let at = 0; at < text.length;) {
    const wanted = parts[part];
    if (wanted === '*') {
      star = part++;
      triedAt = at;
    } else if (wanted !== undefined && isOne(wanted, text[at]!)) {
      part++;
      at++;
    } else if (star >= 0) {
      part = star + 1;
      at = ++triedAt;
    } else return false;
  }
  return parts.slice(part).every((left) => left === '*');
}

/** `*`, a character as it is, or what one character may be. */
type GlobPart = string | RegExp;

function globParts(pattern: string): GlobPart[] {
  const parts: GlobPart[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    const close = char === '[' ? pattern.indexOf(']', i + 2) : -1;
    if (close > 0) {
      const inside = pattern.slice(i + 1, close).replace(/[\\\]]/g, '\\$&');
      parts.push(new RegExp(`^[${inside.startsWith('!') ? '^' + inside.slice(1) : inside}]$`, 's'));
      i = close;
    } else parts.push(char === '?' ? /^.$/s : char);
  }
  return parts;
}

function isOne(part: GlobPart, char: string): boolean {
  return typeof part === 'string' ? part === char : part.test(char);
}

/** The known words nearest to a mistyped one, best first; at most `max`, none when nothing is near. */
export function nearestWords(word: string, known: Iterable<string>, max = 3): string[] {
  const typed = word.toLowerCase();
  const scored: { name: string; distance: number }[] = [];
  for (const name of known) {
    const lower = name.toLowerCase();
    const distance =
      lower.startsWith(typed) || typed.startsWith(lower) ? 0.5 : editDistance(typed, lower);
    if (distance <= Math.max(1, Math.floor(Math.max(typed.length, lower.length) / 3))) {
      scored.push({ name, distance });
    }
  }
  scored.sort((a, b) => a.distance - b.distance || a.name.localeCompare(b.name));
  return scored.slice(0, max).map((entry) => entry.name);
}

/** `; did you mean "db1" or "db2"?`, or nothing. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const near = nearestWords(word, known);
  return near.length === 0 ? '' : `; did you mean ${near.map((name) => `"${name}"`).join(' or ')}?`;
}

/** Damerau-Levenshtein distance (adjacent transposition counts one), for short words. */
function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(next[j - 1]! + 1, row[j]! + 1, substitute);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, before[j - 2]! + 1);
      }
      next.push(best);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
