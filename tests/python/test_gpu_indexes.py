"""Trainings of faiss's own indexes on GPUs."""

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash

if not hasattr(faiss, "GpuIndexIVFFlat"):
    pytest.skip("a faiss without GPUs", allow_module_level=True)
if faiss.get_num_gpus() == 0 or "cuda:0" not in faiss_flash.available_backends():
    pytest.skip("no CUDA device", allow_module_level=True)

from faiss_flash import gpu_indexes, gpu_twins

D = 32
NLIST = 128
ERRORS = (RuntimeError, ValueError)  # of C++ and of Python
L2, IP = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT
QTYPES = {"SQ8": faiss.ScalarQuantizer.QT_8bit, "SQfp16": faiss.ScalarQuantizer.QT_fp16}
KINDS = ["Flat", "PQ8", *QTYPES]
ROWS = mixture(44000, D, 2000, 1, 0.4)
X, QUERIES = ROWS[:40000], ROWS[40000:]


@pytest.fixture(scope="module")
def resources():
    return faiss.StandardGpuResources()


def on_host(kind, metric=L2):
    common = faiss.IndexFlat(D, metric), D, NLIST
    if kind == "Flat":
        return faiss.IndexIVFFlat(*common, metric)
    if kind == "PQ8":
        return faiss.IndexIVFPQ(*common, 8, 8, metric)
    return faiss.IndexIVFScalarQuantizer(*common, QTYPES[kind], metric)


def on_gpu(resources, kind, metric=L2, quantizer=None, **settings):
    common = (resources, *([] if quantizer is None else [quantizer]), D, NLIST)
    classes = {"Flat": "GpuIndexIVFFlat", "PQ8": "GpuIndexIVFPQ"}
    name = classes.get(kind, "GpuIndexIVFScalarQuantizer")
    config = getattr(faiss, name + "Config")()
    for setting, value in settings.items():
        if setting == "float16_quantizer":
            config.flatConfig.useFloat16 = value
        else:
            setattr(config, setting, value)
    if kind == "Flat":
        return faiss.GpuIndexIVFFlat(*common, metric, config)
    if kind == "PQ8":
        return faiss.GpuIndexIVFPQ(*common, 8, 8, metric, config)
    return faiss.GpuIndexIVFScalarQuantizer(*common, QTYPES[kind], metric, True, config)


_references = {}


def reference(kind, metric=L2):
    """One of the host, trained here."""
    if (kind, metric) not in _references:
        index = on_host(kind, metric)
        faiss_flash.train(index, X)
        _references[kind, metric] = index
    return _references[kind, metric]


def centroids(index):
    return index.quantizer.reconstruct_n(0, index.quantizer.ntotal)


def codebooks(index):
    return faiss.vector_to_array(index.pq.centroids)


def assert_learned(index, kind, metric=L2):
    """The very centroids that an index of the host learns."""
    expected = reference(kind, metric)
    assert index.is_trained and index.ntotal == 0
    assert np.array_equal(centroids(index), centroids(expected))
    if kind == "PQ8":
        assert np.array_equal(codebooks(faiss.index_gpu_to_cpu(index)), codebooks(expected))
        assert np.array_equal(codebooks(index), codebooks(expected))
        assert index.pq.train_type == expected.pq.train_type
        assert index.pq.cp.niter == expected.pq.cp.niter


def recall(index, metric=L2):
    truth = faiss.IndexFlat(D, metric)
    truth.add(X)
    index.nprobe = 8
    found, right = index.search(QUERIES, 10)[1], truth.search(QUERIES, 10)[1]
    return np.mean([len(set(a) & set(b)) for a, b in zip(found, right)]) / 10


@pytest.mark.parametrize("metric", [L2, IP])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("made", ["directly", "from the host"])
def test_as_on_the_host_and_no_worse_than_stock(resources, kind, metric, made, tmp_path):
    def new():
        if made == "directly":
            return on_gpu(resources, kind, metric)
        return faiss.index_cpu_to_gpu(resources, 0, on_host(kind, metric))

    index, stock = new(), new()
    faiss_flash.train(index, X)
    assert_learned(index, kind, metric)
    stock.train(X)
    index.add(X)
    stock.add(X)
    assert recall(index, metric) > recall(stock, metric) - 0.005

    copy = faiss.index_gpu_to_cpu(index)
    faiss.write_index(copy, str(tmp_path / "index"))
    read = faiss.read_index(str(tmp_path / "index"))
    assert type(read) is type(on_host(kind)) and read.ntotal == len(X)
    assert np.array_equal(centroids(read), centroids(index))
    assert abs(recall(read, metric) - recall(index, metric)) < 0.005


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["GPU", "host"])
def test_a_quantizer_of_the_caller(resources, kind, where):
    quantizer = faiss.GpuIndexFlatL2(resources, D) if where == "GPU" else faiss.IndexFlatL2(D)
    quantizer.add(X[:5])
    try:
        index = on_gpu(resources, kind, quantizer=quantizer)
    except RuntimeError:
        pytest.skip("takes none in a faiss with cuVS")
    faiss_flash.train(index, X)
    assert int(index.quantizer.this) == int(quantizer.this) and not index.own_fields
    assert_learned(index, kind)
    index.add(X[:1000])
    assert index.search(X[:100], 1)[0].shape == (100, 1)
    del index
    assert np.array_equal(quantizer.reconstruct_n(0, NLIST), centroids(reference(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_quantizer_is_left_alone(resources, kind):
    quantizer = faiss.GpuIndexFlatL2(resources, D)
    quantizer.add(X[:NLIST])
    try:
        index = on_gpu(resources, kind, quantizer=quantizer)
    except RuntimeError:
        pytest.skip("takes none in a faiss with cuVS")
    faiss_flash.train(index, X)
    assert index.is_trained
    assert np.array_equal(centroids(index), X[:NLIST])
    index.add(X)
    assert recall(index) > 0.3


def test_a_quantizer_that_is_not_flat_is_trained_by_faiss(resources):
    quantizer = faiss.IndexHNSWFlat(D, 8)
    index = on_gpu(resources, "Flat", quantizer=quantizer)
    faiss_flash.train(index, X[:4000])
    assert index.is_trained and quantizer.ntotal == NLIST


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_index_is_set_to_stays(resources, kind):
    device = faiss.get_num_gpus() - 1
    options = {"device": device, "indicesOptions": faiss.INDICES_32_BIT}
    if gpu_indexes._trained_by_cuvs(on_gpu(resources, kind)):
        del options["indicesOptions"]
    index = on_gpu(resources, kind, **options)
    index.nprobe = 5
    index.cp.niter = 4
    index.cp.seed = 77
    faiss_flash.train(index, X)
    expected = on_host(kind)
    expected.cp.niter = 4
    expected.cp.seed = 77
    faiss_flash.train(expected, X)
    assert np.array_equal(centroids(index), centroids(expected))
    assert index.getDevice() == device and index.nprobe == 5
    assert faiss.downcast_index(index.quantizer).getDevice() == device
    index.add(X[:1000])
    assert index.search(X[:10], 1)[1].max() < 1000


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantizer_in_float16(resources, kind):
    index = on_gpu(resources, kind, float16_quantizer=True)
    faiss_flash.train(index, X)
    rounded = centroids(reference(kind)).astype("float16")
    assert np.array_equal(centroids(index), rounded.astype("float32"))
    index.add(X)
    assert recall(index) > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_copied_from_the_host(resources, kind, monkeypatch):
    """As indexes of cuVS are, in every build."""
    monkeypatch.setattr(gpu_indexes, "_trained_by_cuvs", lambda index: True)
    quantizer = faiss.GpuIndexFlatL2(resources, D)
    for index in on_gpu(resources, kind), on_gpu(resources, kind, quantizer=quantizer):
        before = int(index.quantizer.this), index.own_fields
        faiss_flash.train(index, X)
        assert (int(index.quantizer.this), index.own_fields) == before
        assert np.array_equal(centroids(index), centroids(reference(kind)))
        if not kind.startswith("SQ"):  # what they learn is left to faiss
            assert_learned(index, kind)
            index.add(X)
            assert recall(index) > 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantizer", ["own", "the caller's"])
def test_a_training_that_fails(resources, kind, quantizer):
    given = None
    if quantizer != "own":
        given = faiss.GpuIndexFlatL2(resources, D)
        given.add(X[:5])
    index = on_gpu(resources, kind, quantizer=given)
    index.nprobe = 3
    before = int(index.quantizer.this), index.own_fields, centroids(index).tolist()
    broken = X.copy()
    broken[123, 4] = np.nan

    def assert_as_before():
        assert not index.is_trained and index.nprobe == 3
        assert (int(index.quantizer.this), index.own_fields, centroids(index).tolist()) == before
        if kind == "PQ8":
            assert not codebooks(index).any()
            assert index.pq.train_type == faiss.ProductQuantizer.Train_default

    few_for_codebooks = [X[: NLIST + 1]] if kind == "PQ8" else []
    for x in [broken, X[: NLIST - 1], *few_for_codebooks]:
        with pytest.raises(ERRORS):
            faiss_flash.train(index, x)
        assert_as_before()
    if not gpu_indexes._trained_by_cuvs(index):
        index.reserveMemory(1 << 42)  # fails when all else is done
        with pytest.raises(ERRORS):
            faiss_flash.train(index, X)
        assert_as_before()
        index.reserveMemory(0)
    faiss_flash.train(index, X)
    assert_learned(index, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard", [False, True])
def test_on_all_cards(kind, shard):
    options = faiss.GpuMultipleClonerOptions()
    options.shard = shard
    index = faiss.index_cpu_to_all_gpus(on_host(kind), options)
    faiss_flash.train(index, X)
    assert index.is_trained
    if faiss.get_num_gpus() == 1:
        assert_learned(index, kind)
    else:
        for i in range(index.count()):
            part = faiss.downcast_index(index.at(i))
            assert part.getDevice() == i
            assert_learned(part, kind)
    index.add(X)
    assert index.ntotal == len(X)


@pytest.mark.parametrize("holder", ["IndexReplicas", "IndexShards"])
def test_all_parts_or_none(resources, holder):
    parts = [on_gpu(resources, "Flat") for _ in range(2)]
    index = getattr(faiss, holder)(D)
    for part in parts:
        index.addIndex(part)
    if not gpu_indexes._trained_by_cuvs(parts[0]):
        parts[1].reserveMemory(1 << 42)
        with pytest.raises(ERRORS):
            faiss_flash.train(index, X)
        assert not index.is_trained
        assert all(not part.is_trained and part.quantizer.ntotal == 0 for part in parts)
        parts[1].reserveMemory(0)
    faiss_flash.train(index, X)
    assert index.is_trained
    for part in parts:
        assert_learned(part, "Flat")


def test_inside_others_and_accelerated(resources):
    index = faiss_flash.accelerate(on_gpu(resources, "PQ8"))
    index.train(X)
    assert_learned(index, "PQ8")
    inner = on_gpu(resources, "Flat")
    faiss_flash.train(faiss.IndexIDMap(inner), X)
    assert_learned(inner, "Flat")
    again = centroids(inner)
    faiss_flash.train(inner, X[:300])  # trained once
    assert np.array_equal(centroids(inner), again)


def test_a_card_that_the_engine_cannot_use(resources, monkeypatch):
    monkeypatch.setattr(gpu_twins, "available_backends", lambda: ["cpu"])
    index = on_gpu(resources, "Flat")
    faiss_flash.train(index, X)
    assert index.is_trained and index.quantizer.ntotal == NLIST
    flat = faiss.GpuIndexFlatL2(resources, D)
    faiss_flash.Clustering(D, NLIST).train(X, flat)
    assert flat.ntotal == NLIST


def test_kmeans_on_the_card():
    ours = faiss_flash.Kmeans(D, 50, niter=5, gpu=True)
    host = faiss_flash.Kmeans(D, 50, niter=5)
    assert ours.train(X) == pytest.approx(host.train(X))
    np.testing.assert_allclose(ours.centroids, host.centroids)
    assert isinstance(faiss.index_gpu_to_cpu(ours.index), faiss.IndexFlat)
    distances, ids = ours.assign(X)
    assert distances.shape == ids.shape == (len(X),)
