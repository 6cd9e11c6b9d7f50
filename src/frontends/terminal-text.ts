/**
 * Text of ours for a terminal in raw mode, which takes a line feed for just that: line ends become
 * CR LF. Bytes from a device are never touched: they do not come here.
 */
export function terminalText(text: string, isRaw: boolean): Uint8Array {
  return Buffer.from(isRaw ? text.replace(/\r?\n/g, '\r\n') : text);
}
