"""A pytest plugin that writes what happens as it happens: nothing is lost when the process dies.

It reads the file $FAISS_TESTS_RUN, {"log": path, "only": [ids] or null, "checkout": path}, runs no
other tests than `only`, and appends a line of JSON to the log for each of
  {"collected": ids}    {"start": id}    {"finished": true}
  {"id": id, "outcome": "passed", "failed" or "skipped", "seconds": s, "message": m, "detail": d}
The id of a file that could not be collected is that of the file.
"""

import importlib.util
import json
import os
import pathlib
import time

RUN = json.loads(pathlib.Path(os.environ["FAISS_TESTS_RUN"]).read_text())


class Test:
    """What the reports of a test's setup, call, subtests and teardown come to."""

    def __init__(self):
        self.outcome = "passed"
        self.began = time.monotonic()
        self.failure = {}

    def add(self, report):
        if report.outcome == "failed":
            if not self.failure:
                self.failure = failure(report)
            self.outcome = "failed"
        elif self.outcome != "failed" and getattr(report, "when", None) != "teardown":
            self.outcome = report.outcome

    def line(self, name):
        seconds = round(time.monotonic() - self.began, 3)
        return {"id": name, "outcome": self.outcome, "seconds": seconds, **self.failure}


running = {}


def write(line):
    with open(RUN["log"], "a") as log:
        log.write(json.dumps(line) + "\n")


def failure(report):
    detail = report.longreprtext
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else detail.strip().rpartition("\n")[2]
    return {"message": " ".join(message.split()), "detail": detail}


def pytest_configure():
    """FAISS's packages have faiss.contrib inside; a faiss without it gets the checkout's."""
    folders = importlib.util.find_spec("faiss").submodule_search_locations
    if not any((pathlib.Path(folder) / "contrib").exists() for folder in folders):
        import faiss

        faiss.__path__.append(RUN["checkout"])


def pytest_collection_modifyitems(items):
    if RUN["only"] is not None:
        items[:] = [item for item in items if item.nodeid in RUN["only"]]


def pytest_collection_finish(session):
    write({"collected": [item.nodeid for item in session.items]})


def pytest_collectreport(report):
    if report.outcome != "passed":
        test = Test()
        test.add(report)
        write(test.line(report.nodeid))


def pytest_runtest_logstart(nodeid):
    running[nodeid] = Test()
    write({"start": nodeid})


def pytest_runtest_logreport(report):
    running[report.nodeid].add(report)


def pytest_runtest_logfinish(nodeid):
    write(running.pop(nodeid).line(nodeid))


def pytest_sessionfinish():
    write({"finished": True})
