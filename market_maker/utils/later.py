"""Modules of others that are loaded when something of them is first used, instead of at the start.

The libraries that the bot needs import at their start what only few of their users need: requests, for instance, a
detector of the encoding of texts that do not name theirs, and the tables of international host names.  A bot that talks
to one exchange uses none of it, and it would be a seventh of its memory.  Whoever does use it, a strategy for instance,
notices nothing.  Only the program ``marketmaker`` does this, in its own process: a script that imports the package
keeps its modules as they are.

Compiled code may look into a module's dict instead of asking for its attributes, and finds nothing there yet: what
extension modules reach into is not to be deferred.
"""
from __future__ import absolute_import

import importlib
import importlib.util
import sys
import threading
import types
from typing import Any, Dict  # noqa: F401

_specs = {}   # type: Dict[str, Any]   # name of a module that is not loaded yet -> how it will be
# One each, so that a thread that loads one never waits for whoever loads another; a module looks at itself meanwhile.
_locks = {}   # type: Dict[str, Any]


def defer(*names: str) -> None:
    """Have ``import`` of these modules load nothing yet; one that is loaded already, or not there at all, stays so."""
    for name in names:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is not None and hasattr(spec.loader, 'exec_module'):
            module = importlib.util.module_from_spec(spec)
            module.__class__ = _Deferred
            _specs[name], _locks[name] = spec, threading.RLock()
            sys.modules[name] = module


class _Deferred(types.ModuleType):
    """A module that is loaded when the first of its attributes is asked for; its version can be had before."""

    def __getattr__(self, name):
        # type: (str) -> Any
        if name == '__version__' and self.__name__ in _specs and '__path__' in self.__dict__:
            version = self.__name__ + '.version'   # where requests' detectors keep theirs, which it asks for
            if importlib.util.find_spec(version) is not None:
                return importlib.import_module(version).__version__
        with _locks[self.__name__]:
            spec = _specs.pop(self.__name__, None)
            if spec is not None:
                try:
                    spec.loader.exec_module(self)
                except BaseException:
                    _specs[self.__name__] = spec   # the next use fails in the same way
                    raise
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError('module {!r} has no attribute {!r}'.format(self.__name__, name))
