# ipcfs: see README.md. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
PREFIX  ?= /usr/local
DIR     ?= mnt
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X ipcfs/cmd/ipcfs/cli.Version=$(VERSION)
LINT    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/ipcfs
	@mkdir -p bin
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ipcfs ./cmd/ipcfs

.PHONY: unit
unit: ## test the objects and the tree without a mount, in seconds
	$(GO) test -race -count=1 -timeout 120s ./objects/... ./fs/... ./cmd/...

.PHONY: lint
lint: ## gofmt, vet, the linters, and that objects know nothing of FUSE
	@unformatted=$$(gofmt -l cmd fs objects integration); test -z "$$unformatted" || { echo "not gofmt'ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(LINT) run ./...
	@! $(GO) list -deps ./objects/... | grep -E 'hanwen/go-fuse|^ipcfs/fs' || { echo 'objects must not import FUSE'; exit 1; }

.PHONY: test
test: unit ## run all tests, on real mounts; installs what they need

.PHONY: install
install: build ## install into $(PREFIX)/bin
	install -D -m 755 bin/ipcfs $(DESTDIR)$(PREFIX)/bin/ipcfs

.PHONY: clean
clean: ## unmount ./mnt and remove what was built
	@if mountpoint -q $(DIR) 2>/dev/null; then bin/ipcfs umount --lazy $(DIR); fi
	rm -rf bin
	@if [ -d $(DIR) ]; then rmdir $(DIR); fi
