"""Peak memory of a stretch of code."""

import os
import threading

_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * _PAGE_MIB


class PeakMemory:
    """with PeakMemory() as peak: ...; peak.mib is the rise of the resident size at its highest.

    A thread samples every 2 ms; code that holds the GIL for longer is seen when it lets go.
    """

    def __enter__(self):
        self._before = self._highest = resident_mib()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()

    def _sample(self):
        while True:
            self._highest = max(self._highest, resident_mib())
            if self._stop.wait(0.002):
                break
        self._highest = max(self._highest, resident_mib())

    @property
    def mib(self):
        return self._highest - self._before
