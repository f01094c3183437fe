"""The engine's functions, against a float64 brute force and against themselves. No faiss needed."""

import gc
import hashlib
import pickle
import weakref

import numpy as np
import pytest
from conftest import descriptors, mixture

import faiss_flash


def brute_force(x, centroids, metric):
    """The float64 argmin, ties to the lowest id."""
    x = np.asarray(x, dtype="float64")
    centroids = np.asarray(centroids, dtype="float64")
    ids = []
    for row in x:
        if metric == "l2":
            ids.append(np.argmin(((row - centroids) ** 2).sum(axis=1)))
        else:
            ids.append(np.argmax((row * centroids).sum(axis=1)))
    return np.array(ids)


def expect_exact(x, centroids, metric="l2"):
    D, I = faiss_flash.assign(x, centroids, metric)
    assert I.dtype == np.int64 and D.dtype == np.float32
    np.testing.assert_array_equal(I, brute_force(x, centroids, metric))
    chosen = np.asarray(centroids, dtype="float64")[I]
    rows = np.asarray(x, dtype="float64")
    expected = ((rows - chosen) ** 2).sum(1) if metric == "l2" else (rows * chosen).sum(1)
    np.testing.assert_allclose(D, expected, rtol=1e-6)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize(
    "data",
    [
        lambda n, seed: np.random.default_rng(seed).standard_normal((n, 48), dtype="float32"),
        lambda n, seed: descriptors(n, 128, seed),
        lambda n, seed: descriptors(n, 128, seed, offset=1000),
        lambda n, seed: mixture(n, 20, 30, seed, 1e-3) + np.float32(100),
    ],
    ids=["normal", "descriptors", "descriptors_plus_1000", "tight_far_away"],
)
def test_assign_is_exact(data, metric):
    expect_exact(data(3000, 1), data(200, 2), metric)


def test_ties_go_to_the_lowest_id():
    half = descriptors(60, 32, 2)
    centroids = np.concatenate([half, half, half])
    x = np.concatenate([descriptors(1000, 32, 1), half])
    expect_exact(x, centroids)
    assert faiss_flash.assign(x, centroids)[1].max() < 60


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8"])
def test_dtypes_without_a_copy(dtype):
    rng = np.random.default_rng(5)
    x = rng.integers(-100 if dtype == "int8" else 0, 100, size=(900, 24)).astype(dtype)
    centroids = rng.integers(0, 100, size=(40, 24)).astype("float32") + np.float32(0.25)
    expect_exact(x, centroids)
    wide = faiss_flash.kmeans(x.astype("float32"), 10, niter=4)
    np.testing.assert_array_equal(faiss_flash.kmeans(x, 10, niter=4).centroids, wide.centroids)


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.random.default_rng(5).standard_normal((500, 16)).astype(ml_dtypes.bfloat16)
    expect_exact(x, x[:20].astype("float32"))


def test_strided_and_other_arrays():
    wide = descriptors(500, 40, 1)
    centroids = descriptors(30, 16, 2)
    expect_exact(wide[::2, 5:21], centroids)
    expect_exact(wide[::-1, :16], centroids)
    expect_exact(wide[:, ::2][:, :16], centroids)
    expect_exact(np.asfortranarray(wide[:, :16]), centroids)
    expect_exact(wide[:, :16].astype("float64"), centroids)
    expect_exact(wide[:, :16].astype("int64"), centroids)


def test_memory_map(tmp_path):
    x = descriptors(500, 16, 1)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        faiss_flash.kmeans(mapped, 8).centroids, faiss_flash.kmeans(x, 8).centroids
    )


def test_kmeans_result():
    x = mixture(3000, 12, 20, 1)
    result = faiss_flash.kmeans(x, 20, niter=7, early_stop_threshold=None, return_assignment=True)
    assert result.centroids.shape == (20, 12) and result.centroids.dtype == np.float32
    assert [list(s) for s in result.iteration_stats] == 7 * [
        ["obj", "time", "time_search", "imbalance_factor", "nsplit", "redone", "decided"]
    ]
    assert (np.diff(result.obj) <= 0).all()
    D, I = faiss_flash.assign(x, result.centroids)
    np.testing.assert_array_equal(result.assignment, I)
    np.testing.assert_array_equal(result.distances, D)
    assert D.sum(dtype="float64") <= result.objective


def test_initial_centroids_and_weights():
    x = mixture(1000, 8, 10, 2)
    frozen = faiss_flash.kmeans(x, 10, init_centroids=x[:4], frozen_centroids=True)
    np.testing.assert_array_equal(frozen.centroids[:4], x[:4])
    weights = np.zeros(1000)
    weights[:600] = 1
    only = faiss_flash.kmeans(x, 10, weights=weights, init_centroids=x[:10], niter=3)
    assert only.centroids.shape == (10, 8)
    assert not np.array_equal(only.centroids, faiss_flash.kmeans(x, 10, niter=3).centroids)


def test_batch_equals_a_loop():
    x = np.stack([mixture(600, 8, 12, seed) for seed in range(5)])
    weights = np.random.default_rng(0).random((5, 600)) + 0.1
    batch = faiss_flash.batch_kmeans(x, 12, niter=5, weights=weights, return_assignment=True)
    assert batch.centroids.shape == (5, 12, 8) and batch.assignment.shape == (5, 600)
    for b in range(5):
        one = faiss_flash.kmeans(x[b], 12, niter=5, weights=weights[b])
        np.testing.assert_array_equal(batch.centroids[b], one.centroids)
    ragged = faiss_flash.batch_kmeans([x[0], x[1][:300]], 12, niter=5)
    np.testing.assert_array_equal(
        ragged[1].centroids, faiss_flash.kmeans(x[1][:300], 12, niter=5).centroids
    )


@pytest.mark.parametrize(
    "arguments, text",
    [
        (dict(k=301), "n=300) should be at least as large as number of clusters (k=301"),
        (dict(k=0), "k=0"),
        (dict(k=2.5), "k=2.5"),
        (dict(niter=-1), "niter=-1"),
        (dict(nredo=0), "nredo=0"),
        (dict(max_points_per_centroid=0), "max_points_per_centroid=0"),
        (dict(weights=np.ones(299)), "weights has shape (299,), expected (300,)"),
        (dict(weights=-np.ones(300)), "weights[0]=-1"),
        (dict(weights=np.zeros(300)), "weights are all 0"),
        (dict(init_centroids=np.ones((2, 7))), "initial_centroids.d=7"),
        (dict(metric="cosine"), "metric='cosine'"),
        (dict(x=np.ones(300)), "x has shape (300,)"),
        (dict(x=np.full((300, 8), np.nan)), "points[0][0] is not finite"),
        (dict(x=np.ones((300, 8), dtype=complex)), "x has dtype complex128"),
        (dict(x=np.ones((300, 0))), "points.d=0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_names_the_argument(arguments, text):
    call = dict(x=mixture(300, 8, 5, 1), k=5)
    call.update(arguments)
    with pytest.raises(ValueError) as error:
        faiss_flash.kmeans(**call)
    assert text in str(error.value)


def test_bad_input_of_the_others():
    x = mixture(300, 8, 5, 1)
    with pytest.raises(TypeError, match="nitre"):
        faiss_flash.kmeans(x, 5, nitre=3)
    with pytest.raises(ValueError, match="centroids.d=7 does not match points.d=8"):
        faiss_flash.assign(x, x[:3, :7])
    with pytest.raises(ValueError, match=r"x has shape \(300, 8\), expected \(B, n, d\)"):
        faiss_flash.batch_kmeans(x, 5)
    x[7, 3] = np.inf
    with pytest.raises(ValueError, match=r"points\[7\]\[3\] is not finite"):
        faiss_flash.assign(x, x[:3])


REPRODUCE = """
import hashlib, numpy as np, faiss_flash
x = np.random.default_rng(3).standard_normal((20000, 32), dtype="float32")
result = faiss_flash.kmeans(x, 200, niter=6)
print(hashlib.sha256(result.centroids.tobytes()).hexdigest())
"""


def test_same_bits_in_other_processes_and_with_other_threads(python):
    outputs = [python(REPRODUCE, OMP_NUM_THREADS=threads)[1] for threads in ("1", "2", "2", "3")]
    assert len(outputs[0].strip()) == len(hashlib.sha256().hexdigest())
    assert set(outputs) == {outputs[0]}


def test_ctrl_c_stops_within_an_iteration(python):
    code = """
    import time, numpy as np, faiss_flash
    x = np.random.default_rng(3).standard_normal((60000, 64), dtype="float32")
    try:
        print("started", flush=True)
        faiss_flash.kmeans(x, 500, niter=100000, early_stop_threshold=None)
    except KeyboardInterrupt:
        print("stopped")
    """
    returncode, out, err = python(code, interrupt_after=1.5)
    assert returncode == 0 and out.strip() == "stopped", (out, err)


def test_gil_is_released(python):
    code = """
    import threading, time, numpy as np, faiss_flash
    x = np.random.default_rng(3).standard_normal((60000, 64), dtype="float32")
    thread = threading.Thread(target=faiss_flash.kmeans, args=(x, 500))
    ticks = 0
    thread.start()
    while thread.is_alive():
        ticks += 1
        time.sleep(0.001)
    print(ticks > 20)
    """
    assert python(code)[1].strip() == "True"


def test_without_faiss_the_engine_works(python, tmp_path):
    (tmp_path / "faiss.py").write_text("raise ImportError('hidden')")
    code = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import numpy as np, faiss_flash
    print(faiss_flash.kmeans(np.eye(4), 2, niter=1).centroids.shape)
    try:
        faiss_flash.IndexIVFFlat
    except ImportError as error:
        print(error)
    """
    _, out, err = python(code)
    assert out.startswith("(2, 4)\n"), err
    assert "need the faiss module, which cannot be imported (hidden)" in out
    assert "apt-get install python3-faiss" in out


def test_callback_sees_the_statistics_and_stops():
    x = np.random.default_rng(5).standard_normal((2000, 8), dtype="float32")
    seen = []

    def callback(stats, seconds_left):
        seen.append((stats, seconds_left))
        return len(seen) < 3

    result = faiss_flash.kmeans(x, 20, niter=10, callback=callback)
    assert [stats for stats, _ in seen] == result.iteration_stats
    assert len(seen) == 3 and all(left >= 0 for _, left in seen)
    assert len(faiss_flash.kmeans(x, 20, niter=4, callback=lambda *_: None).iteration_stats) == 4


def test_an_exception_of_the_callback_reaches_the_caller():
    x = np.random.default_rng(5).standard_normal((2000, 8), dtype="float32")

    def callback(stats, seconds_left):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        faiss_flash.kmeans(x, 20, callback=callback)
    with pytest.raises(ValueError, match="truth value"):
        faiss_flash.kmeans(x, 20, niter=9, callback=lambda *_: np.zeros(2))
    with pytest.raises(TypeError, match="callback=3"):
        faiss_flash.kmeans(x, 20, callback=3)


def test_device_and_precision():
    x = np.random.default_rng(5).standard_normal((500, 8), dtype="float32")
    expected = faiss_flash.kmeans(x, 5)
    same = faiss_flash.kmeans(x, 5, device="cpu", precision="fast")
    assert np.array_equal(same.centroids, expected.centroids)
    with pytest.raises(ValueError, match="device=cuda:99 is not one of auto, "):
        faiss_flash.kmeans(x, 5, device="cuda:99")
    with pytest.raises(ValueError, match="precision='low'"):
        faiss_flash.kmeans(x, 5, precision="low")
    with pytest.raises(ValueError, match="device=tpu"):
        faiss_flash.assign(x, x[:3], device="tpu")


class CudaArray:
    """What claims to be an array of a GPU."""

    def __init__(self, shape, typestr="<f4", strides=None):
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (4096, False),
            "strides": strides,
            "version": 3,
        }


def test_cuda_arrays_are_checked():
    with pytest.raises(ValueError, match="expected .n, d."):
        faiss_flash.kmeans(CudaArray((10,)), 2)
    with pytest.raises(ValueError, match="expected .B, n, d."):
        faiss_flash.batch_kmeans(CudaArray((10, 3)), 2)
    with pytest.raises(ValueError, match="type '<f8'"):
        faiss_flash.kmeans(CudaArray((10, 3), "<f8"), 2)
    with pytest.raises(ValueError, match="rows must be contiguous"):
        faiss_flash.kmeans(CudaArray((10, 3), strides=(4, 40)), 2)
    with pytest.raises(ValueError, match="points.space=device"):  # no memory of any device
        faiss_flash.kmeans(CudaArray((10, 3)), 2)


def test_version():
    assert faiss_flash.__version__.count(".") == 2
    assert faiss_flash.available_backends()[-1] == "cpu"
    with pytest.raises(AttributeError, match="nothing"):
        faiss_flash.nothing  # noqa: B018


def test_estimate():
    few = faiss_flash.estimate(100000, 32, 64, niter=5, device="cpu")
    assert few["device"] == "cpu" and few["device_bytes"] == 0
    assert few["seconds"] > 0 and few["host_bytes"] > 64 * 32 * 4
    # 256 points a centroid are sampled at most.
    assert faiss_flash.estimate(10**9, 32, 64, device="cpu")["host_bytes"] < 10**7
    with pytest.raises(ValueError, match="k=5 exceeds n=4"):
        faiss_flash.estimate(4, 32, 5)
    with pytest.raises(ValueError, match="d=0 must be positive"):
        faiss_flash.estimate(4, 0, 2)
    with pytest.raises(ValueError, match="dtype='float8' is not one of float32"):
        faiss_flash.estimate(4, 3, 2, dtype="float8")


def test_results_are_ordinary_arrays_of_their_own():
    """They lie in the engine's memory, each in its own: nothing else keeps it."""
    x = mixture(3000, 12, 10, 3, 0.1)
    result = faiss_flash.kmeans(x, 10, return_assignment=True, device="cpu")
    arrays = [result.centroids, result.assignment, result.distances]
    copies = [np.array(array) for array in arrays]
    owners = [weakref.ref(array.base) for array in arrays]
    del result
    gc.collect()
    for _ in range(20):  # other results take memory that was freed
        faiss_flash.kmeans(x + 1, 10, return_assignment=True, device="cpu")
    for array, copy in zip(arrays, copies):
        np.testing.assert_array_equal(array, copy)
        assert array.flags.c_contiguous and array.flags.writeable
        restored = pickle.loads(pickle.dumps(array))
        np.testing.assert_array_equal(restored, copy)
        array[:] = 7
        assert (array == 7).all() and not (copy == 7).all()
    assert all(owner() is not None for owner in owners)
    view = arrays[0][2:5]
    del array, arrays
    gc.collect()
    assert [owner() is not None for owner in owners] == [True, False, False]
    assert (view == 7).all()
