#!/usr/bin/env bash
# All the tests on a fresh Debian 12: installs what is needed, builds, runs the C++ tests under
# AddressSanitizer and UBSan, then every test and lint check on the optimised build.
set -euo pipefail
cd "$(dirname "$0")/.."
contrib/setup_debian.sh

cmake --preset sanitize >/dev/null
cmake --build --preset sanitize
ctest --preset sanitize

# Without a CUDA toolkit the kernels are compiled by nvcc from PyPI.
cuda=$(command -v nvcc >/dev/null || echo -DFAISS_FLASH_CUDA_FROM_PYPI=ON)
cmake --preset release $cuda >/dev/null
cmake --build --preset release
ctest --preset release
