"""Several orders under way at once: a few threads that carry out whole jobs, started when first needed.

The pool knows no order and no exchange: it calls what it is handed.  Who hands in the jobs decides in which order they
begin; a job must not raise, for nobody would hear of it.
"""
from __future__ import absolute_import

import queue
import threading
import time
from typing import Any, Callable, List  # noqa: F401

SENDERS = 6      # threads, and with them connections: twelve orders of a ladder take two round trips
FAREWELL = 1.0   # seconds that close() waits for requests under way, together

_Jobs = getattr(queue, 'SimpleQueue', queue.Queue)   # the simple one, of Python 3.7, wakes a thread in half the time


class SendPool(object):
    """Threads named bitmex-send-1 and so on; any thread may hand in jobs."""

    def __init__(self, size: int = SENDERS) -> None:
        self.size = size
        self._jobs = _Jobs()   # type: Any   # callables without arguments; None ends one thread
        self._threads = []           # type: List[threading.Thread]
        self._idle = 0               # threads that wait for a job, less the jobs that wait for a thread
        self._lock = threading.RLock()   # a signal's handler may come back here on the same thread

    def hand(self, job: Callable[[], None]) -> None:
        """Have a thread carry out ``job`` soon."""
        with self._lock:
            self._idle -= 1
            self._jobs.put(job)
            if self._idle < 0 and len(self._threads) < self.size:
                self._idle += 1
                thread = threading.Thread(target=self._work, name='bitmex-send-{}'.format(len(self._threads) + 1))
                thread.daemon = True   # a strategy that never calls exit() still comes to its end
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        """End the threads, waiting a moment for those that send; a job handed in later starts new ones."""
        with self._lock:
            threads, self._threads, self._idle = self._threads, [], 0
            jobs, self._jobs = self._jobs, _Jobs()
        for _ in threads:
            jobs.put(None)
        deadline = time.monotonic() + FAREWELL
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self):
        # type: () -> None
        jobs = self._jobs
        while True:
            job = jobs.get()
            if job is None:
                return
            job()
            with self._lock:
                if jobs is self._jobs:
                    self._idle += 1
