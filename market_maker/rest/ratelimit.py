"""How long to wait before the next request, as far as we know.  Pure: the caller hands in the time and has the lock.

BitMEX refills two buckets continuously (REST API guide, "Limits"): one of so many requests a minute for everything, and
one of ten a second for orders and positions.  Both are followed by our own count, and set right by the headers of each
answer, because other clients of the account draw from the same buckets.  A bucket of which the exchange says nothing
does not exist.

Cancels have a reserve: other requests leave a tenth of each bucket to them.  (BitMEX counts cancels, but does not
refuse them for the bucket of the minute.)
"""
from __future__ import absolute_import

import math
from typing import Any, Mapping, Optional  # noqa: F401

from market_maker.rest.retry import CANCEL

RESERVE = 0.1             # part of each bucket that only cancels may use
SECOND_LIMIT = 10         # requests a second on the routes below, until the exchange says otherwise
SECOND_ROUTES = frozenset(('/order', '/order/all', '/position/isolate', '/position/leverage',
                           '/position/transferMargin'))


class Bucket(object):
    """Tokens that come back at an even pace; ``limit`` of them fill it, ``interval`` seconds fill it from empty."""

    def __init__(self, limit: float, interval: float, now: float) -> None:
        self.limit = limit
        self.interval = interval
        self._tokens = float(limit)   # at self._at
        self._at = now

    def tokens(self, now: float) -> float:
        """Return how many there are; below zero when more was sent than there were."""
        return min(self.limit, self._tokens + max(0.0, now - self._at) * self.limit / self.interval)

    def set(self, tokens: float, now: float) -> None:
        """Say how many there are."""
        self._tokens = min(self.limit, tokens)
        self._at = now

    def wait(self, now: float, keep: float) -> float:
        """Return the seconds until one token can be taken with ``keep`` left behind."""
        missing = 1 + min(keep, self.limit - 1) - self.tokens(now)
        return max(0.0, missing * self.interval / self.limit) if missing > 1e-9 else 0.0


class RateLimiter(object):
    """The local view of both limits and of the pauses that the exchange imposed.

    All times are seconds of one clock that never jumps.  For each request: ask ``wait`` until it says 0, call ``sent``
    at once, and ``heard`` when the answer, or the certainty that none comes, is there.
    """

    def __init__(self) -> None:
        self._minute = None        # type: Optional[Bucket]   # None: no such limit, or none that we know of
        self._second = None        # type: Optional[Bucket]
        self._second_known = False  # whether an answer has told which
        self._flying = {'minute': 0, 'second': 0}   # requests sent whose answers are not there yet
        self._silent_until = 0.0   # nothing may be sent before
        self._quiet_until = 0.0    # nothing but cancels may be sent before

    def wait(self, now: float, kind: str, path: str) -> float:
        """Return the seconds before a request of that kind (see ``retry``) may be sent; 0 means now."""
        pause = self._silent_until - now
        if kind != CANCEL:
            pause = max(pause, self._quiet_until - now, self._bucket_wait(self._minute, now, kind))
        if path in SECOND_ROUTES:
            pause = max(pause, self._bucket_wait(self._second_bucket(now), now, kind))
        return max(0.0, pause)

    def sent(self, now: float, path: str) -> None:
        """Count a request that goes out now."""
        self._flying['minute'] += 1
        _take(self._minute, now)
        if path in SECOND_ROUTES:
            self._flying['second'] += 1
            _take(self._second_bucket(now), now)

    def heard(self, now: float, path: str, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer; status 0 and no headers for a request that got none."""
        self._flying['minute'] -= 1
        self._minute = self._adopted(self._minute, 'minute', 60.0, _number(headers, 'x-ratelimit-limit'),
                                     _number(headers, 'x-ratelimit-remaining'), now, status)
        if path not in SECOND_ROUTES:
            return
        self._flying['second'] -= 1
        remaining = _number(headers, 'x-ratelimit-remaining-1s')
        limit = _number(headers, 'x-ratelimit-limit-1s') or (None if remaining is None else SECOND_LIMIT)
        self._second = self._adopted(self._second, 'second', 1.0, limit, remaining, now, status)
        self._second_known = self._second_known or status == 200 or remaining is not None

    def hold(self, now: float, seconds: float, cancels_too: bool) -> None:
        """Send nothing for that long (after a ban, or a cancel that was refused), or nothing but cancels."""
        if cancels_too:
            self._silent_until = max(self._silent_until, now + seconds)
        else:
            self._quiet_until = max(self._quiet_until, now + seconds)

    def _adopted(self, bucket, name, interval, limit, remaining, now, status):
        # type: (Optional[Bucket], str, float, Optional[float], Optional[float], float, int) -> Optional[Bucket]
        """Return the bucket as the headers describe it; what is in the air was not counted there yet."""
        if limit is None or remaining is None or limit <= 0:
            # an error, above all of authentication, may come without the headers
            return None if status == 200 else bucket
        if bucket is None or bucket.limit != limit:
            bucket = Bucket(limit, interval, now)
        bucket.set(remaining - self._flying[name], now)
        return bucket

    def _second_bucket(self, now):
        # type: (float) -> Optional[Bucket]
        if self._second is None and not self._second_known:
            self._second = Bucket(SECOND_LIMIT, 1.0, now)
        return self._second

    @staticmethod
    def _bucket_wait(bucket, now, kind):
        # type: (Optional[Bucket], float, str) -> float
        if bucket is None:
            return 0.0
        return bucket.wait(now, 0 if kind == CANCEL else math.floor(bucket.limit * RESERVE))


def _take(bucket, now):
    # type: (Optional[Bucket], float) -> None
    if bucket is not None:
        bucket.set(bucket.tokens(now) - 1, now)


def _number(headers, name):
    # type: (Any, str) -> Optional[float]
    try:
        return float(headers[name])
    except (KeyError, ValueError):
        return None
