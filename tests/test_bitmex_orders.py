"""Placing, amending and cancelling through BitMEX: what is sent, what comes back, and what is known after trouble."""
import json
import logging
import os
import random
import subprocess
import sys
import time
from urllib.parse import parse_qs, urlsplit

import pytest

import http_server
from market_maker import bitmex
from market_maker.rest import retry
from market_maker.rest.names import is_drawn, is_generated, new_name
from market_maker.rest.transport import Transport
from market_maker.utils.clock import ManualClock
from market_maker.utils.errors import (APIError, AuthenticationError, ConnectionLost, InsufficientFunds, OrderNotFound,
                                       OrderRejected,
                                       OutcomeUnknown, Overloaded, SettingsError)

KEY, SECRET = 'LAqUlngMIQkIUjXMUreyu3qn', 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'
OVERLOADED = 'The system is currently overloaded. Please try again later.'


class Tables(object):
    """Stands in for the live tables, which these tests do not read."""

    def exit(self):
        pass


class Orders(object):
    """A much simplified exchange behind the scripted server: it keeps orders, and finds them by filter."""

    def __init__(self, server, clock):
        self.server = server
        self.clock = clock
        self.rows = []
        self.hidden_looks = 0   # so many looks find nothing yet
        server.default = lambda exchange: self.serve(exchange)

    def carry_out(self, request):
        """Do what a request says and return its answer as a step."""
        if request.verb == 'POST':
            if any(row['clOrdID'] == request.data.get('clOrdID') and row['ordStatus'] == 'New' for row in self.rows):
                return http_server.error(400, 'Duplicate clOrdID')
            moment = self.clock.time()
            row = dict(request.data, orderID='id{}'.format(len(self.rows)), ordStatus='New',
                       transactTime=time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))
                       + '.{:03d}Z'.format(int(moment % 1 * 1000)))
            row.setdefault('clOrdID', '')
            self.rows.insert(0, row)
            return http_server.answer(row)
        if request.verb == 'PUT':
            names = request.data
            for row in self.rows:
                if row['orderID'] == names.get('orderID') or row['clOrdID'] == names.get('origClOrdID'):
                    if row['ordStatus'] != 'New':
                        return http_server.error(400, 'Invalid ordStatus: ' + row['ordStatus'])
                    row.update({name: value for name, value in names.items() if name not in ('orderID', 'origClOrdID')})
                    return http_server.answer(row)
            return http_server.error(400, 'Invalid orderID')
        if request.verb == 'GET':
            wanted = json.loads(parse_qs(urlsplit(request.path).query)['filter'][0])
            if self.hidden_looks:
                self.hidden_looks -= 1
                return http_server.answer([])
            return http_server.answer([row for row in self.rows
                                       if all(row.get(field) in values for field, values in wanted.items())])
        ids = request.data.get('orderID')
        return http_server.answer([{'orderID': each, 'ordStatus': 'Canceled'}
                                   for each in ([ids] if isinstance(ids, str) else ids or [])])

    def serve(self, exchange):
        self.carry_out(exchange.request)(exchange)

    def posted(self):
        return [seen.data for seen in self.server.seen if seen.verb == 'POST']


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


def connector(server, clock, **options):
    options.setdefault('timeout', 0.3)
    return bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET), ws=Tables(),
                         clock=clock,
                         rng=random.Random(1), **options)


@pytest.fixture
def bot(server, clock, orders):
    return connector(server, clock)


# What is sent

def test_buy_and_sell(bot, orders):
    """A negative quantity sells; the row of the answer comes back; each order has a name of its own with our prefix."""
    rows = [bot.buy(100, 5000.5), bot.sell(200, 5001), bot.place_order(-300, 5002.5)]
    assert [(row['side'], row['orderQty'], row['price'], row['symbol']) for row in orders.posted()] == [
        ('Buy', 100, 5000.5, 'XBTUSD'), ('Sell', 200, 5001, 'XBTUSD'), ('Sell', 300, 5002.5, 'XBTUSD')]
    names = [row['clOrdID'] for row in rows]
    assert len(set(names)) == 3 and all(is_generated(name, 'mm_bitmex_') and len(name) == 32 for name in names)
    assert rows[0]['orderID'] == 'id0' and rows[0]['ordStatus'] == 'New'


def test_extra_attributes_as_dict_or_keywords(bot, orders):
    """The third argument and keywords both reach the exchange; what is None does not."""
    bot.place_order(100, 5000, {'execInst': 'ReduceOnly', 'stopPx': None})
    bot.buy(100, None, ordType='Market')
    bot.sell(100, 5000, {'clOrdID': 'mine'}, text='hello')
    bot.place_order(None, None, execInst='Close')
    first, second, third, fourth = orders.posted()
    assert first['execInst'] == 'ReduceOnly' and 'stopPx' not in first
    assert second['ordType'] == 'Market' and 'price' not in second and second['side'] == 'Buy'
    assert third['clOrdID'] == 'mine' and third['text'] == 'hello'
    assert 'orderQty' not in fourth and 'side' not in fourth and fourth['execInst'] == 'Close'


def test_price_must_be_positive(bot, orders):
    """A negative price is refused before it is sent."""
    with pytest.raises(OrderRejected):
        bot.buy(100, -1)
    assert not orders.server.seen


@pytest.mark.parametrize('order', [
    {'price': 5000, 'orderQty': 100, 'side': 'Buy', 'execInst': 'ParticipateDoNotInitiate'},
    {'price': 5000, 'orderQty': 100, 'side': 'Buy', 'execInst': ''},
    {'orderQty': 100, 'side': 'Sell', 'ordType': 'Market'},
    {'side': 'Sell', 'execInst': 'LastPrice, Close', 'stopPx': 4000, 'ordType': 'Stop'},
    {'side': 'Sell', 'stopPx': 4000, 'price': 3999.5, 'orderQty': 100, 'ordType': 'StopLimit',
     'type': 'unknown to the exchange'},
    {'side': 'Buy', 'stopPx': 4000, 'price': 4000, 'orderQty': 100, 'ordType': 'LimitIfTouched',
     'clOrdID': 'mm_bitmex_mine'},
    {'clOrdID': 'x', 'symbol': 'ETHUSD', 'price': 1, 'orderQty': 1}])
@pytest.mark.parametrize('post_only', [False, True])
def test_orders_are_passed_on_whole(server, clock, orders, order, post_only):
    """Whatever a strategy puts into an order reaches the exchange; symbol and name are added, in the caller's dict too,
    if missing.

    Post-only is added to orders that can be it, unless the strategy gave an execInst of its own.
    """
    given = dict(order)
    rows = connector(server, clock, postOnly=post_only).create_bulk_orders([order])

    sent = orders.posted()[0]
    assert len(rows) == 1 and not rows.errors
    for name, value in given.items():
        assert sent[name] == value and order[name] == value
    assert order['symbol'] == sent['symbol'] and order['clOrdID'] == sent['clOrdID'] == rows[0]['clOrdID']
    added = post_only and 'execInst' not in given and 'price' in given
    assert sent.get('execInst') == ('ParticipateDoNotInitiate' if added else given.get('execInst'))
    assert set(order) == set(given) | {'symbol', 'clOrdID'}


def test_name_is_used_once(bot, orders):
    """A strategy that hands in the same dicts again and again gets a new name each time; its own names stay."""
    order, own = {'price': 5000, 'orderQty': 100, 'side': 'Buy'}, {'price': 5000, 'orderQty': 100, 'clOrdID': 'mine'}
    bot.create_orders([order, own])
    first = order['clOrdID']
    orders.rows = []
    bot.create_orders([order, own])
    assert order['clOrdID'] != first and own['clOrdID'] == 'mine'
    names = [row['clOrdID'] for row in orders.posted()]
    assert (set(names[:2]), set(names[2:])) == ({first, 'mine'}, {order['clOrdID'], 'mine'}) and len(names) == 4


def test_numbers_are_made_whole(bot, orders):
    """Quantities such as 150.0 become integers on the wire; prices stay what they are; NaN is refused and the others
    are sent."""
    rows = bot.create_orders([{'price': 5000.5, 'orderQty': 150.0}, {'price': float('nan'), 'orderQty': 1},
                              {'price': 1, 'orderQty': '100'}])
    assert {row['price']: type(row['orderQty']) for row in orders.posted()} == {5000.5: int, 1: str}
    assert len(rows) == 2 and [type(error) for _, error in rows.errors] == [OrderRejected]
    assert bitmex.whole({'orderQty': 1.5, 'leavesQty': None, 'displayQty': float('inf')})['orderQty'] == 1.5


def test_amendments(bot, orders):
    """Orders are named by orderID, or only by clOrdID; any of quantity, price and side may be there; the caller's
    dict stays as it is."""
    row = bot.buy(100, 5000)
    given = [{'orderID': row['orderID'], 'clOrdID': row['clOrdID'], 'orderQty': 150.0, 'side': 'Buy'},
             {'clOrdID': row['clOrdID'], 'price': 5001}, {'origClOrdID': row['clOrdID'], 'clOrdID': 'renamed'}]
    before = json.dumps(given)

    rows = bot.amend_bulk_orders(given)

    sent = [seen.data for seen in orders.server.seen if seen.verb == 'PUT']
    assert sent == [{'orderID': 'id0', 'orderQty': 150, 'side': 'Buy'}, {'origClOrdID': row['clOrdID'], 'price': 5001},
                    {'origClOrdID': row['clOrdID'], 'clOrdID': 'renamed'}]
    assert [each.get('price') for each in rows] == [5000, 5001, 5001] and rows[2]['clOrdID'] == 'renamed'
    assert json.dumps(given) == before
    assert bot.amend_order({'orderID': 'id0', 'price': 4999})['price'] == 4999


def test_cancel_one_many_or_none(bot, orders):
    """One id or a list go out in one request and a list comes back; an empty list sends nothing; an unknown order
    gives None."""
    assert bot.cancel('a')[0]['ordStatus'] == 'Canceled'
    assert [row['orderID'] for row in bot.cancel(('a', 'b'))] == ['a', 'b']
    assert bot.cancel([]) == [] and bot.cancel_orders([]) == []
    assert [seen.data for seen in orders.server.seen] == [{'orderID': 'a'}, {'orderID': ['a', 'b']}]
    orders.server.script = [http_server.error(404, 'Not Found')]
    assert bot.cancel('gone') is None
    orders.server.script = [http_server.error(404, 'Not Found')] * 3
    assert bot.cancel_bulk_orders([{'orderID': 'gone'}, 'gone too']) == []


def test_one_unknown_order_does_not_save_the_others(bot, orders):
    """A list that is answered with 404 for one of its orders is sent again in parts: every other one is cancelled."""
    def serve(exchange):
        ids = exchange.request.data['orderID']
        if 'gone' in ids:
            return http_server.error(404, 'Not Found')(exchange)
        http_server.answer([{'orderID': each, 'ordStatus': 'Canceled'} for each in ids])(exchange)
    orders.server.default = serve
    rows = bot.cancel(['a', 'b', 'gone', 'c', 'd'])
    assert [row['orderID'] for row in rows] == ['a', 'b', 'c', 'd']
    assert len(orders.server.seen) == 5


def test_cancel_by_row_or_name(bot, orders):
    """Rows may carry an orderID or only a clOrdID."""
    orders.server.default = http_server.answer([{'orderID': '1', 'error': 'Unable to cancel order'}])
    rows = bot.cancel_orders([{'orderID': 'a', 'clOrdID': 'x'}, {'clOrdID': 'y'}, 'b'])
    assert [seen.data for seen in orders.server.seen] == [{'orderID': ['a', 'b']}, {'clOrdID': ['y']}]
    assert [row['error'] for row in rows] == ['Unable to cancel order'] * 2


# One order never takes down the others

def test_refused_order_does_not_keep_the_others_back(bot, orders, caplog):
    """Four orders, two refused: two rows, two errors with their orders, and a log line for each of them in this
    module's name."""
    refusals = {5001: http_server.error(400, 'Invalid price tickSize'),
                5002: http_server.error(400, 'Account has insufficient Available Balance, 5929700 XBt required',
                                        'ValidationError')}
    orders.server.default = lambda exchange: refusals.get(exchange.request.data['price'], orders.serve)(exchange)
    wanted = [{'price': 5000 + n, 'orderQty': 100, 'side': 'Sell'} for n in range(4)]
    with caplog.at_level(logging.WARNING):
        rows = bot.create_orders(wanted)

    assert [row['price'] for row in rows] == [5000, 5003]
    assert [(order['price'], type(error)) for order, error in rows.errors] == [(5001, OrderRejected),
                                                                               (5002, InsufficientFunds)]
    assert rows.errors[1][1].required == 5929700 and rows.errors[0][0] is wanted[1]
    lines = [record.getMessage() for record in caplog.records if record.module == 'bitmex']
    assert lines[0] == 'Sell 100 @ 5001: POST /order: 400 Invalid price tickSize'


def test_order_that_does_not_rest_comes_back_as_it_is(bot, orders):
    """A post-only order that would have traded is answered with 200 and Canceled: a row, no error, sent once."""
    row = {'orderID': '1', 'ordStatus': 'Canceled', 'leavesQty': 0,
           'text': 'Canceled: Order had execInst of ParticipateDoNotInitiate\nSubmitted via API.'}
    orders.server.script = [http_server.answer(row), http_server.answer(dict(row, ordStatus='Filled'))]
    assert bot.create_orders([{'price': 1, 'orderQty': 1}]) == [row]
    assert bot.buy(1, 1)['ordStatus'] == 'Filled' and len(orders.server.seen) == 2


def test_amend_that_comes_too_late(bot, orders):
    """An order that rests no more is an APIError with the exchange's words; an unknown one is OrderNotFound; the
    third is amended."""
    row, other = bot.buy(100, 5000), bot.buy(100, 5001)
    orders.rows[1]['ordStatus'] = 'Filled'
    rows = bot.amend_orders([{'orderID': row['orderID'], 'price': 1}, {'orderID': 'nobody', 'price': 2},
                             {'orderID': other['orderID'], 'price': 3}])
    assert [each['price'] for each in rows] == [3]
    late, unknown = [error for _, error in rows.errors]
    assert type(late) is APIError and late.message == 'Invalid ordStatus: Filled' and type(unknown) is OrderNotFound
    with pytest.raises(APIError):
        bot.amend_order({'orderID': row['orderID'], 'price': 1})


@pytest.mark.parametrize('step, error, sent', [
    (http_server.error(503, OVERLOADED), Overloaded, 3), (http_server.html(403, '403 Forbidden'), APIError, 1)])
def test_rest_of_a_list_is_not_thrown_at_a_closed_door(bot, orders, step, error, sent):
    """When the exchange is overloaded or has locked us out, the orders after the first are not sent, and say so."""
    orders.server.default = step
    rows = bot.create_orders([{'price': n, 'orderQty': 100} for n in (1, 2, 3)])
    assert rows == [] and len(rows.errors) == 3 and all(isinstance(each, error) for _, each in rows.errors)
    assert len(orders.server.seen) == sent


def test_out_of_reach(server, clock, orders):
    """With nobody listening each create fails for certain: it was not sent."""
    bot = connector(server, clock)
    server.shutdown()
    server.server_close()
    rows = bot.create_orders([{'price': n, 'orderQty': 100} for n in (1, 2)])
    assert [type(error) for _, error in rows.errors] == [ConnectionLost] * 2
    with pytest.raises(ConnectionLost):
        bot.cancel('a')


# Orders of unknown fate

def lost(orders, step):
    """Carried out, but the answer is lost."""
    return http_server.doing(orders.carry_out, step)


FAILURES = [http_server.reset, http_server.hang_up, http_server.half, http_server.stall,
            http_server.html(502, '502 Bad Gateway'),
            http_server.error(503, 'Service unavailable'), http_server.error(500, 'Server Error')]


@pytest.mark.parametrize('step', FAILURES)
def test_lost_answer_of_a_create_is_looked_up(bot, orders, step):
    """The order was carried out: it is found by its name, once, and never sent again."""
    orders.server.script = [lost(orders, step)]
    row = bot.buy(100, 5000)
    assert row['orderID'] == 'id0' and row['price'] == 5000
    assert len(orders.rows) == 1 and len(orders.posted()) == 1


@pytest.mark.parametrize('step', FAILURES)
def test_lost_create_stays_unknown(bot, orders, step):
    """The order was not carried out: some looks later that is still no certainty, so the caller learns its name, and
    nothing is resent."""
    orders.server.script = [step]
    with pytest.raises(OutcomeUnknown) as caught:
        bot.buy(100, 5000)
    assert len(orders.posted()) == 1 and caught.value.clOrdIDs == [orders.posted()[0]['clOrdID']]
    assert sum(seen.verb == 'GET' for seen in orders.server.seen) == len(retry.LOOKS)
    assert bot.look_up(caught.value.clOrdIDs) == []


def test_order_that_appears_late(bot, orders, clock):
    """An order that the exchange shows only at the third look is found; one that shows even later can be looked up
    by its name."""
    orders.server.script = [lost(orders, http_server.reset)]
    orders.hidden_looks = 2
    assert bot.buy(100, 5000)['orderID'] == 'id0'
    orders.server.script = [lost(orders, http_server.reset)]
    orders.hidden_looks = 4
    with pytest.raises(OutcomeUnknown) as caught:
        bot.buy(100, 5001)
    clock.advance(40)
    assert bot.look_up(caught.value.clOrdIDs)[0]['price'] == 5001


def test_name_sent_before_is_success_when_it_is_a_duplicate(bot, orders):
    """A name that may be at the exchange is sent again by the caller and refused as a duplicate: that order is the
    answer."""
    orders.server.script = [lost(orders, http_server.reset)]
    orders.hidden_looks = 4
    with pytest.raises(OutcomeUnknown):
        bot.place_order(100, 5000, clOrdID='mine')
    assert bot.place_order(100, 5000, clOrdID='mine')['orderID'] == 'id0'
    with pytest.raises(OrderRejected):
        bot.place_order(100, 5000, clOrdID='mine')   # now it is certain that this is a second order of the same name
    assert len(orders.rows) == 1


def test_drawn_name_that_is_a_duplicate_at_once_is_looked_up(bot, orders):
    """A name of our own making that is refused as a duplicate was carried out all the same, or there is no such order;
    one of the strategy's is a second order of that name."""
    orders.server.script = [lost(orders, http_server.error(400, 'Duplicate clOrdID'))]
    assert bot.buy(100, 5000)['orderID'] == 'id0'
    assert len(orders.rows) == len(orders.posted()) == 1
    orders.server.script = [http_server.error(400, 'Duplicate clOrdID')]
    with pytest.raises(OrderRejected) as caught:
        bot.buy(100, 5001)
    assert 'no order of that name is there' in str(caught.value) and bot.unsettled() == []
    orders.server.script = [lost(orders, http_server.error(400, 'Duplicate clOrdID'))]
    orders.hidden_looks = 1
    assert bot.buy(100, 5002)['price'] == 5002
    orders.server.script = [http_server.error(400, 'Duplicate clOrdID')]
    with pytest.raises(OrderRejected):
        bot.place_order(100, 5001, clOrdID='mine')


def test_repetition_after_an_overload_that_was_none(bot, orders):
    """An overload whose order arrived all the same: the repetition is a duplicate, and the order is found."""
    orders.server.script = [lost(orders, http_server.error(503, OVERLOADED))]
    assert bot.buy(100, 5000)['orderID'] == 'id0'
    assert len(orders.rows) == 1 and len(orders.posted()) == 2


def test_old_order_of_the_same_name_is_not_the_answer(bot, orders, clock):
    """A strategy may use its names again: what ended under that name an hour ago says nothing about the order sent
    now."""
    bot.place_order(100, 4000, clOrdID='mine')
    orders.rows[0]['ordStatus'] = 'Filled'
    clock.advance(3600)
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot.place_order(100, 5000, clOrdID='mine')
    orders.server.script = [lost(orders, http_server.reset)]
    assert bot.place_order(100, 5000, clOrdID='mine')['price'] == 5000


def test_several_of_unknown_fate_are_looked_up_together(bot, orders):
    """One carried out, one not, one answered: one look for both finds the first; the second stays unknown, the third
    is a row."""
    orders.server.script = [lost(orders, http_server.reset), orders.serve, http_server.html(502, 'x')]
    wanted = [{'price': n, 'orderQty': 100} for n in (1, 2, 3)]
    rows = bot.create_orders(wanted)
    assert [row['price'] for row in rows] == [1, 2]
    assert [(order, type(error)) for order, error in rows.errors] == [(wanted[2], OutcomeUnknown)]
    looks = [json.loads(parse_qs(urlsplit(seen.path).query)['filter'][0]) for seen in orders.server.seen
             if seen.verb == 'GET']
    assert looks[0] == {'clOrdID': [wanted[0]['clOrdID'],
                                    wanted[2]['clOrdID']]} and looks[1] == {'clOrdID': [wanted[2]['clOrdID']]}


def test_silent_exchange_is_not_asked_for_the_whole_ladder(bot, orders):
    """After two orders in a row without an answer the rest is kept back: certainly not sent."""
    orders.server.default = http_server.html(502, 'x')
    rows = bot.create_orders([{'price': n, 'orderQty': 100} for n in range(1, 7)])
    assert [type(error) for _, error in rows.errors] == [OutcomeUnknown] * 2 + [ConnectionLost] * 4
    assert len(orders.posted()) == 2


@pytest.mark.parametrize('named', ['orderID', 'clOrdID'])
def test_lost_answer_of_an_amend_is_looked_up(bot, orders, named):
    """Carried out: the order's row shows it. Not carried out: unknown, and not sent again. Finished meanwhile: too
    late."""
    row = bot.buy(100, 5000)
    orders.server.script = [lost(orders, http_server.reset)]
    assert bot.amend_order({named: row[named], 'price': 5001})['price'] == 5001
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown) as caught:
        bot.amend_order({named: row[named], 'price': 5002})
    assert caught.value.clOrdIDs == [row[named]]
    orders.server.script = [http_server.doing(lambda _: orders.rows[0].update(ordStatus='Filled'), http_server.reset)]
    with pytest.raises(APIError) as caught:
        bot.amend_order({named: row[named], 'price': 5003})
    assert caught.value.message == 'Invalid ordStatus: Filled'
    assert sum(seen.verb == 'PUT' for seen in orders.server.seen) == 3


def test_looks_survive_trouble(bot, orders, caplog):
    """A look that fails is reported and followed by the next."""
    orders.server.script = [lost(orders, http_server.html(502, 'x')), http_server.html(502, 'x'), http_server.reset]
    assert bot.buy(100, 5000)['orderID'] == 'id0'
    assert sum('unknown fate' in record.getMessage() for record in caplog.records) == 2


def test_fifty_lost_answers_among_clean_calls(bot, orders):
    """Half of a hundred answers are lost, before or after execution: every order that exists is known, none exists
    twice."""
    rng = random.Random(3)
    known, unknown = set(), set()
    orders.server.default = None
    for number in range(100):
        step = orders.serve if number % 2 else rng.choice([http_server.reset, lost(orders, http_server.reset)])
        orders.server.script = [step]
        orders.server.default = orders.serve
        try:
            known.add(bot.buy(100, 1000 + number)['clOrdID'])
        except OutcomeUnknown as error:
            unknown.update(error.clOrdIDs)
    names = [row['clOrdID'] for row in orders.rows]
    assert set(names) == known and len(names) == len(known) and len(known) + len(unknown) == 100 and len(unknown) > 10


def test_order_without_a_name_cannot_be_looked_up(bot, orders):
    """A request that a strategy built by itself, without clOrdID: unknown at once, and still not repeated."""
    orders.server.script = [http_server.reset]
    with pytest.raises(OutcomeUnknown):
        bot._curl_bitmex('order', postdict={'symbol': 'XBTUSD', 'orderQty': 1})
    assert len(orders.server.seen) == 1


# Fatal ends

def test_refused_key_ends_a_script_and_can_be_survived(bot, orders):
    """It is an AuthenticationError and a SystemExit in one; a strategy that catches everything can call again."""
    bot._client.introduce = None   # else each refusal is followed by the question whether the exchange is another one
    orders.server.script = [http_server.error(401, 'Signature not valid.')] * 3
    for call in (lambda: bot.create_orders([{'price': 1, 'orderQty': 1}]), lambda: bot.buy(1, 1),
                 lambda: bot.cancel('a')):
        with pytest.raises(AuthenticationError) as caught:
            call()
        assert isinstance(caught.value, SystemExit) and caught.value.exit_code == 3
        assert caught.value.code == str(caught.value) and 'Signature not valid.' in str(caught.value)
        assert KEY not in str(caught.value) and SECRET not in str(caught.value)
    assert bot.buy(100, 5000)['orderID']
    orders.server.script = [http_server.reset, http_server.error(401, 'Signature not valid.')]
    with pytest.raises(bitmex.KeyRefused):   # while looking for an order of unknown fate
        bot.buy(100, 5000)
    orders.server.script = [http_server.reset, http_server.error(401, 'Signature not valid.')]
    with pytest.raises(bitmex.KeyRefused):
        bot.create_orders([{'price': 1, 'orderQty': 1}, {'price': 2, 'orderQty': 1}])


def test_other_errors_end_no_process(bot, orders):
    """SystemExit comes from a refused key and from nothing else."""
    for step in (http_server.error(400, 'Invalid symbol'), http_server.error(404, 'Not Found'),
                 http_server.error(418, 'x')):
        orders.server.script = [step]
        with pytest.raises(APIError) as caught:
            bot._curl_bitmex('instrument', {'symbol': 'X'})
        assert not isinstance(caught.value, SystemExit)


def test_uncaught_refusal_is_one_line_and_status_1(tmp_path):
    """The interpreter prints the line and nothing else."""
    script = 'from market_maker.bitmex import KeyRefused; raise KeyRefused("the exchange refuses the key")'
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(os.path.abspath(bitmex.__file__))))
    process = subprocess.Popen([sys.executable, '-c', script], stderr=subprocess.PIPE, env=environment,
                               cwd=str(tmp_path))
    printed = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, printed.strip()) == (1, 'the exchange refuses the key')


# Names

@pytest.mark.parametrize('prefix', ['', 'mm_', 'mm_bitmex_', 'x' * 13])
def test_names(prefix):
    """Prefix and 22 characters, 36 at most, each one once; with a seed the same ones again."""
    names = [new_name(prefix, random.Random(seed)) for seed in range(200)]
    assert len(set(names)) == 200 and {len(name) for name in names} == {len(prefix) + 22} and max(map(len, names)) <= 36
    assert all(is_generated(name, prefix) for name in names) and names[0] == new_name(prefix, random.Random(0))


@pytest.mark.parametrize('name',
                         [None, '', 'mm_', 'mm_mine', 'mm_2_' + 'a' * 21 + 'A', 'mm_' + 'a' * 21 + 'B',
                          'mm_' + 'a' * 21 + 'A\n',
                                  'mm_' + '_' * 22, 'xx_' + 'a' * 21 + 'A', 'mm_' + 'a' * 21, 'mm_' + 'a' * 22 + 'A'])
def test_names_of_others(name):
    """A name made with a longer prefix, by hand, or by nobody, is not taken for one of ours."""
    assert is_generated('mm_' + 'a' * 21 + 'A', 'mm_')
    assert not is_generated(name, 'mm_')


def test_prefix_leaves_room_for_the_name(server, clock):
    """Fourteen characters are refused with their number."""
    with pytest.raises(SettingsError) as caught:
        connector(server, clock, orderIDPrefix='x' * 14)
    assert "'xxxxxxxxxxxxxx' has 14 characters; 13 is the most" in str(caught.value)


def test_drawn_names_are_told_from_others():
    """Whatever the prefix; a name that only looks alike is not taken for one."""
    rng = random.Random(5)
    assert all(is_drawn(new_name(prefix, rng)) for prefix in ('', 'mm_', 'mm_2_') for _ in range(50))
    assert not any(is_drawn(name) for name in (None, '', 'mine', 'mm_' + 'A' * 22, 'mm_' + 'z' * 22))
