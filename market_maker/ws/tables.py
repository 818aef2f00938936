"""The live tables: what the exchange's partial, insert, update and delete messages leave behind.

Pure: messages come in as decoded dicts, rows come out.  One thread applies; any thread may read at any time without a
lock, because a row changes by one ``dict.update`` and a table is either changed by one step or replaced whole.

The rules are those of BitMEX, "WebSocket API":

* nothing counts before a table's image (its ``partial``), or that symbol's image where symbols were subscribed singly;
* an image replaces what its filter covers; rows that somebody holds go on living and show the new values;
* ``update`` merges into the row with the same keys, ``delete`` removes it, and unknown rows are left alone;
* tables without keys (trades, quotes, bins, executions) only grow, and keep their newest rows;
* an order of which nothing is left is no open order any more, and no late message brings it back.
"""
import collections
import json
import operator
import sys
from collections.abc import Mapping
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set  # noqa: F401

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

HISTORY = 200  # rows kept of a table without keys, and finished orders remembered

Row = Dict[str, Any]
Ordered = dict if sys.version_info >= (3, 7) else collections.OrderedDict  # type: Any  # tables list rows as they came

_decode = json.JSONDecoder().raw_decode


def parse(payload):
    # type: (bytes) -> Any
    """Return what one frame says; raises ValueError when it is not JSON.

    orjson does it where it is installed, else the standard library without the searches for white space that
    ``json.loads`` makes around every document.
    """
    if orjson is not None:
        return orjson.loads(payload)
    text = payload.decode('utf-8')
    try:
        value, end = _decode(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


class Tables:
    """Every table that the exchange has sent, by name.

    >>> tables = Tables()
    >>> tables.apply({'table': 'order', 'action': 'partial', 'keys': ['orderID'], 'data': []})
    'order'
    >>> tables.apply({'table': 'order', 'action': 'insert', 'data': [{'orderID': 'a', 'leavesQty': 5}]})
    'order'
    >>> tables.rows('order')
    [{'orderID': 'a', 'leavesQty': 5}]
    """

    def __init__(self, history=HISTORY):
        # type: (int) -> None
        self.keys = {}      # type: Dict[str, List[str]]  # table name -> names of its key fields, empty for a growing one
        self.data = TableData(self)
        self._history = history
        self._tables = {}   # type: Dict[str, Any]        # table name -> its rows, since its first image
        self._synced = {}   # type: Dict[str, Any]        # the same, only those with an image of this connection
        self._topics = []   # type: List[str]             # what this connection subscribed to
        self._wanted = {}   # type: Dict[str, Optional[Set[str]]]  # table name -> symbols subscribed to, None for all

    def expect(self, topics):
        # type: (Iterable[str]) -> None
        """Begin a connection that subscribes to ``topics`` (``'margin'``, ``'quote:XBTUSD'``): no table has an image.

        Rows stay readable, and held rows stay the same objects, but deltas are dropped until the new images are there.
        """
        self._synced = {}
        self._topics = []
        self._wanted = {}
        for topic in topics:
            self.expect_also(topic)
        for name, table in self._tables.items():
            table.begin(self._wanted.get(name))

    def expect_also(self, topic):
        # type: (str) -> None
        """Add one subscription to this connection; what is there stays as it is."""
        name, symbol = split_topic(topic)
        symbols = self._wanted.get(name, set())
        self._wanted[name] = symbols | {symbol} if symbols is not None and symbol else None
        self._topics.append(topic)
        if name in self._tables:
            self._tables[name].await_symbols(self._wanted[name])

    def missing(self):
        # type: () -> List[str]
        """Return the subscribed topics whose image has not come, in the order of subscription."""
        return [topic for topic in self._topics if not self.has_image(*split_topic(topic))]

    def apply(self, message):
        # type: (Row) -> Optional[str]
        """Apply one message of the exchange; return the name of its table when something changed, else None.

        A message that is no table's (a welcome, an acknowledgement, an error), a delta before its image and a change of
        unknown rows change nothing.
        """
        try:
            name = message['table']
            changed = self._synced[name].actions[message['action']](message['data'])
        except (KeyError, TypeError):
            return self._apply_with_care(message)
        return name if changed else None

    def has_image(self, table, symbol=None):
        # type: (str, Optional[str]) -> bool
        """Say whether the table's image of this connection is there; with ``symbol``, the image of that symbol."""
        found = self._synced.get(table)
        return found is not None and found.has_image(symbol)

    def rows(self, table):
        # type: (str) -> List[Row]
        """Return a fresh list of the table's live rows; empty when there is no such table."""
        found = self._tables.get(table)
        return found.listed() if found is not None else []

    def row(self, table, *key):
        # type: (str, *Any) -> Optional[Row]
        """Return the live row with these key values, or None; takes the same time however many rows there are."""
        found = self._tables.get(table)
        return found.find(key) if found is not None else None

    def last(self, table):
        # type: (str) -> Optional[Row]
        """Return the newest row of a table without keys, or None."""
        found = self._tables.get(table)
        return found.last() if found is not None else None

    def finished_order(self, order_id):
        # type: (str) -> Optional[Row]
        """Return the last state of an order that is no longer open, or None when it is unknown or long forgotten."""
        found = self._tables.get('order')
        return found.finished.get(order_id) if found is not None else None

    def _apply_with_care(self, message):
        # type: (Any) -> Optional[str]
        """Apply a message that the short way does not cover: images, lost key fields, strangers."""
        if not isinstance(message, dict) or 'table' not in message:
            return None
        name, action, rows = message['table'], message.get('action'), message.get('data') or []
        if action == 'partial':
            self._apply_image(name, message, rows)
            return name
        table = self._synced.get(name)
        if table is None or action not in table.actions:
            return None
        return name if table.apply_incomplete(action, rows) else None

    def _apply_image(self, name, message, rows):
        # type: (str, Row, List[Row]) -> None
        table = self._tables.get(name)
        keys = message.get('keys')
        if keys is None:
            keys = self.keys.get(name, [])
        if table is None or bool(table.keys) != bool(keys):
            table = self._make(name, keys)
            table.begin(self._wanted.get(name))
        filter_ = message.get('filter') or {}
        symbols = self._covered_by(name, filter_, rows)
        table.image(keys, message.get('types') or {}, filter_, symbols, rows)
        self.keys[name] = list(keys)
        self._tables[name] = table
        self._synced[name] = table

    def _make(self, name, keys):
        # type: (str, List[str]) -> Any
        if not keys:
            return _Growing(self._history)
        if name == 'order':
            return _Orders(self._history)
        # A book has thousands of rows that come and go, and nobody asks them for a field that the exchange left out.
        return _Keyed(complete=not name.startswith('orderBook'))

    def _covered_by(self, name, filter_, rows):
        # type: (str, Row, List[Row]) -> Optional[Set[str]]
        """Return the symbols that an image is about, None when it is the whole table.

        Since 2024 the filter may be empty although symbols were subscribed one by one: then the rows tell, and an empty
        image is taken for the first symbol that still lacks one.
        """
        if 'symbol' in filter_:
            return {filter_['symbol']}
        wanted = self._wanted.get(name)
        if wanted is None or len(wanted) < 2:
            return None
        named = {row['symbol'] for row in rows if row.get('symbol') in wanted}
        if named:
            return named
        lacking = [topic for topic in self.missing() if split_topic(topic)[0] == name]
        return {split_topic(lacking[0])[1]} if lacking else None  # type: ignore[return-value]


class TableData(Mapping):
    """Tables as strategies read them: ``data['order']`` is a fresh list of live rows.

    A name is in it once that table's first image was there.
    """

    def __init__(self, tables):
        # type: (Tables) -> None
        self._all = tables

    def __getitem__(self, name):
        # type: (str) -> List[Row]
        if name not in self._all._tables:
            raise KeyError(name)
        return self._all.rows(name)

    def __contains__(self, name):
        # type: (object) -> bool
        return name in self._all._tables

    def __iter__(self):
        # type: () -> Iterator[str]
        return iter(list(self._all._tables))

    def __len__(self):
        # type: () -> int
        return len(self._all._tables)

    def __repr__(self):
        # type: () -> str
        return repr(dict(self))


def split_topic(topic):
    # type: (str) -> Any
    """Return (table, symbol) of a subscription; symbol is None for ``margin`` and for ``trade:*``."""
    name, _, symbol = topic.partition(':')
    return name, (symbol if symbol != '*' else '') or None


def fresh(rows):
    # type: (Iterable[Row]) -> List[Row]
    """Return a list of ``rows``, which another thread may be changing: then it is listed again."""
    while True:
        try:
            return list(rows)
        except RuntimeError:  # changed in the middle; the next attempt finds it settled
            continue


def matches(row, filter_):
    # type: (Row, Row) -> bool
    """Say whether an image with this filter speaks for ``row``; a field that the row lacks does not exclude it."""
    return all(row.get(name, value) == value for name, value in filter_.items())


class _Table:
    """What keyed and growing tables share: which part of them has an image.

    ``covers``: symbols with an image, None when the image is of everything.
    ``guarded``: rows of other symbols may arrive before their image and must be told apart ...
    ``resyncing``: ... and rows of the connection before this one are there that they would find.
    """

    def __init__(self):
        # type: () -> None
        self.keys = []          # type: List[str]
        self.covers = set()     # type: Optional[Set[str]]
        self.wanted = None      # type: Optional[Set[str]]
        self.guarded = True
        self.resyncing = False
        self._rows = ()         # type: Any

    def begin(self, wanted):
        # type: (Optional[Set[str]]) -> None
        self.covers = set()
        self.resyncing = bool(self._rows)
        self.await_symbols(wanted)

    def await_symbols(self, wanted):
        # type: (Optional[Set[str]]) -> None
        self.wanted = wanted
        self.guarded = self.covers is not None and not (wanted and wanted <= self.covers)
        self.resyncing = self.resyncing and self.guarded

    def cover(self, symbols):
        # type: (Optional[Set[str]]) -> None
        self.covers = None if symbols is None or self.covers is None else self.covers | symbols
        self.await_symbols(self.wanted)

    def has_image(self, symbol):
        # type: (Optional[str]) -> bool
        return self.covers is None or (symbol in self.covers if symbol else bool(self.covers))

    def covered(self, rows):
        # type: (List[Row]) -> List[Row]
        covers = self.covers
        return rows if covers is None else [row for row in rows if row.get('symbol') in covers]

    @staticmethod
    def scope(filter_, symbols):
        # type: (Row, Optional[Set[str]]) -> Any
        """Return the test that tells which rows an image replaces."""
        if symbols is None or 'symbol' in filter_:
            return lambda row: matches(row, filter_)
        return lambda row: row.get('symbol') in symbols and matches(row, filter_)


class _Growing(_Table):
    """A table without keys: rows are appended, the oldest fall out."""

    finished = {}  # type: Dict[str, Row]

    def __init__(self, history):
        # type: (int) -> None
        _Table.__init__(self)
        self._rows = collections.deque(maxlen=history)  # type: Any
        self.actions = {'insert': self.insert}

    def image(self, keys, types, filter_, symbols, rows):
        # type: (List[str], Row, Row, Optional[Set[str]], List[Row]) -> None
        replaced = self.scope(filter_, symbols)
        kept = [row for row in self._rows if not replaced(row)]
        self._rows = collections.deque(kept + list(rows), maxlen=self._rows.maxlen)
        self.cover(symbols)

    def insert(self, rows):
        # type: (List[Row]) -> bool
        if self.guarded:
            rows = self.covered(rows)
        self._rows.extend(rows)
        return bool(rows)

    def apply_incomplete(self, action, rows):
        # type: (str, List[Row]) -> bool
        return self.insert(rows)

    def listed(self):
        # type: () -> List[Row]
        return fresh(self._rows)

    def last(self):
        # type: () -> Optional[Row]
        try:
            return self._rows[-1]
        except IndexError:
            return None

    def find(self, key):
        # type: (Any) -> Optional[Row]
        return None


class _Keyed(_Table):
    """A table whose rows are found by their key fields.

    ``complete``: every row gets all columns of the table, None where the exchange left one out (it does so since 2023),
    so that strategies can go on reading fields without asking first.
    """

    finished = {}  # type: Dict[str, Row]

    def __init__(self, complete=True):
        # type: (bool) -> None
        _Table.__init__(self)
        self._complete = complete
        self._rows = Ordered()  # type: Any             # row key -> row
        self._blank = {}        # type: Row             # column -> None
        self._key_of = None     # type: Any             # row -> row key; KeyError when a key field is missing
        self.actions = {'insert': self.insert, 'update': self.update, 'delete': self.delete}

    # -- the image ---------------------------------------------------------------------------------------------------

    def image(self, keys, types, filter_, symbols, rows):
        # type: (List[str], Row, Row, Optional[Set[str]], List[Row]) -> None
        """Replace what the filter covers; rows that are in both states stay the same objects."""
        if list(keys) != self.keys:
            self._use_keys(list(keys))
        self._blank = dict.fromkeys(types) if self._complete else {}
        replaced = self.scope(filter_, symbols)
        before = self._rows
        after = Ordered((key, row) for key, row in before.items() if not replaced(row))
        for row in rows:
            key = self.key(row)
            held = after.get(key, before.get(key))
            if self.is_open(key, row, held):
                after[key] = self.renewed(held, row)
            else:
                after.pop(key, None)
        self._rows = after
        self.cover(symbols)

    def _use_keys(self, keys):
        # type: (List[str]) -> None
        """Find rows by other fields from now on: what identifies a position has changed twice over the years."""
        self.keys = keys
        self._key_of = operator.itemgetter(*keys)
        self._rows = Ordered((self.key(row), row) for row in self._rows.values())

    def key(self, row):
        # type: (Row) -> Any
        """Return the key of a row that may lack key fields: they count as None."""
        try:
            return self._key_of(row)
        except KeyError:
            values = tuple(row.get(name) for name in self.keys)
            return values if len(values) > 1 else values[0]

    def is_open(self, key, row, held):
        # type: (Any, Row, Optional[Row]) -> bool
        """Say whether a row of an image belongs into the table."""
        return True

    def renewed(self, held, row):
        # type: (Optional[Row], Row) -> Row
        """Return the row to keep for ``row`` of an image or insert: the one that is held, or a new one."""
        if held is None:
            if not self._blank:
                return row
            held = self._blank.copy()
            held.update(row)
            return held
        if self._blank:
            merged = self._blank.copy()
            merged.update(row)
            held.update(merged)
        else:
            held.update(row)
            for name in [name for name in held if name not in row]:
                del held[name]
        return held

    # -- deltas ------------------------------------------------------------------------------------------------------

    def insert(self, rows):
        # type: (List[Row]) -> bool
        if self.guarded:
            rows = self.covered(rows)
        key_of, table, blank = self._key_of, self._rows, self._blank
        for row in rows:
            key = key_of(row)
            if key in table:
                self.renewed(table[key], row)
            else:
                table[key] = self.renewed(None, row) if blank else row
        return bool(rows)

    def update(self, rows):
        # type: (List[Row]) -> bool
        if self.resyncing:
            rows = self.covered(rows)
        key_of, find = self._key_of, self._rows.get
        known = False
        for row in rows:
            held = find(key_of(row))
            if held is not None:
                held.update(row)
                known = True
        return known

    def delete(self, rows):
        # type: (List[Row]) -> bool
        if self.resyncing:
            rows = self.covered(rows)
        key_of, pop = self._key_of, self._rows.pop
        known = False
        for row in rows:
            if pop(key_of(row), None) is not None:
                known = True
        return known

    def apply_incomplete(self, action, rows):
        # type: (str, List[Row]) -> bool
        """Apply rows of which some lack key fields: a change is meant for the first row that agrees."""
        changed = False
        for row in self.covered(rows) if self.guarded else rows:
            whole = dict(row)
            for name, value in zip(self.keys, self.find_like(row, action)):
                whole.setdefault(name, value)
            changed = self.actions[action]([whole]) or changed
        return changed

    def find_like(self, row, action):
        # type: (Row, str) -> List[Any]
        """Return the values of all key fields for a row that lacks some; None where nothing fits."""
        given = {name: row[name] for name in self.keys if name in row}
        if given and len(given) < len(self.keys) and action != 'insert':
            for held in self._rows.values():
                if all(held.get(name) == value for name, value in given.items()):
                    return [held.get(name) for name in self.keys]
        return [row.get(name) for name in self.keys]

    # -- reading -----------------------------------------------------------------------------------------------------

    def listed(self):
        # type: () -> List[Row]
        return fresh(self._rows.values())

    def last(self):
        # type: () -> Optional[Row]
        rows = self.listed()
        return rows[-1] if rows else None

    def find(self, key):
        # type: (Any) -> Optional[Row]
        return self._rows.get(key if len(self.keys) > 1 else key[0] if key else None)


class _Orders(_Keyed):
    """The open orders: a row leaves when nothing is left of it, and what has left stays out.

    ``finished``: order id -> last state, of the orders that left most recently.
    """

    def __init__(self, history):
        # type: (int) -> None
        _Keyed.__init__(self)
        self._history = history
        self.finished = collections.OrderedDict()  # type: Any

    def is_open(self, key, row, held):
        # type: (Any, Row, Optional[Row]) -> bool
        """Keep finished orders out of an image; one that is open in an image is open, whatever was heard before."""
        if row.get('leavesQty') == 0:
            self._finish(key, self.renewed(held, row))
            return False
        self.finished.pop(key, None)
        return True

    def insert(self, rows):
        # type: (List[Row]) -> bool
        before = self.finished
        opened = [row for row in rows if self.key(row) not in before]
        changed = _Keyed.insert(self, opened) if opened else False
        for row in opened:
            if row.get('leavesQty') == 0:
                self._finish(self.key(row), self._rows.pop(self.key(row), row))
        return changed

    def update(self, rows):
        # type: (List[Row]) -> bool
        if self.resyncing:
            rows = self.covered(rows)
        key_of, find = self._key_of, self._rows.get
        known = False
        for row in rows:
            key = key_of(row)
            held = find(key)
            if held is not None:
                held.update(row)
                known = True
            if row.get('leavesQty') == 0 and key not in self.finished:
                self._finish(key, row if held is None else self._rows.pop(key))
        return known

    def _finish(self, key, row):
        # type: (Any, Row) -> None
        self.finished[key] = row
        if len(self.finished) > self._history:
            self.finished.popitem(last=False)
