"""What is derived from the rows of results.json, for tables and plots."""

import dataclasses
import pathlib
import statistics
from typing import NamedTuple

from suites import Case

HOST, PINNED = "faiss_flash (host data)", "faiss_flash (pinned host data)"
OURS = {
    "faiss (GPU)": HOST,
    "fastkmeans": HOST,
    "FlashLib (host data)": HOST,
    "FlashLib (pinned host data)": PINNED,
    HOST: HOST,
    PINNED: PINNED,
}  #: what a peer with points on the host is compared with
FAST = "faiss_flash (fast)"
CASE_FIELDS = [*Case.__dataclass_fields__]


def case_of(row):
    return Case(**{name: row[name] for name in CASE_FIELDS if name in row})


def describe(case):
    """What a case is besides its kind."""
    parts = [case.shape]
    if case.data != "normal":
        parts.append("/".join(pathlib.Path(case.data).parts[-2:]))
    if case.kind in ("call", "train", "memory"):
        parts.append(f"{case.niter} iterations")
    if case.where == "host":
        parts.append("from host memory")
    return ", ".join(parts)


def median_ms(row):
    return statistics.median(row["ms"]) if row.get("ms") else None


def ours(row):
    """The name of the faiss_flash peer that a row is compared with: points in the same place."""
    on_cpu = row["suite"] == "quality" and row["where"] == "host"
    if row["suite"] == "cpu" or on_cpu:
        return "faiss_flash (CPU)"
    return OURS.get(row["peer"].split(" [")[0], "faiss_flash")


def groups(rows):
    """Rows by case, in order."""
    by_case = {}
    for row in rows:
        by_case.setdefault(case_of(row), []).append(row)
    return by_case


REFERENCE = 25  #: iterations of ours whose objective others' are compared with


def curves(rows):
    """Of the suite quality: by case without its niter, lists of (peer, niter, ms, objective above
    that of REFERENCE iterations of ours; None without these)."""
    found = {}
    for case, group in groups([row for row in rows if row["suite"] == "quality"]).items():
        found.setdefault(dataclasses.replace(case, niter=0), []).extend(
            row for row in group if "objective" in row
        )
    return {case: _curve(group) for case, group in found.items()}


def _curve(group):
    reference = [
        row["objective"] for row in group if row["niter"] == REFERENCE and row["peer"] == ours(row)
    ]
    return [
        (
            row["peer"],
            row["niter"],
            median_ms(row),
            row["objective"] / reference[0] - 1 if reference else None,
        )
        for row in group
    ]


def ratio(row, group):
    """How many times faster ours is, or None."""
    mine = [median_ms(other) for other in group if other["peer"] == ours(row)]
    theirs = median_ms(row)
    return theirs / mine[0] if mine and mine[0] and theirs else None


def share_of_limit(row, ceilings):
    limit, ms = case_of(row).limit_ms(ceilings), median_ms(row)
    return limit / ms if limit and ms else None


class Headline(NamedTuple):
    """A peer's time of one case beside ours, exact (None where ours failed) and, where it rounds as
    the peer does, fast."""

    case: Case
    peer: str
    version: str
    theirs_ms: float
    exact_ms: float | None
    fast_ms: float | None

    def texts(self, ceilings):
        """For tables: times with their share of the limit, and how many times as fast ours is."""
        limit = self.case.limit_ms(ceilings)

        def time(ms):
            return f"{ms:.4g} ({limit / ms:.0%})" if limit else f"{ms:.4g}"

        def compared(ms, missing):
            return [time(ms), f"{self.theirs_ms / ms:.2f}"] if ms else [missing, "-"]

        return [
            describe(self.case),
            f"{self.peer} {self.version}",
            time(self.theirs_ms),
            *compared(self.exact_ms, "failed"),
            *compared(self.fast_ms, "-"),
        ]


def headlines(rows, kinds):
    """Of cases of these kinds: every peer that was measured where ours ran."""
    found = []
    for case, group in groups(rows).items():
        if case.kind not in kinds or case.sweep:
            continue
        times = {row["peer"]: median_ms(row) for row in group}
        for row in group:
            mine, theirs = ours(row), median_ms(row)
            if theirs and mine in times and not row["peer"].startswith("faiss_flash"):
                fast = times.get(FAST) if mine == "faiss_flash" else None
                version = row["version"]
                found.append(Headline(case, row["peer"], version, theirs, times[mine], fast))
    return found
