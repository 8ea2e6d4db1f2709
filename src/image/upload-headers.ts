/** What podferry's registries say to each other beyond the distribution specification; others ignore it. */

/** Of the answer to a PATCH: `sha256:…` of all that the upload holds so far, so that the client need not hash it too. */
export const uploadDigestHeader = 'x-podferry-upload-digest';

/** Of the closing PUT: CRC-32 of the content as it left the disk it was read from, in decimal digits. */
export const checksumHeader = 'x-podferry-crc32';

/**
 * Of the answer to the POST that begins an upload: that its PATCHes may be frames of pages (`page-frames.ts`), and what their
 * payloads may be compressed with: `zstd, gzip`.
 */
export const pagesHeader = 'x-podferry-pages';

/** Of the POST that begins an upload: that the blob may be patched later, with the value `1`. */
export const patchableHeader = 'x-podferry-patchable';

/**
 * Of the POST that begins an upload: digest of a blob of the same repository that it is a patch of; of the answer too, since one that
 * does not know of patches would begin a blob. Its PATCHes with content
 * follow those of type `places.ts` that say where that belongs, and what is stored has a digest of its own (`patchedDigest`). A small
 * one goes in the POST itself (`whole-patch.ts`).
 */
export const patchHeader = 'x-podferry-patch';

/** Of a patch's closing PUT: digest of all places (`Places.digest`). */
export const placesHeader = 'x-podferry-places';
