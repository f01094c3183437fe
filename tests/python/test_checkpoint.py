"""kmeans(checkpoint=, resume=): a process that is killed, and the one that goes on."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import mixture

import faiss_flash

OPTIONS = {
    "plain": {},
    "product": {"metric": "ip", "spherical": True},
    "weights": {"weights": 1 + np.arange(2000, dtype="float32") % 5},
    "restarts": {"nredo": 3, "niter": 5, "early_stop_threshold": 1e-3},
    "sample": {"max_points_per_centroid": 30, "return_assignment": True},
}


@pytest.fixture
def x():
    return mixture(2000, 8, 40, seed=3)


def expect_same(result, expected):
    assert result.centroids.tobytes() == expected.centroids.tobytes()
    assert result.obj.tobytes() == expected.obj.tobytes()
    np.testing.assert_array_equal(result.assignment, expected.assignment)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_stopped_run_goes_on(x, tmp_path, name):
    path = tmp_path / "state"
    options = {"niter": 9, "early_stop_threshold": None, **OPTIONS[name]}
    calls = []
    expected = faiss_flash.kmeans(x, 12, callback=lambda *_: calls.append(1), **options)
    stop = len(calls) - 2
    calls.clear()

    def stopping(_stats, _seconds_left):
        calls.append(1)
        return len(calls) != stop

    faiss_flash.kmeans(x, 12, checkpoint=path, callback=stopping, **options)
    later = []
    seen = faiss_flash.kmeans(
        x, 12, checkpoint=str(path), resume=True, callback=lambda *_: later.append(1), **options
    )
    expect_same(seen, expected)
    assert 0 < len(later) < stop
    finished = faiss_flash.kmeans(
        x, 12, checkpoint=path, resume=True, callback=lambda *_: pytest.fail("ran"), **options
    )
    expect_same(finished, expected)
    assert os.listdir(tmp_path) == ["state"]


def test_an_exception_leaves_the_file(x, tmp_path):
    """The newest state that was written, which another run takes up."""
    path = tmp_path / "state"
    options = {"niter": 60, "early_stop_threshold": None, "seed": 5}

    def failing(_stats, _seconds_left):
        if path.exists():
            raise KeyboardInterrupt
        time.sleep(0.002)

    with pytest.raises(KeyboardInterrupt):
        faiss_flash.kmeans(x, 12, checkpoint=path, callback=failing, **options)
    later = []
    result = faiss_flash.kmeans(
        x, 12, checkpoint=path, resume=True, callback=lambda *_: later.append(1), **options
    )
    assert len(later) < 60
    expect_same(result, faiss_flash.kmeans(x, 12, **options))


def test_what_is_refused(x, tmp_path):
    path = tmp_path / "state"
    faiss_flash.kmeans(x, 12, checkpoint=path)
    for other, options, text in [
        (x + 1, {}, f"checkpoint={path} is of other points"),
        (x[1:], {}, "n=2000"),
        (x, {"niter": 3}, "niter=25"),
        (x, {"seed": 3}, "seed=1234"),
    ]:
        with pytest.raises(faiss_flash.InvalidArgument, match=text):
            faiss_flash.kmeans(other, 12, checkpoint=path, resume=True, **options)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match=f"checkpoint={path} is cut short"):
        faiss_flash.kmeans(x, 12, checkpoint=path, resume=True)
    with pytest.raises(RuntimeError, match="No such file or directory"):
        faiss_flash.kmeans(x, 12, checkpoint=tmp_path / "none" / "state")
    with pytest.raises(faiss_flash.InvalidArgument, match="resume"):
        faiss_flash.kmeans(x, 12, resume=True)
    with pytest.raises(faiss_flash.InvalidArgument, match="checkpoint"):
        faiss_flash.batch_kmeans([x, x], 12, checkpoint=path)
    with pytest.raises(faiss_flash.InvalidArgument, match="checkpoint=''"):
        faiss_flash.kmeans(x, 12, checkpoint="")
    with pytest.raises(TypeError, match="checkpoint=3"):
        faiss_flash.kmeans(x, 12, checkpoint=3)


def test_killed_processes_go_on(tmp_path):
    x = np.random.default_rng(1).standard_normal((4000, 16), dtype="float32")
    np.save(tmp_path / "x.npy", x)
    path = tmp_path / "state"
    options = {"niter": 300, "nredo": 5, "early_stop_threshold": None, "init_centroids": x[:3]}
    code = f"""
    import sys, time
    import numpy as np, faiss_flash
    x = np.load({str(tmp_path / "x.npy")!r})
    options = dict(niter=300, nredo=5, early_stop_threshold=None, init_centroids=x[:3])

    def slowly(stats, seconds_left):
        time.sleep(0.0005)

    print("started", flush=True)
    faiss_flash.kmeans(
        x, 40, checkpoint={str(path)!r}, resume=True, callback=slowly, **options
    )
    """
    draw = random.Random(4)
    states = set()
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"started\n"
        time.sleep(draw.uniform(0.005, 0.08))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        if path.exists():
            states.add(path.read_bytes())
    assert len(states) > 1
    later = []
    result = faiss_flash.kmeans(
        x, 40, checkpoint=path, resume=True, callback=lambda *_: later.append(1), **options
    )
    assert len(later) < 1500
    expect_same(result, faiss_flash.kmeans(x, 40, **options))
    assert sorted(Path(tmp_path).iterdir()) == [path, tmp_path / "x.npy"]
