"""algorithm="e_means" for faiss's indexes and clusterings; all else stays Lloyd's."""

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash

N, D, NLIST = 20000, 32, 100
ROWS = mixture(N, D, 300, 1)


@pytest.fixture
def calls(monkeypatch):
    """The names of what the engine runs."""
    names = []
    monkeypatch.setattr("faiss_flash.trace.ran", names.append)
    return names


def flat(quantizer=None):
    index = faiss.IndexIVFFlat(quantizer or faiss.IndexFlatL2(D), D, NLIST)
    index.cp.niter = 25
    return index


def of_engine(rows=ROWS, k=NLIST, niter=3, algorithm="e_means", **options):
    """The centroids of the engine alone."""
    return faiss_flash.kmeans(
        rows, k, niter=niter, algorithm=algorithm, early_stop_threshold=None, **options
    ).centroids


def centroids_of(index):
    return faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist)


def objective(centroids):
    return faiss_flash.assign(ROWS, centroids)[0].astype("float64").sum()


def content(index):
    return faiss.serialize_index(index).tobytes()


def by_train(**algorithm):
    index = flat()
    faiss_flash.train(index, ROWS, **algorithm)
    return centroids_of(index)


def by_accelerate(**algorithm):
    index = faiss_flash.accelerate(flat(), **algorithm)
    index.train(ROWS)
    return centroids_of(index)


def by_factory(**algorithm):
    index = faiss_flash.index_factory(D, f"IVF{NLIST},Flat", **algorithm)
    index.cp.niter = 25
    index.train(ROWS)
    return centroids_of(index)


def by_graph(**algorithm):
    index = faiss_flash.index_factory(D, f"IDMap,IVF{NLIST}_HNSW8,Flat", **algorithm)
    ivf = faiss.downcast_index(index.index)
    ivf.cp.niter = 25
    index.train(ROWS)
    graph = faiss.downcast_index(ivf.quantizer)
    return faiss.downcast_index(graph.storage).reconstruct_n(0, NLIST)


def by_class(**algorithm):
    index = faiss_flash.IndexIVFFlat(faiss.IndexFlatL2(D), D, NLIST)
    for name, value in algorithm.items():
        setattr(index, name, value)
    index.cp.niter = 25
    index.train(ROWS)
    return centroids_of(index)


def by_quantizer(**algorithm):
    quantizer = faiss_flash.IndexFlatL2(D, NLIST)
    for name, value in algorithm.items():
        setattr(quantizer, name, value)
    quantizer.train(ROWS)
    return quantizer.reconstruct_n(0, NLIST)


def by_patch(**algorithm):
    index = flat()
    with faiss_flash.patch(**algorithm):
        index.train(ROWS)
    return centroids_of(index)


def by_patched_kmeans(**algorithm):
    kmeans = faiss.Kmeans(D, NLIST)
    with faiss_flash.patch(**algorithm):
        kmeans.train(ROWS)
    return kmeans.centroids


def by_kmeans(**algorithm):
    kmeans = faiss_flash.Kmeans(D, NLIST, **algorithm)
    kmeans.train(ROWS)
    return kmeans.centroids


def by_clustering(**algorithm):
    clustering = faiss_flash.Clustering(D, NLIST)
    for name, value in algorithm.items():
        setattr(clustering, name, value)
    clustering.train(ROWS, faiss.IndexFlatL2(D))
    return faiss.vector_to_array(clustering.centroids).reshape(NLIST, D)


WAYS = (
    by_train,
    by_accelerate,
    by_factory,
    by_graph,
    by_class,
    by_quantizer,
    by_patch,
    by_patched_kmeans,
    by_kmeans,
    by_clustering,
)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_takes_it_and_else_stays_with_lloyd(way):
    np.testing.assert_array_equal(way(algorithm="e_means"), of_engine())
    lloyd = of_engine(niter=25, algorithm="lloyd")
    for default in ({}, {"algorithm": "default"}, {"algorithm": "lloyd"}):
        np.testing.assert_array_equal(way(**default), lloyd)


def test_three_passes_come_to_the_objective_of_twenty_five_iterations():
    ours, lloyd = faiss_flash.Kmeans(D, NLIST, algorithm="e_means"), faiss_flash.Kmeans(D, NLIST)
    ours.train(ROWS)
    lloyd.train(ROWS)
    assert len(ours.iteration_stats) == 3
    assert objective(ours.centroids) < 1.005 * objective(lloyd.centroids)


def test_the_index_is_an_ordinary_one(calls):
    ours, stock = (faiss.index_factory(D, f"IVF{NLIST},Flat") for _ in range(2))
    faiss_flash.train(ours, ROWS, algorithm="e_means")
    stock.train(ROWS)
    assert calls == ["e-means"] and type(ours) is faiss.IndexIVFFlat
    same = faiss.deserialize_index(faiss.serialize_index(ours))
    _, truth = faiss.knn(ROWS[:500], ROWS, 10)
    shares = []
    for index in (ours, same, stock):
        index.add(ROWS)
        index.nprobe = 4
        _, found = index.search(ROWS[:500], 10)
        shares.append((found[:, :, None] == truth[:, None, :]).any(2).mean())
    assert shares[0] == shares[1] > shares[2] - 0.03


def test_fewer_iterations_than_three_are_as_many_passes():
    for niter in (0, 1, 2):
        index = flat()
        index.cp.niter = niter
        faiss_flash.train(index, ROWS, algorithm="e_means")
        np.testing.assert_array_equal(centroids_of(index), of_engine(niter=niter))


def test_parameters_are_obeyed():
    weights = np.random.default_rng(1).random(N, dtype="float32")
    options = {"seed": 7, "spherical": True, "nredo": 2, "max_points_per_centroid": 50}
    ours = faiss_flash.Kmeans(D, 20, algorithm="e_means", **options)
    ours.train(ROWS, weights=weights, init_centroids=ROWS[:20])
    expected = of_engine(k=20, weights=weights, init_centroids=ROWS[:20], metric="ip", **options)
    np.testing.assert_array_equal(ours.centroids, expected)
    assert not np.array_equal(expected, of_engine(k=20, metric="ip", seed=7, spherical=True))


@pytest.mark.parametrize("key", ["PQ8np", "IMI2x4,Flat", "OPQ8,PQ8np", "Flat"])
def test_codebooks_are_lloyds(key):
    indexes = [faiss.index_factory(D, key) for _ in range(2)]
    for index, algorithm in zip(indexes, ("e_means", "lloyd")):
        if key.startswith("OPQ"):
            matrix = faiss.downcast_VectorTransform(index.chain.at(0))
            matrix.niter = 2
        faiss_flash.train(index, ROWS, algorithm=algorithm)
    assert content(indexes[0]) == content(indexes[1])


def test_patches_nest_and_are_taken_back(calls):
    with faiss_flash.patch(algorithm="e_means"):
        flat().train(ROWS)
        with faiss_flash.patch():
            flat().train(ROWS)
        flat().train(ROWS)
    assert calls == ["e-means", "k-means", "e-means"]
    with faiss_flash.patch(algorithm="e_means"):
        faiss_flash.unpatch()
        stock = flat()
        stock.train(ROWS)
    assert len(calls) == 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["emeans", "", "Lloyd", "0"])
def test_bad_names_are_named(way, name):
    with pytest.raises(faiss_flash.InvalidArgument, match=f"^algorithm={name} is not one of "):
        way(algorithm=name)


def test_bad_names_are_named_where_nothing_is_trained():
    index = faiss.IndexFlatL2(D)
    for call in (
        lambda: faiss_flash.train(index, ROWS, algorithm="x"),
        lambda: faiss_flash.accelerate(index, algorithm="x"),
        lambda: faiss_flash.patch(algorithm="x"),
        lambda: faiss_flash.Kmeans(D, 3, algorithm="x"),
    ):
        with pytest.raises(faiss_flash.InvalidArgument, match="^algorithm=x is not one of "):
            call()
    with pytest.raises(faiss_flash.InvalidArgument, match="^algorithm=None is not one of "):
        faiss_flash.train(index, ROWS, algorithm=None)
    stock = flat()
    stock.train(ROWS)  # no patch is left
    assert not hasattr(index, "served_by_engine")


def test_a_training_that_fails_leaves_the_index():
    index = faiss.index_factory(D, "IVF64,PQ8np")
    before = content(index)
    for _ in range(2):
        with pytest.raises((RuntimeError, ValueError)):
            faiss_flash.train(index, ROWS[:100], algorithm="e_means")  # too few for the codebooks
        assert content(index) == before
    fresh = faiss.index_factory(D, "IVF64,PQ8np")
    for one in (index, fresh):
        faiss_flash.train(one, ROWS, algorithm="e_means")
    assert content(index) == content(fresh)


def test_a_clustering_that_faiss_keeps(calls):
    index = flat()
    index.clustering_index = faiss.IndexFlatL2(D)
    with faiss_flash.patch(algorithm="e_means"):
        index.train(ROWS)
    assert "e-means" not in calls and index.quantizer.ntotal == NLIST


PROGRAM = """
import faiss, numpy as np
x = np.random.default_rng(1).random((4000, 16), dtype="float32")
index = faiss.index_factory(16, "IVF20,Flat")
index.train(x)
"""


@pytest.mark.parametrize("value", ["e_means", "lloyd", "", None])
def test_the_environment_chooses_for_a_program(value, tmp_path, python):
    (tmp_path / "program.py").write_text(PROGRAM)
    call = ["-m", "faiss_flash", str(tmp_path / "program.py")]
    code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, *{call}]))"
    variables = {} if value is None else {"FAISS_FLASH_ALGORITHM": value}
    status, _, err = python(code, FAISS_FLASH_TRACE="1", **variables)
    assert status == 0, err
    assert ("e-means" if value == "e_means" else "k-means") in err


def test_what_a_call_says_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("FAISS_FLASH_ALGORITHM", "e_means")
    np.testing.assert_array_equal(by_train(), of_engine())
    np.testing.assert_array_equal(
        by_train(algorithm="lloyd"), of_engine(niter=25, algorithm="lloyd")
    )
    monkeypatch.setenv("FAISS_FLASH_ALGORITHM", "k_means")
    by_train(algorithm="lloyd")
    for way in (by_train, by_accelerate, by_patch, by_kmeans, by_class, by_clustering):
        message = "^FAISS_FLASH_ALGORITHM=k_means is not one of "
        with pytest.raises(faiss_flash.InvalidArgument, match=message):
            way()
