"""BitMEX with a ledger: what is written down of every command, and how what is unknown is resolved."""
import json
import os
import random
import signal
import threading
import time

import pytest

import http_server
from market_maker import bitmex
from market_maker.rest.transport import Transport
from market_maker.state import journal
from market_maker.state.ledger import Ledger, LedgerUnwritable
from market_maker.utils.clock import ManualClock
from market_maker.utils.errors import APIError, ConnectionLost, InsufficientFunds, OrderRejected, OutcomeUnknown, \
    RateLimited
from test_bitmex_orders import KEY, OVERLOADED, SECRET, Orders, Tables, lost
from test_state_ledger import Disk, kill


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture
def clock():
    return ManualClock(time.time())


@pytest.fixture
def orders(server, clock):
    return Orders(server, clock)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'ledger.db')


def connector(server, clock, path, **options):
    return bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET), ws=Tables(),
                         clock=clock, rng=random.Random(1), timeout=0.3,
                         ledger=Ledger(path, 'bot', clock=clock.monotonic), **options)


@pytest.fixture
def bot(server, clock, orders, path):
    return connector(server, clock, path)


def written(bot):
    return [(record.kind, record.state) for record in bot.ledger.commands()]


def states(bot):
    return [record.state for record in bot.ledger.commands()]


def test_every_command_is_written_down_before_it_arrives(bot, orders, path):
    """Create, amend and cancel, single and in lists, also those that a script sends by itself: each has its line when
    the exchange reads it."""
    lines = []

    def serve(exchange):
        lines.append([row[8] for row in journal.rows_with(path)].count('sent'))
        orders.serve(exchange)
    orders.server.default = serve
    row = bot.buy(100, 5000)
    bot.amend_order({'orderID': row['orderID'], 'price': 5001})
    bot.cancel(row['orderID'])
    bot.create_orders([{'price': n, 'orderQty': 100} for n in (1, 2)])
    bot._curl_bitmex('order', postdict={'clOrdID': 'own', 'symbol': 'XBTUSD', 'orderQty': 1})
    bot._curl_bitmex('order', postdict={'orderID': ['a', 'b']}, verb='DELETE')
    bot._curl_bitmex('order/all', postdict={'symbol': 'XBTUSD'}, verb='DELETE')
    assert lines[:3] == [1, 2, 3] and lines[5:] == [6, 8, 9] and lines[3] >= 4 and lines[4] == 5
    kinds = ['create', 'amend', 'cancel', 'create', 'create', 'create', 'cancel', 'cancel', 'cancel']
    assert written(bot) == [(kind, 'done') for kind in kinds]
    records = bot.ledger.commands()
    assert records[1].clOrdID == records[0].clOrdID == records[2].clOrdID == row['clOrdID']    # its name, all along
    assert records[0].body['price'] == 5000 and bot.ledger.owns('own') and records[-1].clOrdID == '*'


CANCELED = {'orderID': 'id0', 'clOrdID': 'x', 'ordStatus': 'Canceled', 'leavesQty': 0, 'text': 'Canceled: Order had '
            'execInst of ParticipateDoNotInitiate\nSubmitted via API.'}


@pytest.mark.parametrize('step, error, state, note', [
    (http_server.answer({'orderID': 'i', 'ordStatus': 'New'}), None, 'done', ''),
    (http_server.answer(CANCELED), None, 'done', 'Canceled Canceled: Order had execInst of ParticipateDoNotInitiate'),
    (http_server.answer(dict(CANCELED, ordStatus='Filled', text='')), None, 'done', 'Filled'),
    (http_server.error(400, 'Duplicate clOrdID'), OrderRejected, 'refused', 'Duplicate clOrdID'),
    (http_server.error(400, 'Account has insufficient Available Balance, 5 XBt required'), InsufficientFunds,
     'refused', 'Account has insufficient Available Balance, 5 XBt required'),
    (http_server.error(429, 'slow down', Retry_After='30'), APIError, 'refused', 'slow down'),
    (http_server.error(401, 'Signature not valid.'), SystemExit, 'refused', 'refuses the key'),
    (http_server.reset, OutcomeUnknown, 'unknown', 'it may have been carried out')])
def test_meaning_of_answers_to_a_create(bot, orders, step, error, state, note):
    """A 200 whose order does not rest is done, and says so; a name in use is refused, for that order is another one."""
    orders.server.script = [step]
    if error is None:
        bot.buy(100, 5000, clOrdID='x')
    else:
        with pytest.raises(error):
            bot.buy(100, 5000, clOrdID='x')
    record = bot.ledger.commands()[0]
    assert (record.state, record.clOrdID) == (state, 'x') and note in record.note


@pytest.mark.parametrize('step, state, note', [
    (http_server.error(400, 'Invalid ordStatus: Filled'), 'refused', 'Invalid ordStatus: Filled'),
    (http_server.error(400, 'Invalid orderID'), 'refused', 'Invalid orderID'),
    (http_server.error(404, 'Not Found'), 'refused', 'Not Found'),
    (http_server.html(502, '502 Bad Gateway'), 'unknown', '502')])
def test_meaning_of_answers_to_an_amend(bot, orders, step, state, note):
    """One that comes too late is refused: the order rests no more, and was not changed."""
    orders.server.script = [step]
    bot.amend_orders([{'orderID': 'a', 'price': 1}])
    record = bot.ledger.commands()[0]
    assert (record.kind, record.orderID, record.state) == ('amend', 'a', state) and note in record.note


def test_meaning_of_answers_to_a_cancel(bot, orders):
    """Each order of a list has its own end: gone is as good as cancelled, an error says that it may still rest."""
    orders.server.script = [http_server.answer([
        {'orderID': 'a', 'ordStatus': 'Canceled'}, {'orderID': 'b', 'error': 'Unable to cancel order'},
        {'orderID': 'c', 'error': 'Unable to cancel order due to existing state: Filled'}])]
    bot.cancel(['a', 'b', 'c', 'd'])
    assert [(record.orderID, record.state) for record in bot.ledger.commands()] == [
        ('a', 'done'), ('b', 'refused'), ('c', 'done'), ('d', 'done')]
    orders.server.script = [http_server.error(404, 'Not Found')]
    assert bot.cancel('e') is None and bot.ledger.commands()[-1].note == 'it rests no more'
    orders.server.default = http_server.error(400, 'Invalid ordStatus: Canceled')
    assert bot.cancel('f') is None and states(bot)[-1] == 'done'


def test_cancel_without_an_answer_is_unknown_until_its_order_is_seen(bot, orders, clock):
    """Eight resets later the cancel is unknown; the look shows that the order is gone."""
    row = bot.buy(100, 5000)
    orders.server.script = [http_server.reset] * 8
    with pytest.raises(ConnectionLost):
        bot.cancel(row['orderID'])
    assert states(bot) == ['done', 'unknown'] and bot.unsettled() == [row['clOrdID']]
    orders.rows[0]['ordStatus'] = 'Canceled'
    clock.advance(1)
    record, found = bot.resolve_due()[0]
    assert (record.kind, record.state, found['ordStatus']) == ('cancel', 'done', 'Canceled') and bot.unsettled() == []


def test_what_shows_is_settled_without_waiting_for_the_next_look(bot, orders):
    """A cancel whose order has gone is settled at once, a create that is not there stays unknown."""
    row = bot.buy(100, 5000)
    orders.server.script = [http_server.reset] * 8
    with pytest.raises(ConnectionLost):
        bot.cancel(row['orderID'])
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot.place_order(100, 5000, clOrdID='mine')
    orders.rows[0]['ordStatus'] = 'Canceled'

    bot.resolve_now()

    assert bot.unsettled() == ['mine'] and states(bot) == ['done', 'done', 'unknown']


def test_order_that_appears_forty_seconds_late(bot, orders, clock):
    """It is looked for at growing intervals, never sent again, and found."""
    orders.server.script = [lost(orders, http_server.reset)]
    orders.hidden_looks = 10 ** 6
    with pytest.raises(OutcomeUnknown):
        bot.place_order(100, 5000, clOrdID='mine')
    began, looks = clock.monotonic(), 0
    while clock.monotonic() - began < 39:
        before = len(orders.server.seen)
        assert bot.resolve_due() == [] and bot.unsettled() == ['mine']
        looks += len(orders.server.seen) - before
        clock.advance(0.2)
    assert 5 <= looks <= 9
    with pytest.raises(OutcomeUnknown):       # and its name is not used meanwhile
        bot.place_order(100, 5000, clOrdID='mine')
    orders.hidden_looks = 0
    settled = []
    while not settled:
        settled = bot.resolve_due()
        clock.advance(0.2)
    assert 39 < clock.monotonic() - began < 47
    assert settled[0][0].state == 'done' and settled[0][1]['orderID'] == 'id0' and len(orders.posted()) == 1
    assert bot.unsettled() == [] and bot.resolve_due() == []


def test_order_that_never_was(bot, orders, clock):
    """After a minute of looks it is certain; a look that gets no answer proves nothing."""
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot.place_order(100, 5000, clOrdID='mine')
    clock.advance(59)
    assert bot.resolve_due() == []
    clock.advance(2)
    orders.server.script = [http_server.reset]
    with pytest.raises(ConnectionLost):
        bot.resolve_due()
    assert bot.unsettled() == ['mine']
    (record, row), = bot.resolve_due()
    assert (record.state, row) == ('absent', None) and bot.unsettled() == []
    assert bot.place_order(100, 5000, clOrdID='mine')['orderID'] == 'id0'


def test_no_look_waits_long_for_its_turn(bot, orders, clock):
    """While the exchange wants silence nobody asks, and nothing counts as a look."""
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot.buy(100, 5000)
    orders.server.script = [http_server.answer({'error': {'message': 'slow', 'name': 'x'}}, 429, Retry_After='55')]
    with pytest.raises(RateLimited):
        bot._curl_bitmex('position', max_retries=0)
    asked = len(orders.server.seen)

    clock.advance(50)
    assert bot.resolve_due() == [] and len(orders.server.seen) == asked and len(bot.unsettled()) == 1

    clock.advance(20)
    assert [(record.state, row) for record, row in bot.resolve_due()] == [('absent', None)]


@pytest.mark.parametrize('ask', [lambda bot: bot.look_up(['mine']), lambda bot: bot.executions_since(None)])
def test_what_is_asked_again_anyway_is_tried_once(bot, orders, ask):
    """Whoever looks every moment is better off with a short attempt than with a long one."""
    orders.server.default = http_server.reset

    with pytest.raises(ConnectionLost):
        ask(bot)

    assert len(orders.server.seen) == 1


def test_live_table_settles_without_a_question(bot, orders, clock):
    """A row that the stream has brought is as good as a look."""
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot.place_order(100, 5000, clOrdID='mine')
    before = len(orders.server.seen)
    bot.ws.data = {'order': [{'clOrdID': 'other'}, {'clOrdID': 'mine', 'orderID': 'i', 'ordStatus': 'New'}]}
    (record, row), = bot.resolve_due()
    assert (record.state, record.orderID) == ('done', 'i') and len(orders.server.seen) == before


@pytest.mark.parametrize('ends, state', [('New', 'absent'), ('Filled', 'refused'), ('amended', 'done')])
def test_amend_of_unknown_fate(bot, orders, clock, ends, state):
    """Applied, too late, or never arrived: the order's row tells, the last only after a minute."""
    row = bot.buy(100, 5000)
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot.amend_order({'orderID': row['orderID'], 'price': 5001})
    with pytest.raises(OutcomeUnknown):      # not a second one before the first is known
        bot.amend_order({'orderID': row['orderID'], 'price': 5002})
    assert sum(seen.verb == 'PUT' for seen in orders.server.seen) == 1
    orders.rows[0].update({'price': 5001} if ends == 'amended' else {'ordStatus': ends})
    clock.advance(61)
    (record, _), = bot.resolve_due()
    assert (record.kind, record.state) == ('amend', state)


def test_lost_answers_that_are_found_at_once(bot, orders):
    """The two quick looks settle most; the ledger then says done."""
    orders.server.script = [lost(orders, http_server.reset)]
    bot.buy(100, 5000)
    orders.server.script = [lost(orders, http_server.error(503, OVERLOADED))]
    bot.buy(100, 5001)
    assert states(bot) == ['done', 'done'] and bot.unsettled() == []


def test_fifty_lost_answers_in_lists(bot, orders, clock):
    """Lists of orders, half of the answers lost before or after execution: in the end every order that exists is done
    in the ledger, every other is absent or was refused, and none exists twice."""
    rng = random.Random(5)
    steps = {}

    def serve(exchange):
        if exchange.request.verb == 'GET':
            return orders.serve(exchange)
        name = exchange.request.data['clOrdID']
        assert name not in steps, 'sent twice'
        steps[name] = rng.choice([orders.serve, http_server.reset, lost(orders, http_server.reset)])
        steps[name](exchange)
    orders.server.default = serve
    for number in range(20):
        bot.create_orders([{'price': 1000 + 10 * number + n, 'orderQty': 100} for n in range(5)])
    clock.advance(100)
    for _ in range(3):
        bot.resolve_due()
        clock.advance(10)
    assert bot.ledger.unresolved() == []
    done = {record.clOrdID for record in bot.ledger.commands() if record.state == 'done'}
    names = [row['clOrdID'] for row in orders.rows]
    assert set(names) == done and len(names) == len(done) and len(steps) - len(done) > 5


def test_restart_after_a_kill(server, clock, orders, path):
    """The next process knows what was under way, finds it, and never sends it again."""
    first = connector(server, clock, path)
    orders.server.script = [lost(orders, http_server.stall)]
    record = first.ledger.begin('create', [bitmex_order('mm_bitmex_x')], clock.time())[0]
    kill(first.ledger)
    orders.rows.append(dict(orderID='id9', clOrdID='mm_bitmex_x', ordStatus='New', symbol='XBTUSD'))
    second = connector(server, clock, path)
    assert second.unsettled() == [record.clOrdID] and second.ledger.owns('mm_bitmex_x')
    orders.server.script = []
    clock.advance(1)
    (found, row), = second.resolve_due()
    assert (found.state, row['orderID']) == ('done', 'id9') and orders.posted() == []


def bitmex_order(name):
    from market_maker.state.ledger import Order
    return Order(name, '', 'XBTUSD', {'clOrdID': name})


def test_full_disk(bot, orders):
    """Nothing is placed that cannot be written down; amends and cancels go out."""
    row = bot.buy(100, 5000)
    lines = bot.ledger._journal
    lines._file = Disk(lines._file, 0)
    rows = bot.create_orders([{'price': n, 'orderQty': 100} for n in (1, 2)])
    assert not rows and [type(error) for _, error in rows.errors] == [LedgerUnwritable] * 2
    with pytest.raises(LedgerUnwritable):
        bot.buy(1, 1)
    assert len(orders.posted()) == 1
    assert bot.amend_order({'orderID': row['orderID'], 'price': 5001})['price'] == 5001
    assert bot.cancel(row['orderID'])[0]['ordStatus'] == 'Canceled'
    lines._file.room = 100000
    assert bot.buy(1, 1) and len(orders.posted()) == 2


@pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='this system has no timer signals')
@pytest.mark.parametrize('count', [1, 20])
def test_interrupt_leaves_the_ledger_true(server, path, count):
    """A stop in the middle: what was sent is unknown or done, what was not sent is refused, nothing stays under way."""
    seen = []

    def serve(exchange):
        if exchange.request.verb == 'POST':
            seen.append(exchange.request.data['clOrdID'])
            server.over.wait(0.25)
            return http_server.answer(dict(exchange.request.data, orderID='i', ordStatus='New'))(exchange)
        http_server.answer([])(exchange)
    server.default = serve
    bot = bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET), ws=Tables(),
                        ledger=Ledger(path, 'bot'))

    def leave(*_):
        raise SystemExit(5)
    before = signal.signal(signal.SIGALRM, leave)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1 if count == 1 else 0.35)
        with pytest.raises(SystemExit):
            bot.create_orders([{'price': 1, 'orderQty': 1} for _ in range(count)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    http_server.wait_for(lambda: set(bot.unsettled()) <= set(seen))   # a thread may have been about to send
    arrived = set(seen)
    assert 1 <= len(arrived) <= 8
    bot.exit()
    assert set(seen) == arrived
    records = Ledger(path, 'bot').commands()
    assert {record.clOrdID for record in records if record.state != 'refused'} == arrived
    assert all(record.state != 'sent' for record in records)


@pytest.mark.parametrize('count', [1, 3])
def test_a_stop_before_its_turn_leaves_no_order_in_doubt(server, bot, count, monkeypatch):
    """An order that waits for the limits when the stop comes was certainly not sent: nobody has to look for it."""
    server.default = http_server.answer({'error': {'message': 'slow down', 'name': 'x'}}, 429, Retry_After='5')
    with pytest.raises(RateLimited):
        bot._curl_bitmex('position', max_retries=0)

    def leave(*_):
        raise SystemExit(5)
    monkeypatch.setattr(bot._client, 'wait', leave)
    with pytest.raises(SystemExit):
        bot.create_orders([{'price': 1, 'orderQty': 1} for _ in range(count)])

    assert [request.verb for request in server.seen] == ['GET']
    assert bot.unsettled() == [] and states(bot) == ['refused']
    assert bot.ledger.commands()[0].note == 'cut off by a stop'


def test_an_order_that_cannot_be_written_as_json_takes_no_turn(bot):
    """A price that is no number is refused before it is sent, and does not count for the limits."""
    flying = bot._client._limiter.flying()

    for orders in ([{'price': float('nan'), 'orderQty': 1}], [{'price': float('nan'), 'orderQty': 1}] * 2):
        answer = bot.create_orders([dict(order) for order in orders])
        assert not answer and {type(error) for _, error in answer.errors} == {OrderRejected}

    assert bot._client._limiter.flying() == flying


# The state folder

def test_remember_opens_the_folder_of_the_account(server, clock, orders, tmp_path):
    """Ledger and folder are there, and are another account's neither by key nor by exchange; called again nothing
    changes, unless the exchange was started anew."""
    orders.server.default = http_server.answer({'name': 'x', 'instance': 'one'})
    bot = bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET), ws=Tables(),
                        clock=clock)
    folder = bot.remember(str(tmp_path))
    first = bot.ledger
    assert folder.instance == 'one' and bot.remember(str(tmp_path)) is folder and bot.ledger is first
    assert os.path.dirname(first.path) == folder.path and first.bot == 'XBTUSD mm_bitmex_'
    orders.server.default = http_server.answer({'name': 'x', 'instance': 'two'})
    assert bot.remember(str(tmp_path)).path != folder.path and bot.ledger is not first
    orders.server.default = http_server.html(404, 'no')
    assert bot.remember(str(tmp_path)).instance == ''
    bot.exit()


def test_bots_of_one_account_share_a_budget(server, clock, orders, tmp_path):
    """What one has learnt of the limits, the other goes by."""
    bots = [bitmex.BitMEX(server.url.replace('127.0.0.1', 'localhost'), 'XBTUSD', KEY, SECRET, orderIDPrefix=prefix,
                          transport=Transport(server.url, KEY, SECRET), ws=Tables(), clock=clock)
            for prefix in ('mm_', 'mm_2_')]
    server.script = [http_server.answer({'instance': 'one'})] * 2 + [
        http_server.answer([], **{'x-ratelimit-limit': '120', 'x-ratelimit-remaining': '0'})]
    for bot in bots:
        bot.remember(str(tmp_path))
    assert bots[1].seconds_to_wait() == 0

    bots[0].look_up(['a'])

    assert bots[1].seconds_to_wait() > 5
    for bot in bots:
        bot.exit()
        bot.exit()


def test_remember_without_an_exchange(server, clock):
    """Which exchange it is cannot be told: one line, and no ledger of another one is opened."""
    bot = bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET), ws=Tables(),
                        clock=clock)
    server.default = http_server.reset
    with pytest.raises(ConnectionLost):
        bot.remember()
    assert bot.ledger is None and bot.resolve_due() == []


def test_executions_of_a_gap(bot, orders):
    """Asked from a time stamp on in pages, oldest first; without one the latest."""
    rows = [{'execID': str(number), 'execType': 'Trade'} for number in range(700)]

    def serve(exchange):
        assert '/execution/tradeHistory?' in exchange.request.path and 'symbol=XBTUSD' in exchange.request.path
        if 'reverse=true' in exchange.request.path:
            return http_server.answer(rows[:-501:-1])(exchange)
        assert 'startTime=2026' in exchange.request.path
        start = 500 if 'start=500' in exchange.request.path else 0
        http_server.answer(rows[start:start + 500])(exchange)
    orders.server.default = serve
    assert bot.executions_since('2026-05-03T05:01:55.000Z') == rows
    assert bot.executions_since(None) == rows[200:]
    assert sum(bot.ledger.record_fill(row) for row in rows + rows) == 700


def test_threads_share_one_ledger(server, path):
    """Four threads ordering at once: every order has its line, and its end."""
    server.default = lambda exchange: http_server.answer(dict(json.loads(exchange.request.body), orderID='i',
                                                              ordStatus='New'))(exchange)
    bot = bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET), ws=Tables(),
                        ledger=Ledger(path, 'bot'))
    threads = [threading.Thread(target=lambda: [bot.buy(1, 1) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert states(bot) == ['done'] * 40 and len({record.clOrdID for record in bot.ledger.commands()}) == 40
    bot.exit()
