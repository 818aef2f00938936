"""What may be given: kinds of values that faults, and whoever controls the exchange, are asked for.

Pure.  A check takes what was given (a value, or its text from a command line) and returns what can be used; it raises
ValueError with what it wants instead.
"""
from difflib import get_close_matches
from typing import Any, Callable, Dict, Optional, Sequence, Tuple  # noqa: F401

from market_maker.utils.errors import SettingsError

Check = Callable[[Any], Any]
Options = Dict[str, Tuple[Any, Check]]   # name -> default, and what turns a given value into a usable one

LONGEST = 86400.0     # seconds that anybody may ask for
REQUIRED = object()   # the default of a value that must be given


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
    """Return a check for one of some words; one that looks like a number may be given as such."""
    def check(value: Any) -> str:
        if str(value) not in choices:
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


def checked(what: str, known: Options, given: Dict[str, Any], noun: str = 'option') -> Dict[str, Any]:
    """Return all values of ``what``, those that were not given by default.

    Raise SettingsError for one that is not known, has a bad value, or is missing; None counts as not given.
    """
    values = {name: default for name, (default, _) in known.items()}
    for name, value in given.items():
        if name not in known:
            nearest = get_close_matches(str(name), list(known), 1)
            raise SettingsError('{} has no {} {!r}: {}{}'.format(
                what, noun, name, 'did you mean {}? '.format(nearest[0]) if nearest else '',
                'it has {}'.format(', '.join(sorted(known))) if known else 'it takes none'))
        if value is None:
            continue
        try:
            values[name] = known[name][1](value)
        except ValueError as error:
            raise SettingsError('{}: {} is {!r}; take {}'.format(what, name, value, error))
    for name, value in values.items():
        if value is REQUIRED:
            raise SettingsError('{} needs {}'.format(what, name))
    return values
