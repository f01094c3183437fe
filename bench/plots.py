"""Plots of results.json: speed-ups, roofline, scaling, memory, recall against queries a second."""

import functools
import pathlib

import figures


def draw(results, folder):
    """Every plot that there are figures for."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    for name, plot in PLOTS.items():
        figure = plot(results)
        if figure is not None:
            figure.tight_layout()
            figure.savefig(folder / f"{name}.png", dpi=110)


def _subplots(*arguments, **options):
    import matplotlib.pyplot as plt

    return plt.subplots(*arguments, **options)


def speedup(results, kind):
    found = [line for line in figures.headlines(results["rows"], (kind,)) if line.exact_ms]
    if not found:
        return None
    peers = list(dict.fromkeys(line.peer for line in found))
    figure, axes = _subplots(figsize=(8, 1 + 0.28 * len(found)))
    labels = [f"{figures.describe(line.case)}, {line.peer}" for line in found]
    factors = [line.theirs_ms / line.exact_ms for line in found]
    axes.barh(labels, factors, color=[f"C{peers.index(line.peer)}" for line in found])
    fast = [line.theirs_ms / line.fast_ms if line.fast_ms else 0 for line in found]
    marks = [(factor, y) for y, factor in enumerate(fast) if factor]
    if marks:
        axes.plot(*zip(*marks), "kD", markersize=4, label="centroids rounded to f16, as the peer's")
        axes.legend(fontsize=8, loc="lower right")
    for y, (factor, other) in enumerate(zip(factors, fast)):
        axes.text(1.15 * max(factor, other), y, f"{factor:.3g}", va="center", fontsize=8)
    axes.margins(x=0.1, y=0.01)
    axes.set(xscale="log", xlabel=f"faiss_flash (bars: exact) is times as fast, one {kind}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    return figure


def roofline(results):
    rows = [r for r in results["rows"] if r["kind"] == "assign" and r["dtype"] == "f16" and r["ms"]]
    ceilings = results["ceilings"]
    if not rows or "gemm_f16_tflops" not in ceilings:
        return None
    figure, axes = _subplots(figsize=(6, 4))
    intensity = [2.0**power for power in range(4, 18)]
    roof = [min(i * ceilings["copy_gb_s"] / 1e3, ceilings["gemm_f16_tflops"]) for i in intensity]
    axes.plot(intensity, roof, color="black", label="ceilings of this run")
    for number, peer in enumerate(dict.fromkeys(row["peer"] for row in rows)):
        cases = [(figures.case_of(r), figures.median_ms(r)) for r in rows if r["peer"] == peer]
        x = [case.flops / case.point_bytes for case, _ in cases]
        y = [case.flops / ms * 1e-9 for case, ms in cases]
        axes.scatter(x, y, marker="os^"[number % 3], label=peer)
    axes.set(xscale="log", yscale="log", ylabel="TFLOP/s", title="assignment, f16")
    axes.set(xlabel="FLOP of the products per byte of the points")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    return figure


def scaling(results):
    rows = [r for r in results["rows"] if r["suite"] == "sweep" and r["ms"]]
    if not rows:
        return None
    figure, grid = _subplots(2, 2, figsize=(9, 7))
    for axes, letter in zip(grid.ravel(), "NKdB"):
        swept = [r for r in rows if r["sweep"] == letter]
        for peer in dict.fromkeys(row["peer"] for row in swept):
            mine = [r for r in swept if r["peer"] == peer]
            field = {"N": "n", "K": "k", "d": "d", "B": "batch"}[letter]
            x, y = [r[field] for r in mine], [figures.median_ms(r) for r in mine]
            axes.plot(x, y, marker="o", label=peer)
        axes.set(xscale="log", yscale="log", xlabel=letter, ylabel="ms an iteration")
        axes.grid(alpha=0.3, which="both")
    grid[0, 0].legend(fontsize=8)
    return figure


def memory(results):
    rows = [r for r in results["rows"] if "peak_mib" in r]
    if not rows:
        return None
    figure, axes = _subplots(figsize=(6, 4))
    for peer in dict.fromkeys(row["peer"] for row in rows):
        mine = [r for r in rows if r["peer"] == peer]
        axes.plot([r["n"] for r in mine], [r["peak_mib"] for r in mine], marker="o", label=peer)
    sizes = sorted({r["n"] for r in rows})
    points = [n * rows[0]["d"] * 4 / 2**20 for n in sizes]
    axes.plot(sizes, points, color="black", linestyle=":", label="the points themselves")
    axes.set(xscale="log", yscale="log", xlabel="N", ylabel="MiB besides the points given")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both")
    return figure


def recall(results):
    by_case = figures.groups([row for row in results["rows"] if "curve" in row])
    if not by_case:
        return None
    figure, grid = _subplots(1, len(by_case), figsize=(4 * len(by_case), 4), squeeze=False)
    for axes, (case, group) in zip(grid[0], by_case.items()):
        for row, marker in zip(group, "os^"):
            x = [point["recall"] for point in row["curve"]]
            y = [point["qps"] for point in row["curve"]]
            label = f"{row['peer']}, built in {row['train_s'] + row['add_s']:.3g} s"
            axes.plot(x, y, marker=marker, alpha=0.7, label=label)
        title = f"{case.kind} nlist={case.k} d={case.d}, {pathlib.Path(case.data).name}"
        axes.set(yscale="log", xlabel="recall@10", ylabel="queries a second")
        axes.set_title(title, fontsize=9)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3, which="both")
    return figure


def quality(results):
    found = {case: curve for case, curve in figures.curves(results["rows"]).items() if curve}
    if not found:
        return None
    figure, grid = _subplots(1, len(found), figsize=(5 * len(found), 4), squeeze=False)
    for axes, (case, curve) in zip(grid[0], found.items()):
        for peer in dict.fromkeys(point[0] for point in curve):
            mine = sorted(point[1:] for point in curve if point[0] == peer and point[3] is not None)
            axes.plot([p[1] for p in mine], [100 * p[2] for p in mine], marker="o", label=peer)
        name = pathlib.Path(case.data).parent.name or case.data
        axes.set(xscale="log", xlabel="ms of a whole call")
        axes.set_ylabel(f"% of objective above {figures.REFERENCE} iterations")
        axes.set_title(f"{case.shape}, {name}", fontsize=9)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3, which="both")
    return figure


PLOTS = {
    "calls": functools.partial(speedup, kind="call"),
    "speedup": functools.partial(speedup, kind="iteration"),
    "roofline": roofline,
    "scaling": scaling,
    "memory": memory,
    "recall": recall,
    "quality": quality,
}
