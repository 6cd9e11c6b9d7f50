/** A browser or a scanner: its request must not reach a device's shell (DESIGN 6). */
export function isHttpRequest(bytes: Buffer): boolean {
  const line = bytes.toString('latin1', 0, LINE_BYTES_MAX);
  return /^(GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE|PRI) \S+ HTTP\/\d/.test(line);
}

const LINE_BYTES_MAX = 8_192;
