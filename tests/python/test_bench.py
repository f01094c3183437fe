"""bench/run.py where peers fail or are missing, interrupted, and what report.py makes of it."""

import argparse
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import figures  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import suites  # noqa: E402
import worker  # noqa: E402
from peer import Peer  # noqa: E402
from suites import Case  # noqa: E402

OURS, STOCK = "faiss_flash (CPU)", "faiss (CPU)"
CEILINGS = {
    "gpu": "a GPU",
    "gemm_f16_tflops": 700.0,
    "copy_gb_s": 4000.0,
    "host_to_device_gb_s": 50.0,
}


def start(out, *options):
    """bench/run.py of the cpu suite, one round of each of its two cases."""
    command = [sys.executable, BENCH / "run.py", "cpu", "--out", out, "--rounds", "1", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fake_python(folder, name, *lines):
    """A program in the place of an interpreter with a peer."""
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


def test_failing_and_missing_peers_do_not_stop_the_others(tmp_path):
    version = 'read request; echo \'{"value": "1"}\''
    dying = fake_python(tmp_path, "dying", version, "read request", "exit 3")
    refusing = fake_python(
        tmp_path, "refusing", version, 'read request; echo \'{"error": "no memory"}\'', "read end"
    )
    absent = str(tmp_path / "absent")
    uninstalled = fake_python(
        tmp_path, "uninstalled", 'read request; echo \'{"error": "ImportError"}\''
    )
    pythons = [dying, refusing, absent, uninstalled]
    process = start(tmp_path / "out", "--peers", OURS, STOCK, "--python", *pythons)
    printed, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    results = json.loads((tmp_path / "out" / "results.json").read_text())

    assert {f"{peer} [{python}]" for peer in (OURS, STOCK) for python in (absent, uninstalled)} == {
        *results["missing"]
    }
    rows = results["rows"]
    assert len(rows) == 2 * 6  # cases times peers that told their version
    failures = {row["peer"]: row["error"] for row in rows if "error" in row}
    assert "ended" in failures[f"{OURS} [{dying}]"]
    assert failures[f"{STOCK} [{refusing}]"] == "no memory"
    assert not any(row["ms"] for row in rows if row["peer"] in failures)

    measured = [row for row in rows if row["peer"] in (OURS, STOCK)]
    assert len(measured) == 4 and results["ceilings"]["sgemm_tflops"] > 0
    for row in measured:
        assert len(row["ms"]) == 1 and row["ms"][0] > 0 and row["objective"] > 0, row
        assert row["wrong_ppm"] == 0 or row["peer"] == STOCK
    for case, group in figures.groups(measured).items():
        objectives = [row["objective"] for row in group]  # the same points and first centroids
        assert max(objectives) < min(objectives) * (1 + 1e-4), case

    assert (tmp_path / "out" / "results.md").read_text() in printed
    for text in (f"Missing: {OURS} [{absent}]", "failed: no memory", "of SGEMM", OURS):
        assert text in printed


def test_an_interruption_keeps_what_was_measured(tmp_path):
    process = start(tmp_path, "--peers", OURS)
    results, deadline = {"rows": []}, time.monotonic() + 120
    while not results["rows"] and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            results = json.loads((tmp_path / "results.json").read_text())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"][0]["ms"]
    assert not any(row["data"] == "mixture" and row["ms"] for row in results["rows"])
    assert any("interrupted" in what for what in results["not_run"])
    assert "interrupted" in (tmp_path / "results.md").read_text()


HOST_CALL = Case("call", "call", 3000, 20, 8, niter=3, where="host")


def test_whole_calls_are_timed_again_and_again_from_the_arrays(tmp_path):
    cases = [HOST_CALL, Case("call", "call", 3000, 20, 8, where="device")]
    arguments = argparse.Namespace(
        suites=[lambda: cases],
        out=tmp_path,
        rounds=2,
        seconds=200,
        case_seconds=100,
        peers=["faiss_flash (host data)", "faiss_flash (CPU)", "FlashLib [CuTe]"],
        points=[],
        python=[],
        blas=[],
    )
    measurement = run.Run(arguments)
    measurement.start_peers()
    measurement.run_all()
    measurement.close()
    assert set(measurement.results["missing"]) == set()  # float32: nobody else takes these
    (found,) = measurement.results["rows"]  # no points on a device
    assert found["peer"] == "faiss_flash (host data)" and found["where"] == "host", found
    assert len(found["ms"]) > 2 and min(found["ms"]) > 0
    assert found["objective"] > 0 and found["wrong_ppm"] == 0
    printed = report.markdown(measurement.results)
    assert "call, N=3000 K=20 d=8 f32, 3 iterations, from host memory:" in printed
    assert f"(least {min(found['ms']):.4g})" in printed


class Recording(Peer):
    where = "host"

    def fit(self, k, niter):
        self.fits = [*getattr(self, "fits", []), niter]

    def centroids(self):
        return self.x[0, :20]

    def assign_rows(self, count):
        return None


def test_one_whole_call_is_not_counted_and_none_is_made_for_the_quality(monkeypatch):
    monkeypatch.setitem(worker.ALL_PEERS, "recording", Recording)
    monkeypatch.setattr(worker, "MOST_CALLS", 4)
    process = worker.Worker("recording")
    process.prepare(vars(HOST_CALL))
    assert process.peer.initial is None
    assert [len(process.measure()["ms"]) for _ in range(2)] == [4, 4]
    assert process.quality()["objective"] > 0
    assert process.peer.fits == [*[worker.FEW] * 3, *[3] * 9]

    monkeypatch.setattr(worker, "LONG_CALL", 0.0)  # as if a call took seconds
    process.prepare(vars(HOST_CALL))
    del process.peer.fits[:]
    process.measure()
    assert process.peer.fits == [*[worker.FEW] * 2, *[3] * 4]

    monkeypatch.setattr(Recording, "needs_first", True)
    process.prepare(vars(HOST_CALL))
    assert (process.peer.initial == process.peer.x[:, :20]).all()


def test_who_takes_which_whole_call():
    def takers(case):
        return {name for name, peer in peers.PEERS.items() if peer().takes(case)}

    cases = list(suites.call())
    assert all(case.where in ("device", "host") for case in cases)
    on_device = {"faiss_flash", "flash-kmeans", "FlashLib"}
    on_host = {*figures.OURS}
    for case in cases:
        both = case.dtype == "f16" and case.d <= 512
        other = {"faiss_flash (fast)"} if case.dtype == "f16" else {"cuVS"}
        cute = {"FlashLib [CuTe]"} if both else set()
        expected = on_host if case.where == "host" else on_device | other | cute
        assert takers(case) == expected, case


def test_the_version_of_stock_faiss_tells_its_instruction_sets():
    faiss = pytest.importorskip("faiss")
    version = peers.FaissCpu().version()
    assert version.startswith(f"{faiss.__version__} (swigfaiss")
    assert " ".join(faiss.get_compile_options().split()) in version


def row(peer, ms, **fields):
    case = {"suite": "iteration", "kind": "iteration", "n": 1 << 20, "k": 8192, **fields}
    return {**vars(Case(**case)), "peer": peer, "version": "1", "ms": ms, "objective": 2.0}


def test_ratios_compare_points_in_the_same_place():
    rows = [
        row("faiss_flash", [2, 4, 3]),
        row("faiss_flash (host data)", [5]),
        row("cuVS", [30]),
        row("faiss (GPU)", [100, 50]),
        row("flash-kmeans", []),
        row("flash-kmeans", [8], dtype="f16"),
        row("faiss_flash", [4], dtype="f16"),
        row("faiss_flash (fast)", [2], dtype="f16"),
    ]
    f32, f16 = (figures.case_of(rows[i]) for i in (0, 5))
    assert figures.headlines(rows, ("iteration",)) == [
        (f32, "cuVS", "1", 30, 3, None),
        (f32, "faiss (GPU)", "1", 75, 5, None),
        (f16, "flash-kmeans", "1", 8, 4, 2),
    ]
    assert figures.headlines(rows, ("call",)) == []
    products_ms = 2 * (1 << 20) * 8192 * 128 / 700e12 * 1e3
    assert figures.share_of_limit(rows[2], CEILINGS) == pytest.approx(products_ms / 30)
    reads_ms = 33 * (1 << 20) * 128 * 2 / 4e12 * 1e3
    update = row("x", [10], suite="kernel", kind="update", n=33 << 20, k=4096, dtype="f16")
    assert figures.share_of_limit(update, CEILINGS) == pytest.approx(reads_ms / 10)

    call = {"suite": "call", "kind": "call", "niter": 12}
    on_device = row("x", [100], where="device", **call)
    assert figures.share_of_limit(on_device, CEILINGS) == pytest.approx(12 * products_ms / 100)
    upload_ms = (1 << 20) * 128 * 4 / 50e9 * 1e3
    on_host = row("x", [100], where="host", **call)
    limit_ms = 12 * products_ms + upload_ms
    assert figures.share_of_limit(on_host, CEILINGS) == pytest.approx(limit_ms / 100)


@pytest.mark.parametrize(
    "suite, peer, mine",
    [
        ("call", "FlashLib [CuTe]", "faiss_flash"),
        ("call", "FlashLib (pinned host data)", "faiss_flash (pinned host data)"),
        ("call", "fastkmeans [/venv/bin/python]", "faiss_flash (host data)"),
        ("cpu", "faiss (CPU), SkylakeX BLAS", "faiss_flash (CPU)"),
    ],
)
def test_each_peer_is_compared_with_ours_in_its_place(suite, peer, mine):
    assert figures.ours({"suite": suite, "peer": peer}) == mine


def test_the_readme_holds_what_the_results_say(tmp_path):
    call = {"suite": "call", "kind": "call", "niter": 12, "where": "device", "dtype": "f16"}
    rows = [
        row("faiss_flash (host data)", [5]),
        row("faiss (GPU)", [60]),
        row("cuVS", []),
        row("faiss_flash", [100, 80], **call),
        row("FlashLib", [50], **call),
        row("faiss_flash", [], k=64, **call),
        row("FlashLib", [7], k=64, **call),
    ]
    machine = {"cpu": "a CPU", "cores": 2, "date": "2026-01-01"}
    results = {"machine": machine, "ceilings": CEILINGS, "rows": rows}
    block = report.readme_block([(results, pathlib.Path("bench/results/x"))])
    iteration = "| N=1048576 K=8192 d=128 f32 | faiss (GPU) 1 | 60 (5%) | 5 (63%) | 12.00 | - | - |"
    slower = "d=128 f16, 12 iterations | FlashLib 1 | 50 (75%) | 90 (42%) | 0.56 | - | - |"
    assert "d=128 f16, 12 iterations | FlashLib 1 | 7 (12%) | failed | - | - | - |" in block
    assert 0 < block.index("Whole calls") < block.index(slower) < block.index(iteration)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    with pytest.raises(SystemExit, match="is not what"):
        report.update_readme(readme, block, check=True)
    report.update_readme(readme, block, check=False)
    assert readme.read_text() == f"before\n{block}\nafter\n"
    report.update_readme(readme, block, check=True)

    calls, others = (
        [r for r in rows if (r["kind"] == "call") == wanted] for wanted in (True, False)
    )
    runs = [
        ({**results, "rows": part}, pathlib.Path(name))
        for part, name in ((calls, "a"), (others, "b"))
    ]
    block = report.readme_block(runs)
    assert 0 < block.index("(a/results.md)") < block.index(slower) < block.index("(b/results.md)")
    assert block.index("(b/results.md)") < block.index(iteration)


def test_an_objective_that_is_no_number_spoils_no_others():
    rows = [row("faiss_flash", [2]), row("flash-kmeans", [8]), row("FlashLib", [9])]
    rows[0]["objective"], rows[1]["objective"] = float("nan"), 3.0
    table = report.timing_table(figures.case_of(rows[0]), rows, CEILINGS)
    assert "| nan |" in table and "| 5.0e-01 |" in table and "| 0.0e+00 |" in table


def folder_of_points(folder, n, d, names=("base",)):
    folder.mkdir()
    for name in names:
        np.save(folder / f"{name}.npy", np.zeros((n, d), dtype="float32"))
    return folder


def test_folders_of_points_take_the_place_of_mixtures(tmp_path):
    sift = folder_of_points(tmp_path / "sift", 1000, 24, ("train", "base", "query"))
    minilm = folder_of_points(tmp_path / "minilm", 2000, 32)
    cases = [*suites.build(), *suites.cpu()]
    found = run.with_points(cases, [sift, minilm])
    builds = [case for case in found if case.suite == "build"]
    assert {(case.kind, case.k) for case in builds} == {("ivfflat", 4096), ("ivfflat", 1024)}
    assert all((case.n, case.d, case.data) == (1000, 24, str(sift)) for case in builds)
    on_both = [str(folder / "base.npy") for folder in (sift, minilm)]
    assert [case.data for case in found[2:]] == ["normal", *on_both]
    assert run.with_points(cases, []) == cases


def test_whole_calls_over_points_stand_beside_those_over_mixtures(tmp_path):
    sift = folder_of_points(tmp_path / "sift", 1000, 24)
    minilm = folder_of_points(tmp_path / "minilm", 2000, 32)
    cases = [*suites.call()]
    found = run.with_points(cases, [sift, minilm])
    assert [case for case in found if case in cases] == cases
    for case in cases:
        if case.data == "mixture":
            at = found.index(case)
            over = [(c.n, c.d, c.k, c.dtype, c.data, c.niter) for c in found[at + 1 : at + 3]]
            kept = (case.k, case.dtype)
            assert over == [
                (1000, 24, *kept, str(sift / "base.npy"), case.niter),
                (2000, 32, *kept, str(minilm / "base.npy"), case.niter),
            ]
    assert len(found) == len(cases) + 2 * sum(case.data == "mixture" for case in cases)
    assert figures.describe(found[-4]).startswith("N=2000 K=16384 d=32 f32, minilm/base.npy")


def test_quality_stands_against_25_iterations_of_ours(tmp_path):
    def case(niter):
        return Case(
            "quality", "call", 4000, 30, 8, data="mixture", niter=niter, where="host", sweep="niter"
        )

    e_means = "faiss_flash e-means (CPU)"
    arguments = argparse.Namespace(
        suites=[lambda: [case(2), case(25)]],
        out=tmp_path,
        rounds=1,
        seconds=200,
        case_seconds=100,
        peers=[OURS, e_means, "faiss_flash e-means"],
        points=[],
        python=[],
        blas=[],
    )
    measurement = run.Run(arguments)
    measurement.start_peers()
    measurement.run_all()
    measurement.close()
    (curve,) = figures.curves(measurement.results["rows"]).values()
    found = {(peer, niter): above for peer, niter, _, above in curve}
    assert set(found) == {(e_means, 2), (OURS, 25)}
    assert found[OURS, 25] == 0 and abs(found[e_means, 2]) < 0.1
    printed = report.markdown(measurement.results)
    assert f"| {OURS} | 25 |" in printed and "+0.00%" in printed


def test_who_takes_which_case_of_quality():
    for case in suites.quality():
        takers = {name for name, peer in peers.PEERS.items() if peer().takes(case)}
        ours = "faiss_flash (CPU)" if case.where == "host" else "faiss_flash"
        averaged = ours.replace("faiss_flash", "faiss_flash e-means", 1)
        assert (ours in takers) == (case.niter in suites.LLOYD)
        assert (averaged in takers) == (case.niter in suites.PASSES)
        assert all(peers.PEERS[name].where == case.where for name in takers)
