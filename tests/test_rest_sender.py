"""Lists of orders over several connections at once: their order, the limits, interrupts, what is known afterwards."""
import random
import signal
import statistics
import threading
import time

import pytest

import http_server
from jitter import Jitter
from market_maker import bitmex
from market_maker.rest.pool import SENDERS, SendPool
from market_maker.rest.transport import Transport
from market_maker.utils.errors import APIError, ConnectionLost, OrderRejected, OutcomeUnknown

KEY, SECRET = 'LAqUlngMIQkIUjXMUreyu3qn', 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'


class Tables(object):
    """Stands in for the live tables, which these tests do not read."""

    def exit(self):
        pass


class Desk(object):
    """A scripted exchange that answers every order late, and notes when each came and how many were there at once."""

    def __init__(self, server, late=0.0, **headers):
        self.server, self.late, self.headers = server, late, headers
        self.came, self.names, self.most, self.flying, self.crossed = [], [], 0, {}, []
        self.lock = threading.Lock()
        server.default = self.serve

    def serve(self, exchange):
        request = exchange.request
        order = request.data.get('orderID') or request.data.get('clOrdID')
        with self.lock:
            self.came.append(time.monotonic())
            self.names.append(order)
            self.flying[order] = self.flying.get(order, 0) + 1
            self.most = max(self.most, sum(self.flying.values()))
            if self.flying[order] > 1:
                self.crossed.append(order)
        self.server.over.wait(self.late)
        with self.lock:
            self.flying[order] -= 1
        row = dict(request.data, orderID=request.data.get('orderID', 'id'), ordStatus='New')
        http_server.answer(row, **self.headers)(exchange)

    def most_within(self, seconds):
        return max(sum(1 for other in self.came if 0 <= other - moment < seconds) for moment in self.came)


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture
def bot(server):
    connector = bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET),
                              ws=Tables(), rng=random.Random(1), timeout=2)
    yield connector
    connector.exit()


def amends(count, first=0):
    return [{'orderID': 'order {}'.format(number), 'orderQty': 100 + number} for number in range(first, first + count)]


def sending_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith('bitmex-send-')}


def test_twelve_amends_take_two_round_trips(server, bot):
    """Each is answered 50 ms late: one after the other they would take 600 ms."""
    desk = Desk(server, 0.0)
    bot.amend_orders(amends(2))     # an answer without limits; connections are open
    desk.late = 0.05
    began = time.monotonic()
    rows = bot.amend_orders(amends(12))
    assert time.monotonic() - began < 0.35
    assert 2 < desk.most <= SENDERS
    assert [row['orderQty'] for row in rows] == list(range(100, 112)) and not rows.errors


def test_orders_begin_in_the_order_of_the_list(server, bot):
    """Inner levels come first in the list, and first to the exchange.

    They travel on different connections and are read by different threads, so neighbours may change places: a few in a
    list as a rule, and nobody is overtaken by more than a pool.
    """
    desk = Desk(server, 0.02)
    bot.amend_orders(amends(8))
    late = []
    for _ in range(5):
        desk.names = []
        bot.amend_orders(amends(12))
        late.append([abs(place - int(name.split()[1])) for place, name in enumerate(desk.names)])
    assert statistics.median(sum(places) for places in late) <= 6, late
    assert max(max(places) for places in late) < SENDERS, late


def test_never_above_ten_a_second(server, bot):
    """When the exchange has a limit of ten a second, no second sees more; first come the inner levels.

    A thread that is slow to send may be overtaken by the other ones, and by nobody else.
    """
    desk = Desk(server, 0.002, **{'x-ratelimit-limit': '600', 'x-ratelimit-remaining': '500',
                                  'x-ratelimit-remaining-1s': '9'})
    with Jitter() as jitter:
        rows = bot.amend_orders(amends(25))
    assert len(rows) == 25 and desk.most_within(1.0 - jitter.worst) <= 10
    assert 2.0 < desk.came[-1] - desk.came[0] + jitter.worst < 4.0 + 2 * jitter.worst
    assert set(desk.names[:9]) <= {'order {}'.format(number) for number in range(9 + SENDERS - 1)}


def test_a_cancel_finds_its_reserve(server, bot):
    """While a long list waits for the limit, a cancel from another thread goes out at once."""
    desk = Desk(server, 0.002, **{'x-ratelimit-limit': '600', 'x-ratelimit-remaining': '500',
                                  'x-ratelimit-remaining-1s': '9'})
    thread = threading.Thread(target=lambda: bot.amend_orders(amends(12)))
    thread.start()
    http_server.wait_for(lambda: len(desk.came) >= 9)
    began = time.monotonic()
    bot.cancel('another')
    assert time.monotonic() - began < 0.6
    thread.join(5)


def test_one_command_at_a_time_for_an_order(server, bot):
    """Two amends of one order, in one list or from two threads, follow each other; other orders do not wait."""
    desk = Desk(server, 0.03)
    bot.amend_orders(amends(1))
    same = [{'orderID': 'order 1', 'orderQty': 100}, {'orderID': 'order 2', 'orderQty': 100},
            {'orderID': 'order 1', 'orderQty': 200}]
    threads = [threading.Thread(target=lambda: bot.amend_orders(same)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert desk.crossed == [] and len(desk.came) == 10 and desk.most > 1


def test_cancel_waits_only_a_moment_for_another_command(server, bot):
    """An amend that gets no answer keeps a cancel of its order back for a second, not for longer."""
    def serve(exchange):
        (http_server.after(1.8, http_server.answer({'orderID': 'a'})) if exchange.request.verb == 'PUT'
         else http_server.answer([{'orderID': 'a', 'ordStatus': 'Canceled'}]))(exchange)
    server.default = serve
    thread = threading.Thread(target=lambda: bot.amend_order({'orderID': 'a', 'price': 1}))
    thread.start()
    http_server.wait_for(lambda: server.seen)
    began = time.monotonic()
    assert bot.cancel('a')[0]['ordStatus'] == 'Canceled'
    assert 0.8 < time.monotonic() - began < 1.7
    thread.join(5)


def test_first_doubt_sends_one_at_a_time(server, bot):
    """After a command without an answer one order goes first; the others follow only when it is answered."""
    Desk(server)
    bot.amend_orders(amends(4))
    server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot.amend_order({'orderID': 'x', 'price': 1})
    before = len(server.seen)
    server.default = http_server.html(502, 'x')
    rows = bot.amend_orders(amends(6))
    assert [type(error) for _, error in rows.errors] == [OutcomeUnknown] * 2 + [ConnectionLost] * 4
    assert sum(seen.verb == 'PUT' for seen in server.seen[before:]) == 2


def test_errors_stand_beside_their_orders(server, bot):
    """Each order has its own outcome, in the order of the list, whatever order the answers come in."""
    def serve(exchange):
        number = int(exchange.request.data['orderID'].split()[1])
        server.over.wait(0.03 * (number % 3 == 0))
        if number % 4 == 1:
            return http_server.error(400, 'Invalid ordStatus: Filled')(exchange)
        http_server.answer(dict(exchange.request.data))(exchange)
    server.default = serve
    rows = bot.amend_orders(amends(12))
    assert [row['orderID'] for row in rows] == ['order {}'.format(n) for n in range(12) if n % 4 != 1]
    assert [order['orderID'] for order, _ in rows.errors] == ['order 1', 'order 5', 'order 9']
    assert {type(error) for _, error in rows.errors} == {APIError}


def test_what_cannot_be_sent_is_an_error_of_its_own(server, bot):
    """A price that is no number does not keep the others back."""
    Desk(server)
    rows = bot.create_orders([{'price': price, 'orderQty': 1} for price in (1, float('nan'), 2, object())])
    assert [row['price'] for row in rows] == [1, 2]
    assert [type(error) for _, error in rows.errors] == [OrderRejected] * 2


@pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='this system has no timer signals')
def test_a_gate_stops_what_has_not_gone_out(server, bot):
    """The gate is asked at the last moment, also before each repetition; cancels pass it."""
    desk = Desk(server)
    asked = []

    def gate(body):
        asked.append(body.get('orderID'))
        return '' if len(asked) < 3 else 'the data are stale'
    bot.gate = gate
    server.script = [http_server.error(503, 'The system is currently overloaded. Please try again later.')]

    rows = bot.amend_orders(amends(4))

    assert asked == ['order 0', 'order 0', 'order 1'] and desk.names == ['order 0']
    assert [order['orderID'] for order, _ in rows.errors] == ['order 1', 'order 2', 'order 3']
    assert all(isinstance(error, ConnectionLost) and 'the data are stale' in str(error) for _, error in rows.errors)
    assert bot._client._limiter.flying() == (0, 0)
    bot.cancel('order 0')
    with pytest.raises(ConnectionLost):
        bot.buy(100, 5000)
    bot.gate = None
    assert bot.buy(100, 5000)


def test_interrupt_leaves_no_order_unaccounted(server, bot):
    """A stop in the middle of a list: what came to the exchange is named as unsettled or was answered, and nothing is
    sent afterwards."""
    desk = Desk(server, 0.0)
    bot.amend_orders(amends(2))
    desk.late, desk.names = 0.3, []

    def leave(*_):
        raise SystemExit(5)
    before = signal.signal(signal.SIGALRM, leave)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        with pytest.raises(SystemExit):
            bot.amend_orders(amends(30))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    unsettled = bot.unsettled()
    arrived = len(desk.names)
    assert 6 < arrived <= 2 * SENDERS + 1
    assert set(desk.names[SENDERS:]) <= set(unsettled) <= set(desk.names)
    http_server.wait_for(lambda: not bot.unsettled())     # their answers came after all
    assert len(desk.names) == arrived
    assert bot.amend_orders(amends(1))[0]['orderID'] == 'order 0'


def test_threads_are_few_named_and_joined(server, bot):
    """None for single orders, six for a list, none after exit."""
    Desk(server, 0.01)
    strangers = sending_threads()   # of other connectors in this process
    bot.amend_order({'orderID': 'a', 'price': 1})
    assert sending_threads() == strangers
    bot.amend_orders(amends(20))
    assert 2 <= len(sending_threads() - strangers) <= SENDERS and server.connections <= SENDERS + 1
    bot.exit()
    bot.exit()
    assert not sending_threads() - strangers


def test_pool_starts_as_many_threads_as_are_needed():
    """A job at a time needs one thread; after close it can be used again."""
    pool, done = SendPool(3), []
    for _ in range(5):
        pool.hand(lambda: done.append(threading.current_thread().name))
        http_server.wait_for(lambda: done and pool._idle == 1)
    assert done == ['bitmex-send-1'] * 5
    pool.close()
    pool.hand(lambda: done.append('again'))
    http_server.wait_for(lambda: done[-1] == 'again')
    pool.close()


def test_each_answer_is_told_of_when_it_comes(server, bot):
    """Whoever has to see the echo of an order in time must not wait for the last of its list."""
    Desk(server)
    told = []
    bot.heard = lambda row: told.append((row['orderID'], len(told)))

    rows = bot.amend_orders(amends(3))

    assert sorted(name for name, _ in told) == sorted(row['orderID'] for row in rows)


def test_a_list_says_when_its_first_order_is_on_its_way(server, bot):
    """Once, when the first has gone out and before the next one does, so that what it says costs the first no time."""
    desk = Desk(server)
    bot.amend_orders(amends(2))   # connections are open
    del desk.names[:]
    told = []

    def begun():
        http_server.wait_for(lambda: desk.names)
        told.append(list(desk.names))
    rows = bot.amend_orders(bitmex.Announced(amends(5), begun))
    assert told == [['order 0']] and len(rows) == 5


def test_a_single_order_says_so_before_it_goes_out(server, bot):
    desk = Desk(server)
    told = []
    bot.create_orders(bitmex.Announced([{'price': 1, 'orderQty': 1}], lambda: told.append(list(desk.names))))
    assert told == [[]] and len(desk.names) == 1


def test_a_list_of_which_nothing_can_be_sent_says_so_too(server, bot):
    Desk(server)
    told = []
    rows = bot.create_orders(bitmex.Announced([{'price': float('nan')}, {'price': float('inf')}],
                                              lambda: told.append(1)))
    assert told == [1] and len(rows.errors) == 2


def test_a_stop_while_the_first_order_is_told_of_keeps_the_rest_back(server, bot):
    """A signal's handler may raise there: what has gone out is known to be under way, the others are not sent."""
    desk = Desk(server, 0.05)
    bot.amend_orders(amends(2))
    del desk.names[:]

    def begun():
        raise SystemExit(0)
    with pytest.raises(SystemExit):
        bot.amend_orders(bitmex.Announced(amends(5), begun))
    assert bot.unsettled() in (['order 0'], [])
    http_server.wait_for(lambda: not bot.unsettled() and not bot._sender._busy)
    assert desk.names == ['order 0']
