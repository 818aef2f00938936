"""``marketmaker [SYMBOL]``: settings, strategy, and off it goes."""
from __future__ import absolute_import

import importlib
import inspect
import logging
import os
import sys
from typing import Any, List, Optional, Tuple  # noqa: F401

from market_maker.settings import import_path, settings, validate
from market_maker.utils import errors, log, signals

HELP = 'Quote both sides of one contract until Ctrl-C; on the local exchange unless settings.py says otherwise.'
EXAMPLES = """
marketmaker                                    quote SYMBOL of settings.py
marketmaker XBTUSD                             quote XBTUSD
marketmaker XBTUSD --dry-run                   show what would be placed, place nothing
marketmaker XBTUSD --local                     whatever BASE_URL says: on this machine
marketmaker XBTUSD --strategy my_strategy.py   run the OrderManager subclass of that file
"""

logger = logging.getLogger('root')


def add_arguments(parser: Any) -> None:
    """Add what a run understands."""
    parser.add_argument('symbol', nargs='?', metavar='SYMBOL',
                        help='the contract to quote (default: SYMBOL of settings.py)')
    parser.add_argument('--strategy', metavar='FILE[:CLASS]',
                        help='run this subclass of OrderManager; CLASS may be left out when the file has only one')
    parser.add_argument('--dry-run', action='store_true',
                        help='read everything, change nothing, print what would be done')
    parser.add_argument('--local', action='store_true', help='use the local exchange, whatever BASE_URL says')
    parser.add_argument('--base-url', metavar='URL', help='use the exchange at this address instead of BASE_URL')


def main(args: Any) -> int:
    """Run until told to stop; return the exit code.

    ``--local`` and ``--base-url`` are read from the command line by the settings themselves, for scripts have them too.
    """
    log.setup_custom_logger('root')
    if args.dry_run:
        settings.DRY_RUN = True
    validate(strict=args.strategy is None)
    log.setup_custom_logger('root', settings.LOG_LEVEL, settings.LOG_FILE)
    if args.copy:
        logger.info('%s', args.copy)
    with signals.held():
        bot = importlib.import_module('market_maker.market_maker')
    strategy = load_strategy(args.strategy) if args.strategy else None
    result = bot.run(strategy) if strategy else bot.run()
    return errors.EXIT_OK if result is None else int(result)


def load_strategy(words: str) -> Any:
    """Return the strategy class that FILE[:CLASS] names; raise SettingsError when there is none or no single one."""
    path, name = split_strategy(words)
    if not os.path.isfile(path):
        raise errors.SettingsError('--strategy {}: there is no such file; give the path of a Python file'.format(words))
    module = _import_strategy(os.path.abspath(path))
    base = importlib.import_module('market_maker.market_maker').OrderManager
    if name:
        return _named(module, name, words)
    found = [cls for _, cls in sorted(vars(module).items()) if inspect.isclass(cls) and issubclass(cls, base)
             and cls is not base and cls.__module__ == module.__name__]
    last = [cls for cls in found if not any(other is not cls and issubclass(other, cls) for other in found)]
    if len(last) != 1:
        names = ', '.join(cls.__name__ for cls in last) or 'none'
        raise errors.SettingsError('--strategy {}: one subclass of OrderManager is wanted and the file has {}; name it '
                                   'as FILE:CLASS'.format(words, names))
    return last[0]


def split_strategy(words: str) -> Tuple[str, Optional[str]]:
    """Return path and class name (or None) of FILE[:CLASS]; the colon of a drive letter separates nothing."""
    path, colon, name = words.rpartition(':')
    if not colon or not name.isidentifier():
        path, name = words, ''
    if not os.path.exists(path) and os.path.exists(path + '.py'):
        path += '.py'
    return path, name or None


def _named(module, name, words):
    # type: (Any, str, str) -> Any
    cls = getattr(module, name, None)
    if not inspect.isclass(cls) or not callable(getattr(cls, 'run_loop', None)):
        raise errors.SettingsError('--strategy {}: {} is no strategy class of that file'.format(words, name))
    return cls


def _import_strategy(path):
    # type: (str) -> Any
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.realpath(os.path.dirname(path)) == os.path.realpath(package):
        return importlib.import_module('market_maker.' + os.path.splitext(os.path.basename(path))[0])
    sys.path.insert(0, os.path.dirname(path))  # for good, as `python FILE` does: a strategy may import late
    return import_path(path)
