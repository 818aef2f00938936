"""What every setting must be: type, range, and sense beside the others.  Pure: values in, sentences out."""
from __future__ import absolute_import

import difflib
import re
import types
from collections import namedtuple
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.utils import constants

SYMBOL_SHAPE = re.compile(r'\.?[A-Za-z0-9_]{2,30}\Z')
URL_SHAPE = re.compile(r'https?://(?:[^/?#@]*@)?(\[[0-9A-Fa-f:.]+\]|[^/?#:@\s]+)(?::(\d+))?(?:[/?#]|\Z)')
SECRET_NAMES = ('API_KEY', 'API_SECRET')
LEVELS = ('DEBUG', 'INFO', 'WARNING', 'WARN', 'ERROR', 'CRITICAL', 'FATAL', 'NOTSET')
MARKETS = ('simulated', 'lively', 'still')

# A predicate, the words for it, and whether nothing but the built-in ladder depends on the setting.
Rule = namedtuple('Rule', 'holds wanted ladder')


def check(values: Any, known: List[str], origins: Dict[str, str], place: Callable[[str, str], str],
          strict: bool) -> Tuple[List[str], List[str]]:
    """Return the faults and the warnings, a line each: place, name, value, and what is wanted.

    ``known`` are the names of the defaults, ``origins`` says which file (or other place) set a name, and
    ``place(origin, name)`` puts that into words.  ``strict`` is for the built-in strategy: a name that nearly is a
    known one, or a ladder that makes no sense, is a fault; under a user's strategy, which may use these names in its
    own way, it is a warning.
    """
    def where(name):
        # type: (str) -> str
        return place(origins[name], name) + ': ' if name in origins else ''

    faults = []    # type: List[str]
    warnings = []  # type: List[str]
    for name in sorted(RULES):
        rule, value = RULES[name], values.get(name)
        if not rule.holds(value):
            line = '{}{} is {}; it must be {}'.format(where(name), name, shown(name, value), rule.wanted)
            (faults if strict or not rule.ladder else warnings).append(line)
    for fatal, line in _contradictions(values, where):
        (faults if strict or fatal else warnings).append(line)
    for name in sorted(origins):
        near = _misspelt(name, values.get(name), known)
        if near:
            (faults if strict else warnings).append(
                '{}{} is no setting; did you mean {}?'.format(where(name), name, near))
    return faults, warnings


def shown(name: str, value: Any) -> str:
    """Return a value as text; of a key or a secret only its length."""
    if name not in SECRET_NAMES or value is None:
        return repr(value)
    size = ' of {} characters'.format(len(value)) if isinstance(value, (str, bytes)) else ''
    return '<{}{}>'.format(type(value).__name__, size)


def nearest(name: str, known: List[str], cutoff: float) -> Optional[str]:
    """Return the known name that is most like this one, or None when none is like it."""
    near = difflib.get_close_matches(name, known, 1, cutoff)
    return near[0] if near else None


def is_loopback(url: Any) -> bool:
    """Tell whether a URL names this machine."""
    host = (_host(url) or '').lower()
    return host in ('localhost', '::1') or bool(re.match(r'127(\.\d{1,3}){3}\Z', host))


def _contradictions(values, where):
    # type: (Any, Callable[[str], str]) -> List[Tuple[bool, str]]
    """Return what is fine alone and wrong together: whether that is fatal under every strategy, and the line."""
    found = []  # type: List[Tuple[bool, str]]
    for low, high, in_use in (('MIN_POSITION', 'MAX_POSITION', bool(values.get('CHECK_POSITION_LIMITS'))),
                              ('MIN_ORDER_SIZE', 'MAX_ORDER_SIZE', False)):
        if _is_number(values.get(low)) and _is_number(values.get(high)) and values.get(low) > values.get(high):
            found.append((in_use, '{}{} {} is greater than {} {}: exchange the two or widen them'.format(
                where(low) or where(high), low, values.get(low), high, values.get(high))))
    is_elsewhere = _host(values.get('BASE_URL')) and not is_loopback(values.get('BASE_URL'))
    if is_elsewhere and not values.get('DRY_RUN'):   # which does without an account where there is no key
        for name in SECRET_NAMES:
            if not values.get(name):
                found.append((True, '{}{} is empty and BASE_URL {} is not this machine: set it, or BITMEX_{} in the '
                              'environment, or use --local'.format(where(name), name, values.get('BASE_URL'), name)))
    return found


def _misspelt(name, value, known):
    # type: (str, Any, List[str]) -> Optional[str]
    """Return the known name that a user's name was probably meant to be, or None."""
    if name in known or name.startswith('_') or isinstance(value, types.ModuleType) or callable(value):
        return None
    return nearest(name.upper(), known, cutoff=0.85)


def _host(url):
    # type: (Any) -> Optional[str]
    """Return the host of a URL, or None where there is none or its port is no port."""
    parts = URL_SHAPE.match(url) if _is_text(url) else None
    if not parts or not 0 < int(parts.group(2) or 1) < 65536:
        return None
    return parts.group(1).strip('[]')


def _is_number(value):
    # type: (Any) -> bool
    """Tell whether it is a finite number other than True and False; numpy's and Decimal's are."""
    if isinstance(value, (bool, str, bytes)):
        return False
    try:
        return abs(float(value)) < float('inf')  # nan is less than nothing
    except (TypeError, ValueError, OverflowError):
        return False


def _is_text(value):
    # type: (Any) -> bool
    return isinstance(value, str)


def _is_texts(value):
    # type: (Any) -> bool
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(item, str) for item in value)


def _is_level(value):
    # type: (Any) -> bool
    if isinstance(value, str):
        return value in LEVELS
    return _is_number(value) and value == int(value) and value >= 0


def _number(words, lowest=None, above=None, below=None, whole=False, ladder=False):
    # type: (str, Optional[float], Optional[float], Optional[float], bool, bool) -> Rule
    def holds(value):
        # type: (Any) -> bool
        return (_is_number(value) and not (whole and value != int(value))
                and (lowest is None or value >= lowest)
                and (above is None or value > above)
                and (below is None or value < below))
    return Rule(holds, words, ladder)


def _or_none(rule):
    # type: (Rule) -> Rule
    return rule._replace(holds=lambda value: value is None or rule.holds(value))


_FLAG = Rule(lambda value: isinstance(value, (int, float)) and value in (0, 1), 'True or False', False)
_LADDER_FLAG = _FLAG._replace(ladder=True)
_FRACTION = _number('a fraction from 0 to below 1 (0.01 is 1 %)', lowest=0, below=1, ladder=True)
_SIZE = _number('a whole number of contracts, 1 or more', lowest=1, whole=True, ladder=True)
_POSITION = _number('a whole number of contracts', whole=True, ladder=True)
_SECONDS = _number('a number of seconds, 0 or more', lowest=0)
_SOME_SECONDS = _number('a number of seconds above 0', above=0)
_COUNT_OR_NONE = _or_none(_number('a whole number, 1 or more, or None', lowest=1, whole=True))
_AMOUNT_OR_NONE = _or_none(_number("an amount above 0 in the contract's settlement currency, or None", above=0))
_LEAST = _number('a fraction from 0 to below 1 (0.1 is 10 %; 0 for no limit)', lowest=0, below=1)
_TEXT_OR_NONE = Rule(lambda value: value is None or _is_text(value), 'text', False)

RULES = {
    'BASE_URL': Rule(lambda value: bool(_host(value)), 'a URL like ' + repr(constants.LOCAL_BASE_URL), False),
    'API_KEY': _TEXT_OR_NONE,
    'API_SECRET': _TEXT_OR_NONE,
    'LOCAL_MARKET': Rule(lambda value: value in MARKETS, ' or '.join(repr(market) for market in MARKETS), False),
    'LOCAL_SEED': Rule(lambda value: value is None or isinstance(value, int), 'a whole number or None', False),
    'SYMBOL': Rule(lambda value: _is_text(value) and bool(SYMBOL_SHAPE.match(value)), "a symbol like 'XBTUSD'", False),
    'ORDER_PAIRS': _number('a whole number, 1 or more', lowest=1, whole=True, ladder=True),
    'ORDER_START_SIZE': _SIZE,
    'ORDER_STEP_SIZE': _number('a whole number of contracts, 0 or more', lowest=0, whole=True, ladder=True),
    'INTERVAL': _FRACTION,
    'MIN_SPREAD': _FRACTION,
    'RELIST_INTERVAL': _FRACTION,
    'MAINTAIN_SPREADS': _LADDER_FLAG,
    'RANDOM_ORDER_SIZE': _LADDER_FLAG,
    'MIN_ORDER_SIZE': _SIZE,
    'MAX_ORDER_SIZE': _SIZE,
    'CHECK_POSITION_LIMITS': _FLAG,
    'MIN_POSITION': _POSITION,
    'MAX_POSITION': _POSITION,
    'ORDER_SIZE_LIMIT': _COUNT_OR_NONE,
    'ORDER_COUNT_LIMIT': _COUNT_OR_NONE,
    'PRICE_BAND': _or_none(_number('a fraction above 0 and below 1 (0.1 is 10 %), or None', above=0, below=1)),
    'LOSS_LIMIT': _AMOUNT_OR_NONE,
    'DRAWDOWN_LIMIT': _AMOUNT_OR_NONE,
    'DAILY_LOSS_LIMIT': _AMOUNT_OR_NONE,
    'FREE_MARGIN_LIMIT': _LEAST,
    'LIQUIDATION_LIMIT': _LEAST,
    'FILLED_LIMIT': _COUNT_OR_NONE,
    'FILLED_WINDOW': _SOME_SECONDS,
    'MOVE_LIMIT': _or_none(_number('a fraction above 0 and below 1 (0.01 is 1 %), or None', above=0, below=1)),
    'MOVE_WINDOW': _SOME_SECONDS,
    'POST_ONLY': _FLAG,
    'DRY_RUN': _FLAG,
    'DRY_BTC': _number('an amount of XBT, 0 or more', lowest=0),
    'LOOP_INTERVAL': _SECONDS,
    'QUOTE_ON_CHANGE': _FLAG,
    'MIN_LOOP_INTERVAL': _SECONDS,
    'API_REST_INTERVAL': _SECONDS,
    'API_ERROR_INTERVAL': _SECONDS,
    'TIMEOUT': _SOME_SECONDS,
    'CONNECT_TIMEOUT': _SOME_SECONDS,
    'HEARTBEAT': _SOME_SECONDS,
    'STALE_AFTER': _SOME_SECONDS,
    'ECHO_TIMEOUT': _SOME_SECONDS,
    'AUDIT_INTERVAL': _SECONDS,
    'LOOP_STALL': _SOME_SECONDS,
    'DEADMAN_TIMEOUT': Rule(lambda value: value is None or _is_number(value) and (value == 0 or value >= 1),
                            'None, 0 or a number of seconds from 1', False),
    'DEADMAN_DESPITE_FOREIGN_ORDERS': _FLAG,
    'KEEP_ORDERS_ON_EXIT': _FLAG,
    'LOG_LEVEL': Rule(_is_level, 'a level of logging, such as logging.INFO', False),
    'LOG_FILE': Rule(lambda value: value is None or _is_text(value), 'a path or None', False),
    'ORDERID_PREFIX': Rule(lambda value: _is_text(value) and 0 < len(value) <= constants.ORDERID_PREFIX_LIMIT,
                           'text of 1 to {} characters'.format(constants.ORDERID_PREFIX_LIMIT), False),
    'WATCHED_FILES': Rule(_is_texts, 'a list of paths', False),
    'CONTRACTS': Rule(_is_texts, "a list of symbols like ['XBTUSD']", False),
}
