"""What run.py measures: the cases of each suite.

A case is a shape and what is done with it. Shapes of the GPU suites are those of the project's
table of targets; to add one, add a line. Cases come in the order in which they are run: where
time runs out, the last are missing and listed so.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    suite: str
    kind: str  #: call, iteration, train, latency, memory, or a method of a peer: assign, io, ...
    n: int
    k: int
    d: int = 128
    batch: int = 1
    dtype: str = "f32"  #: of the points: f32, f16
    data: str = "normal"  #: or "mixture", or an .npy file
    niter: int = 10
    where: str = ""  #: "device" or "host": for peers that take their points from there alone
    sweep: str = ""  #: what a plot shows the effect of: N, K, d, B, or niter

    @property
    def shape(self):
        batch = f"B={self.batch} " if self.batch > 1 else ""
        return f"{batch}N={self.n} K={self.k} d={self.d} {self.dtype}"

    @property
    def flops(self):
        """Of the products of an assignment."""
        return 2 * self.batch * self.n * self.k * self.d

    @property
    def point_bytes(self):
        return self.batch * self.n * self.d * {"f32": 4, "f16": 2}[self.dtype]

    def limit_ms(self, ceilings):
        """No iteration or kernel can be faster: on a GPU products at its 16-bit rate, points read
        once at its copy rate, and brought there once where they are on the host; on a CPU products
        by its BLAS. None where that was not measured.
        """
        iterations = self.niter if self.kind in ("train", "call") else 1
        if self.suite == "cpu":
            rate = ceilings.get("sgemm_tflops")
            return 1e3 * iterations * self.flops / (rate * 1e12) if rate else None
        if "gemm_f16_tflops" not in ceilings:
            return None
        products = 0 if self.kind == "update" else self.flops / ceilings["gemm_f16_tflops"] / 1e12
        moved = self.point_bytes / (ceilings["copy_gb_s"] * 1e9)
        upload = 0
        if self.where == "host":
            upload = self.point_bytes / (ceilings["host_to_device_gb_s"] * 1e9)
        return 1e3 * (upload + iterations * max(products, moved))


M = 1 << 20


def call():
    """Arrays in, centroids out: what users wait for. Peers draw their own first centroids."""

    def case(n, k, d, dtype, niter=12, **options):
        options = {"where": "device", **options}
        return Case("call", "call", n, k, d, dtype=dtype, niter=niter, **options)

    for n, k, d in [(M, 8192, 128), (8 * M, 1024, 128), (M, 8192, 256), (M // 4, 8192, 768)]:
        yield case(n, k, d, "f16")
    for n, k, d in [(M, 8192, 128), (8 * M, 1024, 128), (M // 4, 4096, 768)]:
        yield case(n, k, d, "f32")
    yield case(4096, 64, 128, "f16", niter=10)
    for niter in (25, 1):
        yield case(4 * M, 1024, 128, "f32", niter, where="host")
    yield case(M, 8192, 128, "f16", data="mixture")
    for k in (4096, 1024, 16384):
        yield case(M, k, 128, "f32", data="mixture")
    # Those that take longest.
    yield case(M, 65536, 128, "f16")
    yield case(5_000_000, 20000, 128, "f32")
    yield case(2_000_000, 262144, 96, "f32", niter=4)


LLOYD = (5, 10, 25, 50)  #: iterations that `quality` looks at, and
PASSES = (1, 2, 3, 5)  #: passes of mini-batch methods


def quality():
    """Time of a whole call against the objective of all points after it, all from the same first
    centroids."""
    for n, k, where in [(M, 8192, "device"), (M, 1024, "device"), (M // 4, 1024, "host")]:
        for data in ("normal", "mixture"):
            for niter in sorted({*LLOYD, *PASSES}):
                yield Case(
                    "quality", "call", n, k, data=data, niter=niter, where=where, sweep="niter"
                )


def kernel():
    yield from (
        Case("kernel", "assign", n, k, d, b, "f16")
        for b, n, k, d in [
            (1, M, 8192, 128),
            (1, 8 * M, 1024, 128),
            (1, M, 65536, 128),
            (1, M, 8192, 32),
            (1, M, 8192, 64),
            (1, M, 8192, 96),
            (1, M, 8192, 256),
            (1, M, 8192, 768),
            (1, M // 4, 8192, 1024),
            (32, 65536, 1024, 128),
            (16, 65536, 256, 8),
            (1, 4 * M, 256, 16),
        ]
    )
    yield from (
        Case("kernel", "assign", n, k, d)
        for n, k, d in [(M, 8192, 128), (8 * M, 1024, 128), (M // 4, 8192, 768)]
    )
    yield from (
        Case("kernel", "update", n, k, d, b, dtype)
        for b, n, k, d, dtype in [
            (1, 33 * M, 4096, 128, "f16"),
            (1, 8 * M, 1024, 128, "f16"),
            (1, 8 * M, 1024, 128, "f32"),
            (1, M, 8192, 128, "f16"),
            (1, M, 65536, 128, "f16"),
            (32, 65536, 1024, 128, "f16"),
            (1, M, 8192, 768, "f16"),
        ]
    )


def iteration():
    # Those that stock FAISS has figures for first.
    yield from (
        Case("iteration", "iteration", n, k)
        for n, k in [(8 * M, 1024), (M, 8192), (5_000_000, 20000), (M, 65536)]
    )
    yield from (
        Case("iteration", "iteration", n, k, batch=b, dtype="f16")
        for b, n, k in [
            (1, 8 * M, 1024),
            (1, M, 8192),
            (1, M, 65536),
            (1, M, 1024),
            (1, M // 8, 1024),
            (32, 65536, 1024),
            (8, 4096, 64),
        ]
    )
    yield Case("iteration", "iteration", 65536, 256, 4, batch=32)


def sweep():
    """One quantity at a time, around N=1M K=1024 d=128 f16."""
    for n in (16384, M // 8, M, 4 * M):
        yield Case("sweep", "iteration", n, 1024, dtype="f16", sweep="N")
    for k in (64, 1024, 16384):
        yield Case("sweep", "iteration", M, k, dtype="f16", sweep="K")
    for d in (16, 64, 128, 512):
        yield Case("sweep", "iteration", M, 1024, d, dtype="f16", sweep="d")
    for b in (1, 8, 64):
        yield Case("sweep", "iteration", 16384, 1024, batch=b, dtype="f16", sweep="B")


def train():
    for data in ("normal", "mixture"):
        yield Case("train", "train", M, 8192, data=data)


def cpu():
    for data in ("normal", "mixture"):
        yield Case("cpu", "train", 262144, 1024, data=data, niter=5)


def cpu_shapes():
    for n, k, d in [
        (262144, 256, 128),
        (65536, 16384, 128),
        (131072, 4096, 96),
        (131072, 65536, 96),
        (65536, 1024, 384),
        (32768, 4096, 768),
        (32768, 16384, 768),
        (16384, 4096, 1536),
        (32768, 16384, 1536),
    ]:
        yield Case("cpu", "train", n, k, d, data="mixture", niter=5 if k < 16384 else 2)
    yield Case("cpu", "train", 32768, 4096, 768, niter=5)


def latency():
    for b, n, k in [(8, 4096, 64), (1, 4096, 64), (1, 16384, 256), (32, 1024, 32)]:
        yield Case("latency", "latency", n, k, batch=b, dtype="f16")


def memory():
    for n in (M, 4 * M):
        yield Case("memory", "memory", n, 1024, niter=2, sweep="N")


def build():
    yield Case("build", "ivfflat", M, 4096, data="mixture")
    yield Case("build", "ivfflat", M, 4096, 96, data="mixture")
    yield Case("build", "ivfflat", M // 4, 1024, 768, data="mixture")
    yield Case("build", "ivfpq", M, 16384)


def io():
    """Bytes moved in an iteration, by the card's counters."""
    yield Case("io", "io", M, 8192)


SUITES = {
    suite.__name__: suite
    for suite in (
        call,
        iteration,
        latency,
        train,
        memory,
        io,
        build,
        quality,
        kernel,
        sweep,
        cpu,
        cpu_shapes,
    )
}
