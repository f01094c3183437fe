"""Indexes of faiss on GPUs, trained by the engine on their own card."""

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash

if not hasattr(faiss, "GpuIndexIVFFlat") or not faiss.get_num_gpus():
    pytest.skip("no faiss for GPUs, or no GPU", allow_module_level=True)

D, NLIST = 32, 64
ROWS = mixture(20000, D, 100, 1)
QUERIES = mixture(500, D, 100, 1)
L2, IP = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT
RESOURCES = faiss.StandardGpuResources()


def made(kind, metric=L2, quantizer=None):
    """An index of this class on the first card, with a quantizer of its own or the caller's."""
    cls = getattr(faiss, kind)
    first = (RESOURCES,) if quantizer is None else (RESOURCES, quantizer)
    if kind == "GpuIndexIVFPQ":
        return cls(*first, D, NLIST, 8, 8, metric)
    if kind == "GpuIndexIVFScalarQuantizer":
        return cls(*first, D, NLIST, faiss.ScalarQuantizer.QT_8bit, metric)
    return cls(*first, D, NLIST, metric)


KINDS = ["GpuIndexIVFFlat", "GpuIndexIVFScalarQuantizer", "GpuIndexIVFPQ"]
KEYS = {
    "GpuIndexIVFFlat": f"IVF{NLIST},Flat",
    "GpuIndexIVFScalarQuantizer": f"IVF{NLIST},SQ8",
    "GpuIndexIVFPQ": f"IVF{NLIST},PQ8np",
}


def centroids(index):
    return index.quantizer.reconstruct_n(0, NLIST)


def recall(index, metric):
    exact = faiss.IndexFlat(D, metric)
    exact.add(ROWS)
    index.nprobe = 8
    index.add(ROWS)
    truth, found = exact.search(QUERIES, 10)[1], index.search(QUERIES, 10)[1]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found)])


@pytest.mark.parametrize("metric", [L2, IP], ids=["L2", "IP"])
@pytest.mark.parametrize("kind", KINDS)
def test_trained_as_on_the_host(kind, metric):
    index, stock = made(kind, metric), made(kind, metric)
    with faiss_flash.patch():
        index.train(ROWS)
    stock.train(ROWS)
    assert index.is_trained and index.getDevice() == 0 and type(index) is type(stock)
    host = faiss.index_factory(D, KEYS[kind], metric)
    for name in ("niter", "seed", "max_points_per_centroid", "spherical"):
        setattr(host.cp, name, getattr(index.cp, name))
    faiss_flash.train(host, ROWS)
    np.testing.assert_array_equal(centroids(index), centroids(host))
    assert recall(index, metric) > recall(stock, metric) - 0.01
    copied = faiss.index_gpu_to_cpu(index)
    read = faiss.deserialize_index(faiss.serialize_index(copied))
    read.nprobe = 8
    a, b = read.search(QUERIES, 5)[1], index.search(QUERIES, 5)[1]
    assert read.ntotal == len(ROWS) and (a == b).mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_an_index_of_the_host(kind):
    index = faiss.index_cpu_to_gpu(RESOURCES, 0, faiss.index_factory(D, KEYS[kind]))
    faiss_flash.train(index, ROWS)
    assert index.is_trained and recall(index, L2) > 0.3
    everywhere = faiss.index_cpu_to_all_gpus(faiss.index_factory(D, KEYS[kind]))
    faiss_flash.train(everywhere, ROWS)
    everywhere.add(ROWS)
    assert everywhere.ntotal == len(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantizer_of_the_callers_own(kind):
    quantizer = faiss.GpuIndexFlatL2(RESOURCES, D)
    index = made(kind, quantizer=quantizer)
    faiss_flash.train(index, ROWS)
    assert quantizer.ntotal == NLIST
    before = centroids(index)
    np.testing.assert_array_equal(quantizer.reconstruct_n(0, NLIST), before)
    other = made(kind, quantizer=quantizer)  # full: kept
    faiss_flash.train(other, ROWS[::-1].copy())
    np.testing.assert_array_equal(quantizer.reconstruct_n(0, NLIST), before)
    assert recall(other, L2) > 0.3 and recall(index, L2) > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_fails_changes_nothing(kind):
    index = made(kind)
    bad = ROWS.copy()
    bad[77, 3] = np.nan
    for rows in (bad, ROWS[:10]):
        with pytest.raises(ValueError):
            faiss_flash.train(index, rows)
        assert not index.is_trained and index.quantizer.ntotal == 0
    faiss_flash.train(index, ROWS)
    assert index.is_trained


def test_kmeans_on_the_card():
    ours = faiss_flash.Kmeans(D, 50, niter=5, gpu=True)
    host = faiss_flash.Kmeans(D, 50, niter=5)
    assert ours.train(ROWS) == pytest.approx(host.train(ROWS))
    np.testing.assert_allclose(ours.centroids, host.centroids)
    assert isinstance(faiss.index_gpu_to_cpu(ours.index), faiss.IndexFlat)
    distances, ids = ours.assign(ROWS)
    assert distances.shape == ids.shape == (len(ROWS),)
