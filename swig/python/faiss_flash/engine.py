"""The k-means engine for arrays, independent of FAISS."""

import numbers
import os
from dataclasses import dataclass, field

import numpy as np

from . import swig_engine
from .arrays import as_batch, as_rows, as_weights, dtype_code, view_of
from .errors import InvalidArgument

_METRICS = {
    "l2": swig_engine.Metric_l2,
    "ip": swig_engine.Metric_inner_product,
    "inner_product": swig_engine.Metric_inner_product,
    0: swig_engine.Metric_inner_product,  # faiss.METRIC_INNER_PRODUCT
    1: swig_engine.Metric_l2,  # faiss.METRIC_L2
}

# The options that have a few values, by name.
_NAMED = {
    "precision": {"exact": swig_engine.Precision_exact, "fast": swig_engine.Precision_fast},
    "algorithm": {"lloyd": swig_engine.Algorithm_lloyd, "e_means": swig_engine.Algorithm_e_means},
    "operating_point": {
        "throughput": swig_engine.OperatingPoint_throughput,
        "quality": swig_engine.OperatingPoint_quality,
    },
}

# The options that kmeans() and batch_kmeans() take by the engine's own names, and their defaults.
_DEFAULTS = {
    name: getattr(swig_engine.KMeansOptions(), name)
    for name in (
        "niter",
        "nredo",
        "spherical",
        "int_centroids",
        "frozen_centroids",
        "min_points_per_centroid",
        "max_points_per_centroid",
        "seed",
        "memory_limit",
        "use_faster_subsampling",
        "verbose",
        "return_assignment",
        "resume",
        "batch_size",
    )
}


@dataclass
class KMeansResult:
    """What :func:`kmeans` returns."""

    centroids: np.ndarray  #: (k, d) float32
    #: dicts: FAISS's fields, redone (points that a second pass looked at), decided (in float64)
    iteration_stats: list = field(repr=False)
    assignment: np.ndarray | None = None  #: (n,) int64, if asked for
    distances: np.ndarray | None = None  #: (n,) float32, if asked for

    @property
    def obj(self):
        """The objective of each iteration."""
        return np.array([stats["obj"] for stats in self.iteration_stats])

    @property
    def objective(self):
        """The objective of the last iteration; without one 0, as faiss.Kmeans says."""
        return float(self.obj[-1]) if len(self.obj) else 0.0


def kmeans(x, k, *, weights=None, init_centroids=None, metric="l2", **options):
    """Cluster the rows of x.

    Parameters
    ----------
    x : (n, d) array
        float32, float16, bfloat16, uint8 or int8 rows are read in place; others become float32.
        An array of a GPU (anything with __cuda_array_interface__) stays there.
    k : int
        Number of clusters.
    weights : (n,) array, optional
        Not negative, not all 0.
    init_centroids : (m, d) array, optional
        The first m centroids; the others are points of x.
    metric : "l2" or "ip"
        Or faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT.
    **options
        niter=25 (0: the initial centroids), nredo=1, spherical=False, int_centroids=False,
        frozen_centroids=False,
        min_points_per_centroid=39, max_points_per_centroid=256 (negative: use all points),
        seed=1234, use_faster_subsampling=False, early_stop_threshold=0.0 (None: never stop early),
        verbose=False, return_assignment=False. Meanings are FAISS's.
        algorithm="lloyd"; "e_means": an iteration is an epoch over all points in batches, after
        each of which centroids are moving averages; niter=2 or 3 come to the objective of 25 of
        Lloyd's. operating_point="throughput" or "quality" (smaller batches), or batch_size points
        and alpha0, their share of the averages at first. Its objectives are those of the moving
        centroids, and early_stop_threshold is without effect.
        device="auto" ("cpu", "cuda", "cuda:1"), precision="exact" or "fast" (GPU, 16- and 8-bit
        x: centroids are rounded to 16 bits before they are compared).
        memory_limit=0: bytes of a GPU's memory that the call may take at a time, beside the
        caller's arrays (0: what is free); what does not fit runs on the CPU.
        callback(stats, seconds_left) is called after every iteration; False ends the run.
        checkpoint=None: path of a file for the state of the run, complete at every moment, also
        where the process is killed or Ctrl-C ends the run. resume=False: True goes on from that
        file where there is one, to the same bits as without a break; a run that had ended gives
        its result at once, one that callback ended goes on. False replaces the file.

    Returns
    -------
    KMeansResult

    Raises InvalidArgument naming the argument for bad input and for a checkpoint of other points or
    options, OutOfDeviceMemory, RuntimeError naming a checkpoint that cannot be written or is
    damaged; Ctrl-C ends it.
    """
    settings, callback = make_options(metric, options)
    problem = _Problem(x, weights, init_centroids)
    return _run([problem], k, settings, callback)[0]


def batch_kmeans(x, k, *, weights=None, init_centroids=None, metric="l2", **options):
    """Cluster every problem of a batch on its own, as a loop over :func:`kmeans` would.

    Options are those of kmeans() but for checkpoint, which is for one problem.

    Parameters
    ----------
    x : (B, n, d) array, or a list of (n_b, d) arrays
    weights : (B, n) array or a list of (n_b,) arrays, optional
    init_centroids : (B, m, d) array or a list of (m_b, d) arrays, optional

    Returns
    -------
    list of KMeansResult for a list; for an array one KMeansResult whose arrays have a leading B and
    whose iteration_stats is a list of B lists.
    """
    settings, callback = make_options(metric, options)
    ragged = isinstance(x, (list, tuple))
    if not ragged:
        x = as_batch(x, "x")
    weights = _of_each("weights", weights, len(x))
    init_centroids = _of_each("init_centroids", init_centroids, len(x))
    problems = [_Problem(*one) for one in zip(x, weights, init_centroids)]
    results = _run(problems, k, settings, callback)
    if ragged or not results:
        return results
    assigned = settings.return_assignment
    return KMeansResult(
        np.stack([result.centroids for result in results]),
        [result.iteration_stats for result in results],
        np.stack([result.assignment for result in results]) if assigned else None,
        np.stack([result.distances for result in results]) if assigned else None,
    )


def assign(x, centroids, metric="l2", device="auto"):
    """The best centroid of each row of x, exact: the argmin (or argmax) in float64.

    x may be a CUDA array; centroids are on the host. Ctrl-C ends it.

    Returns
    -------
    (D, I) as faiss.Kmeans.assign does: (n,) float32 squared distances or products, (n,) int64 ids.
    """
    rows = as_rows(x, "x")
    distances = np.empty(len(rows), dtype=np.float32)
    return distances, _assigned(swig_engine.run_assign, rows, centroids, metric, device, distances)


def assign_to_vectors(x, vectors, metric, device):
    """assign() to what an index holds: what is made of them is kept for the next call.

    `vectors` are a view of the index's memory, whose address says which index it is.
    """
    rows = as_rows(x, "x")
    distances = np.empty(len(rows), dtype=np.float32)
    again = swig_engine.run_assign_again
    return distances, _assigned(again, rows, vectors, metric, device, distances)


def nearest_vectors(x, vectors, metric, device):
    """The ids of assign_to_vectors(), for those who ask for no distances."""
    again = swig_engine.run_assign_again
    return _assigned(again, as_rows(x, "x"), vectors, metric, device, None)


def _assigned(run, rows, centroids, metric, device, distances):
    table = as_rows(centroids, "centroids")
    ids = np.empty(len(rows), dtype=np.int64)
    address = 0 if distances is None else distances.ctypes.data
    run(view_of(rows), view_of(table), _metric(metric), ids.ctypes.data, address, device)
    return ids


def estimate(n, d, k, *, dtype="float32", batch=1, metric="l2", **options):
    """What :func:`kmeans` of an (n, d) array on the host is expected to take, before it runs.

    Options are those of kmeans(); batch: of that many problems at a time.

    Returns
    -------
    dict: device (where it would run), seconds (within a factor of two as a rule), host_bytes,
    device_bytes.
    """
    settings, _ = make_options(metric, options)
    code = dtype_code(dtype)
    found = swig_engine.estimate(
        _count("n", n), _count("d", d), _count("k", k), settings, code, _count("batch", batch)
    )
    return {
        name: getattr(found, name) for name in ("device", "seconds", "host_bytes", "device_bytes")
    }


def e_means_recipe(n, k, **options):
    """(batch_size, alpha0) that :func:`kmeans` of n points takes with algorithm="e_means"."""
    settings, _ = make_options("l2", options)
    recipe = swig_engine.e_means_recipe(_count("n", n), _count("k", k), settings)
    return recipe.batch_size, recipe.alpha0


def available_backends():
    """Names of the backends that can run here, best first."""
    return list(swig_engine.available_backends())


def num_threads():
    """Threads of the CPU that the engine's calls on this thread of Python use."""
    return swig_engine.num_threads()


def set_num_threads(threads):
    """Sets num_threads(): what faiss.omp_set_num_threads() is for faiss.

    The FAISS classes use as many threads as faiss may use, whatever is set here.
    """
    swig_engine.set_num_threads(_count("threads", threads))


class _Problem:
    """One problem's arrays, kept alive, and the engine's input that points to them."""

    def __init__(self, x, weights, init_centroids):
        self.rows = as_rows(x, "x")
        self.input = swig_engine.KMeansInput()
        self.input.points = view_of(self.rows)
        if weights is not None:
            self.weights = as_weights(weights, len(self.rows))
            self.input.weights = view_of(self.weights)
        if init_centroids is not None:
            self.initial = as_rows(init_centroids, "init_centroids")
            self.input.initial_centroids = view_of(self.initial)


def _of_each(name, values, problems):
    if values is None:
        return [None] * problems
    if len(values) != problems:
        raise InvalidArgument(f"{name} has {len(values)} problems, x has {problems}")
    return values


def _metric(metric):
    key = metric.lower() if isinstance(metric, str) else metric
    if key not in _METRICS:
        raise InvalidArgument(f"metric={metric!r} is not one of 'l2', 'ip', 'inner_product'")
    return _METRICS[key]


def _count(name, value):
    if not isinstance(value, numbers.Integral):
        raise InvalidArgument(f"{name}={value!r} is not an integer")
    if not -(2**63) <= value < 2**63:  # such as a size of faiss's made of -1
        raise InvalidArgument(f"{name}={value} is out of range")
    return int(value)


def _named(name, value):
    values = _NAMED[name]
    if value not in values:
        raise InvalidArgument(f"{name}={value!r} is not one of {', '.join(map(repr, values))}")
    return values[value]


def _real(name, value):
    if not isinstance(value, numbers.Real):
        raise InvalidArgument(f"{name}={value!r} is not a number")
    return float(value)


def _path(name, value):
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}={value!r} is not a path")
    path = os.fsdecode(value)
    if not path:
        raise InvalidArgument(f"{name}='' is not a path")
    return path


def make_options(metric, options):
    """The engine's options from keyword arguments, and the callback."""
    settings = swig_engine.KMeansOptions()
    settings.metric = _metric(metric)
    callback = None
    for name, value in options.items():
        if name == "callback":
            if value is not None and not callable(value):
                raise TypeError(f"callback={value!r} is not callable")
            callback = value
        elif name == "device":
            settings.device = str(value)
        elif name in _NAMED:
            setattr(settings, name, _named(name, value))
        elif name == "alpha0":
            settings.alpha0 = _real(name, value)
        elif name == "checkpoint":
            if value is not None:
                settings.checkpoint = _path(name, value)
        elif name == "early_stop_threshold":
            if value is None:
                settings.never_stop_early()
            else:
                settings.set_early_stop_threshold(value)
        elif name not in _DEFAULTS:
            raise TypeError(f"unknown option {name!r}")
        elif isinstance(_DEFAULTS[name], bool):
            setattr(settings, name, bool(value))
        elif type(value) is not int or value != _DEFAULTS[name]:
            setattr(settings, name, _count(name, value))
    return settings, callback


def _run(problems, k, settings, callback):
    inputs = swig_engine.KMeansInputVector([problem.input for problem in problems])
    results = swig_engine.run_batch_kmeans(inputs, _count("k", k), settings, callback)
    # By number: iterating over the engine's vector copies its elements.
    return [_to_python(results[i], settings.return_assignment) for i in range(len(problems))]


class _Memory:
    """Memory of the engine's that an array lies in, freed with the last array over it."""

    __slots__ = ("__array_interface__", "__weakref__", "_owner")

    def __init__(self, interface, owner):
        self.__array_interface__ = interface
        self._owner = owner


def _to_python(result, assigned):
    centroids = np.asarray(_Memory(*result.take_centroids()))
    stats = result.statistics()
    if not assigned:
        return KMeansResult(centroids, stats)
    ids = np.asarray(_Memory(*result.take_assignment()))
    distances = np.asarray(_Memory(*result.take_distances()))
    return KMeansResult(centroids, stats, ids, distances)
