"""Leverage, isolation, liquidation, auto-deleveraging, funding, settlement, withdrawals."""
import pytest

from engine_world import NOW, XBT, a_market, an_exchange, check_laws, money, of_table, order, refusal
from market_maker.simulator.exchange import Refusal

FUNDING_AT = 1777809600.0   # 2026-05-03T12:00:00Z


@pytest.fixture
def exchange():
    """A still market at 50000.0 / 50000.1."""
    return a_market(bid=50000.0, ask=50000.1, size=1000000)


def hold(exchange, quantity, balance=XBT, leverage=None, price=50000):
    """Return an account that holds contracts, bought or sold at a price for nothing."""
    account = exchange.open_account(balances={'XBt': balance}, positions=[
        {'symbol': 'XBTUSD', 'currentQty': quantity, 'avgEntryPrice': price}])
    if leverage is not None:
        exchange.leverage(account, {'symbol': 'XBTUSD', 'leverage': leverage})
    exchange.drain()
    return account


def row_of(exchange, account):
    """Return the account's position row."""
    return exchange.rows('position', account, 'XBTUSD')[0]


class TestLeverage(object):
    """POST /position/leverage, isolate, riskLimit, transferMargin."""

    def test_leverage_isolates_and_zero_crosses(self, exchange):
        """A leverage isolates the position at its margin; 0 gives it back to the whole purse."""
        account = hold(exchange, 10000)
        row = exchange.leverage(account, {'symbol': 'xbtusd', 'leverage': '10'})
        assert (row['crossMargin'], row['leverage'], row['initMarginReq'], row['posInit']) == (False, 10, 0.1, 2000000)
        margin = exchange.rows('margin', account)[0]
        assert margin['maintMargin'] == row['posMargin'] + row['unrealisedPnl']
        assert margin['availableMargin'] == XBT - row['posMargin']

        row = exchange.leverage(account, {'symbol': 'XBTUSD', 'leverage': 0})
        assert (row['crossMargin'], row['leverage'], row['posInit'], row['posComm']) == (True, 100, 0, 0)
        check_laws(exchange)

    def test_an_isolated_position_buys_at_its_leverage(self, exchange):
        """Order margin follows the leverage of the position."""
        account = exchange.open_account()
        exchange.leverage(account, {'symbol': 'XBTUSD', 'leverage': 5})
        exchange.place(account, order('Buy', 1000, 49000))
        low = row_of(exchange, account)['initMargin']
        exchange.leverage(account, {'symbol': 'XBTUSD', 'leverage': 50})
        assert 9 < low / row_of(exchange, account)['initMargin'] < 10

    @pytest.mark.parametrize('fields, message', [
        ({'leverage': 5}, "'symbol' is a required arg."),
        ({'symbol': 'XBTUSD'}, "'leverage' is a required arg."),
        ({'symbol': 'XBTUSD', 'leverage': -1}, 'Invalid leverage'),
        ({'symbol': 'XBTUSD', 'leverage': 101}, 'Invalid leverage'),
        ({'symbol': 'XBTUSD', 'leverage': 'x'}, 'Invalid leverage'),
        ({'symbol': 'XBTUSD', 'leverage': 0.001}, 'Invalid leverage'),
        ({'symbol': 'XBTUSD', 'leverage': 0.1}, None),
    ])
    def test_refused_leverage(self, exchange, fields, message):
        """Bad values have their texts; a margin beyond the balance is refused and changes nothing."""
        account = hold(exchange, 1000000, balance=XBT)
        before = dict(row_of(exchange, account))
        text = refusal(exchange.leverage, account, fields)
        assert text == message or text.startswith('Account has insufficient Available Balance')
        assert row_of(exchange, account) == before
        check_laws(exchange)

    def test_isolate_and_transfer(self, exchange):
        """Margin moves in and out of an isolated position, not below what it began with."""
        account = hold(exchange, 10000)
        assert refusal(exchange.transfer_margin, account, {'symbol': 'XBTUSD', 'amount': 5}) == \
            'Position has cross margin enabled'
        exchange.isolate(account, {'symbol': 'XBTUSD'})
        before = row_of(exchange, account)
        row = exchange.transfer_margin(account, {'symbol': 'XBTUSD', 'amount': 500000})
        assert row['posCross'] == 500000
        fees = row['posComm'] - before['posComm']   # the exit at bankruptcy costs more now
        assert fees == 250 and row['posMargin'] == before['posMargin'] + 500000 + fees
        assert row['liquidationPrice'] < before['liquidationPrice']
        exchange.transfer_margin(account, {'symbol': 'XBTUSD', 'amount': -400000})
        assert refusal(exchange.transfer_margin, account, {'symbol': 'XBTUSD', 'amount': -100001}) == \
            'Position has insufficient isolated margin'
        assert refusal(exchange.transfer_margin, account, {'symbol': 'XBTUSD',
                                                           'amount': XBT}).startswith('Account has insuff')
        assert refusal(exchange.transfer_margin, account, {'symbol': 'XBTUSD', 'amount': 0}) == \
            'Invalid amount for isolated margin transfer'
        assert exchange.isolate(account, {'symbol': 'XBTUSD', 'enabled': 'false'})['crossMargin'] is True
        check_laws(exchange)

    @pytest.mark.parametrize('quantity, price, message', [
        (10000, 40000, 'Order price is below the liquidation price of current long position'),
        (-10000, 60000, 'Order price is above the liquidation price of current short position')])
    def test_no_order_beyond_the_liquidation_price(self, exchange, quantity, price, message):
        """Neither placed nor amended there; within it all prices are good."""
        account = hold(exchange, quantity, leverage=10)
        limit = row_of(exchange, account)['liquidationPrice']
        side = 'Buy' if quantity > 0 else 'Sell'
        assert refusal(exchange.place, account, order(side, 100, price)) == message
        row = exchange.place(account, order(side, 100, limit))
        assert row['ordStatus'] == 'New'
        assert refusal(exchange.amend, account, {'orderID': row['orderID'], 'price': price}) == message
        assert exchange.rows('order', account)[0]['price'] == limit

    def test_the_risk_limit_of_an_account(self, exchange):
        """All positions and orders of a currency together are worth no more than it."""
        account = exchange.open_account(balances={'XBt': 10 ** 14})
        account.purse('XBt').risk_limit = 30000000
        exchange.place(account, order('Buy', 10000, 49000))
        assert refusal(exchange.place, account, order('Buy', 10000, 49000)) == \
            'Value of positions and orders exceeds account Risk Limit'
        assert exchange.rows('margin', account)[0]['riskLimit'] in (30000000, 1000000000000)

    def test_risk_limits(self, exchange):
        """A step of risk limit adds a maintenance margin to both requirements; orders beyond the limit are refused."""
        rich = exchange.open_account(balances={'XBt': 10000 * XBT})
        assert refusal(exchange.place, rich, order('Buy', 10000000, 49000)) is not None
        row = exchange.risk_limit(rich, {'symbol': 'XBTUSD', 'riskLimit': 35000000000})
        assert (row['riskLimit'], row['initMarginReq'], row['maintMarginReq']) == (35000000000, 0.015, 0.01)
        assert exchange.place(rich, order('Buy', 10000000, 49000))['ordStatus'] == 'New'
        assert refusal(exchange.risk_limit, rich, {'symbol': 'XBTUSD', 'riskLimit': 20000000000}) == \
            'Value of position and orders exceeds position Risk Limit'
        assert refusal(exchange.risk_limit, rich, {'symbol': 'XBTUSD', 'riskLimit': 5}) == 'Invalid riskLimit'


class TestLiquidation(object):
    """Those who cannot carry their positions."""

    @pytest.mark.parametrize('quantity', [10000, -10000])
    def test_isolated_at_the_price_shown_before(self, exchange, quantity):
        """Nothing happens one tick before the liquidation price of the row; at it the position is taken over at
        bankruptcy.
        """
        account = hold(exchange, quantity, leverage=25)
        exchange.place(account, order('Buy' if quantity > 0 else 'Sell', 100, 49000 if quantity > 0 else 51000))
        before = money(exchange)
        shown = row_of(exchange, account)
        step = 0.1 if quantity > 0 else -0.1
        exchange.set_mark('XBTUSD', round(shown['liquidationPrice'] + step, 1))
        assert row_of(exchange, account)['currentQty'] == quantity
        assert row_of(exchange, account)['liquidationPrice'] == shown['liquidationPrice']
        exchange.drain()

        exchange.set_mark('XBTUSD', shown['liquidationPrice'])
        changes = exchange.drain()
        row = row_of(exchange, account)
        assert (row['currentQty'], row['isOpen']) == (0, False) and 'liquidationPrice' not in row
        assert not account.orders
        end = [one for one in of_table(changes, 'execution') if one['execType'] == 'Liquidation'][0]
        assert end['lastPx'] == shown['bankruptPrice'] and end['lastQty'] == abs(quantity)
        lost = XBT - account.purse('XBt').wallet
        # all of its margin, but for what the exit fee left over
        assert 0 <= shown['posMargin'] - lost < shown['posComm']
        assert [change.action for change in changes if change.table == 'liquidation'] == ['insert', 'delete']
        assert money(exchange) == before
        check_laws(exchange)

    def test_the_fund_takes_what_the_book_gives(self, exchange):
        """The book trades better than the bankruptcy price: the difference is the insurance fund's."""
        account = hold(exchange, 10000, leverage=25)
        shown = row_of(exchange, account)
        fund = exchange.liquidator.purse('XBt').wallet
        exchange.set_mark('XBTUSD', shown['liquidationPrice'])

        instrument = exchange.instruments['XBTUSD']
        gain = 100 * (instrument.lot_value_at(shown['bankruptPrice']) - instrument.lot_value(500000))
        assert exchange.liquidator.purse('XBt').wallet - fund == gain > 0
        assert exchange.rows('insurance')[0]['walletBalance'] == fund + gain

    def test_without_buyers_the_order_rests_in_the_public_table(self, exchange):
        """What cannot be sold rests at the bankruptcy price, shown in the liquidation table, until somebody takes
        it.
        """
        account = hold(exchange, 10000, leverage=25)
        shown = row_of(exchange, account)
        exchange.withdraw(exchange.books['XBTUSD'].bids.best().head)
        exchange.set_mark('XBTUSD', shown['liquidationPrice'])

        row, = exchange.rows('liquidation')
        assert (row['side'], row['price'], row['leavesQty']) == ('Sell', shown['bankruptPrice'], 10000)
        exchange.drain()
        exchange.take('XBTUSD', 'Buy', 4000)
        changes = exchange.drain()
        assert of_table(changes, 'liquidation', 'update')[0]['leavesQty'] == 6000
        exchange.take('XBTUSD', 'Buy', 6000)
        assert not exchange.rows('liquidation')
        check_laws(exchange)

    def test_cross_positions_go_together(self):
        """When the equity of a purse falls below the maintenance of its cross positions, all of them are taken over."""
        exchange = an_exchange(('XBTUSD', 'ETHUSD'))
        exchange.set_mark('XBTUSD', 50000)
        exchange.set_mark('ETHUSD', 2000)
        account = exchange.open_account(balances={'XBt': 2000000}, positions=[
            {'symbol': 'XBTUSD', 'currentQty': 20000, 'avgEntryPrice': 50000},
            {'symbol': 'ETHUSD', 'currentQty': 100, 'avgEntryPrice': 2000}])
        exchange.drain()
        before = money(exchange)
        exchange.set_mark('XBTUSD', 48500)
        assert account.positions['XBTUSD'].quantity == 20000
        exchange.set_mark('XBTUSD', 47900)

        assert [one.quantity for one in account.positions.values()] == [0, 0]
        assert 0 <= account.purse('XBt').wallet < 1000
        assert money(exchange) == before
        check_laws(exchange)

    def test_a_large_position_is_reduced_before_it_is_taken(self, exchange):
        """Beyond the base risk limit a part is sold first, enough to need the margin of a lower tier."""
        exchange.rest('XBTUSD', 'Buy', 499000, 20000000)
        account = hold(exchange, 12000000, balance=370000000)
        position = account.positions['XBTUSD']
        exchange.risk_limit(account, {'symbol': 'XBTUSD', 'riskLimit': 35000000000})
        exchange.set_mark('XBTUSD', 49700)
        exchange.set_mark('XBTUSD', 49600)

        assert 0 < position.quantity < 12000000
        assert position.risk_limit == 20000000000
        texts = [row['text'] for row in exchange.history('order', account)]
        assert texts == ['Liquidation']
        check_laws(exchange)

    def test_auto_deleveraging(self, exchange):
        """When the fund is empty, those who profit most are closed at the bankruptcy price, best rank first."""
        exchange.liquidator.purse('XBt').wallet = 0
        account = hold(exchange, 10000, leverage=25)
        winner = hold(exchange, -8000, balance=XBT, leverage=20, price=52000)
        other = hold(exchange, -8000, balance=XBT, leverage=2, price=52000)
        exchange.withdraw(exchange.books['XBTUSD'].bids.best().head)
        before = money(exchange)
        shown = row_of(exchange, account)
        assert (winner.positions['XBTUSD'].percentile, other.positions['XBTUSD'].percentile) in ((None, None),
                                                                                                 (1.0, 0.6))
        exchange.set_mark('XBTUSD', shown['liquidationPrice'])
        exchange.set_mark('XBTUSD', shown['bankruptPrice'] - 100)

        assert winner.positions['XBTUSD'].quantity == 0
        assert other.positions['XBTUSD'].quantity == -6000
        closed = [row for row in exchange.history('execution', winner) if row['text'] == 'Auto-Deleveraging'][0]
        assert (closed['lastPx'], closed['side']) == (shown['bankruptPrice'], 'Buy')
        assert not exchange.rows('liquidation')
        assert exchange.liquidator.positions['XBTUSD'].quantity == 0
        assert money(exchange) == before
        check_laws(exchange)

    def test_percentiles(self, exchange):
        """Five lights for the first in line, fewer for the others, per side."""
        accounts = [hold(exchange, 1000, price=price) for price in (40000, 45000, 49000)]
        exchange.advance(NOW + 2)

        assert [one.positions['XBTUSD'].percentile for one in accounts] == [1.0, 0.8, 0.4]


class TestFunding(object):
    """Every eight hours."""

    def test_longs_pay_shorts(self, exchange):
        """The value at the mark times the rate, with an execution and a wallet row; nobody gains or loses in sum."""
        long, short = hold(exchange, 10000), hold(exchange, -4000)
        exchange.set_funding('XBTUSD', 0.0025)
        before = money(exchange)
        exchange.advance(FUNDING_AT - 1)
        wallets = [one.purse('XBt').wallet for one in (long, short)]
        exchange.drain()
        exchange.advance(FUNDING_AT + 1)

        value = exchange.instruments['XBTUSD'].mark_lot_value
        assert [one.purse('XBt').wallet for one in (long, short)] == [
            wallets[0] - round(100 * value * 0.0025), wallets[1] + round(40 * value * 0.0025)]
        paid = exchange.history('execution', long)[-1]
        assert (paid['execType'], paid['commission'], paid['execComm']) == ('Funding', 0.0025,
                                                                            round(100 * value * 0.0025))
        assert paid['text'] == 'Funding' and 'side' not in paid
        row = exchange.history('transact', short)[-1]
        assert (row['transactType'], row['amount'], row['fee'], row['address']) == (
            'Funding', round(40 * value * 0.0025), -round(40 * value * 0.0025), 'XBTUSD')
        assert of_table(exchange.drain(), 'funding') == [
            {'timestamp': '2026-05-03T12:00:00.000Z', 'symbol': 'XBTUSD', 'fundingInterval': '2000-01-01T08:00:00.000Z',
             'fundingRate': 0.0025, 'fundingRateDaily': 0.0075}]
        assert money(exchange) == before
        assert exchange.instruments['XBTUSD'].row['fundingTimestamp'] == '2026-05-03T20:00:00.000Z'
        check_laws(exchange)

    def test_what_rounding_leaves_is_the_funds(self, exchange):
        """Odd payments do not add up; the insurance fund takes the difference."""
        for _ in range(7):
            hold(exchange, 300)
        exchange.set_funding('XBTUSD', 0.000013)
        before, fund = money(exchange), exchange.liquidator.purse('XBt').wallet
        exchange.advance(FUNDING_AT + 1)

        assert exchange.liquidator.purse('XBt').wallet != fund
        assert money(exchange) == before

    def test_the_official_example(self):
        """A position worth 20 bitcoins pays 0.05 at a rate of 0.25 %."""
        exchange = a_market(bid=50000.0, ask=50000.1)
        exchange.set_mark('XBTUSD', 50000)
        account = hold(exchange, 1000000)
        exchange.set_funding('XBTUSD', 0.0025)
        wallet = account.purse('XBt').wallet
        exchange.advance(FUNDING_AT + 1)

        assert wallet - account.purse('XBt').wallet == 5000000

    def test_the_rate_is_predicted_from_the_premium(self, exchange):
        """With the book beyond the mark the prediction moves away from 0.01 %, is charged an interval later, and is
        capped.
        """
        exchange.rest('XBTUSD', 'Buy', 500000, 20000000)
        exchange.rest('XBTUSD', 'Sell', 500001, 20000000)
        exchange.set_index('XBTUSD', 50000)
        exchange.set_mark('XBTUSD', 50000)
        exchange.advance(NOW + 3600)
        assert exchange.instruments['XBTUSD'].row['indicativeFundingRate'] == 0.0001
        exchange.set_mark('XBTUSD', 49800)
        exchange.advance(FUNDING_AT - 30)
        predicted = exchange.instruments['XBTUSD'].row['indicativeFundingRate']
        assert 0.0005 < predicted <= 0.00375
        exchange.advance(FUNDING_AT + 30)
        assert exchange.instruments['XBTUSD'].row['fundingRate'] == predicted

    def test_a_faster_pace(self, exchange):
        """The interval can be chosen; payments come at its multiples."""
        account = hold(exchange, 10000)
        exchange.set_funding('XBTUSD', 0.001, interval=60)
        exchange.advance(NOW + 184)

        assert len([row for row in exchange.history('execution', account) if row['execType'] == 'Funding']) == 3
        assert exchange.instruments['XBTUSD'].row['fundingInterval'] == '2000-01-01T00:01:00.000Z'


class TestSettlement(object):
    """The end of a dated future."""

    def test_a_future_settles_at_its_index(self):
        """Orders are canceled, positions closed at the index, a settlement row told; a weekly contract is listed
        anew.
        """
        exchange = a_market('XBT7D', bid=389.2, ask=389.3, size=5000)
        account = exchange.open_account(balances={'XBt': XBT}, positions=[
            {'symbol': 'XBT7D', 'currentQty': -100, 'avgEntryPrice': 389.75}])
        exchange.place(account, order('Buy', 10, 380, symbol='XBT7D'))
        exchange.set_index('XBT7D', 391.5)
        before = money(exchange)
        expiry = exchange.instruments['XBT7D'].expires
        assert exchange.instruments['XBT7D'].row['expiry'] == '2026-05-08T12:00:00.000Z'
        exchange.advance(expiry + 1)

        position = account.positions['XBT7D']
        value = exchange.instruments['XBT7D'].lot_value_at(391.5)
        assert (position.quantity, account.orders) == (0, {})
        end = exchange.history('execution', account)[-1]
        assert (end['execType'], end['lastPx'], end['side'], end['execComm']) == ('Settlement', 391.5, 'Buy', 0)
        assert account.purse('XBt').wallet == XBT + 100 * value - 100 * exchange.instruments['XBT7D'].lot_value(38975)
        assert exchange.rows('settlement') == [{'timestamp': '2026-05-08T12:00:00.000Z', 'symbol': 'XBT7D',
                                                'settlementType': 'Settlement', 'settledPrice': 391.5}]
        assert exchange.instruments['XBT7D'].row['state'] == 'Settled'
        assert refusal(exchange.place, account, order(symbol='XBT7D')) == 'Instrument expired'
        assert exchange.touch('XBT7D') == (None, None, None, None)
        assert money(exchange) == before
        check_laws(exchange)

        exchange.advance(expiry + 90)
        row = exchange.instruments['XBT7D'].row
        assert (row['state'], row['expiry']) == ('Open', '2026-05-15T12:00:00.000Z')
        exchange.advance(expiry + 7 * 86400 + 1)
        assert exchange.instruments['XBT7D'].row['state'] == 'Settled'


class TestWallet(object):
    """Wallet history and withdrawals."""

    def test_every_fill_has_its_row(self, exchange):
        """Amounts are net of fees, in the order of the fills, and add up to the wallet."""
        account = exchange.open_account(balances={'XBt': XBT})
        first = exchange.place(account, order('Buy', 1000))
        exchange.place(account, order('Sell', 400))
        rows = exchange.history('transact', account)

        assert [row['transactType'] for row in rows] == ['Deposit', 'RealisedPNL', 'RealisedPNL']
        assert (rows[1]['orderID'], rows[1]['address'], rows[1]['amount']) == (first['orderID'], 'XBTUSD',
                                                                               -rows[1]['fee'])
        assert sum(row['amount'] for row in rows) == account.purse('XBt').wallet == rows[-1]['walletBalance']

    def test_a_withdrawal_stays_a_request(self, exchange):
        """It is pending, its money stays but cannot be withdrawn again; it can be taken back."""
        account = exchange.open_account(balances={'XBt': XBT})
        row = exchange.banker.request_withdrawal(account.purse('XBt'), 60000000, 1000, 'addr')
        assert (row['transactStatus'], row['amount'], row['transactType']) == ('Pending', -60000000, 'Withdrawal')
        exchange.advance(NOW + 86400)
        wallet = exchange.rows('wallet', account)[0]
        assert (wallet['amount'], wallet['pendingDebit']) == (XBT, 60001000)
        with pytest.raises(Refusal):
            exchange.banker.request_withdrawal(account.purse('XBt'), 60000000, 1000, 'addr')
        exchange.banker.cancel_withdrawal(account, row['transactID'])
        exchange.banker.request_withdrawal(account.purse('XBt'), 60000000, 1000, 'addr')
        with pytest.raises(Refusal):
            exchange.banker.cancel_withdrawal(account, row['transactID'])

    def test_positions_given_at_the_start_have_another_side(self, exchange):
        """The market holds against a seeded position; a quantity off the lot is a mistake of the caller."""
        account = hold(exchange, -700, price=40000)
        row = row_of(exchange, account)
        assert (row['currentQty'], row['avgEntryPrice'], row['posCost']) == (-700, 40000, 7 * 250000)
        check_laws(exchange)
        with pytest.raises(ValueError):
            hold(exchange, 50)
