"""A second, slower and independent reading of the rules of the live tables, to hold the first one against."""
import copy
import json

from market_maker.ws.tables import Tables


class Reducer:
    """Holds each table as a plain list of rows and applies the rules one after the other."""

    def __init__(self, history=200):
        self.history = history
        self.rows = {}
        self.keys = {}
        self.columns = {}
        self.imaged = {}     # table -> True, or the set of symbols with an image
        self.gone = []       # ids of finished orders, oldest first

    def forget_images(self):
        self.imaged = {}

    def counts(self, table, row):
        imaged = self.imaged.get(table)
        return imaged is True or (bool(imaged) and row.get('symbol') in imaged)

    def whole(self, table, row):
        if self.keys[table] and not table.startswith('orderBook'):
            return dict(dict.fromkeys(self.columns[table]), **row)
        return dict(row)

    def same(self, table, one, other):
        return all(one.get(key) == other.get(key) for key in self.keys[table])

    def find(self, table, row):
        for held in self.rows[table]:
            if self.same(table, held, row):
                return held
        return None

    def finish(self, order_id):
        if order_id not in self.gone:
            self.gone = (self.gone + [order_id])[-self.history:]

    def apply(self, message):
        table, action = message.get('table'), message.get('action')
        if table is None:
            return
        if action == 'partial':
            self.partial(table, message)
        elif table in self.imaged:
            for row in message['data']:
                if self.counts(table, row):
                    getattr(self, action)(table, row)

    def partial(self, table, message):
        filter_ = message.get('filter') or {}
        self.keys[table] = message.get('keys', self.keys.get(table, []))
        self.columns[table] = message.get('types', {})
        kept = [row for row in self.rows.get(table, [])
                if any(row.get(name, value) != value for name, value in filter_.items())]
        self.rows[table] = kept
        if 'symbol' not in filter_:
            self.imaged[table] = True
        elif self.imaged.get(table) is not True:
            self.imaged[table] = self.imaged.get(table, set()) | {filter_['symbol']}
        for row in message.get('data') or []:
            if table == 'order' and row['orderID'] in self.gone and row.get('leavesQty') != 0:
                self.gone.remove(row['orderID'])
            self.insert(table, row)

    def insert(self, table, row):
        if not self.keys[table]:
            self.rows[table] = (self.rows[table] + [row])[-self.history:]
            return
        if table == 'order' and row['orderID'] in self.gone:
            return
        held = self.find(table, row)
        if held is not None:
            self.rows[table] = [self.whole(table, row) if other is held else other for other in self.rows[table]]
        else:
            self.rows[table] = self.rows[table] + [self.whole(table, row)]
        self.drop_finished(table, row)

    def update(self, table, row):
        held = self.find(table, row) if self.keys[table] else None
        if held is not None:
            held.update(row)
        if self.keys[table]:
            self.drop_finished(table, row)

    def delete(self, table, row):
        if self.keys[table]:
            self.rows[table] = [held for held in self.rows[table] if not self.same(table, held, row)]

    def drop_finished(self, table, row):
        if table == 'order' and row.get('leavesQty') == 0:
            self.rows[table] = [held for held in self.rows[table] if held['orderID'] != row['orderID']]
            self.finish(row['orderID'])


def in_order(rows):
    return sorted((json.dumps(row, sort_keys=True) for row in rows))


def assert_same(tables, reducer):
    assert set(tables.data) == set(reducer.rows)
    for name, rows in reducer.rows.items():
        if reducer.keys[name]:
            assert in_order(tables.data[name]) == in_order(rows), name
        else:
            assert tables.data[name] == rows, name


def replay(messages, history=200, every=1):
    """Feed both; compare after every n-th message and at the end."""
    tables, reducer = Tables(history), Reducer(history)
    for number, message in enumerate(messages):
        reducer.apply(copy.deepcopy(message))
        tables.apply(copy.deepcopy(message))
        if number % every == 0:
            assert_same(tables, reducer)
    assert_same(tables, reducer)
    return tables
