.DEFAULT_GOAL := help
.PHONY: help setup lab lab-down demo test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup lab ## move stateful pods between two real nodes, from nothing: installs, builds, starts the cluster
	@test/lab/in-control node_modules/.bin/node test/demo/demo.ts

test: ## all tests, from nothing: checks, unit, integration and cluster tests
	@test/run

setup: ## install what is missing on this machine: Debian packages (as root) and node_modules
	@test/lab/setup

lab: ## bring up a real two-node cluster on this machine with podferry installed (NODES=3 for three)
	@test/lab/up $(if $(NODES),--nodes $(NODES))

lab-down: ## take the cluster down without a trace
	@test/lab/down
