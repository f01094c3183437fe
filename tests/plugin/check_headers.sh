#!/usr/bin/env bash
# Compiles the plugin against FAISS headers in other folders, as C++17 and C++20.
# usage: check_headers.sh COMPILER SOURCE_DIR FAISS_INCLUDE_DIR...
set -euo pipefail
compiler=$1
source_dir=$2
shift 2
for include in "$@"; do
    version=$(awk '/define FAISS_VERSION_(MAJOR|MINOR|PATCH)/ {printf "%s.", $3}' \
        "$include/faiss/Index.h")
    for standard in 17 20; do
        for source in "$source_dir"/faiss_flash/plugin/*.cpp; do
            "$compiler" -fsyntax-only "-std=c++$standard" -fopenmp -Wall -Wextra -Werror \
                "-I$source_dir" -isystem "$include" "$source"
        done
        echo "FAISS ${version%.} C++$standard: ok"
    done
done
