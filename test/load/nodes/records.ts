import { Records } from '../../../src/agent/records.ts';

/** Records that live as long as their process: the disks of a hundred nodes are not one disk. */
export class MemoryRecords<Value> extends Records<Value> {
  readonly #records = new Map<string, string>();

  constructor() {
    super('/nonexistent');
  }

  override async load(): Promise<{ records: Map<string, Value>; damaged: string[] }> {
    return { records: new Map([...this.#records].map(([key, text]) => [key, JSON.parse(text) as Value])), damaged: [] };
  }

  override async write(key: string, value: Value): Promise<void> {
    this.#records.set(key, JSON.stringify(value));
  }

  override async has(key: string): Promise<boolean> {
    return this.#records.has(key);
  }

  override async remove(key: string): Promise<void> {
    this.#records.delete(key);
  }
}
