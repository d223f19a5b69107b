# `make help` lists the targets. Nothing but Go, make and git is needed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= v0.0.0-dev
LDFLAGS := -s -w -X github.com/nodecleanup/kubectl-nodecleanup/pkg/version.Version=$(VERSION)
export CGO_ENABLED ?= 0

##@ Try it

.PHONY: demo
demo: build bin/demo ## Delete a Node on a local Kubernetes and watch its cleanup
	@bin/demo up

.PHONY: bin/demo bin/run-local
bin/demo bin/run-local:
	@go build -o bin/ ./hack/$(@F)

.PHONY: demo-down
demo-down: ## End the demo's cluster and everything of it
	@go run ./hack/demo down

.PHONY: run-local
run-local: build bin/run-local ## Run the agent on this machine against $KUBECONFIG (DRY_RUN=true: previews steps, then lets the node go)
	bin/run-local bin/nodecleanup-agent --create-namespace --config $(or $(CONFIG),hack/run-local/config.yaml) \
		--probe-listen 127.0.0.1:8081 --metrics-listen 127.0.0.1:8080

##@ Build

.PHONY: build
# Collecting garbage is a quarter of the work of thousands of short-lived compilers.
build bin/demo bin/run-local: export GOGC = off
build bin/demo bin/run-local: export GOMEMLIMIT = 1GiB
build: ## Build both programs into bin/
	@echo "building bin/kubectl-nodecleanup and bin/nodecleanup-agent"
	@go build -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

.PHONY: image
image: ## Write the images of the agents and the CLI for amd64 and arm64 into bin/, without a container engine
	@mkdir -p bin
	@cd hack/tools && go run ./image -version $(VERSION) -o ../../bin/nodecleanup-agent.tar
	@cd hack/tools && go run ./image -version $(VERSION) -o ../../bin/nodecleanup-agent-cloud.tar \
		-source ../../cmd/nodecleanup-agent-cloud -package . -repository ghcr.io/nodecleanup/nodecleanup-agent-cloud
	@cd hack/tools && go run ./image -version $(VERSION) -o ../../bin/kubectl-nodecleanup.tar \
		-package ./cmd/kubectl-nodecleanup -repository ghcr.io/nodecleanup/kubectl-nodecleanup

.PHONY: cross
cross: ## Build for the other platforms, to see that they build
	for platform in linux/arm64 darwin/arm64 darwin/amd64 windows/amd64; do \
		echo "building for $$platform"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -o /dev/null ./cmd/kubectl-nodecleanup; done
	GOOS=linux GOARCH=arm64 go build -o /dev/null ./cmd/nodecleanup-agent
	GOOS=darwin GOARCH=arm64 go vet ./hack/demo ./hack/cluster ./hack/run-local ./test/cluster ./test/e2e ./cmd/nodecleanup-agent

.PHONY: kubernetes
kubernetes: ## Build the local Kubernetes of the demo and the tests (minutes, once; then cached)
	@go run ./hack/cluster build

.PHONY: render
render: ## Regenerate manifests/base and the Kustomize components from the Helm chart
	cd hack/tools/chart && go run . ../../../manifests

.PHONY: contract
contract: ## Record additions to the API that plugins outside this repository use
	go run ./hack/contract -write hack/contract/v1.txt

.PHONY: schema
schema: ## Regenerate the schemas of the config and of the options, and the tables of options, from the Go types
	cd hack/schema && go run . ../..
	cd hack/tools/chart && go run . ../../../manifests

.PHONY: ui
ui: ## Build the page of the dashboard from its source (needs npm)
	cd hack/ui && go run .

.PHONY: screenshots
screenshots: kubernetes ## Take the pictures of the dashboard in docs/images (needs Chromium)
	@mkdir -p docs/images; pictures=$$(mktemp -d); trap 'rm -rf "$$pictures"' EXIT; \
	(cd test/dashboard && NODECLEANUP_PICTURES=$$pictures go test -count=1 -run TestNoBarriers .) && \
	for scene in overview nodes node history; do for scheme in light dark; do \
		cp $$pictures/$$scene-$$scheme-1280.png docs/images/dashboard-$$scene-$$scheme.png; done; done

##@ Release

.PHONY: docs
docs: ## Regenerate the reference of the command line
	@go run ./hack/docs docs/cli

.PHONY: man
man: ## Write man pages into dist/man
	@go run ./hack/docs -man dist/man

.PHONY: release
release: ## Make the release of VERSION in dist/: archives, images, chart, manifests, SBOMs, checksums, Krew manifest, man pages
	@go run ./hack/release -version $(VERSION) dist

# Registry and folder, such as ghcr.io/example; empty for those in the images' names.
REGISTRY ?=
.PHONY: push
push: ## Push the images of make release to REGISTRY, as whom docker login has left
	@cd hack/tools && go run ./push -under=$(REGISTRY) ../../dist/nodecleanup-agent.tar ../../dist/nodecleanup-agent-cloud.tar ../../dist/kubectl-nodecleanup.tar | tee ../../dist/images.txt

# Without a key: cosign asks who it is that runs this, which in GitHub Actions is the workflow.
.PHONY: sign
sign: ## Sign the pushed images and the checksums of make release with cosign
	@command -v cosign >/dev/null || { echo "signing: there is no cosign on the PATH: https://docs.sigstore.dev/cosign/system_config/installation/"; exit 1; }
	while read -r digest name; do cosign sign --yes "$$name@sha256:$$digest"; done <dist/images.txt
	cosign sign-blob --yes --bundle dist/checksums.txt.sigstore.json dist/checksums.txt

.PHONY: upload
upload: ## Make a GitHub release of the tag VERSION from what make release and make sign have left
	@command -v gh >/dev/null || { echo "uploading: there is no gh on the PATH: https://cli.github.com"; exit 1; }
	gh release create $(VERSION) --verify-tag --generate-notes $(if $(findstring -,$(VERSION)),--prerelease) \
		dist/*.tar.gz dist/*.zip dist/*.tar dist/*.tgz dist/*.json dist/checksums.txt dist/nodecleanup.yaml

##@ Check

# The race detector needs a C compiler; without one the tests run without it.
RACE := $(shell command -v $(or $(CC),gcc) >/dev/null 2>&1 && echo -race)

# Tests against an API server wait more than they compute: on a small machine one package more than it has cores.
PACKAGES_AT_ONCE := $(if $(filter 1 2,$(shell getconf _NPROCESSORS_ONLN 2>/dev/null)),-p 3)

.PHONY: test
test: verify kubernetes tools-test cloud-test netbox-test dashboard-test chart-test ## Run every test, those against a real API server too
	CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) $(PACKAGES_AT_ONCE) -timeout 20m ./...
	@$(MAKE) --no-print-directory e2e

.PHONY: tools-test
tools-test: ## Test what makes images, bills of materials and schemas
	cd hack/tools && go test -timeout 20m ./...
	cd hack/schema && go test -count=1 ./...

.PHONY: cloud-test
cloud-test: ## Test the plugins of the agent for clouds against emulators
	cd cmd/nodecleanup-agent-cloud && CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) -timeout 20m ./...

.PHONY: netbox-test
netbox-test: ## Test the plugin netbox against the OpenAPI document of NetBox
	cd test/netbox && CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) ./...

.PHONY: dashboard-test
dashboard-test: kubernetes ## Look at the dashboard in Chromium
	cd test/dashboard && CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) -timeout 10m ./...

.PHONY: chart-test
# Without -count=1 a result is kept although the chart, which is of no Go module, has changed.
chart-test: kubernetes ## Hold Helm chart, Kustomize and command line against each other, object by object
	cd hack/tools/chart && go test -count=1 ./...

.PHONY: monitoring-test
monitoring-test: kubernetes ## Test alerts and dashboard against a real Prometheus (needs Debian's package prometheus; skipped elsewhere)
	@$(SAY_PROMETHEUS)
	go test -count=1 -timeout 10m ./test/monitoring ./test/integration/monitoring

# Tests that are skipped say so only to those who look closely.
SAY_PROMETHEUS = for program in prometheus promtool; do command -v $$program >/dev/null || \
	echo "skipped: tests of alerts and dashboard that need $$program, which is not on the PATH (Debian: apt-get install prometheus)"; done

# A release that upgrades start from, such as v1.2.3. While there is none, they start from these
# sources under an older version.
PREVIOUS ?=
.PHONY: e2e
# In the folder of the tests, go shows what they print at once, a line for each thing that is proved.
e2e: kubernetes ## Install in every way on a real node: kubelet, containerd, kube-proxy (root, Linux, runc; skipped elsewhere)
	@cd test/e2e && NODECLEANUP_E2E=1 NODECLEANUP_PREVIOUS=$(PREVIOUS) go test -count=1 -timeout 40m

.PHONY: e2e-root
# sudo has a PATH and a HOME of its own, without Go and without what has been built. What root
# leaves in this user's caches is given back.
e2e-root: ## The same as e2e for those who are not root but may sudo
	@trap 'sudo chown -R "$$(id -u):$$(id -g)" "$$(go env GOCACHE)" "$$(go env GOMODCACHE)" "$${XDG_CACHE_HOME:-$$HOME/.cache}/nodecleanup"' EXIT; \
	sudo env "PATH=$$PATH" "HOME=$$HOME" $(if $(filter environment,$(origin XDG_CACHE_HOME)),"XDG_CACHE_HOME=$$XDG_CACHE_HOME") make --no-print-directory e2e PREVIOUS=$(PREVIOUS)

.PHONY: record
record: kubernetes ## Run the commands in docs/troubleshooting.md on a real node, and write their output into it (root, Linux, runc)
	go run ./hack/record docs/troubleshooting.md

.PHONY: packages
packages: ## Install from Debian what tests would be skipped without (root)
	@hack/ci/packages

KIND := go tool -modfile=hack/kind/go.mod kind
KIND_NAME ?= nodecleanup
# Empty is the newest that this version of kind knows; kind's release notes name others.
KIND_IMAGE ?=
# A cluster that may be changed, and what gives its nodes an image in a tar file.
E2E_KUBECONFIG ?= $(CURDIR)/bin/kind.kubeconfig
E2E_LOAD ?= $(KIND) load image-archive --name $(KIND_NAME)

.PHONY: kind-up
kind-up: ## Start a cluster of kind (needs docker, podman or nerdctl)
	@mkdir -p bin
	$(KIND) create cluster --name $(KIND_NAME) $(if $(KIND_IMAGE),--image $(KIND_IMAGE)) --kubeconfig $(E2E_KUBECONFIG) --wait 3m

.PHONY: kind-down
kind-down: ## End the cluster of kind-up
	$(KIND) delete cluster --name $(KIND_NAME) --kubeconfig $(E2E_KUBECONFIG)

.PHONY: e2e-kind
e2e-kind: ## Install, upgrade and uninstall on the cluster of kind-up, or on that of E2E_KUBECONFIG with images by E2E_LOAD
	@mkdir -p bin
	@for age in old new; do (cd hack/tools && go run ./image -version v0.0.0-e2e-$$age -repository localhost/nodecleanup-agent -o ../../bin/e2e-$$age.tar); \
		$(E2E_LOAD) bin/e2e-$$age.tar; done
	NODECLEANUP_KIND_KUBECONFIG=$(E2E_KUBECONFIG) NODECLEANUP_KIND_OLD_IMAGE=localhost/nodecleanup-agent:v0.0.0-e2e-old \
		NODECLEANUP_KIND_NEW_IMAGE=localhost/nodecleanup-agent:v0.0.0-e2e-new go test -count=1 -v -timeout 20m ./test/kind

# Such as -duration=8h -nodes=500, or -seed=7 to repeat the actions of another run.
SOAK ?=
.PHONY: soak
soak: kubernetes ## Delete nodes for half an hour while everything around them breaks, and check every release (SOAK=-seed=7)
	go test -count=1 -v -timeout 24h ./test/soak -duration=30m -nodes=200 -rate=8 $(SOAK)

BENCH ?= -nodes=1000,5000 -idle=15000
.PHONY: bench
bench: kubernetes ## Measure what a cleanup and the webhook cost, against the least that they can (BENCH=-nodes=100)
	go run ./test/bench $(BENCH)
	go run ./test/bench/admission

.PHONY: bench-cli
bench-cli: kubernetes ## Measure the command line on 5,000 nodes; fails when it is too slow or too large
	go run ./test/bench/cli

BENCH_DRAIN ?= -rounds=3
.PHONY: bench-drain
bench-drain: kubernetes ## Measure how fast nodes are drained, against kubectl, Karpenter and bare evictions (BENCH_DRAIN=-scenarios=25)
	cd test/bench/drain && go run . $(BENCH_DRAIN)

LINT := go tool -modfile=hack/lint/go.mod

.PHONY: lint
lint: verify ## The same as verify, and what staticcheck finds (minutes the first time, then seconds)
	$(LINT) staticcheck ./...
	@# Karpenter needs minutes to compile the first time.
	cd test/bench/drain && go vet ./...

.PHONY: verify
verify: ## Check form: gofmt, go vet, retired words, tidy modules, generated reference, schemas and manifests, the API for plugins, GitHub Actions
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go mod tidy -diff
	@# The agent stays lean: no libraries of the command line.
	@linked=$$(go list -deps ./cmd/nodecleanup-agent | grep -E '^(k8s.io/kubectl|k8s.io/cli-runtime|github.com/spf13/cobra)(/|$$)' || true); \
	if [ -n "$$linked" ]; then echo "the agent links libraries of the command line:"; echo "$$linked"; exit 1; fi
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; go run ./hack/docs "$$fresh"; \
	diff -r docs/cli "$$fresh" || { echo "docs/cli is not what the commands say: run make docs"; exit 1; }
	cd hack/kubernetes && go mod tidy -diff
	cd hack/node && go mod tidy -diff
	cd hack/lint && go mod tidy -diff
	cd hack/schema && go mod tidy -diff && go vet ./... && go run . -check ../..
	cd hack/kind && go mod tidy -diff
	cd hack/tools && go mod tidy -diff && go vet ./...
	cd test/bench/drain && go mod tidy -diff
	cd test/netbox && go mod tidy -diff && go vet ./...
	cd cmd/nodecleanup-agent-cloud && go mod tidy -diff && go vet ./...
	cd test/dashboard && go mod tidy -diff && go vet ./...
	cd hack/ui && go mod tidy -diff && go vet ./...
	@if command -v npm >/dev/null; then cd hack/ui && go run . -check; else echo "not checked, because there is no npm: whether the page of the dashboard is built from its source"; fi
	go run ./hack/words
	go run ./hack/contract hack/contract/v1.txt
	@# Without shellcheck and pyflakes, which some machines have and others do not.
	$(LINT) actionlint -shellcheck= -pyflakes=
	cd hack/tools/chart && go mod tidy -diff && go vet ./... && go run . -check ../../../manifests

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
