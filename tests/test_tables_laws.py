"""The live tables obey the rules under any sequence of messages."""
import copy

import pytest

from market_maker.ws.tables import Tables
from reducer import Reducer, assert_same

hypothesis = pytest.importorskip('hypothesis', reason='the laws of the tables need hypothesis (the test extra)')
st = hypothesis.strategies

SHAPES = {
    'order': (['orderID'], ['orderID', 'symbol', 'leavesQty', 'price']),
    'position': (['account', 'symbol'], ['account', 'symbol', 'qty', 'mark']),
    'orderBookL2': (['symbol', 'id', 'side'], ['symbol', 'id', 'side', 'size']),
    'trade': ([], ['symbol', 'size']),
}
VALUES = {
    'orderID': st.sampled_from('abcd'), 'symbol': st.sampled_from('AB'), 'leavesQty': st.sampled_from([0, 1, 2, None]),
    'price': st.integers(0, 3), 'account': st.just(7), 'qty': st.integers(0, 3), 'mark': st.integers(0, 3),
    'id': st.integers(0, 2), 'side': st.sampled_from(['Buy', 'Sell']), 'size': st.integers(0, 3),
}


@st.composite
def table_rows(draw, name):
    keys, columns = SHAPES[name]
    always = set(keys) | ({'symbol'} if 'symbol' in columns else set())
    if name == 'order':
        symbol_of = {'a': 'A', 'b': 'B', 'c': 'A', 'd': 'B'}
    row = {column: draw(VALUES[column]) for column in columns if column in always or draw(st.booleans())}
    if name == 'order':
        row['symbol'] = symbol_of[row['orderID']]
    return row


@st.composite
def messages(draw):
    if draw(st.integers(0, 12)) == 0:
        return 'reconnect'
    name = draw(st.sampled_from(sorted(SHAPES)))
    keys, columns = SHAPES[name]
    action = draw(st.sampled_from(['partial', 'insert', 'update', 'update', 'delete']))
    data = draw(st.lists(table_rows(name), max_size=4))
    if action != 'partial':
        return {'table': name, 'action': action, 'data': data}
    filter_ = draw(st.sampled_from([{}, {'symbol': 'A'}, {'symbol': 'B'}]))
    data = [row for row in data if all(row.get(field) == value for field, value in filter_.items())]
    return {'table': name, 'action': 'partial', 'keys': keys, 'types': dict.fromkeys(columns, ''), 'filter': filter_,
            'data': data}


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.lists(messages(), max_size=30))
def test_any_sequence_of_messages_leaves_what_the_rules_say(sequence):
    """Tables and the plain reading of the rules agree after every message, whatever comes in whatever order."""
    tables, reducer = Tables(history=4), Reducer(history=4)
    for message in sequence:
        if message == 'reconnect':
            tables.expect([])
            reducer.forget_images()
            continue
        tables.apply(copy.deepcopy(message))
        reducer.apply(copy.deepcopy(message))
        assert_same(tables, reducer)
        for name in tables.data:
            for row in tables.rows(name):
                if tables.keys[name]:
                    assert tables.row(name, *[row.get(key) for key in tables.keys[name]]) is row


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.lists(messages(), max_size=30))
def test_held_rows_are_the_rows(sequence):
    """A row that is in a table before and after a message is one and the same object."""
    tables = Tables(history=4)
    for message in sequence:
        before = {name: {tuple(row.get(key) for key in keys): row for row in tables.rows(name)}
                  for name, keys in tables.keys.items() if keys}
        if message == 'reconnect':
            tables.expect([])
        else:
            tables.apply(copy.deepcopy(message))
        if message != 'reconnect' and message['action'] == 'delete':
            continue  # what was deleted may only come back as a new row
        for name, rows in before.items():
            for row in tables.rows(name):
                key = tuple(row.get(field) for field in tables.keys[name])
                assert rows.get(key, row) is row
