"""Runs a file of FAISS's tests to its end, through crashes and tests that hang."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent  # of the plugin


class Runner:
    def __init__(self, checkout, timeout, commands):
        self.checkout = checkout
        self.timeout = timeout
        self.commands = commands

    def run(self, side, file, only=None):
        """{id: line of the log} of the tests in a file, or of some, and of the file itself."""
        done = {}
        while only != []:
            log, bad_end = self.run_process(side, file, only)
            collected = next((line["collected"] for line in log if "collected" in line), [])
            done.update((line["id"], line) for line in log if "id" in line)
            started = [line["start"] for line in log if "start" in line]
            running = [name for name in started if name not in done]
            if bad_end:
                done[running[0] if running else file] = bad_end
            if not running:
                break
            only = [name for name in collected if name not in done]
        done.setdefault(file, {"outcome": "passed"})
        return done

    def run_process(self, side, file, only):
        """(lines of the log, None or what to say of the test that ended the process)."""
        with tempfile.TemporaryDirectory() as folder:
            log, run, output = (pathlib.Path(folder) / name for name in ("log", "run", "output"))
            log.touch()
            run.write_text(
                json.dumps({"log": str(log), "only": only, "checkout": str(self.checkout)})
            )
            options = ["-q", "-s", "--tb=short", "-p", "log_outcomes", "-p", "no:cacheprovider"]
            options += ["--rootdir", self.checkout, "--confcutdir", self.checkout]
            path = self.checkout / file
            with output.open("w") as out:
                process = subprocess.Popen(
                    [*self.commands[side], *options, path],
                    cwd=path.parent,
                    env=self.environment(run),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                status = self.wait(process, log)
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            detail = output.read_text(errors="replace")[-4000:]
        if status is None:
            message = f"hung: no outcome for {self.timeout:g} s"
            return lines, {"outcome": "hung", "message": message, "detail": detail}
        if status < 0 or {"finished": True} not in lines:
            last = detail.strip().rpartition("\n")[2]
            message = signal.Signals(-status).name if status < 0 else f"exit {status}: {last}"
            return lines, {"outcome": "crashed", "message": message, "detail": detail}
        return lines, None

    def environment(self, run):
        # The tests run in their folder, and those for GPUs need what lies beside the others.
        inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        paths = [HERE, self.checkout / "tests", *map(os.path.abspath, inherited)]
        return {
            "OMP_WAIT_POLICY": "passive",  # the tests ask for more threads than there may be cores
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FAISS_TESTS_RUN": str(run),
        }

    def wait(self, process, log):
        """The exit status, or None where nothing was written to the log for too long."""
        left = self.timeout
        try:
            while left > 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(left)
                left = log.stat().st_mtime + self.timeout - time.time()
            process.send_signal(signal.SIGABRT)  # pytest then writes where it was
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            return None
        finally:  # with what it has forked
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def outcome(line):
    return line["outcome"] if line else "not run"
