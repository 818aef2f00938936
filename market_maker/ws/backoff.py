"""When to open the connection again.  Pure: moments and random numbers are handed in."""
from typing import Any  # noqa: F401

FIRST = 0.25     # seconds before the first new attempt
LONGEST = 30.0   # seconds between two attempts at the most
BURST = 40.0     # connections that may be opened at any pace: what BitMEX allowed an hour in 2019 ...
PACE = 0.2       # ... and how many a second after that: it allows 720 an hour today


class Backoff:
    """Doubles the wait with each failure, spread by chance so that clients cut off together do not return together.

    BitMEX, "WebSocket API": connections are counted, and too many of them are refused at the handshake.
    """

    def __init__(self, random):
        # type: (Any) -> None
        self._random = random   # returns a number from 0 up to 1
        self._failures = 0
        self._tokens = BURST    # connections that may be opened at once, at self._at
        self._at = None         # type: Any

    def worked(self):
        # type: () -> None
        """Start from the shortest wait again: a connection had come up with all its data."""
        self._failures = 0

    def wait(self, now, least=0.0):
        # type: (float, float) -> float
        """Return the seconds to wait before the next attempt, counted as made; ``least`` is what the exchange asks for.

        ``now`` is in seconds of a clock that never jumps.
        """
        seconds = min(LONGEST, FIRST * 2 ** min(self._failures, 20)) * (0.5 + 0.5 * self._random())
        self._failures += 1
        return max(seconds, least, self._until_allowed(now))

    def _until_allowed(self, now):
        # type: (float) -> float
        if self._at is not None:
            self._tokens = min(BURST, self._tokens + (now - self._at) * PACE)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / PACE)
