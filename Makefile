# Every target works from the root of a fresh clone. `make help` lists them.

SHELL := /bin/sh
MODULES := . store/sqlite examples internal/bench
BIN := $(CURDIR)/.cache/bin

GO ?= go
COUNT ?= 1
FUZZTIME ?= 30s
BENCH ?= .
BENCHCOUNT ?= 6
TESTFLAGS ?= -race -p=4 -shuffle=on -count=$(COUNT) -timeout=9m
ALONEFLAGS ?= -p=4 -shuffle=on -count=1 -timeout=9m

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: servers ## all tests of all modules against private Redis and Postgres servers, -race on
	UPBEAT_REQUIRE_SERVERS=1 $(GO) test $(TESTFLAGS) work
	@# A workspace raises every module to the highest version that any of them asks for:
	@# alone, each is tested with what its own go.mod says, and at the speed that it has without -race.
	@set -e; for m in $(MODULES); do \
		echo "GOWORK=off, module $$m"; \
		(cd $$m && GOWORK=off UPBEAT_REQUIRE_SERVERS=1 $(GO) test $(ALONEFLAGS) ./...); \
	done

.PHONY: servers
servers: # gcc, redis-server and Postgres: installed where apt-get can, else named
	@sh internal/tools/servers.sh

.PHONY: lint
lint: $(BIN)/golangci-lint ## golangci-lint (gofumpt included) on every module
	@set -e; for m in $(MODULES); do \
		echo "lint $$m"; \
		(cd $$m && GOWORK=off $(BIN)/golangci-lint run --allow-parallel-runners --config $(CURDIR)/.golangci.yaml ./...); \
	done

.PHONY: check
check: lint test ## lint, test, tidy go.mod files, and builds for the other platforms
	@set -e; for m in $(MODULES) internal/tools; do \
		(cd $$m && GOWORK=off $(GO) mod tidy -diff && GOWORK=off $(GO) mod verify >/dev/null); \
	done
	@$(MAKE) --no-print-directory cross

.PHONY: cross
cross: ## vet every module, tests included, for darwin, windows, linux/arm and linux/386
	@set -e; for t in darwin/arm64 windows/amd64 linux/arm linux/386; do \
		echo "vet for $$t"; \
		for m in $(MODULES); do \
			(cd $$m && GOWORK=off CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) vet ./...); \
		done; \
	done

.PHONY: bench
bench: servers $(BIN)/benchstat ## this library beside its alternatives, in one run (BENCH=regexp)
	cd internal/bench && GOWORK=off UPBEAT_REQUIRE_SERVERS=1 $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem \
		-count=$(BENCHCOUNT) -timeout=0 ./... | tee $(CURDIR)/.cache/bench.txt
	$(BIN)/benchstat $(CURDIR)/.cache/bench.txt

.PHONY: fuzz
fuzz: ## every fuzz target in turn, FUZZTIME each (30s)
	@set -e; for m in $(MODULES); do (cd $$m; \
		$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ { n[++c] = $$1 } /^ok/ { for (i = 1; i <= c; i++) print $$2, n[i]; c = 0 }' | \
		while read -r pkg name; do \
			echo "fuzz $$pkg $$name"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done); \
	done

.PHONY: soak
soak: servers ## the same tests with the full counts: crash cycles, rows, simulated hours (takes long)
	UPBEAT_SOAK=1 UPBEAT_REQUIRE_SERVERS=1 $(GO) test -race -shuffle=on -count=1 -timeout=0 -skip '^TestSimulation|_HoldsAMultitude$$' work
	@# A million hours and a million instances would take nine times as long with -race, which has seen 10,000 of each in make test.
	@mkdir -p .cache
	UPBEAT_SOAK=1 $(GO) test -count=1 -timeout=0 -v -run '^TestSimulation|_HoldsAMultitude$$' ./heartbeat >.cache/soak.txt; \
		status=$$?; grep -v '^ *\(=== \|--- .*/\)' .cache/soak.txt; exit $$status

$(BIN)/golangci-lint $(BIN)/benchstat: internal/tools/go.mod
	@mkdir -p $(BIN)
	cd internal/tools && GOWORK=off GOBIN=$(BIN) $(GO) install tool
	@touch $(BIN)/golangci-lint $(BIN)/benchstat
