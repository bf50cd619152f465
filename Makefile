# Two commands on a fresh Debian or Ubuntu machine with a Swift toolchain: `make demo` and `make test`.

# System libraries: OpenMP for the kernels' threads.
PACKAGES := libomp-dev
BINARY := .build/release/meraser
# The commit of a clean checkout, or nothing; the linker writes it into the program as its build id (Sources/Base/Build.swift:
# "git:" and the commit). Only linking depends on it. Any other build is known by the hash of what was linked.
COMMIT = $(shell [ -z "$$(git status --porcelain 2>&1)" ] && git rev-parse HEAD 2>/dev/null)

.PHONY: demo test build lint format asan sanitize cross install-deps toolchain

demo: build
	$(BINARY) demo

# Tests run side by side, each with its own OpenMP team: waiting threads must sleep, not spin.
test: install-deps
	OMP_WAIT_POLICY=passive swift test

# The C kernels under AddressSanitizer and UndefinedBehaviorSanitizer, every path that this CPU has.
asan: install-deps
	tools/check_kernels.sh asan

# The tests under AddressSanitizer, Swift code too: a pointer that outlives its memory is a failure there, not luck. Builds
# everything a second time (.build-asan), and takes far longer than `make test`: SUITES='TuneTests|ModelTests' chooses some. Leaks
# are not looked for: runtimes keep what they allocate once.
SUITES ?= .
sanitize: install-deps
	OMP_WAIT_POLICY=passive ASAN_OPTIONS=detect_leaks=0 \
	    swift test --sanitize=address --scratch-path .build-asan --filter '$(SUITES)'

# The same checks of the arm64 kernels, cross-compiled, under qemu-user.
cross: toolchain
	tools/check_kernels.sh aarch64

build: install-deps
	swift build -c release --product meraser $(addprefix -Xlinker --build-id=0x6769743a,$(COMMIT))

lint: toolchain
	swift format lint --strict -r Sources Tests Package.swift
	tools/check_products.sh
	tools/check_flags.sh
	@if command -v clang-format >/dev/null; then \
	    clang-format --dry-run -Werror $$(find Sources/CKernels Tests/CKernelsCheck -name '*.[ch]'); \
	else \
	    echo 'lint: clang-format is not installed, C files were not checked (apt-get install clang-format)' >&2; \
	fi

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
	    echo "meraser needs the development files of OpenMP (libomp5);" \
	         "this system has no apt-get: install what corresponds to$$missing" >&2; exit 1; }; \
	sudo=''; \
	if [ "$$(id -u)" != 0 ]; then \
	    command -v sudo >/dev/null || { echo "install$$missing as root, then run make again" >&2; exit 1; }; \
	    sudo=sudo; \
	fi; \
	echo "installing$$missing" >&2; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing
