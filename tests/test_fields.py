"""Every kind of row that leaves the exchange, over REST and WebSocket: its fields are BitMEX's, its values are valid.

The fields are those of tests/reference_fields.py; the differences are listed there and in docs/local-exchange.md.
Types, formats and required fields are those of the official specification, where it is at hand.
"""
import os
import re

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import official  # noqa: E402
import reference_fields as reference  # noqa: E402
from local_client import Client, Socket, auth_headers  # noqa: E402

from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.simulator import schema  # noqa: E402
from market_maker.simulator.api import Api  # noqa: E402
from market_maker.simulator.timestamps import iso  # noqa: E402
from market_maker.utils.clock import ManualClock  # noqa: E402

NOON = 1777809600   # of a Sunday, 2026-05-03: the weekly future is far from its end
SYMBOLS = ('XBTUSD', 'ETHUSD', 'XBTUSDT', 'XBT7D')
PEOPLE = [{'key': 'alice', 'secret': 's', 'balance': {'XBt': 10 ** 10, 'USDt': 10 ** 12}},
          {'key': 'bob', 'secret': 's', 'balance': {'XBt': 2000000, 'USDt': 10 ** 9}}]
PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs', 'local-exchange.md')


class Seen(object):
    """What a busy day on the exchange looked like from outside."""

    def __init__(self):
        self.rows = {}      # kind -> rows, whole ones, from both protocols
        self.answers = []   # (verb, path of the specification, payload)
        self.tables = {}    # table -> rows of partials and inserts over the WebSocket
        self.updates = {}   # (table, update or delete) -> rows

    def add(self, table, row):
        """Take a whole row of a table."""
        self.rows.setdefault(kind_of(table, row), []).append(row)


def kind_of(table, row):
    """Return the kind of row, as in reference_fields.ROWS."""
    if table == 'order':
        return 'order: ' + kind_of_order(row)
    if table == 'execution':
        return 'execution: ' + kind_of_execution(row)
    if table == 'position':
        # the lights of the deleveraging queue come with the next mark
        return 'position: {}'.format('closed' if not row['isOpen'] else
                                     'open' if 'deleveragePercentile' in row else 'just opened')
    if table == 'transact':
        return 'transaction: ' + row['transactType']
    if table == 'trade':
        return 'trade: ' + row['trdType']
    if table == 'instrument':
        return 'instrument: ' + kind_of_contract(row)
    return table[:8] if table[:8] in ('quoteBin', 'tradeBin') else table


def kind_of_order(row):
    """Return what an order is, from what it was sent with."""
    if row.get('error'):
        return 'cancel that failed'
    for name, kind in (('triggered', 'triggered'), ('clOrdLinkID', 'linked'), ('displayQty', 'iceberg'),
                       ('pegPriceType', 'trailing stop'), ('stopPx', 'stop')):
        if row.get(name):
            return kind
    if row.get('execInst') == 'ParticipateDoNotInitiate':
        return 'post-only'
    kind = 'close' if row.get('execInst') == 'Close' else row['ordType'].lower()
    return kind + ', filled' if row['cumQty'] else kind


def kind_of_execution(row):
    """Return what an execution tells; other orders' than plain and triggered ones are 'special'."""
    kind = row['execType']
    if kind in ('CancelReject', 'Funding', 'Settlement', 'Liquidation'):
        return kind
    order = kind_of_order(row)
    if kind == 'Trade':
        kind += ', maker' if row['lastLiquidityInd'] == 'AddedLiquidity' else ', taker'
    elif kind == 'New':
        kind += ', ' + row['ordType'].lower()
    elif kind == 'TriggeredOrActivatedBySystem':
        return kind
    return kind + ('' if order.partition(',')[0] in ('limit', 'market') else ', special')


def kind_of_contract(row):
    """Return what an instrument is."""
    if row['symbol'].startswith('.'):
        return 'index'
    if row.get('expiry'):
        return 'dated future' if row['state'] == 'Open' else 'settled future'
    return ('inverse' if row['isInverse'] else 'quanto' if row['isQuanto'] else 'linear') + ' perpetual'


def tables_of(path):
    """Return the table whose rows a route answers with, None where it answers with something else."""
    special = {'/order': 'order', '/execution/tradeHistory': 'execution', '/user/executionHistory': 'execution',
               '/user/margin': 'margin', '/user/wallet': 'wallet', '/user/walletHistory': 'transact',
               '/orderBook/L2': 'orderBookL2', '/trade/bucketed': 'tradeBin1m', '/quote/bucketed': 'quoteBin1m',
               '/instrument/active': 'instrument', '/instrument/indices': 'instrument',
               '/instrument/activeAndIndices': 'instrument', '/stats': 'stats', '/user': 'user', '/apiKey': 'key',
               '/instrument/compositeIndex': 'composite index'}
    return special.get(path, path[1:] if path[1:] in schema.TABLES else None)


def deepen(exchange):
    """Put so much behind the best prices that all contracts have impact prices, as real ones did."""
    for symbol, tape in exchange.tapes.items():
        bid, _, ask, _ = tape.book.touch()
        size = 10 ** 6 * tape.instrument.lot
        exchange.rest(symbol, 'Buy', bid - 1, size)
        exchange.rest(symbol, 'Sell', ask + 1, size)


def a_busy_day(testnet, seen):
    """Let everything happen that makes a row."""
    exchange = testnet.exchange
    alice, bob = Client(testnet, 'alice', 's'), Client(testnet, 'bob', 's')

    def send(client, verb, path, body):
        answer = client.send(verb, path, body)
        assert answer.status_code == 200, (path, body, answer.text)
        seen.answers.append((verb, path, answer.json()))
        return answer.json()

    def place(client, **fields):
        return send(client, 'POST', '/order', fields)

    def pass_time(seconds):
        testnet.call(lambda: testnet.server.market.step(exchange.now + seconds))

    mine = place(alice, symbol='XBTUSD', orderQty=300, price=77000)
    send(alice, 'PUT', '/order', {'orderID': mine['orderID'], 'price': 77001, 'orderQty': 200})
    for _ in range(2):
        seen.rows.setdefault('cancel that failed', []).extend(
            row for row in send(alice, 'DELETE', '/order', {'orderID': mine['orderID']}) if 'error' in row)
    for symbol, quantity in zip(SYMBOLS, (1000, 10, 1000, 10)):
        place(alice, symbol=symbol, orderQty=-quantity, ordType='Market')
    place(alice, symbol='XBTUSD', orderQty=-100, stopPx=60000, ordType='Stop', execInst='LastPrice')
    place(alice, symbol='XBTUSD', orderQty=-100, pegPriceType='TrailingStopPeg', pegOffsetValue=-100)
    place(alice, symbol='XBTUSD', orderQty=100, price=60000, execInst='ParticipateDoNotInitiate')
    place(alice, symbol='XBTUSD', orderQty=1000, price=77500, displayQty=100)
    place(alice, symbol='XBTUSD', orderQty=100, price=77500, clOrdLinkID='l', contingencyType='OneCancelsTheOther')
    place(alice, symbol='XBTUSDT', orderQty=1000, price=exchange.instruments['XBTUSDT'].price_of(
        exchange.books['XBTUSDT'].touch()[0] + 1) - 0.1)
    testnet.call(lambda: exchange.take('XBTUSDT', 'Sell', 10 ** 7))
    send(alice, 'POST', '/order/cancelAllAfter', {'timeout': 0})
    send(bob, 'POST', '/position/leverage', {'symbol': 'XBTUSD', 'leverage': 100})
    place(bob, symbol='XBTUSD', orderQty=50000, ordType='Market')
    send(alice, 'POST', '/user/requestWithdrawal', {'currency': 'XBt', 'network': 'btc', 'amount': 5000,
                                                    'address': 'there', 'memo': 'm', 'text': 't'})
    send(alice, 'POST', '/user/walletTransfer', {'currency': 'USDt', 'amount': 5000, 'targetAccountId': 100002})
    for path, body in (('isolate', {'enabled': False}), ('riskLimit', {'riskLimit': 35000000000})):
        send(alice, 'POST', '/position/' + path, dict(body, symbol='XBTUSD'))
    send(alice, 'POST', '/order/closePosition', {'symbol': 'ETHUSD'})
    testnet.call(lambda: exchange.set_funding('XBTUSD', 0.0001, 60))
    pass_time(70)
    testnet.call(lambda: exchange.set_mark('XBTUSD', 70000))   # bob is liquidated, the trailing stop triggers
    pass_time(3)
    look_around(alice, bob, exchange, seen)
    testnet.call(lambda: exchange.set_state('XBT7D', 'Settled'))
    pass_time(3)
    look_around(alice, bob, exchange, seen)
    send(alice, 'DELETE', '/order/all', {})


def look_around(alice, bob, exchange, seen):
    """Ask every GET route."""
    queries = {
        '/orderBook/L2': '?symbol=XBTUSD', '/user/executionHistory': '?symbol=XBTUSD&timestamp=' + iso(exchange.now),
        '/user/depositAddress': '?currency=XBt&network=btc',
        '/user/depositAddressInformation': '?currency=XBt&network=btc'}
    for verb, path in sorted(Api(exchange)._routes):
        if verb != 'GET':
            continue
        for client in (alice, bob):
            payload = client.get(path + queries.get(path, ''))
            seen.answers.append((verb, path, payload))
            table = tables_of(path)
            rows = payload if isinstance(payload, list) else [payload]
            if path == '/order':
                seen.rows.setdefault('order: still open, by GET /order', []).extend(
                    row for row in rows if kind_of_order(row) == 'limit' and row['workingIndicator'])
            for row in rows if table else []:
                if path[:6] != '/quote' or 'bidPrice' in row and 'askPrice' in row:
                    seen.add(table, row)
            if path == '/user/commission':
                seen.rows['commission'] = list(payload.values())
            if path == '/wallet/assets':
                seen.rows['asset'] = payload
                seen.rows['network of an asset'] = [one for row in payload for one in row['networks']]


@pytest.fixture(scope='module')
def seen():
    """All that was answered and sent on a busy day."""
    seen = Seen()
    with running(symbols=SYMBOLS, bid=78000, ask=78000.1, accounts=PEOPLE, clock=ManualClock(NOON)) as testnet:
        testnet.call(lambda: deepen(testnet.exchange))
        testnet.call(lambda: testnet.server.market.step(testnet.exchange.now + 1))
        sockets = [Socket(testnet.ws_url + '?subscribe=' + ','.join(schema.TABLES), auth_headers(person['key'], 's'))
                   for person in PEOPLE]
        for ws in sockets:
            ws.partial(list(schema.TABLES)[-1])
        a_busy_day(testnet, seen)
        for ws in sockets:
            ws.send('ping')
            ws.until(lambda frame: frame == 'pong')
            for frame in ws.frames:
                if isinstance(frame, dict) and 'table' in frame:
                    for row in frame['data']:
                        if frame['action'] in ('partial', 'insert'):
                            seen.tables.setdefault(frame['table'], []).append(row)
                        else:
                            seen.updates.setdefault((frame['table'], frame['action']), []).append(row)
            ws.close()
    for table, rows in seen.tables.items():
        for row in rows:
            # a quote without one of its sides is no kind of its own
            if not table.startswith('quote') or 'bidPrice' in row and 'askPrice' in row:
                seen.add(table, row)
    return seen


def differences(name, found, wanted):
    """Return what is missing and what is more than in the reference, as DEVIATIONS has it."""
    return tuple(' '.join(sorted(one)) for one in (set(wanted) - set(found), set(found) - set(wanted)))


@pytest.mark.parametrize('table', list(reference.COLUMNS))
def test_columns_of_a_table(table):
    """Keys and columns, as partials and GET /schema tell them."""
    keys, types = schema.TABLES[table][:2]

    found = differences(table, types, reference.COLUMNS[table].split())
    assert found == reference.DEVIATIONS.get(table + ' columns', ('', ''))
    assert keys == reference.KEYS[table].split()


@pytest.mark.parametrize('kind', list(reference.ROWS))
def test_fields_of_a_row(seen, kind):
    """Each row of a kind has exactly the fields of BitMEX's, but for the listed differences."""
    rows = seen.rows[kind]

    missing, more = (set(names.split()) for names in reference.DEVIATIONS.get(kind, ('', '')))
    wanted = set(reference.ROWS[kind].split()) - missing | more
    for row in rows:
        assert set(row) == wanted, (kind, sorted(wanted - set(row)), sorted(set(row) - wanted))


@pytest.mark.parametrize('table, action', list(reference.CHANGES))
def test_fields_of_a_change(seen, table, action):
    """An update has always these fields, and of the others those that changed; a delete has these and no others."""
    rows = seen.updates[table, action]
    always = set(reference.CHANGES[table, action].split())

    for row in rows:
        assert set(row) >= always, (table, row)
        assert set(row) == always if action == 'delete' else set(row) <= set(schema.TABLES[table][1]), (table, row)


def test_only_tables_with_keys_change(seen):
    """Trades, quotes, executions and bins are only ever added to; whatever else changed is among the above."""
    assert set(seen.updates) == set(reference.CHANGES)
    assert all(reference.KEYS.get(table) for table, _ in seen.updates)


def test_no_kind_of_row_is_left_out(seen):
    """What else was seen are combinations of the kinds above, and the rows of closed positions and contracts."""
    others = {kind for kind in seen.rows if kind not in reference.ROWS and not kind.endswith('special')}

    assert others == {'position: just opened', 'instrument: settled future', 'affiliate', 'order: limit, filled'}


# -- the official specification --------------------------------------------------------------------


def test_answers_validate_against_the_specification(seen, specification):
    """The answer of every route, of a busy day and of orders on it, is what the specification promises."""
    found = set()
    for verb, path, payload in seen.answers:
        schema_ = official.answer_of(specification, verb, path)
        if schema_:
            found.update((verb + ' ' + path, fault) for fault in official.faults(specification, schema_, payload))

    assert found == {fault for fault in reference.AGAINST_THE_SPECIFICATION if ' ' in fault[0]}


def test_rows_of_the_websocket_validate_against_the_specification(seen, specification):
    """So is every row of every image, insert, update and delete."""
    assert set(seen.tables) - set(official.DEFINITIONS) == {'orderBook10'}   # which it does not define
    for table, rows in seen.tables.items():
        definition = {'$ref': '#/definitions/' + official.DEFINITIONS.get(table, 'x-any')}
        found = {fault for row in rows for fault in official.faults(specification, definition, row)}
        assert {(table, fault) for fault in found} <= reference.AGAINST_THE_SPECIFICATION
    for (table, _), rows in seen.updates.items():
        definition = dict(specification['definitions'][official.DEFINITIONS.get(table, 'x-any')])
        definition['required'] = schema.TABLES[table][0]
        for row in rows:
            # an empty field of an update is one that has become empty
            row = {name: value for name, value in row.items() if value is not None}
            assert not official.faults(specification, definition, row), table


# -- the page --------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.isfile(PAGE), reason='the page is one of a checkout')
def test_the_differences_are_documented():
    """docs/local-exchange.md has a line for each difference, with the same names."""
    with open(PAGE, 'rb') as source:
        section = source.read().decode('utf-8').partition('## Fields')[2].partition('\n## ')[0]
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in section.splitlines() if line[:1] == '|'][2:]

    documented = {line[0]: tuple(' '.join(sorted(re.findall(r'`(\w+)`', cell))) for cell in line[1:3])
                  for line in lines}
    assert documented == dict(reference.DEVIATIONS)
    assert all(line[3] for line in lines)
    for where, what in reference.AGAINST_THE_SPECIFICATION:
        for name in re.findall(r'"(\w+)" is a req', what) + where.split()[-1:]:
            assert name in section, (where, what)
