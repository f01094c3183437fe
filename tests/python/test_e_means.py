"""algorithm="e_means", and the class of faiss's contrib module on the engine. No faiss needed."""

import numpy as np
import pytest
from conftest import descriptors, mixture
from faiss_flash.engine import e_means_recipe

import faiss_flash


def objective(x, centroids):
    return faiss_flash.assign(x, centroids)[0].sum(dtype="float64")


def test_two_passes_come_to_lloyds_objective():
    x = descriptors(20000, 32, 1)
    options = {"max_points_per_centroid": -1, "init_centroids": x[:64]}
    by_lloyd = faiss_flash.kmeans(x, 64, niter=25, **options)
    by_e_means = faiss_flash.kmeans(
        x, 64, niter=2, algorithm="e_means", operating_point="quality", **options
    )
    assert objective(x, by_e_means.centroids) < 1.01 * objective(x, by_lloyd.centroids)
    assert len(by_e_means.iteration_stats) == 2


def test_same_bits_again_and_with_other_threads():
    x = mixture(9000, 17, 50, 3, 0.3)
    first = faiss_flash.kmeans(x, 40, niter=3, algorithm="e_means")
    before = faiss_flash.num_threads()
    try:
        faiss_flash.set_num_threads(1)
        again = faiss_flash.kmeans(x, 40, niter=3, algorithm="e_means")
    finally:
        faiss_flash.set_num_threads(before)
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert first.obj.tolist() == again.obj.tolist()
    other = faiss_flash.kmeans(x, 40, niter=3, algorithm="e_means", seed=5)
    assert not np.array_equal(first.centroids, other.centroids)


def test_a_batch_is_a_loop():
    x = np.random.default_rng(1).standard_normal((3, 2000, 6), dtype="float32")
    together = faiss_flash.batch_kmeans(x, 9, niter=2, algorithm="e_means")
    for b in range(3):
        alone = faiss_flash.kmeans(x[b], 9, niter=2, algorithm="e_means")
        np.testing.assert_array_equal(together.centroids[b], alone.centroids)


def test_recipe():
    assert e_means_recipe(1 << 20, 8192, niter=3, operating_point="quality")[0] == 8192
    assert e_means_recipe(1 << 20, 8192, niter=3)[0] == 65536
    assert e_means_recipe(1000, 10, batch_size=100, alpha0=0.5) == (100, 0.5)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"algorithm": "emeans"}, "algorithm='emeans' is not one of 'lloyd', 'e_means'"),
        ({"operating_point": 3}, "operating_point=3 is not one of"),
        ({"batch_size": 10}, "batch_size=10 and alpha0=0"),
        ({"batch_size": -1, "alpha0": 0.5}, "batch_size=-1 must be positive"),
        ({"batch_size": 2.5, "alpha0": 0.5}, "batch_size=2.5 is not an integer"),
        ({"batch_size": 10, "alpha0": 2}, r"alpha0=2.0* must be in \(0, 1\]"),
        ({"batch_size": 10, "alpha0": "1"}, "alpha0='1' is not a number"),
    ],
)
def test_bad_options(options, text):
    x = np.zeros((50, 2), dtype="float32")
    with pytest.raises(faiss_flash.InvalidArgument, match=text):
        faiss_flash.kmeans(x, 3, **options)


def test_class_has_faisss_attributes():
    x = mixture(8000, 12, 60, 5, 0.3)
    emeans = faiss_flash.Emeans(12, 50, niter=3, operating_point="quality", seed=7)
    assert emeans.centroids is None
    last = emeans.train(x)
    assert emeans.centroids.shape == (50, 12) and emeans.centroids.dtype == np.float32
    assert emeans.obj.shape == (3,) and emeans.obj.dtype == np.float64
    assert last == emeans.obj[-1]
    assert [set(one) for one in emeans.iteration_stats] == [
        {"obj", "time", "imbalance_factor", "nsplit"}
    ] * 3
    assert emeans.n_splits == sum(one["nsplit"] for one in emeans.iteration_stats)
    assert emeans.recipe["niter"] == 3
    batch = emeans.recipe["batch_size"]
    assert emeans.recipe["total_steps"] == 3 * -(-8000 // batch)
    D, I = emeans.assign(x)
    np.testing.assert_array_equal(I, faiss_flash.assign(x, emeans.centroids)[1])
    assert D.sum(dtype="float64") < last
    expected = faiss_flash.kmeans(
        x,
        50,
        niter=3,
        seed=7,
        algorithm="e_means",
        operating_point="quality",
        max_points_per_centroid=-1,
    )
    np.testing.assert_array_equal(emeans.centroids, expected.centroids)
    emeans.reset()
    assert emeans.centroids is None and emeans.n_splits == 0


def test_class_takes_first_centroids_and_a_recipe(capsys):
    x = mixture(3000, 5, 20, 5, 0.2)
    emeans = faiss_flash.Emeans(5, 8, 2, batch_size=100, alpha0=0.4, verbose=True)
    emeans.train(x, init_centroids=x[:8])
    assert emeans.recipe["batch_size"] == 100 and emeans.recipe["name"] == "manual"
    assert capsys.readouterr().out.count("e-means: objective=") == 2
    with pytest.raises(faiss_flash.InvalidShape, match=r"init_centroids has shape \(7, 5\)"):
        emeans.train(x, init_centroids=x[:7])
    with pytest.raises(faiss_flash.InvalidShape, match=r"x has shape \(3000, 5\)"):
        faiss_flash.Emeans(6, 8).train(x)
    assert emeans.centroids is not None


def test_class_refuses_what_faisss_refuses():
    for arguments, text in (
        ((0, 3), "d=0 must be positive"),
        ((3, 0), "k=0 must be positive"),
        ((3, 2, 0), "niter=0 must be positive"),
        ((3, 2, 1, 10), "batch_size=10 and alpha0=None belong together"),
        ((3, 2, 1, 10, 0), r"alpha0=0 must be in \(0, 1\]"),
        ((3, 2, 1, None, None, "fast"), "operating_point='fast' is not one of"),
        ((3, 2, 1, None, None, "quality", -1), "seed=-1 must be in"),
    ):
        with pytest.raises(faiss_flash.InvalidArgument, match=text):
            faiss_flash.Emeans(*arguments)
    with pytest.raises(faiss_flash.InvalidArgument, match="assignment_precision='f32'"):
        faiss_flash.Emeans(3, 2, assignment_precision="f32")
    emeans = faiss_flash.Emeans(3, 5)
    with pytest.raises(RuntimeError, match="train must be called before assign"):
        emeans.assign(np.zeros((2, 3), dtype="float32"))
    with pytest.raises(ValueError, match="n=4"):
        emeans.train(np.zeros((4, 3), dtype="float32"))


def test_class_gives_tensors_for_tensors():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(mixture(2000, 4, 20, 1, 0.3))
    emeans = faiss_flash.Emeans(4, 6, niter=2)
    emeans.train(x, init_centroids=x[:6])
    assert isinstance(emeans.centroids, torch.Tensor)
    D, I = emeans.assign(x)
    assert isinstance(D, torch.Tensor) and I.dtype == torch.int64
