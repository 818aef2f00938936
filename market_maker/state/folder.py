"""Where an account's ledger, locks, budget and loss limits are kept: one folder an account, for its user's eyes only.

The folder's name is a hash of the API's address, the key's id and the instance of the exchange.  The last is told by
the local exchange, which begins with empty books whenever it starts: so a fresh one never meets an old ledger.  Where
the folder cannot be written, its users keep what they know in memory, and this is said once.
"""
from __future__ import absolute_import

import hashlib
import json
import logging
import os
import time
from typing import Any, Callable, Mapping, Optional  # noqa: F401
from urllib.parse import urlsplit

NAME = 'bitmex-market-maker'
ABOUT = 'about.json'     # says what the hash stands for; the key by its first characters only
KEEP_DAYS = 7            # for which the folder of a local exchange that has ended is kept
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


class StateFolder(object):
    """The folder of one account; ``path`` is None where nothing can be written.

    ``instance`` is the local exchange's, '' elsewhere.  ``root`` is the folder that holds all of them, by default the
    user's (``state_root``).  ``report(level, text, *args)`` writes a log line.
    """

    def __init__(self, base_url, api_key, instance='', root=None, report=None):
        # type: (str, Optional[str], str, Optional[str], Optional[Callable[..., None]]) -> None
        self.instance = instance
        self.root = root or state_root(os.environ)
        self.path = os.path.join(self.root, folder_name(base_url, api_key or '', instance))  # type: Optional[str]
        self._report = report
        try:
            self._make(base_url, api_key or '')
        except OSError as error:
            self._give_up(error)

    def file(self, name: str) -> Optional[str]:
        """Return the path of a file for its user's eyes only, created empty if it was not there; None: no folder."""
        if self.path is None:
            return None
        try:
            return _made(os.path.join(self.path, name))
        except OSError as error:
            self._give_up(error)
            return None

    def _give_up(self, error):
        # type: (OSError) -> None
        self.path = None
        if self._report is not None:
            self._report(logging.WARNING, 'Nothing can be kept in %s (%s): orders, limits and the request budget are '
                         'remembered until this process ends; set XDG_STATE_HOME to a folder that can be written.',
                         self.root, error.strerror or error)

    def _make(self, base_url, api_key):
        # type: (str, str) -> None
        path = str(self.path)
        os.makedirs(path, PRIVATE_FOLDER, exist_ok=True)
        for folder in (self.root, path):
            if os.name == 'posix' and os.stat(folder).st_uid == os.getuid():
                os.chmod(folder, PRIVATE_FOLDER)   # a umask may have cut it, somebody may have opened it
        about = _made(os.path.join(path, ABOUT))
        if not os.path.getsize(about):
            with open(about, 'w') as file:
                json.dump({'url': base_url, 'key': api_key[:4] + '...', 'instance': self.instance,
                           'since': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}, file, sort_keys=True)
        if self.instance:
            self._tidy(base_url)

    def _tidy(self, base_url):
        # type: (str) -> None
        """Take away the folders of local exchanges of this address that ended days ago: nobody can meet them again."""
        for name in os.listdir(self.root):
            folder = os.path.join(self.root, name)
            about = _about(folder)
            if folder == self.path or about.get('url') != base_url or not about.get('instance'):
                continue
            files = [os.path.join(folder, file) for file in os.listdir(folder)]
            if time.time() - max(os.path.getmtime(file) for file in files) > KEEP_DAYS * 86400:
                for file in files:
                    os.remove(file)
                os.rmdir(folder)


def state_root(environ: Mapping[str, str]) -> str:
    """Return the folder for state in a user's home: XDG_STATE_HOME, LOCALAPPDATA, or ~/.local/state."""
    for name in ('XDG_STATE_HOME', 'LOCALAPPDATA'):
        if os.path.isabs(environ.get(name) or ''):   # a relative one is to be ignored (XDG base directories)
            return os.path.join(environ[name], NAME)
    return os.path.join(os.path.expanduser('~'), '.local', 'state', NAME)


def folder_name(base_url: str, api_key: str, instance: str) -> str:
    """Return what the folder of an account is called; the address counts without a slash at its end, in lower case."""
    parts = urlsplit(base_url)
    where = '{}://{}{}'.format(parts.scheme, parts.netloc.rpartition('@')[2], parts.path.rstrip('/')).lower()
    return hashlib.sha256('\n'.join((where, api_key, instance)).encode('utf-8')).hexdigest()[:32]


def _made(path):
    # type: (str) -> str
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
    return path


def _about(folder):
    # type: (str) -> Any
    try:
        with open(os.path.join(folder, ABOUT)) as file:
            about = json.load(file)
    except (OSError, ValueError):
        return {}   # not a folder of ours, or one that is just being made
    return about if isinstance(about, dict) else {}
