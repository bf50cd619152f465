#!/bin/bash
# Builds the C kernels with their checks (Tests/CKernelsCheck) outside SwiftPM and runs them.
#   check_kernels.sh asan     this machine, AddressSanitizer and UndefinedBehaviorSanitizer, every path that the CPU has
#   check_kernels.sh aarch64  cross-compiled for arm64, under qemu-aarch64
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:?asan or aarch64}
folder=.build/check-$mode
mkdir -p "$folder"
flags=(-std=c11 -D_GNU_SOURCE -fblocks -fno-math-errno -Wall -Wextra -ISources/CKernels/include -ISources/CKernels)

case $mode in
asan)
    # Checks by calls: inlined into the unrolled kernels they would take minutes to compile. For the same reason the
    # tables of vector code (isa_*.c) have AddressSanitizer only.
    compile=(clang "${flags[@]}" -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined
        -fno-sanitize-recover=all -fsanitize-address-outline-instrumentation)
    link=(clang -fuse-ld=lld -fsanitize=address,undefined -lm)
    run=(env ASAN_OPTIONS=detect_stack_use_after_return=1)
    ;;
aarch64)
    missing=''
    for package in gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; do
        dpkg-query -W -f='${Status}' $package 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        sudo=''
        [ "$(id -u)" = 0 ] || sudo=sudo
        echo "installing$missing" >&2
        $sudo apt-get update -qq
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    fi
    target=(--target=aarch64-linux-gnu --sysroot=/usr/aarch64-linux-gnu --gcc-toolchain=/usr)
    compile=(clang "${target[@]}" -isystem /usr/aarch64-linux-gnu/include "${flags[@]}" -O3)
    link=(aarch64-linux-gnu-gcc -static -lm)
    run=(qemu-aarch64 -cpu max)
    ;;
*)
    echo "unknown mode $mode" >&2
    exit 2
    ;;
esac

objects=()
pids=()
for source in Sources/CKernels/*.c Tests/CKernelsCheck/*.c; do
    object=$folder/$(basename "$(dirname "$source")")-$(basename "$source" .c).o
    objects+=("$object")
    if [ ! -e "$object" ] || [ -n "$(find Sources/CKernels Tests/CKernelsCheck -name '*.[ch]' -newer "$object" -print -quit)" ]; then
        plain=()
        [[ $source == */isa_* ]] && plain=(-fno-sanitize=undefined)
        "${compile[@]}" "${plain[@]}" -c "$source" -o "$object" &
        pids+=($!)
        if [ ${#pids[@]} -ge "$(nproc)" ]; then
            wait "${pids[0]}"
            pids=("${pids[@]:1}")
        fi
    fi
done
for pid in "${pids[@]}"; do wait "$pid"; done
"${link[0]}" "${objects[@]}" "${link[@]:1}" -o "$folder/check"
"${run[@]}" "$folder/check"
