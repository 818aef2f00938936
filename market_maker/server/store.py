"""The file that lets accounts survive a restart: what ``simulator.records`` makes of them, in SQLite.

Everything that a client was told is in the file before he is told: it is written between the change and its answer.  It
is not pushed to the disk then (``synchronous=OFF``): the end of the process, however it comes, loses at most the
request that was under way; a power cut may lose the last seconds.  What is written with an order are the rows that it
touched, so its cost grows neither with the number of accounts nor with their past.

One process at a time: SQLite's lock is held as long as the file is open.  The file holds secrets: mode 0600.
"""
import collections
import logging
import os
import sqlite3
import time
from typing import Any, Deque, Dict, Iterable, List, Optional, Tuple  # noqa: F401

from market_maker.server import wire
from market_maker.simulator import records
from market_maker.simulator.account import EXECUTIONS_KEPT, FINISHED_KEPT, TRANSACTIONS_KEPT
from market_maker.utils.errors import SettingsError

logger = logging.getLogger('root')

FORMAT = 1                  # of the tables; a file with a higher one is left alone
APPLICATION = 0x424D5845    # 'BMXE', in the file's header
TIDY_EVERY = 20000          # rows written between two looks for those that are too old to be kept
RETRY = 1.0                 # seconds between two attempts to write a file that could not be written
HOUSE_EVERY = 1.0           # seconds between two notes of prices, insurance fund and the numbers given out
MOST_WAITING = 200000       # executions that wait for a file that cannot be written

UNREADABLE = (sqlite3.Error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

TABLES = '''
CREATE TABLE house (id INTEGER PRIMARY KEY CHECK (id = 1), instance TEXT NOT NULL, runs INTEGER NOT NULL, data TEXT);
CREATE TABLE accounts (id INTEGER PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE purses (account INTEGER, currency TEXT, data TEXT NOT NULL, PRIMARY KEY (account, currency));
CREATE TABLE positions (account INTEGER, symbol TEXT, data TEXT NOT NULL, PRIMARY KEY (account, symbol));
CREATE TABLE orders (id TEXT PRIMARY KEY, account INTEGER NOT NULL, is_open INTEGER NOT NULL, data TEXT NOT NULL);
CREATE TABLE executions (n INTEGER PRIMARY KEY, account INTEGER NOT NULL, data TEXT NOT NULL);
CREATE TABLE transactions (id TEXT PRIMARY KEY, account INTEGER NOT NULL, data TEXT NOT NULL);
'''
# Rows that change keep their place, for what comes back is read in its old order.
PUT_ACCOUNT = 'INSERT INTO accounts VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data'
PUT_PURSE = 'INSERT INTO purses VALUES (?, ?, ?) ON CONFLICT (account, currency) DO UPDATE SET data = excluded.data'
PUT_POSITION = 'INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT (account, symbol) DO UPDATE SET data = excluded.data'
PUT_ORDER = ('INSERT INTO orders VALUES (?, ?, ?, ?) '
             'ON CONFLICT (id) DO UPDATE SET is_open = excluded.is_open, data = excluded.data')
ADD_EXECUTION = 'INSERT INTO executions (account, data) VALUES (?, ?)'
PUT_TRANSACTION = 'INSERT INTO transactions VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data'
# table, which of its rows grow old, how many an account keeps
AGING = (('orders', 'is_open = 0', FINISHED_KEPT), ('executions', '1', EXECUTIONS_KEPT),
         ('transactions', '1', TRANSACTIONS_KEPT))


class Store(object):
    """The file at ``path``; SettingsError when it cannot be used.

    Opened by whoever puts the exchange together, it belongs to the event loop's thread once the exchange serves.
    """

    def __init__(self, path: str, instance: str) -> None:
        self.path = path
        self.instance = instance      # of the exchange that goes on in this file
        self.runs = 0                 # how often it was opened before
        self.is_new = True            # it holds no exchange yet
        self._db = None               # type: Any
        self._exchange = None         # type: Any
        self._orders = {}             # type: Dict[str, int]  # orderID -> account, not written yet
        self._positions = {}          # type: Dict[Tuple[int, str], None]
        self._purses = {}             # type: Dict[Tuple[int, str], None]
        self._executions = collections.deque(maxlen=MOST_WAITING)  # type: Deque[Tuple[int, Any]]
        self._transactions = {}       # type: Dict[str, Any]
        self._written = {}            # type: Dict[Tuple[int, str], List[Any]]  # purses and positions as in the file
        self._house_at = 0.0
        self._retry_at = 0.0
        self._is_failing = False
        self._since_tidy = 0
        try:
            self._open()
        except sqlite3.Error as error:
            self.close()
            if 'locked' in str(error):
                raise SettingsError('{}: is in use by another local exchange; end that one, or choose another file'
                                    .format(path))
            if isinstance(error, sqlite3.OperationalError):
                raise SettingsError('{}: cannot be written ({}); choose a file on a disk with room, in a folder that '
                                    'you may write to'.format(path, error))
            raise SettingsError(self._why(error))
        except SettingsError:
            self.close()
            raise

    def _open(self) -> None:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(self.path, 0o600)
        except OSError as error:
            raise SettingsError('{}: {}'.format(self.path, error.strerror))
        self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        for line in ('PRAGMA locking_mode = EXCLUSIVE', 'PRAGMA journal_mode = WAL', 'PRAGMA synchronous = OFF',
                     'BEGIN EXCLUSIVE'):
            self._db.execute(line)
        made_by, form = [self._db.execute('PRAGMA ' + name).fetchone()[0] for name in ('application_id',
                                                                                       'user_version')]
        if self._db.execute('SELECT count(*) FROM sqlite_master').fetchone()[0] == 0:
            for statement in TABLES.split(';'):
                self._db.execute(statement)
            self._db.execute('PRAGMA application_id = {}'.format(APPLICATION))
            self._db.execute('PRAGMA user_version = {}'.format(FORMAT))
        elif made_by != APPLICATION:
            raise SettingsError('{}: is a database, but none of the local exchange; choose another file'.format(
                self.path))
        elif form > FORMAT:
            raise SettingsError('{}: was written by a newer version of this package; upgrade it, or choose another '
                                'file'.format(self.path))
        elif self._db.execute('PRAGMA quick_check').fetchone()[0] != 'ok':
            raise sqlite3.DatabaseError('its pages do not fit together')
        row = self._db.execute('SELECT instance, runs, data FROM house').fetchone()
        if row is not None:
            self.instance, self.runs, self.is_new = row[0], row[1], row[2] is None
        self._db.execute('INSERT OR REPLACE INTO house VALUES (1, ?, ?, (SELECT data FROM house))',
                         (self.instance, self.runs + 1))
        self._db.execute('COMMIT')

    def _why(self, error: Exception) -> str:
        return '{}: is damaged or no file of the local exchange ({}); move it away, or choose another one'.format(
            self.path, error)

    # Reading

    def _house(self) -> Dict[str, Any]:
        return wire.loads(self._db.execute('SELECT data FROM house').fetchone()[0])  # type: ignore[no-any-return]

    def park(self, listed: Dict[str, Any]) -> None:
        """Give instruments that no exchange lists yet the prices of the file."""
        try:
            records.park(listed, self._house())
        except UNREADABLE as error:
            raise SettingsError(self._why(error))

    def restore(self, exchange: Any) -> None:
        """Let an exchange without customers go on with those of the file; SettingsError when that cannot be."""
        try:
            self._tidy()
            records.restore(
                exchange, self._house(), [wire.loads(data) for data, in self._db.execute(
                    'SELECT data FROM accounts ORDER BY id')],
                self._triples('purses', 'currency'), self._triples('positions', 'symbol'),
                self._pairs('orders', 'rowid'), self._pairs('executions', 'n'), self._pairs('transactions', 'rowid'))
        except records.Unfit as error:
            raise SettingsError('{}: {}; start it as before, or choose another file'.format(self.path, error))
        except UNREADABLE as error:
            raise SettingsError(self._why(error))

    def _triples(self, table: str, name: str) -> List[Tuple[int, str, Any]]:
        rows = self._db.execute('SELECT account, {}, data FROM {} ORDER BY rowid'.format(name, table))
        return [(account, what, wire.loads(data)) for account, what, data in rows]

    def _pairs(self, table: str, order: str) -> List[Tuple[int, Any]]:
        rows = self._db.execute('SELECT account, data FROM {} ORDER BY {}'.format(table, order))
        return [(account, wire.loads(data)) for account, data in rows]

    # Writing

    def attach(self, exchange: Any) -> None:
        """Keep what happens on ``exchange`` from now on."""
        self._exchange = exchange
        exchange.banker.kept = []

    def begin_anew(self, exchange: Any, instance: str) -> None:
        """Forget everything and keep what happens on another exchange."""
        for waiting in (self._orders, self._positions, self._purses, self._executions, self._transactions,
                        self._written):
            waiting.clear()  # type: ignore[attr-defined]
        self.instance, self._house_at = instance, 0.0
        self.attach(exchange)
        try:
            self._db.execute('BEGIN')
            self._db.execute('UPDATE house SET instance = ?', (instance,))
            for table in ('accounts', 'purses', 'positions', 'orders', 'executions', 'transactions'):
                self._db.execute('DELETE FROM ' + table)
            self._db.execute('COMMIT')
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute('ROLLBACK')
            logger.error('%s still holds the exchange before this one: it cannot be written (%s).', self.path, error)

    def keep(self, changes: Iterable[Any]) -> None:
        """Write what changed; to be called with everything that the exchange drains, before anybody is told."""
        banker = self._exchange.banker
        for row in banker.kept:   # all new ones in their order, before what became of older ones
            self._transactions[row['transactID']] = row
        banker.kept.clear()
        for table, _, rows, account, symbol in changes:
            if account is None:
                continue
            if table == 'order':
                for row in rows:
                    self._orders[row['orderID']] = account
            elif table == 'execution':
                self._executions.extend((account, row) for row in rows)
            elif table == 'position':
                self._positions[account, symbol] = None
            elif table in ('margin', 'wallet'):
                for row in rows:
                    self._purses[account, row['currency']] = None
            elif table == 'transact':
                for row in rows:
                    self._transactions[row['transactID']] = row
        now = time.monotonic()
        if self._retry_at <= now and (self._orders or self._executions or self._positions or self._purses
                                      or self._transactions or self._exchange.journal.accounts
                                      or now - self._house_at >= HOUSE_EVERY):
            self._attempt(now)

    def _attempt(self, now: float) -> None:
        try:
            self._write(now)
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute('ROLLBACK')
            self._retry_at = now + RETRY
            if not self._is_failing:
                self._is_failing = True
                logger.error('%s cannot be written (%s): what happens now is lost with this process until it can be '
                             'written again.', self.path, error)
            return
        if self._is_failing:
            self._is_failing = False
            logger.warning('%s can be written again, and has everything.', self.path)

    def _write(self, now: float) -> None:
        exchange, db = self._exchange, self._db
        purses = self._changed(self._purses, lambda account, name: records.purse_record(account.purse(name)))
        positions = self._changed(self._positions, lambda account, name: records.position_record(
            account.positions[name]))
        if not (purses or positions or self._orders or self._executions or self._transactions
                or exchange.journal.accounts or now - self._house_at >= HOUSE_EVERY):
            self._purses.clear()
            self._positions.clear()
            return
        orders = [(order.order_id, account, not order.is_final, _text(records.order_record(order)))
                  for order, account in self._found_orders()]
        db.execute('BEGIN')
        for statement, rows in (
                (PUT_ACCOUNT, [(number, _text(records.account_record(account)))
                               for number, account in exchange.journal.accounts.items()]),
                (PUT_PURSE, [key + (_text(values),) for key, values in purses]),
                (PUT_POSITION, [key + (_text(values),) for key, values in positions]),
                (PUT_ORDER, orders),
                (ADD_EXECUTION, [(number, _text(row)) for number, row in self._executions]),
                (PUT_TRANSACTION, [(name, row['account'], _text(row)) for name, row in self._transactions.items()])):
            if rows:
                db.executemany(statement, rows)
        if now - self._house_at >= HOUSE_EVERY:
            db.execute('UPDATE house SET data = ?', (_text(records.house_record(exchange)),))
            self._house_at = now
        db.execute('COMMIT')
        self._since_tidy += len(orders) + len(self._executions) + len(self._transactions)
        self._written.update(purses)
        self._written.update(positions)
        for waiting in (self._orders, self._positions, self._purses, self._executions, self._transactions,
                        exchange.journal.accounts):
            waiting.clear()  # type: ignore[attr-defined]
        if self._since_tidy >= TIDY_EVERY:
            self._tidy()

    def _changed(self, keys: Iterable[Tuple[int, str]], record: Any) -> List[Tuple[Tuple[int, str], List[Any]]]:
        """Return those whose record is not what stands in the file: a new mark changes rows, but no record."""
        found = []
        for key in keys:
            values = record(self._exchange.accounts[key[0]], key[1])
            if self._written.get(key) != values:
                found.append((key, values))
        return found

    def _found_orders(self) -> Iterable[Tuple[Any, int]]:
        for order_id, number in self._orders.items():
            account = self._exchange.accounts[number]
            order = account.orders.get(order_id) or account.finished.get(order_id)
            if order is not None:   # else it is so long finished that nobody asks for it any more
                yield order, number

    def _tidy(self) -> None:
        """Forget finished orders, executions and transactions beyond those that an account keeps in memory."""
        self._since_tidy = 0
        for table, aging, kept in AGING:
            counts = self._db.execute('SELECT account, count(*) FROM {} WHERE {} GROUP BY account'.format(table, aging))
            for account, count in counts.fetchall():
                if count > kept:
                    self._db.execute('DELETE FROM {0} WHERE rowid IN (SELECT rowid FROM {0} WHERE account = ? AND {1} '
                                     'ORDER BY rowid LIMIT ?)'.format(table, aging), (account, count - kept))

    def close(self) -> None:
        """Write what is left and let go of the file; may be called twice."""
        if self._db is not None and self._exchange is not None:
            self._house_at = self._retry_at = 0.0
            self.keep(self._exchange.drain())
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error as error:
                logger.error('%s was not closed in good order: %s', self.path, error)


def _text(value: Any) -> str:
    return wire.dumps(value).decode('utf-8')
