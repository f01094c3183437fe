#!/usr/bin/env bash
# Installs the wheel in FOLDER where there is no compiler and no header, and runs Python's tests:
#     test_wheel.sh FOLDER WORK_FOLDER [FAISS_REQUIREMENT]
set -euo pipefail
tests=$(realpath "$(dirname "$0")/../python")
wheel=$(realpath "$1"/faiss_flash-*.whl)
work=$(realpath -m "$2")
faiss=${3:-}

rm -rf "$work"
/usr/bin/python3 -m venv "$work"
"$work/bin/pip" install -q "$wheel" pytest ${faiss:+"$faiss"}

cd "$work" # away from the sources
python() {
    # Threads that spin while they wait hold up those of a test beside this one.
    env -i HOME="$HOME" PATH="$work/bin" OMP_WAIT_POLICY=passive "$work/bin/python" "$@"
}
python -m faiss_flash.info
suites=("$tests/test_engine.py")
if [ -n "$faiss" ]; then
    # Each brings an OpenMP and a BLAS of its own: whichever comes first.
    train='import numpy as np; x = np.random.rand(2000, 8).astype("f4")
faiss.Kmeans(8, 10).train(x); faiss_flash.kmeans(x, 10)'
    python -c "import faiss, faiss_flash; $train"
    python -c "import faiss_flash, faiss; $train"
    for suite in classes faults undo filling interrupts; do
        suites+=("$tests/test_$suite.py")
    done
fi
python -m pytest -q -p no:cacheprovider "${suites[@]}"
