"""The common parameters of BitMEX's table requests: symbol, filter, columns, count, start, reverse, startTime, endTime.

Pure.  What comes out are fresh dicts where columns were chosen, else the shared rows.
"""
import json
from datetime import date
from itertools import islice
from math import ceil, floor
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple  # noqa: F401

from market_maker.simulator.orders import given, real
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.schema import ALL_POOLS, PRIMARY_POOL
from market_maker.simulator.timestamps import iso, seconds_of

DEFAULT_COUNT = 100
MOST_ROWS = 500
TERMINATED = ('Filled', 'Canceled', 'Rejected', 'Expired', 'DoneForDay')
TIMEFRAMES = ('nearest', 'daily', 'weekly', 'monthly', 'quarterly', 'biquarterly', 'perpetual')
WHOLE_TIME = 'timestamp'
EXACT = frozenset(['symbol', 'guid', 'timestamp', ''])   # types of columns whose values are text

# part of a timestamp that a filter may name -> where it stands in the text; the first compare as text
TEXT_PARTS = {'date': (0, 10), 'month': (0, 7), 'minute': (11, 16), 'second': (11, 19)}
NUMBER_PARTS = {'year': (0, 4), 'dd': (8, 10), 'hh': (11, 13), 'mm': (14, 16), 'ss': (17, 19)}
MONDAY, SATURDAY = 1, 6   # numbers of days, modulo 7; a filter counts them from Saturday, 0, to Friday, 6

Row = Dict[str, Any]


def json_value(value: Any, message: str) -> Any:
    """Return a parameter that may have been sent as JSON text; refuse text that is none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Refusal(400, message)


def whole_between(value: Any, least: int, most: int, message: str) -> int:
    """Return a whole number within bounds, refused otherwise."""
    number = real(value, message)
    if number != int(number) or not least <= number <= most:
        raise Refusal(400, message)
    return int(number)


def truth(value: Any, message: str) -> bool:
    """Return a truth value that may have been sent as text."""
    if isinstance(value, str):
        value = {'true': True, '1': True, 'false': False, '0': False}.get(value.lower())
    if value is True or value is False:
        return value
    if value in (0, 1) and value is not None:
        return bool(value)
    raise Refusal(400, message)


def moment(value: Any, message: str) -> float:
    """Return the Unix seconds of a time parameter, refused when it is none."""
    seconds = seconds_of(value)
    if seconds is None:
        raise Refusal(400, message)
    return seconds


def symbols_of(value: Any, instruments: Any) -> Callable[[Any], bool]:
    """Return the test that a ``symbol`` parameter puts to symbols: one of any case, a series ('XBT'), or
    'XBT:perpetual'.

    A bare series means its contract that expires first, the perpetual when none expires.
    """
    if not isinstance(value, str):
        raise Refusal(400, 'Invalid symbol')
    name = value.upper()
    if name in instruments:
        return lambda symbol: bool(symbol == name)
    root, _, timeframe = value.partition(':')
    timeframe = timeframe.lower() or 'nearest'
    if timeframe not in TIMEFRAMES:
        raise Refusal(400, 'Invalid symbol')
    series = [instrument for instrument in instruments.values()
              if not instrument.is_index and instrument.row['rootSymbol'] == root.upper()]
    if timeframe == 'nearest':
        dated = [instrument for instrument in series if instrument.expires is not None]
        wanted = sorted(dated, key=lambda instrument: instrument.expires)[:1] or series[:1]
    else:
        wanted = [instrument for instrument in series if instrument.timeframe == timeframe]
    names = frozenset(instrument.symbol for instrument in wanted)
    return lambda symbol: symbol in names


# -- filter ----------------------------------------------------------------------------------------


def meets(row: Row, column: str, wanted: Any) -> bool:
    """Tell whether a field has a value, or one of a list of values; numbers and truth values may come as text."""
    if isinstance(wanted, (list, tuple)):
        return any(meets(row, column, one) for one in wanted)
    value = row.get(column)
    if value == wanted and isinstance(value, bool) == isinstance(wanted, bool):
        return True
    if wanted is None or wanted == '':
        return value is None or value == ''
    if isinstance(wanted, str):
        if isinstance(value, bool):
            return wanted.lower() == str(value).lower()
        if isinstance(value, (int, float)):
            try:
                return float(wanted) == value
            except ValueError:
                return False
        if column == 'symbol':
            return bool(wanted.upper() == value)
    return False


def condition(name: str, wanted: Any, columns: Dict[str, str]) -> Callable[[Row], bool]:
    """Return the test of one entry of a filter; refuse a column that the table does not have."""
    if name == 'startTime' or name == 'endTime':
        # Times in rows are all of one form, so that they compare as text.
        milliseconds = moment(wanted, '{} is invalid'.format(name)) * 1000
        if name == 'startTime':
            first = iso(ceil(milliseconds - 1e-3) / 1000.0)
            return lambda row: row.get(WHOLE_TIME, '') >= first
        last = iso(floor(milliseconds + 1e-3) / 1000.0)
        return lambda row: row.get(WHOLE_TIME, '') <= last
    if name == 'ordStatus.isTerminated' and 'ordStatus' in columns:
        terminated = truth(wanted, 'filter values are not valid')
        return lambda row: (row.get('ordStatus') in TERMINATED) == terminated
    if name == 'open' and 'ordStatus' in columns:
        is_open = truth(wanted, 'filter values are not valid')
        return lambda row: (row.get('ordStatus') not in TERMINATED) == is_open
    if name.startswith('timestamp.'):
        return part_of_time(name[len('timestamp.'):], wanted)
    if name == 'pool' and 'pool' in columns:
        # All there is lies in the primary pool, so that one and all together are the same.
        return lambda row: any(one in (PRIMARY_POOL, ALL_POOLS) for one in (wanted if isinstance(wanted, list)
                                                                            else [wanted]))
    if name not in columns:
        raise Refusal(400, 'filter columns are not valid')
    if isinstance(wanted, dict):
        raise Refusal(400, 'filter values are not valid')
    if columns[name] == 'timestamp':
        wanted = as_stamp(wanted)
    if columns[name] in EXACT and name != 'symbol':
        # most filters look for a word or an id, in tables of thousands of rows
        words = [wanted] if isinstance(wanted, str) else wanted
        if isinstance(words, list) and all(isinstance(one, str) and one for one in words):
            return lambda row: row.get(name) in words
    return lambda row: meets(row, name, wanted)


def as_stamp(wanted: Any) -> Any:
    """Return a time in the form in which rows have it, whatever form it was sent in; also several of them."""
    if isinstance(wanted, list):
        return [as_stamp(one) for one in wanted]
    seconds = seconds_of(wanted)
    return wanted if seconds is None else iso(seconds)


def part_of_time(part: str, wanted: Any) -> Callable[[Row], bool]:
    """Return the test of a part of a row's timestamp: {"timestamp.time": "12:00", "timestamp.ww": 6} are Fridays at
    noon.

    A time of day that names no seconds means the full minute, as on BitMEX's page on REST queries.
    """
    if part == 'time':
        text = str(wanted)
        return lambda row: row.get(WHOLE_TIME, '')[11:].startswith(text) and not any(
            digit in '123456789' for digit in row[WHOLE_TIME][11 + len(text):])
    if part in TEXT_PARTS:
        begin, end = TEXT_PARTS[part]
        if not isinstance(wanted, str):
            raise Refusal(400, 'filter values are not valid')
        return lambda row: bool(row.get(WHOLE_TIME, '')[begin:end] == wanted)
    if part in NUMBER_PARTS:
        begin, end = NUMBER_PARTS[part]
        number = whole_between(wanted, 0, 9999, 'filter values are not valid')
        return lambda row: bool(row.get(WHOLE_TIME)) and int(row[WHOLE_TIME][begin:end]) == number
    if part == 'ww':
        day = whole_between(wanted, 0, 6, 'filter values are not valid')
        return lambda row: bool(row.get(WHOLE_TIME)) and days_of(row[WHOLE_TIME]) % 7 == (day + SATURDAY) % 7
    if part == 'week':
        seconds = seconds_of(wanted)
        if seconds is None:
            raise Refusal(400, 'filter values are not valid')
        day = days_of(iso(seconds))
        monday = day - (day - MONDAY) % 7
        return lambda row: bool(row.get(WHOLE_TIME)) and 0 <= days_of(row[WHOLE_TIME]) - monday < 7
    raise Refusal(400, 'filter columns are not valid')


def days_of(stamp: str) -> int:
    """Return the number of the day of a row's timestamp, counted from the year 1; a Monday's is one more than a
    multiple of 7.
    """
    return date(int(stamp[:4]), int(stamp[5:7]), int(stamp[8:10])).toordinal()


def read_filter(value: Any) -> Dict[str, Any]:
    """Return a ``filter`` parameter (JSON object, as text or not) as a dict."""
    wanted = json_value(value, 'filter values are not valid')
    if not isinstance(wanted, dict):
        raise Refusal(400, 'filter values are not valid')
    return wanted


def conditions(wanted: Dict[str, Any], columns: Dict[str, str]) -> List[Callable[[Row], bool]]:
    """Return the tests of a filter."""
    return [condition(name, one, columns) for name, one in sorted(wanted.items())]


def is_about_open_orders(wanted: Dict[str, Any]) -> bool:
    """Tell whether a filter leaves nothing of finished orders."""
    return wanted.get('open') in (True, 'true') or wanted.get('ordStatus.isTerminated') in (False, 'false')


# -- the whole -------------------------------------------------------------------------------------


def read_columns(value: Any, known: Iterable[str], keys: List[str]) -> Optional[List[str]]:
    """Return the wanted columns (JSON array or comma list), key columns first; None, for all, when none is named."""
    if not given(value):
        return None
    names = json_value(value, 'columns are not valid') if isinstance(value,
                                                                     str) and value.lstrip()[:1] in '[{"' else value
    if isinstance(names, str):
        names = [name.strip() for name in names.split(',')]
    if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
        raise Refusal(400, 'columns are not valid')
    return [name for name in keys if name not in names] + names if names else None


class Query(object):
    """What the parameters of a table request ask for; Refusal 400 with BitMEX's text for a bad one.

    ``newest_first``, ``named`` (the test of symbols, None for all of them) and ``only_open`` (no finished orders) tell
    the reader of a table which rows to come with, and in which order; ``pick`` takes of them what is wanted.
    """

    def __init__(self, params: Dict[str, Any], columns: Dict[str, str], keys: List[str], instruments: Any,
                 most: int = MOST_ROWS, default_count: int = DEFAULT_COUNT, newest_first: bool = False) -> None:
        self._tests = []  # type: List[Callable[[Row], bool]]
        self.only_open = False
        self.named = None  # type: Optional[Callable[[Any], bool]]
        if given(params.get('symbol')):
            self.named = named = symbols_of(params['symbol'], instruments)
            self._tests.append(lambda row: named(row.get('symbol')))
        if given(params.get('filter')):
            wanted = read_filter(params['filter'])
            self._tests.extend(conditions(wanted, columns))
            self.only_open = is_about_open_orders(wanted)
        for name in ('startTime', 'endTime'):
            if given(params.get(name)):
                self._tests.append(condition(name, params[name], columns))
        self._columns = read_columns(params.get('columns'), columns, keys)
        self._count = default_count
        if given(params.get('count')):
            self._count = whole_between(params['count'], 0, most, 'count is invalid')
        self._start = 0
        if given(params.get('start')):
            self._start = whole_between(params['start'], 0, 10 ** 9, 'start is invalid')
        self.newest_first = newest_first
        if given(params.get('reverse')):
            self.newest_first = truth(params['reverse'], 'reverse is invalid')

    def pick(self, rows: Iterable[Row]) -> List[Row]:
        """Return the wanted ones of rows that come in the wanted order; none is looked at beyond the last wanted one.
        """
        for test in self._tests:
            rows = filter(test, rows)
        wanted = self._columns
        return [row if wanted is None else {name: row[name] for name in wanted if name in row}
                for row in islice(rows, self._start, self._start + self._count)]


def select(rows: Iterable[Row], params: Dict[str, Any], columns: Dict[str, str], keys: List[str], instruments: Any,
           most: int = MOST_ROWS, default_count: int = DEFAULT_COUNT, newest_first: bool = False) -> List[Row]:
    """Return the rows that a table request asks for, of rows that are handed in oldest first."""
    query = Query(params, columns, keys, instruments, most, default_count, newest_first)
    return query.pick(reversed(list(rows)) if query.newest_first else rows)
