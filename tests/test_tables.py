"""The live tables rule by rule, and against recordings."""
import glob
import gzip
import heapq
import json
import os
import threading

import pytest

from market_maker.ws import tables as tables_module
from market_maker.ws.tables import Tables, parse
from reducer import replay

RECORDINGS = os.environ.get('RECORDINGS')
with_recordings = pytest.mark.skipif(not RECORDINGS, reason='RECORDINGS names no folder of recordings')

ORDER_TYPES = {'orderID': 'guid', 'symbol': 'symbol', 'price': 'float', 'leavesQty': 'long', 'stopPx': 'float'}


# -- single rules ----------------------------------------------------------------------------------------------------

def image(table, data, keys=(), **more):
    return dict({'table': table, 'action': 'partial', 'keys': list(keys), 'data': data}, **more)


def delta(table, action, *rows):
    return {'table': table, 'action': action, 'data': list(rows)}


def an_order(order_id='a', **fields):
    return dict({'orderID': order_id, 'symbol': 'XBTUSD', 'price': 1.0, 'leavesQty': 10}, **fields)


def with_orders(*rows):
    tables = Tables()
    tables.apply(image('order', list(rows), ['orderID'], types=ORDER_TYPES))
    return tables


def test_deltas_before_the_image_are_dropped():
    """Nothing counts before the partial, whatever it is."""
    tables = Tables()

    assert tables.apply(delta('order', 'insert', an_order())) is None
    assert tables.apply(delta('trade', 'insert', {'symbol': 'XBTUSD'})) is None
    assert 'order' not in tables.data and not tables.has_image('order')

    assert tables.apply(image('order', [], ['orderID'])) == 'order'
    assert tables.has_image('order') and tables.data['order'] == []


def test_an_image_of_one_symbol_opens_that_symbol_only():
    """With several symbol subscriptions each symbol waits for its own partial."""
    tables = Tables()
    tables.apply(image('quote', [{'symbol': 'A', 'bidPrice': 1}], filter={'symbol': 'A'}))

    assert tables.apply(delta('quote', 'insert', {'symbol': 'B', 'bidPrice': 7})) is None
    tables.apply(image('quote', [{'symbol': 'B', 'bidPrice': 8}], filter={'symbol': 'B'}))
    tables.apply(delta('quote', 'insert', {'symbol': 'B', 'bidPrice': 9}))

    assert [row['bidPrice'] for row in tables.rows('quote')] == [1, 8, 9]
    assert tables.has_image('quote', 'B') and not tables.has_image('quote', 'C')


def test_images_without_a_filter_are_told_apart_by_their_rows():
    """Since 2024 the filter may be empty for symbol subscriptions; an empty one is that of the next symbol in line."""
    tables = Tables()
    tables.expect(['orderBookL2:A', 'orderBookL2:B'])
    level = {'id': 1, 'side': 'Buy', 'size': 5}

    tables.apply(image('orderBookL2', [dict(level, symbol='B')], ['symbol', 'id', 'side'], filter={}))
    assert tables.missing() == ['orderBookL2:A']
    assert tables.apply(delta('orderBookL2', 'insert', dict(level, symbol='A'))) is None

    tables.apply(image('orderBookL2', [], ['symbol', 'id', 'side'], filter={}))
    assert tables.missing() == []
    assert tables.apply(delta('orderBookL2', 'insert', dict(level, symbol='A'))) == 'orderBookL2'
    assert len(tables.rows('orderBookL2')) == 2


def test_a_second_image_replaces():
    """A partial that comes again is the new truth, not an addition."""
    tables = with_orders(an_order('a'), an_order('b'))

    tables.apply(image('order', [an_order('b', price=2.0), an_order('c')], ['orderID'], types=ORDER_TYPES))

    assert [(row['orderID'], row['price']) for row in tables.data['order']] == [('b', 2.0), ('c', 1.0)]


def test_a_second_image_replaces_what_its_filter_names_only():
    """The image of one symbol, or one account, leaves the others' rows alone."""
    tables = Tables()
    tables.apply(image('trade', [{'symbol': 'A', 'size': 1}], filter={'symbol': 'A'}))
    tables.apply(image('trade', [{'symbol': 'B', 'size': 2}], filter={'symbol': 'B'}))
    tables.apply(image('trade', [{'symbol': 'A', 'size': 3}], filter={'symbol': 'A'}))
    tables.apply(image('margin', [{'account': 1, 'currency': 'XBt', 'n': 1}], ['account', 'currency'],
                       filter={'account': 1}))
    tables.apply(image('margin', [{'account': 2, 'currency': 'XBt', 'n': 2}], ['account', 'currency'],
                       filter={'account': 2}))

    assert [(row['symbol'], row['size']) for row in tables.rows('trade')] == [('B', 2), ('A', 3)]
    assert [row['n'] for row in tables.rows('margin')] == [1, 2]


def test_held_rows_stay_live_through_updates_and_images():
    """Whoever holds a row sees its present values for ever; what others added to it stays."""
    tables = with_orders(an_order('a', stopPx=5.0))
    held = tables.row('order', 'a')
    held['note'] = 'mine'

    tables.apply(delta('order', 'update', {'orderID': 'a', 'price': 2.0}))
    assert held['price'] == 2.0 and held['stopPx'] == 5.0

    tables.expect(['order:XBTUSD'])
    tables.apply(image('order', [an_order('a', price=3.0)], ['orderID'], types=ORDER_TYPES))
    assert tables.row('order', 'a') is held
    assert held == dict(an_order('a', price=3.0, stopPx=None), note='mine')

    tables.apply(delta('order', 'insert', an_order('a', price=4.0)))
    assert tables.row('order', 'a') is held and held['price'] == 4.0


def test_lists_are_fresh():
    """Changing a list that was handed out changes nothing for anybody else."""
    tables = with_orders(an_order('a'))

    tables.data['order'].clear()
    tables.rows('order').append('x')

    assert len(tables.rows('order')) == 1


def test_left_out_columns_read_as_none():
    """Since 2023 nulls are not sent in images and inserts; rows have all columns all the same, but for books."""
    tables = with_orders({'orderID': 'a', 'leavesQty': 3})
    tables.apply(delta('order', 'insert', {'orderID': 'b', 'leavesQty': 4}))
    tables.apply(image('orderBookL2', [{'symbol': 'A', 'id': 1, 'side': 'Buy'}], ['symbol', 'id', 'side'],
                       types={'symbol': '', 'id': '', 'side': '', 'size': ''}))

    assert [row['stopPx'] for row in tables.rows('order')] == [None, None]
    assert tables.rows('orderBookL2') == [{'symbol': 'A', 'id': 1, 'side': 'Buy'}]


def test_unknown_rows_are_left_alone():
    """An update or delete of a row that is not there changes nothing and fails nothing."""
    tables = with_orders(an_order('a'))

    assert tables.apply(delta('order', 'update', {'orderID': 'z', 'price': 9.0})) is None
    assert tables.apply(delta('order', 'delete', {'orderID': 'z'})) is None
    assert tables.rows('order') == [dict(an_order('a'), stopPx=None)]


def test_messages_of_no_table_change_nothing():
    """Welcomes, acknowledgements, errors, lists and unknown actions pass by."""
    tables = with_orders(an_order('a'))

    for message in ({'info': 'Welcome'}, {'success': True, 'subscribe': 'order'}, {'status': 400, 'error': 'x'}, [1], 7,
                    {'table': 'order', 'action': 'explode', 'data': [an_order('b')]}, {'table': 'order'}):
        assert tables.apply(message) is None
    assert len(tables.rows('order')) == 1


def test_a_finished_order_leaves_and_stays_away():
    """leavesQty 0 takes an order out; neither a late update nor a late insert brings it back."""
    tables = with_orders(an_order('a'), an_order('b'))
    held = tables.row('order', 'a')

    tables.apply(delta('order', 'update', {'orderID': 'a', 'leavesQty': 0, 'ordStatus': 'Filled'}))
    tables.apply(delta('order', 'update', {'orderID': 'a', 'leavesQty': 10, 'ordStatus': 'New'}))
    tables.apply(delta('order', 'insert', an_order('a')))

    assert [row['orderID'] for row in tables.rows('order')] == ['b']
    assert held['ordStatus'] == 'Filled'
    assert tables.finished_order('a') is held and tables.finished_order('b') is None


def test_an_order_may_be_born_finished():
    """A refused post-only order arrives as one insert with nothing left; it never is an open order."""
    tables = with_orders()

    tables.apply(delta('order', 'insert', an_order('a', leavesQty=0, ordStatus='Canceled')))
    tables.apply(image('order', [an_order('b', leavesQty=0), an_order('c')], ['orderID'], types=ORDER_TYPES))

    assert [row['orderID'] for row in tables.rows('order')] == ['c']
    assert tables.finished_order('a')['ordStatus'] == 'Canceled'
    assert tables.finished_order('b')['leavesQty'] == 0


def test_an_image_may_name_an_order_twice():
    """The last word counts: open first and finished after is finished."""
    tables = with_orders(an_order('a'), an_order('a', leavesQty=0))

    assert tables.rows('order') == []


def test_an_end_that_comes_before_its_beginning_counts():
    """The last word on an order that is not known yet is remembered: its insert is no open order any more."""
    tables = with_orders()

    tables.apply(delta('order', 'update', {'orderID': 'a', 'leavesQty': 0}))
    tables.apply(delta('order', 'insert', an_order('a')))

    assert tables.rows('order') == []


def test_an_open_order_in_an_image_is_open():
    """A fresh image is the truth, also about an order that was heard to be finished."""
    tables = with_orders(an_order('a'))
    tables.apply(delta('order', 'update', {'orderID': 'a', 'leavesQty': 0}))

    tables.apply(image('order', [an_order('a')], ['orderID'], types=ORDER_TYPES))

    assert len(tables.rows('order')) == 1 and tables.finished_order('a') is None


def test_finished_orders_are_forgotten_in_time():
    """Only the newest finished orders are remembered, so that a long run does not grow."""
    tables = Tables(history=3)
    tables.apply(image('order', [], ['orderID']))

    for name in 'abcd':
        tables.apply(delta('order', 'insert', an_order(name, leavesQty=0)))

    assert tables.finished_order('a') is None and tables.finished_order('d') is not None


def test_history_is_bounded():
    """Tables without keys keep their newest rows."""
    tables = Tables(history=5)
    tables.apply(image('trade', [{'size': 0}]))

    for size in range(1, 20):
        tables.apply(delta('trade', 'insert', {'size': size}, {'size': -size}))

    assert [row['size'] for row in tables.rows('trade')] == [-17, 18, -18, 19, -19]
    assert tables.last('trade') == {'size': -19}


def test_keys_come_from_the_image():
    """What identifies a position changed over the years; the image says it, also when it changes under way."""
    tables = Tables()
    row = {'account': 1, 'symbol': 'A', 'currency': 'XBt', 'currentQty': 1}
    tables.apply(image('position', [row], ['account', 'symbol', 'currency']))
    held = tables.row('position', 1, 'A', 'XBt')
    assert held == row

    tables.expect(['position'])
    rows = [dict(row, strategy='OneWay', currentQty=2), dict(row, symbol='B', strategy='OneWay')]
    tables.apply(image('position', rows, ['account', 'symbol', 'strategy']))

    assert tables.keys['position'] == ['account', 'symbol', 'strategy']
    assert tables.row('position', 1, 'A', 'OneWay')['currentQty'] == 2
    assert tables.row('position', 1, 'A', 'XBt') is None


def test_rows_with_lost_key_fields_find_their_row():
    """A change that lacks a key field is meant for the row that agrees in the others."""
    tables = Tables()
    keys = ['symbol', 'id', 'side']
    tables.apply(image('orderBookL2', [{'symbol': 'A', 'id': 1, 'side': 'Buy', 'size': 1},
                                       {'symbol': 'A', 'id': 2, 'side': 'Sell', 'size': 1}], keys))

    assert tables.apply(delta('orderBookL2', 'update', {'symbol': 'A', 'id': 2, 'size': 7})) == 'orderBookL2'
    assert tables.apply(delta('orderBookL2', 'delete', {'symbol': 'A', 'id': 1})) == 'orderBookL2'
    assert tables.apply(delta('orderBookL2', 'delete', {'size': 1})) is None

    assert tables.rows('orderBookL2') == [{'symbol': 'A', 'id': 2, 'side': 'Sell', 'size': 7}]


def test_several_changes_of_one_row_in_one_message():
    """They apply one after the other."""
    tables = with_orders(an_order('a'))

    tables.apply(delta('order', 'update', {'orderID': 'a', 'price': 2.0}, {'orderID': 'a', 'price': 3.0},
                       {'orderID': 'z', 'price': 4.0}))

    assert tables.row('order', 'a')['price'] == 3.0


def test_a_new_connection_waits_for_new_images():
    """After expect() the old rows can be read, but nothing changes them until the image is there."""
    tables = with_orders(an_order('a'))
    tables.apply(image('quote', [{'symbol': 'A', 'n': 1}], filter={'symbol': 'A'}))
    tables.apply(image('quote', [{'symbol': 'B', 'n': 2}], filter={'symbol': 'B'}))

    tables.expect(['order:XBTUSD', 'quote:A', 'quote:B', 'margin'])
    assert tables.missing() == ['order:XBTUSD', 'quote:A', 'quote:B', 'margin']
    assert tables.apply(delta('order', 'update', {'orderID': 'a', 'price': 9.0})) is None
    assert tables.rows('order')[0]['price'] == 1.0

    tables.apply(image('quote', [{'symbol': 'A', 'n': 3}], filter={'symbol': 'A'}))
    assert tables.apply(delta('quote', 'insert', {'symbol': 'B', 'n': 4})) is None
    assert tables.missing() == ['order:XBTUSD', 'quote:B', 'margin']
    assert [row['n'] for row in tables.rows('quote')] == [2, 3]


def test_stale_rows_of_another_symbol_are_guarded():
    """While one symbol's image is outstanding, its old rows take no delta, although the table is live for others."""
    tables = Tables()
    keys = ['symbol', 'id']
    for symbol in 'AB':
        tables.apply(image('orderBookL2', [{'symbol': symbol, 'id': 1, 'size': 1}], keys, filter={'symbol': symbol}))
    tables.expect(['orderBookL2:A', 'orderBookL2:B'])
    tables.apply(image('orderBookL2', [{'symbol': 'A', 'id': 1, 'size': 2}], keys, filter={'symbol': 'A'}))

    for action in ('update', 'delete'):
        assert tables.apply(delta('orderBookL2', action, {'symbol': 'B', 'id': 1, 'size': 9})) is None
    tables.apply(image('orderBookL2', [{'symbol': 'B', 'id': 1, 'size': 3}], keys, filter={'symbol': 'B'}))
    tables.apply(delta('orderBookL2', 'update', {'symbol': 'B', 'id': 1, 'size': 4}))

    assert [row['size'] for row in tables.rows('orderBookL2')] == [2, 4]


def test_topics_can_be_added():
    """A later subscription is missing until its image comes; the rest stays."""
    tables = Tables()
    tables.expect(['margin'])
    tables.apply(image('margin', [], ['account', 'currency']))

    tables.expect_also('trade:*')
    assert tables.missing() == ['trade:*']
    tables.apply(image('trade', []))
    assert tables.missing() == []


def test_reading_while_another_thread_writes():
    """Lists can be taken at any time; each row in them is whole."""
    tables = Tables()
    tables.apply(image('orderBookL2', [], ['id']))
    tables.apply(image('trade', []))
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            tables.apply(delta('orderBookL2', 'insert', {'id': number, 'a': number, 'b': number}))
            tables.apply(delta('orderBookL2', 'update', {'id': number, 'a': -number, 'b': -number}))
            tables.apply(delta('orderBookL2', 'delete', {'id': number - 500}))
            tables.apply(delta('trade', 'insert', {'id': number}))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3000):
            assert all(row['a'] == row['b'] for row in map(dict, tables.rows('orderBookL2')))
            assert len(tables.data['trade']) <= 200
    finally:
        stop.set()
        writer.join()


# -- parsing ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('module', [tables_module.orjson, None], ids=['orjson', 'json'])
def test_parse(module, monkeypatch):
    """Frames are decoded with or without orjson; what is not JSON is a ValueError."""
    if module is None:
        monkeypatch.setattr(tables_module, 'orjson', None)
    elif not hasattr(module, 'loads'):
        pytest.skip('orjson is not installed')

    assert parse(b'{"a":[1,2.5,null,"\xc3\xa9"]}') == {'a': [1, 2.5, None, u'\xe9']}
    assert parse(b' {"a":1} ') == {'a': 1}
    for bad in (b'{"a":', b'{"a":1} x', b'\xff', b''):
        with pytest.raises(ValueError):
            parse(bad)


# -- recordings ------------------------------------------------------------------------------------------------------

def opened(path):
    return gzip.open(path, 'rt', encoding='utf-8') if path.endswith('.gz') else open(path, encoding='utf-8')


def recorded(pattern):
    return sorted(glob.glob(os.path.join(RECORDINGS or '', 'ws', pattern)))


def frames_of(path):
    """Return (connection label, message) of every frame that was received."""
    with opened(path) as lines:
        for line in lines:
            if path.endswith(('.txt', '.txt.gz')):
                stamp, _, text = line.partition(': ')
                if stamp.replace('.', '').isdigit():
                    yield None, json.loads(text)
            else:
                row = json.loads(line)
                message = row.get('msg', row.get('message'))
                if isinstance(message, dict):
                    yield row.get('conn'), message


@with_recordings
@pytest.mark.parametrize('pattern, least', [
    ('private_*.jsonl', 10), ('private_*.jsonl.gz', 1000), ('embedded_*.jsonl', 3), ('official_*.jsonl', 1),
    ('tardis_raw_*', 10), ('cryptofeed_*', 100)])
def test_recordings_leave_what_the_rules_say(pattern, least):
    """Every recorded stream, connection by connection, ends in the same rows by both readings of the rules."""
    paths = recorded(pattern)
    if not paths:
        pytest.skip('no recording ' + pattern)
    for path in paths:
        streams, deep = {}, set()
        for connection, message in frames_of(path):
            if message.get('table') == 'orderBookL2' and len(message['data']) > 150:
                deep.update(row['symbol'] for row in message['data'])  # too many rows for the reducer's linear search
            if 'table' in message and not (message['table'] == 'orderBookL2' and message['data'][0]['symbol'] in deep):
                streams.setdefault(connection, []).append(message)
        assert sum(map(len, streams.values())) >= least
        for stream in streams.values():
            replay(stream, every=1 if len(stream) < 500 else 97)


@with_recordings
@pytest.mark.parametrize('name', ['cryptofeed_20210722_ws.txt.gz', 'cryptofeed_20210417_ws.txt.gz'])
def test_recorded_books_are_sane_and_agree_with_the_quotes(name):
    """Replayed books are never crossed, know every id, and end at the prices that the last quotes show."""
    paths = recorded(name)
    if not paths:
        pytest.skip('no recording ' + name)
    tables = Tables(history=1000)
    unknown = agreeing = 0
    for _, message in frames_of(paths[0]):
        known = tables.apply(message)
        if message.get('table') == 'orderBookL2' and known is None:
            unknown += 1
    quotes = {row['symbol']: row for row in tables.rows('quote')}
    imaged = {message['data'][0]['symbol'] for _, message in frames_of(paths[0])
                   if message.get('table') == 'orderBookL2' and message['action'] == 'partial' and message['data']}
    prices = {}
    for row in tables.rows('orderBookL2'):
        prices.setdefault(row['symbol'], {'Buy': [], 'Sell': []})[row['side']].append(row['price'])
    for symbol in imaged:
        bid, ask = max(prices[symbol]['Buy']), min(prices[symbol]['Sell'])
        assert bid < ask
        quote = quotes.get(symbol)
        agreeing += quote is not None and (quote['bidPrice'], quote['askPrice']) == (bid, ask)

    assert unknown == 0
    assert agreeing >= 0.8 * len(imaged)  # a change or two may have been under way when the recording ended


@with_recordings
def test_recorded_book_equals_the_recorder_s_own_snapshots():
    """A book fed level by level shows, each time, the five best levels that an independent program computed."""
    paths = recorded('tardis_normalized_*')
    if not paths:
        pytest.skip('no normalised recording')
    tables, levels, snapshots = Tables(), set(), 0
    with opened(paths[0]) as lines:
        for line in lines:
            row = json.loads(line)
            if row['type'] == 'book_change':
                for message in as_bitmex(row, levels):
                    tables.apply(message)
            elif row.get('name') == 'book_snapshot_5_0ms':
                snapshots += 1
                if snapshots % 3:  # sorting the whole book each time is slow, and an error would stay in it
                    continue
                assert best(tables, 'Buy') == [(level['price'], level['amount']) for level in row['bids']]
                assert best(tables, 'Sell') == [(level['price'], level['amount']) for level in row['asks']]

    assert snapshots > 1000


def as_bitmex(change, levels):
    """Return a normalised book change as the frames that BitMEX would have sent; ``levels`` are those that exist."""
    rows = {'insert': [], 'update': [], 'delete': []}
    if change['isSnapshot']:
        levels.clear()
    for side, name in (('Buy', 'bids'), ('Sell', 'asks')):
        for level in change[name]:
            key = (side, level['price'])
            action = 'delete' if not level['amount'] else 'update' if key in levels else 'insert'
            (levels.discard if action == 'delete' else levels.add)(key)
            rows[action].append({'symbol': change['symbol'], 'id': int(level['price'] * 100), 'side': side,
                                 'size': level['amount'], 'price': level['price']})
    if change['isSnapshot']:
        return [image('orderBookL2', rows['insert'], ['symbol', 'id', 'side'])]
    return [delta('orderBookL2', action, *rows[action]) for action in ('delete', 'update', 'insert') if rows[action]]


def best(tables, side, depth=5):
    """Return the (price, size) of the best levels of one side, best first."""
    rows = [(row['price'], row['size']) for row in tables.rows('orderBookL2') if row['side'] == side]
    return heapq.nlargest(depth, rows) if side == 'Buy' else heapq.nsmallest(depth, rows)
