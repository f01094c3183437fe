"""python -m faiss_flash script.py args, or -m module args: runs it with patch() in force.

An unchanged program that uses faiss; FAISS_FLASH_TRACE=1 shows what goes through the engine.
"""

import io
import os
import runpy
import sys
import types
import zipfile

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
    sys.argv = arguments[is_module:]
    # Stays: threads, atexit handlers and pickles look for it after the program's last line.
    sys.modules["__main__"] = types.ModuleType("__main__")
    # runpy's public functions take their __main__ away again; this is what python itself calls.
    if is_module:
        runpy._run_module_as_main(arguments[1])
    elif os.path.isdir(arguments[0]) or zipfile.is_zipfile(arguments[0]):
        sys.path[0] = os.path.abspath(arguments[0])
        runpy._run_module_as_main("__main__", alter_argv=False)
    else:
        _run_script(arguments[0])


def _run_script(path):
    """As python runs one: its __file__ is absolute, its folder first on the path."""
    file = os.path.abspath(path)
    sys.path[0] = os.path.dirname(file)
    try:
        with io.open_code(file) as script:
            source = script.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {file!r}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    code = compile(source, file, "exec", dont_inherit=True)
    variables = vars(sys.modules["__main__"])
    variables.update(__file__=file, __builtins__=__builtins__, __annotations__={})
    exec(code, variables)


if __name__ == "__main__":
    main()
