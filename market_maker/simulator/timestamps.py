"""Times as BitMEX writes them: ISO 8601, UTC, milliseconds and a Z; spans as times after the start of the year 2000.

Pure: nothing here reads a clock.  Seconds are Unix seconds as float unless a name says otherwise.
"""
import re
from datetime import datetime, timedelta
from typing import Optional, Union  # noqa: F401

EPOCH = datetime(1970, 1, 1)
SPAN_START = datetime(2000, 1, 1)

MINUTE = 60
HOUR = 3600
DAY = 86400

# Also shortened: '2024-11', '2024-11-24 08:26'; with Z, an offset, or neither, which is UTC too.
FORM = re.compile(r'([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2})'
                  r'(?:[Tt ]([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]*))?)?)?'
                  r'(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?)?)?)?$')
EARLIEST, LATEST = -62135510400, 253402128000   # Unix seconds that can be written, with a day to spare


def iso(seconds: float) -> str:
    """Return Unix seconds as text, rounded to the millisecond: '2026-05-03T05:01:55.500Z'."""
    whole, thousandths = divmod(int(round(seconds * 1000)), 1000)
    return '{}.{:03d}Z'.format((EPOCH + timedelta(seconds=whole)).isoformat(), thousandths)


def span(seconds: float) -> str:
    """Return a length of time as BitMEX' intervals are written: 8 hours are '2000-01-01T08:00:00.000Z'."""
    return '{}.000Z'.format((SPAN_START + timedelta(seconds=seconds)).isoformat())


def seconds_of(text: Union[str, float, int, None]) -> Optional[float]:
    """Return the Unix seconds of an ISO time, which may be shortened, or None when it is not one."""
    found = FORM.match(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        return None
    away = (int(hours) * HOUR + int(minutes) * MINUTE) * (-1 if sign == '-' else 1) if sign else 0
    seconds = (moment - EPOCH).total_seconds() + float('0.' + (fraction or '0')) - away
    return seconds if EARLIEST <= seconds <= LATEST else None


def next_multiple(now: float, step: float, offset: float = 0) -> float:
    """Return the first time after ``now`` that is ``offset`` plus a whole number of steps after 1970."""
    return ((now - offset) // step + 1) * step + offset


class Stamper(object):
    """Writes the current time as text, fast: the part down to the second is kept while the second lasts.

    ``skew`` (seconds) makes the text wrong by so much, for a clock that is off.
    """

    __slots__ = ('skew', '_millisecond', '_second', '_prefix', '_text')

    def __init__(self) -> None:
        self.skew = 0.0
        self._millisecond = -1
        self._second = -1
        self._prefix = ''
        self._text = ''

    def text(self, now: float) -> str:
        """Return ``iso(now + skew)``."""
        millisecond = int((now + self.skew) * 1000 + 0.5)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._prefix = (EPOCH + timedelta(seconds=second)).isoformat()
            self._text = '%s.%03dZ' % (self._prefix, rest)
        return self._text
