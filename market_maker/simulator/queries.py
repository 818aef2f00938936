"""The common parameters of BitMEX's table requests: symbol, filter, columns, count, start, reverse, startTime, endTime.

Pure.  Rows are handed in oldest first; what comes out are rows that belong to the caller of the request: fresh dicts
where columns were chosen, else the shared ones.
"""
import json
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple  # noqa: F401

from market_maker.simulator.orders import given, real
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.schema import ALL_POOLS, PRIMARY_POOL
from market_maker.simulator.timestamps import seconds_of

DEFAULT_COUNT = 100
MOST_ROWS = 500
TERMINATED = ('Filled', 'Canceled', 'Rejected', 'Expired', 'DoneForDay')
TIMEFRAMES = ('nearest', 'daily', 'weekly', 'monthly', 'quarterly', 'biquarterly', 'perpetual')
WHOLE_TIME = 'timestamp'

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
    series = [instrument for instrument in instruments.values()
              if not instrument.is_index and instrument.row['rootSymbol'] == root.upper()]
    if timeframe and timeframe.lower() not in TIMEFRAMES:
        raise Refusal(400, 'Invalid symbol')
    dated = sorted((instrument for instrument in series if instrument.expires is not None),
                   key=lambda instrument: instrument.expires)
    perpetuals = [instrument for instrument in series if instrument.expires is None]
    if timeframe.lower() == 'perpetual':
        wanted = perpetuals
    elif timeframe and timeframe.lower() not in ('nearest', 'weekly'):
        wanted = []
    else:
        wanted = dated[:1] or perpetuals[:1]
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
        if isinstance(value, str) and seconds_of(value) is not None:
            return seconds_of(wanted) == seconds_of(value)
    return False


def condition(name: str, wanted: Any, columns: Iterable[str]) -> Callable[[Row], bool]:
    """Return the test of one entry of a filter; refuse a column that the table does not have."""
    if name == 'startTime' or name == 'endTime':
        bound = moment(wanted, '{} is invalid'.format(name))
        if name == 'startTime':
            return lambda row: (seconds_of(row.get(WHOLE_TIME)) or 0) >= bound
        return lambda row: (seconds_of(row.get(WHOLE_TIME)) or 0) <= bound
    if name == 'ordStatus.isTerminated' and 'ordStatus' in columns:
        terminated = truth(wanted, 'filter values are not valid')
        return lambda row: (row.get('ordStatus') in TERMINATED) == terminated
    if name == 'open' and 'ordStatus' in columns:
        is_open = truth(wanted, 'filter values are not valid')
        return lambda row: (row.get('ordStatus') not in TERMINATED) == is_open
    if name == 'timestamp.date':
        return lambda row: str(row.get(WHOLE_TIME, ''))[:10] == wanted
    if name == 'timestamp.time':
        return lambda row: str(row.get(WHOLE_TIME, ''))[11:].startswith(str(wanted)) and _rest_is_zero(row, str(wanted))
    if name == 'pool' and 'pool' in columns:
        # All there is lies in the primary pool, so that one and all together are the same.
        return lambda row: any(one in (PRIMARY_POOL, ALL_POOLS) for one in (wanted if isinstance(wanted, list)
                                                                            else [wanted]))
    if name not in columns:
        raise Refusal(400, 'filter columns are not valid')
    if isinstance(wanted, dict):
        raise Refusal(400, 'filter values are not valid')
    return lambda row: meets(row, name, wanted)


def _rest_is_zero(row: Row, wanted: str) -> bool:
    """A time of day that names no seconds means the full minute, as in BitMEX's page on REST queries."""
    rest = str(row.get(WHOLE_TIME, ''))[11 + len(wanted):]
    return not any(digit in '123456789' for digit in rest)


def read_filter(value: Any, columns: Iterable[str]) -> List[Callable[[Row], bool]]:
    """Return the tests of a ``filter`` parameter (JSON object, as text or not)."""
    wanted = json_value(value, 'filter values are not valid')
    if not isinstance(wanted, dict):
        raise Refusal(400, 'filter values are not valid')
    return [condition(name, one, columns) for name, one in sorted(wanted.items())]


# -- the whole -------------------------------------------------------------------------------------


def read_columns(value: Any, known: Iterable[str], keys: List[str]) -> Optional[List[str]]:
    """Return the wanted columns (JSON array or comma list), key columns first; None for all."""
    if not given(value):
        return None
    names = json_value(value, 'columns are not valid') if isinstance(value,
                                                                     str) and value.lstrip()[:1] in '[{"' else value
    if isinstance(names, str):
        names = [name.strip() for name in names.split(',')]
    if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
        raise Refusal(400, 'columns are not valid')
    return [name for name in keys if name not in names] + names


def select(rows: Iterable[Row], params: Dict[str, Any], columns: Iterable[str], keys: List[str], instruments: Any,
           most: int = MOST_ROWS, default_count: int = DEFAULT_COUNT, newest_first: bool = False) -> List[Row]:
    """Return the rows that the parameters of a table request ask for; Refusal 400 with BitMEX's text for a bad one."""
    tests = []  # type: List[Callable[[Row], bool]]
    if given(params.get('symbol')):
        named = symbols_of(params['symbol'], instruments)
        tests.append(lambda row: named(row.get('symbol')))
    if given(params.get('filter')):
        tests.extend(read_filter(params['filter'], columns))
    for name in ('startTime', 'endTime'):
        if given(params.get(name)):
            tests.append(condition(name, params[name], columns))
    wanted = read_columns(params.get('columns'), columns, keys)
    count = default_count
    if given(params.get('count')):
        count = whole_between(params['count'], 0, most, 'count is invalid')
    start = whole_between(params['start'], 0, 10 ** 9, 'start is invalid') if given(params.get('start')) else 0
    if given(params.get('reverse')):
        newest_first = truth(params['reverse'], 'reverse is invalid')
    if newest_first:
        rows = reversed(list(rows))
    found = []  # type: List[Row]
    for row in rows:
        if all(test(row) for test in tests):
            if start:
                start -= 1
                continue
            if len(found) >= count:
                break
            found.append(row if wanted is None else {name: row[name] for name in wanted if name in row})
    return found
