"""What every injected trouble has: a name, options that are checked, whom it strikes, and a count of its hits.

A fault belongs to the event loop's thread, once it is switched on.  Its random numbers come from a generator of its
own, seeded by the seed of the exchange, its name and how many were switched on before it: the same requests in the same
order meet the same trouble.
"""
import random
from difflib import get_close_matches
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.utils.errors import SettingsError

Check = Callable[[Any], Any]
Options = Dict[str, Tuple[Any, Check]]   # name -> default, and what turns a given value into a usable one

LONGEST = 86400.0   # seconds that any option may ask for


# Kinds of options.  Each takes what was given (a value, or its text from a command line) and raises ValueError with
# what it wants instead.

def number(low: float, high: float) -> Check:
    """Return a check for a number between ``low`` and ``high``."""
    def check(value: Any) -> float:
        try:
            made = None if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            made = None
        if made is None or not low <= made <= high:
            raise ValueError('a number from {:g} to {:g}'.format(low, high))
        return made
    return check


def whole(low: int, high: int) -> Check:
    """Return a check for a whole number between ``low`` and ``high``."""
    def check(value: Any) -> int:
        try:
            made = None if isinstance(value, bool) or int(value) != float(value) else int(value)
        except (TypeError, ValueError, OverflowError):
            made = None
        if made is None or not low <= made <= high:
            raise ValueError('a whole number from {} to {}'.format(low, high))
        return made
    return check


def flag(value: Any) -> bool:
    """Return True or False, given as such or as text."""
    text = str(value).lower()
    if text not in ('true', 'false', '1', '0'):
        raise ValueError('true or false')
    return text in ('true', '1')


def text(value: Any) -> str:
    """Return a text of reasonable length."""
    if not isinstance(value, str) or not 0 < len(value) <= 1000:
        raise ValueError('a text of 1 to 1000 characters')
    return value


def one_of(*choices: str) -> Check:
    """Return a check for one of some words."""
    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError('one of {}'.format(', '.join(choices)))
        return str(value)
    return check


def words(*choices: str) -> Check:
    """Return a check for one or several words: a list, or text joined by +.  Without ``choices`` any word will do."""
    def check(value: Any) -> Tuple[str, ...]:
        many = value.split('+') if isinstance(value, str) else value
        if not isinstance(many, (list, tuple)) or not many or not all(
                isinstance(word, str) and word and (not choices or word in choices) for word in many):
            raise ValueError('one or several{}, joined by +'.format(' of ' + ', '.join(choices) if choices else ''))
        return tuple(many)
    return check


def someone(value: Any) -> Any:
    """Return an API key or the number of an account."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value:
        return int(value) if value.isdigit() else value
    raise ValueError('an API key or the number of an account')


class Fault(object):
    """One kind of trouble, switched on: ``begin`` and ``end`` are called once each by the board that holds it.

    ``options`` are complete and checked.  ``hits`` counts what it struck.
    """

    name = ''              # as it is switched on; set by the catalogue
    OPTIONS = {}           # type: Options
    COMMON = {
        'account': (None, someone), 'seconds': (None, number(0.001, LONGEST)),
        'rate': (1.0, number(0.0, 1.0)), 'count': (None, whole(1, 10 ** 9)), 'skip': (0, whole(0, 10 ** 9)),
    }  # type: Options

    strikes_requests = False
    strikes_streams = False
    strikes_upgrades = False

    def __init__(self, server: Any, options: Dict[str, Any], rng: random.Random) -> None:
        self.server = server
        self.options = options
        self.rng = rng
        self.seen = 0      # what it could have struck
        self.hits = 0
        self.is_on = False

    def begin(self) -> None:
        """Take effect; the event loop runs."""

    def end(self) -> None:
        """Take the effect back, as far as it can be taken back."""

    @property
    def is_spent(self) -> bool:
        """Return whether it has struck as often as it was asked to."""
        return self.options['count'] is not None and self.hits >= self.options['count']

    def strikes(self) -> bool:
        """Count one thing that it concerns, and decide by ``skip``, ``rate`` and ``count`` whether to strike."""
        self.seen += 1
        if self.seen <= self.options['skip'] or self.is_spent:
            return False
        rate = self.options['rate']
        if rate < 1 and self.rng.random() >= rate:
            return False
        self.hits += 1
        return True

    def is_for(self, account: Any) -> bool:
        """Return whether it concerns an account (None: whoever did not say who he is)."""
        wanted = self.options['account']
        if wanted is None:
            return True
        return account is not None and (account.id == wanted or any(key.key == wanted for key in account.keys))

    def row(self) -> Dict[str, Any]:
        """Return name, options that were given a value, and counts, as plain data."""
        return {'fault': self.name, 'hits': self.hits,
                'options': {name: value for name, value in self.options.items() if value is not None}}


def checked(name: str, known: Options, presets: Dict[str, Any], given: Dict[str, Any]) -> Dict[str, Any]:
    """Return all options of the fault ``name``; raise SettingsError for one that it has not, or with a bad value."""
    options = {option: presets.get(option, default) for option, (default, _) in known.items()}
    for option, value in given.items():
        if option not in known:
            nearest = get_close_matches(option, list(known), 1)
            raise SettingsError('fault {} has no option {!r}: {}it has {}'.format(
                name, option, 'did you mean {}? '.format(nearest[0]) if nearest else '', ', '.join(sorted(known))))
        if value is None:
            continue
        try:
            options[option] = known[option][1](value)
        except ValueError as error:
            raise SettingsError('fault {}: {} is {!r}; take {}'.format(name, option, value, error))
    for option, value in options.items():
        if value is REQUIRED:
            raise SettingsError('fault {} needs {}'.format(name, option))
    return options


REQUIRED = object()   # the default of an option that must be given
