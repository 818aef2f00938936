"""One request budget for the bots of an account on this machine: a small file that all of them read and write.

Between ``open`` and ``close`` a bot has the file for itself, for a few microseconds: it takes over what is there, adds
its request or its answer, and puts it back.  Nothing is sent or logged meanwhile, and nothing is pushed to the disk.
A bot that finds nobody else may put back a few requests more than it sends; it may then send those within a moment
without coming here, and gives back at its next visit what it did not send.

A bot that holds on to the file (it was stopped in the middle) is not waited for: this one then goes by what it knows
itself.  What a killed bot had under way is forgotten after a minute.
"""
from __future__ import absolute_import

import logging
import os
import struct
import time
import zlib
from typing import Any, Callable, List, Optional, Sequence, Tuple  # noqa: F401

from market_maker.state.lock import lock_file, unlock_file

MAGIC = 0x6d6d6275   # what the file begins with
BOTS = 32            # bots that can share a budget
LINGER = 1.0         # seconds after their time for which requests that were counted ahead may be under way
FORGET = 60.0        # seconds after which a bot that says nothing has nothing under way any more
PATIENCE = 0.05      # seconds to wait for another bot at most
GLANCE = 0.0005      # seconds between two tries
HEAD = struct.Struct('=IId')     # MAGIC, checksum of the numbers, when they were written (monotonic seconds)
SLOT = struct.Struct('=qdii')    # a bot: its token, when it was there last, its requests under way (all, on orders)


class Budget(object):
    """The shared file at ``path``; ``clock`` is monotonic, and the same for all processes of this machine.

    ``open`` and ``close`` belong together and to the thread that has the limiter's lock; a signal's handler may open
    anew in between.  ``size`` is how many numbers are shared.
    """

    def __init__(self, path, size, clock=time.monotonic, report=None):
        # type: (str, int, Callable[[], float], Optional[Callable[..., None]]) -> None
        self._clock = clock
        self._report = report
        self._numbers = struct.Struct('={}d'.format(size))
        self._slots_at = HEAD.size + self._numbers.size
        self._token = struct.unpack('=q', os.urandom(8))[0] | 1
        self._slot = None    # type: Optional[int]   # which of the slots is ours
        self._left = b''     # head and numbers as we wrote them last
        self._slots = []     # type: List[Tuple[int, float, int, int]]   # as they were read
        self._depth = 0      # how often it is open: a signal's handler comes on top
        self._is_locked = False
        self.is_alone = False   # nobody else was there for a while, when it was opened last
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), 'r+b', 0)   # type: Any   # None: left

    def open(self, size):
        # type: (int) -> Optional[Tuple[Optional[Sequence[float]], Tuple[int, int]]]
        """Return the shared numbers and what the others have under way; None where there are none to go by.

        The numbers are None where they are those that we put there last: nobody else was here meanwhile.
        """
        self._depth += 1
        self.is_alone = False
        if self._depth > 1 or self._file is None or not self._locked():
            return None
        try:
            content = _read_at(self._file, self._slots_at + BOTS * SLOT.size, 0)
        except OSError as error:
            self._say('cannot be read ({})'.format(error.strerror or error))
            content = b''
        now = self._clock()
        self._slots = list(SLOT.iter_unpack(content[self._slots_at:])) if len(content) > self._slots_at else []
        raw = content[HEAD.size:self._slots_at]
        if self._left and content[:self._slots_at] == self._left:
            return None, self._others(now)
        if len(raw) < self._numbers.size:
            return None
        magic, checksum, written = HEAD.unpack_from(content, 0)
        # Of another format, half written, or from before this machine was started: the clock began anew then.
        if magic != MAGIC or checksum != zlib.crc32(raw) or written > now:
            return None
        return self._numbers.unpack(raw), self._others(now)

    def close(self, numbers, flying, until=None):
        # type: (Sequence[float], Tuple[int, int], Optional[float]) -> bool
        """Put back the numbers and what we have under way, let the others in, and tell whether the file has it.

        ``until``: the numbers have what we may send until that moment without coming back; what we have under way then
        is forgotten soon after.
        """
        self._depth -= 1
        if not self._is_locked:
            return False
        is_written, now = False, self._clock()
        raw = self._numbers.pack(*numbers)
        try:
            place = self._place(now)
            content = self._left = HEAD.pack(MAGIC, zlib.crc32(raw), now) + raw
            at = now if until is None else until + LINGER - FORGET
            slot = b'' if place is None else SLOT.pack(self._token, at, flying[0], flying[1])
            if place == 0:   # the numbers and our slot in one go
                content, slot = content + slot, b''
            _write_at(self._file, content, 0)
            if slot:
                _write_at(self._file, slot, self._slots_at + (place or 0) * SLOT.size)
            is_written = True
        except OSError as error:   # a full disk
            self._say('cannot be written ({})'.format(error.strerror or error))
        if self._depth == 0:
            self._is_locked = False
            unlock_file(self._file)
        return is_written

    def leave(self):
        # type: () -> None
        """Let go of the file; may be called twice.  The limiter then goes by its own count."""
        if self._file is None:
            return
        try:
            if self._slot is not None and self._locked():
                place = self._place(self._clock())
                if place is not None:
                    _write_at(self._file, SLOT.pack(0, 0.0, 0, 0), self._slots_at + place * SLOT.size)
        except OSError as error:
            self._say('cannot be written ({})'.format(error.strerror or error))
        file, self._file, self._is_locked = self._file, None, False
        file.close()   # and with it the lock

    def _locked(self):
        # type: () -> bool
        deadline = time.monotonic() + PATIENCE
        while not lock_file(self._file):
            if time.monotonic() > deadline:
                self._say('is held by another bot that does not move')
                return False
            time.sleep(GLANCE)
        self._is_locked = True
        return True

    def _say(self, words):
        # type: (str) -> None
        report, self._report = self._report, None   # once
        if report is not None:
            report(logging.WARNING, 'The request budget that the bots of this account share %s; this one goes by its '
                   'own count meanwhile.', words)

    def _others(self, now):
        # type: (float) -> Tuple[int, int]
        minute = second = 0
        self.is_alone = True
        for token, at, all_of_them, on_orders in self._slots:
            if token not in (0, self._token) and 0 <= now - at < FORGET:
                self.is_alone = False
                minute += max(0, all_of_them)
                second += max(0, on_orders)
        return minute, second

    def _place(self, now):
        # type: (float) -> Optional[int]
        """Return which slot is ours: the one that we have, or a new one where somebody took it for forgotten; None in
        a crowd, where ours is not counted by the others."""
        slots, mine = self._slots, self._slot
        if mine is not None and mine < len(slots) and slots[mine][0] == self._token:
            return mine
        free = [place for place, slot in enumerate(slots) if not slot[0] or not 0 <= now - slot[1] < FORGET]
        mine = free[0] if free else len(slots)
        if mine >= BOTS:
            return None
        self._slot = mine
        return mine


def _read_at(file, size, offset):
    # type: (Any, int, int) -> bytes
    if hasattr(os, 'pread'):
        return os.pread(file.fileno(), size, offset)
    file.seek(offset)   # Windows
    return file.read(size)


def _write_at(file, content, offset):
    # type: (Any, bytes, int) -> None
    if hasattr(os, 'pwrite'):
        os.pwrite(file.fileno(), content, offset)
        return
    file.seek(offset)
    file.write(content)
