import { connect, type Socket } from 'node:net';

/** A client of Redis (RESP2) that connects again when the connection is lost, as real ones do. */
export class RedisClient {
  readonly #address: () => Promise<string>;
  #socket: Socket | undefined;
  #buffer = '';
  #waiting: { resolve: (answer: string) => void; reject: (error: Error) => void }[] = [];
  /** How often a connection was made. */
  connections = 0;

  /** @param address of the server as it is now */
  constructor(address: () => Promise<string>) {
    this.#address = address;
  }

  /** Simple strings, integers and bulk strings as text. @throws Error when the connection breaks or the server refuses */
  async call(...words: string[]): Promise<string> {
    const socket = await this.#connected();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`);
    });
  }

  close(): void {
    this.#socket?.destroy();
  }

  async #connected(): Promise<Socket> {
    if (this.#socket && !this.#socket.destroyed) return this.#socket;
    const host = await this.#address();
    const socket = connect({ host, port: 6379, timeout: 1000 });
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
      socket.once('timeout', () => reject(new Error('no connection within 1 s')));
    });
    this.connections++;
    this.#socket = socket;
    this.#buffer = '';
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#take(text));
    // No answer within a second: the server is frozen or gone.
    socket.on('timeout', () => socket.destroy(new Error('no answer within 1 s')));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error('the connection was closed'));
    });
    return socket;
  }

  #take(text: string): void {
    this.#buffer += text;
    for (;;) {
      const end = this.#buffer.indexOf('\r\n');
      if (end < 0) return;
      const line = this.#buffer.slice(1, end);
      const kind = this.#buffer[0];
      let rest = end + 2;
      let answer = line;
      if (kind === '$' && Number(line) >= 0) {
        rest = end + 2 + Number(line) + 2;
        if (this.#buffer.length < rest) return;
        answer = this.#buffer.slice(end + 2, rest - 2);
      }
      this.#buffer = this.#buffer.slice(rest);
      const waiting = this.#waiting.shift();
      if (kind === '-') waiting?.reject(new Error(line));
      else waiting?.resolve(answer);
    }
  }
}
