"""The settings of this run: one mutable object, read from the files at its first use.

Importing this module reads nothing of the user's.  The first read loads, each over the one before: the defaults, ``settings.py`` of the
working folder, ``settings-SYMBOL.py`` when the command line names a symbol (working folder first, then its parent), the
environment, and ``--local`` or ``--base-url`` of the command line.  What a program assigns later is what everybody reads from then on.
"""
from __future__ import absolute_import, print_function

import contextlib
import copy
import difflib
import logging
import os
import re
import stat
import sys
import threading
import traceback
import types
from collections import namedtuple
from typing import Any, Dict, Iterator, List, Optional  # noqa: F401

from market_maker import _settings_base
from market_maker.utils import constants
from market_maker.utils.errors import SettingsError

logger = logging.getLogger('root')

ENVIRONMENT = (('BITMEX_API_KEY', 'API_KEY'), ('BITMEX_API_SECRET', 'API_SECRET'), ('BITMEX_BASE_URL', 'BASE_URL'))
SYMBOL_SHAPE = re.compile(r'\.?[A-Za-z0-9_]{2,30}\Z')
SECRET_NAMES = ('API_KEY', 'API_SECRET')

# What the command line says about the settings; None and False where it says nothing.
CommandLine = namedtuple('CommandLine', 'symbol local base_url')


class Settings(dict):
    """The settings, by attribute or by key; a name that nobody set reads as None and is warned of once.

    User names of any kind live beside ours, so the object keeps no public names but those of a dict and ``override``.
    """

    def __init__(self):
        # type: () -> None
        dict.__init__(self)
        self.__dict__['_state'] = _State()

    def __getattr__(self, name):
        # type: (str) -> Any
        self._load()
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        self._warn_unknown(name)
        return None

    def __setattr__(self, name, value):
        # type: (str, Any) -> None
        self[name] = value

    def __delattr__(self, name):
        # type: (str) -> None
        del self[name]

    def __setitem__(self, name, value):
        # type: (Any, Any) -> None
        self._load()
        self._state.origins.pop(name, None)
        dict.__setitem__(self, name, value)

    def __repr__(self):
        # type: () -> str
        self._load()
        shown = sorted((str(name), value) for name, value in dict.items(self) if str(name).isupper())
        return '<settings: {}>'.format(', '.join('{}={}'.format(name, _shown(name, value)) for name, value in shown))

    @contextlib.contextmanager
    def override(self, **values):
        # type: (**Any) -> Iterator[Settings]
        """Set these names for the length of a ``with`` block; afterwards they are what they were, or absent again."""
        self._load()
        before = dict((name, dict.__getitem__(self, name)) for name in values if dict.__contains__(self, name))
        origins = dict(self._state.origins)
        self.update(values)
        try:
            yield self
        finally:
            for name in values:
                if name in before:
                    dict.__setitem__(self, name, before[name])
                else:
                    dict.pop(self, name, None)
            self._state.origins = origins

    def update(self, *args, **kwargs):  # type: ignore[override]
        # type: (*Any, **Any) -> None
        """Set several names, as dict.update does."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def _load(self):
        # type: () -> None
        """Read everything, once; a file that cannot be used raises SettingsError and leaves nothing half-read."""
        state = self._state
        if state.loaded:
            return
        with state.lock:  # held while the files run; a settings.py that reads the settings itself sees what is there so far
            if state.loaded or state.loading:
                return
            state.loading = True
            try:
                _read_everything(self, state.origins)
                state.loaded = True
            finally:
                state.loading = False
                if not state.loaded:
                    dict.clear(self)
                    state.origins.clear()

    def _warn_unknown(self, name):
        # type: (str) -> None
        """Say once that a name reads as None; names with an underscore in front are other libraries' probes."""
        if name.startswith('_') or name in self._state.warned:
            return
        self._state.warned.add(name)
        near = _nearest(name, [known for known in dict.keys(self) if isinstance(known, str)], cutoff=0.6)
        hint = '; the nearest name is {}'.format(near) if near else ''
        logger.warning('The setting %s is not set anywhere and reads as None%s.', name, hint)


def _loading_first(method):
    # type: (str) -> Any
    """Return dict's method of that name, preceded by the loading of the files."""
    original = getattr(dict, method)

    def call(self, *args, **kwargs):
        # type: (Settings, *Any, **Any) -> Any
        self._load()
        return original(self, *args, **kwargs)
    call.__name__ = method
    call.__doc__ = original.__doc__
    return call


for _method in ('__getitem__', '__contains__', '__iter__', '__len__', '__delitem__', '__eq__', '__ne__', 'get', 'keys', 'values', 'items',
                'copy', 'pop', 'popitem', 'setdefault', 'clear'):
    setattr(Settings, _method, _loading_first(_method))


class _State(object):
    """What the settings object knows about itself."""

    def __init__(self):
        # type: () -> None
        self.lock = threading.RLock()
        self.loaded = False
        self.loading = False
        self.origins = {}    # type: Dict[str, str]  # name -> path of the file, or words for the place, that set it
        self.warned = set()  # type: set  # unknown names that were warned of


settings = Settings()


def forget() -> None:
    """Drop everything that was read or assigned; the next read loads the files anew (for tests and long-lived programs)."""
    with settings._state.lock:
        dict.clear(settings)
        settings.__dict__['_state'] = _State()


def working_folder() -> str:
    """Return the folder whose settings.py counts: the current one, or its parent when the current one is this package."""
    folder = os.getcwd()
    package = os.path.dirname(os.path.abspath(__file__))
    return os.path.dirname(folder) if os.path.realpath(folder) == os.path.realpath(package) else folder


def command_line() -> CommandLine:
    """Return what ``sys.argv`` says: the symbol in first place (upper-cased), ``--local``, ``--base-url URL``; scripts have it too."""
    arguments = list(getattr(sys, 'argv', []))[1:]
    symbol = arguments[0].upper() if arguments and SYMBOL_SHAPE.match(arguments[0]) else None
    base_url = None
    for position, argument in enumerate(arguments):
        if argument.startswith('--base-url='):
            base_url = argument.split('=', 1)[1]
        elif argument == '--base-url' and position + 1 < len(arguments):
            base_url = arguments[position + 1]
    return CommandLine(symbol, '--local' in arguments, base_url)


def import_path(fullpath: str) -> types.ModuleType:
    """Run the Python file at that path (with or without ``.py``) and return it as a module, named after the file.

    A plain ``import`` of that name finds the same module afterwards.  Raise SettingsError with file and line when it cannot be read
    or run.
    """
    path = os.path.abspath(fullpath if fullpath.endswith('.py') else fullpath + '.py')
    name = os.path.splitext(os.path.basename(path))[0]
    known = sys.modules.get(name)
    if known is not None and os.path.abspath(getattr(known, '__file__', None) or '') == path:
        module = known  # read again in place: whoever imported it before sees the new values
    else:
        module = types.ModuleType(name)
        module.__file__ = path
    code = _compiled(path)
    if known is None:
        sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except SettingsError:
        raise
    except Exception as error:
        if known is None:
            sys.modules.pop(name, None)
        raise SettingsError('{}: {}: {}'.format(_place(path, _line_in(path, error)), type(error).__name__, _one_line(error)))
    return module


def _compiled(path):
    # type: (str) -> Any
    """Compile a file without leaving a cached copy of it (and of the secrets in it) beside it."""
    try:
        with open(path, 'rb') as file:
            return compile(file.read(), path, 'exec', dont_inherit=True)
    except SyntaxError as error:
        text = (error.text or '').strip()
        raise SettingsError('{}: {}{}'.format(_place(path, error.lineno), error.msg, ': ' + _hide_secret(text) if text else ''))
    except (OSError, ValueError) as error:  # ValueError: null bytes
        raise SettingsError('{} cannot be read: {}'.format(_relative(path), getattr(error, 'strerror', None) or error))


def _read_everything(target, origins):
    # type: (Settings, Dict[str, str]) -> None
    for name, value in vars(_settings_base).items():
        if not name.startswith('_'):
            dict.__setitem__(target, name, copy.copy(value) if isinstance(value, list) else value)
    line = command_line()
    folder = working_folder()
    _read_settings_file(target, origins, os.path.join(folder, 'settings.py'))
    if line.symbol:
        _read_symbol_file(target, origins, folder, line.symbol)
    for variable, name in ENVIRONMENT:
        if os.environ.get(variable):
            _set(target, origins, name, os.environ[variable], 'the environment variable ' + variable)
    if line.base_url:
        _set(target, origins, 'BASE_URL', line.base_url, '--base-url')
    elif line.local and not is_loopback(dict.get(target, 'BASE_URL')):
        _set(target, origins, 'BASE_URL', constants.LOCAL_BASE_URL, '--local')


def _read_settings_file(target, origins, path):
    # type: (Settings, Dict[str, str], str) -> None
    if not os.path.lexists(path):
        logger.warning('No settings.py in %s: running on the defaults (`marketmaker setup` writes one).', os.path.dirname(path))
        return
    if not _merge(target, origins, path):
        logger.warning('%s sets nothing: running on the defaults.', path)


def _read_symbol_file(target, origins, folder, symbol):
    # type: (Settings, Dict[str, str], str, str) -> None
    """Read settings-SYMBOL.py; the two lines on stdout are what users of old look for."""
    print('Importing symbol settings for {}...'.format(symbol))
    file_name = 'settings-{}.py'.format(symbol)
    for place in (folder, os.path.dirname(folder)):
        path = os.path.join(place, file_name)
        if os.path.exists(path):
            _merge(target, origins, path)
            return
    print('Unable to find {}.'.format(file_name))


def _merge(target, origins, path):
    # type: (Settings, Dict[str, str], str) -> bool
    """Lay every name of the file over the settings; return whether it has any of its own."""
    names = vars(import_path(path)).copy()
    names.pop('__builtins__', None)
    for name, value in names.items():
        _set(target, origins, name, value, path)
    _warn_readable(names, path)
    return any(not name.startswith('__') for name in names)


def _set(target, origins, name, value, origin):
    # type: (Settings, Dict[str, str], str, Any, str) -> None
    dict.__setitem__(target, name, value)
    origins[name] = origin


def _warn_readable(names, path):
    # type: (Dict[str, Any], str) -> None
    if os.name != 'posix' or not names.get('API_SECRET'):
        return
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        logger.warning('%s holds a secret and others on this machine can read it (mode %04o): chmod 600 %s',
                       _relative(path), mode, _relative(path))


########################################################################################################################
# Validation
########################################################################################################################

Rule = namedtuple('Rule', 'holds wanted ladder')
Rule.__doc__ = """What a setting must be: a predicate, the words for it, and whether only the built-in ladder depends on it."""


def is_loopback(url: Any) -> bool:
    """Tell whether a URL's host is this machine, by its name alone."""
    host = (_host(url) or '').lower()
    return host in ('localhost', '::1') or bool(re.match(r'127(\.\d{1,3}){3}\Z', host))


def validate(values: Any = settings, strict: bool = True) -> None:
    """Check type, range and sense of every setting before anything connects.

    ``strict`` is for the built-in strategy: there a name that nearly is a known one, or a ladder that makes no sense, is an error; under a
    user's strategy, which may use these names in its own way, it is a warning.  Raise SettingsError with a line for each fault: file,
    name, value, and what is wanted.
    """
    faults = []    # type: List[str]
    warnings = []  # type: List[str]
    for name, rule in sorted(RULES.items()):
        value = values.get(name)
        if not rule.holds(value):
            text = '{}{} is {}; it must be {}'.format(_where(values, name), name, _shown(name, value), rule.wanted)
            (faults if strict or not rule.ladder else warnings).append(text)
    if not faults:
        _check_together(values, strict, faults, warnings)
    _check_spelling(values, faults if strict else warnings)
    for text in warnings:
        logger.warning('%s', text)
    if faults:
        raise SettingsError('\n'.join(faults))


def _check_together(values, strict, faults, warnings):
    # type: (Any, bool, List[str], List[str]) -> None
    """Find settings that are fine alone and contradict each other."""
    for low, high, counts in (('MIN_POSITION', 'MAX_POSITION', strict or values.get('CHECK_POSITION_LIMITS')),
                              ('MIN_ORDER_SIZE', 'MAX_ORDER_SIZE', values.get('RANDOM_ORDER_SIZE'))):
        try:
            contradictory = values.get(low) > values.get(high)
        except TypeError:  # warned of already: a user's strategy keeps something of its own under this name
            continue
        if contradictory:
            text = '{}{} {} is greater than {} {}: exchange the two or widen them'.format(
                _where(values, low), low, values.get(low), high, values.get(high))
            (faults if counts else warnings).append(text)
    if not is_loopback(values.get('BASE_URL')):
        for name, variable in (('API_KEY', 'BITMEX_API_KEY'), ('API_SECRET', 'BITMEX_API_SECRET')):
            if not values.get(name):
                faults.append('{}{} is empty and BASE_URL {!r} is not this machine: set it there or in {}, or use --local'.format(
                    _where(values, name), name, values.get('BASE_URL'), variable))


def _check_spelling(values, found):
    # type: (Any, List[str]) -> None
    """Find names of the user's files that nearly are known ones."""
    known = [name for name in vars(_settings_base) if name.isupper()]
    for name, origin in sorted(_origins(values).items()):
        if name in known or name.startswith('_') or isinstance(values.get(name), types.ModuleType) or callable(values.get(name)):
            continue
        near = _nearest(name.upper(), known, cutoff=0.85)
        if near:
            found.append('{}{} is no setting; did you mean {}?'.format(_where(values, name), name, near))


def _whole(lowest, words, ladder=False):
    # type: (Optional[int], str, bool) -> Rule
    return Rule(lambda value: _is_number(value) and value == int(value) and (lowest is None or value >= lowest), words, ladder)


def _number(holds, words, ladder=False):
    # type: (Any, str, bool) -> Rule
    return Rule(lambda value: _is_number(value) and holds(value), words, ladder)


def _is_number(value):
    # type: (Any) -> bool
    """Tell whether it is a finite number that is not True or False; numpy's and Decimal's count."""
    if isinstance(value, (bool, str, bytes)) or value is None:
        return False
    try:
        return abs(float(value)) < float('inf')  # nan is not less than anything
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
        return isinstance(logging.getLevelName(value), int)
    return _is_number(value) and value == int(value) and value >= 0


def _is_url(value):
    # type: (Any) -> bool
    return _is_text(value) and value.startswith(('http://', 'https://')) and bool(_host(value))


def _host(url):
    # type: (Any) -> Optional[str]
    """Return the host of a URL, or None where there is none or its port is no port."""
    from_url = re.match(r'https?://(?:[^/?#@]*@)?(\[[0-9A-Fa-f:.]+\]|[^/?#:@\s]+)(?::(\d+))?(?:[/?#]|\Z)', url if _is_text(url) else '')
    if not from_url or not 0 < int(from_url.group(2) or 1) < 65536:
        return None
    return from_url.group(1).strip('[]')


_FLAG = Rule(lambda value: value in (True, False) and _is_number(float(value)), 'True or False', False)
_LADDER_FLAG = _FLAG._replace(ladder=True)
_FRACTION = _number(lambda value: 0 <= value < 1, 'a fraction from 0 to below 1 (0.01 is 1 %)', ladder=True)
_SIZE = _whole(1, 'a whole number of contracts, 1 or more', ladder=True)
_SECONDS = _number(lambda value: value >= 0, 'a number of seconds, 0 or more')
_SOME_SECONDS = _number(lambda value: value > 0, 'a number of seconds above 0')

RULES = {
    'BASE_URL': Rule(_is_url, 'a URL like ' + repr(constants.LOCAL_BASE_URL), False),
    'API_KEY': Rule(lambda value: value is None or _is_text(value), 'text', False),
    'API_SECRET': Rule(lambda value: value is None or _is_text(value), 'text', False),
    'LOCAL_MARKET': Rule(lambda value: value in ('simulated', 'lively', 'still'), "'simulated', 'lively' or 'still'", False),
    'LOCAL_SEED': Rule(lambda value: value is None or isinstance(value, int), 'a whole number or None', False),
    'SYMBOL': Rule(lambda value: _is_text(value) and bool(SYMBOL_SHAPE.match(value)), "a symbol like 'XBTUSD'", False),
    'ORDER_PAIRS': _whole(1, 'a whole number, 1 or more', ladder=True),
    'ORDER_START_SIZE': _SIZE,
    'ORDER_STEP_SIZE': _whole(0, 'a whole number of contracts, 0 or more', ladder=True),
    'INTERVAL': _FRACTION,
    'MIN_SPREAD': _FRACTION,
    'RELIST_INTERVAL': _FRACTION,
    'MAINTAIN_SPREADS': _LADDER_FLAG,
    'RANDOM_ORDER_SIZE': _LADDER_FLAG,
    'MIN_ORDER_SIZE': _SIZE,
    'MAX_ORDER_SIZE': _SIZE,
    'CHECK_POSITION_LIMITS': _FLAG,
    'MIN_POSITION': _whole(None, 'a whole number of contracts', ladder=True),
    'MAX_POSITION': _whole(None, 'a whole number of contracts', ladder=True),
    'POST_ONLY': _FLAG,
    'DRY_RUN': _FLAG,
    'DRY_BTC': _number(lambda value: value >= 0, 'an amount of XBT, 0 or more'),
    'LOOP_INTERVAL': _SECONDS,
    'QUOTE_ON_CHANGE': _FLAG,
    'MIN_LOOP_INTERVAL': _SECONDS,
    'API_REST_INTERVAL': _SECONDS,
    'API_ERROR_INTERVAL': _SECONDS,
    'TIMEOUT': _SOME_SECONDS,
    'CONNECT_TIMEOUT': _SOME_SECONDS,
    'HEARTBEAT': _SOME_SECONDS,
    'STALE_AFTER': _SOME_SECONDS,
    'LOG_LEVEL': Rule(_is_level, 'a level of logging, such as logging.INFO', False),
    'LOG_FILE': Rule(lambda value: value is None or _is_text(value), 'a path or None', False),
    'ORDERID_PREFIX': Rule(lambda value: _is_text(value) and 0 < len(value) <= constants.ORDERID_PREFIX_LIMIT,
                           'text of 1 to {} characters'.format(constants.ORDERID_PREFIX_LIMIT), False),
    'WATCHED_FILES': Rule(_is_texts, 'a list of paths', False),
    'CONTRACTS': Rule(_is_texts, "a list of symbols like ['XBTUSD']", False),
}


########################################################################################################################
# Words for places and values
########################################################################################################################

def _origins(values):
    # type: (Any) -> Dict[str, str]
    return values._state.origins if isinstance(values, Settings) else {}


def _where(values, name):
    # type: (Any, str) -> str
    """Return the place that set a name, as the beginning of a message: ``settings.py:12: ``."""
    origin = _origins(values).get(name)
    if origin is None:
        return ''
    if not origin.endswith('.py'):
        return origin + ': '
    return _place(origin, _line_of(origin, name)) + ': '


def _line_of(path, name):
    # type: (str, str) -> Optional[int]
    """Return the number of the last line that assigns the name at the left margin, or None."""
    try:
        with open(path, 'rb') as file:
            lines = file.read().decode('utf-8', 'replace').splitlines()
    except OSError:
        return None
    found = [number for number, line in enumerate(lines, 1) if re.match(re.escape(name) + r'\s*(:[^=]*)?=[^=]', line + ' ')]
    return found[-1] if found else None


def _line_in(path, error):
    # type: (str, BaseException) -> Optional[int]
    """Return the line of the file at which an exception came up, or None when it did not pass through the file."""
    lines = [frame[1] for frame in traceback.extract_tb(error.__traceback__) if os.path.abspath(frame[0]) == path]
    return lines[-1] if lines else None


def _place(path, line):
    # type: (str, Optional[int]) -> str
    return _relative(path) + (':{}'.format(line) if line else '')


def _relative(path):
    # type: (str) -> str
    """Return a path as the user would type it: relative inside the working folder, whole elsewhere."""
    relative = os.path.relpath(path) if os.path.splitdrive(path)[0] == os.path.splitdrive(os.getcwd())[0] else path
    return path if relative.startswith(os.path.join(os.pardir, os.pardir)) else relative


def _shown(name, value):
    # type: (str, Any) -> str
    """Return a value as text; of a secret only its kind and length."""
    if name not in SECRET_NAMES:
        return repr(value)
    return '<{} of length {}>'.format(type(value).__name__, len(value)) if isinstance(value, (str, bytes)) else type(value).__name__


def _hide_secret(line):
    # type: (str) -> str
    return re.sub(r'((?:KEY|SECRET|PASSWORD)\w*\s*=).*', r'\1 ...', line, flags=re.IGNORECASE)


def _one_line(error):
    # type: (BaseException) -> str
    return _hide_secret(' '.join(str(error).split()))


def _nearest(name, known, cutoff):
    # type: (str, List[str], float) -> Optional[str]
    near = difflib.get_close_matches(name, known, 1, cutoff)
    return near[0] if near else None
