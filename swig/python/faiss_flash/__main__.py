"""python -m faiss_flash script.py args, or -m module args: runs it with patch() in force.

An unchanged program that uses faiss; FAISS_FLASH_TRACE=1 shows what goes through the engine.
"""

import os
import runpy
import sys

from . import patch

_USAGE = "usage: python -m faiss_flash (script.py | -m module) [argument ...]"


def main():
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE + __doc__[__doc__.index("\n") :], end="")
        return
    is_module = arguments[:1] == ["-m"]
    if len(arguments) < 1 + is_module or (not is_module and arguments[0].startswith("-")):
        sys.exit(_USAGE)
    patch()
    if is_module:
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
