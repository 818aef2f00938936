"""``marketmaker setup``: settings.py and a copy of the package in the working folder, all or nothing.

It never overwrites a file of the user's.
"""
from __future__ import absolute_import, print_function

import os
import shutil
import tempfile
from typing import Any, List  # noqa: F401

from market_maker.utils.errors import EXIT_OK, SettingsError

HELP = 'Make a project in this folder: settings.py and your own copy of the bot. Overwrites nothing.'
EXAMPLES = """
mkdir mybot && cd mybot && marketmaker setup
marketmaker setup && marketmaker XBTUSD
"""

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEFT_OUT = ('__pycache__', 'tests')

# What a new project adds to the defaults. Deleting it from settings.py leaves them as they stand above it.
LOCAL_BLOCK = '''

########################################################################################################################
# LOCAL EXCHANGE: these lines are in force. They make a first run on this machine worth watching: quotes close to the
# market, a look at it every second, and a market in fast motion, so that fills come within seconds.
# Delete everything from here to the end of the file, and the defaults above hold.
########################################################################################################################
if BASE_URL.startswith("http://127.0.0.1:"):
    LOCAL_MARKET = "lively"
    LOOP_INTERVAL = 1
    MIN_SPREAD = 0.0004
    INTERVAL = 0.0005
    RELIST_INTERVAL = 0.0005
'''


def add_arguments(parser: Any) -> None:
    """Setup takes no arguments."""


def main(args: Any) -> int:
    """Make the project in the working folder and say what was made and what comes next."""
    folder = os.getcwd()
    made = scaffold(folder)
    print('\n'.join(report(folder, made)))
    return EXIT_OK


def report(folder: str, made: List[str]) -> List[str]:
    """Return the lines that tell the user what stands in the folder now and what to do next."""
    words = [('settings.py', 'your settings; every one is explained there'),
             ('market_maker', 'your own copy of the bot, which is what runs in this folder')]
    lines = ['In {}:'.format(folder)]
    for name, meaning in words:
        shown = name + '/' if name == 'market_maker' else name
        lines.append('  {:<14}{}'.format(shown, meaning if name in made else 'was there already and is left as it was'))
    return lines + [
        '',
        'Next:',
        '  marketmaker XBTUSD              quotes XBTUSD; the local exchange starts by itself, Ctrl-C ends it all',
        '  marketmaker XBTUSD --dry-run    only shows what it would place',
        'Then change settings.py, and write a strategy of your own: market_maker/custom_strategy.py is where to begin;',
        '  marketmaker XBTUSD --strategy market_maker/custom_strategy.py    runs it.',
    ]


def scaffold(folder: str) -> List[str]:
    """Make what is missing of a project in the folder and return the names made; on an error nothing new stays there.

    Raise SettingsError when the folder cannot be written.
    """
    made = []    # type: List[str]
    building = None
    try:
        building = tempfile.mkdtemp(prefix='.marketmaker-setup-', dir=folder)
        for name, build in (('market_maker', _copy_package), ('settings.py', _write_settings)):
            if not os.path.lexists(os.path.join(folder, name)):
                build(os.path.join(building, name))
                made.append(name)
        for position, name in enumerate(made):
            try:
                os.rename(os.path.join(building, name), os.path.join(folder, name))
            except OSError:
                for earlier in made[:position]:
                    os.rename(os.path.join(folder, earlier), os.path.join(building, earlier))
                raise
    except OSError as error:
        raise SettingsError('nothing was made in {}: {}; use a folder that you may write to, on a disk with room'
                            .format(folder, error.strerror or error))
    finally:
        if building:
            shutil.rmtree(building, ignore_errors=True)
    return made


def defaults() -> str:
    """Return the text of settings_base.py: beside the package in a checkout, else in it under its old name."""
    beside = os.path.join(os.path.dirname(PACKAGE), 'settings_base.py')
    path = beside if _is_checkout(beside) else os.path.join(PACKAGE, '_settings_base.py')
    with open(path, 'rb') as file:
        return file.read().decode('utf-8')


def _is_checkout(page):
    # type: (str) -> bool
    """Tell whether the page beside the package is the one that it points to, and not some user's file of that name."""
    with open(os.path.join(PACKAGE, '_settings_base.py'), 'rb') as file:
        return b'exec(_Loader(' in file.read() and os.path.isfile(page)


def _copy_package(target):
    # type: (str) -> None
    """Copy the package's files with fresh modes (an installed one may be read-only), its defaults inside it."""
    for folder, folders, files in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith('.')]
        place = os.path.normpath(os.path.join(target, os.path.relpath(folder, PACKAGE)))
        os.mkdir(place)
        for name in files:
            if not name.endswith(('.pyc', '.pyo')):
                shutil.copyfile(os.path.join(folder, name), os.path.join(place, name))
    with open(os.path.join(target, '_settings_base.py'), 'wb') as file:
        file.write(defaults().encode('utf-8'))


def _write_settings(target):
    # type: (str) -> None
    """Write settings.py readable by its owner only, for keys will stand in it."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, 'wb') as file:
        file.write((defaults() + LOCAL_BLOCK).encode('utf-8'))
