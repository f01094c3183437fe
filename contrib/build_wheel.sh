#!/usr/bin/env bash
# Builds the source distribution, and from it the wheel with its BLAS and OpenMP inside:
#     contrib/build_wheel.sh [FOLDER [CMAKE_OPTION...]]
# FOLDER is dist by default. Needs contrib/setup_debian.sh to have run. The wheel asks for the glibc
# of the system it is built on, or a newer one.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-dist}")
options=("${@:2}")

# Without a CUDA toolkit the kernels are compiled by nvcc from PyPI.
if ! command -v nvcc >/dev/null; then
    options=(-DFAISS_FLASH_CUDA_FROM_PYPI=ON "${options[@]}")
fi
if command -v ccache >/dev/null; then
    options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m build --sdist --outdir "$work" .
tar -xzf "$work"/*.tar.gz -C "$work"
CMAKE_ARGS="${options[*]}" .venv/bin/pip wheel --no-deps --wheel-dir "$work" "$work"/faiss_flash-*/
PATH="$PWD/.venv/bin:$PATH" .venv/bin/auditwheel repair --wheel-dir "$folder" "$work"/*.whl
mv "$work"/*.tar.gz "$folder"
ls -l "$folder"
