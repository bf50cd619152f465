#!/bin/bash
# Sets up the opponents that tools/compare.py measures against: PyTorch with Transformers, PEFT and bitsandbytes in a
# venv, and llama.cpp, built from the source package of llama-cpp-python, for this CPU and once more for AVX2.
#
#     tools/peers/setup.sh [--prefix DIR] [--jobs N] [--python PYTHON]
#
# DIR (~/.cache/meraser-peers) gets venv/, llama.cpp/ (sources, convert_hf_to_gguf.py), python/ (ctypes bindings),
# llama-native/ and llama-avx2/ (programs with their libraries). What is there already is kept: to renew a part, delete it. Needs gcc, g++, Python
# 3.10 or later, 3 GB of disk, about 15 minutes of one core.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
prefix=$HOME/.cache/meraser-peers
jobs=$(nproc)
python=python3
llama_cpp_python=0.3.36
tools="llama-bench llama-batched-bench llama-perplexity llama-quantize llama-completion llama-tokenize llama-server"

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2; shift 2 ;;
        --jobs) jobs=$2; shift 2 ;;
        --python) python=$2; shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)

if [ ! -x "$prefix/venv/bin/ninja" ]; then
    "$python" -m venv "$prefix/venv"
    "$prefix/venv/bin/pip" install -q --extra-index-url https://download.pytorch.org/whl/cpu -r "$here/requirements.txt"
fi
export PATH=$prefix/venv/bin:$PATH

if [ ! -f "$prefix/llama.cpp/CMakeLists.txt" ] || [ ! -f "$prefix/python/llama_cpp/llama_cpp.py" ]; then
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    pip download -q --no-deps --no-binary llama-cpp-python --dest "$download" "llama-cpp-python==$llama_cpp_python"
    # -m: files dated in the future would have ninja configure for ever.
    tar -xzmf "$download"/llama_cpp_python-*.tar.gz -C "$download"
    source=$(echo "$download"/llama_cpp_python-*/vendor/llama.cpp)
    rm -rf "$source/.git" # a submodule's link to nowhere, on which the build would depend
    [ -d "$prefix/llama.cpp" ] || mv "$source" "$prefix/llama.cpp"
    # The ctypes bindings alone: they take the libraries from where LLAMA_CPP_LIB_PATH says.
    mkdir -p "$prefix/python/llama_cpp"
    cp "$download"/llama_cpp_python-*/llama_cpp/{llama_cpp,_ctypes_extensions,_ggml}.py "$prefix/python/llama_cpp/"
    : > "$prefix/python/llama_cpp/__init__.py"
fi

# configure FOLDER OPTION...: only ggml-cpu is compiled for a particular CPU.
configure() {
    local folder=$1
    shift
    cmake -S "$prefix/llama.cpp" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
        -DGGML_OPENMP=ON \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_APP=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DGGML_CCACHE=OFF \
        -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "-DCMAKE_INSTALL_RPATH=\$ORIGIN" "$@"
}

if [ ! -x "$prefix/llama-native/llama-bench" ]; then
    configure "$prefix/build-native" -DGGML_NATIVE=ON
    # shellcheck disable=SC2086 # a list of words
    cmake --build "$prefix/build-native" -j "$jobs" --target $tools
    rm -rf "$prefix/llama-native"
    cp -a "$prefix/build-native/bin" "$prefix/llama-native"
    rm -rf "$prefix/build-native"
fi

if [ "$(uname -m)" = x86_64 ] && [ ! -x "$prefix/llama-avx2/llama-bench" ]; then
    configure "$prefix/build-avx2" -DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON \
        -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF -DGGML_AVX_VNNI=OFF
    cmake --build "$prefix/build-avx2" -j "$jobs" --target ggml-cpu
    rm -rf "$prefix/llama-avx2"
    cp -a "$prefix/llama-native" "$prefix/llama-avx2"
    cp -a "$prefix/build-avx2/bin"/libggml-cpu.so* "$prefix/llama-avx2/"
    rm -rf "$prefix/build-avx2"
fi
echo "the opponents are in $prefix"
