"""Writes both sides of the README's diff blocks: swap_faiss.cpp, swap_faiss_flash.cpp and .py."""

import pathlib
import re
import sys


def main():
    readme, output = map(pathlib.Path, sys.argv[1:])
    blocks = re.findall(r"^```diff\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    if len(blocks) != 2:
        raise SystemExit(f"{readme} has {len(blocks)} diff blocks, expected C++ and Python")
    for block in blocks:
        suffix = ".cpp" if "#include" in block else ".py"
        for name, sign in (("faiss", "-"), ("faiss_flash", "+")):
            lines = [line[1:] for line in block.splitlines() if line[:1] in (" ", "", sign)]
            output.mkdir(parents=True, exist_ok=True)
            (output / f"swap_{name}{suffix}").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
