"""Dependencies point down only, and files stay readable.

A header directly in faiss_flash/ is public; everything in its folders is private. For each folder
the prefixes that its quoted or bracketed includes of this project and of the libraries may have.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_LINES = 600

PUBLIC = [f"faiss_flash/{path.name}" for path in sorted((ROOT / "faiss_flash").glob("*.h"))]
# Of those, the headers that know nothing of FAISS: the library faiss_flash_core.
ENGINE = [
    "faiss_flash/assigner.h",
    "faiss_flash/codes.h",
    "faiss_flash/kmeans.h",
    "faiss_flash/opq.h",
]
# What each folder may include of this project, of FAISS and of the libraries that only some use.
ALLOWED = {
    "faiss_flash/core": [*ENGINE, "faiss_flash/core/", "omp.h"],
    "faiss_flash/cpu": [*ENGINE, "faiss_flash/core/", "faiss_flash/cpu/", "omp.h", "immintrin.h"],
    "faiss_flash/cuda/ptx": ["faiss_flash/cuda/ptx/", "cuda"],
    "faiss_flash/cuda/runtime": [
        *ENGINE,
        "faiss_flash/core/interrupt.h",
        "faiss_flash/cuda/runtime/",
        "cuda",
    ],
    "faiss_flash/cuda": [*ENGINE, "faiss_flash/core/", "faiss_flash/cuda/", "cuda"],
    "faiss_flash/plugin": [*PUBLIC, "faiss_flash/plugin/", "faiss/", "omp.h"],
    "swig": [*PUBLIC, "faiss/", "swig/"],
    "bench": [*PUBLIC, "faiss_flash/cpu/", "faiss_flash/cuda/", "faiss/", "benchmark/", "CLI/"],
    "tests/install": [*PUBLIC, "faiss/"],
}
# The one list of factories knows the backends.
EXCEPTIONS = {
    "faiss_flash/core/backends.cpp": ["faiss_flash/cpu/backend.h", "faiss_flash/cuda/backend.h"]
}
WATCHED = re.compile(
    r"^(faiss_flash/|faiss/|swig/|omp\.h|immintrin\.h|cuda|Python\.h|numpy/|benchmark/|CLI/)"
)
INCLUDE = re.compile(r'^\s*[#%](?:include|import)\s*[<"]([^>"]+)[>"]', re.MULTILINE)
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".swig", ".py", ".sh", ".txt", ".cmake"}


def sources():
    for top in ("faiss_flash", "swig", "tests", "bench", "contrib"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_text()


def check():
    for name, text in sources():
        lines = text.count("\n")
        if lines > MAX_LINES:
            yield f"{name}: {lines} lines, more than {MAX_LINES}"
        folder = next((folder for folder in ALLOWED if name.startswith(folder + "/")), None)
        if name in PUBLIC:
            allowed = ENGINE if name in ENGINE else [*ENGINE, "faiss/"]
        elif folder:
            allowed = ALLOWED[folder] + EXCEPTIONS.get(name, [])
        else:
            continue
        for include in INCLUDE.findall(text):
            if WATCHED.match(include) and not include.startswith(tuple(allowed)):
                yield f"{name}: must not include {include}"


def main():
    errors = list(check())
    print("\n".join(errors) or "layers: ok")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
