import { explainCriu } from '../../../src/plan/criu-advice.ts';

/** Lines as CRIU, runc and containerd wrote them. */
const known: [string, RegExp][] = [
  ['Error (criu/sk-inet.c:191): inet: Unsupported proto 262 for socket 6d3', /GODEBUG=multipathtcp=0/],
  ["Error (criu/files-ext.c:98): Can't dump file 21 of that type [600] (unknown anon_inode:[io_uring])", /RuntimeDefault/],
  ["Error (criu/cr-dump.c:255): Can't get rlimit 0: Operation not permitted", /CAP_SYS_RESOURCE/],
  ['Error (criu/sk-inet.c:188): inet: Connected TCP socket, consider using --tcp-established option.', /runc\.conf/],
  ['Error: In-flight connection (l) for 5', /skip-in-flight/],
  ['exec: "criu": executable file not found in $PATH', /install CRIU/],
  ['failed to pull checkpoint base image localhost:5001/x', /agent on the destination/],
];

test.each(known)('%s', (message, cure) => {
  const explained = explainCriu(message);
  expect(explained).toMatch(cure);
  expect(explained).toMatch(/; to cure it, /);
  // What is known is told in words; CRIU's own stay out of it.
  expect(explained).not.toMatch(/Error|criu\/sk-|failed to pull/);
});

test('a dump.log of several lines: the first that is known counts', () => {
  expect(
    explainCriu('Warn: whatever\nError (criu/sk-inet.c:191): inet: Unsupported proto 262 for socket 6d3\nError: Dumping FAILED.'),
  ).toMatch(/Multipath TCP/);
});

test.each(['', 'Error (criu/mem.c:1): something new', 'the kubelet answered 404'])('%j is not known and quoted', (message) => {
  expect(explainCriu(message)).toBe(message);
});
