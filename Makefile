# ipcfs: see README.md. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
PREFIX  ?= /usr/local
DIR     ?= mnt
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X ipcfs/cmd/ipcfs/cli.Version=$(VERSION)

# Tools of the developers, pinned here and in no go.mod.
LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# What is installed if it is missing, as COMMAND:DEBIAN-PACKAGE. `make run` as an ordinary user needs fusermount3; the tests need all.
RUN_TOOLS  := fusermount3:fuse3 sha256sum:coreutils tar:tar
TEST_TOOLS := $(RUN_TOOLS) cc:gcc python3:python3 node:nodejs bash:bash gzip:gzip awk:mawk socat:socat pv:pv xxd:xxd setfattr:attr \
              fuser:psmisc pkill:procps setpriv:util-linux unshare:util-linux ipcs:util-linux lsipc:util-linux mountpoint:util-linux mount:mount pg_ctlcluster:postgresql \
              tmux:tmux promtool:prometheus groff:groff-base
BENCH_TOOLS := cc:gcc redis-server:redis-server

# Each run of the tests has a limit of its own, so that nothing can hang.
GOTEST := $(GO) test -count=1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## build, mount on ./mnt (or DIR=...), send the Go standard library through a pipe, share memory, queue messages
	@$(MAKE) --no-print-directory tools TOOLS='$(RUN_TOOLS)'
	@$(MAKE) --no-print-directory build
	@mkdir -p $(DIR)
	@if mountpoint -q $(DIR) && [ -r $(DIR)/proc/pipes ]; then echo "ipcfs is mounted on $(DIR) already"; else bin/ipcfs mount $(DIR); fi
	@echo "== mounted on $(DIR)"
	@echo "== one process sends a tar of the Go standard library through $(DIR)/pipes/demo, another receives it"
	@tmp=$$(mktemp -d); trap 'rm -rf $$tmp' EXIT; \
	tar -C "$$($(GO) env GOROOT)" -cf - src | tee $(DIR)/pipes/demo | sha256sum > $$tmp/sent & \
	until [ -e $(DIR)/pipes/demo ]; do sleep 0.05; done; \
	echo "   who waits for whom meanwhile ($(DIR)/proc/pipes):"; sed 's/^/   /' $(DIR)/proc/pipes; \
	tee $$tmp/tar < $(DIR)/pipes/demo | sha256sum > $$tmp/received; wait; rm $(DIR)/pipes/demo; \
	echo "   bytes received:  $$(stat -c %s $$tmp/tar)"; \
	echo "   sha256 sent:     $$(cat $$tmp/sent)"; \
	echo "   sha256 received: $$(cat $$tmp/received)"; \
	cmp $$tmp/sent $$tmp/received
	@echo "== equal. Two processes share memory: one stores into $(DIR)/shm/demo, the other sees it"
	@truncate -s 1M $(DIR)/shm/demo
	@echo hello | dd status=none of=$(DIR)/shm/demo conv=notrunc
	@echo "   the other sees:  $$(head -n 1 $(DIR)/shm/demo)"; [ "$$(head -n 1 $(DIR)/shm/demo)" = hello ]
	@echo "   size, memory:    $$(stat -c '%s, %b * %B' $(DIR)/shm/demo) bytes; df: $$(df -h --output=size,used $(DIR)/shm | tail -n 1)"; rm $(DIR)/shm/demo
	@echo "== Two workers take messages from the queue $(DIR)/msgq/demo"
	@touch $(DIR)/msgq/demo; \
	worker() { while read -r job && [ "$$job" != end ]; do echo "   $$1 took $$job"; done < $(DIR)/msgq/demo:stream; }; \
	worker one & worker two & \
	printf 'job %d\n' 1 2 3 4 > $(DIR)/msgq/demo:lines; printf 'end\n' > $(DIR)/msgq/demo; printf 'end\n' > $(DIR)/msgq/demo; wait; rm $(DIR)/msgq/demo
	@echo "== What there is:"; touch $(DIR)/pipes/idle; bin/ipcfs ls $(DIR) | sed 's/^/   /'; rm $(DIR)/pipes/idle
	@bin/ipcfs doctor | grep -E ' (passthrough|mount) ' | sed 's/^/   /'
	@echo "== Try it:         echo hello > $(DIR)/pipes/p & cat $(DIR)/pipes/p"
	@echo "== unmount with:   bin/ipcfs umount $(DIR)"

.PHONY: build
build: ## build bin/ipcfs
	@mkdir -p bin
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ipcfs ./cmd/ipcfs

.PHONY: test
test: ## all tests, on real mounts, under the race detector; installs what they need
	@$(MAKE) --no-print-directory tools TOOLS='$(TEST_TOOLS)'
	@$(MAKE) --no-print-directory unit integration
	@echo "== once more on one processor, what is quick"
	GOMAXPROCS=1 $(GOTEST) -race -timeout 15m ./objects/... ./fs/...
	GOMAXPROCS=1 IPCFS_SCENARIOS=100 IPCFS_HAMMER=5 IPCFS_SEQUENCES=100 IPCFS_MSGQ_HAMMER=50000 $(GOTEST) -race -timeout 15m -run 'Differential|TestHammer|TestBlocked|TestMsgqHammer$$' ./integration

.PHONY: unit
unit: ## tests without a mount, in seconds
	$(GOTEST) -race -timeout 10m ./objects/... ./fs/... ./cmd/...

.PHONY: integration
integration: ## tests on real mounts, beside the kernel's own FIFOs, tmpfs and queues
	@echo '$(GOTEST) -race -v ./integration (all that it says is in integration.log)'; \
	$(GOTEST) -race -timeout 60m -v ./integration > integration.log 2>&1 || failed=1; \
	grep -E '^ +(diff|shm_diff|msgq_diff|stress|msgq_stress|clients)_test\.go:[0-9]+: |^ {10}[a-zA-Z]' integration.log || true; \
	grep -E '^ *--- SKIP' -A1 integration.log || echo '== nothing was skipped'; \
	echo "== $$(grep -cE '^ *--- PASS' integration.log) tests and subtests passed"; \
	[ -z "$${failed-}" ] || { grep -E -B 30 -A 5 '^ *--- FAIL|^panic|DATA RACE|^FAIL:' integration.log | tail -n 400; exit 1; }; \
	tail -n 1 integration.log

.PHONY: bench
bench: ## pipes beside a FIFO and go-fuse's own server, shared memory beside /dev/shm, queues beside the kernel's and Redis
	@$(MAKE) --no-print-directory tools TOOLS='$(BENCH_TOOLS)'
	$(GOTEST) -timeout 30m -run '^$$' -bench . -benchtime 1x ./integration | grep -vE '^(goos|goarch|pkg|cpu|PASS|ok|Benchmark)'

FUZZTIME ?= 1m

.PHONY: fuzz
fuzz: ## fuzz the objects, FUZZTIME (1m) for each target
	$(GO) test -run '^$$' -fuzz FuzzArena -fuzztime $(FUZZTIME) ./objects/page
	$(GO) test -run '^$$' -fuzz FuzzPipe -fuzztime $(FUZZTIME) ./objects/pipe
	$(GO) test -run '^$$' -fuzz FuzzView -fuzztime $(FUZZTIME) ./objects/msgq
	$(GO) test -run '^$$' -fuzz FuzzQueue -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./objects/msgq
	$(GO) test -run '^$$' -fuzz FuzzKernel -fuzztime $(FUZZTIME) ./objects/pipe

.PHONY: lint
lint: ## gofmt, vet, the linters, and that objects know nothing of FUSE
	@unformatted=$$(gofmt -l cmd fs objects integration); [ -z "$$unformatted" ] || { echo "not gofmt'ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(LINT) run ./...
	@if $(GO) list -deps ./objects/... | grep -E 'hanwen/go-fuse|^ipcfs/fs'; then echo 'objects must not import FUSE'; exit 1; fi

.PHONY: tools
tools: # install the missing ones of TOOLS
	@missing=; for t in $(TOOLS); do command -v "$${t%%:*}" > /dev/null || missing="$$missing $${t##*:}"; done; \
	[ -n "$$missing" ] || exit 0; \
	echo "== installing:$$missing"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -qq; : RUNLEVEL=1 lets no package start a server; \
	case "$$missing" in *postgresql*) : without a server of its own that the package would make and start; \
		echo 'create_main_cluster = false' | $$sudo install -D -m 644 /dev/stdin /etc/postgresql-common/createcluster.d/no-main-cluster.conf;; esac; \
	$$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $$missing > /dev/null; \
	for server in redis-server prometheus; do case "$$missing" in *" $$server"*) : the package starts a server, and only its tools are needed; \
		if [ -d /run/systemd/system ]; then $$sudo systemctl disable --now -q $$server; fi;; esac; done

.PHONY: install
install: build ## install into $(PREFIX): bin/, share/man, and completions for bash, zsh and fish
	install -D -m 755 bin/ipcfs $(DESTDIR)$(PREFIX)/bin/ipcfs
	bin/ipcfs man $(DESTDIR)$(PREFIX)/share/man
	bin/ipcfs completion bash | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ipcfs
	bin/ipcfs completion zsh | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ipcfs
	bin/ipcfs completion fish | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ipcfs.fish

.PHONY: clean
clean: ## unmount ./mnt and remove what was built
	@if mountpoint -q $(DIR) 2>/dev/null; then bin/ipcfs umount --lazy $(DIR); fi
	rm -rf bin integration.log
	@if [ -d $(DIR) ]; then rmdir $(DIR); fi
