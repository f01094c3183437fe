"""Peak memory of a stretch of code, of a process or of the GPU."""

import ctypes
import os
import threading

_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_mib(pid="self"):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * _PAGE_MIB


class DeviceMemory:
    """Calling it gives the first GPU's used MiB, by NVML; OSError where there is none."""

    class _Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    def __init__(self):
        self._nvml = ctypes.CDLL("libnvidia-ml.so.1")
        self._device = ctypes.c_void_p()
        self._info = self._Info()
        status = self._nvml.nvmlInit_v2()
        status = status or self._nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device))
        if status:
            raise OSError(f"NVML: status {status}")

    def __call__(self):
        self._nvml.nvmlDeviceGetMemoryInfo(self._device, ctypes.byref(self._info))
        return self._info.used / 2**20


class PeakMemory:
    """with PeakMemory() as peak: ...; peak.mib is the rise of what `read` says, at its highest.

    A thread samples every 2 ms; code that holds the GIL for longer is seen when it lets go.
    """

    def __init__(self, read=resident_mib):
        self._read = read

    def __enter__(self):
        self._before = self._highest = self._read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()

    def _sample(self):
        while True:
            self._highest = max(self._highest, self._read())
            if self._stop.wait(0.002):
                break
        self._highest = max(self._highest, self._read())

    @property
    def mib(self):
        return self._highest - self._before
