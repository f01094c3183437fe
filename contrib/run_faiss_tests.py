"""FAISS's own Python tests as the judge of faiss_flash: what passes stock must pass with us.

Runs the tests of a FAISS checkout of the release that is installed, with the Python that runs this
(which needs pytest), each file in a process of its own: stock, and under `python -m faiss_flash`.
A test that crashes or hangs loses no other test. What passes stock and does not with us is run
again, stock too, and counts as flaky where stock fails at all. Exit status 1 if such tests remain.

  git clone -b v1.15.0 --depth 1 https://github.com/facebookresearch/faiss
  python contrib/run_faiss_tests.py faiss
"""

import argparse
import collections
import json
import pathlib
import sys
import time

from faiss_tests.runner import Runner, outcome

COMMANDS = {
    "stock": [sys.executable, "-m", "pytest"],
    "ours": [sys.executable, "-m", "faiss_flash", "-m", "pytest"],
}
OUTCOMES = ("passed", "failed", "skipped", "crashed", "hung", "not run")


def differing(tests, *, stock_passes):
    """Names of the tests that pass stock and not with us, or the other way round."""
    good, bad = ("stock", "ours") if stock_passes else ("ours", "stock")
    return [
        name
        for name, sides in tests.items()
        if outcome(sides.get(good)) == "passed" != outcome(sides.get(bad))
    ]


def judge_file(runner, file, reruns):
    """({id: {"stock": line, "ours": line, "reruns": ...}}, seconds of the first runs)."""
    tests, seconds = collections.defaultdict(dict), {}
    for side in runner.commands:
        begin = time.monotonic()
        for name, line in runner.run(side, file).items():
            tests[name][side] = line
        seconds[side] = round(time.monotonic() - begin, 1)
    suspects = differing(tests, stock_passes=True)
    for name in suspects:
        tests[name]["reruns"] = {side: [] for side in runner.commands}
    for _ in range(reruns if suspects else 0):
        for side in runner.commands:
            lines = runner.run(side, file, None if file in suspects else suspects)
            for name in suspects:
                tests[name]["reruns"][side].append(outcome(lines.get(name)))
    return tests, seconds


def counts(tests, side):
    """Of the tests, and of the files that are not only the sum of their tests."""
    outcomes = (
        outcome(sides.get(side))
        for name, sides in tests.items()
        if "::" in name or any(outcome(sides.get(s)) != "passed" for s in COMMANDS)
    )
    return collections.Counter(outcomes)


def verdict(tests):
    lists = {"worse": [], "flaky": [], "better": differing(tests, stock_passes=False)}
    for name in differing(tests, stock_passes=True):
        flaky = any(again != "passed" for again in tests[name]["reruns"]["stock"])
        lists["flaky" if flaky else "worse"].append(name)
    return {"counts": {side: counts(tests, side) for side in COMMANDS}, **lists}


def judge(runner, pattern, reruns, out):
    checkout = runner.checkout
    files = sorted(path.relative_to(checkout).as_posix() for path in checkout.glob(pattern))
    if not files:
        raise SystemExit(f"no file {pattern} in {checkout}")
    report = {**versions(), "files": {}, "tests": {}}
    print(", ".join(f"{name} {value}" for name, value in versions().items()))
    for file in files:
        tests, seconds = judge_file(runner, file, reruns)
        report["files"][file] = seconds
        report["tests"].update(tests)
        report.update(verdict(report["tests"]))
        for side in COMMANDS:
            print(f"{file} {side}: {in_words(counts(tests, side))}, {seconds[side]} s", flush=True)
        if out:  # after each file: a run takes long
            out.write_text(json.dumps(report, indent=1))
    return report


def versions():
    import faiss

    return {
        "python": sys.version.split()[0],
        "faiss": faiss.__version__,
        "threads": faiss.omp_get_max_threads(),
    }


def in_words(counter):
    return ", ".join(f"{counter[name]} {name}" for name in OUTCOMES if counter[name]) or "no test"


def print_verdict(report):
    print()
    for side in COMMANDS:
        print(f"{side}: {in_words(report['counts'][side])}")
    for key, title in (
        ("worse", "pass stock, fail with us"),
        ("flaky", "flaky: fail stock in a rerun, fail with us"),
        ("better", "fail stock, pass with us"),
    ):
        print(f"\n{title}: {len(report[key])}")
        for name in report[key]:
            print(f"  {name}{said_of(report['tests'][name])}")


def said_of(test):
    if "reruns" not in test:
        return ""
    runs = {side: [outcome(test.get(side)), *again] for side, again in test["reruns"].items()}
    bad = [f"{side} {sum(o != 'passed' for o in of)}/{len(of)}" for side, of in runs.items()]
    message = test.get("ours", {}).get("message", runs["ours"][0])
    return f"\n    not passed: {', '.join(bad)}; {message[:200]}"


def main(arguments=None, commands=COMMANDS):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=pathlib.Path, help="folder of a FAISS checkout")
    parser.add_argument(
        "--tests", default="tests/*test_*.py", help="files in the checkout (default %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=300, help="seconds for a test (default %(default)s)"
    )
    parser.add_argument(
        "--reruns", type=int, default=3, help="of what fails with us only (default %(default)s)"
    )
    parser.add_argument("--out", type=pathlib.Path, help="report, JSON")
    args = parser.parse_args(arguments)
    runner = Runner(args.checkout.resolve(), args.timeout, commands)
    report = judge(runner, args.tests, args.reruns, args.out)
    print_verdict(report)
    return bool(report["worse"])


if __name__ == "__main__":
    sys.exit(main())
