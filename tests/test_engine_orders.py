"""Orders from the customer's side: what is accepted, refused, filled, amended, canceled, and what is told about it."""
import pytest

from engine_world import NOW, a_market, an_exchange, check_laws, of_table, order, refusal
from market_maker.simulator.exchange import Refusal

BID, ASK = 50000.0, 50000.1


@pytest.fixture
def exchange():
    """A still market at 50000.0 / 50000.1 with 100,000 on each side."""
    return a_market(bid=BID, ask=ASK)


@pytest.fixture
def account(exchange):
    """A customer with ten bitcoins."""
    account = exchange.open_account('key', 'secret')
    exchange.drain()
    return account


def test_a_resting_order_is_told_once(exchange, account):
    """A limit order away from the market: one order insert, one New execution, a level, and the sums of position and
    margin.
    """
    row = exchange.place(account, order('Buy', 300, 49990.5, clOrdID='mine', text='hello'))
    changes = exchange.drain()

    assert row['ordStatus'] == 'New' and row['workingIndicator'] is True and row['text'] == 'hello'
    assert of_table(changes, 'order') == [row]
    assert [change.action for change in changes if change.table == 'order'] == ['insert']
    execution, = of_table(changes, 'execution')
    assert execution == dict(row, execID=execution['execID'], execType='New')
    level, = of_table(changes, 'orderBookL2', 'insert')
    assert (level['side'], level['size'], level['price']) == ('Buy', 300, 49990.5)
    assert not of_table(changes, 'quote')
    position, = of_table(changes, 'position')
    assert (position['openOrderBuyQty'], position['currentQty'], position['isOpen']) == (300, 0, False)
    margin, = of_table(changes, 'margin')
    assert margin['initMargin'] == position['initMargin'] > 0
    assert {change.account_id for change in changes if change.table in ('order', 'position')} == {account.id}


def test_rows_have_the_fields_of_today(exchange, account):
    """The row of a plain order has exactly the modern fields, clOrdID also when it is empty, nothing null."""
    row = exchange.place(account, order('Buy', 100, 49990))

    assert sorted(row) == ['account', 'clOrdID', 'cumQty', 'currency', 'leavesQty', 'ordStatus', 'ordType', 'orderID',
                           'orderQty', 'pool', 'price', 'settlCurrency', 'side', 'strategy', 'symbol', 'text',
                           'timeInForce', 'timestamp', 'transactTime', 'workingIndicator']
    assert row['clOrdID'] == '' and (row['currency'], row['settlCurrency']) == ('USD', 'XBt')


def test_a_market_order_fills_at_the_makers_price(exchange, account):
    """A market order takes the ask: an insert says New, an update Filled; executions carry value, fee and match."""
    row = exchange.place(account, order('Buy', 400))
    changes = exchange.drain()

    assert (row['ordStatus'], row['cumQty'], row['leavesQty'], row['timeInForce']) == ('Filled', 400, 0,
                                                                                       'ImmediateOrCancel')
    inserted, = of_table(changes, 'order', 'insert')
    update, = of_table(changes, 'order', 'update')
    assert 'price' not in row and dict(inserted, **update) == row
    assert (inserted['ordStatus'], inserted['leavesQty'], inserted['workingIndicator']) == ('New', 400, True)
    assert (update['ordStatus'], update['leavesQty'], update['workingIndicator']) == ('Filled', 0, False)
    new, trade = of_table(changes, 'execution')
    assert (new['execType'], new['ordStatus'], new['leavesQty']) == ('New', 'New', 400)
    value = 4 * exchange.instruments['XBTUSD'].lot_value(500001)
    assert (trade['execCost'], trade['execComm'], trade['lastPx'], trade['lastQty']) == (-value, 400, ASK, 400)
    assert (trade['homeNotional'], trade['foreignNotional']) == (value / 1e8, -400)
    assert trade['lastLiquidityInd'] == 'RemovedLiquidity' and trade['feeType'] == 'Taker'
    public, = of_table(changes, 'trade')
    assert (public['side'], public['size'], public['price'], public['grossValue']) == ('Buy', 400, ASK, value)
    assert public['trdMatchID'] == trade['trdMatchID']
    quote, = of_table(changes, 'quote')
    assert (quote['askPrice'], quote['askSize'], quote['bidSize']) == (ASK, 99600, 100000)


def test_makers_are_filled_first_come_first_served(exchange, account):
    """Price before time, time before size; every maker gets an order update and an execution of its own."""
    first = exchange.place(account, order('Sell', 100, ASK, clOrdID='first'))
    other = exchange.open_account()
    second = exchange.place(other, order('Sell', 500, ASK))
    best = exchange.place(other, order('Sell', 100, ASK))
    exchange.drain()

    exchange.take('XBTUSD', 'Buy', 100000 + 200)
    changes = exchange.drain()

    fills = [(row['orderID'], row['lastQty']) for row in of_table(changes, 'execution')]
    assert fills == [(first['orderID'], 100), (second['orderID'], 100)]
    assert best['orderID'] not in dict(fills)
    update = of_table(changes, 'order', 'update')[1]
    assert update == {'orderID': second['orderID'], 'clOrdID': '', 'account': other.id, 'symbol': 'XBTUSD',
                      'ordStatus': 'PartiallyFilled', 'leavesQty': 400, 'cumQty': 100, 'avgPx': update['avgPx'],
                      'timestamp': '2026-05-03T05:01:55.500Z'}
    assert [row['size'] for row in of_table(changes, 'trade')] == [100000, 100, 100]


def test_a_second_partial_fill_tells_what_changed_only(exchange, account):
    """Status and average that stay the same are left out of later updates; the end takes the order out of work."""
    mine = exchange.place(account, order('Buy', 300, BID))
    exchange.take('XBTUSD', 'Sell', 100000 + 100)
    exchange.drain()

    exchange.take('XBTUSD', 'Sell', 100)
    update, = of_table(exchange.drain(), 'order')
    assert sorted(update) == ['account', 'clOrdID', 'cumQty', 'leavesQty', 'orderID', 'symbol', 'timestamp']
    exchange.take('XBTUSD', 'Sell', 100)
    update, = of_table(exchange.drain(), 'order')
    assert (update['ordStatus'], update['workingIndicator'], update['cumQty']) == ('Filled', False, 300)
    assert mine['orderID'] not in account.orders


def test_post_only_that_would_match_is_canceled(exchange, account):
    """Accepted with status 200, canceled at once, told as a single insert, with the recorded text."""
    row = exchange.place(account, order('Buy', 100, ASK, execInst='ParticipateDoNotInitiate'))
    changes = exchange.drain()

    assert (row['ordStatus'], row['leavesQty'], row['cumQty']) == ('Canceled', 0, 0)
    assert row['text'] == 'Canceled: Order had execInst of ParticipateDoNotInitiate\nSubmitted via API.'
    assert [change.action for change in changes if change.table == 'order'] == ['insert']
    assert [row['execType'] for row in of_table(changes, 'execution')] == ['New', 'Canceled']
    assert exchange.place(account, order('Buy', 100, BID, execInst='ParticipateDoNotInitiate'))['ordStatus'] == 'New'


@pytest.mark.parametrize('fields, status, filled, text', [
    (order('Buy', 200000, ASK, timeInForce='ImmediateOrCancel'), 'Canceled', 100000,
     'timeInForce of ImmediateOrCancel'),
    (order('Buy', 200000, ASK, timeInForce='FillOrKill'), 'Canceled', 0, 'timeInForce of FillOrKill'),
    (order('Buy', 100000, ASK, timeInForce='FillOrKill'), 'Filled', 100000, None),
    (order('Buy', 100, BID, timeInForce='ImmediateOrCancel'), 'Canceled', 0, 'timeInForce of ImmediateOrCancel'),
    (order('Buy', 200000), 'Canceled', 100000, 'ordType of Market'),
    (order('Buy', 200000, ASK), 'PartiallyFilled', 100000, None),
])
def test_what_is_left_of_an_order(exchange, account, fields, status, filled, text):
    """Remainders rest or are canceled with the reason in the text; a fill-or-kill fills wholly or not at all."""
    row = exchange.place(account, fields)

    assert (row['ordStatus'], row['cumQty']) == (status, filled)
    if text:
        assert row['text'] == 'Canceled: Order had {}\nSubmitted via API.'.format(text)
        assert row['leavesQty'] == 0
    check_laws(exchange)


def test_a_market_order_stops_at_price_protection(account, exchange):
    """No further than 5 % beyond the market; the rest is canceled, also in an empty book."""
    exchange.rest('XBTUSD', 'Sell', 524000, 1000)
    exchange.rest('XBTUSD', 'Sell', 526000, 1000)

    row = exchange.place(account, order('Buy', 200000))
    assert row['cumQty'] == 101000 and row['ordStatus'] == 'Canceled'
    row = exchange.place(account, order('Sell', 200000))
    assert row['cumQty'] == 100000
    row = exchange.place(account, order('Sell', 100))
    assert (row['ordStatus'], row['cumQty']) == ('Canceled', 0)


def test_fat_fingers_are_refused(exchange, account):
    """A limit order more than 5 % through the market and larger than the best level is refused; a small one passes."""
    assert refusal(exchange.place, account, order('Buy', 100100, 52600)) == 'Price greater than limitUpPrice'
    assert refusal(exchange.place, account, order('Sell', 100100, 47400)) == 'Price less than limitDownPrice'
    assert exchange.place(account, order('Sell', 100, 47400))['ordStatus'] == 'Filled'
    assert exchange.place(account, order('Buy', 100100, 52400))['cumQty'] == 100000


@pytest.mark.parametrize('fields, message', [
    ({}, "'symbol' is a required arg."),
    (order(symbol='BXTUSD'), 'Invalid symbol'),
    (order(symbol=17), 'Invalid symbol'),
    (order(symbol='.BXBT'), 'Instrument not listed for trading yet'),
    (order('Long'), 'Invalid side'),
    (order(side=['Buy'], price=49000), 'Invalid side'),
    (order(quantity=0, price=49000), 'Invalid orderQty'),
    (order(quantity='x', price=49000), 'Invalid orderQty'),
    (order(quantity=None, price=49000), 'Invalid orderQty'),
    (order(quantity=1.5, price=49000), 'Invalid orderQty'),
    (order(quantity=True, price=49000), 'Invalid orderQty'),
    (order(quantity=10000100, price=49000), 'Invalid orderQty'),
    (order(quantity=10 ** 30, price=49000), 'Invalid orderQty'),
    (order(quantity=150, price=49000), 'Order quantity must be a multiple of lot size: 100'),
    (order(price=49000.05), 'Invalid price tickSize'),
    (order(price=-1), 'Invalid price'),
    (order(price=0), 'Invalid price'),
    (order(price=1000000.1), 'Invalid price'),
    (order(price='nan'), 'Invalid price'),
    (order(price='inf'), 'Invalid price'),
    (order(price={}), 'Invalid price'),
    (order(price=1e-9), 'Invalid price'),
    ({'symbol': 'XBTUSD', 'orderQty': 100}, 'Invalid price'),
    (order(price=49000, ordType='Bracket'), 'Unsupported ordType'),
    (order(price=49000, ordType=['Limit']), 'Unsupported ordType'),
    (order(price=49000, timeInForce='Tomorrow'), 'Unsupported timeInForce'),
    (order(price=49000, execInst='AllOrNone'), 'Unsupported execInst'),
    (order(price=49000, execInst='Never'), 'Invalid execInst'),
    (order(price=49000, execInst=5), 'Invalid execInst'),
    (order(price=49000, execInst='MarkPrice'), 'Invalid ordType for execInst'),
    (order(execInst='ParticipateDoNotInitiate'), 'Invalid ordType for execInst'),
    (order(price=49000, execInst='ParticipateDoNotInitiate', timeInForce='FillOrKill'),
     'Invalid ordType or timeInForce for execInst'),
    (order(price=49000, simpleOrderQty=1), 'Invalid simpleOrderQty'),
    (order(price=49000, strategy='Long'), 'Unsupported strategy'),
    (order(price=49000, pool='Secondary'), 'Unsupported pool'),
    (order(price=49000, maxSlippagePct=1), 'Unsupported maxSlippagePct'),
    (order(price=49000, algoOrderDetails={}), 'Unsupported algoOrderDetails'),
    (order(price=49000, clOrdID='x' * 37), 'Invalid clOrdID'),
    (order(price=49000, clOrdID=17), 'Invalid clOrdID'),
    (order(price=49000, displayQty=-100), 'Invalid displayQty'),
    (order(price=49000, displayQty=50), 'Invalid displayQty'),
    (order(displayQty=100), 'Invalid displayQty'),
    (order(price=49000, stopPx=48000, ordType='Limit'), 'Invalid stopPx for ordType'),
    (order(ordType='Stop'), 'Invalid stopPx for ordType'),
    (order(ordType='Stop', stopPx=48000.01), 'Invalid stopPx tickSize'),
    (order(ordType='Stop', stopPx=-5), 'Invalid stopPx for ordType'),
    (order(ordType='Stop', stopPx=48000, execInst='MarkPrice,LastPrice'), 'Invalid execInst'),
    (order(ordType='Stop', stopPx=48000, execInst='LastWithinMark'), 'Invalid execInst'),
    (order(ordType='StopLimit', stopPx=48000), 'Invalid price'),
    (order(ordType='Pegged', pegPriceType='LastPeg'), 'Unsupported pegPriceType'),
    (order(ordType='Pegged', pegPriceType='MidPricePeg'), 'Unsupported pegPriceType'),
    (order(ordType='Pegged'), 'Invalid pegPriceType for ordType'),
    (order(ordType='Pegged', pegPriceType='PrimaryPeg'), 'Invalid execInst'),
    (order(price=49000, pegPriceType='PrimaryPeg', ordType='Limit'), 'Invalid pegPriceType for ordType'),
    (order(ordType='Stop', pegPriceType='TrailingStopPeg', pegOffsetValue=-5),
     'Invalid pegOffsetValue for pegPriceType'),
    (order(ordType='Stop', pegPriceType='TrailingStopPeg', pegOffsetValue=5.03), 'Invalid pegOffsetValue tickSize'),
    (order(ordType='Stop', pegPriceType='TrailingStopPeg'), 'Invalid pegOffsetValue for pegPriceType'),
    (order(price=49000, contingencyType='OneUpdatesTheOther', clOrdLinkID='a'), 'Unsupported contingencyType'),
    (order(price=49000, contingencyType='OneCancelsTheOther'), 'Invalid clOrdLinkID for contingencyType'),
    (order('Buy', 100, 49000, execInst='ReduceOnly'),
     'Order had execInst of ReduceOnly and side of Buy but current position is 0'),
    (order('Sell', 100, execInst='Close'), 'Order had execInst of Close and side of Sell but current position is 0'),
])
def test_refusals_and_their_texts(exchange, account, fields, message):
    """Every bad order is refused with BitMEX's text, and nothing has happened."""
    assert refusal(exchange.place, account, fields) == message
    assert not account.orders and not exchange.drain()


def test_numbers_may_be_text_and_unknown_parameters_are_ignored(exchange, account):
    """Text quantities and prices, a symbol in small letters, a negative quantity that sells, empty text as absent."""
    row = exchange.place(account, {'symbol': 'xbtusd', 'orderQty': '-200', 'price': '50010.5', 'ordTypes': 'x',
                                   'stopPx': '',
                                   'side': '', 'clOrdID': None, 'displayQty': None})

    assert (row['side'], row['orderQty'], row['price'], row['ordType']) == ('Sell', 200, 50010.5, 'Limit')


def test_client_ids_are_unique_among_open_orders(exchange, account):
    """A clOrdID is taken while its order is open and free again after it."""
    exchange.place(account, order('Buy', 100, 49000, clOrdID='a'))
    assert refusal(exchange.place, account, order('Buy', 100, 49000, clOrdID='a')) == 'Duplicate clOrdID'
    other = exchange.open_account()
    exchange.place(other, order('Buy', 100, 49000, clOrdID='a'))

    exchange.cancel(account, {'clOrdID': 'a'})
    exchange.place(account, order('Buy', 100, 49000, clOrdID='a'))


def test_no_more_than_two_hundred_orders(exchange, account):
    """The 201st open order on a contract and the 11th waiting stop are refused."""
    for count in range(10):
        exchange.place(account, order('Sell', 100, ordType='Stop', stopPx=40000 + count))
    assert refusal(exchange.place, account, order('Sell', 100, ordType='Stop',
                                                  stopPx=30000)) == 'Too many open stop orders'
    for count in range(190):
        exchange.place(account, order('Buy', 100, 49000 - count))
    assert refusal(exchange.place, account, order('Buy', 100, 40000)) == 'Too many open orders'


def test_a_closed_market_takes_no_orders(exchange, account):
    """Orders and amends are refused while the contract is closed; cancels are not."""
    mine = exchange.place(account, order('Buy', 100, 49000))
    exchange.set_state('XBTUSD', 'Closed')

    assert refusal(exchange.place, account, order('Buy', 100, 49000)) == 'Market is not open'
    assert refusal(exchange.amend, account, {'orderID': mine['orderID'], 'price': 48000}) == 'Market is not open'
    assert exchange.cancel(account, {'orderID': mine['orderID']})[0]['ordStatus'] == 'Canceled'
    assert exchange.drain()[-1].table


class TestAmend(object):
    """PUT /order."""

    @pytest.fixture
    def mine(self, exchange, account):
        """An order of the customer at 49990, with another behind it."""
        row = exchange.place(account, order('Buy', 500, 49990, clOrdID='mine'))
        self.behind = exchange.rest('XBTUSD', 'Buy', 499900, 1000)
        exchange.drain()
        return row

    def test_price_and_quantity(self, exchange, account, mine):
        """Both change, the text says which, an update and a Replaced execution tell it."""
        row = exchange.amend(account, {'orderID': mine['orderID'], 'orderQty': 700, 'price': 49991})
        changes = exchange.drain()

        assert (row['orderQty'], row['leavesQty'], row['price'], row['ordStatus']) == (700, 700, 49991, 'New')
        assert row['text'] == 'Amended orderQty price\nSubmitted via API.'
        update, = of_table(changes, 'order', 'update')
        assert sorted(update) == ['account', 'clOrdID', 'leavesQty', 'orderID', 'orderQty', 'price', 'symbol', 'text',
                                  'timestamp', 'transactTime']
        assert [one['execType'] for one in of_table(changes, 'execution')] == ['Replaced']
        assert [one['size'] for one in of_table(changes, 'orderBookL2', 'update')] == [1000]

    def test_the_text_names_what_was_sent(self, exchange, account, mine):
        """Also what stayed as it was, as recorded in 2020; only what became another is told."""
        row = exchange.amend(account, {'orderID': mine['orderID'], 'price': mine['price'], 'orderQty': 100})

        assert row['text'] == 'Amended orderQty price\nSubmitted via API.'
        assert 'price' not in of_table(exchange.drain(), 'order', 'update')[0]

    def test_only_a_smaller_size_keeps_the_place(self, exchange, account, mine):
        """Smaller: still first in line.  Larger: last."""
        exchange.amend(account, {'orderID': mine['orderID'], 'orderQty': 400})
        assert [one.leaves for one in exchange.books['XBTUSD'].bids.levels[499900]] == [400, 1000]
        exchange.amend(account, {'orderID': mine['orderID'], 'orderQty': 500})
        assert [one.leaves for one in exchange.books['XBTUSD'].bids.levels[499900]] == [1000, 500]
        check_laws(exchange)

    def test_order_quantity_counts_what_is_filled_and_leaves_do_not(self, exchange, account, mine):
        """orderQty is the total, leavesQty the remainder."""
        exchange.take('XBTUSD', 'Sell', 100000 + 100)

        row = exchange.amend(account, {'origClOrdID': 'mine', 'orderQty': 300})
        assert (row['cumQty'], row['leavesQty'], row['ordStatus']) == (100, 200, 'PartiallyFilled')
        row = exchange.amend(account, {'origClOrdID': 'mine', 'leavesQty': 300})
        assert (row['orderQty'], row['leavesQty']) == (400, 300)

    def test_renaming(self, exchange, account, mine):
        """An order found by origClOrdID may get a new clOrdID; the old one is free then."""
        row = exchange.amend(account, {'origClOrdID': 'mine', 'clOrdID': 'new', 'price': 49980})

        assert row['clOrdID'] == 'new' and row['orderID'] == mine['orderID']
        assert refusal(exchange.amend, account, {'origClOrdID': 'mine', 'price': 49970}) == 'Invalid origClOrdID'
        exchange.place(account, order('Buy', 100, 49000, clOrdID='mine'))
        assert refusal(exchange.amend, account, {'origClOrdID': 'mine', 'clOrdID': 'new'}) == 'Duplicate clOrdID'

    def test_an_amend_that_crosses_trades_or_is_canceled(self, exchange, account, mine):
        """A crossing price takes; a post-only order is canceled with the usual text."""
        row = exchange.amend(account, {'orderID': mine['orderID'], 'price': ASK})
        assert (row['ordStatus'], row['cumQty']) == ('Filled', 500)

        careful = exchange.place(account, order('Buy', 100, 49990, execInst='ParticipateDoNotInitiate'))
        exchange.drain()
        row = exchange.amend(account, {'orderID': careful['orderID'], 'price': ASK})
        assert row['text'].startswith('Canceled: Order had execInst of ParticipateDoNotInitiate\n')
        assert [one['execType'] for one in of_table(exchange.drain(), 'execution')] == ['Replaced', 'Canceled']

    @pytest.mark.parametrize('fields, message', [
        ({}, 'Invalid amend: orderQty, leavesQty, price, stopPx unchanged'),
        ({'price': 49990, 'orderQty': 500}, 'Invalid amend: orderQty, leavesQty, price, stopPx unchanged'),
        ({'price': 49990.05}, 'Invalid price tickSize'),
        ({'price': 'x'}, 'Invalid price'),
        ({'orderQty': 0}, 'Invalid orderQty'),
        ({'orderQty': 150}, 'Order quantity must be a multiple of lot size: 100'),
        ({'leavesQty': 150}, 'Invalid leavesQty for lotSize'),
        ({'leavesQty': 0}, 'Invalid leavesQty'),
        ({'orderQty': 100, 'leavesQty': 100}, 'Invalid orderQty'),
        ({'stopPx': 49000}, 'Invalid stopPx for ordType'),
        ({'pegOffsetValue': 5}, 'Invalid pegOffsetValue for pegPriceType'),
        ({'clOrdID': 'x' * 37}, 'Invalid clOrdID'),
        ({'price': 53000, 'orderQty': 200000}, 'Price greater than limitUpPrice'),
    ])
    def test_refused_amends(self, exchange, account, mine, fields, message):
        """A refused amend leaves the order as it was."""
        assert refusal(exchange.amend, account, dict(fields, orderID=mine['orderID'])) == message
        assert exchange.rows('order', account) == [mine] and not exchange.drain()

    def test_orders_that_cannot_be_amended(self, exchange, account, mine):
        """Unknown ids, no id, and finished orders have their texts."""
        assert refusal(exchange.amend, account, {'price': 1}) == 'orderID or origClOrdID must be sent.'
        assert refusal(exchange.amend, account, {'orderID': 'x', 'price': 1}) == 'Invalid orderID'
        assert refusal(exchange.amend, account, {'origClOrdID': 'x', 'price': 1}) == 'Invalid origClOrdID'
        exchange.cancel(account, {'orderID': mine['orderID']})
        assert refusal(exchange.amend, account, {'orderID': mine['orderID'],
                                                 'price': 1}) == 'Invalid ordStatus: Canceled'
        filled = exchange.place(account, order('Buy', 100))
        assert refusal(exchange.amend, account, {'orderID': filled['orderID'],
                                                 'price': 1}) == 'Invalid ordStatus: Filled'

    def test_a_filled_order_lives_again_within_a_minute(self, exchange, account, mine):
        """leavesQty gives a filled order a new remainder, for sixty seconds."""
        exchange.take('XBTUSD', 'Sell', 100000 + 500)
        exchange.advance(NOW + 59)
        row = exchange.amend(account, {'orderID': mine['orderID'], 'leavesQty': 200})
        assert (row['ordStatus'], row['orderQty'], row['leavesQty'], row['workingIndicator']) == (
            'PartiallyFilled', 700, 200, True)
        check_laws(exchange)

        exchange.take('XBTUSD', 'Sell', 1000 + 200)
        exchange.advance(NOW + 200)
        assert refusal(exchange.amend, account, {'orderID': mine['orderID'],
                                                 'leavesQty': 200}) == 'Invalid ordStatus: Filled'

    def test_an_amend_must_be_affordable(self, exchange, mine):
        """More than the balance carries is refused, and the order stays."""
        poor = exchange.open_account(balances={'XBt': 100000})
        row = exchange.place(poor, order('Buy', 1000, 49000))
        with pytest.raises(Refusal) as caught:
            exchange.amend(poor, {'orderID': row['orderID'], 'orderQty': 1000000})
        assert caught.value.details == '19000'
        assert exchange.rows('order', poor) == [row]


class TestCancel(object):
    """DELETE /order, /order/all and the dead man's switch."""

    def test_one(self, exchange, account):
        """An update to Canceled with its text, an execution, the level gone, margin free again."""
        mine = exchange.place(account, order('Buy', 300, 49990, clOrdID='a'))
        exchange.drain()
        row, = exchange.cancel(account, {'orderID': mine['orderID']})
        changes = exchange.drain()

        assert (row['ordStatus'], row['leavesQty'], row['orderQty'], row['workingIndicator']) == ('Canceled', 0, 300,
                                                                                                  False)
        assert row['text'] == 'Canceled\nCanceled via API.'
        update, = of_table(changes, 'order', 'update')
        assert sorted(update) == ['account', 'clOrdID', 'leavesQty', 'ordStatus', 'orderID', 'symbol', 'text',
                                  'timestamp',
                                  'transactTime', 'workingIndicator']
        assert [one['execType'] for one in of_table(changes, 'execution')] == ['Canceled']
        assert of_table(changes, 'orderBookL2', 'delete')[0]['price'] == 49990
        assert of_table(changes, 'margin')[0]['initMargin'] == 0

    @pytest.mark.parametrize('wanted', [['a', 'x', 'b'], 'a,x,b'])
    def test_many_have_a_result_each(self, exchange, account, wanted):
        """A list or comma list of ids, answered in order; what cannot be canceled has an error and a CancelReject."""
        for name in 'ab':
            exchange.place(account, order('Buy', 300, 49990, clOrdID=name))
        exchange.drain()
        first, bad, last = exchange.cancel(account, {'clOrdID': wanted, 'text': 'bye'})

        assert (first['text'], first['ordStatus'], last['clOrdID']) == ('Canceled\nbye', 'Canceled', 'b')
        assert sorted(bad) == ['account', 'clOrdID', 'error', 'orderID', 'timestamp', 'transactTime',
                               'workingIndicator']
        assert bad['orderID'] == '00000000-0000-0000-0000-000000000000'
        assert bad['error'] == 'Unable to cancel order'
        reject = [row for row in of_table(exchange.drain(), 'execution') if row['execType'] == 'CancelReject']
        assert reject[0]['ordRejReason'] == 'Invalid clOrdID'

    def test_nothing_named(self, exchange, account):
        """Without an id the request makes no sense; a finished order cannot be canceled again."""
        assert refusal(exchange.cancel, account, {}) == 'orderID or clOrdID must be sent.'
        assert refusal(exchange.cancel, account, {'orderID': 5}) == 'Invalid orderID'
        mine = exchange.place(account, order('Buy', 100))
        assert exchange.cancel(account, {'orderID': mine['orderID']})[0]['error'] == 'Unable to cancel order'

    def test_others_orders_are_not_found(self, exchange, account):
        """An account cancels and amends its own orders only."""
        other = exchange.open_account()
        mine = exchange.place(account, order('Buy', 100, 49000))

        assert 'error' in exchange.cancel(other, {'orderID': mine['orderID']})[0]
        assert refusal(exchange.amend, other, {'orderID': mine['orderID'], 'price': 1}) == 'Invalid orderID'

    def test_all(self, exchange, account):
        """All orders, or those of a symbol and a filter; an empty list when there is none."""
        for price in (49000, 49001):
            exchange.place(account, order('Buy', 100, price))
        exchange.place(account, order('Sell', 100, 51000))

        assert [row['price'] for row in exchange.cancel_all(account, {'filter': {'side': 'Sell'}})] == [51000]
        assert [row['price'] for row in exchange.cancel_all(account, {'symbol': 'XBTUSD'})] == [49000, 49001]
        assert exchange.cancel_all(account, {}) == []
        assert refusal(exchange.cancel_all, account, {'filter': '{'}) == 'filter values are not valid'

    def test_the_switch(self, exchange, account):
        """cancelAllAfter cancels everything when it was not re-armed in time; 0 disarms it."""
        exchange.place(account, order('Buy', 100, 49000))
        assert exchange.cancel_all_after(account, 60000) == {
            'now': '2026-05-03T05:01:55.500Z', 'cancelTime': '2026-05-03T05:02:55.500Z'}
        exchange.advance(NOW + 50)
        exchange.cancel_all_after(account, '60000')
        exchange.advance(NOW + 100)
        assert account.orders
        exchange.advance(NOW + 111)
        row = exchange.history('order', account)[-1]
        assert (row['ordStatus'], row['timestamp']) == ('Canceled', '2026-05-03T05:03:45.500Z')
        assert row['text'].startswith('Canceled: Cancel All After')

        exchange.place(account, order('Buy', 100, 49000))
        exchange.cancel_all_after(account, 1000)
        assert exchange.cancel_all_after(account, 0)['cancelTime'] == 0
        exchange.advance(NOW + 200)
        assert account.orders
        assert refusal(exchange.cancel_all_after, account, -1) == 'timeout is invalid'


class TestReducing(object):
    """ReduceOnly and Close."""

    @pytest.fixture
    def long(self, exchange, account):
        """The customer is long 500."""
        exchange.place(account, order('Buy', 500))
        exchange.drain()
        return account

    def test_close_without_quantity(self, exchange, long):
        """A Close with nothing else sells the whole position at the market; closePosition is the same."""
        row = exchange.place(long, {'symbol': 'XBTUSD', 'execInst': 'Close'})

        assert (row['side'], row['orderQty'], row['ordStatus'], row['ordType']) == ('Sell', 500, 'Filled', 'Market')
        assert long.positions['XBTUSD'].quantity == 0
        exchange.place(long, order('Sell', 300))
        assert exchange.close_position(long, {'symbol': 'XBTUSD'})['orderQty'] == 300

    def test_never_more_than_the_position(self, exchange, long):
        """A reduce-only order is cut to the position, and follows it down and out."""
        row = exchange.place(long, order('Sell', 900, 50100, execInst='ReduceOnly'))
        assert row['orderQty'] == 500
        exchange.place(long, order('Sell', 300))
        row, = exchange.rows('order', long)[-1:]
        assert (row['leavesQty'], row['orderQty']) == (200, 200)
        exchange.place(long, order('Sell', 300))
        assert not long.orders
        assert exchange.history('order', long)[-2]['ordStatus'] in ('Canceled', 'Filled')
        check_laws(exchange)

    def test_the_least_aggressive_goes_first(self, exchange, long):
        """With several reduce-only orders the one farthest from the market shrinks first."""
        near = exchange.place(long, order('Sell', 300, 50100, execInst='ReduceOnly'))
        far = exchange.place(long, order('Sell', 300, 50200, execInst='ReduceOnly'))

        leaves = {row['orderID']: row['leavesQty'] for row in exchange.rows('order', long)}
        assert (leaves[near['orderID']], leaves[far['orderID']]) == (300, 200)

    def test_a_close_takes_competing_orders_out_of_its_way(self, exchange, long):
        """Same-side limit orders that would together with the Close exceed the position are canceled."""
        other = exchange.place(long, order('Sell', 300, 50100))
        exchange.place(long, order('Sell', 500, 50050, execInst='Close'))

        assert other['orderID'] not in long.orders and len(long.orders) == 1

    def test_wrong_side(self, exchange, long):
        """An order that would add is refused."""
        assert refusal(exchange.place, long, order('Buy', 100, 49000, execInst='ReduceOnly')) == \
            'Order had execInst of ReduceOnly and side of Buy but current position is 500'


class TestHidden(object):
    """Icebergs and hidden orders."""

    def test_an_iceberg_shows_a_part(self, exchange, account):
        """Only displayQty is public; a used-up part is refilled at the end of the line."""
        exchange.place(account, order('Buy', 500, 49990, displayQty=200))
        behind = exchange.rest('XBTUSD', 'Buy', 499900, 1000)
        assert exchange.depth('XBTUSD', 'Buy', 2)[1] == (499900, 1200)

        exchange.take('XBTUSD', 'Sell', 100000 + 200)
        assert exchange.depth('XBTUSD', 'Buy', 1) == [(499900, 1200)]
        exchange.take('XBTUSD', 'Sell', 1000)
        assert behind.leaves == 0 and exchange.depth('XBTUSD', 'Buy', 1) == [(499900, 200)]
        exchange.take('XBTUSD', 'Sell', 300)
        assert exchange.depth('XBTUSD', 'Buy', 1) == []
        check_laws(exchange)

    def test_a_hidden_order_trades_unseen_at_the_taker_fee(self, exchange, account):
        """Nothing of it is in book or quote; it is matched at its price and pays as a taker."""
        exchange.place(account, order('Buy', 300, 50000.0, displayQty=0))
        exchange.withdraw(exchange.books['XBTUSD'].bids.best().head)
        assert exchange.touch('XBTUSD')[:2] == (None, None)

        assert exchange.take('XBTUSD', 'Sell', 200) == 200
        fill = exchange.history('execution', account)[-1]
        assert (fill['lastLiquidityInd'], fill['feeType'], fill['lastPx']) == ('AddedLiquidity', 'Taker', 50000.0)
        assert not of_table(exchange.drain(), 'orderBookL2', 'insert')
        check_laws(exchange)


def test_parameters_of_2026_that_change_nothing(exchange, account):
    """One-way mode and the pools that there are may be named, what does not exist is ignored."""
    row = exchange.place(account, order('Buy', 100, 49000, strategy='OneWay', pool='Primary', destination='x',
                                        ordTypes='Market', maxSlippagePct=''))

    assert (row['strategy'], row['ordStatus'], row['pool']) == ('OneWay', 'New', 'Aggregated')


def test_own_orders_trade_with_each_other(exchange, account):
    """Two orders of one account that meet are an ordinary trade: fees twice, no position."""
    exchange.place(account, order('Sell', 100, 50000.1))
    exchange.take('XBTUSD', 'Buy', 100000)
    exchange.place(account, order('Buy', 100))

    assert account.positions['XBTUSD'].quantity == 0
    assert exchange.fees['XBt'] == 200
    check_laws(exchange)


def test_day_orders_end_at_midnight(exchange, account):
    """Day expires at 00:00 UTC, GoodTillCancel does not."""
    exchange.place(account, order('Buy', 100, 49000, timeInForce='Day'))
    exchange.place(account, order('Buy', 100, 49000))
    exchange.advance(NOW + 86400)

    assert [one.time_in_force for one in account.orders.values()] == ['GoodTillCancel']


def test_the_dead_mans_switch_counts_from_its_last_arming(exchange, account):
    """Armed again it waits anew, longer or shorter; however often it is armed, the exchange has one thing to do."""
    due = len(exchange._agenda)
    exchange.place(account, order('Buy', 100, 49000))
    for second in range(50):
        exchange.advance(NOW + second)
        exchange.cancel_all_after(account, 10 ** 11)
    for timeout in (3000, 20000, 5000):
        exchange.cancel_all_after(account, timeout)
    assert len(exchange._agenda) <= due + 2

    exchange.advance(NOW + 49 + 4.9)
    assert account.orders
    exchange.advance(NOW + 49 + 5)
    assert not account.orders and account.cancel_at is None
    for timeout in (10 ** 11 + 1, 1e300, -1, 'nan'):
        assert refusal(exchange.cancel_all_after, account, timeout) == 'timeout is invalid'


def test_the_market_never_crosses_and_checks_its_grid():
    """rest() refuses what would match; sizes off the lot are a mistake of the caller."""
    exchange = an_exchange()
    handle = exchange.rest('XBTUSD', 'Buy', 500000, 1000)

    assert exchange.rest('XBTUSD', 'Sell', 500000, 100) is None
    assert (handle.side, handle.price_ticks, handle.leaves) == ('Buy', 500000, 1000)
    with pytest.raises(ValueError):
        exchange.rest('XBTUSD', 'Sell', 500001, 150)
    with pytest.raises(ValueError):
        exchange.take('XBTUSD', 'Sell', 50)
    assert exchange.take('XBTUSD', 'Sell', 300, 500001) == 0
    assert exchange.take('XBTUSD', 'Sell', 300, 500000) == 300
    exchange.reduce(handle, 200)
    assert exchange.touch('XBTUSD') == (500000, 500, None, None)
    exchange.withdraw(handle)
    exchange.withdraw(handle)
    assert exchange.touch('XBTUSD') == (None, None, None, None)
    check_laws(exchange)


def test_reduce_keeps_the_place_unless_told_otherwise():
    """A smaller order of the market stays where it is in the line, or goes to its end."""
    exchange = an_exchange()
    first, second = (exchange.rest('XBTUSD', 'Buy', 500000, 1000) for _ in range(2))

    exchange.reduce(first, 100)
    assert list(exchange.books['XBTUSD'].bids.levels[500000]) == [first, second]
    exchange.reduce(first, 100, from_back=False)
    assert list(exchange.books['XBTUSD'].bids.levels[500000]) == [second, first]
