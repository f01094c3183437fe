"""Training and filling of every kind of index, beside faiss's own."""

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash

D = 32
NLIST = 64
VERSION = tuple(int(part) for part in faiss.__version__.split(".")[:2])
ERRORS = (RuntimeError, ValueError)  # of C++ and of Python

IVFS = ["IVF64,Flat", "IVF64,SQ8", "IVF64,PQ8np", "IVF64,PQ8x4fs", "IVF64,PQ8+4"]
KEYS = [
    *IVFS,
    "IVF64_HNSW16,Flat",
    "IMI2x4,Flat",
    "PCA16,IVF64,Flat",
    "OPQ8,IVF64,PQ8np",
    "IDMap,IVF64,Flat",
    "IDMap2,IVF64,PQ8np",
    "IVF64,Flat,RFlat",
    "PQ8np",
    "PQ8x4fs",
    "HNSW8,Flat",
    "Flat",
]


def data():
    base = mixture(9000, D, 200, 1, 0.7)
    return base[:8000], base[8000:]


def ivf_of(index):
    try:
        return faiss.extract_index_ivf(index)
    except RuntimeError:
        return None


def recall(index, queries, truth):
    ivf = ivf_of(index)
    if ivf is not None:
        ivf.nprobe = 8
    found = index.search(queries, 10)[1]
    return np.mean([len(set(a) & set(b)) for a, b in zip(found, truth)]) / 10


def fill(index, x):
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexIDMap2)):
        index.add_with_ids(x, np.arange(len(x)))
    else:
        index.add(x)


def lists_of(index):
    """(ids, codes) of each list."""
    ivf = ivf_of(index)
    lists = []
    for i in range(ivf.nlist):
        size = ivf.invlists.list_size(i)
        ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(i), size).copy() if size else np.empty(0)
        bytes_in_list = size * ivf.code_size
        codes = (
            faiss.rev_swig_ptr(ivf.invlists.get_codes(i), bytes_in_list).copy() if size else None
        )
        lists.append((ids, codes))
    return lists


def assert_equal_lists(a, b):
    for (ids, codes), (other_ids, other_codes) in zip(lists_of(a), lists_of(b)):
        np.testing.assert_array_equal(ids, other_ids)
        if codes is not None:
            np.testing.assert_array_equal(codes, other_codes)


@pytest.mark.parametrize("key", KEYS)
def test_recall_is_faisss(key, tmp_path):
    x, queries = data()
    exact = faiss.IndexFlatL2(D)
    exact.add(x)
    truth = exact.search(queries, 10)[1]
    stock = faiss.index_factory(D, key)
    stock.train(x)
    fill(stock, x)
    ours = faiss_flash.index_factory(D, key)
    assert isinstance(ours, type(stock))
    ours.train(x)
    assert ours.is_trained
    fill(ours, x)
    assert ours.ntotal == len(x)
    # Ten thousand neighbours, found by clusterings that went different ways.
    assert recall(ours, queries, truth) == pytest.approx(recall(stock, queries, truth), abs=0.02)
    read = []
    for index in (stock, ours):
        faiss.write_index(index, str(tmp_path / "index"))
        read.append(faiss.read_index(str(tmp_path / "index")))
    assert type(faiss.downcast_index(read[1])) is type(faiss.downcast_index(read[0]))
    np.testing.assert_array_equal(read[1].search(queries, 5)[1], ours.search(queries, 5)[1])


@pytest.mark.parametrize("key", IVFS)
def test_lists_are_faisss_for_the_same_centroids(key):
    x, _ = data()
    trained = faiss.index_factory(D, key)
    trained.train(x)
    if "fs" in key and VERSION < (1, 8):
        pytest.skip("this faiss cannot clone it")
    stock, ours = faiss.clone_index(trained), faiss.clone_index(trained)
    stock.add(x[:5000])
    stock.add(x[5000:])
    faiss_flash.add(ours, x[:5000])
    faiss_flash.add(ours, x[5000:])
    assert_equal_lists(stock, ours)


def test_direct_maps_and_ids():
    x, _ = data()
    trained = faiss.index_factory(D, "IVF64,Flat")
    trained.train(x)
    stock, ours = faiss.clone_index(trained), faiss.clone_index(trained)
    for kind in (faiss.DirectMap.Array, faiss.DirectMap.Hashtable):
        for index in (stock, ours):
            index.reset()
            index.set_direct_map_type(kind)
        ids = None if kind == faiss.DirectMap.Array else np.arange(len(x)) * 3 + 5
        stock.add(x) if ids is None else stock.add_with_ids(x, ids)
        faiss_flash.add(ours, x, ids)
        assert_equal_lists(stock, ours)
        key = 4321 if ids is None else int(ids[4321])
        np.testing.assert_array_equal(ours.reconstruct(key), x[4321])


def test_it_stays_an_ordinary_index():
    x, queries = data()
    a = faiss_flash.index_factory(D, "IVF64,Flat")
    a.train(x)
    b = faiss.clone_index(a)
    a.add(x[:4000])
    b.add(x[4000:])
    a.merge_from(b, 4000)
    assert a.ntotal == 8000 and b.ntotal == 0
    a.nprobe = NLIST
    assert a.range_search(queries[:5], 30.0)[0][-1] > 0
    a.make_direct_map()
    np.testing.assert_array_equal(a.reconstruct(5000), x[5000])
    a.set_direct_map_type(faiss.DirectMap.NoMap)
    assert a.remove_ids(np.arange(100)) == 100 and a.ntotal == 7900


def test_accelerate_keeps_the_object():
    x, _ = data()
    index = faiss.index_factory(D, "IVF64,Flat")
    same = faiss_flash.accelerate(index)
    assert same is index and isinstance(index, faiss.IndexIVFFlat)
    assert faiss_flash.accelerate(index) is index
    index.train(x)
    index.add(x)
    stock = faiss.clone_index(index)
    stock.reset()
    stock.add(x)
    assert_equal_lists(stock, index)


def test_codebooks_of_all_training_types():
    x, _ = data()
    for train_type in ("Train_default", "Train_hot_start", "Train_shared", "Train_hypercube"):
        errors = []
        for train in (faiss_flash.train, lambda index, rows: index.train(rows)):
            index = faiss.IndexPQ(D, 4, 6)
            index.pq.train_type = getattr(faiss.ProductQuantizer, train_type)
            if train_type == "Train_hot_start":
                start = np.random.default_rng(1).standard_normal(4 * 64 * 8, dtype="float32")
                faiss.copy_array_to_vector(start, index.pq.centroids)
            train(index, x)
            codes = index.pq.compute_codes(x)
            errors.append(((index.pq.decode(codes) - x) ** 2).sum())
            assert index.pq.train_type == getattr(faiss.ProductQuantizer, train_type)
            assert index.pq.cp.niter == 25
        assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_inner_product():
    x, queries = data()
    recalls = []
    exact = faiss.IndexFlatIP(D)
    exact.add(x)
    truth = exact.search(queries, 10)[1]
    for factory in (faiss.index_factory, faiss_flash.index_factory):
        index = factory(D, "IVF64,PQ8np", faiss.METRIC_INNER_PRODUCT)
        index.train(x)
        index.add(x)
        recalls.append(recall(index, queries, truth))
    assert recalls[0] == pytest.approx(recalls[1], abs=0.02)


@pytest.mark.parametrize("key", ["IVF64,Flat", "IVF64,PQ8np", "PCA16,IVF64,Flat", "PQ8np"])
def test_a_failing_training_leaves_the_index(key):
    x, _ = data()
    index = faiss_flash.index_factory(D, key)
    bad = x.copy()
    bad[17, 3] = np.nan
    with pytest.raises(ERRORS):
        index.train(bad)
    assert not index.is_trained
    ivf = ivf_of(index)
    assert ivf is None or ivf.quantizer.ntotal == 0
    index.train(x)
    assert index.is_trained


def test_bad_arguments():
    x, _ = data()
    index = faiss.index_factory(D, "IVF64,Flat")
    with pytest.raises(ValueError, match=r"x has shape \(8000, 31\), expected \(n, 32\)"):
        faiss_flash.train(index, x[:, :31])
    with pytest.raises(TypeError, match="expected a faiss.Index"):
        faiss_flash.train("IVF64,Flat", x)
    with pytest.raises(TypeError, match="expected a faiss.Index"):
        faiss_flash.add(None, x)
    with pytest.raises(TypeError, match="expected a faiss.Index"):
        faiss_flash.accelerate(3)
    with pytest.raises(ERRORS, match="k=64"):
        faiss_flash.train(index, x[:10])
    assert not index.is_trained
    with pytest.raises(ValueError, match="not trained"):
        faiss_flash.add(index, x)
    faiss_flash.train(index, x)
    with pytest.raises(ValueError, match=r"ids has shape \(3,\), expected \(8000,\)"):
        faiss_flash.add(index, x, np.arange(3))
    bad = x.copy()
    bad[7, 2] = np.inf
    with pytest.raises(ERRORS, match="not finite"):
        faiss_flash.add(index, bad)
    assert index.ntotal == 0


@pytest.mark.skipif(VERSION < (1, 8), reason="faiss trains residual encoders by itself there")
def test_residual_codebooks_are_the_engines():
    """The codebooks are those of exact k-means on the residuals that faiss would train on."""
    x, _ = data()
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(D), D, NLIST, 8, 4)
    faiss_flash.train(index, x)
    order = np.empty(len(x), dtype="int32")
    faiss.rand_perm(faiss.swig_ptr(order), len(x), 1234)
    rows = x[order[: 256 * 16]]
    centroids = index.quantizer.reconstruct_n(0, NLIST)
    residuals = rows - centroids[faiss_flash.assign(rows, centroids)[1]]
    books = faiss.vector_to_array(index.pq.centroids).reshape(8, 16, 4)
    for m in range(8):
        expected = faiss_flash.kmeans(residuals[:, 4 * m : 4 * m + 4], 16).centroids
        np.testing.assert_array_equal(books[m], expected)


def trained_ivfpq(x):
    """By the engine, and its quantizer, which must stay alive."""
    quantizer = faiss.IndexFlatL2(D)
    index = faiss.IndexIVFPQ(quantizer, D, NLIST, 8, 8)
    faiss_flash.train(index, x)
    return index, quantizer


def test_the_precomputed_table_is_faisss():
    index, _quantizer = trained_ivfpq(data()[0])
    assert index.use_precomputed_table == 1
    size = NLIST * 8 * 256
    ours = faiss.rev_swig_ptr(index.precomputed_table.data(), size).copy()
    index.use_precomputed_table = 0
    index.precompute_table()
    stock = faiss.rev_swig_ptr(index.precomputed_table.data(), size)
    np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-6 * np.abs(stock).max())


def test_a_table_that_is_not_wanted_is_not_made():
    x, _ = data()
    quantizer = faiss.IndexFlatL2(D)
    index = faiss.IndexIVFPQ(quantizer, D, NLIST, 8, 8)
    index.use_precomputed_table = -1
    faiss_flash.train(index, x)
    assert index.use_precomputed_table == -1 and index.precomputed_table.size() == 0


@pytest.mark.parametrize("by_residual", [True, False])
def test_codes_with_ids(by_residual):
    x, _ = data()
    quantizer = faiss.IndexFlatL2(D)
    trained = faiss.IndexIVFPQ(quantizer, D, NLIST, 8, 8)
    trained.by_residual = by_residual
    trained.train(x)
    stock, ours = faiss.clone_index(trained), faiss.clone_index(trained)
    ids = np.arange(len(x)) * 7 + 3
    stock.add_with_ids(x, ids)
    faiss_flash.add(ours, x, ids)
    assert ours.ntotal == len(x)
    assert_equal_lists(stock, ours)
