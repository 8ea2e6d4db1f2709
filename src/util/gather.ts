/** Pieces are put together up to this. Bytes. */
const enough = 256 * 1024;

/** A piece from here on goes as it is: to copy it costs more than it saves. Bytes. */
const large = 64 * 1024;

/**
 * Puts small pieces of a stream together, in their order: each piece costs every stream on its way, and TLS, as much as a large
 * one does.
 */
export class Gather {
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** @returns what may go on its way now */
  *add(piece: Buffer): Generator<Buffer> {
    if (piece.length >= large) {
      yield* this.rest();
      yield piece;
      return;
    }
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes >= enough) yield* this.rest();
  }

  /** What is left: at the end, and before a wait. */
  *rest(): Generator<Buffer> {
    if (this.#bytes > 0) yield Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#bytes = 0;
  }
}
