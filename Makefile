.DEFAULT_GOAL := help
.PHONY: help setup lab lab-down demo test image soak faults

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup lab ## move stateful pods between two real nodes, from nothing: installs, builds, starts the cluster
	@test/lab/in-control node_modules/.bin/node test/demo/demo.ts

image: setup ## build podferry's image with docker, podman or buildah (IMAGE=name, BASE_IMAGE=one with Node.js 24)
	@npm run --silent build
	@$(or $(BUILDER),$(firstword $(foreach tool,docker podman buildah,$(if $(shell command -v $(tool)),$(tool))))) build $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) -t $(or $(IMAGE),podferry:dev) .

soak: setup lab ## 100 moves of two stateful pods with random faults (MOVES=n, SEED=n)
	@MOVES="$(MOVES)" SEED="$(SEED)" test/lab/in-control node_modules/.bin/node test/soak/run.ts

faults: setup lab ## the fault matrix on the two nodes, about an hour; writes docs/faults.md (ONLY=pattern of names, KIND=Pod)
	@ONLY="$(ONLY)" KIND="$(KIND)" test/lab/in-control node_modules/.bin/node test/faults/run.ts

test: ## all tests, from nothing: checks, unit, integration and cluster tests
	@test/run

setup: ## install what is missing on this machine: Debian packages (as root) and node_modules
	@test/lab/setup

lab: ## bring up a real two-node cluster on this machine with podferry installed (NODES=3 for three)
	@test/lab/up $(if $(NODES),--nodes $(NODES))

lab-down: ## take the cluster down without a trace
	@test/lab/down
