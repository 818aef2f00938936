"""Time as a thing that is handed in: the real clock, or one that tests and backtests move by hand."""
import threading
import time


class Clock:
    """The machine's clock.  Whoever waits takes one of these, so that a test need not wait with it."""

    def time(self):
        # type: () -> float
        """Return the moment in Unix seconds; it may jump when the machine's clock is set."""
        return time.time()

    def monotonic(self):
        # type: () -> float
        """Return seconds since some fixed moment; never jumps, so ages and deadlines are measured with it."""
        return time.monotonic()

    def sleep(self, seconds):
        # type: (float) -> None
        """Do nothing for ``seconds``; zero or less returns at once."""
        if seconds > 0:
            time.sleep(seconds)

    def wait(self, event, seconds):
        # type: (threading.Event, float) -> bool
        """Wait for ``event``, ``seconds`` at most; return whether it is set."""
        return event.wait(max(0.0, seconds))


class ManualClock(Clock):
    """A clock that stands still until it is moved; sleeping on it moves it and returns at once."""

    def __init__(self, now=0.0):
        # type: (float) -> None
        self._now = float(now)
        self._lock = threading.Lock()

    def advance(self, seconds):
        # type: (float) -> None
        """Move the clock forward."""
        with self._lock:
            self._now += seconds

    def time(self):
        # type: () -> float
        """Return the moment that the clock was moved to, in Unix seconds."""
        return self._now

    def monotonic(self):
        # type: () -> float
        """Return the same moment: this clock never jumps back."""
        return self._now

    def sleep(self, seconds):
        # type: (float) -> None
        """Move the clock by ``seconds`` (nothing when zero or less)."""
        if seconds > 0:
            self.advance(seconds)

    def wait(self, event, seconds):
        # type: (threading.Event, float) -> bool
        """Return whether ``event`` is set; when it is not, move the clock by ``seconds`` first."""
        if not event.is_set():
            self.sleep(seconds)
        return event.is_set()


REAL = Clock()
