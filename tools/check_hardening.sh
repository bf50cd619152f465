#!/bin/sh
# check_hardening.sh BINARY: the program can be loaded anywhere, what the loader fills in is read-only afterwards, and nothing
# that can be written can be run.
set -eu
binary=$1
command -v readelf >/dev/null || { echo 'no readelf: hardening of the program was not checked' >&2; exit 0; }
headers=$(readelf -lW "$binary") dynamic=$(readelf -dW "$binary")
need() {
    printf '%s' "$2" | grep -qE "$3" || { echo "$binary: $1" >&2; exit 1; }
}
need 'is no position-independent executable' "$(readelf -hW "$binary")" 'Type: +DYN'
need 'has no read-only relocations' "$headers" GNU_RELRO
need 'binds functions while it runs (link with -z now)' "$dynamic" 'BIND_NOW|FLAGS_1.*NOW'
need 'has a stack that can be run' "$headers" 'GNU_STACK.* RW +0x'
if printf '%s' "$headers" | grep -qE 'LOAD.* RWE '; then
    echo "$binary: has memory that can be written and run" >&2
    exit 1
fi
