# podferry: webhook, controller and agent in one image. Build with: make image
# BASE_IMAGE has to bring Node.js 24 as `node`, `mkfifo`, GNU `dd` and a shell; in the lab it is Debian cut down to that.
ARG BASE_IMAGE=node:24-slim
FROM ${BASE_IMAGE}
# Extended attributes of volumes travel by getfattr and setfattr.
RUN command -v setfattr >/dev/null || { apt-get update && apt-get install -y --no-install-recommends attr && rm -rf /var/lib/apt/lists/*; }
# Readable enough as it is; source maps would cost each process 150 MB of memory (measured), comments 7 MB.
COPY dist/*.js /podferry/
# An arena of its own for each thread of the C library keeps what none of them uses, and so does any arena with what is as large as
# a transfer's buffers, unless that has a mapping of its own (by up to 30 MiB, measured).
# Files are read and flushed by threads of a pool; with the usual four, who reads waits for who flushes.
ENV NODE_ENV=production MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=65536 UV_THREADPOOL_SIZE=12
ENTRYPOINT ["node", "/podferry/main.js"]
