"""Lines on their way into a SQLite file: an append-only file a writer, beside it.

To append a line is one write into the page cache, a few microseconds: it survives the end of the process, however that
ends, not a power cut.  A journal is locked by its owner; one that nobody has locked was left behind by an owner that
was killed.  A line is a JSON array; one that is torn, by a kill or a full disk, stands for what was never sent.
"""
from __future__ import absolute_import

import binascii
import errno
import glob
import json
import os
from typing import Any, List, Optional  # noqa: F401

from market_maker.state.lock import lock_file, unlock_file

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

SUFFIX = '.lines'
PRIVATE_FILE = 0o600
TRIES = 5   # of making a file and having its lock


# Made once: making one takes longer than its use.
_encode = json.JSONEncoder(separators=(',', ':'), default=str).encode


def to_json(value):
    # type: (Any) -> bytes
    """Return a value as JSON, on one line and by the fastest way; what JSON does not know becomes a text."""
    if orjson is not None:
        try:
            return orjson.dumps(value, default=str)
        except TypeError:   # numbers beyond 64 bits, half of a surrogate pair: Python takes them
            return _encode(value).encode('ascii')
    return _encode(value).encode('ascii')


class Journal(object):
    """A new journal beside the file at ``path``, for this process to append to; raise OSError where there can be none.

    The caller sees to it that one thread at a time calls its methods.
    """

    def __init__(self, path):
        # type: (str) -> None
        self._is_torn = False
        for _ in range(TRIES):
            self.path = '{}-{}{}'.format(path, binascii.hexlify(os.urandom(8)).decode('ascii'), SUFFIX)
            self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, PRIVATE_FILE),
                                   'r+b', 0)   # type: Any
            if lock_file(self._file) and os.path.exists(self.path):
                return
            _let_go(self._file, None)   # somebody took it for one that was left behind, and removes it
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def append(self, rows):
        # type: (List[List[Any]]) -> None
        """Write a line for each row; raise OSError where not all of them could be written."""
        left = b'\n'.join([b''] * self._is_torn + [to_json(row) for row in rows]) + b'\n'
        self._is_torn = True
        while left:
            left = left[self._file.write(left):]   # a disk without room takes a part of it at most
        self._is_torn = False

    def size(self) -> int:
        """Return how many bytes there are."""
        return os.fstat(self._file.fileno()).st_size

    def clear(self) -> None:
        """Forget every line."""
        self._file.truncate(0)
        self._is_torn = False

    def close(self, is_done):
        # type: (bool) -> None
        """Let go of the file, and remove it if every line of it is ``is_done``; may be called twice."""
        _let_go(self._file, self.path if is_done else None)


class Abandoned(object):
    """A journal whose owner is gone; nobody else takes it until ``close``."""

    def __init__(self, path, file):
        # type: (str, Any) -> None
        self.path = path
        self._file = file

    def rows(self):
        # type: () -> List[List[Any]]
        """Return its rows."""
        self._file.seek(0)
        return _rows(self._file.read())

    def close(self, is_done):
        # type: (bool) -> None
        """Let go of it, and remove it if its rows are where they belong."""
        _let_go(self._file, self.path if is_done else None)


def found(path):
    # type: (str) -> List[str]
    """Return the journals beside the file at ``path``, whoever writes to them."""
    return sorted(glob.glob('{}-*{}'.format(glob.escape(path), SUFFIX)))


def abandoned(path):
    # type: (str) -> Optional[Abandoned]
    """Return the journal at ``path`` if its owner is gone, else None."""
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND), 'r+b', 0)
    except FileNotFoundError:
        return None
    if lock_file(file) and os.path.exists(path):   # else its owner lives, or somebody else has just seen to it
        return Abandoned(path, file)
    file.close()
    return None


def rows_with(path, word=''):
    # type: (str, str) -> List[List[Any]]
    """Return the rows of all journals beside the file at ``path`` whose files have ``word`` in them, for a look."""
    rows = []   # type: List[List[Any]]
    needle = word.encode('ascii') if _encode(word) == '"{}"'.format(word) else b''   # as it stands in any line
    for name in found(path):
        try:
            with open(name, 'rb') as file:
                content = file.read()
        except FileNotFoundError:
            continue   # it has just been folded
        if needle in content:
            rows += _rows(content)
    return rows


def _rows(content):
    # type: (bytes) -> List[List[Any]]
    rows = []
    for line in content.split(b'\n'):
        try:
            rows.append(json.loads(line.decode('utf-8')))
        except ValueError:
            continue   # empty, or torn
    return rows


def _let_go(file, path):
    # type: (Any, Optional[str]) -> None
    if file.closed:
        return
    if path is not None and os.name == 'posix':
        os.remove(path)   # while it is locked: nobody takes it for another's
        path = None
    unlock_file(file)
    file.close()
    if path is not None:   # Windows removes no open file
        os.remove(path)
