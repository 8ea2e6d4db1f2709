.DEFAULT_GOAL := help
.PHONY: help setup lab lab-down demo test image soak faults load bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup lab ## move stateful pods between two real nodes, from nothing: installs, builds, starts the cluster
	@test/lab/in-control node_modules/.bin/node test/demo/demo.ts

image: setup ## build podferry's image with docker, podman or buildah (IMAGE=name, BASE_IMAGE=one with Node.js 24)
	@npm run --silent build
	@$(or $(BUILDER),$(firstword $(foreach tool,docker podman buildah,$(if $(shell command -v $(tool)),$(tool))))) build $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) -t $(or $(IMAGE),podferry:dev) .

soak: setup lab ## 100 moves of two stateful pods with random faults (MOVES=n, SEED=n)
	@MOVES="$(MOVES)" SEED="$(SEED)" test/lab/in-control node_modules/.bin/node test/soak/run.ts

faults: setup lab ## the fault matrix on the two nodes, about an hour; writes docs/faults.md (ONLY=pattern of names, KIND=Pod, RETRY=1, FRESH=1, STALE=1)
	@ONLY="$(ONLY)" KIND="$(KIND)" RETRY="$(RETRY)" FRESH="$(FRESH)" STALE="$(STALE)" test/lab/in-control node_modules/.bin/node test/faults/run.ts

load: setup ## 1,000 pods evicted at once on a real control plane with fake nodes, about 10 minutes; writes docs/scale.md (PODS=n, NODES=n, ASK=seconds, REPORT=file, LOGS=directory)
	@PODS="$(PODS)" NODES="$(NODES)" ASK="$(ASK)" LOGS="$(LOGS)" REPORT="$(REPORT)" DOCUMENT="$(DOCUMENT)" node_modules/.bin/node test/load/run.ts

bench: setup lab ## the documented way against podferry, about two hours; writes docs/performance.md (ARGS="--help" tells the options)
	@test/lab/in-control node_modules/.bin/node test/bench/run.ts $(ARGS)

test: ## all tests, from nothing: checks, unit, integration and cluster tests
	@test/run

setup: ## install what is missing on this machine: Debian packages (as root) and node_modules
	@test/lab/setup

lab: ## bring up a real two-node cluster on this machine with podferry installed (NODES=3 for three)
	@test/lab/up $(if $(NODES),--nodes $(NODES))

lab-down: ## take the cluster down without a trace
	@test/lab/down
