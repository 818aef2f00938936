"""One bot of a kind at a time: a lock file for each account, symbol and prefix, and what the others are about.

The lock is the operating system's on an open file: it ends with its process, however that ends, so a stale one is
simply taken over.  What stands in the file is for the others to read: who holds it, and whether he relies on the
account's dead man's switch.  A file with words in it that nobody has locked tells of a bot that was killed.

Within one process a lock is given out as often as it is asked for: a program may build its bot anew.
"""
from __future__ import absolute_import

import hashlib
import json
import logging
import os
import threading
import time
from collections import namedtuple
from typing import Any, Callable, Dict, List, Optional  # noqa: F401

from market_maker.utils.errors import SettingsError

try:
    import fcntl
except ImportError:   # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

PREFIX, SUFFIX = 'bot-', '.lock'
PATIENCE = 0.5    # seconds to try for: another bot may be looking whether we are alive
PAUSE = 0.01      # seconds between two tries
FAR = 1 << 30     # the byte that is locked on Windows, where a lock keeps readers away: behind everything

Neighbour = namedtuple('Neighbour', 'bot pid alive switch')
Neighbour.__doc__ = """Another bot of this account on this machine.

``bot`` are its symbol and prefix, ``pid`` its process; ``alive`` tells whether it runs or was killed, ``switch``
whether it relies, or relied, on the dead man's switch.
"""

_held = {}                   # type: Dict[str, Any]   # path -> [open file, how often it is held] of this process
_guard = threading.RLock()   # for _held; a signal's handler may come back here on the same thread


class InstanceLock(object):
    """The lock of one bot; ``folder`` is the account's (None: nothing is kept, and nothing can be locked)."""

    def __init__(self, folder, bot, report=None):
        # type: (Optional[str], str, Optional[Callable[..., None]]) -> None
        self.folder, self.bot = folder, bot
        self.path = None if folder is None else os.path.join(folder, _file_name(bot))
        self._report = report
        self._file = None   # type: Any
        self._facts = {}    # type: Dict[str, Any]

    def acquire(self) -> None:
        """Take the lock; raise SettingsError when another process has it."""
        if self.path is None or self._file is not None:
            return
        with _guard:
            if self.path in _held:
                _held[self.path][1] += 1
                self._file = _held[self.path][0]
            else:
                self._file = self._taken()
                if self._file is not None:
                    _held[self.path] = [self._file, 1]
        self.note(switch=False)

    def note(self, **facts: Any) -> None:
        """Write down something for the others to read."""
        if self._file is None:
            return
        self._facts.update(facts)
        about = dict(self._facts, pid=os.getpid(), bot=self.bot, since=time.strftime('%Y-%m-%dT%H:%M:%SZ',
                                                                                     time.gmtime()))
        self._write(json.dumps(about, sort_keys=True))

    def release(self) -> None:
        """Give the lock back in good order; may be called twice."""
        file, self._file = self._file, None
        if file is None:
            return
        with _guard:
            _held[str(self.path)][1] -= 1
            if _held[str(self.path)][1] > 0:
                return
            del _held[str(self.path)]
            self._write('', file)
            try:
                unlock_file(file)
            except OSError as error:   # it ends with the file
                self._say(error)
            file.close()

    def neighbours(self) -> List[Neighbour]:
        """Return the other bots of this account on this machine: those that run, and those that were killed."""
        found = [self._look_at(path) for path in self._others()]
        return [neighbour for neighbour in found if neighbour is not None]

    def bury(self) -> None:
        """Forget the bots that were killed: what they left behind is gone."""
        for path in self._others():
            if path not in _held:
                self._look_at(path, empty=True)

    def _others(self):
        # type: () -> List[str]
        """Return the paths of the other bots' files."""
        try:
            names = sorted(os.listdir(self.folder)) if self.folder is not None else []
        except OSError as error:   # somebody has tidied up
            self._say(error)
            return []
        paths = [os.path.join(str(self.folder), name) for name in names
                 if name.startswith(PREFIX) and name.endswith(SUFFIX)]
        return [path for path in paths if path != self.path]

    def _look_at(self, path, empty=False):
        # type: (str, bool) -> Optional[Neighbour]
        try:
            with open(path, 'r+') as file:
                alive = path in _held or not lock_file(file)
                about = _about(file.read())
                if empty and not alive:
                    file.seek(0)
                    file.truncate()
                if not alive:
                    unlock_file(file)
        except OSError as error:
            self._say(error)
            return None
        if not about and not alive:
            return None   # it ended in good order
        return Neighbour(about.get('bot', ''), about.get('pid', 0), alive, bool(about.get('switch')))

    def _taken(self):
        # type: () -> Any
        """Return the locked file, None where it cannot be opened."""
        try:
            file = os.fdopen(os.open(str(self.path), os.O_RDWR | os.O_CREAT, 0o600), 'r+')
        except OSError as error:
            self._say(error)
            return None
        deadline = time.monotonic() + PATIENCE
        while not lock_file(file):
            if time.monotonic() > deadline:
                about = _about(file.read())
                file.close()
                raise SettingsError('another bot (process {}, since {}) quotes {} on this account: end it, or give '
                                    'this one an ORDERID_PREFIX of its own'.format(
                                        about.get('pid', '?'), about.get('since', '?'), _words(self.bot)))
            time.sleep(PAUSE)
        return file

    def _write(self, text, file=None):
        # type: (str, Any) -> None
        file = file or self._file
        try:
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()
        except OSError as error:   # a full disk: the lock itself holds
            self._say(error)

    def _say(self, error):
        # type: (OSError) -> None
        report, self._report = self._report, None   # once
        if report is not None:
            report(logging.WARNING, 'The lock of this bot, %s: %s.', self.path, error.strerror or error)


def _file_name(bot):
    # type: (str) -> str
    return PREFIX + hashlib.sha256(bot.encode('utf-8')).hexdigest()[:16] + SUFFIX


def _words(bot):
    # type: (str) -> str
    symbol, _, prefix = bot.partition(' ')
    return '{} with the prefix {!r}'.format(symbol, prefix)


def _about(text):
    # type: (str) -> Dict[str, Any]
    try:
        about = json.loads(text)
    except ValueError:
        return {}   # empty, or just being written
    return about if isinstance(about, dict) else {}


def lock_file(file):
    # type: (Any) -> bool
    """Lock an open file if nobody has; tell whether that worked."""
    try:
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _locked_far(file, msvcrt.LK_NBLCK)  # type: ignore[attr-defined]
        return True
    except OSError:
        return False


def unlock_file(file):
    # type: (Any) -> None
    if fcntl is not None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
    else:
        _locked_far(file, msvcrt.LK_UNLCK)  # type: ignore[attr-defined]


def _locked_far(file, mode):
    # type: (Any, int) -> None
    """Lock or unlock a byte behind everything (Windows), and go back to the beginning, where whoever reads begins."""
    file.seek(FAR)
    try:
        msvcrt.locking(file.fileno(), mode, 1)  # type: ignore[attr-defined]
    finally:
        file.seek(0)
