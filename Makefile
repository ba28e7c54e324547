# gotong: build, run, test. `make demo` and `make test` do all the set-up.
export CGO_ENABLED = 0
GO ?= go
GOFLAGS_BUILD = -ldflags "-s -w -X github.com/gotong-network/gotong/internal/version.Version=$(VERSION)"
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PREFIX ?= /usr/local
# Seeds of each attack of `make adversaries`: on lifecycle, and on the keepers too.
SEEDS ?= 1000
KEEPERS ?= 12

.PHONY: all build demo test e2e e2e-short check deps gen-check gen fuzz sim-long bench bench-keep adversaries install dist clean

all: build

build:                       ## ./gotong, static
	$(GO) build $(GOFLAGS_BUILD) -o gotong ./cmd/gotong

demo: build                  ## the main job on one machine, in under a minute once built
	./gotong demo

test: deps check             ## everything a change must pass
	$(GO) test -timeout 30m $$($(GO) list ./... | grep -v /e2e/hosts)
	$(GO) test -timeout 60m ./e2e/hosts

e2e-short: deps              ## a network of many hosts, the short form of each row; needs root
	$(GO) test -timeout 60m -v ./e2e/hosts

e2e: deps                    ## a network of many hosts, the full form of each row; needs root
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && $(GO) test -c -o "$$dir/hosts.test" ./e2e/hosts && \
		cd e2e/hosts && "$$dir/hosts.test" -test.v -test.timeout 60m -full $(E2E)

check:                       ## fmt, vet, staticcheck, generated files; layers and docs are tests
	@out=$$(gofmt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$')); [ -z "$$out" ] || { echo "gofmt needed: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	@$(MAKE) --no-print-directory gen-check

deps:                        ## Debian packages and npm programs that real tests need; says what it could not get
	@sh scripts/deps.sh

gen:                         ## regenerate what is committed
	sh scripts/protogen.sh
	$(GO) run ./internal/demoscene/gen

gen-check:                   ## committed generated files are what their sources give
	$(GO) run ./internal/demoscene/gen -check
	sh scripts/protogen.sh -check

fuzz:                        ## each fuzzer for FUZZTIME
	sh scripts/fuzz.sh

sim-long:                    ## random operations of all modules on the real application; a failing SEED fails again
	$(GO) test ./app -run '^TestSimulation$$' -count 1 -timeout 2h -v -sim.blocks 1000 -sim.ops 100 -sim.seed $${SEED:-1} -sim.seeds $${SEEDS:-1}

bench: build deps               ## side by side with a peer; writes bench/results/
	@/usr/bin/python3 -c 'import distributed' 2>/dev/null || { echo "bench: Dask, the peer, is not here: apt-get install python3-distributed" >&2; exit 1; }
	$(GO) run ./bench

bench-keep: bench            ## keep the figures of this machine in the repository
	cp bench/results/latest.txt bench/kept.txt

adversaries:                 ## try every attack in virtual time; keeps the table in docs/adversaries.md
	$(GO) run ./internal/adversary/trial/adversaries -seeds $(SEEDS) -keepers $(KEEPERS) -write docs/adversaries.md

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 gotong $(DESTDIR)$(PREFIX)/bin/gotong

dist:                        ## static archives for amd64 and arm64 with checksums
	sh scripts/dist.sh "$(VERSION)"

clean:
	rm -rf gotong dist
