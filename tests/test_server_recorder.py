"""The recorder of the local exchange writes down what came, what was carried out, and what really went out."""
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import requests  # noqa: E402
from local_client import Client, Socket, auth_headers  # noqa: E402

from market_maker.judge.evidence import Closed, Execution, Frame, Opened, OrderRow, Reply, Request  # noqa: E402
from market_maker.server import wire  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.server.recorder import Recorder, frames  # noqa: E402

LIMIT = {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 59000, 'clOrdID': 'one'}
GONE = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)
PEOPLE = [{'key': 'alice', 'secret': 'hers'}, {'key': 'bob', 'secret': 'his'}]


@pytest.fixture
def testnet():
    with running(bid=60000, ask=60000.1, accounts=PEOPLE) as one:
        yield one


def recording(testnet):
    """Begin to record alice's account; return the recorder."""
    def begin():
        recorder = Recorder(testnet.server, 'alice', 'XBTUSD')
        testnet.server.record(recorder)
        return recorder
    return testnet.call(begin)


def kinds(recorder, *wanted):
    """Return the events of some kinds."""
    return [event for event in recorder.events if isinstance(event, wanted)]


def until(recorder, found):
    """Wait for a true value of found() and return it."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(recorder.events)


def test_a_request_its_effect_and_its_answer(testnet):
    """A create: the request with its parameters, the order with its cause, the answer with the order in it."""
    Client(testnet).place(**dict(LIMIT, clOrdID='before'))
    recorder = recording(testnet)

    row = Client(testnet).place(**LIMIT)
    Client(testnet, 'bob', 'his').place(**dict(LIMIT, clOrdID="bob's"))

    known, request, order, reply = kinds(recorder, Request, OrderRow, Reply)
    assert (known.row['clOrdID'], known.cause) == ('before', None)
    assert (request.number, request.key, request.verb, request.path) == (1, 'alice', 'POST', '/order')
    assert request.fields == LIMIT
    assert (order.row['orderID'], order.row['leavesQty'], order.cause) == (row['orderID'], 100, 1)
    assert (reply.number, reply.status, reply.is_delivered, reply.rows) == (1, 200, True, ((row['orderID'], 'one'),))
    assert request.at <= order.at <= reply.at


def test_a_fill_has_no_cause_and_a_whole_row(testnet):
    """What the market does is nobody's request; updates are laid over what was known of the order."""
    Client(testnet).place(**dict(LIMIT, price=60000))
    recorder = recording(testnet)

    testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Sell', 10000000))

    last = kinds(recorder, OrderRow)[-1]
    assert (last.cause, last.row['ordStatus'], last.row['side'], last.row['orderQty']) == (None, 'Filled', 'Buy', 100)
    execution = [event.row for event in kinds(recorder, Execution) if event.row['execType'] == 'Trade'][-1]
    assert (execution['clOrdID'], execution['lastQty']) == ('one', 100)


@pytest.mark.parametrize('name, carried_out', [('lost-reply', True), ('lost-request', False), ('reset-after', True)])
def test_an_answer_that_was_lost_was_not_delivered(testnet, name, carried_out):
    """The client that hears nothing is told apart from the engine that has done it, or has not."""
    recorder = recording(testnet)

    with testnet.faults(name, verbs='POST'), pytest.raises(GONE):
        Client(testnet).place(**LIMIT)

    reply = until(recorder, lambda: kinds(recorder, Reply))[0]
    assert (reply.status, reply.is_delivered) == (0, False)
    assert bool(kinds(recorder, OrderRow)) == carried_out
    trouble, = until(recorder, lambda: recorder.troubles)
    assert trouble.words.startswith('rest ' + name) and trouble.began <= reply.at <= trouble.ended


def test_an_answer_that_nobody_can_read_was_not_delivered(testnet):
    """200 with HTML tells a client nothing."""
    recorder = recording(testnet)

    with testnet.faults('not-json', verbs='POST', executed=True):
        Client(testnet).send('POST', '/order', LIMIT)

    assert [(one.status, one.is_delivered) for one in kinds(recorder, Reply)] == [(200, False)]


def test_a_late_order_is_laid_to_the_request_that_made_it(testnet):
    """An order that appears long after its answer was lost has its request as cause."""
    recorder = recording(testnet)

    with testnet.faults('late-create', delay=0.2), pytest.raises(GONE):
        Client(testnet).place(**LIMIT)
    Client(testnet).get('/order')
    order = until(recorder, lambda: kinds(recorder, OrderRow))[0]

    assert (order.cause, order.row['clOrdID']) == (1, 'one')
    assert kinds(recorder, Reply)[0].at < order.at


def test_refusals_of_the_limits_are_told_from_those_of_a_fault():
    """Both are 429; only one of them is the client's doing."""
    with running(bid=60000, ask=60000.1, accounts=PEOPLE, rate_limits=True) as testnet:
        recorder = recording(testnet)
        client = Client(testnet)
        with testnet.faults('rate-limited', retry_after=3):
            assert client.send('GET', '/position').status_code == 429
        while client.send('DELETE', '/order', {'orderID': ['nothing']}).status_code != 429:
            assert len(recorder.events) < 1000

    replies = kinds(recorder, Reply)
    told = [(one.status, one.wait, one.is_limited, one.is_charged) for one in replies]
    assert (told[0], told[1][2:], told[-1]) == ((429, 3.0, False, False), (False, True), (429, 1.0, True, False))


def test_frames_are_noted_when_they_are_written(testnet):
    """A socket, its images and its changes; what a fault keeps back is no frame."""
    recorder = recording(testnet)
    url = testnet.ws_url + '?subscribe=order,quote:XBTUSD'

    with Socket(url, auth_headers('alice', 'hers')) as ws:
        ws.partial('order')
        ws.partial('quote')
        row = Client(testnet).place(**LIMIT)
        ws.change('order', 'insert', clOrdID='one')
        with testnet.faults('silent-table', tables='order'):
            Client(testnet).send('DELETE', '/order', {'orderID': row['orderID']})
            ws.send('ping')
            ws.until(lambda frame: frame == 'pong')
    closed = until(recorder, lambda: kinds(recorder, Closed))

    opened, = kinds(recorder, Opened)
    assert (opened.key, opened.topics) == ('alice', ('order', 'quote')) and closed[0].session == opened.session
    noted = [(one.table, one.action, one.ids) for one in kinds(recorder, Frame) if one.table == 'order']
    assert noted == [('order', 'partial', ()), ('order', 'insert', (row['orderID'],))]
    quote = next(one for one in kinds(recorder, Frame) if one.table == 'quote')
    assert (quote.touch, quote.is_symbol) == ((60000, 60000.1), True)
    assert kinds(recorder, Frame)[-1].table == ''


def test_a_bare_exchange_is_not_slowed_down(testnet):
    """Without a recorder nothing is noted anywhere."""
    recorder = recording(testnet)
    testnet.call(lambda: testnet.server.record(None))

    Client(testnet).place(**LIMIT)

    assert recorder.events == []


def test_frames_are_read_whatever_their_length_and_compression():
    """Short, long and compressed frames in one write."""
    long, longest = wire.Message(b'x' * 1000), wire.Message(b'y' * 70000)

    data = wire.Message(b'short').plain + long.plain + longest.deflated() + longest.plain + wire.frame(wire.PONG, b'p')

    assert frames(data) == [(1, b'short'), (1, b'x' * 1000), (1, b'y' * 70000), (1, b'y' * 70000), (10, b'p')]
