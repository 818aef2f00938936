"""The ledger: every create, amend and cancel, written down before it is sent, and what became of it.

A command is ``sent`` until its answer is there, and then ``done`` or ``refused``; without a clear answer it is
``unknown`` and is looked for, at growing intervals, until it is found (``done``) or certainly ``absent``.  What a
process that was killed had under way is ``unknown`` for the next one.  Besides, the ledger knows the names of our own
orders and each of our fills once, over restarts.

It lives in memory and in SQLite.  A transaction takes longer than all the rest of an order, so a command goes out as
soon as it is a line of an append-only file (``journal.py``): such a line survives the end of the process, however that
ends, not a power cut.  A thread beside the order path (``bitmex-ledger``) folds what is new into SQLite a few times a
second; whoever opens the ledger folds what a killed process left behind.  Several bots of one account share one SQLite
file, each with a journal of its own; each sees its own commands, and the names of all.

    record = ledger.begin('create', [Order('mm_...', '', 'XBTUSD', body)], now)[0]     # before sending
    ledger.end(record, DONE, row)                                                     # or REFUSED, UNKNOWN

Any thread may call any method.  ``_lock`` is for memory and journal, ``_folding`` for SQLite; who holds ``_folding``
never waits for ``_lock``, for a signal's handler may want it on top of whatever holds that.
"""
from __future__ import absolute_import

import collections
import contextlib
import json
import logging
import os
import threading
import time
import weakref
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple  # noqa: F401

from market_maker.state import journal
from market_maker.utils.errors import OrderRejected

try:
    import sqlite3
except ImportError:   # a Python that was built without it
    sqlite3 = None  # type: ignore[assignment]

CREATE, AMEND, CANCEL = 'create', 'amend', 'cancel'
SENT, UNKNOWN, DONE, REFUSED, ABSENT = 'sent', 'unknown', 'done', 'refused', 'absent'
OPEN = (SENT, UNKNOWN)

# Seconds after sending at which an order of unknown fate is looked for.  The exchange refuses what reaches it after
# api-expires, ten seconds or so after sending; what it took in time has been seen to appear 40 seconds late.
LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 25.0, 35.0, 45.0, 60.0)
CERTAIN = LOOKS[-1]      # seconds after which an order that is not there never will be
CLOCK_JUMP = 30.0        # seconds by which the clock may have been set between two processes
AGAIN = 5.0              # seconds between looks that fail beyond the last
BUSY = 1.0               # seconds to wait for another bot that is writing
FOLD_EVERY = 0.25        # seconds between two looks for what SQLite does not have yet
JOURNAL_SIZE = 1 << 18   # bytes of lines that are all in SQLite, above which they are cleared away
TICK = 1e-6              # seconds between two commands of a ledger at least: when it was written is a command's name
KEEP_ROWS = 200000       # latest commands, and fills, that are kept: some forty megabytes
TIDY_EVERY = 20000       # commands
CACHED = 10000           # names whose owner is kept in memory
FILLS = 4000             # execIDs kept in memory

SCHEMA = '''
CREATE TABLE IF NOT EXISTS commands (id INTEGER PRIMARY KEY, bot TEXT NOT NULL, began REAL NOT NULL,
    written REAL NOT NULL, kind TEXT NOT NULL, clOrdID TEXT NOT NULL, orderID TEXT NOT NULL, symbol TEXT NOT NULL,
    body TEXT NOT NULL, state TEXT NOT NULL, ended REAL, note TEXT NOT NULL DEFAULT '');
DROP INDEX IF EXISTS command_names;
CREATE INDEX IF NOT EXISTS created_names ON commands (clOrdID) WHERE kind = 'create';
CREATE TABLE IF NOT EXISTS fills (id INTEGER PRIMARY KEY, execID TEXT NOT NULL UNIQUE, bot TEXT NOT NULL,
    at TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity INTEGER NOT NULL, price REAL,
    fee INTEGER NOT NULL, clOrdID TEXT NOT NULL, orderID TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS fill_times ON fills (bot, at);
CREATE TABLE IF NOT EXISTS complete (bot TEXT PRIMARY KEY, until REAL NOT NULL);
'''
INSERT = ('INSERT INTO commands (bot, began, written, kind, clOrdID, orderID, symbol, body, state, ended, note, id) '
          'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
UPDATE = 'UPDATE commands SET state = ?, ended = ?, orderID = ?, note = ? WHERE id = ?'
COLUMNS = INSERT.count('?') - 1   # a line of the journal is a row of INSERT; without an id SQLite gives it one
READ = 'id, began, written, kind, clOrdID, orderID, symbol, body, state, ended, note'
INSERT_FILL = ('INSERT OR IGNORE INTO fills (execID, bot, at, symbol, side, quantity, price, fee, clOrdID, orderID) '
               'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')

Order = collections.namedtuple('Order', 'clOrdID orderID symbol body')
Order.__doc__ = """What a command is about: its name, its id where it is known (else ''), and what is sent (a dict)."""

Totals = collections.namedtuple('Totals', 'fills bought sold fees')
Totals.__doc__ = """Own fills: how many, contracts bought and sold, fees in minor units (paid is positive)."""


class LedgerUnwritable(OrderRejected):
    """A create was not sent, because it could not be written down first."""


class Record(object):
    """One command.  ``began`` and ``ended`` are Unix seconds of the exchange's clock; ``at`` is monotonic: when it was
    written down, and once its fate is unknown, when it became so."""

    __slots__ = ('id', 'began', 'at', 'written', 'kind', 'clOrdID', 'orderID', 'symbol', 'body', 'text', 'state',
                 'ended', 'note', 'looks')

    def __init__(self, kind, order, began, at, state=SENT, id=None):
        # type: (str, Order, float, float, str, Optional[int]) -> None
        self.id = id           # type: Optional[int]   # None: not in SQLite yet
        self.written = 0.0     # Unix seconds of our own clock; no two of one process are the same
        self.text = ''         # the body as JSON
        self.kind, self.began, self.at, self.state = kind, began, at, state
        self.clOrdID, self.orderID, self.symbol, self.body = order
        self.ended = None      # type: Optional[float]
        self.note = ''         # what the exchange said, in a few words
        self.looks = 0         # so many looks found nothing

    @property
    def name(self) -> str:
        """The order's clOrdID, or its id where we know no other name."""
        return self.clOrdID or self.orderID

    def __repr__(self) -> str:
        return '<{} {} {}>'.format(self.kind, self.name, self.state)


class Ledger(object):
    """The commands and fills of one bot.

    ``path`` is that of the SQLite file, or None for memory only; ``bot`` tells the bots of an account apart (symbol and
    prefix); ``clock`` is monotonic; ``report(level, text, *args)`` writes a log line.
    """

    def __init__(self, path=None, bot='', clock=time.monotonic, report=None):
        # type: (Optional[str], str, Callable[[], float], Optional[Callable[..., None]]) -> None
        self.path = path
        self.bot = bot
        self._clock = clock
        self._report = (lambda level, text, *args: None) if report is None else report
        self._lock = threading.RLock()   # a signal's handler may come back here on the same thread
        self._folding = threading.RLock()   # the same
        self._open = collections.OrderedDict()   # type: Dict[int, Record]   # id() of a record -> record in OPEN
        self._changed = []     # type: List[Record]   # new or other than SQLite has them
        self._unwritten = []   # type: List[Record]   # the same for the journal; what has ended may wait for a line
        self._fills = []       # type: List[Tuple[Any, ...]]   # not in SQLite yet
        self._complete = None  # type: Optional[float]   # see note_complete; not in SQLite yet
        self._counted = collections.OrderedDict()   # type: Dict[str, bool]   # execID -> True, the latest
        self._owned = {}       # type: Dict[str, bool]   # clOrdID -> whether it is ours
        self._is_full = False  # journal or SQLite cannot be written
        self._is_folding = False
        self._has_taken_over = False   # what earlier processes left behind
        self._folded = 0       # commands since we tidied up last
        self._written = 0.0
        self._journal = None   # type: Optional[journal.Journal]   # begun with the first command
        self._over = threading.Event()
        self._thread = None    # type: Optional[threading.Thread]
        self._db = self._connected(path)   # type: Any   # None: closed, or a Python without sqlite3
        if self._db is not None:
            self._tidy()
            self.flush()
            self._thread = threading.Thread(target=_keep_folding, args=(weakref.ref(self), self._over),
                                            name='bitmex-ledger')
            self._thread.daemon = True   # a script that never calls close() still comes to its end
            self._thread.start()

    # Commands

    def begin(self, kind, orders, began):
        # type: (str, Sequence[Order], float) -> List[Record]
        """Write commands down, in one go, before they are sent; ``began`` is the exchange's time.

        Raise LedgerUnwritable for creates that cannot be written; amends and cancels go on, for their orders are known.
        """
        at = self._clock()
        records = [Record(kind, order, began, at) for order in orders]
        for record in records:
            record.text = journal.to_json(record.body).decode('utf-8')
        try:
            if self._is_full and kind == CREATE and not self._fold():
                raise _Unwritable('it is being written')
            with self._lock:
                self._write_down(records)
            if self._is_full and kind == CREATE:
                self._is_full = False
                self._report(logging.WARNING, 'The ledger %s can be written again.', self.path)
        except _Unwritable as error:
            self._say_full(error)
            if kind == CREATE:
                raise LedgerUnwritable('not sent, for the ledger {} cannot be written ({}): make room on its disk'
                                       .format(self.path or 'in memory', error))
            with self._lock:
                self._take_on(records)
                self._unwritten += records
        return records

    def _write_down(self, records):
        # type: (List[Record]) -> None
        """Give new records a line each; raise _Unwritable when that fails."""
        for record in records:
            record.written = self._written = max(time.time(), self._written + TICK)
        waiting, self._unwritten = self._unwritten, []
        if self.path is not None and self._db is not None:
            try:
                if self._journal is None:
                    self._journal = journal.Journal(self.path)
                self._journal.append([self._row(record) for record in waiting + records])
            except OSError as error:
                self._unwritten = waiting + self._unwritten
                raise _Unwritable(error.strerror or str(error))
        self._take_on(records)

    def _take_on(self, records):
        # type: (List[Record]) -> None
        for record in records:
            self._open[id(record)] = record
            if record.kind == CREATE:
                self._owned[record.clOrdID] = True
        if len(self._owned) > CACHED and self._journal is not None:
            self._owned.clear()   # it only saves time: what is not in SQLite is in the journal
        if self._db is not None:
            self._changed += records

    def end(self, record, state, row=None, note='', now=None):
        # type: (Record, str, Optional[Dict[str, Any]], str, Optional[float]) -> None
        """Note what became of a command: DONE, REFUSED, ABSENT, or UNKNOWN, which can still become one of the others.

        ``row`` is the order's as the exchange answered it: a create may be DONE and rest no more.  It is written with
        the next command, or when the thread or ``flush`` folds; until then a killed process leaves the command unknown.
        """
        with self._lock:
            if record.state not in OPEN:
                return
            if id(record) not in self._open:   # another ledger's: a local exchange was started anew meanwhile
                record.state = state
                return
            if row:
                record.orderID = row.get('orderID') or record.orderID
                note = note or _note(row)
            if state == UNKNOWN and record.state == SENT:
                record.at = self._clock()   # it was perhaps sent several times: the last one is the one in doubt
            record.state, record.note, record.ended = state, note[:200], now
            if state not in OPEN:
                self._open.pop(id(record), None)
            if self._db is not None:   # last: whoever folds meanwhile comes by again
                self._changed.append(record)
                self._unwritten.append(record)

    def unresolved(self) -> List[Record]:
        """Return the commands that are under way or of unknown fate, oldest first."""
        with self._lock:
            return list(self._open.values())

    def is_unknown(self, names: Iterable[str]) -> bool:
        """Tell whether a command for one of these orders (clOrdID or id) is still of unknown fate."""
        with self._lock:
            if not self._open:
                return False
            names = set(names)
            return any(record.state == UNKNOWN and not names.isdisjoint((record.clOrdID, record.orderID))
                       for record in self._open.values())

    def due(self, now: float) -> List[Record]:
        """Return the commands of unknown fate to look for now (monotonic seconds)."""
        with self._lock:
            return [record for record in self._open.values()
                    if record.state == UNKNOWN and record.at + _look_after(record.looks) <= now]

    def looked(self, record: Record, now: float) -> bool:
        """Note a look that found nothing; tell whether the command is certainly not carried out, and then ended."""
        with self._lock:
            record.looks += 1
            if now - record.at < CERTAIN:
                while record.at + _look_after(record.looks) < now and record.looks < len(LOOKS) - 1:
                    record.looks += 1   # nobody looked for a while: one look serves for those that were missed
                return False
            self.end(record, ABSENT, note='not there {:.0f} s after it was sent'.format(now - record.at))
            return True

    def commands(self, since: float = 0.0) -> List[Record]:
        """Return this bot's commands begun since then (Unix seconds), oldest first, also those of earlier processes."""
        self.flush()
        with self._folding:
            rows = self._select('SELECT ' + READ + ' FROM commands WHERE bot = ? AND began >= ? ORDER BY id',
                                (self.bot, since))
            left = [record for record in self._changed if record.id is None]   # SQLite cannot be written
        return [_record(row, 0.0) for row in rows] + left

    # Names

    def owns(self, clOrdID: Optional[str]) -> bool:
        """Tell whether this bot, now or before a restart, created an order of that name."""
        if not clOrdID:
            return False
        known = self._owned.get(clOrdID)
        if known is None:   # a create of that name that begins meanwhile knows better
            known = self._owned.setdefault(clOrdID, self.bot in self._creators(clOrdID))
        return known

    def knows(self, clOrdID: Optional[str]) -> bool:
        """Tell whether any bot of this account on this machine created an order of that name."""
        return self.bot_of(clOrdID) is not None

    def bot_of(self, clOrdID: Optional[str]) -> Optional[str]:
        """Return which bot of this account on this machine created an order of that name (its symbol and prefix), or
        None when nobody did."""
        if not clOrdID:
            return None
        return self.bot if self._owned.get(clOrdID) else next(iter(self._creators(clOrdID)), None)

    def _creators(self, clOrdID):
        # type: (str) -> List[str]
        """Return which bots created an order of that name; first by the journals, for what they lose SQLite has."""
        lines = [] if self.path is None else journal.rows_with(self.path, clOrdID)
        bots = [row[0] for row in lines if _is_ours(row) and row[3] == CREATE and row[4] == clOrdID]
        return bots + [row[0] for row in self._select(
            "SELECT bot FROM commands WHERE clOrdID = ? AND kind = 'create'", (clOrdID,))]

    # Fills

    def note_complete(self, until: float) -> None:
        """Note that every fill of ours until then (Unix seconds of the exchange) has been recorded."""
        with self._lock:
            self._complete = until

    def complete_until(self) -> Optional[float]:
        """Return what note_complete was told last, also before a restart: from then on fills may be missing."""
        until = self._complete
        if until is not None:
            return until
        rows = self._select('SELECT until FROM complete WHERE bot = ?', (self.bot,))
        return rows[0][0] if rows else None

    def record_fill(self, row: Dict[str, Any]) -> bool:
        """Count an execution row of an own order; tell whether it was new.  The same row may come from the stream, from
        REST after a gap, and after a restart."""
        name = row.get('execID')
        if not name or row.get('execType', 'Trade') != 'Trade':
            return False
        if name in self._counted or self._select('SELECT 1 FROM fills WHERE execID = ?', (name,)):
            return False
        with self._lock:
            if name in self._counted:   # another thread was here meanwhile
                return False
            self._counted[name] = True
            if len(self._counted) > FILLS and len(self._counted) > len(self._fills) + FILLS // 2:
                self._counted.popitem(last=False)   # type: ignore[call-arg]
            self._fills.append((name, self.bot, row.get('transactTime') or row.get('timestamp') or '',
                                row.get('symbol') or '', row.get('side') or '', int(row.get('lastQty') or 0),
                                row.get('lastPx'), int(row.get('execComm') or 0), row.get('clOrdID') or '',
                                row.get('orderID') or ''))
            return True

    def last_fill(self) -> Optional[str]:
        """Return the exchange's time stamp of the newest fill, from where on to ask after a gap; None without any."""
        self.flush()
        with self._folding:
            times = [row[0] for row in self._select('SELECT max(at) FROM fills WHERE bot = ?', (self.bot,)) if row[0]]
            return max(times + [fill[2] for fill in self._fills], default=None)

    def totals(self, since: str = '') -> Totals:
        """Return the sums of the fills since a time stamp ('2026-05-03T00:00:00.000Z'; '': of all that are kept)."""
        self.flush()
        with self._folding:
            rows = list(self._select('SELECT side, quantity, fee FROM fills WHERE bot = ? AND at >= ?',
                                     (self.bot, since)))
            rows += [(fill[4], fill[5], fill[7]) for fill in self._fills if fill[2] >= since]
        return Totals(len(rows), sum(row[1] for row in rows if row[0] == 'Buy'),
                      sum(row[1] for row in rows if row[0] == 'Sell'), sum(row[2] for row in rows))

    # The files

    def flush(self) -> None:
        """Bring what is new into SQLite now; cheap when there is nothing.  The thread does so a few times a second."""
        try:
            self._fold()
        except _Unwritable as error:
            self._say_full(error)
        if self._folded > TIDY_EVERY:
            self._folded = 0
            self._tidy()

    def close(self) -> None:
        """Flush and let go of the files; may be called twice.  What is asked afterwards is answered from memory."""
        self._over.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2 * BUSY)
        self.flush()
        with self._folding:
            if self._db is not None:
                self._db.close()
                self._db = None
        with self._lock:
            lines, self._journal = self._journal, None
            if lines is None:
                return
            try:
                if self._changed:   # SQLite cannot be written: the lines stay for whoever comes next
                    lines.append([self._row(record) for record in self._unwritten])
                lines.close(not self._changed)
            except OSError as error:
                self._say_full(error)

    def _fold(self):
        # type: () -> bool
        """Bring into SQLite what it does not have yet; raise _Unwritable when that fails.

        False: a signal's handler, on top of a fold of the same thread, can do nothing.
        """
        with self._folding:
            if self._is_folding:
                return False
            try:
                self._is_folding = True
                if self._db is not None:
                    if not self._has_taken_over:
                        self._take_over()
                    self._bring_in()
            except (sqlite3.Error, OSError) as error:
                raise _Unwritable(str(error))
            finally:
                self._is_folding = False
        return True

    def _bring_in(self):
        # type: () -> None
        """Write what has changed, all of it or nothing; meanwhile others add to the ends of the lists."""
        complete = self._complete   # first: a fill that was recorded before this was noted must be among the fills
        changed, fills = self._changed[:], self._fills[:]
        if not (changed or fills or complete is not None):
            return
        rows = [(record, self._row(record)) for record in {id(record): record for record in changed}.values()]
        new = sorted((pair for pair in rows if pair[0].id is None), key=lambda pair: pair[0].written)
        db = self._db
        with _transaction(db):
            for record, row in rows:
                if record.id is not None:
                    db.execute(UPDATE, (row[8], row[9], row[5], row[10], record.id))
            db.executemany(INSERT_FILL, fills)
            if complete is not None:
                db.execute('INSERT OR REPLACE INTO complete (bot, until) VALUES (?, ?)', (self.bot, complete))
            first = (db.execute('SELECT max(id) FROM commands').fetchone()[0] or 0) + 1
            db.executemany(INSERT, [row + [number] for number, (_, row) in enumerate(new, first)])
        for number, (record, _) in enumerate(new, first):
            record.id = number
        del self._changed[:len(changed)], self._fills[:len(fills)]
        if self._complete == complete:
            self._complete = None
        self._folded += len(new)

    def _take_over(self):
        # type: () -> None
        """Fold the journals of processes that were killed, and look for what they left open from now on.

        Who comes here at the same time waits for our transaction, and then finds everything in SQLite.
        """
        left = []   # type: List[Tuple[journal.Abandoned, bool]]   # and whether all of it is in SQLite
        names = [] if self.path is None else journal.found(self.path)
        is_done = not names
        try:
            if names:
                with _transaction(self._db):
                    for name in names:
                        one = journal.abandoned(name)
                        if one is not None:
                            left.append((one, self._replay(one.rows())))
                is_done = True
        finally:
            for one, is_understood in left:
                one.close(is_done and is_understood)
        self._load()
        self._has_taken_over = True
        for one, is_understood in left:
            if not is_understood:
                self._report(logging.WARNING, 'The ledger does not understand %s, of another version, and leaves it '
                             'where it is.', one.path)

    def _replay(self, lines):
        # type: (List[Any]) -> bool
        """Write the lines of a journal into SQLite, which may have some of them, or later states, already; tell whether
        all of them are of our layout."""
        rows = collections.OrderedDict((tuple(row[:1] + row[2:5]), row) for row in lines if _is_ours(row))
        if rows:
            known = {row[2:]: row[:2] for row in self._db.execute(
                'SELECT id, state, bot, written, kind, clOrdID FROM commands WHERE written >= ?',
                (min(key[1] for key in rows),))}
            for key, row in rows.items():
                number, state = known.get(key, (None, ''))
                if number is None:
                    self._db.execute(INSERT, row + [None])
                elif state in OPEN:
                    self._db.execute(UPDATE, (row[8], row[9], row[5], row[10], number))
        return all(_is_ours(row) for row in lines)

    def _shrink(self):
        # type: () -> None
        """Clear the journal when it has grown and SQLite has all of it; for the thread, which no signal interrupts."""
        with self._lock:
            try:
                if self._journal is not None and not self._changed and self._journal.size() > JOURNAL_SIZE:
                    self._journal.clear()
            except OSError as error:
                self._say_full(error)

    def _row(self, record):
        # type: (Record) -> List[Any]
        """Return a record as INSERT takes it, and as it stands in a line."""
        return [self.bot, record.began, record.written, record.kind, record.clOrdID, record.orderID, record.symbol,
                record.text, record.state, record.ended, record.note]

    def _say_full(self, error):
        # type: (Exception) -> None
        if not self._is_full:
            self._is_full = True
            self._report(logging.ERROR, 'The ledger %s cannot be written (%s): nothing is placed until it can; amends '
                         'and cancels go on.', self.path, error)

    def _select(self, query, values):
        # type: (str, Tuple[Any, ...]) -> List[Any]
        try:
            with self._folding:
                return [] if self._db is None else self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._report(logging.ERROR, 'The ledger %s cannot be read (%s).', self.path, error)
            return []

    def _connected(self, path):
        # type: (Optional[str]) -> Any
        """Return the open database: the file's, or one in memory; a broken file is put aside."""
        if sqlite3 is None:
            self._report(logging.WARNING, 'This Python has no sqlite3: the ledger is kept in memory only.')
            return None
        if path is None:
            return _database(':memory:')
        try:
            return _database(path)
        except sqlite3.Error as error:
            aside = '{}.broken-{}'.format(path, int(time.time()))
            self._report(logging.ERROR, 'The ledger %s cannot be used (%s): it is put aside as %s, and a new one is '
                         'begun.', path, error, os.path.basename(aside))
        try:
            os.rename(path, aside)
            for end in ('-wal', '-shm'):
                if os.path.exists(path + end):
                    os.remove(path + end)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            return _database(path)
        except (sqlite3.Error, OSError) as error:
            self._report(logging.ERROR, 'No new one can be begun (%s): the ledger is kept in memory only.', error)
            self.path = None
            return _database(':memory:')

    def _load(self):
        # type: () -> None
        """Take over what an earlier process left open, to be looked for from now on."""
        at, wall = self._clock(), time.time()
        for row in self._db.execute('SELECT ' + READ + " FROM commands WHERE bot = ? AND state IN ('sent', 'unknown') "
                                    'ORDER BY id', (self.bot,)).fetchall():
            # One look is enough for what is old by any clock; else it is as if it had been sent just now.
            is_old = wall - row[2] > CERTAIN + CLOCK_JUMP
            record = _record(row, at - CERTAIN if is_old else at)
            record.state = UNKNOWN
            self._open[id(record)] = record

    def _tidy(self):
        # type: () -> None
        """Forget what is finished long since, so that a bot that runs for months stays small."""
        try:
            with self._folding:
                for table, rule in (('commands', " AND state NOT IN ('sent', 'unknown')"), ('fills', '')):
                    newest = self._db.execute('SELECT max(id) FROM ' + table).fetchone()[0] or 0
                    self._db.execute('DELETE FROM {} WHERE id <= ?{}'.format(table, rule), (newest - KEEP_ROWS,))
        except sqlite3.Error as error:
            self._report(logging.WARNING, 'The ledger %s could not be tidied up (%s).', self.path, error)


class _Unwritable(Exception):
    """Journal or SQLite does not take a write now."""


@contextlib.contextmanager
def _transaction(database):
    # type: (Any) -> Iterator[None]
    """Carry out the block as a whole or, whatever interrupts it, not at all."""
    try:
        database.execute('BEGIN IMMEDIATE')
        yield
        database.execute('COMMIT')
    except BaseException:   # also a signal's
        if database.in_transaction:
            database.execute('ROLLBACK')
        raise


def _keep_folding(reference, over):
    # type: (Callable[[], Optional[Ledger]], threading.Event) -> None
    """Fold now and then until the ledger is closed, or nobody has it any more."""
    while not over.wait(FOLD_EVERY):
        ledger = reference()
        if ledger is None:
            return
        ledger.flush()
        ledger._shrink()
        del ledger


def _database(path):
    # type: (str) -> Any
    """Return an open database with its tables; raise sqlite3.Error when the file is none of ours."""
    database = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        database.execute('PRAGMA journal_mode = WAL')
        database.execute('PRAGMA synchronous = OFF')
        database.executescript(SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _record(row, at):
    # type: (Any, float) -> Record
    number, began, written, kind, name, order_id, symbol, body, state, ended, note = row
    record = Record(kind, Order(name, order_id, symbol, json.loads(body)), began, at, state, number)
    record.written, record.text, record.ended, record.note = written, body, ended, note
    return record


def _is_ours(row):
    # type: (Any) -> bool
    """Tell whether a line of a journal is of this layout."""
    return isinstance(row, list) and len(row) == COLUMNS


def _look_after(looks):
    # type: (int) -> float
    """Return how long after sending the next look comes when so many were there."""
    return LOOKS[looks] if looks < len(LOOKS) else LOOKS[-1] + AGAIN * (looks - len(LOOKS) + 1)


def _note(row):
    # type: (Dict[str, Any]) -> str
    """Return what is worth knowing of an answer that is not a resting order."""
    status = row.get('ordStatus') or ''
    if row.get('error'):
        return str(row['error'])
    return '' if status in ('New', '') else '{} {}'.format(status, row.get('text') or '').strip().partition('\n')[0]
