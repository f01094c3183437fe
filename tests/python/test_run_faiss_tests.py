"""contrib/run_faiss_tests.py on made-up checkouts with tests that fail, crash and hang."""

import json
import pathlib
import sys
import textwrap

import pytest

CONTRIB = pathlib.Path(__file__).resolve().parents[2] / "contrib"
sys.path.insert(0, str(CONTRIB))

import run_faiss_tests  # noqa: E402
from faiss_tests.runner import Runner  # noqa: E402

pytest.importorskip("faiss")

PYTEST = [sys.executable, "-m", "pytest"]
COMMANDS = {"stock": PYTEST, "ours": ["env", "PATCHED=1", *PYTEST]}

COMMON = """
import os
patched = "PATCHED" in os.environ
"""

MANY = """
import os, pathlib, unittest
from common_faiss_tests import patched

class Many(unittest.TestCase):
    def test_a_folder(self):
        self.assertEqual(pathlib.Path.cwd(), pathlib.Path(__file__).parent)

    def test_better(self):
        self.assertTrue(patched)

    def test_crash(self):
        if patched:
            os.abort()

    def test_fail(self):
        self.assertEqual(1, 2)

    def test_flaky(self):
        with open("runs", "a") as runs:
            runs.write(".")
            self.assertEqual(runs.tell(), 1)

    def test_skip(self):
        self.skipTest("so")

    def test_worse(self):
        with self.subTest(patched):
            self.assertFalse(patched, "only stock")

    def test_worse_not(self):
        pass
"""

AT_EXIT = """
import atexit, os
from common_faiss_tests import patched

def test_passes():
    if patched:
        atexit.register(os.abort)
"""

HANGS = """
import os, time
import faiss.contrib.made_up

def test_before(): pass
def test_crash(): os.abort()
def test_between(): pass
def test_exit(): os._exit(0)
def test_hang(): time.sleep(1000)
def test_last(): pass
"""


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def test_what_passes_stock_must_pass_with_us(tmp_path, capsys):
    checkout = write(
        tmp_path / "checkout",
        {
            "tests/common_faiss_tests.py": COMMON,
            "tests/test_at_exit.py": AT_EXIT,
            "tests/test_import.py": "import no_such_module",
            "tests/test_many.py": MANY,
            "tests/test_skipped.py": "import unittest; raise unittest.SkipTest('all')",
        },
    )
    out = tmp_path / "report.json"
    arguments = [str(checkout), "--out", str(out), "--reruns", "1", "--timeout", "60"]
    assert run_faiss_tests.main(arguments, COMMANDS) == 1

    report = json.loads(out.read_text())
    many = "tests/test_many.py::Many::"
    assert report["worse"] == ["tests/test_at_exit.py", many + "test_crash", many + "test_worse"]
    assert report["flaky"] == [many + "test_flaky"]
    assert report["better"] == [many + "test_better"]
    assert report["counts"] == {
        "stock": {"passed": 7, "failed": 3, "skipped": 2},
        "ours": {"passed": 4, "failed": 4, "skipped": 2, "crashed": 2},
    }
    worse = report["tests"][many + "test_worse"]
    assert worse["reruns"] == {"stock": ["passed"], "ours": ["failed"]}
    assert "only stock" in worse["ours"]["message"]
    assert report["tests"][many + "test_crash"]["ours"]["message"] == "SIGABRT"
    assert "no_such_module" in report["tests"]["tests/test_import.py"]["stock"]["message"]
    printed = capsys.readouterr().out
    assert "pass stock, fail with us: 3\n" in printed
    assert "not passed: stock 0/2, ours 2/2; AssertionError: True is not false" in printed

    arguments[-1:] = ["60", "--tests", "tests/test_s*.py"]
    assert run_faiss_tests.main(arguments, COMMANDS) == 0
    with pytest.raises(SystemExit, match="no file"):
        run_faiss_tests.main([str(checkout), "--tests", "none*"], COMMANDS)


def test_a_crash_or_a_hang_loses_no_other_test(tmp_path, monkeypatch):
    """In a faiss without faiss.contrib, found by a relative path."""
    checkout = write(
        tmp_path / "checkout",
        {
            "contrib/__init__.py": "",
            "contrib/made_up.py": "",
            "tests/test_hangs.py": HANGS,
            "tests/test_hangs_at_once.py": "import time; time.sleep(1000)",
        },
    )
    write(tmp_path, {"installed/faiss/__init__.py": ""})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "installed")

    file = "tests/test_hangs.py"
    lines = Runner(checkout, 5, COMMANDS).run("stock", file)
    assert {name.removeprefix(file): line["outcome"] for name, line in lines.items()} == {
        "": "passed",
        "::test_before": "passed",
        "::test_crash": "crashed",
        "::test_between": "passed",
        "::test_exit": "crashed",
        "::test_hang": "hung",
        "::test_last": "passed",
    }
    assert lines[file + "::test_exit"]["message"].startswith("exit 0")
    assert "in test_hang" in lines[file + "::test_hang"]["detail"]

    file = "tests/test_hangs_at_once.py"
    assert Runner(checkout, 1, COMMANDS).run("stock", file)[file]["outcome"] == "hung"
