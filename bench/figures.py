"""What is derived from the rows of results.json, for tables and plots."""

import statistics

from suites import Case

HOST_PEERS = ("faiss (GPU)", "fastkmeans", "faiss_flash (host data)")
CPU_PEERS = ("faiss (CPU)", "faiss.SuperKmeans", "scikit-learn", "faiss_flash (CPU)")
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


def headlines(rows):
    """(what, peer, theirs ms, ours ms, ratio) of iterations and kernels, peers other than ours."""
    found = []
    for case, group in groups(rows).items():
        if case.kind not in ("iteration", "assign", "update") or case.sweep:
            continue
        for row in group:
            factor = ratio(row, group)
            if factor and not row["peer"].startswith("faiss_flash"):
                ms = median_ms(row)
                found.append((f"{case.kind} {case.shape}", row["peer"], ms, ms / factor, factor))
    return found
