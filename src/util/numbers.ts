/** Numbers in one piece of memory. */
const pieceLength = 4096;

/**
 * A long list of numbers, in pieces: a JavaScript array is copied whenever it grows, and a typed one too. Of 260,000 stretches of memory
 * each copy is 2 MB that stays until garbage is collected.
 */
export class Numbers {
  readonly #pieces: Float64Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    const piece = Math.floor(this.#length / pieceLength);
    this.#pieces[piece] ??= new Float64Array(pieceLength);
    this.#pieces[piece][this.#length % pieceLength] = value;
    this.#length++;
  }

  /** The n-th, from 0; undefined: there are not so many. */
  get(index: number): number | undefined {
    if (index < 0 || index >= this.#length) return undefined;
    return this.#pieces[Math.floor(index / pieceLength)]?.[index % pieceLength];
  }

  /** Puts another in the place of the last. @throws RangeError when there is none */
  setLast(value: number): void {
    const index = this.#length - 1;
    const piece = this.#pieces[Math.floor(index / pieceLength)];
    if (index < 0 || !piece) throw new RangeError('there is no last number');
    piece[index % pieceLength] = value;
  }
}
