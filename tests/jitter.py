"""How much later than asked for this machine lets threads go on: what tests of rates have to forgive it."""
import threading
import time

STEP = 0.005  # seconds between two looks


class Jitter:
    """Measures from ``with`` to its end; ``worst`` is the longest delay in seconds so far."""

    def __init__(self):
        self.worst = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure)

    def _measure(self):
        while not self._ended.is_set():
            began = time.monotonic()
            time.sleep(STEP)
            self.worst = max(self.worst, time.monotonic() - began - STEP)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()
