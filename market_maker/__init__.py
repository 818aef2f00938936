"""A market-making bot for the BitMEX API, and an exchange on this machine to run it against.

Importing the package is cheap and has no effect: ``OrderManager`` and the modules are fetched when they are first
asked for.
"""
from __future__ import absolute_import

import importlib
import sys
import types
from typing import Any  # noqa: F401

from market_maker.utils.constants import VERSION as __version__

__all__ = ['OrderManager', 'run', '__version__']

MODULES = ('bitmex', 'contracts', 'custom_strategy', 'exchange_interface', 'market_maker', 'settings')

def run() -> None:
    """Run the command line and leave with its exit code; this is what ``marketmaker`` calls."""
    sys.exit(importlib.import_module('market_maker.cli').main())


class _Package(types.ModuleType):
    """This package; a module of this class can have attributes on demand on every Python, 3.5 included."""

    def __getattr__(self, name):
        # type: (str) -> Any
        if name == 'OrderManager':
            return importlib.import_module('market_maker.market_maker').OrderManager
        if name in MODULES:
            return importlib.import_module('market_maker.' + name)
        raise AttributeError('module {!r} has no attribute {!r}'.format(self.__name__, name))


sys.modules[__name__].__class__ = _Package
