# Everything here needs Go and make, and one test and `make faults` a PostgreSQL
# server. Consul and Nomad are taken from PATH, or built once from the modules in
# testbed/servers into the user's cache directory.

GO      ?= go
KEEP    ?=
SAMPLES ?= 100
RUNS    ?= 1000
KILLS   ?= 0
PAIR    ?= 1h
FAULTS  ?=
IDLE    ?= 5m
SCALE   ?=
FUZZTIME ?= 1m
FUZZJOBS ?= 1
SEEDS   ?= 1000
SEED    ?=
FROM    ?= 0

# The race detector needs a C compiler; without one the tests run without it.
RACE := $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && [ "$$($(GO) env CGO_ENABLED)" = 1 ] && echo -race)

# The modules of our own: the product, what tests it, and an example that needs
# more than the product does.
MODULES := . testbed examples/worker

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## Build teal into build/
	$(GO) build -trimpath -o build/teal .

.PHONY: demo
demo: build/tools/demo ## Show a whole day of releases in minutes; KEEP=1 leaves it running
	@build/tools/demo -o build/demo.json $(if $(KEEP),-keep)

.PHONY: test
test: check servers ## Everything: unit, contract and end to end on real Consul and Nomad
	cd testbed && $(GO) test -count=1 -timeout 40m ./...

.PHONY: check
check: fmt vet staticcheck unit ## The quick loop: format, vet, staticcheck and unit tests, without servers

.PHONY: fuzz
fuzz: ## Fuzz every reader of input that others write; FUZZTIME=1m of each, FUZZJOBS=1 at a time
	@for p in $$($(GO) list ./...); do \
		$(GO) test -list '^Fuzz' $$p | sed -n "s|^Fuzz.*|$$p &|p"; \
	done | xargs -P $(FUZZJOBS) -n 2 sh -c \
		'echo "$$0 $$1"; $(GO) test -run "^\$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s -parallel 1 $$0 || exit 255'

.PHONY: bench
bench: build/tools/bench ## Measure cutover and rollback against the floor; SAMPLES=100 of each
	@build/tools/bench -o build/bench.json -n $(SAMPLES)

.PHONY: bench-scale
bench-scale: build/tools/scale ## Measure an agent with 1 to 10,000 idle services, and 50 releases at once; IDLE=5m each
	@build/tools/scale -o build/scale.json -idle $(IDLE) $(SCALE)

.PHONY: judge
judge: ## Measure the error rates of ways to judge a release; RUNS=1000 of each
	@mkdir -p build/tools
	@$(GO) test -c -o build/tools/judge ./rollback/judge
	@build/tools/judge -test.run '^TestErrorRates$$' -test.timeout 0 -o build/judge.json -runs $(RUNS)

.PHONY: judge-docs
judge-docs: ## Publish what make judge has measured in docs/judgement.md
	$(GO) test ./rollback/judge -run '^TestPublishedFigures$$' -from $(CURDIR)/build/judge.json

.PHONY: faults
faults: build/tools/faults ## Kill, freeze and cut off agents, servers and workers; KILLS=0 is at every write, PAIR=1h of two agents
	@build/tools/faults -o build/faults.json -jobs build/jobs.json -kills $(KILLS) -pair $(PAIR) $(FAULTS)

.PHONY: simulate
simulate: build/tools/simulate ## Play SEEDS schedules of faults from FROM on, or SEED=n alone and tell its history
	@rm -f build/simulate.txt
	@cd agent/controller && GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1,adaptivestackstart=1 GOGC=off $(CURDIR)/build/tools/simulate \
		-test.run '^TestSimulate$$' -test.v -test.timeout 0 $(if $(SEED),\
		-simulate.from $(SEED) -simulate.seeds 1 -simulate.tell $(CURDIR)/build/simulate.txt; broke=$$?; cat $(CURDIR)/build/simulate.txt; exit $$broke,\
		-simulate.from $(FROM) -simulate.seeds $(SEEDS) -simulate.o $(CURDIR)/build/simulate.json)

.PHONY: servers
servers: ## Make sure that a Consul and a Nomad are there
	cd testbed && $(GO) run ./cmd/servers

.PHONY: fmt
fmt:
	@unformatted="$$(gofmt -l $$(find . -path ./build -prune -o -name '*.go' -print))"; \
	if [ -n "$$unformatted" ]; then echo "not formatted; gofmt -w mends it:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet:
	@set -e; for m in $(MODULES); do (cd $$m && $(GO) vet ./...); done

.PHONY: staticcheck
staticcheck: build/tools/staticcheck
	@set -e; for m in $(MODULES); do (cd $$m && $(CURDIR)/build/tools/staticcheck ./...); done

.PHONY: unit
unit:
	$(GO) test $(RACE) $(if $(RACE),-short) -timeout 20m ./...
	$(GO) test -timeout 20m ./agent/controller
	cd testbed && $(GO) test $(RACE) ./load ./faults

build/tools/staticcheck: testbed/tools/go.mod
	cd testbed/tools && $(GO) build -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck

# The simulation has a runtime that does the same thing twice; see testbed/replay.
.PHONY: build/tools/simulate
build/tools/simulate:
	@cd testbed && $(GO) run ./cmd/replay $(CURDIR)/build/_replay >/dev/null
	@$(GO) test -c -tags replay -overlay build/_replay/overlay.json -o $@ ./agent/controller

# Go knows best whether these are up to date.
.PHONY: build/tools/demo build/tools/bench build/tools/faults build/tools/scale
build/tools/demo build/tools/bench build/tools/faults build/tools/scale:
	@cd testbed && $(GO) build -o $(CURDIR)/$@ ./cmd/$(@F)

.PHONY: clean
clean: ## Remove build/; the servers' binaries stay in the cache
	rm -rf build
