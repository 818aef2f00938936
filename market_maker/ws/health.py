"""How old the data are, and whether they can still be traded on.

Pure: the moments come in with each call, in seconds of one clock that never jumps.  One thread feeds it, any may ask.
"""
import calendar
import time
from typing import Any, Dict, Optional  # noqa: F401

RACE = 2.0  # seconds within which quote and instrument may be ahead of each other: tables come in any order


class Health:
    """The age of what the exchange sends about one symbol.

    ``heartbeat``: seconds of silence after which a ping is sent; as long again may pass until something is heard.
    ``stale_after``: seconds without a row of the traded instrument, or with a bid and ask in it that differ from the
    quotes', after which the data are stale.  (BitMEX sends the mark price at least every five.)  Trades, own orders and
    executions may be quiet as long as they like.
    """

    def __init__(self, symbol, heartbeat=5.0, stale_after=15.0):
        # type: (str, float, float) -> None
        self.symbol = symbol
        self.heartbeat = heartbeat
        self.stale_after = stale_after
        self.last_frame = 0.0   # when anything was heard; the reader writes it with every frame
        self.last_rows = {}     # type: Dict[str, float]  # table name -> when rows of it came
        self._instrument_at = 0.0
        self._quotes = _Touches()
        self._shown = _Touches()
        self._differ_since = None  # type: Optional[float]
        self._stamped = None    # type: Any  # (exchange time stamp, when it came) of the newest row that had one

    def began(self, now):
        # type: (float) -> None
        """Start over with a new connection: all ages count from here."""
        self.last_rows = {}
        self._quotes = _Touches()
        self._shown = _Touches()
        self._differ_since = self._stamped = None
        self._instrument_at = self.last_frame = now

    def quoted(self, now, bid, ask, timestamp=None):
        # type: (float, Optional[float], Optional[float], Optional[str]) -> None
        """Note the newest quote of the traded symbol."""
        self._compare(now, (bid, ask), self._quotes, self._shown, timestamp)

    def refreshed(self, now, bid, ask, timestamp=None):
        # type: (float, Optional[float], Optional[float], Optional[str]) -> None
        """Note that a row of the traded instrument came, and what its bid and ask are now."""
        self._instrument_at = now
        self._compare(now, (bid, ask), self._shown, self._quotes, timestamp)

    def _compare(self, now, touch, mine, others, timestamp):
        # type: (float, Any, Any, Any, Optional[str]) -> None
        """Note a touch: it agrees with the other source's newest one, or with one of a moment ago that has moved on."""
        if timestamp:
            self._stamped = (timestamp, now)
        mine.add(now, touch)
        if others.newest is None:
            return
        if others.newest == touch or others.had(now, touch):
            self._differ_since = None
        elif self._differ_since is None:
            self._differ_since = now

    def reason(self, now):
        # type: (float) -> Optional[str]
        """Return why the data cannot be traded on, in words for a log line, or None when they can."""
        silent = now - self.last_frame
        if silent > 2 * self.heartbeat:
            return 'nothing was heard from the exchange for {:.1f} s'.format(silent)
        age = now - self._instrument_at
        if age > self.stale_after:
            return 'no row of the instrument {} for {:.1f} s'.format(self.symbol, age)
        since = self._differ_since
        if since is not None and now - since > self.stale_after:
            return 'quote {} and instrument {} of {} disagree for {:.1f} s'.format(
                _prices(self._quotes), _prices(self._shown), self.symbol, now - since)
        return None

    def needs_ping(self, now):
        # type: (float) -> bool
        """Say whether it has been silent long enough to ask whether anybody is there."""
        return now - self.last_frame >= self.heartbeat

    def is_silent(self, now):
        # type: (float) -> bool
        """Say whether the answer to a ping is overdue."""
        return now - self.last_frame > 2 * self.heartbeat

    def ages(self, now):
        # type: (float) -> Dict[str, float]
        """Return, for each table that sent rows, the seconds since its last."""
        return {name: now - at for name, at in list(self.last_rows.items())}

    def lag(self, now, wall, offset=0.0):
        # type: (float, float, float) -> Optional[float]
        """Return how many seconds the newest row arrived after the exchange's time stamp on it, None before one came.

        ``now`` and ``wall`` are one moment on both clocks (seconds that never jump, Unix seconds); ``offset`` is what
        has to be added to our clock to get the exchange's.
        """
        if self._stamped is None:
            return None
        timestamp, arrived = self._stamped
        return wall - (now - arrived) + offset - unix_seconds(timestamp)


def unix_seconds(timestamp):
    # type: (str) -> float
    """Return an exchange time stamp such as ``2018-08-16T14:56:25.126Z`` in Unix seconds."""
    whole, _, fraction = timestamp.rstrip('Z').partition('.')
    return calendar.timegm(time.strptime(whole, '%Y-%m-%dT%H:%M:%S')) + float('0.' + (fraction or '0'))


def time_stamp(seconds):
    # type: (float) -> str
    """Return Unix seconds as an exchange time stamp, such as ``2018-08-16T14:56:25.126Z``."""
    whole, thousandths = divmod(int(seconds * 1000), 1000)
    return '{}.{:03d}Z'.format(time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole)), thousandths)


class _Touches:
    """What one source has shown lately."""

    def __init__(self):
        # type: () -> None
        self.newest = None  # type: Any  # (bid, ask)
        self._at = {}       # type: Dict[Any, float]  # touch -> when it was shown last

    def add(self, now, touch):
        # type: (float, Any) -> None
        self.newest = touch
        self._at[touch] = now
        if len(self._at) > 64:
            self._at = {seen: at for seen, at in self._at.items() if now - at <= RACE}

    def had(self, now, touch):
        # type: (float, Any) -> bool
        """Say whether this touch was shown a moment ago."""
        return touch in self._at and now - self._at[touch] <= RACE


def _prices(touches):
    # type: (_Touches) -> str
    return '{}/{}'.format(*touches.newest)
