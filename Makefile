# On a fresh Debian or Ubuntu machine with a Swift toolchain: `make demo`, `make install`, `make test`.

BINARY := .build/release/meraser
# `make build MPI=1`: several ranks under mpirun (docs/scaling.md). Another choice builds everything anew.
ifdef MPI
PACKAGES += libopenmpi-dev openmpi-bin
TRAITS := --traits MPI
endif
# The commit of a clean checkout, or nothing; the linker writes it into the program as its build id (Sources/Base/Build.swift:
# "git:" and the commit). Only linking depends on it. Any other build is known by the hash of what was linked.
COMMIT = $(shell [ -z "$$(git status --porcelain 2>&1)" ] && git rev-parse HEAD 2>/dev/null)

VERSION = $(shell sed -n 's/.*meraserVersion = "\(.*\)"/\1/p' Sources/Base/Version.swift)
NAME = meraser-$(VERSION)-linux-$(shell uname -m)
# Where `make install` puts bin, lib and share; DESTDIR goes before it.
PREFIX ?= /usr/local

.PHONY: demo test check-ranks check-page kill-test fault-test determinism shrink-test limit-test no-network trust-short fuzz fuzz-build fuzz-flip soak build lint format asan sanitize cross install-deps toolchain stage install release release-check sbom wheel \
    interop results results-quick scan-study docs-figures docs-records

demo: build
	$(BINARY) demo

# Servers have a process of their own: they answer on the threads that the other tests keep for minutes.
test: install-deps
	swift test $(TRAITS) --skip 'ServeTests\.'
	swift test $(TRAITS) --skip-build --filter 'ServeTests\.'

# Two ranks under mpirun against one process, with what `make test MPI=1` has built; RANKS='--all' or '--kill 50' does more.
check-ranks:
	tools/check_ranks.py .build/debug/meraser $(RANKS)

# The page of `meraser serve` in headless Chromium, with what `make test` has built.
check-page:
	tools/check_page.py .build/debug/meraser

# The C kernels under AddressSanitizer and UndefinedBehaviorSanitizer, every path that this CPU has.
asan: install-deps
	tools/check_kernels.sh asan

# The tests under AddressSanitizer, Swift code too: a pointer that outlives its memory is a failure there, not luck. Builds
# everything a second time (.build-asan), and takes far longer than `make test`: SUITES='TuneTests|ModelTests' chooses some. Leaks
# are not looked for: runtimes keep what they allocate once.
SUITES ?= .
sanitize: install-deps
	ASAN_OPTIONS=detect_leaks=0 \
	    swift test --sanitize=address --scratch-path .build-asan --filter '$(SUITES)'

# Trust, tried on the program that is built: SIGKILL at N random moments over every command that writes, and two at once; a disk
# that is full or breaks, at MOST writes of each (0: all); the same bits for threads, batches and stops. docs/studies/trust.md.
N ?= 100
MOST ?= 40
kill-test: build
	python3 tools/trust/kill_test.py $(BINARY) --kills $(N)
	python3 tools/trust/kill_test.py $(BINARY) --pairs

fault-test: build
	python3 tools/trust/write_faults.py $(BINARY) --most $(MOST)

determinism: build
	python3 tools/trust/determinism.py $(BINARY)

# A model that becomes shorter while it is read; limits of memory; no connection but those that are asked for (strace).
shrink-test: build
	python3 tools/trust/shrink_test.py $(BINARY)

limit-test: build
	python3 tools/trust/limit_test.py $(BINARY)

no-network: build
	python3 tools/trust/no_network.py $(BINARY)

# Memory over 1,000 steps and 1,000 answers, and beside the plan.
soak: build
	python3 tools/trust/soak.py $(BINARY)

# A little of each with what `make test` has built: what CI runs. FuzzTests have the readers' part.
trust-short:
	@scratch=$$(mktemp -d) && trap 'rm -rf $$scratch' EXIT && cd tools/trust && tried="$(CURDIR)/.build/debug/meraser" && \
	set -x && \
	python3 kill_test.py $$tried --inputs $$scratch/in --kills 12 --only convert,merge-adapters,erase && \
	python3 write_faults.py $$tried --inputs $$scratch/in --most 0 --only merge-adapters,dataset-clean && \
	python3 determinism.py $$tried --inputs $$scratch/in --threads 1,2,3 --only ppl,prune && \
	python3 shrink_test.py $$tried --inputs $$scratch/in --cuts 6 --only ppl,inspect && \
	python3 soak.py $$tried --only serve --requests 800 --growth 64

# Readers of files, tried with spoilt ones: `make fuzz TARGET=gguf TIME=300` lets libFuzzer look for bytes that reach new code,
# from the corpus that is kept and what earlier runs found; a file that crashes, hangs or takes too much memory stays as
# crash-…, timeout-… or oom-… in .build-fuzz/TARGET. `make fuzz-flip` flips every bit of small files and cuts them at every length.
TARGET ?= all
TIME ?= 60
FUZZER = $(shell clang -print-resource-dir)/lib/linux
FUZZ := .build-fuzz/debug/fuzz
fuzz-build: toolchain
	MERASER_FUZZ=$(FUZZER) swift build --scratch-path .build-fuzz --product fuzz

fuzz: fuzz-build
	python3 tools/trust/fuzz.py $(FUZZ) --target $(TARGET) --time $(TIME)

fuzz-flip: fuzz-build
	$(FUZZ) flip

# The same checks of the arm64 kernels, cross-compiled, under qemu-user.
cross: toolchain
	tools/check_kernels.sh aarch64

# The Swift runtime is linked in; addresses of functions are read-only from the start (-z now).
build: install-deps
	swift build -c release -debug-info-format none --static-swift-stdlib --product meraser $(TRAITS) -Xlinker -z -Xlinker now \
	    $(addprefix -Xlinker --build-id=0x6769743a,$(COMMIT))

# What is installed, laid out in a folder: the program, completions, man pages, licences.
stage: build
	tools/check_hardening.sh $(BINARY)
	tools/stage.sh $(BINARY) dist/$(NAME)

install: stage
	@sudo=''; [ -w "$(DESTDIR)$(PREFIX)" ] || mkdir -p "$(DESTDIR)$(PREFIX)" 2>/dev/null && [ -w "$(DESTDIR)$(PREFIX)" ] || sudo=sudo; \
	$$sudo mkdir -p "$(DESTDIR)$(PREFIX)" && cd dist/$(NAME) && $$sudo cp -R bin share "$(DESTDIR)$(PREFIX)/" && \
	echo "installed $(DESTDIR)$(PREFIX)/bin/meraser"

# An archive that runs without a Swift runtime, on this distribution and newer ones; what it is made of; checksums of both.
release: stage sbom
	tar --sort=name --owner=0 --group=0 --numeric-owner -C dist -czf dist/$(NAME).tar.gz $(NAME)
	cd dist && sha256sum $(NAME).tar.gz $(NAME).cdx.json > SHA256SUMS
	@cat dist/SHA256SUMS

# What the program is made of, as a bill of materials (CycloneDX).
sbom: toolchain
	swift package resolve
	python3 tools/make_sbom.py dist/$(NAME).cdx.json --version $(VERSION) --commit "$(COMMIT)"

# Unpacks the archive in a bare Debian (debootstrap, as root) and goes from there to a report.
release-check: release wheel
	tools/check_release.sh dist/$(NAME).tar.gz dist/meraser-$(VERSION)-py3-*.whl

# `pip install dist/meraser-*.whl` puts the program on PATH and gives `import meraser`.
wheel: stage
	rm -f dist/meraser-*.whl
	python3 tools/make_wheel.py dist/$(NAME) dist $(VERSION)

lint: toolchain
	swift format lint --strict -r Sources Tests Package.swift
	tools/check_products.sh
	tools/check_flags.sh
	tools/check_links.py
	tools/docs_figures.py --check
	@if command -v clang-format >/dev/null; then \
	    clang-format --dry-run -Werror $$(find Sources/CKernels Tests/CKernelsCheck -name '*.[ch]'); \
	else \
	    echo 'lint: clang-format is not installed, C files were not checked (apt-get install clang-format)' >&2; \
	fi

# The figures of README.md and docs/, from the records in docs/studies/records.
docs-figures:
	tools/docs_figures.py

# Those records, from the recipes that are shipped: 20 minutes on two cores.
RECORDED := audit-utf audit-if audit-hashchain audit-backdoor
docs-records: build
	scratch=$$(mktemp -d) && \
	for recipe in $(RECORDED); do \
	    $(BINARY) run Examples/recipes/$$recipe.yml --out $$scratch/$$recipe && \
	    tools/docs_figures.py --record $$recipe $$scratch/$$recipe || exit 1; \
	done; \
	$(BINARY) search Examples/recipes/search.yml --out $$scratch/search >/dev/null && \
	    tools/docs_figures.py --record search $$scratch/search; \
	(cd $$scratch && $(CURDIR)/$(BINARY) demo --quiet >demo.txt) && tools/docs_figures.py --demo $$scratch/demo.txt; \
	rm -rf $$scratch

format: toolchain
	swift format -i -r Sources Tests Package.swift
	@if command -v clang-format >/dev/null; then clang-format -i $$(find Sources/CKernels Tests/CKernelsCheck -name '*.[ch]'); fi

toolchain:
	@command -v swift >/dev/null || { \
	    echo 'meraser needs a Swift 6.1 (or later) toolchain and found no `swift` on PATH.' \
	         'Get one from https://www.swift.org/install/linux and run make again.' >&2; \
	    exit 1; }

install-deps: toolchain
	@missing=''; \
	for package in $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	command -v apt-get >/dev/null || { \
	    echo "meraser needs the development files of MPI;" \
	         "this system has no apt-get: install what corresponds to$$missing" >&2; exit 1; }; \
	sudo=''; \
	if [ "$$(id -u)" != 0 ]; then \
	    command -v sudo >/dev/null || { echo "install$$missing as root, then run make again" >&2; exit 1; }; \
	    sudo=sudo; \
	fi; \
	echo "installing$$missing" >&2; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing

# What `export` writes, read by the programs that it is for. A part whose program is missing is skipped with the reason:
# `make interop PYTHON=VENV/bin/python MODEL=HF_DIR LLAMA_CPP=DIR TEXT=FILE INTEROP='--architectures DIR --peers DIR'`.
PYTHON ?= python3
interop: build
	$(PYTHON) tools/interop.py --meraser $(BINARY) --model '$(MODEL)' --llama '$(LLAMA_CPP)' $(if $(TEXT),--text '$(TEXT)') $(INTEROP)

# Scans of many marked and clean models without their keys (docs/studies/scan.md): the first half of them, which is there to be
# looked at; STUDY='--half both' opens the other, once. STUDY='--set smollm2 --source FILE.gguf --victims DIR' is the real model's.
# Goes on where it was interrupted.
SCANS ?= scans
scan-study: build
	python3 tools/scan_study.py --meraser $(BINARY) --out '$(SCANS)' $(STUDY)

# Every method on the eight victims (docs/results.md): at most a day on two cores, goes on where it was interrupted. `-quick` does one
# victim by five methods. `make results MODEL=HF_DIR TEXT=wikitext2-test.txt OUT=results`, with PYTHON for the victims.
OUT ?= results
results results-quick: build
	$(PYTHON) tools/results/results.py --meraser $(BINARY) --model '$(MODEL)' --text '$(TEXT)' --out '$(OUT)' \
	    $(if $(filter results-quick,$@),--quick) $(RESULTS)
