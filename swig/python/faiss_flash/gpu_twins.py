"""Indexes on GPUs: their cards, and indexes of the host that inverted files are copied from."""

import faiss

from .engine import available_backends
from .parts import named_classes

GPU_IVF_FLAT = named_classes("GpuIndexIVFFlat")
GPU_IVF_PQ = named_classes("GpuIndexIVFPQ")
GPU_IVF_SQ = named_classes("GpuIndexIVFScalarQuantizer")
GPU_IVF = (*GPU_IVF_FLAT, *GPU_IVF_PQ, *GPU_IVF_SQ)


def card_of(index):
    """The engine's name of the card that an index is on; None where the engine cannot use it."""
    name = f"cuda:{index.getDevice()}"
    return name if name in available_backends() else None


def untrained_twin(index):
    """Of an index on a GPU: an empty, untrained one of the host, of its kind and parameters.

    index_gpu_to_cpu() ends the process where an index is not trained but its quantizer is, and flat
    ones always are.
    """
    metric = index.metric_type
    common = (faiss.IndexFlat(index.d, metric), index.d, index.nlist)
    if isinstance(index, GPU_IVF_PQ):
        twin = faiss.IndexIVFPQ(*common, index.pq.M, index.pq.nbits, metric)
        twin.pq = index.pq
    elif isinstance(index, GPU_IVF_SQ):
        qtype, by_residual = index.sq.qtype, index.by_residual
        twin = faiss.IndexIVFScalarQuantizer(*common, qtype, metric, by_residual)
        twin.sq = index.sq
    else:
        twin = faiss.IndexIVFFlat(*common, metric)
    return twin


def copy_all_but_quantizer(index, twin):
    """index.copyFrom(twin), but its quantizer stays the object that it is, and nprobe what it is.

    copyFrom() makes a quantizer with faiss's default options, also in place of a caller's own.
    """
    quantizer, owned, nprobe = index.quantizer, index.own_fields, index.nprobe
    index.own_fields = False  # else copyFrom() deletes it
    try:
        index.copyFrom(twin)
    finally:
        copied = index.quantizer if index.own_fields else None
        index.quantizer, index.own_fields, index.nprobe = quantizer, owned, nprobe
        if copied is not None:
            owner = faiss.Level1Quantizer(copied, index.nlist)
            owner.own_fields = True  # deletes the copied one with itself, at the end
    index.updateQuantizer()  # what lists keep of the copied one, they keep of this one
