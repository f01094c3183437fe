"""Rows that come a few at a time, or through maps of ids."""

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash

D = 64
ROWS = mixture(6000, D, 40, 1)
KEYS = [
    "IDMap,Flat",
    "IDMap2,Flat",
    "IDMap,IVF256,Flat",
    "IDMap2,IVF256,Flat",
    "IDMap2,IVF256,PQ8np",
]


def twins(key):
    trained = faiss.index_factory(D, key)
    trained.train(ROWS)
    if "IDMap2,IVF" in key:  # to reconstruct
        faiss.extract_index_ivf(trained).make_direct_map()
    data = faiss.serialize_index(trained)
    return faiss.deserialize_index(data), faiss_flash.accelerate(faiss.deserialize_index(data))


def assert_same(stock, ours):
    assert stock.ntotal == ours.ntotal == ours.index.ntotal
    np.testing.assert_array_equal(faiss.serialize_index(stock), faiss.serialize_index(ours))


@pytest.mark.parametrize("key", KEYS)
def test_maps_of_ids_are_faisss(key):
    rng = np.random.default_rng(2)
    both = twins(key)
    start = 0
    for rows in (1200, 3, 1500, 1, 40, 1100):
        ids = rng.permutation(100000)[:rows] + 100000 * start
        for index in both:
            index.add_with_ids(ROWS[start : start + rows], ids)
        assert_same(*both)
        if "IDMap2" in key:
            for one in ids[:3]:
                np.testing.assert_array_equal(*(index.reconstruct(int(one)) for index in both))
        if "IVF" not in key:  # whose own ids faiss cannot renumber
            assert both[0].remove_ids(ids[::7]) == both[1].remove_ids(ids[::7])
            assert_same(*both)
        start += rows
    found = [index.search(ROWS[:50], 3)[1] for index in both]
    np.testing.assert_array_equal(*found)


def test_a_map_of_ids_asks_for_ids():
    for index in twins("IDMap2,IVF256,Flat"):
        for rows in (ROWS, ROWS[:2]):
            with pytest.raises(RuntimeError, match="add_with_ids"):
                index.add(rows)
        assert index.ntotal == 0 and index.index.ntotal == 0


@pytest.mark.parametrize("key", ["IDMap,IVF256,Flat", "IDMap2,IVF256,Flat"])
def test_adds_to_a_map_do_not_read_what_is_there(key, monkeypatch):
    """The numbers that cross to Python are those of the rows added, not of all rows each time."""
    crossed = 0

    def counted(function, size):
        def wrapped(*args):
            nonlocal crossed
            crossed += size(*args)
            return function(*args)

        return wrapped

    index = twins(key)[1]
    monkeypatch.setattr(
        faiss, "vector_to_array", counted(faiss.vector_to_array, lambda v: v.size())
    )
    monkeypatch.setattr(
        faiss, "copy_array_to_vector", counted(faiss.copy_array_to_vector, lambda a, v: a.size)
    )
    monkeypatch.setattr(
        faiss.IndexIDMap2,
        "construct_rev_map",
        counted(faiss.IndexIDMap2.construct_rev_map, lambda index: index.ntotal),
    )
    for i in range(20):
        index.add_with_ids(ROWS[:1500], np.arange(1500) + 1500 * i)
    assert crossed <= 1500 * 20


@pytest.mark.parametrize("key", ["IVF64,Flat", "IVF64,SQ8", "IVF64,PQ8np", "IDMap2,IVF64,Flat"])
def test_few_rows_are_added_by_faiss(key):
    """As is told from the rows whose nearest centroid faiss's float32 gets wrong."""
    x = mixture(2000, D, 300, 3, 0.05) * 0.01 + 100
    trained = faiss.index_factory(D, key)
    trained.train(x)
    data = faiss.serialize_index(trained)
    stock = faiss.deserialize_index(data)
    ours = [faiss.deserialize_index(data), faiss_flash.accelerate(faiss.deserialize_index(data))]
    ids = np.arange(len(x))
    for i in range(60):
        rows = slice(30 * i, 30 * i + 30)
        if "IDMap" in key:
            stock.add_with_ids(x[rows], ids[rows])
            faiss_flash.add(ours[0], x[rows], ids[rows])
            ours[1].add_with_ids(x[rows], ids[rows])
        else:
            stock.add(x[rows])
            faiss_flash.add(ours[0], x[rows])
            ours[1].add(x[rows])
    for index in ours:
        np.testing.assert_array_equal(faiss.serialize_index(index), faiss.serialize_index(stock))


def test_few_rows_are_searched_by_faiss():
    x = mixture(2000, D, 300, 3, 0.05) * 0.01 + 100
    kmeans = faiss_flash.Kmeans(D, 50, niter=3)
    kmeans.train(x)
    for ours in (faiss_flash.IndexFlatL2(D), kmeans):
        stock = faiss.IndexFlatL2(D)
        stock.add(kmeans.centroids)
        if ours is not kmeans:
            ours.add(kmeans.centroids)
        for i in range(60):
            rows = x[30 * i : 30 * i + 30]
            found = ours.assign(rows) if ours is kmeans else ours.search(rows, 1)
            expected = stock.search(rows, 1)
            np.testing.assert_array_equal(found[0].ravel(), expected[0].ravel())
            np.testing.assert_array_equal(found[1].ravel(), expected[1].ravel())


def test_a_quantizer_of_another_layout():
    """Flat indexes that keep their vectors in another order are not read as if they did not."""
    if not hasattr(faiss, "IndexFlatL2Panorama"):
        pytest.skip("not in this faiss")
    quantizer = faiss.IndexFlatL2Panorama(D, 4)
    index = faiss.IndexIVFFlat(quantizer, D, 64)
    index.train(ROWS)
    expected = faiss.clone_index(index)
    expected.add(ROWS)
    faiss_flash.add(index, ROWS)
    sizes = [[i.invlists.list_size(j) for j in range(64)] for i in (index, expected)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("edit", ["added", "moved"])
def test_an_edited_quantizer_is_seen(edit):
    """What the engine has made of its vectors is kept from add to add, and compared with them."""
    owner = twins("IDMap,IVF256,Flat")[1]
    index = faiss_flash.accelerate(faiss.downcast_index(owner.index))
    quantizer = faiss.downcast_index(index.quantizer)
    sizes = np.zeros(256, "int64")
    for step in range(3):
        if edit == "added":
            quantizer.reset()
            quantizer.add(ROWS[1000 * step : 1000 * step + 256])
        vectors = faiss.rev_swig_ptr(quantizer.get_xb(), 256 * D).reshape(256, D)
        vectors[step] += 3
        index.add(ROWS)
        sizes += np.bincount(faiss_flash.assign(ROWS, vectors.copy())[1], minlength=256)
        found = [index.invlists.list_size(i) for i in range(256)]
        np.testing.assert_array_equal(found, sizes)


@pytest.mark.parametrize("rows", [np.float32([[np.nan] * D]), np.float32([[1e30] * D])])
def test_one_row_that_faiss_would_drop(rows):
    owner = twins("IDMap,IVF256,Flat")[1]
    filled = faiss_flash.accelerate(faiss.downcast_index(owner.index))
    if np.isnan(rows).any():
        with pytest.raises(ValueError, match="not finite"):
            filled.add(rows)
        assert filled.ntotal == 0
    else:
        filled.add(rows)
        assert sum(filled.invlists.list_size(i) for i in range(256)) == 1


def test_few_rows_of_other_kinds():
    """Not packed, of other types, of no rows, lists: whatever is not plain takes the long way."""
    stock, ours = twins("IDMap2,IVF256,Flat")
    for index in (stock, ours):
        index.add_with_ids(ROWS[:6:2], np.arange(3))
        index.add_with_ids(np.asfortranarray(ROWS[:3]), np.arange(3, 6, dtype="int32"))
        index.add_with_ids(ROWS[:2].astype("float64"), np.arange(6, 8))
        index.add_with_ids(ROWS[:0], np.arange(0))
        index.add_with_ids(x=ROWS[:1], ids=np.arange(8, 9))
    assert_same(stock, ours)
    with pytest.raises((AssertionError, ValueError), match=""):
        ours.add_with_ids(ROWS[:2, :5], np.arange(2))
    with pytest.raises((AssertionError, ValueError), match=""):
        ours.add_with_ids(ROWS[:2], np.arange(3))
    assert ours.ntotal == 9
