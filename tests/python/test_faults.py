"""What must not crash, and what bad input is answered with, by every function and class."""

import copy
import functools
import inspect
import pickle

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash

D = 32
KEYS = [
    "Flat",
    "IVF20,Flat",
    "IVF20,SQ8",
    "IVF20_HNSW8,SQ8",
    "IMI2x2,Flat",
    "IVF20,PQ8x4np",
    "IVF20,PQ8x4fs",
    "PQ8x4np",
    "PCA16,IVF20,Flat",
    "OPQ8_16,IVF20,PQ8x4np",
    "IVF20,Flat,RFlat",
    "IDMap,IVF20,Flat",
    "IDMap2,IVF20,Flat",
    "HNSW8",
]
ROWS = mixture(3000, D, 40, 1)


def fill(add, add_with_ids, key, x):
    if key.startswith("IDMap"):
        add_with_ids(x, np.arange(len(x)))
    else:
        add(x)


def listed(index):
    """Rows in the inverted lists behind an index, or its ntotal."""
    try:
        ivf = faiss.extract_index_ivf(index)
    except RuntimeError:
        return index.ntotal
    return sum(ivf.invlists.list_size(i) for i in range(ivf.nlist))


@functools.cache
def trained_blob(key):
    index = faiss.index_factory(D, key)
    index.train(ROWS)
    return faiss.serialize_index(index)


def trained(key):
    return faiss.deserialize_index(trained_blob(key))


def test_an_index_that_only_the_call_holds(python, tmp_path):
    """Its parts are in use until the call returns; freed memory would be read or written else."""
    for key in KEYS:
        trained_blob(key).tofile(tmp_path / key)
    code = f"""
    import faiss, numpy as np, faiss_flash
    x = np.random.default_rng(0).random((30000, {D}), dtype="f4")

    def trained(key):
        return faiss.deserialize_index(np.fromfile("{tmp_path}/" + key, "uint8"))

    for key in {KEYS}:
        for rows in (x[:1000] if key.startswith("HNSW") else x, x[:3]):
            ids = np.arange(len(rows)) if key.startswith("IDMap") else None
            faiss_flash.add(trained(key), rows, ids)
            index = faiss_flash.accelerate(trained(key))
            index.add(rows) if ids is None else index.add_with_ids(rows, ids)
        faiss_flash.train(faiss.index_factory({D}, key), x[:1000])
        faiss_flash.index_factory({D}, key).train(x[:1000])
    for wrap in (faiss.IndexIDMap2, faiss.IndexRefineFlat):
        faiss_flash.train(wrap(faiss.IndexIVFFlat(faiss.IndexFlatL2({D}), {D}, 20)), x)
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatL2({D}), {D}, 20)
    faiss_flash.train(faiss.IndexPreTransform(faiss.PCAMatrix({D}, {D}), ivf), x)
    faiss_flash.Clustering({D}, 20).train(x, faiss.IndexFlatL2({D}))
    print("done")
    """
    assert python(code, MALLOC_PERTURB_="165")[1].strip() == "done"


@pytest.mark.parametrize("train", [lambda i, x: i.train(x), faiss_flash.train], ids=["own", "ours"])
def test_copies_that_an_index_removes_are_not_trained_on(train):
    rows = mixture(400, 8, 400, 3)
    x = np.concatenate([np.repeat(rows[:1], 5000, 0), rows[1:]])
    stock, ours = (faiss.IndexIVFFlatDedup(faiss.IndexFlatL2(8), 8, 32) for _ in range(2))
    stock.train(x)
    train(faiss_flash.accelerate(ours), x)
    np.testing.assert_array_equal(
        ours.quantizer.reconstruct_n(0, 32), stock.quantizer.reconstruct_n(0, 32)
    )
    ours.add(x)
    assert ours.ntotal == len(x) and listed(ours) == 400


@pytest.mark.skipif(not hasattr(faiss, "IndexShardsIVF"), reason="not in this faiss")
def test_shards_under_one_quantizer_are_trained_as_faiss_does():
    quantizer = faiss.IndexFlatL2(D)
    shards = faiss.IndexShardsIVF(quantizer, 20)
    parts = [faiss.IndexIVFFlat(faiss.IndexFlatL2(D), D, 20) for _ in range(2)]
    for part in parts:
        shards.add_shard(part)
    faiss_flash.train(shards, ROWS)
    assert quantizer.ntotal == 20
    for part in parts:
        np.testing.assert_array_equal(
            part.quantizer.reconstruct_n(0, 20), quantizer.reconstruct_n(0, 20)
        )


@pytest.mark.parametrize(
    "x, text",
    [
        (ROWS[:, :5], r"x has shape \(3000, 5\), expected \(n, 32\)"),
        (ROWS[0], r"x has shape \(32,\), expected \(n, d\)"),
        (ROWS[None], r"x has shape \(1, 3000, 32\), expected \(n, d\)"),
        (None, "x is None"),
    ],
    ids=["5 columns", "1-D", "3-D", "None"],
)
def test_x_of_another_shape(x, text):
    index = faiss.index_factory(D, "IVF20,Flat")
    flat = faiss_flash.IndexFlatL2(D)
    flat.add(ROWS[:50])
    quantizer = faiss.IndexFlatL2(D)
    calls = [
        lambda: faiss_flash.Clustering(D, 20).train(x, flat),
        lambda: faiss_flash.Kmeans(D, 20).train(x),
        lambda: faiss_flash.train(index, x),
        lambda: faiss_flash.add(index, x),
        lambda: faiss_flash.accelerate(faiss.clone_index(index)).train(x),
        lambda: faiss_flash.IndexIVFFlat(quantizer, D, 20).train(x),
        lambda: flat.search(x, 1),
        lambda: flat.assign(x, 1),
    ]
    for call in calls:
        for stock in (AssertionError, ValueError):  # of faiss and of numpy
            with pytest.raises(stock, match=text):
                call()
    assert flat.ntotal == 50 and not index.is_trained


def test_other_arguments_of_a_clustering():
    clustering = faiss_flash.Clustering(D, 20)
    for call, text in [
        (lambda: clustering.train(ROWS, faiss.IndexFlatL2(16)), "index.d=16.*d=32"),
        (
            lambda: clustering.train(ROWS, faiss.IndexFlatL2(D), np.ones(5)),
            r"weights has shape \(5,\), expected \(3000,\)",
        ),
        (
            lambda: clustering.train_encoded(
                np.zeros((9, 7), "uint8"), faiss.IndexScalarQuantizer(D, 0), faiss.IndexFlatL2(D)
            ),
            r"x has shape \(9, 7\), expected \(n, 32\)",
        ),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    assert clustering.iteration_stats.size() == 0 and clustering.centroids.size() == 0


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("rows", [1, 20, 2000])
def test_a_row_with_a_nan_is_not_added(key, rows):
    bad = ROWS[:rows].copy()
    bad[rows // 2, 3] = np.nan
    index, own = trained(key), faiss_flash.accelerate(trained(key))
    for target, add, add_with_ids in [
        (index, lambda x: faiss_flash.add(index, x), lambda x, i: faiss_flash.add(index, x, i)),
        (own, own.add, own.add_with_ids),
    ]:
        with pytest.raises(ValueError, match=rf"^x\[{rows // 2}\]\[3\] is not finite"):
            fill(add, add_with_ids, key, bad)
        assert target.ntotal == 0 and listed(target) == 0


@pytest.mark.parametrize("key", KEYS)
def test_a_training_names_the_callers_row_and_column(key):
    bad = ROWS.copy()
    bad[777, 5] = np.inf
    index, own = faiss.index_factory(D, key), faiss_flash.index_factory(D, key)
    for train in (lambda x: faiss_flash.train(index, x), own.train):
        with pytest.raises(ValueError, match=r"^x\[777\]\[5\] is not finite"):
            train(bad)


def test_rows_that_overflow_behind_a_transform():
    index = faiss_flash.index_factory(D, "PCA16,IVF64,Flat")
    index.train(ROWS)
    x = np.full((20000, D), 3e38, dtype="float32") * np.where(np.arange(D) % 2, 1, -1)
    with pytest.raises(ValueError, match=r"^x behind chain\[0\]\[0\]\[\d+\] is not finite"):
        faiss_flash.add(index, x)
    assert index.ntotal == 0


def test_errors_are_those_of_faiss_and_of_python():
    index = faiss_flash.index_factory(D, "IVF64,Flat")
    flat = faiss.IndexFlatL2(D)
    calls = {
        "k=64": lambda: index.train(ROWS[:10]),
        "not trained": lambda: index.add(ROWS),
        "niter=-1": lambda: faiss_flash.Kmeans(D, 5, niter=-1).train(ROWS),
        "k=5000": lambda: faiss_flash.Clustering(D, 5000).train(ROWS, flat),
        "nredo=0": lambda: faiss_flash.kmeans(ROWS, 5, nredo=0),
        "metric": lambda: faiss_flash.assign(ROWS, ROWS[:5], metric="l3"),
    }
    for text, call in calls.items():
        for kind in (RuntimeError, ValueError):
            with pytest.raises(kind, match=text) as caught:
                call()
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is type(caught.value) and str(again) == str(caught.value)
    assert issubclass(faiss_flash.InvalidArgument, (ValueError, RuntimeError))
    assert {MemoryError, RuntimeError} <= set(faiss_flash.OutOfDeviceMemory.__mro__)
    assert str(pickle.loads(pickle.dumps(faiss_flash.OutOfDeviceMemory("3 bytes")))) == "3 bytes"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda i: pickle.loads(pickle.dumps(i))])
def test_copies_of_an_index_train_and_add(copied):
    kept = faiss.IndexFlatL2(D)
    for index in (
        faiss_flash.index_factory(D, "IVF20,Flat"),
        faiss_flash.IndexIVFFlat(kept, D, 20),
    ):
        index.device = "cpu"
        other = copied(index)
        other.train(ROWS)
        other.add(ROWS)
        assert type(other) is faiss.IndexIVFFlat
        assert other.ntotal == len(ROWS) and index.ntotal == 0 and not index.is_trained


def stock_parameters(cls, method):
    """Those behind self, with their defaults, as this version of faiss has them."""
    return list(inspect.signature(getattr(cls, method)).parameters.values())[1:]


@pytest.mark.parametrize("method", ["train", "add", "add_with_ids", "search", "assign"])
@pytest.mark.parametrize("kind", ["factory", "class", "flat"])
def test_arguments_that_faiss_takes(method, kind):
    quantizer = faiss.IndexFlatL2(D)
    if kind == "flat":
        index, stock = faiss_flash.IndexFlatL2(D), faiss.IndexFlatL2
    elif kind == "class":
        index, stock = faiss_flash.IndexIVFFlat(quantizer, D, 20), faiss.IndexIVFFlat
    else:
        index, stock = faiss_flash.index_factory(D, "IVF20,Flat"), faiss.IndexIVFFlat
    index.train(ROWS)
    values = {"x": ROWS, "k": 1, "ids": np.arange(len(ROWS))}
    if method in ("search", "assign"):
        index.add(ROWS)
    elif kind == "flat" and method == "add_with_ids":
        pytest.skip("flat indexes have no ids")
    parameters = stock_parameters(stock, method)
    required = [values[p.name] for p in parameters if p.default is p.empty]
    optional = {p.name: p.default for p in parameters if p.default is not p.empty}
    getattr(index, method)(*required)
    for name, value in optional.items():
        getattr(index, method)(*required, **{name: value})
    getattr(index, method)(*required, **optional)
    with pytest.raises(TypeError):
        getattr(index, method)(*required, no_such_argument=1)


def test_results_go_where_the_caller_wants():
    flat = faiss_flash.IndexFlatL2(D)
    flat.add(ROWS[:100])
    expected = flat.search(ROWS, 1)
    labels = np.empty((len(ROWS), 1), "int64")
    assert flat.assign(ROWS, 1, labels) is labels
    np.testing.assert_array_equal(labels, expected[1])
    D_, I_ = np.empty((len(ROWS), 1), "float32"), np.empty((len(ROWS), 1), "int64")
    flat.search(ROWS, 1, D=D_, I=I_)
    np.testing.assert_allclose(D_, expected[0], rtol=1e-3, atol=1e-3)
    assert (expected[1] == I_).mean() > 0.99
    with pytest.raises(AssertionError, match=r"labels has shape \(3,\)"):
        flat.assign(ROWS, 1, np.empty(3, "int64"))


@pytest.mark.skipif(not hasattr(faiss, "Float16"), reason="this faiss knows float32 only")
def test_other_numeric_types_go_to_faiss():
    index = faiss_flash.IndexFlatL2(D)
    for add in (index.add, faiss_flash.index_factory(D, "Flat").add):
        try:
            faiss.IndexFlatL2(D).add(ROWS.astype("float16"), numeric_type=faiss.Float16)
            expected = None
        except RuntimeError as error:
            expected = type(error)
        if expected is None:
            add(ROWS.astype("float16"), numeric_type=faiss.Float16)
        else:
            with pytest.raises(expected):
                add(ROWS.astype("float16"), numeric_type=faiss.Float16)


class Counting(faiss.IndexIVFFlat):
    """Somebody's own index: what it does must be done."""

    calls = []

    def train(self, x):
        self.calls.append("train")
        super().train(x)

    def add(self, x):
        self.calls.append("add")
        super().add(x)

    def add_with_ids(self, x, ids):
        self.calls.append("add_with_ids")
        super().add_with_ids(x, ids)


@pytest.mark.parametrize("accelerated", [False, True])
def test_methods_of_a_class_of_somebodys_own(accelerated):
    quantizer = faiss.IndexFlatL2(D)
    index = Counting(quantizer, D, 20)
    Counting.calls.clear()
    if accelerated:
        faiss_flash.accelerate(index)
        index.train(ROWS)
        index.add(ROWS)
        index.add_with_ids(ROWS[:3], np.arange(3))
    else:
        faiss_flash.train(index, ROWS)
        faiss_flash.add(index, ROWS)
        faiss_flash.add(index, ROWS[:3], np.arange(3))
    assert Counting.calls == ["train", "add", "add_with_ids"]
    assert index.ntotal == len(ROWS) + 3


@pytest.mark.parametrize("scale", [1e20, 1e30])
@pytest.mark.parametrize("rows", [1, 30, 700])
@pytest.mark.parametrize(
    "key", ["IVF20,Flat", "IVF20,SQ8", "PCA16,IVF20,Flat", "IDMap2,IVF20,Flat"]
)
def test_rows_with_squares_beyond_float32_are_added(key, rows, scale):
    x = ROWS[:rows] * np.float32(scale)
    for make in (faiss.index_factory, faiss_flash.index_factory):
        index = make(D, key)
        faiss_flash.train(index, ROWS)
        if make is faiss.index_factory:
            fill(*[functools.partial(faiss_flash.add, index)] * 2, key, x)
        else:
            fill(index.add, index.add_with_ids, key, x)
        ivf = faiss.extract_index_ivf(index)
        assert index.ntotal == sum(ivf.invlists.list_size(i) for i in range(20)) == rows
    flat = faiss_flash.IndexFlatL2(D)
    flat.add(ROWS[:50])
    assert (flat.search(x, 1)[1] >= 0).all()


def test_training_on_rows_with_squares_beyond_float32():
    """Codes are trained on them, or nothing is changed: by faiss before 1.8 it would crash."""
    index = faiss.index_factory(D, "IVF20,PQ8x4np")
    before = faiss.serialize_index(index)
    try:
        faiss_flash.train(index, ROWS * np.float32(1e30))
        assert index.is_trained
    except ValueError as error:
        assert "beyond float32" in str(error)
        np.testing.assert_array_equal(faiss.serialize_index(index), before)
