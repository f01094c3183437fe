"""Arrays of the GPU from Python."""

import numpy as np
import pytest

import faiss_flash

torch = pytest.importorskip("torch")
if not torch.cuda.is_available() or faiss_flash.available_backends()[0] == "cpu":
    pytest.skip("no CUDA device", allow_module_level=True)


def normal(*shape, dtype=torch.float16):
    generator = torch.Generator("cuda").manual_seed(5)
    return torch.randn(*shape, device="cuda", dtype=dtype, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_tensors_give_what_arrays_give(dtype, precision):
    x = normal(4000, 24, dtype=dtype)
    on_device = faiss_flash.kmeans(x, 30, niter=8, precision=precision, return_assignment=True)
    if dtype == torch.bfloat16:
        rows = x.view(torch.int16).cpu().numpy().view(pytest.importorskip("ml_dtypes").bfloat16)
    else:
        rows = x.cpu().numpy()
    on_host = faiss_flash.kmeans(rows, 30, niter=8, precision=precision, return_assignment=True)
    assert np.array_equal(on_device.centroids, on_host.centroids)
    assert np.array_equal(on_device.assignment, on_host.assignment)


def test_batches_and_strides():
    x = normal(3, 5000, 40)[:, ::2, :32]
    batch = faiss_flash.batch_kmeans(x, 20, niter=5, precision="fast")
    for b in range(3):
        alone = faiss_flash.kmeans(x[b].cpu().numpy(), 20, niter=5, precision="fast")
        assert np.array_equal(batch.centroids[b], alone.centroids)


def test_work_queued_before_is_waited_for():
    x = torch.zeros(200000, 64, device="cuda", dtype=torch.float16)
    other = normal(200000, 64)
    for _ in range(50):
        x += 0.02 * other
    result = faiss_flash.kmeans(x, 10, niter=2, precision="fast")
    again = faiss_flash.kmeans(x, 10, niter=2, precision="fast")
    assert np.array_equal(result.centroids, again.centroids)


def test_exact_on_the_gpu_and_the_cpu_are_the_same_bits():
    x = np.random.default_rng(2).standard_normal((20000, 48), dtype="float32")
    gpu = faiss_flash.kmeans(x, 100, niter=6, device="cuda")
    cpu = faiss_flash.kmeans(x, 100, niter=6, device="cpu")
    assert np.array_equal(gpu.centroids, cpu.centroids)
