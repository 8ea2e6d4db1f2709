import { parseReview } from '../../../src/webhook/review.ts';
import { pod } from '../plan/objects.ts';
import { requestOf } from './requests.ts';

const review = (request: unknown) => ({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request });
const good = requestOf('CREATE', pod());

test('a review as API servers send it', () => {
  expect(parseReview(review(good))).toEqual({ request: good });
  const { object: _object, ...deletion } = requestOf('DELETE', pod());
  expect(parseReview(review(deletion))).toEqual({ request: deletion });
  expect(parseReview(review({ ...deletion, object: null }))).toHaveProperty('request');
});

const malformed: [string, unknown, RegExp][] = [
  ['nothing', undefined, /not a JSON object/],
  ['null', null, /not a JSON object/],
  ['a text', 'AdmissionReview', /not a JSON object/],
  ['a list', [], /expected an AdmissionReview/],
  ['an empty object', {}, /expected an AdmissionReview of admission\.k8s\.io\/v1, got undefined undefined/],
  ['another version', { ...review(good), apiVersion: 'admission.k8s.io/v1beta1' }, /got admission\.k8s\.io\/v1beta1/],
  ['another kind', { ...review(good), kind: 'Pod' }, /got admission\.k8s\.io\/v1 Pod/],
  ['no request', review(undefined), /no request with a uid/],
  ['a request that is a number', review(7), /no request with a uid/],
  ['no uid', review({ ...good, uid: undefined }), /no request with a uid/],
  ['a uid that is a number', review({ ...good, uid: 7 }), /no request with a uid/],
  ['another resource', review({ ...good, kind: { group: '', version: 'v1', kind: 'Node' } }), /not about a Pod/],
  ['no kind', review({ ...good, kind: undefined }), /not about a Pod/],
  ['no operation', review({ ...good, operation: undefined }), /not about a Pod/],
  ['no object', review({ ...good, object: null }), /no object that is a Pod/],
  ['an object that is a text', review({ ...good, object: 'pod' }), /no object that is a Pod/],
  ['a pod without metadata', review({ ...good, object: { spec: { containers: [] } } }), /no object that is a Pod/],
  ['a pod without containers', review({ ...good, object: { metadata: {}, spec: {} } }), /no object that is a Pod/],
];

test.each(malformed)('%s', (_what, body, problem) => {
  const parsed = parseReview(body);
  expect(parsed).toMatchObject({ problem: expect.stringMatching(problem) });
  // Whoever can be answered by uid is.
  const sent = (body as { request?: { uid?: unknown } } | null | undefined)?.request?.uid;
  expect(parsed).toMatchObject({ uid: typeof sent === 'string' ? sent : '' });
});
