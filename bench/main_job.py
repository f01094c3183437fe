"""IVF1024,Flat over real descriptors: stock FAISS beside faiss_flash.

Every build runs in a process of its own, stock and faiss_flash in turn, and writes its index; one
more process, which never loads faiss_flash, reads each index with stock FAISS and must find the
same neighbours. Figures are medians over --repeats.

  train, add   seconds of index.train(train) and index.add(base)
  objective    sum of squared distances of the training vectors to their nearest centroid, float64
  recall@10    share of the exact ten nearest neighbours that are among the ten found
  QPS          queries a second, all queries in one call
  memory       rise of the resident size at its highest, during train and during add; add's includes
               the inverted lists, which hold a copy of the base
"""

import argparse
import filecmp
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from memory import PeakMemory
from tqdm import tqdm

K = 10
NPROBES = [1, 2, 4, 8, 16, 32, 64]
BUILDERS = ("faiss", "faiss_flash")


def search_all(index, queries):
    """{nprobe: (queries a second, ids)}."""
    found = {}
    for nprobe in NPROBES:
        index.nprobe = nprobe
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            _, ids = index.search(queries, K)
            seconds.append(time.perf_counter() - start)
        found[nprobe] = (len(queries) / statistics.median(seconds), ids)
    return found


def build(builder, data, nlist, folder):
    """One process: train, add, search, write. Prints its figures as JSON."""
    import faiss

    train, base, queries = (np.load(data / f"{name}.npy") for name in ("train", "base", "query"))
    d = base.shape[1]
    quantizer = faiss.IndexFlatL2(d)
    if builder == "faiss":
        index = faiss.IndexIVFFlat(quantizer, d, nlist)
    else:
        import faiss_flash

        index = faiss_flash.IndexIVFFlat(quantizer, d, nlist)
    with PeakMemory() as train_memory:
        start = time.perf_counter()
        index.train(train)
        train_seconds = time.perf_counter() - start
    with PeakMemory() as add_memory:
        start = time.perf_counter()
        index.add(base)
        add_seconds = time.perf_counter() - start
    found = search_all(index, queries)
    index.nprobe = 1
    faiss.write_index(index, str(folder / f"{builder}.index"))
    np.save(folder / f"{builder}.centroids.npy", quantizer.reconstruct_n(0, nlist))
    np.savez(folder / f"{builder}.ids.npz", **{str(nprobe): found[nprobe][1] for nprobe in NPROBES})
    figures = {
        "train_s": train_seconds,
        "add_s": add_seconds,
        "train_memory_mib": train_memory.mib,
        "add_memory_mib": add_memory.mib,
        "qps": {nprobe: found[nprobe][0] for nprobe in NPROBES},
    }
    print(json.dumps(figures))


def read_back(data, path, ids_path):
    """One process with stock FAISS alone: the written index answers as the built one did."""
    import faiss

    queries = np.load(data / "query.npy")
    index = faiss.read_index(str(path))
    expected = np.load(ids_path)
    for nprobe in NPROBES:
        index.nprobe = nprobe
        _, ids = index.search(queries, K)
        if not np.array_equal(ids, expected[str(nprobe)]):
            raise SystemExit(f"{path} read back answers otherwise at nprobe={nprobe}")
    if any(name.startswith("faiss_flash") for name in sys.modules):
        raise SystemExit("faiss_flash was loaded by the reader")
    print(json.dumps({"type": type(index).__name__, "ntotal": index.ntotal}))


def run_step(*arguments):
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return json.loads(done.stdout.splitlines()[-1])


def exact_objective(x, centroids):
    """Sum of squared distances to the nearest centroid in float64, in blocks."""
    centroids = centroids.astype("float64")
    norms = (centroids**2).sum(1)
    total = 0.0
    for start in range(0, len(x), 16384):
        block = x[start : start + 16384].astype("float64")
        scores = norms - 2 * block @ centroids.T
        total += scores.min(1).sum() + (block**2).sum()
    return total


def recall(found, exact):
    hits = (found[:, :, None] == exact[:, None, :]).any(2)
    return float(hits.mean())


def median_figures(runs):
    """Medians of the figures of several builds."""
    merged = {
        name: statistics.median(run[name] for run in runs) for name in runs[0] if name != "qps"
    }
    merged["qps"] = {
        nprobe: statistics.median(run["qps"][str(nprobe)] for run in runs) for nprobe in NPROBES
    }
    return merged


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for builder, marker in zip(BUILDERS, "os"):
        recalls = [results[builder]["recall"][nprobe] for nprobe in NPROBES]
        qps = [results[builder]["qps"][nprobe] for nprobe in NPROBES]
        axes.plot(recalls, qps, marker=marker, label=builder, alpha=0.7)
    axes.set(xlabel=f"recall@{K}", ylabel="queries a second", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def print_table(results):
    rows = [
        ("train s", lambda r: f"{r['train_s']:.2f}"),
        ("add s", lambda r: f"{r['add_s']:.2f}"),
        ("objective", lambda r: f"{r['objective']:.8g}"),
        ("train memory MiB", lambda r: f"{r['train_memory_mib']:.0f}"),
        ("add memory MiB", lambda r: f"{r['add_memory_mib']:.0f}"),
        *(
            (f"recall@{K} nprobe={nprobe}", lambda r, nprobe=nprobe: f"{r['recall'][nprobe]:.4f}")
            for nprobe in NPROBES
        ),
        *(
            (f"QPS nprobe={nprobe}", lambda r, nprobe=nprobe: f"{r['qps'][nprobe]:.0f}")
            for nprobe in NPROBES
        ),
    ]
    print("| | " + " | ".join(BUILDERS) + " |")
    print("|---|" + "---:|" * len(BUILDERS))
    for name, show in rows:
        print(f"| {name} | " + " | ".join(show(results[builder]) for builder in BUILDERS) + " |")


def check_cpp(program, data, nlist, folder):
    """The C++ program builds the same index, byte for byte."""
    path = folder / "cpp.index"
    subprocess.run([program, data, path, "--nlist", str(nlist)], check=True)
    if not filecmp.cmp(path, folder / "faiss_flash.index", shallow=False):
        raise SystemExit("the index built from C++ differs from the one built from Python")
    print("The index built from C++ is the one built from Python, byte for byte.")


def measure(data, nlist, repeats, folder):
    """{builder: median figures}; builds alternate."""
    runs = {builder: [] for builder in BUILDERS}
    turns = [builder for _ in range(repeats) for builder in BUILDERS]
    for builder in tqdm(turns, unit="build", disable=None):
        runs[builder].append(run_step("build", builder, data, nlist, folder))
    return {builder: median_figures(runs[builder]) for builder in BUILDERS}


def add_quality(results, train, exact, folder):
    for builder, figures in results.items():
        ids = np.load(folder / f"{builder}.ids.npz")
        figures["recall"] = {nprobe: recall(ids[str(nprobe)], exact) for nprobe in NPROBES}
        centroids = np.load(folder / f"{builder}.centroids.npy")
        figures["objective"] = exact_objective(train, centroids)


def check_reading(data, folder):
    for builder in BUILDERS:
        read = run_step(
            "read_back", data, folder / f"{builder}.index", folder / f"{builder}.ids.npz"
        )
        print(f"Stock FAISS reads {builder}.index: {read['type']}, {read['ntotal']}, same answers.")


def check_recall(results):
    stock, flash = (results[builder]["recall"] for builder in BUILDERS)
    worst = max(abs(stock[nprobe] - flash[nprobe]) for nprobe in NPROBES)
    print(f"Largest difference in recall@{K}: {100 * worst:.2f} points.")
    if worst > 0.005:
        raise SystemExit("recall differs by more than 0.5 points")


def main_job(data, nlist, repeats, cpp):
    import faiss

    train, base, queries = (np.load(data / f"{name}.npy") for name in ("train", "base", "query"))
    print(f"IVF{nlist},Flat over descriptors of {base.shape[1]} dimensions:")
    print(f"{len(train)} training, {len(base)} base, {len(queries)} queries.")
    print(f"FAISS {faiss.__version__}, {faiss.omp_get_max_threads()} threads.")
    _, exact = faiss.knn(queries, base, K)
    with tempfile.TemporaryDirectory(prefix="faiss_flash_") as name:
        folder = pathlib.Path(name)
        results = measure(data, nlist, repeats, folder)
        add_quality(results, train, exact, folder)
        print_table(results)
        plot(results, data / "recall_qps.png")
        (data / "main_job.json").write_text(json.dumps(results, indent=1) + "\n")
        print(f"Plot: {data}/recall_qps.png, figures: {data}/main_job.json")
        check_reading(data, folder)
        if cpp:
            check_cpp(cpp, data, nlist, folder)
    check_recall(results)


def main():
    sys.stdout.reconfigure(line_buffering=True)  # in order with what ivf_job prints
    if sys.argv[1:2] == ["build"]:
        builder, data, nlist, folder = sys.argv[2:]
        return build(builder, pathlib.Path(data), int(nlist), pathlib.Path(folder))
    if sys.argv[1:2] == ["read_back"]:
        return read_back(*map(pathlib.Path, sys.argv[2:]))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="folder with {base,train,query}.npy")
    parser.add_argument("--nlist", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3, help="builds of each kind (default 3)")
    parser.add_argument("--cpp", help="the program ivf_job, to compare its index")
    return main_job(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
