# Each target only calls the script of its name. Arguments: make test ARGS="tests/unit -k sse"
.DEFAULT_GOAL := help
.PHONY: help run test check fix bench soak

help:  ## List the targets.
	@sed -n 's/^\([a-z]*\):  ## /  make \1	/p' Makefile

run:  ## Start a small real model and the gateway on 127.0.0.1:4141; Ctrl-C ends both.
	@scripts/run $(ARGS)

test:  ## Install what tests need and run them all.
	@scripts/test $(ARGS)

check:  ## Format, lint, types, floors, start-up files.
	@scripts/check

fix:  ## Repair what the checks can repair.
	@scripts/fix

bench:  ## Measure one gateway worker against a mock upstream.
	@scripts/bench $(ARGS)

soak:  ## Kill gateways under load a hundred times and check their books; fire at caps (ARGS=--ledger=postgres: two on one).
	@scripts/soak $(ARGS)
