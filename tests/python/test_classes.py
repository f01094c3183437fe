"""FAISS's classes on the engine, beside faiss's own in the same process."""

import gc

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash

NATIVE = faiss_flash.faiss_classes().__name__.endswith("native")
ERRORS = (RuntimeError, ValueError)  # of C++ and of Python
FIELDS = ["obj", "time", "time_search", "imbalance_factor", "nsplit"]

CONFIGURATIONS = {
    "l2": {},
    "inner_product_spherical": dict(spherical=True),
    "weights": {},
    "partial_initial_centroids": {},
    "frozen": dict(frozen_centroids=True),
    "int_centroids": dict(int_centroids=True),
    "nredo": dict(nredo=3),
    "sampled": dict(max_points_per_centroid=40),
    "k_close_to_n": {},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_kmeans_follows_faiss(name):
    n = 60 if name == "k_close_to_n" else 4000
    x = mixture(n, 24, 26, 7, 0.6) * (20 if name == "int_centroids" else 1)
    arguments = {}
    if name == "weights":
        arguments["weights"] = np.random.default_rng(1).random(n) + 0.5
    if name in ("partial_initial_centroids", "frozen"):
        arguments["init_centroids"] = x[:20].copy()
    options = dict(niter=12, **CONFIGURATIONS[name])
    ours = faiss_flash.Kmeans(24, 50, **options)
    stock = faiss.Kmeans(24, 50, **options)
    final = ours.train(x, **arguments)
    expected = stock.train(x, **arguments)
    assert final == ours.obj[-1]
    assert final == pytest.approx(expected, rel=1e-3)
    assert ours.obj.dtype == stock.obj.dtype and ours.obj.shape == stock.obj.shape
    np.testing.assert_allclose(ours.obj[:5], stock.obj[:5], rtol=1e-4)
    assert [list(s) for s in ours.iteration_stats] == [list(s) for s in stock.iteration_stats]
    assert list(ours.iteration_stats[0]) == FIELDS
    assert ours.centroids.shape == (50, 24) and ours.centroids.dtype == np.float32
    assert type(ours.index) is type(stock.index) and ours.index.ntotal == 50
    D, I = ours.assign(x)
    stock_D, stock_I = stock.assign(x)
    assert D.shape == stock_D.shape and I.dtype == stock_I.dtype
    np.testing.assert_array_equal(ours.index.search(x, 1)[0].shape, (n, 1))


def test_kmeans_attributes_are_those_of_faiss():
    ours = faiss_flash.Kmeans(8, 5, niter=3, seed=7, gpu=False)
    stock = faiss.Kmeans(8, 5, niter=3, seed=7, gpu=False)
    assert isinstance(ours, faiss.Kmeans)
    assert set(vars(stock)) <= set(vars(ours))
    assert (ours.d, ours.k, ours.cp.niter, ours.cp.seed) == (8, 5, 3, 7)
    assert ours.centroids is None
    with pytest.raises(AttributeError):
        faiss_flash.Kmeans(8, 5, nitre=3)
    x = mixture(500, 8, 5, 1)
    ours.train(x)
    stock.train(x)
    assert set(vars(stock)) | {"device", "algorithm"} == set(vars(ours))


def test_kmeans_shape_errors_are_assertions():
    kmeans = faiss_flash.Kmeans(8, 5)
    x = mixture(500, 8, 5, 1)
    with pytest.raises(AssertionError, match="7 columns"):
        kmeans.train(x[:, :7])
    with pytest.raises(AssertionError, match=r"weights has shape \(499,\)"):
        kmeans.train(x, weights=np.ones(499))
    with pytest.raises(AssertionError):
        kmeans.train(x, init_centroids=x[:2, :3])
    with pytest.raises(AssertionError, match="train before"):
        kmeans.assign(x)
    with pytest.raises(ERRORS, match="niter=-1"):
        faiss_flash.Kmeans(8, 5, niter=-1).train(x)


makes_its_index = pytest.mark.skipif(
    not hasattr(faiss.Kmeans, "set_index"), reason="faiss's train() makes the index"
)


@makes_its_index
def test_kmeans_with_an_index_of_other_columns():
    x = mixture(500, 8, 5, 1)
    kmeans = faiss_flash.Kmeans(8, 5)
    for index in (faiss.IndexFlatL2(4), faiss.IndexFlatL2(16)):
        kmeans.index = index
        with pytest.raises(AssertionError, match=r"index\.d=\d+ does not match"):
            kmeans.train(x)
        assert index.ntotal == 0 and kmeans.centroids is None
    kmeans.index = 3
    with pytest.raises(TypeError, match="int, expected a faiss.Index"):
        kmeans.train(x)


@makes_its_index
def test_kmeans_that_is_interrupted_at_its_end(monkeypatch):
    x = mixture(500, 8, 5, 1)
    kmeans = faiss_flash.Kmeans(8, 5, niter=3)
    kmeans.train(x)
    before = dict(vars(kmeans))
    held = kmeans.index.reconstruct_n(0, 5)
    hold = faiss_flash.clustering.hold

    def held_and_interrupted(index, centroids, undo):
        hold(index, centroids, undo)
        raise KeyboardInterrupt

    monkeypatch.setattr("faiss_flash.kmeans_class.hold", held_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        kmeans.train(x * 2 + 1)
    assert all(vars(kmeans)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(kmeans.index.reconstruct_n(0, 5), held)


def test_progressive_dimensions_go_to_faiss():
    x = mixture(2000, 8, 5, 1)
    ours = faiss_flash.Kmeans(8, 5, progressive_dim_steps=3)
    stock = faiss.Kmeans(8, 5, progressive_dim_steps=3)
    assert ours.train(x) == pytest.approx(stock.train(x), rel=1e-5)


def test_clustering():
    x = mixture(3000, 16, 20, 1)
    clustering = faiss_flash.Clustering(16, 20)
    assert isinstance(clustering, faiss.Clustering)
    index = faiss.IndexFlatL2(16)
    clustering.train(x, index)
    stock = faiss.Clustering(16, 20)
    stock.train(x, faiss.IndexFlatL2(16))
    ours_centroids = faiss.vector_to_array(clustering.centroids)
    np.testing.assert_allclose(ours_centroids, faiss.vector_to_array(stock.centroids), atol=1e-3)
    np.testing.assert_array_equal(index.reconstruct_n(0, 20).ravel(), ours_centroids)
    assert clustering.iteration_stats.size() == stock.iteration_stats.size()
    assert clustering.decided >= 0
    with pytest.raises((AssertionError, ValueError)):
        clustering.train(x[:, :5], index)
    with pytest.raises(ERRORS, match="not finite"):
        clustering.train(np.full((100, 16), np.nan, dtype="float32"), index)
    assert index.ntotal == 20


def test_clustering_of_codes():
    x = mixture(3000, 16, 20, 1)
    codec = faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_8bit)
    codec.train(x)
    codes = codec.sa_encode(x)
    ours, stock = faiss_flash.Clustering(16, 20), faiss.Clustering(16, 20)
    ours.train_encoded(codes, codec, faiss.IndexFlatL2(16))
    stock.train_encoded(codes, codec, faiss.IndexFlatL2(16))
    assert ours.iteration_stats.at(4).obj == pytest.approx(stock.iteration_stats.at(4).obj, 1e-4)


def recall(found, truth):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth)])


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
def test_ivf_flat_against_faiss(metric, tmp_path):
    base = mixture(20000, 32, 300, 1, 0.7)
    queries = mixture(300, 32, 300, 1, 0.7)
    indexes = {}
    for module in (faiss, faiss_flash):
        quantizer = faiss.IndexFlat(32, metric)
        index = module.IndexIVFFlat(quantizer, 32, 128, metric)
        index.train(base)
        index.add(base)
        indexes[module] = index
    ours, stock = indexes[faiss_flash], indexes[faiss]
    assert isinstance(ours, faiss.IndexIVFFlat)
    assert ours.is_trained and ours.ntotal == 20000
    exact = faiss.IndexFlat(32, metric)
    exact.add(base)
    truth = exact.search(queries, 10)[1]
    path = str(tmp_path / "index.faiss")
    faiss.write_index(ours, path)
    read = faiss.read_index(path)
    for nprobe in (1, 2, 4, 8, 16, 32, 64):
        ours.nprobe = stock.nprobe = read.nprobe = nprobe
        found = ours.search(queries, 10)
        assert recall(found[1], truth) == pytest.approx(
            recall(stock.search(queries, 10)[1], truth), abs=0.005
        )
        again = read.search(queries, 10)
        np.testing.assert_array_equal(again[0], found[0])
        np.testing.assert_array_equal(again[1], found[1])


def test_lists_equal_those_of_faiss_with_the_same_centroids():
    base = mixture(5000, 16, 50, 1)
    quantizer = faiss.IndexFlatL2(16)
    ours = faiss_flash.IndexIVFFlat(quantizer, 16, 40)
    ours.train(base)
    stock = faiss.IndexIVFFlat(quantizer, 16, 40)
    stock.train(base)
    ids = np.arange(5000) * 3
    ours.add_with_ids(base, ids)
    stock.add_with_ids(base, ids)
    for i in range(40):
        size = stock.invlists.list_size(i)
        assert ours.invlists.list_size(i) == size
        if size:
            np.testing.assert_array_equal(
                faiss.rev_swig_ptr(ours.invlists.get_ids(i), size),
                faiss.rev_swig_ptr(stock.invlists.get_ids(i), size),
            )


def test_quantizer_passed_as_a_temporary_is_kept():
    x = mixture(3000, 16, 20, 1)
    index = faiss_flash.IndexIVFFlat(faiss.IndexFlatL2(16), 16, 20)
    gc.collect()
    _ = [faiss.IndexFlatL2(16) for _ in range(100)]
    index.train(x)
    index.add(x)
    assert index.quantizer.ntotal == 20


def test_flat_quantizers():
    x = mixture(3000, 16, 20, 1)
    quantizer = faiss_flash.IndexFlatL2(16, 30)
    assert isinstance(quantizer, faiss.IndexFlatL2)
    if NATIVE:  # C++ does not see what Python overrides
        index = faiss.IndexIVFFlat(quantizer, 16, 30)
        index.quantizer_trains_alone = 1
        index.train(x)
    else:
        quantizer.train(x)
    assert quantizer.ntotal == 30
    D, I = quantizer.search(x, 1)
    expected_D, expected_I = faiss_flash.assign(x, quantizer.reconstruct_n(0, 30))
    np.testing.assert_array_equal(I.ravel(), expected_I)
    np.testing.assert_array_equal(D.ravel(), expected_D)
    np.testing.assert_array_equal(quantizer.assign(x, 1).ravel(), expected_I)


@pytest.mark.parametrize(
    "call",
    [
        "faiss_flash.Kmeans(64, 500, niter=1000, nredo=1000).train(x)",
        "c = faiss_flash.Clustering(64, 500); c.nredo = 9999; c.train(x, faiss.IndexFlatL2(64))",
    ],
    ids=["kmeans", "clustering"],
)
def test_ctrl_c_stops_within_an_iteration(python, call):
    code = f"""
    import faiss, numpy as np, faiss_flash
    faiss_flash.Kmeans
    x = np.random.default_rng(3).standard_normal((60000, 64), dtype="float32")
    try:
        print("started", flush=True)
        {call}
    except KeyboardInterrupt:
        print("stopped")
    """
    returncode, out, err = python(code, interrupt_after=1.5)
    assert returncode == 0 and out.strip() == "stopped", (out, err)


@pytest.mark.skipif(not NATIVE, reason="no compiled classes for this faiss")
def test_another_faiss_gets_the_portable_classes(python):
    code = """
    import faiss
    faiss.__version__ = "1.14.0"
    import faiss_flash
    try:
        import faiss_flash.native
    except ImportError as error:
        print(error)
    print(faiss_flash.faiss_classes().__name__)
    """
    out = python(code)[1]
    assert "were built for faiss" in out and "1.14.0 is installed" in out
    assert out.endswith("faiss_flash.portable\n")


@pytest.mark.parametrize("first, second", [("faiss", "faiss_flash"), ("faiss_flash", "faiss")])
def test_engine_beside_faiss_in_one_process(python, first, second):
    """The two SWIG modules must not take each other's containers for their own."""
    code = f"""
        import {first}
        import {second}
        import numpy as np
        x = np.random.default_rng(1).random((500, 8), dtype="float32")
        results = faiss_flash.batch_kmeans([x, x[:400]], 5, niter=3)
        print([len(result.iteration_stats) for result in results])
        vectors = faiss.Float32VectorVector()
        print(vectors.size(), faiss.Kmeans(8, 5).train(x) > 0)
    """
    status, out, err = python(code)
    assert (status, out.splitlines()) == (0, ["[3, 3]", "0 True"]), err
