"""OPQ on the engine: faiss.OPQMatrix's training."""

import faiss
import numpy as np

from . import swig_engine, trace
from .arrays import view_of
from .calls import as_finite_floats, run_opq
from .engine import make_options
from .errors import InvalidArgument
from .options import engine_options, engine_takes
from .scope import Service, calls_are_faisss

_PQ_POINTS_PER_CENTROID = 1000  # as faiss trains the codebooks of an OPQMatrix


def train_matrix(matrix, x, device):
    """matrix.train(x) of an OPQMatrix that stands alone."""
    with calls_are_faisss():
        train_opq(matrix, as_finite_floats(x, matrix.d_in), device)


def train_opq(matrix, x, device):
    """What matrix.train(x) does, x (n, d_in): faiss's sample, first rotation and schedule."""
    pq = matrix.pq or faiss.ProductQuantizer(matrix.d_out, matrix.M, 8)
    default = faiss.ProductQuantizer.Train_default
    if pq.assign_index is not None or pq.train_type != default or not engine_takes(pq.cp):
        trace.left_to_faiss("codebooks that only it trains")
        matrix.train(x)
        return
    if len(x) > matrix.max_train_points:
        order = np.empty(len(x), dtype="int32")
        faiss.rand_perm(faiss.swig_ptr(order), len(x), 1234)
        x = np.ascontiguousarray(x[order[: matrix.max_train_points]])
    d = max(matrix.d_in, matrix.d_out)
    first = _first_rotation(matrix, d)
    problem = swig_engine.OpqInput()
    problem.points = view_of(x)
    problem.d_out = matrix.d_out
    problem.subspaces = matrix.M
    problem.ksub = pq.ksub
    problem.niter = matrix.niter
    problem.niter_first = matrix.niter_pq_0
    problem.niter_later = matrix.niter_pq
    problem.set_rotation(first.ctypes.data, first.size)
    options = engine_options(pq.cp, Service(device, "lloyd"))
    options.update(max_points_per_centroid=_PQ_POINTS_PER_CENTROID, verbose=matrix.verbose)
    settings, _ = make_options("l2", options)
    result = run_opq(problem, settings)
    rotation = np.empty(matrix.d_out * matrix.d_in, dtype="float32")
    result.copy_rotation(rotation.ctypes.data)
    faiss.copy_array_to_vector(rotation, matrix.A)
    matrix.is_trained = True
    matrix.is_orthonormal = True


def _first_rotation(matrix, d):
    """(d_out, d): the one given, or the random one that faiss starts from."""
    given = faiss.vector_to_array(matrix.A)
    if given.size == 0:
        numbers = np.empty(d * d, dtype="float32")
        faiss.float_randn(faiss.swig_ptr(numbers), d * d, 1234)
        faiss.matrix_qr(d, d, faiss.swig_ptr(numbers))
        given = numbers[: d * matrix.d_out]
    if given.size != d * matrix.d_out:
        raise InvalidArgument(f"OPQMatrix.A has {given.size} values, expected {matrix.d_out} x {d}")
    return np.ascontiguousarray(given)
