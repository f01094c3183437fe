#!/usr/bin/env bash
# Installs what faiss_flash is built, tested and measured with on Debian 12. Needs root, apt and
# PyPI. Does nothing where all of it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
    g++ cmake ninja-build ccache swig
    libfaiss-dev libopenblas-openmp-dev libgtest-dev libbenchmark-dev libcli11-dev
    python3-dev python3-venv python3-faiss python3-numpy python3-pytest python3-matplotlib
    python3-h5py python3-tqdm python3-yaml clang-format clang-tidy
)
installed=$(dpkg-query -W -f '${Status}\n' "${packages[@]}" 2>/dev/null |
    grep -c "install ok installed" || true)
if [ "$installed" -ne "${#packages[@]}" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${packages[@]}"
fi

requirements=contrib/tools-requirements.txt
if ! cmp -s "$requirements" .venv/installed.txt; then
    /usr/bin/python3 -m venv .venv
    .venv/bin/pip install -q --no-deps -r "$requirements"
    cp "$requirements" .venv/installed.txt
fi
