"""bench/run.py where peers fail or are missing, interrupted, and what report.py makes of it."""

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
from suites import Case  # noqa: E402

OURS, STOCK = "faiss_flash (CPU)", "faiss (CPU)"
CEILINGS = {"gpu": "a GPU", "gemm_f16_tflops": 700.0, "copy_gb_s": 4000.0}


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
    assert figures.headlines(rows) == [
        ("iteration N=1048576 K=8192 d=128 f32", "cuVS", 30, 3, None),
        ("iteration N=1048576 K=8192 d=128 f32", "faiss (GPU)", 75, 5, None),
        ("iteration N=1048576 K=8192 d=128 f16", "flash-kmeans", 8, 4, 2),
    ]
    products_ms = 2 * (1 << 20) * 8192 * 128 / 700e12 * 1e3
    assert figures.share_of_limit(rows[2], CEILINGS) == pytest.approx(products_ms / 30)
    reads_ms = 33 * (1 << 20) * 128 * 2 / 4e12 * 1e3
    update = row("x", [10], suite="kernel", kind="update", n=33 << 20, k=4096, dtype="f16")
    assert figures.share_of_limit(update, CEILINGS) == pytest.approx(reads_ms / 10)


def test_the_readme_holds_what_the_results_say(tmp_path):
    rows = [row("faiss_flash (host data)", [5]), row("faiss (GPU)", [60]), row("cuVS", [])]
    machine = {"cpu": "a CPU", "cores": 2, "date": "2026-01-01"}
    results = {"machine": machine, "ceilings": CEILINGS, "rows": rows}
    block = report.readme_block(results, pathlib.Path("bench/results/x"))
    assert "| N=1048576 K=8192 d=128 f32 | faiss (GPU) | 60 | 5 | 12.0 | - | - |" in block
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    with pytest.raises(SystemExit, match="is not what"):
        report.update_readme(readme, block, check=True)
    report.update_readme(readme, block, check=False)
    assert readme.read_text() == f"before\n{block}\nafter\n"
    report.update_readme(readme, block, check=True)


def test_a_folder_of_points_takes_the_place_of_mixtures(tmp_path):
    np.save(tmp_path / "base.npy", np.zeros((1000, 24), dtype="float32"))
    cases = [*suites.build(), *suites.cpu()]
    found = run.with_points(cases, tmp_path)
    builds = [case for case in found if case.suite == "build"]
    assert {(case.kind, case.k) for case in builds} == {("ivfflat", 4096), ("ivfflat", 1024)}
    assert all((case.n, case.d, case.data) == (1000, 24, str(tmp_path)) for case in builds)
    assert [case.data for case in found[2:]] == ["normal", str(tmp_path / "base.npy")]
    assert run.with_points(cases, None) == cases
