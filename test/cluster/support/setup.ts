import { closeCluster } from './cluster.ts';

/** For every test file (jest.config.js): no connection outlives it. */
afterAll(closeCluster);
