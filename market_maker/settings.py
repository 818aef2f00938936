"""The settings of this run: one mutable object, read from the files at its first use.

Importing this module reads nothing of the user's.  The first read loads, each over the one before: the defaults,
``settings.py`` of the working folder, ``settings-SYMBOL.py`` when the command line names a symbol (working folder
first, then its parent), the environment, and ``--local`` or ``--base-url`` of the command line.  What a program
assigns later is what everybody reads from then on.
"""
from __future__ import absolute_import, print_function

import contextlib
import copy
import logging
import os
import re
import stat
import sys
import threading
import traceback
import types
from collections import namedtuple
from typing import Any, Dict, Iterator, Optional  # noqa: F401

from market_maker import _settings_base, settings_rules
from market_maker.utils import constants
from market_maker.utils.errors import SettingsError

logger = logging.getLogger('root')

ENVIRONMENT = (('BITMEX_API_KEY', 'API_KEY'), ('BITMEX_API_SECRET', 'API_SECRET'), ('BITMEX_BASE_URL', 'BASE_URL'))

# What the command line says about the settings; None and False where it says nothing.
CommandLine = namedtuple('CommandLine', 'symbol local base_url')


_item = dict.__getitem__   # a loop reads settings all the time


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
        if not self._state.loaded:
            self._load()
        try:
            return _item(self, name)
        except KeyError:
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
        self._state.changes += 1
        self._state.origins.pop(name, None)
        dict.__setitem__(self, name, value)

    def __repr__(self):
        # type: () -> str
        self._load()
        shown = sorted((str(name), value) for name, value in dict.items(self) if str(name).isupper())
        words = ', '.join('{}={}'.format(name, settings_rules.shown(name, value)) for name, value in shown)
        return '<settings: {}>'.format(words)

    @contextlib.contextmanager
    def override(self, **values):
        # type: (**Any) -> Iterator[Settings]
        """Set these names for the length of a ``with`` block; afterwards they are what they were, or absent again."""
        self._load()
        before = {name: dict.__getitem__(self, name) for name in values if dict.__contains__(self, name)}
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
            self._state.changes += 1

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
        with state.lock:  # held while the files run: one that reads the settings itself sees what is there so far
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
        known = [name for name in dict.keys(self) if isinstance(name, str)]
        near = settings_rules.nearest(name, known, cutoff=0.6)
        hint = '; the nearest name is {}'.format(near) if near else ''
        logger.warning('The setting %s is not set anywhere and reads as None%s.', name, hint)


def _loading_first(method):
    # type: (str) -> Any
    """Return dict's method of that name, preceded by the loading of the files."""
    original = getattr(dict, method)

    def call(self, *args, **kwargs):
        # type: (Settings, *Any, **Any) -> Any
        self._load()
        if method in CHANGING:
            self._state.changes += 1
        return original(self, *args, **kwargs)
    call.__name__ = method
    call.__doc__ = original.__doc__
    return call


CHANGING = ('__delitem__', 'pop', 'popitem', 'setdefault', 'clear')
for _method in ('__getitem__', '__contains__', '__iter__', '__len__', '__delitem__', '__eq__', '__ne__', 'get', 'keys',
                'values', 'items', 'copy', 'pop', 'popitem', 'setdefault', 'clear'):
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
        self.changes = 0     # how often anything was assigned or taken away


settings = Settings()


def changes() -> int:
    """Return a number that is another one after every change of a setting."""
    return settings._state.changes


def forget() -> None:
    """Drop everything that was read or assigned; the next read loads the files anew."""
    with settings._state.lock:
        dict.clear(settings)
        before = settings._state.changes
        settings.__dict__['_state'] = _State()
        settings._state.changes = before + 1


def working_folder() -> str:
    """Return the folder whose settings.py counts: the current one, or its parent when that is this very package."""
    folder = os.getcwd()
    package = os.path.dirname(os.path.abspath(__file__))
    return os.path.dirname(folder) if os.path.realpath(folder) == os.path.realpath(package) else folder


def command_line() -> CommandLine:
    """Return what ``sys.argv`` says, in scripts too: a symbol in first place, ``--local``, ``--base-url URL``."""
    arguments = list(getattr(sys, 'argv', []))[1:]
    symbol = arguments[0].upper() if arguments and settings_rules.SYMBOL_SHAPE.match(arguments[0]) else None
    base_url = None
    for position, argument in enumerate(arguments):
        if argument.startswith('--base-url='):
            base_url = argument.split('=', 1)[1]
        elif argument == '--base-url' and position + 1 < len(arguments):
            base_url = arguments[position + 1]
    return CommandLine(symbol, '--local' in arguments, base_url)


def import_path(fullpath: str) -> types.ModuleType:
    """Run the Python file at that path (with or without ``.py``) and return it as a module, named after the file.

    It may import what lies beside it.  A plain ``import`` of its name finds the same module afterwards.  Raise
    SettingsError with file and line when it cannot be read or run.
    """
    path = os.path.abspath(fullpath if fullpath.endswith('.py') else fullpath + '.py')
    name = os.path.splitext(os.path.basename(path))[0]
    code = _compiled(path)
    known = sys.modules.get(name)
    if known is not None and os.path.abspath(getattr(known, '__file__', None) or '') == path:
        module = known  # run again in place: whoever imported it before sees the new values
    else:
        module = types.ModuleType(name)
        module.__file__ = path
    if known is None:
        sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(path))
    try:
        exec(code, module.__dict__)
    except Exception as error:
        if known is None:
            del sys.modules[name]
        if isinstance(error, SettingsError):
            raise
        raise SettingsError('{}: {}: {}'.format(
            _place(path, _line_in(path, error)), type(error).__name__, _one_line(error)))
    finally:
        if os.path.dirname(path) in sys.path:
            sys.path.remove(os.path.dirname(path))
    return module


def _compiled(path):
    # type: (str) -> Any
    """Compile a file without leaving a cached copy of it (and of the secrets in it) beside it."""
    try:
        with open(path, 'rb') as file:
            return compile(file.read(), path, 'exec', dont_inherit=True)
    except SyntaxError as error:
        text = (error.text or '').strip()
        raise SettingsError('{}: {}{}'.format(
            _place(path, error.lineno), error.msg, ': ' + _hide_secret(text) if text else ''))
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
    elif line.local and not settings_rules.is_loopback(dict.get(target, 'BASE_URL')):
        _set(target, origins, 'BASE_URL', constants.LOCAL_BASE_URL, '--local')


def _read_settings_file(target, origins, path):
    # type: (Settings, Dict[str, str], str) -> None
    if not os.path.lexists(path):
        logger.warning('No settings.py in %s: running on the defaults (`marketmaker setup` writes one).',
                       os.path.dirname(path))
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


def validate(values: Any = None, strict: bool = True) -> None:
    """Check type, range and sense of every setting before anything connects.

    ``strict`` is for the built-in strategy, see ``settings_rules.check``.  Log what is only odd; raise SettingsError
    with a line for each fault, which names the file, the setting, its value and what is wanted.
    """
    values = settings if values is None else values
    origins = values._state.origins if isinstance(values, Settings) else {}
    known = [name for name in vars(_settings_base) if name.isupper()]
    values.get('BASE_URL')  # the first read loads; only then the origins are known
    faults, warnings = settings_rules.check(values, known, origins, _place_of, strict)
    for line in warnings:
        logger.warning('%s', line)
    if faults:
        raise SettingsError('\n'.join(faults))


def _place_of(origin, name):
    # type: (str, str) -> str
    """Return where a name was set as the user would look it up: ``settings.py:12``, or the words for another place."""
    return _place(origin, _line_of(origin, name)) if origin.endswith('.py') else origin


def _line_of(path, name):
    # type: (str, str) -> Optional[int]
    """Return the number of the last line that assigns the name at the left margin, or None."""
    try:
        with open(path, 'rb') as file:
            lines = file.read().decode('utf-8', 'replace').splitlines()
    except OSError:
        return None
    assignment = re.compile(re.escape(name) + r'\s*(:[^=]*)?=(?!=)')
    found = [number for number, line in enumerate(lines, 1) if assignment.match(line)]
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
    """Return a path as the user would type it: relative when it is in the working folder or its parent, else whole."""
    parent = os.path.dirname(os.getcwd())
    return os.path.relpath(path) if path.startswith(os.path.join(parent, '')) else path


def _hide_secret(line):
    # type: (str) -> str
    return re.sub(r'((?:KEY|SECRET|PASSWORD)\w*\s*=).*', r'\1 ...', line, flags=re.IGNORECASE)


def _one_line(error):
    # type: (BaseException) -> str
    return _hide_secret(' '.join(str(error).split()))
