import type { ServerChannel } from 'ssh2';
import { Fault } from '../../core/fault.ts';
import type { FrontendServices } from '../../core/frontend.ts';
import type { Caller } from '../../core/user.ts';
import { ChannelOutput } from './channel-output.ts';
import type { ConnectionGuard, PrivateChannel } from './guards.ts';
import type { SftpFile } from './sftp-file.ts';
import {
  encodeAttributes,
  encodeData,
  encodeHandle,
  encodeNames,
  encodeStatus,
  encodeVersion,
  OPEN_FOR_CHANGE,
  SFTP_STATUS,
  SftpDecoder,
  type SftpName,
  type SftpPath,
  type SftpRequest,
} from './sftp-packets.ts';
import { BadName, SftpTree, type SftpNode } from './sftp-tree.ts';

/**
 * Serves the log as a tree of files (sftp-tree.ts) on a channel that ssh2's `subsystem` event gave
 * for `sftp`. Not that of its `sftp` event: that stream can neither be paused nor waited for. One
 * request is served at a time, and no more are read while enough wait; an answer waits until the
 * client takes it.
 */
export function serveSftp(
  channel: ServerChannel,
  guard: ConnectionGuard,
  services: FrontendServices,
  caller: Caller,
): void {
  const server = new SftpServer(channel, guard, services, caller);
  guard.onChannelClosed(channel as unknown as PrivateChannel, () => server.clientLeft());
}

/** Why a command line is not run: it is that of `scp -O`; null: it is not. */
export function refuseOldScp(words: readonly string[]): string | null {
  const isOld = words[0] === 'scp' && words.some((word) => /^-[a-zA-Z]*[ft]/.test(word));
  return isOld ? 'scp -O speaks the old protocol; leave -O out: sftp is served' : null;
}

class SftpServer {
  readonly #channel: ServerChannel;
  readonly #journal: FrontendServices['journal'];
  readonly #output: ChannelOutput;
  readonly #tree: SftpTree;
  readonly #decoder = new SftpDecoder();
  readonly #waiting: SftpRequest[] = [];
  readonly #handles = new Map<string, Handle>();
  readonly #left = new AbortController();
  #lastHandle = 0;
  #badNames = 0;
  #isServing = false;
  #inputEnded = false;
  #hasFinished = false;

  constructor(
    channel: ServerChannel,
    guard: ConnectionGuard,
    { journal, log, clock }: FrontendServices,
    caller: Caller,
  ) {
    const { user, remote } = caller;
    this.#channel = channel;
    this.#journal = journal.child({ user, remote });
    this.#output = new ChannelOutput(channel, guard);
    this.#tree = new SftpTree(log, caller, clock);
    channel.on('data', (bytes: Buffer) => this.#receive(bytes));
    channel.on('end', () => {
      this.#inputEnded = true;
      this.#serve();
    });
    this.#journal.info({}, 'sftp began');
  }

  clientLeft(): void {
    this.#output.close();
    this.#waiting.length = 0;
    this.#handles.clear();
    this.#left.abort(new Error('the client left'));
  }

  #receive(bytes: Buffer): void {
    if (this.#hasFinished) return;
    this.#waiting.push(...this.#decoder.push(bytes));
    if (this.#waiting.length > WAITING_MAX) this.#channel.pause();
    this.#serve();
  }

  /** Serves what waits, one after the other. */
  #serve(): void {
    if (this.#isServing) return;
    this.#isServing = true;
    this.#serveWaiting().catch((err: unknown) => {
      if (!this.#left.signal.aborted) this.#journal.error({ err }, 'sftp failed');
      this.#finish(1);
    });
  }

  async #serveWaiting(): Promise<void> {
    try {
      for (;;) {
        const request = this.#waiting.shift();
        if (this.#waiting.length <= WAITING_MAX / 2) this.#channel.resume();
        if (request === undefined) break;
        if (request.kind === 'broken') {
          this.#journal.warn({ why: request.why }, 'sftp client not understood');
          return this.#finish(1);
        }
        await this.#output.write(await this.#answer(request));
      }
      if (this.#inputEnded) this.#finish(0);
    } finally {
      this.#isServing = false;
    }
  }

  /** Exit status after the last byte of output: OpenSSH drops what comes later. */
  #finish(code: number): void {
    if (this.#hasFinished) return;
    this.#hasFinished = true;
    this.#waiting.length = 0;
    this.#handles.clear();
    if (this.#left.signal.aborted) return;
    this.#channel.exit(code);
    this.#channel.end();
    this.#channel.resume(); // unread input would hold back ssh2's close
  }

  async #answer(request: Exclude<SftpRequest, { kind: 'broken' }>): Promise<Uint8Array> {
    if (request.kind === 'init') return encodeVersion();
    try {
      return await this.#answerOrThrow(request);
    } catch (error) {
      this.#left.signal.throwIfAborted();
      if (!(error instanceof Fault)) {
        this.#journal.error({ err: error, request: request.kind }, 'sftp request failed');
        return encodeStatus(request.id, SFTP_STATUS.failure, 'this failed; the journal says why');
      }
      if (error instanceof BadName) this.#refusedName(request, error);
      return encodeStatus(request.id, statusOf(error), error.message);
    }
  }

  async #answerOrThrow(request: Numbered): Promise<Uint8Array> {
    const { id } = request;
    switch (request.kind) {
      case 'open':
        return this.#open(id, request.path, request.flags);
      case 'opendir': {
        const node = await this.#tree.find(request.path);
        if (node.kind === 'day' || node.kind === 'live') {
          return encodeStatus(id, SFTP_STATUS.failure, 'it is no directory');
        }
        return this.#keep(id, { node, names: this.#tree.list(node), file: null });
      }
      case 'close':
        if (!this.#handles.delete(request.handle)) return noHandle(id);
        return encodeStatus(id, SFTP_STATUS.ok, '');
      case 'read': {
        const file = this.#handles.get(request.handle)?.file;
        if (!file) return noHandle(id);
        const bytes = await file.read(request.offset, Math.min(request.length, READ_BYTES_MAX));
        if (bytes.length > 0) return encodeData(id, bytes);
        return encodeStatus(id, SFTP_STATUS.eof, 'the end for now');
      }
      case 'readdir': {
        const names = this.#handles.get(request.handle)?.names;
        if (!names) return noHandle(id);
        const { value } = await names.next();
        return value ? encodeNames(id, value) : encodeStatus(id, SFTP_STATUS.eof, 'that is all');
      }
      case 'fstat': {
        const node = this.#handles.get(request.handle)?.node;
        return node ? this.#attributes(id, node) : noHandle(id);
      }
      case 'stat':
        return this.#attributes(id, await this.#tree.find(request.path));
      case 'realpath': {
        const name = await this.#tree.realPath(request.path);
        return encodeNames(id, [{ name, longName: name, attributes: NO_ATTRIBUTES }]);
      }
      case 'readlink':
        return encodeStatus(id, SFTP_STATUS.noSuchFile, 'there are no links');
      case 'change':
        return encodeStatus(id, SFTP_STATUS.permissionDenied, `${READ_ONLY}: no ${request.what}`);
      case 'unsupported':
        return encodeStatus(id, SFTP_STATUS.unsupported, 'not known here');
      case 'malformed':
        return encodeStatus(id, SFTP_STATUS.badMessage, 'a field is missing');
    }
  }

  async #open(id: number, path: SftpPath, flags: number): Promise<Uint8Array> {
    if ((flags & OPEN_FOR_CHANGE) !== 0) {
      return encodeStatus(id, SFTP_STATUS.permissionDenied, READ_ONLY);
    }
    const node = await this.#tree.find(path);
    if (node.kind !== 'day' && node.kind !== 'live') {
      return encodeStatus(id, SFTP_STATUS.failure, 'it is a directory');
    }
    const file = await this.#tree.open(node, this.#left.signal);
    this.#journal.debug({ port: node.port.name, path }, 'log file opened');
    return this.#keep(id, { node, names: null, file });
  }

  async #attributes(id: number, node: SftpNode): Promise<Uint8Array> {
    return encodeAttributes(id, await this.#tree.attributes(node, this.#left.signal));
  }

  #keep(id: number, handle: Handle): Uint8Array {
    if (this.#handles.size >= HANDLES_MAX) {
      return encodeStatus(id, SFTP_STATUS.failure, `at most ${HANDLES_MAX} files at once`);
    }
    const name = String(++this.#lastHandle);
    this.#handles.set(name, handle);
    return encodeHandle(id, name);
  }

  #refusedName(request: Numbered, { message: why }: Fault): void {
    if (++this.#badNames > BAD_NAMES_TOLD) return;
    const path = 'path' in request ? request.path?.slice(0, NAME_SHOWN_CHARS) : undefined;
    this.#journal.warn({ why, path }, 'sftp name refused');
  }
}

type Numbered = Exclude<SftpRequest, { kind: 'broken' | 'init' }>;

/** What a client holds open: a file or a directory. */
interface Handle {
  node: SftpNode;
  names: AsyncGenerator<SftpName[], void> | null;
  file: SftpFile | null;
}

const READ_ONLY = 'the log is read-only';
const NO_ATTRIBUTES = { sizeBytes: null, mode: 0, modifiedS: 0 };

/** Requests that wait before no more are read: OpenSSH has 64 under way. */
const WAITING_MAX = 64;
/** Each may keep some 300 KB. */
const HANDLES_MAX = 32;
/** Bytes in one answer; the client asks for the rest. */
const READ_BYTES_MAX = 65_536;
/** Bad names journalled for one channel. */
const BAD_NAMES_TOLD = 5;
const NAME_SHOWN_CHARS = 200;

function noHandle(id: number): Uint8Array {
  return encodeStatus(id, SFTP_STATUS.failure, 'that is not open');
}

function statusOf(fault: Fault): number {
  switch (fault.code) {
    case 'DENIED':
      return SFTP_STATUS.permissionDenied;
    case 'NOT_FOUND':
    case 'PORT_UNKNOWN':
    case 'LOG_NOT_FOUND':
      return SFTP_STATUS.noSuchFile;
    default:
      return SFTP_STATUS.failure;
  }
}
