"""What is derived from the rows of results.json, for tables and plots."""

import statistics
from typing import NamedTuple

from suites import Case

HOST_PEERS = ("faiss (GPU)", "fastkmeans", "faiss_flash (host data)")
CPU_PEERS = ("faiss (CPU)", "faiss.SuperKmeans", "scikit-learn", "faiss_flash (CPU)")
FAST = "faiss_flash (fast)"
CASE_FIELDS = [*Case.__dataclass_fields__]


def case_of(row):
    return Case(**{name: row[name] for name in CASE_FIELDS})


def median_ms(row):
    return statistics.median(row["ms"]) if row.get("ms") else None


def ours(row):
    """The name of the faiss_flash peer that a row is compared with: points in the same place."""
    name = row["peer"].split(" [")[0]
    if name in HOST_PEERS and row["suite"] != "cpu":
        return "faiss_flash (host data)"
    return "faiss_flash (CPU)" if name in CPU_PEERS else "faiss_flash"


def groups(rows):
    """Rows by case, in order."""
    by_case = {}
    for row in rows:
        by_case.setdefault(case_of(row), []).append(row)
    return by_case


def ratio(row, group):
    """How many times faster ours is, or None."""
    mine = [median_ms(other) for other in group if other["peer"] == ours(row)]
    theirs = median_ms(row)
    return theirs / mine[0] if mine and mine[0] and theirs else None


def share_of_limit(row, ceilings):
    limit, ms = case_of(row).limit_ms(ceilings), median_ms(row)
    return limit / ms if limit and ms else None


class Headline(NamedTuple):
    """A peer's time of one shape beside ours, exact and, where it rounds as the peer does, fast."""

    what: str
    peer: str
    theirs_ms: float
    exact_ms: float
    fast_ms: float | None

    def texts(self):
        """For tables: times, and how many times as fast ours is."""
        fast = self.fast_ms
        return [
            self.what,
            self.peer,
            f"{self.theirs_ms:.4g}",
            f"{self.exact_ms:.4g}",
            f"{self.theirs_ms / self.exact_ms:.1f}",
            f"{fast:.4g}" if fast else "-",
            f"{self.theirs_ms / fast:.1f}" if fast else "-",
        ]


def headlines(rows):
    """Of iterations and kernels."""
    found = []
    for case, group in groups(rows).items():
        if case.kind not in ("iteration", "assign", "update") or case.sweep:
            continue
        times = {row["peer"]: median_ms(row) for row in group}
        for row in group:
            theirs, exact = median_ms(row), times.get(ours(row))
            if theirs and exact and not row["peer"].startswith("faiss_flash"):
                fast = times.get(FAST) if ours(row) == "faiss_flash" else None
                what = f"{case.kind} {case.shape}"
                found.append(Headline(what, row["peer"], theirs, exact, fast))
    return found
