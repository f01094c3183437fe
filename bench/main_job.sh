#!/usr/bin/env bash
# The main job on a fresh Debian 12: installs what is needed, builds, makes descriptors of real
# pictures, then trains, builds and searches an IVF index with stock FAISS and with faiss_flash.
set -euo pipefail
cd "$(dirname "$0")/.."
contrib/setup_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target ivf_job faiss_flash_python
[ -f data/query.npy ] || .venv/bin/python contrib/make_descriptors.py data
PYTHONPATH=build/python /usr/bin/python3 bench/main_job.py data --cpp build/bench/ivf_job "$@"
