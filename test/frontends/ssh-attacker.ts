import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import ssh2 from 'ssh2';
import type { SshDoor } from './ssh-door.ts';

/** What an attacker needs of ssh2's client: its packets, without its manners. */
interface PrivateProtocol {
  session(channel: number, windowBytes: number, packetBytes: number): void;
  exec(recipient: number, command: string, wantReply: boolean): void;
  channelData(recipient: number, bytes: Uint8Array): void;
  channelEOF(recipient: number): void;
  channelClose(recipient: number): void;
  _handlers: Record<string, (...values: never[]) => void>;
  _kex: { sessionID: Buffer };
  _cipher: { allocPacket(payloadBytes: number): Uint8Array; encrypt(packet: Uint8Array): void };
}

export type Attacker = ssh2.Client & { _protocol: PrivateProtocol; _sock: Socket };

/** A client of the door of all ports, logged in with the key of that name. */
export function loginAs(door: SshDoor, username: string): Promise<Attacker> {
  const privateKey = readFileSync(door.keyFile(username));
  return loginAt(door.frontend.tcpPort!, username, privateKey);
}

/** The same at any SSH door on 127.0.0.1. */
export async function loginAt(
  tcpPort: number,
  username: string,
  privateKey: Buffer,
): Promise<Attacker> {
  const client = new ssh2.Client() as unknown as Attacker;
  client.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => {
    client.once('ready', () => resolve());
    client.once('close', () => reject(new Error(`${username} was not let in`)));
    client.connect({ host: '127.0.0.1', port: tcpPort, username, privateKey });
  });
  return client;
}

/** Sends a packet of any content. */
export function sendPacket(client: Attacker, payload: Uint8Array): void {
  const { _cipher: cipher } = client._protocol;
  const packet = cipher.allocPacket(payload.length);
  packet.set(payload, 5);
  cipher.encrypt(packet);
}
