"""faiss's clustering parameters as the engine's options."""

import faiss

from . import swig_engine

FAISS_VERSION = tuple(int(part) for part in faiss.__version__.split(".")[:3])


def engine_takes(cp):
    """False for initialisations that only faiss has."""
    return getattr(cp, "init_method", 0) == 0  # RANDOM


def engine_options(cp, service):
    """Keyword arguments of engine.kmeans() for a faiss.ClusteringParameters and a scope.Service."""
    options = {
        name: getattr(cp, name)
        for name in (
            "niter",
            "nredo",
            "verbose",
            "spherical",
            "int_centroids",
            "frozen_centroids",
            "min_points_per_centroid",
            "max_points_per_centroid",
            "seed",
        )
    }
    options.update(device=service.device, algorithm="lloyd")
    if service.is_by_e_means():
        options.update(algorithm="e_means", niter=swig_engine.epochs_for(cp.niter))
    if FAISS_VERSION >= (1, 9):
        options["use_faster_subsampling"] = cp.use_faster_subsampling
    else:
        options["seed"] &= 0xFFFFFFFF  # before 1.9 a negative seed is its bits
    if FAISS_VERSION >= (1, 14, 2):
        options["early_stop_threshold"] = cp.early_stop_threshold
    elif FAISS_VERSION < (1, 14):
        options["early_stop_threshold"] = None
    return options
