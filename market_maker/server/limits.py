"""How many requests and connections a client may make: BitMEX's token buckets.

Pure: time is handed in as Unix seconds, and nothing here waits, sends or logs.  Source: BitMEX, "Using the BitMEX REST
API", limits; the names of the headers and the wording of the refusals are the recorded ones.
"""
import math
from typing import Dict, NamedTuple, Optional, Tuple  # noqa: F401

MINUTE_LIMIT = 120            # requests a minute of one account, all its keys together
MINUTE_LIMIT_UNSIGNED = 30    # requests a minute of one address without a key
SECOND_LIMIT = 10             # requests a second of one account on the routes of ORDER_ROUTES
CONNECTION_LIMIT = 720        # WebSocket connections an hour from one address

ORDER_ROUTES = frozenset([
    ('POST', '/order'), ('PUT', '/order'), ('DELETE', '/order'), ('DELETE', '/order/all'),
    ('POST', '/position/isolate'), ('POST', '/position/leverage'), ('POST', '/position/transferMargin'),
])
# Counted by the limit a minute, but never refused by it: a trader must always be able to pull orders.
FORGIVEN_ROUTES = frozenset([('DELETE', '/order'), ('DELETE', '/order/all'), ('POST', '/user/logout')])

_MOST_BUCKETS = 4096          # full buckets are forgotten beyond this many, for they say nothing
ROUNDING = 1e-5               # tokens; a Unix time in a float is good to a quarter of a microsecond

Verdict = NamedTuple('Verdict',
                     [('allowed', bool), ('headers', Dict[str, str]), ('retry_after', int), ('message', str)])
Verdict.__doc__ = """What a limiter says to one request.

``headers`` go on the answer in either case; ``retry_after`` (whole seconds) and ``message`` count when not ``allowed``.
"""


def refusal_text(retry_after: int) -> str:
    """Return BitMEX's sentence for a request that comes ``retry_after`` seconds too early."""
    if retry_after >= 120:
        return 'Rate limit exceeded, retry in {} minutes.'.format(int(math.ceil(retry_after / 60.0)))
    return 'Rate limit exceeded, retry in {} seconds.'.format(retry_after)


class Bucket(object):
    """A token bucket that refills continuously: ``capacity`` tokens every ``seconds``."""

    __slots__ = ('capacity', 'rate', 'tokens', 'updated')

    def __init__(self, capacity: int, seconds: float, now: float) -> None:
        self.capacity = capacity
        self.rate = capacity / float(seconds)
        self.tokens = float(capacity)
        self.updated = now

    def refill(self, now: float) -> None:
        """Bring the bucket to ``now``; a clock that went back changes nothing."""
        elapsed = now - self.updated
        if elapsed > 0:
            self.tokens = min(float(self.capacity), self.tokens + elapsed * self.rate)
        self.updated = now

    def wait(self) -> float:
        """Return the seconds until one whole token is there; 0 when it is."""
        return 0.0 if self.tokens >= 1 - ROUNDING else (1 - self.tokens) / self.rate

    def take(self) -> None:
        """Take one token, or what is left of one."""
        self.tokens = max(0.0, self.tokens - 1)

    def remaining(self) -> int:
        """Return the whole tokens that are left."""
        return int(self.tokens + ROUNDING)


class Limits(object):
    """All buckets of one exchange.

    With ``enabled`` False nothing is refused, and the headers show full buckets, for clients read them all the same.
    """

    def __init__(self, enabled: bool = True, minute: int = MINUTE_LIMIT, minute_unsigned: int = MINUTE_LIMIT_UNSIGNED,
                 second: int = SECOND_LIMIT, connections: int = CONNECTION_LIMIT) -> None:
        self.enabled = enabled
        self._minute = minute
        self._minute_unsigned = minute_unsigned
        self._second = second
        self._connections = connections
        self._buckets = {}  # type: Dict[Tuple[str, object], Bucket]

    def _bucket(self, kind: str, who: object, capacity: int, seconds: float, now: float) -> Bucket:
        bucket = self._buckets.get((kind, who))
        if bucket is None:
            if len(self._buckets) >= _MOST_BUCKETS:
                self._forget_full(now)
            bucket = self._buckets[(kind, who)] = Bucket(capacity, seconds, now)
        else:
            bucket.refill(now)
        return bucket

    def _forget_full(self, now: float) -> None:
        for key, bucket in list(self._buckets.items()):
            bucket.refill(now)
            if bucket.tokens >= bucket.capacity:
                del self._buckets[key]

    def request(self, verb: str, path: str, account_id: Optional[object], address: str, now: float) -> Verdict:
        """Charge one REST request and say whether it may pass.

        ``path`` has neither ``/api/v1`` nor a query; ``account_id`` is None for an unsigned request, which is counted
        by ``address``.  A request that is refused costs nothing.
        """
        per_minute = self._minute if account_id is not None else self._minute_unsigned
        per_second = (verb, path) in ORDER_ROUTES
        if not self.enabled:
            return Verdict(True, _headers(per_minute, per_minute, 0.0, now, self._second if per_second else None,
                                          self._second), 0, '')
        who = account_id if account_id is not None else address
        minute = self._bucket('signed' if account_id is not None else 'unsigned', who, per_minute, 60.0, now)
        second = self._bucket('second', who, self._second, 1.0, now) if per_second else None
        wait = 0.0 if (verb, path) in FORGIVEN_ROUTES else minute.wait()
        if second is not None:
            wait = max(wait, second.wait())
        if wait == 0:
            minute.take()
            if second is not None:
                second.take()
        headers = _headers(per_minute, minute.remaining(), max(wait, minute.wait()), now,
                           second.remaining() if second is not None else None, self._second)
        if wait == 0:
            return Verdict(True, headers, 0, '')
        retry_after = max(1, int(math.ceil(wait)))
        headers['x-ratelimit-remaining'] = '0'
        headers['Retry-After'] = str(retry_after)
        return Verdict(False, headers, retry_after, refusal_text(retry_after))

    def connection(self, address: str, now: float) -> Verdict:
        """Charge one WebSocket connection; the recorded refusal carries no header, so ``headers`` stays empty."""
        if not self.enabled:
            return Verdict(True, {}, 0, '')
        bucket = self._bucket('connection', address, self._connections, 3600.0, now)
        wait = bucket.wait()
        if wait == 0:
            bucket.take()
            return Verdict(True, {}, 0, '')
        retry_after = max(1, int(math.ceil(wait)))
        return Verdict(False, {}, retry_after, refusal_text(retry_after))

    def connections_left(self, address: str, now: float) -> Optional[int]:
        """Return the number that the welcome frame shows, or None when nothing is limited."""
        if not self.enabled:
            return None
        return self._bucket('connection', address, self._connections, 3600.0, now).remaining()


def _headers(limit: int, remaining: int, wait: float, now: float, remaining_second: Optional[int],
             limit_second: int) -> Dict[str, str]:
    """Return the x-ratelimit headers; the reset is the next second, or the second in which the next token exists."""
    headers = {
        'x-ratelimit-limit': str(limit),
        'x-ratelimit-remaining': str(remaining),
        'x-ratelimit-reset': str(int(math.ceil(now)) + max(1, int(math.ceil(wait))) if wait > 0 else int(now) + 1),
    }
    if remaining_second is not None:
        headers['x-ratelimit-remaining-1s'] = str(remaining_second)
        headers['x-ratelimit-limit-1s'] = str(limit_second)
    return headers
