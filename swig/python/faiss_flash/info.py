"""python -m faiss_flash.info: versions, backends, and whether the FAISS classes work here."""

import platform

import numpy as np

from . import CLASS_NAMES, __version__, available_backends, faiss_classes


def main():
    print(f"faiss_flash {__version__}")
    print(f"python      {platform.python_version()}, numpy {np.__version__}")
    print(f"backends    {', '.join(available_backends())}")
    try:
        import faiss

        print(f"faiss       {faiss.__version__} at {faiss.__file__}")
    except ImportError as error:
        print(f"faiss       none ({error})")
    try:
        kind = faiss_classes().__name__.rpartition(".")[2]
        print(f"classes     {kind}: {', '.join(CLASS_NAMES)}")
    except ImportError as error:
        print(f"classes     no: {error}")


if __name__ == "__main__":
    main()
