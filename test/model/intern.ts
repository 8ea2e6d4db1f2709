/** Texts that are the same get the same small number, so that a world's text stays short. */
export class Interned<Value> {
  readonly #ids = new Map<string, number>();
  readonly #values: Value[] = [];
  readonly #texts: string[] = [];

  /** The number of a value; the first value with this text is kept. */
  put(value: Value): number {
    const text = JSON.stringify(value);
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    this.#ids.set(text, this.#values.length);
    this.#texts.push(text);
    return this.#values.push(value) - 1;
  }

  get(id: number): Value {
    return this.#values[id] as Value;
  }

  text(id: number): string {
    return this.#texts[id] as string;
  }
}

// Looking a global up is slow in jest's contexts.
const { imul } = Math;

/** A 53 bit hash (cyrb53): for a million states the chance that any two share one is about 1 in 10 000. */
export function hash(text: string): number {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    high = imul(high ^ code, 2654435761);
    low = imul(low ^ code, 1597334677);
  }
  high = imul(high ^ (high >>> 16), 2246822507) ^ imul(low ^ (low >>> 13), 3266489909);
  low = imul(low ^ (low >>> 16), 2246822507) ^ imul(high ^ (high >>> 13), 3266489909);
  return 4294967296 * (2097151 & low) + (high >>> 0);
}
