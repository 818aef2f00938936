"""How much has been lost, against limits that hold over restarts: what was hit stays hit until somebody resumes.

The measure is the balance in the settlement currency with what is unrealised (``marginBalance``), in minor units; it
is held against the balance when the watch began, the highest since, and the one at the beginning of the UTC day.  A
deposit or a withdrawal moves it too.  Everything fails closed: a balance that is not known, or a file that cannot be
read, allows no quotes.

One file a bot (JSON, mode 0600), replaced as a whole; ``marketmaker resume`` writes to it beside a running bot.  Any
thread may call any method.
"""
from __future__ import absolute_import

import hashlib
import json
import logging
import os
import re
import threading
import time
from collections import namedtuple
from typing import Any, Callable, Dict, Optional  # noqa: F401

SAVE_EVERY = 5.0    # seconds between two writes of what only moves along, such as the peak
LOOK_EVERY = 1.0    # seconds between two looks whether somebody has resumed
PRIVATE_FILE = 0o600
UNTIL = ': no quotes until `marketmaker resume`'

Bounds = namedtuple('Bounds', 'loss drawdown daily currency scale')
Bounds.__doc__ = """The limits in major units of ``currency`` (None: none) and the minor units in one of them.

``loss`` counts from the start, ``drawdown`` from the highest balance, ``daily`` from the beginning of the UTC day.
"""

NUMBERS = ('start', 'peak', 'day_start')
TEXTS = ('currency', 'day', 'start_at', 'peak_at')


def file_name(bot: str) -> str:
    """Return what a bot's file in the state folder is called; ``bot`` is its symbol and prefix."""
    return 'losses-{}-{}.json'.format(re.sub(r'[^A-Za-z0-9]', '', bot)[:20],
                                      hashlib.sha256(bot.encode('utf-8')).hexdigest()[:8])


class Losses(object):
    """The loss watch of one bot; ``path`` None keeps it in memory.  ``report(level, text, *args)`` writes a log line.
    """

    def __init__(self, path: Optional[str] = None, report: Optional[Callable[..., None]] = None) -> None:
        self.path = path
        self.unreadable = ''      # why the file cannot be used
        self._report = (lambda level, text, *args: None) if report is None else report
        self._lock = threading.RLock()   # a signal's handler may come back here on the same thread
        self._saved_at = self._looked_at = float('-inf')
        self._has_failed = False
        self.state = self._read()

    @property
    def halted(self) -> str:
        """Why nothing is quoted until somebody resumes, or ''."""
        return self.unreadable or str(self.state.get('halted') or '')

    def check(self, balance: Optional[int], bounds: Bounds, wall: float, now: float) -> str:
        """Return why nothing may be quoted, or ''; ``wall`` is Unix seconds, ``now`` monotonic."""
        with self._lock:
            if self.halted:
                self._look(now)
            if self.halted:
                return self.halted
            if balance is None:
                return 'the balance is not known and a loss limit is set: no quotes'
            before = dict(self.state)
            self._move(balance, bounds, wall)
            words = self._words(balance, bounds)
            if words:
                self.state.update(halted=words, halted_at=_stamp(wall))
            if self.state != before and (words or 'start' not in before or now - self._saved_at >= SAVE_EVERY):
                self._save(now)
            return words

    def resume(self) -> str:
        """Forget what was lost so far and let the bot quote again; return what had stopped it, '' when nothing had.

        Raise OSError when the file cannot be written.
        """
        with self._lock:
            words = self.halted
            if words and self.path is not None:
                _write(self.path, {})
            if words:
                self.state, self.unreadable = {}, ''
            return words

    def _move(self, balance, bounds, wall):
        # type: (int, Bounds, float) -> None
        """Take the balance into what it is held against."""
        state, day = self.state, time.strftime('%Y-%m-%d', time.gmtime(wall))
        if state.get('currency') != bounds.currency or 'start' not in state:
            state.clear()
            state.update(currency=bounds.currency, start=balance, start_at=_stamp(wall), peak=balance,
                         peak_at=_stamp(wall), day=day, day_start=balance)
        if balance > state['peak']:
            state.update(peak=balance, peak_at=_stamp(wall))
        if day > state['day']:   # a clock that is set back begins no new day
            state.update(day=day, day_start=balance)

    def _words(self, balance, bounds):
        # type: (int, Bounds) -> str
        """Return which limit the balance has reached, or ''."""
        state = self.state
        for most, name, since, since_when in (
                (bounds.loss, 'LOSS_LIMIT', state['start'], 'since {}'.format(state['start_at'])),
                (bounds.drawdown, 'DRAWDOWN_LIMIT', state['peak'], 'since the highest balance, {}'.format(
                    state['peak_at'])),
                (bounds.daily, 'DAILY_LOSS_LIMIT', state['day_start'], 'on {} (UTC)'.format(state['day']))):
            if most is not None and since - balance >= most * bounds.scale:
                return '{:.8g} {} were lost {}, {} is {:g}{}'.format(
                    (since - balance) / float(bounds.scale), bounds.currency.upper(), since_when, name, most, UNTIL)
        return ''

    def _look(self, now):
        # type: (float) -> None
        """See whether somebody has resumed; a file that is gone, or was never written, is no such word."""
        if self.path is None or now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        if not self.unreadable and (self._has_failed or not os.path.exists(self.path)):
            self._save(now)
        else:
            self.state = self._read()

    def _read(self):
        # type: () -> Dict[str, Any]
        """Return what the file holds; one that cannot be used stops everything until somebody resumes."""
        self.unreadable = ''
        if self.path is None:
            return {}
        try:
            with open(self.path) as file:
                text = file.read()
            state = json.loads(text) if text.strip() else {}
            if state and not (isinstance(state, dict) and all(isinstance(state[name], int) for name in NUMBERS)
                              and all(isinstance(state[name], str) for name in TEXTS)):
                raise ValueError('it is not one of ours')
            return state  # type: ignore[no-any-return]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.unreadable = 'the loss watch {} cannot be read ({}){}'.format(
                self.path, getattr(error, 'strerror', None) or error, UNTIL)
            return {}

    def _save(self, now):
        # type: (float) -> None
        self._saved_at = now
        if self.path is None:
            return
        try:
            _write(self.path, self.state)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                self._report(logging.ERROR, 'The loss watch %s cannot be written (%s): a loss limit that is hit holds '
                             'until this process ends only.', self.path, error.strerror or error)
            self._has_failed = True


def _write(path, state):
    # type: (str, Dict[str, Any]) -> None
    """Replace the file by one with this content."""
    beside = '{}.{}'.format(path, os.getpid())
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), 'w') as file:
        json.dump(state, file, sort_keys=True)
    os.replace(beside, path)


def _stamp(wall):
    # type: (float) -> str
    return time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(wall))
