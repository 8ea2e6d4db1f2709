import { ImageError } from './errors.ts';
import { maxPlacesBytes, Places } from './places.ts';

/**
 * The content type of a small patch that goes in the request that begins it, and is complete with that. Numbers are unsigned, least byte
 * first.
 *
 *     places   4 bytes  size of what follows
 *     content  4 bytes  size of the content
 *     places            as in a body of `placesType`
 *     frames            as in a body of `pagesType`
 */
export const patchType = 'application/vnd.podferry.patch';

/** Content of a small patch. The registry has all of it in memory before it writes any, so that a request that breaks off changes nothing. Bytes. */
export const smallPatchBytes = 4 * 1024 * 1024;

const headBytes = 8;

/** The most that a body may have: frames are little more than their content. Bytes. */
export const maxPatchBytes = headBytes + maxPlacesBytes + 2 * smallPatchBytes;

export interface WholePatch {
  places: Places;
  /** Of the content, bytes. */
  length: number;
  frames: Buffer;
}

export function encodePatch({ places, length, frames }: WholePatch): Buffer {
  const encoded = places.encode();
  const head = Buffer.allocUnsafe(headBytes);
  head.writeUInt32LE(encoded.length, 0);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, encoded, frames]);
}

/** @throws ImageError `protocol` */
export function decodePatch(body: Buffer): WholePatch {
  const end = body.length < headBytes ? Number.POSITIVE_INFINITY : headBytes + body.readUInt32LE(0);
  if (end > body.length) throw new ImageError('protocol', 'a patch is cut short');
  return { places: Places.decode(body.subarray(headBytes, end)), length: body.readUInt32LE(4), frames: body.subarray(end) };
}
