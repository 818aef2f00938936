"""Orders that wait: stops, if-touched orders, pegs, links."""
import pytest

from engine_world import NOW, a_market, check_laws, of_table, order, refusal


@pytest.fixture
def exchange():
    """A still market at 50000.0 / 50000.1, mark and index beside it."""
    exchange = a_market(bid=50000.0, ask=50000.1)
    exchange.set_index('XBTUSD', 50000)
    exchange.advance(NOW + 2)
    exchange.drain()
    return exchange


@pytest.fixture
def account(exchange):
    """A customer."""
    account = exchange.open_account()
    exchange.drain()
    return account


@pytest.mark.parametrize('kind, side, stop, before, at', [
    ('Stop', 'Sell', 49500, 49501, 49500), ('Stop', 'Buy', 50500, 50499, 50500),
    ('MarketIfTouched', 'Buy', 49500, 49501, 49500), ('MarketIfTouched', 'Sell', 50500, 50499, 50500),
    ('StopLimit', 'Sell', 49500, 49501, 49500), ('LimitIfTouched', 'Sell', 50500, 50499, 50500),
])
def test_what_the_mark_sets_off(exchange, account, kind, side, stop, before, at):
    """Each kind waits on its side of the market, without margin, and works when the mark reaches its stop price."""
    more = {'price': 50200.0 if side == 'Sell' else 49800.0} if 'Limit' in kind else {}
    row = exchange.place(account, order(side, 300, ordType=kind, stopPx=stop, **more))
    assert (row['ordStatus'], row['workingIndicator'], row['stopPx']) == ('New', False, stop)
    assert exchange.rows('margin', account)[0]['initMargin'] == 0
    exchange.drain()

    exchange.set_mark('XBTUSD', before)
    assert not of_table(exchange.drain(), 'order')
    exchange.set_mark('XBTUSD', at)
    changes = exchange.drain()
    row = exchange.history('order', account)[0]
    assert row['triggered'] == 'StopOrderTriggered'
    assert of_table(changes, 'order', 'update')[0]['triggered'] == 'StopOrderTriggered'
    assert of_table(changes, 'execution')[0]['execType'] == 'TriggeredOrActivatedBySystem'
    if more:
        assert row['ordStatus'] == 'New' and row['workingIndicator'] is True
        assert exchange.rows('margin', account)[0]['initMargin'] > 0
    else:
        assert (row['ordStatus'], row['cumQty']) == ('Filled', 300)
    check_laws(exchange)


def test_each_reference_sets_off_its_own(exchange, account):
    """LastPrice, IndexPrice and MarkPrice stops wait for their own price."""
    for name in ('LastPrice', 'IndexPrice', 'MarkPrice'):
        exchange.place(account, order('Buy', 100, ordType='Stop', stopPx=50500, execInst=name, clOrdID=name))

    exchange.set_mark('XBTUSD', 50600)
    assert sorted(account.by_client) == ['IndexPrice', 'LastPrice']
    exchange.set_index('XBTUSD', 50600)
    exchange.advance(exchange.now + 1)
    assert sorted(account.by_client) == ['LastPrice']
    exchange.rest('XBTUSD', 'Sell', 505000, 1000)
    exchange.take('XBTUSD', 'Buy', 99800 + 100, 505000)
    assert sorted(account.by_client) == []


def test_one_stop_sets_off_the_next(exchange, account):
    """A stop that trades moves the last price, which sets off another within the same event."""
    exchange.rest('XBTUSD', 'Sell', 500200, 100)
    exchange.rest('XBTUSD', 'Sell', 500300, 100)
    exchange.rest('XBTUSD', 'Sell', 500400, 1000)
    exchange.take('XBTUSD', 'Buy', 100000)
    for stop in (50020, 50030):
        exchange.place(account, order('Buy', 100, ordType='Stop', stopPx=stop, execInst='LastPrice'))

    exchange.take('XBTUSD', 'Buy', 100)
    assert account.positions['XBTUSD'].quantity == 200 and not account.orders


def test_a_stop_beyond_the_market_goes_off_at_once(exchange, account):
    """A stop price that is reached already triggers on arrival."""
    row = exchange.place(account, order('Buy', 100, ordType='Stop', stopPx=49000))

    assert (row['ordStatus'], row['triggered']) == ('Filled', 'StopOrderTriggered')


def test_last_within_mark(exchange, account):
    """With LastWithinMark a stop holds still while the last price is more than 5 % from the mark."""
    exchange.rest('XBTUSD', 'Sell', 540000, 10000)
    exchange.place(account, order('Buy', 100, ordType='Stop', stopPx=53000, execInst='LastPrice,LastWithinMark'))
    exchange.take('XBTUSD', 'Buy', 100100)
    assert account.orders

    exchange.set_mark('XBTUSD', 53000)
    exchange.take('XBTUSD', 'Buy', 100)
    assert not account.orders


def test_a_stop_that_cannot_be_carried_is_rejected(exchange):
    """Money is looked at when the order begins to work: too little of it rejects the order and names the reason."""
    poor = exchange.open_account(balances={'XBt': 1000})
    exchange.place(poor, order('Buy', 100000, ordType='Stop', stopPx=50500))
    exchange.drain()
    exchange.set_mark('XBTUSD', 50600)

    row = exchange.history('order', poor)[0]
    assert row['ordStatus'] == 'Rejected' and row['text'].startswith('Account has insufficient Available Balance')
    assert of_table(exchange.drain(), 'execution')[-1]['execType'] == 'Rejected'


def test_a_close_stop_takes_the_position_of_its_hour(exchange, account):
    """A Close stop without quantity closes whatever the position has become."""
    exchange.place(account, order('Buy', 300))
    exchange.place(account, {'symbol': 'XBTUSD', 'ordType': 'Stop', 'stopPx': 49000, 'execInst': 'Close',
                             'side': 'Sell'})
    exchange.place(account, order('Buy', 200))
    exchange.set_mark('XBTUSD', 48999)

    assert account.positions['XBTUSD'].quantity == 0 and not account.orders


def test_a_close_stop_may_come_before_its_position(exchange, account):
    """It names its side, shows a lot, and closes whatever there is when its turn comes."""
    row = exchange.place(account, {'symbol': 'XBTUSD', 'side': 'Sell', 'ordType': 'Stop', 'stopPx': 49000,
                                   'execInst': 'Close,MarkPrice'})
    assert (row['ordStatus'], row['orderQty'], row['workingIndicator']) == ('New', 100, False)
    exchange.place(account, order('Buy', 700))
    exchange.set_mark('XBTUSD', 48999)

    assert account.positions['XBTUSD'].quantity == 0
    ended = {one['orderID']: one for one in exchange.history('order', account)}[row['orderID']]
    assert (ended['ordStatus'], ended['cumQty'], ended['orderQty']) == ('Filled', 700, 700)
    check_laws(exchange)


def test_stops_that_are_gone_leave_nothing_behind(exchange, account):
    """Placed, moved and canceled ten thousand times, waiting orders cost no more memory than those that wait."""
    kept = exchange.place(account, order('Sell', 100, ordType='Stop', stopPx=40000))
    for number in range(5000):
        row = exchange.place(account, order('Sell', 100, ordType='Stop', stopPx=41000 + number % 7))
        exchange.amend(account, {'orderID': row['orderID'], 'stopPx': 42000})
        exchange.cancel(account, {'orderID': row['orderID']})
    exchange.drain()

    assert len(exchange.trigger.waiting['XBTUSD']) < 100
    exchange.set_mark('XBTUSD', 39999)
    rows = {row['orderID']: row for row in exchange.history('order', account)}
    assert rows[kept['orderID']]['triggered'] == 'StopOrderTriggered'


def test_a_stop_that_finds_nothing_to_reduce_is_canceled(exchange, account):
    """One update tells that it was triggered and canceled, with the text that BitMEX gave in 2020."""
    for instruction in ('Close', 'ReduceOnly'):
        exchange.place(account, order('Buy', 100, ordType='Stop', stopPx=50100, execInst=instruction))
        exchange.drain()
        exchange.set_mark('XBTUSD', 50100)
        changes = exchange.drain()

        update, = of_table(changes, 'order')
        assert (update['ordStatus'], update['triggered'], update['leavesQty']) == ('Canceled', 'StopOrderTriggered', 0)
        assert update['text'] == ('Canceled: Order had execInst of Close or ReduceOnly and side of Buy but current '
                                  'position is 0\nSubmitted via API.')
        assert [row['execType'] for row in of_table(changes, 'execution')] == ['Canceled']
        exchange.set_mark('XBTUSD', 50000)


def test_a_triggered_order_says_so(exchange, account):
    """Its text tells that the stop price was reached; orders at any price are shown as immediate or cancel."""
    stop = exchange.place(account, order('Buy', 100, ordType='Stop', stopPx=50100, timeInForce='GoodTillCancel'))
    assert stop['timeInForce'] == 'ImmediateOrCancel'
    limit = exchange.place(account, order('Buy', 100, 49000, ordType='StopLimit', stopPx=50100))
    assert limit['timeInForce'] == 'GoodTillCancel'
    exchange.set_mark('XBTUSD', 50100)

    rows = {row['orderID']: row for row in exchange.history('order', account)}
    assert rows[stop['orderID']]['ordStatus'] == 'Filled'
    assert rows[limit['orderID']]['text'] == 'Triggered: Order stop price reached\nSubmitted via API.'
    assert rows[limit['orderID']]['workingIndicator'] is True


def test_stops_can_be_amended_and_canceled(exchange, account):
    """stopPx, price and size of a waiting order change; its old stop price means nothing any more."""
    mine = exchange.place(account, order('Sell', 300, ordType='Stop', stopPx=49500))
    row = exchange.amend(account, {'orderID': mine['orderID'], 'stopPx': 49000, 'orderQty': 200})
    assert (row['stopPx'], row['orderQty'], row['text'].splitlines()[0]) == (49000, 200, 'Amended orderQty stopPx')

    exchange.set_mark('XBTUSD', 49400)
    assert account.orders
    exchange.cancel(account, {'orderID': mine['orderID']})
    exchange.set_mark('XBTUSD', 48000)
    assert exchange.history('order', account)[0]['ordStatus'] == 'Canceled'
    check_laws(exchange)


class TestPegs(object):
    """Pegged orders."""

    def test_a_trailing_stop_follows(self, exchange, account):
        """It starts at its offset from the mark, follows the good way by more than a thousandth, never back, and goes
        off.
        """
        row = exchange.place(account, order('Sell', 100, ordType='Stop', pegPriceType='TrailingStopPeg',
                                            pegOffsetValue=-100))
        assert (row['stopPx'], row['pegOffsetValue'], row['pegPriceType']) == (49900, -100, 'TrailingStopPeg')

        def stop_at(mark):
            exchange.set_mark('XBTUSD', mark)
            exchange.advance(exchange.now + 1)
            return exchange.rows('order', account)[-1]['stopPx']

        assert stop_at(50040) == 49900      # 40 are less than a thousandth
        assert stop_at(50200) == 50100
        assert stop_at(50150) == 50100
        exchange.set_mark('XBTUSD', 50100)
        assert not account.orders

    def test_pegged_without_type_is_a_trailing_stop_at_the_market(self, exchange, account):
        """ordType Pegged with TrailingStopPeg behaves like Stop."""
        exchange.place(account, order('Buy', 100, pegPriceType='TrailingStopPeg', pegOffsetValue=50, ordType='Pegged'))
        assert exchange.rows('order', account)[0]['stopPx'] == 50050
        exchange.set_mark('XBTUSD', 50050)
        assert account.positions['XBTUSD'].quantity == 100

    def test_a_trailing_offset_can_be_amended(self, exchange, account):
        """A new offset gives a new stop price; stopPx itself is not the customer's."""
        row = exchange.place(account, order('Sell', 100, ordType='Stop', pegPriceType='TrailingStopPeg',
                                            pegOffsetValue=-100))
        assert refusal(exchange.amend, account, {'orderID': row['orderID'],
                                                 'stopPx': 1}) == 'Invalid stopPx for ordType'
        row = exchange.amend(account, {'orderID': row['orderID'], 'pegOffsetValue': -200})
        assert (row['stopPx'], row['pegOffsetValue']) == (49800, -200)

    @pytest.mark.parametrize('side, peg, offset, price', [
        ('Buy', 'PrimaryPeg', -5, 49995), ('Sell', 'PrimaryPeg', 5, 50005.1),
        ('Buy', 'MarketPeg', -10, 49990.1), ('Sell', 'MarketPeg', 10, 50010),
        ('Buy', 'PrimaryPeg', None, 50000),
    ])
    def test_fixed_pegs(self, exchange, account, side, peg, offset, price):
        """A primary peg hangs on the near best price, a market peg on the far one, fixed when the order arrives."""
        more = {} if offset is None else {'pegOffsetValue': offset}
        row = exchange.place(account, order(side, 100, ordType='Pegged', pegPriceType=peg, execInst='Fixed', **more))

        assert (row['price'], row['ordStatus'], row['ordType']) == (price, 'New', 'Pegged')


class TestLinks(object):
    """clOrdLinkID with contingencyType."""

    def test_one_cancels_the_other(self, exchange, account):
        """The first fill, or trigger, of an order cancels what is linked to it."""
        for fields in (order('Sell', 100, 50100, clOrdID='profit'),
                       order('Sell', 100, ordType='Stop', stopPx=49000, clOrdID='stop')):
            exchange.place(account, dict(fields, clOrdLinkID='g', contingencyType='OneCancelsTheOther'))
        exchange.set_mark('XBTUSD', 48999)

        texts = {row['clOrdID']: row for row in exchange.history('order', account)}
        assert texts['stop']['ordStatus'] == 'Filled'
        assert texts['profit']['text'].startswith('Canceled: Order had contingencyType of OneCancelsTheOther')
        assert not account.links

    def test_one_triggers_the_other(self, exchange, account):
        """Linked orders are held back until the first has filled, and canceled with it."""
        for client, price in (('a', 49990), ('b', 49990)):
            exchange.place(account, order('Buy', 100, price, clOrdID=client, clOrdLinkID=client,
                                          contingencyType='OneTriggersTheOther'))
            row = exchange.place(account, order('Sell', 100, 50200, clOrdID=client + '2', clOrdLinkID=client))
            assert row['workingIndicator'] is False and row['ordStatus'] == 'New'
        assert exchange.depth('XBTUSD', 'Sell', 2)[1:] == []

        exchange.take('XBTUSD', 'Sell', 100000 + 100)
        assert exchange.depth('XBTUSD', 'Sell', 2)[1:] == [(502000, 100)]
        assert account.by_client['a2'].row['workingIndicator'] is True
        exchange.cancel(account, {'clOrdID': 'b'})
        assert sorted(account.by_client) == ['a2']
        check_laws(exchange)
