"""Tables and plots of what run.py measured, and the README's figures.

    bench/report.py bench/results/h200              # results.md and plots from results.json
    bench/report.py bench/results/h200 --readme README.md
    bench/report.py bench/results/h200_calls bench/results/h200 --readme README.md

--readme replaces what stands between the README's two bench comments, by the runs' figures in the
order of their folders; what an earlier run has measured is left out of later ones' tables. --check
only compares.
"""

import argparse
import json
import math
import pathlib

import plots
from figures import (
    REFERENCE,
    case_of,
    curves,
    describe,
    groups,
    headlines,
    median_ms,
    ratio,
    share_of_limit,
)

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def table(titles, lines):
    head = "| " + " | ".join(titles) + " |\n|" + "---|" * len(titles) + "\n"
    return head + "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"


def failure(row):
    return "failed: " + " ".join(row["error"].split())[:80]


def show(value, pattern, none="-"):
    return none if value is None else pattern.format(value)


def timing_table(case, group, ceilings):
    # Of a peer whose values overflowed it is no number.
    objectives = [
        row["objective"] for row in group if math.isfinite(row.get("objective", math.nan))
    ]
    best = min(objectives, default=None)
    limited = case.kind not in ("latency", "memory")
    least = " (least {:.4g})" if case.kind == "call" else ""
    lines = []
    for row in group:
        if "error" in row and not row["ms"]:
            lines.append([row["peer"], failure(row), *["-"] * 6])
            continue
        ms = median_ms(row)
        excess = row["objective"] / best - 1 if best and "objective" in row else None
        lines.append(
            [
                row["peer"],
                show(ms, "{:.4g}")
                + least.format(min(row["ms"]))
                + show(row.get("p99_ms"), " (p99 {:.3g})", ""),
                show(
                    (max(row["ms"]) - min(row["ms"])) / ms if len(row["ms"]) > 1 else None, "{:.0%}"
                ),
                show(ratio(row, group), "{:.2f}"),
                show(share_of_limit(row, ceilings) if limited else None, "{:.0%}"),
                show(excess, "{:.1e}"),
                show(row.get("wrong_ppm"), "{:.0f}"),
                show(row.get("peak_mib"), "{:.0f}"),
            ]
        )
    limit = "of SGEMM" if case.suite == "cpu" else "of limit"
    titles = ["peer", "ms", "spread", "ours is × as fast", limit, "objective above the best"]
    return table([*titles, "wrong ppm", "peak MiB"], lines)


def build_table(group):
    lines = []
    for row in group:
        if "error" in row:
            lines.append([row["peer"], failure(row), *["-"] * 7])
            continue
        points = {point["nprobe"]: point for point in row["curve"]}
        lines.append(
            [
                row["peer"],
                f"{row['train_s']:.3g} ({row['n_train']})",
                f"{row['add_s']:.3g} ({row['n_base']})",
                show(row.get("add_row_us"), "{:.3g}"),
                show(row.get("assign_s"), "{:.3g}"),
                show(row.get("imbalance"), "{:.3f}"),
                *(f"{points[p]['recall']:.4f} / {points[p]['qps']:.0f}" for p in (1, 8, 64)),
            ]
        )
    titles = ["peer", "train s (vectors)", "add s (vectors)", "add of one vector us"]
    titles += ["lists of the train vectors s", "imbalance of the lists"]
    return table([*titles, *(f"recall@10 / QPS at nprobe {p}" for p in (1, 8, 64))], lines)


def quality_table(curve):
    lines = [
        [peer, str(niter), f"{ms:.4g}", show(above, "{:+.2%}")]
        for peer, niter, ms, above in sorted(curve, key=lambda point: point[:2])
    ]
    against = f"objective against {REFERENCE} iterations of ours"
    return table(["peer", "iterations, or passes of e-means", "ms", against], lines)


def io_table(group):
    lines = []
    for row in group:
        case = case_of(row)
        model = case.point_bytes + 4 * case.k * case.d
        counted = row.get("bytes")
        shown = f"{counted / 1e6:.0f}" if counted else failure(row)
        factor = show(counted and counted / model, "{:.2f}")
        lines.append([row["peer"], shown, f"{model / 1e6:.0f}", factor])
    return table(["peer", "MB an iteration", "N d + K d as float32, MB", "factor"], lines)


def headline_table(found, ceilings):
    titles = ["", "peer", "peer ms", "faiss_flash ms", "times as fast"]
    return table(
        [*titles, "rounding to f16: ms", "times as fast"], [line.texts(ceilings) for line in found]
    )


def markdown(results):
    machine, ceilings, rows = results["machine"], results["ceilings"], results["rows"]
    where = ceilings.get("gpu", machine["cpu"])
    text = f"# {where}, {machine['cores']} cores, {machine['date']}\n\n"
    text += f"The run took {results['seconds']:.0f} s. Ceilings measured in it: "
    text += ", ".join(f"{name} {value:.4g}" for name, value in ceilings.items() if name != "gpu")
    text += ".\n\n"
    versions = {row["peer"]: row["version"] for row in rows}
    text += "Peers: " + "; ".join(f"{peer} {version}" for peer, version in versions.items()) + ".\n"
    for peer, reason in results["missing"].items():
        text += f"Missing: {peer}: {reason}.\n"
    for what in results["not_run"]:
        text += f"Not run: {what}.\n"
    found = headlines(rows, ("call", "iteration", "assign", "update"))
    if found:
        text += "\n## Against each peer\n\n" + headline_table(found, ceilings)
    for case, curve in curves(rows).items():
        text += f"\n## quality, {describe(case).replace(', 0 iterations', '')}\n\n"
        text += quality_table(curve)
    suite = None
    for case, group in groups([row for row in rows if row["suite"] != "quality"]).items():
        if case.suite != suite:
            suite = case.suite
            text += f"\n## {suite}\n"
        text += f"\n{case.kind}, {describe(case)}:\n\n"
        if case.kind == "io":
            text += io_table(group)
        elif case.suite == "build":
            text += build_table(group)
        else:
            text += timing_table(case, group, ceilings)
    return text


def write(results, folder):
    (folder / "results.md").write_text(markdown(results))
    plots.draw(results, folder)


README_TABLES = {
    "call": (
        "calls",
        "Whole calls, arrays in, centroids out; first centroids are drawn by each peer that can",
    ),
    "iteration": ("speedup", "One Lloyd iteration"),
}


def readme_block(runs):
    """Of (results, folder) of each run: whole calls, then iterations, against every peer that was
    measured, and index builds."""
    parts = []
    shown = set()
    for results, folder in runs:
        rows = [row for row in results["rows"] if row["suite"] not in shown]
        shown |= {row["suite"] for row in rows}
        parts.append(readme_run(results, rows, folder))
    return f"{BEGIN}\n" + "\n".join(parts) + END


def readme_run(results, rows, folder):
    ceilings = results["ceilings"]
    text = f"On one {ceilings.get('gpu', '?')}, all in one run "
    text += (
        f"([all figures]({folder}/results.md), {results['machine']['date']}), faiss_flash exact\n"
    )
    text += (
        "but for the last two columns. In brackets the share of what the card can do: products\n"
    )
    text += "at its 16-bit rate, points read once an iteration (and once from the host).\n"
    for kind, (plot, title) in README_TABLES.items():
        found = headlines([row for row in rows if row["suite"] == kind], (kind,))
        if found:
            text += f"\n{title}:\n\n{headline_table(found, ceilings)}"
            text += f"![speed-ups]({folder}/{plot}.png)\n"
    builds = [row for row in rows if row["suite"] == "build"]
    if builds:
        text += (
            "\nIndex builds in that run, train and add in seconds; the CPU index of stock FAISS\n"
        )
        text += f"has its coarse k-means on the GPU:\n\n{readme_builds(builds)}"
    return text


def readme_builds(rows):
    """A column for each peer."""
    versions = {row["peer"]: row["version"] for row in rows}
    lines = []
    for case, group in groups(rows).items():
        times = {
            r["peer"]: f"{r['train_s']:.3g}, {r['add_s']:.3g}" for r in group if "train_s" in r
        }
        sizes = {f"{r['n_train']} and {r['n_base']} vectors" for r in group if "n_base" in r}
        what = f"{case.kind} d={case.d} nlist={case.k}, {', '.join(sizes)}"
        lines.append([what, *(times.get(peer, "-") for peer in versions)])
    titles = [f"{peer} {version}" for peer, version in versions.items()]
    return table(["index, vectors to train and to add", *titles], lines)


def update_readme(readme, block, check):
    old = readme.read_text()
    before, rest = old.split(BEGIN)
    new = before + block + rest.split(END)[1]
    if check and new != old:
        raise SystemExit(f"{readme} is not what bench/report.py makes of the results")
    readme.write_text(new)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--readme", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    runs = [
        (json.loads((folder / "results.json").read_text()), folder) for folder in arguments.folders
    ]
    if arguments.readme:
        update_readme(arguments.readme, readme_block(runs), arguments.check)
    else:
        for run in runs:
            write(*run)


if __name__ == "__main__":
    main()
