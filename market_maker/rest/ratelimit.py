"""How long to wait before the next request, as far as we know.  Pure: the caller hands in the time and has the lock.

BitMEX refills two buckets continuously (REST API guide, "Limits"): one of so many requests a minute for everything, and
one of ten a second for orders and positions.  Both are followed by our own count, and set right by the headers of each
answer, because other clients of the account draw from the same buckets.  A bucket of which the exchange says nothing
does not exist.

A full bucket of ten that is refilled ten times a second would let nearly twenty requests through in its first second.
So what is no cancel also keeps to ten in every second, whenever that second begins.

Cancels have a reserve: other requests leave a tenth of each bucket to them.  (BitMEX counts cancels, but does not
refuse them for the bucket of the minute.)

Several bots of one account share one budget: ``numbers`` and ``adopt`` carry the limiter's state through a file that
they all read and write (``state/budget.py``).  A bot that is alone may count a few requests ahead, and then send them
without a look at the file: whoever comes meanwhile finds them counted, and once their time is over they are like any
request that was sent.
"""
from __future__ import absolute_import

import math
from collections import deque
from typing import Any, List, Mapping, Optional, Sequence, Tuple  # noqa: F401

from market_maker.rest.retry import CANCEL

RESERVE = 0.1             # part of each bucket that only cancels may use
SECOND_LIMIT = 10         # requests a second on the routes below, until the exchange says otherwise
SECOND = 1.02             # seconds in which no more than that go out; a little more than one: requests travel unevenly
NOISE = 1e-6              # seconds that are no wait: what a few float operations leave of one that is over
ROUNDING = 1e-5           # of a token: a wait so short that a clock of large numbers might not move would have no end
AHEAD = 16                # requests that are counted ahead at most ...
SHARES = {60.0: 16, 1.0: 4}   # ... and what part of what is left of a minute's or a second's
REMEMBERED = 30           # latest requests on those routes whose time is kept; a higher limit is left to the bucket
SAFE_ROUTES = ('/order/cancelAllAfter',)   # may draw on the reserve as well: without it every order is cancelled
SECOND_ROUTES = frozenset(('/order', '/order/all', '/position/isolate', '/position/leverage',
                           '/position/transferMargin'))


class Bucket(object):
    """Tokens that come back at an even pace; ``limit`` of them fill it, ``interval`` seconds fill it from empty."""

    def __init__(self, limit: float, interval: float, now: float) -> None:
        self.limit = limit
        self.interval = interval
        self._pace = limit / interval   # tokens a second
        self._tokens = float(limit)   # at self._at
        self._at = now

    def tokens(self, now: float) -> float:
        """Return how many there are; below zero when more was sent than there were."""
        tokens = self._tokens
        if now > self._at:
            tokens += (now - self._at) * self._pace
        return tokens if tokens < self.limit else self.limit

    def set(self, tokens: float, now: float) -> None:
        """Say how many there are."""
        self._tokens = tokens if tokens < self.limit else self.limit
        if now > self._at:   # what was counted ahead comes back from its own moment on
            self._at = now

    def wait(self, now: float, keep: float) -> float:
        """Return the seconds until one token can be taken with ``keep`` left behind."""
        missing = 1 + min(keep, self.limit - 1) - self.tokens(now)
        return missing / self._pace if missing > ROUNDING else 0.0


class RateLimiter(object):
    """The local view of both limits and of the pauses that the exchange imposed.

    All times are seconds of one clock that never jumps.  For each request: ask ``wait`` until it says 0, call ``sent``
    at once, and ``heard`` when the answer, or the certainty that none comes, is there.
    """

    def __init__(self) -> None:
        self._minute = None        # type: Optional[Bucket]   # None: no such limit, or none that we know of
        self._second = None        # type: Optional[Bucket]
        self._second_known = False  # whether an answer has told which
        self._recent = deque(maxlen=REMEMBERED)   # type: Any   # when requests on SECOND_ROUTES went out, oldest first
        self._flying = {'minute': 0, 'second': 0}   # requests sent whose answers are not there yet
        self._others = {'minute': 0, 'second': 0}   # the same of the other bots that share this budget
        self._silent_until = 0.0   # nothing may be sent before
        self._quiet_until = 0.0    # nothing but cancels may be sent before

    def wait(self, now: float, kind: str, path: str) -> float:
        """Return the seconds before a request of that kind (see ``retry``) may be sent; 0 means now."""
        pause = self._silent_until - now
        if kind != CANCEL:
            reserved = CANCEL if path in SAFE_ROUTES else kind
            pause = max(pause, self._quiet_until - now, self._bucket_wait(self._minute, now, reserved))
        if path in SECOND_ROUTES:
            bucket = self._second_bucket(now)
            pause = max(pause, self._bucket_wait(bucket, now, kind))
            if kind != CANCEL and bucket is not None:
                pause = max(pause, self._crowded(bucket.limit, now))
        return pause if pause > NOISE else 0.0

    @property
    def is_known(self) -> bool:
        """Whether an answer has told what the limit on orders is; until then BitMEX's usual one is kept."""
        return self._second_known

    def sent(self, now: float, path: str) -> None:
        """Count a request that goes out now."""
        self._flying['minute'] += 1
        _take(self._minute, now)
        if path in SECOND_ROUTES:
            self._flying['second'] += 1
            self._recent.append(now)
            _take(self._second_bucket(now), now)

    def unsent(self, now: float, path: str) -> None:
        """Take back a request that was counted and never went out."""
        self._flying['minute'] -= 1
        _give(self._minute, now)
        if path in SECOND_ROUTES:
            self._flying['second'] -= 1
            _give(self._second, now)

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
            bucket.set(remaining - self._flying[name] - self._others[name], now)
            return bucket
        # Others may have drawn from it: then the header knows better.  Cancels go through beyond the limit, and for
        # these the header does not go below 0: then our own count does.
        bucket.set(min(remaining - self._flying[name] - self._others[name], bucket.tokens(now)), now)
        return bucket

    def flying(self) -> Tuple[int, int]:
        """Return how many of our requests are under way: all, and those on SECOND_ROUTES."""
        return self._flying['minute'], self._flying['second']

    def limits(self) -> Tuple[Optional[float], Optional[float]]:
        """Return what the exchange allows, as far as we know: so many requests a minute, and on orders a second."""
        return (None if self._minute is None else self._minute.limit,
                None if self._second is None else self._second.limit)

    def ahead(self, now: float) -> int:
        """Return how many more requests of whatever kind may be counted ahead now."""
        room, second = float(AHEAD), self._second_bucket(now)
        for bucket in (self._minute, second):
            if bucket is not None:
                left = bucket.tokens(now) - math.floor(bucket.limit * RESERVE)
                if bucket is second and bucket.limit <= REMEMBERED:
                    left = min(left, bucket.limit - sum(1 for at in self._recent if at > now - SECOND))
                room = min(room, left / SHARES[bucket.interval])
        return max(0, int(room))

    def give_back(self, now: float, ahead: int, until: float) -> None:
        """Take back requests that were counted ahead, as if sent ``until`` then, and were not sent."""
        for bucket in (self._minute, self._second):
            if bucket is not None:   # what has come back since would have been lost to a full bucket
                unsent = ahead - max(0.0, now - until) * bucket.limit / bucket.interval
                bucket.set(bucket.tokens(now) + max(0.0, unsent), now)
        for _ in range(min(ahead, self._recent.count(until))):
            self._recent.remove(until)

    def numbers(self, now: float = 0.0, ahead: int = 0, until: float = 0.0) -> List[float]:
        """Return what bots share: NUMBERS floats; the requests under way are not among them.

        ``ahead`` more requests count as if they were sent at that moment, ``until``.
        """
        recent = list(self._recent)
        if ahead:
            recent = (recent + [until] * ahead)[-REMEMBERED:]
        return (_dump(self._minute, now, ahead, until) + _dump(self._second, now, ahead, until)
                + [float(self._second_known), self._silent_until, self._quiet_until]
                + [-math.inf] * (REMEMBERED - len(recent)) + recent)

    def adopt(self, numbers: Optional[Sequence[float]], others: Tuple[int, int]) -> None:
        """Take over what another bot left in the shared budget (None: nobody but us was there); ``others`` is
        ``flying`` of all the others."""
        if numbers is not None:
            self._minute, self._second = _load(numbers[0:4]), _load(numbers[4:8])
            self._second_known = bool(numbers[8])
            self._silent_until, self._quiet_until = numbers[9], numbers[10]
            self._recent = deque(numbers[11:], REMEMBERED)
        self._others = {'minute': others[0], 'second': others[1]}

    def _crowded(self, limit, now):
        # type: (float, float) -> float
        """Return the seconds until fewer than ``limit`` requests went out in the second before."""
        count = int(limit)
        if not 0 < count <= len(self._recent):
            return 0.0
        return self._recent[-count] + SECOND - now

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


NUMBERS = 11 + REMEMBERED   # how many floats ``numbers`` returns


def _dump(bucket, now, ahead, until):
    # type: (Optional[Bucket], float, int, float) -> List[float]
    if bucket is None:
        return [0.0, 0.0, 0.0, 0.0]
    if ahead:
        return [bucket.limit, bucket.interval, bucket.tokens(now) - ahead, until]
    return [bucket.limit, bucket.interval, bucket._tokens, bucket._at]


def _load(numbers):
    # type: (Sequence[float]) -> Optional[Bucket]
    if not numbers[0]:
        return None
    bucket = Bucket(numbers[0], numbers[1], numbers[3])
    bucket.set(numbers[2], numbers[3])
    return bucket


def _take(bucket, now):
    # type: (Optional[Bucket], float) -> None
    if bucket is not None:
        bucket.set(bucket.tokens(now) - 1, now)


def _give(bucket, now):
    # type: (Optional[Bucket], float) -> None
    if bucket is not None:
        bucket.set(bucket.tokens(now) + 1, now)


def _number(headers, name):
    # type: (Any, str) -> Optional[float]
    try:
        return float(headers[name])
    except (KeyError, ValueError):
        return None
