"""The money of the exchange against BitMEX's own rows: values, averages, margins, liquidation prices, fees, to the
satoshi.
"""
import pytest

from engine_world import XBT, a_market, an_exchange, of_table, order
from market_maker import contracts
from market_maker.simulator import clearing
from market_maker.simulator.account import Position
from market_maker.simulator.instruments import catalogue, scaled
from market_maker.simulator.journal import margin_row, position_row
from market_maker.simulator.marks import fair_fields

INSTRUMENTS = catalogue()


def a_position(symbol='XBTUSD', quantity=0, cost=0, mark=None, wallet=10 ** 12, **values):
    """Return a position with the given entry cost (signed as in rows), valued at a mark."""
    instrument = catalogue(symbols=[symbol])[symbol]
    exchange = an_exchange((symbol,))
    account = exchange.open_account(balances={instrument.currency: wallet})
    instrument = exchange.instruments[symbol]
    exchange.set_funding(symbol, values.pop('funding', 0.0001)) if instrument.expires is None else None
    if mark is not None:
        exchange.set_mark(symbol, mark)
    position = account.position(instrument)
    position.quantity, position.cost = quantity, cost
    for name, value in values.items():
        setattr(position, name, value)
    position.set_rates()
    clearing.carry(position)
    clearing.recharge(position)
    clearing.set_limits(position)
    return position


@pytest.mark.parametrize('symbol, quantity, price, value', [
    ('XBTUSD', 900, 32180.5, 2796723),                    # a trade's grossValue, 2021-07-22
    ('XBTUSD', 182340800, 78175.02, 233246704544),        # openValue, 2026-05-03
    ('ETHUSD', 106520, 2302.23, 24523353960),
    ('XBTUSDT', 4800, 97343.4, 467248320),
    ('XBTUSD', 10000, 50000, 2000000 * 10),               # contract guide: 100 lots of 200,000 satoshi
    ('XBTUSDT', 100000, 78000, 7800000000),
    ('XBT7D', 1, 389.75, 256575),
])
def test_value_of_contracts(symbol, quantity, price, value):
    """A value is that of one lot, rounded, times the lots; the engine's whole numbers agree with the formula in
    floats.
    """
    instrument = INSTRUMENTS[symbol]

    assert contracts.value(instrument.row, quantity, price) == value
    assert quantity // instrument.lot * instrument.lot_value_at(price) == value
    ticks = instrument.ticks_of(price)
    if ticks is not None:
        assert quantity // instrument.lot * instrument.lot_value(ticks) == value


@pytest.mark.parametrize('symbol', ['XBTUSD', 'ETHUSD', 'XBTUSDT', 'XBT7D'])
def test_lot_values_agree_with_contracts_on_the_whole_grid(symbol):
    """The integer arithmetic of the engine and the shared formulas give the same value at any price."""
    instrument = INSTRUMENTS[symbol]
    for ticks in list(range(1, 3000)) + list(range(3000, instrument.max_ticks, instrument.max_ticks // 5000)):
        assert instrument.lot_value(ticks) == instrument.lot_value_at(instrument.price_of(ticks)), ticks


def test_cross_short_of_2026():
    """The cross-margin inverse short of 2026-05-03, every field that BitMEX published."""
    position = a_position(quantity=-1438000, cost=1951105699, mark=78173.24, wallet=3034754369, funding=-0.000024,
                          rebalanced=15678981, prev_realised=1404753, buy_qty=1400000, buy_cost=2603983400,
                          sell_qty=560000,
                          sell_cost=673220800, percentile=1)
    row = position_row(position)
    published = {
        'avgCostPrice': 73701.7438, 'avgEntryPrice': 73701.7438, 'bankruptPrice': 1000000, 'breakEvenPrice': 74298.6,
        'commission': 0.0005, 'crossMargin': True, 'currency': 'XBt', 'currentComm': 0, 'currentCost': 1951105699,
        'currentQty': -1438000, 'deleveragePercentile': 1, 'foreignNotional': 1438000, 'grossOpenPremium': 0,
        'homeNotional': -18.3950398, 'initMargin': 7408795, 'initMarginReq': 0.01, 'isOpen': True, 'leverage': 100,
        'liquidationPrice': 1000000, 'maintMargin': 9802356, 'maintMarginReq': 0.005, 'markPrice': 78173.24,
        'markValue': 1839503980, 'openOrderBuyCost': -2603983400, 'openOrderBuyPremium': 0, 'openOrderBuyQty': 1400000,
        'openOrderRealisedPnl': 811787408, 'openOrderSellCost': -673220800, 'openOrderSellPremium': 0,
        'openOrderSellQty': 560000, 'posComm': 0, 'posCost': 1951105699, 'posCross': 0, 'posInit': 0, 'posLoss': 0,
        'posMaint': 9802356, 'posMargin': 9802356, 'prevRealisedPnl': 1404753, 'quoteCurrency': 'USD',
        'realisedCost': 0,
        'realisedPnl': 0, 'rebalancedPnl': 15678981, 'riskLimit': 20000000000, 'riskValue': 2512724780,
        'strategy': 'OneWay', 'symbol': 'XBTUSD', 'underlying': 'XBT', 'unrealisedCost': 1951105699,
        'unrealisedPnl': -111601719, 'unrealisedPnlPcnt': -0.0572, 'unrealisedRoePcnt': -5.7199}

    assert {name: row[name] for name in published} == published


def test_margin_of_2026():
    """The margin row of the same account: everything follows from wallet, position and orders."""
    position = a_position(quantity=-1438000, cost=1951105699, mark=78173.24, wallet=3034754369, funding=-0.000024,
                          buy_qty=1400000, buy_cost=2603983400, sell_qty=560000, sell_cost=673220800)
    purse = position.purse
    # the margin row was taken a little earlier, at a mark one satoshi a lot lower
    position.instrument.mark_lot_value -= 1
    clearing.carry(position)
    row = margin_row(purse)

    assert row['unrealisedPnl'] == -111616099
    assert row['marginBalance'] == 2923138270
    assert (row['initMargin'], row['maintMargin']) == (7408795, 9802356)
    assert row['availableMargin'] == row['excessMargin'] == 2905927119
    assert (row['grossMarkValue'], row['grossOpenCost'], row['riskValue']) == (1839489600, 673220800, 2512710400)
    assert (row['marginLeverage'], row['marginUsedPcnt']) == (0.6293, 0.0059)
    assert (row['riskLimit'], row['foreignMarginBalance'], row['foreignRequirement']) == (1000000000000, 0, 0)


def test_order_margin_of_2018():
    """An order over 5e10 satoshi at 1 % margin and 0.075 % taker fee needed 575375000: margin, two fees, a fee on the
    margin.
    """
    exchange = an_exchange(fees=(-0.00025, 0.00075))
    position = Position(exchange.open_account(), exchange.instruments['XBTUSD'], exchange.market.purse('XBt'))

    assert clearing.order_needs(position, 0, 0, 0, 100, 50000000000, 0)[2] == 575375000


def test_isolated_long_of_2021():
    """posInit, posComm, posMargin and posMaint of the long over 100 contracts at 46976 (0.35 % maintenance, isolated
    arithmetic).
    """
    position = a_position(quantity=100, cost=-212875, isolated=True)
    position.maint_rate = scaled(0.0035)
    clearing.carry(position)

    assert (position.pos_init, position.pos_comm, position.pos_margin, position.pos_maint) == (2129, 108, 2237, 875)
    assert contracts.average_price(position.instrument.row, 100, -212875) == 46975.9248
    # a loss of 76 at the mark of that row
    position.instrument.mark_lot_value = 212951
    clearing.carry(position)
    assert (position.mark_value, position.upnl, position.maint) == (-212951, -76, 2161)


@pytest.mark.parametrize('price, average', [(112826.6, 112826.1), (113679.2, 113679), (109222, 109221.6)])
def test_average_price_of_inverse_fills(price, average):
    """avgPx of an inverse order at one price comes from the lot-rounded cost, rounded to the tick."""
    instrument = INSTRUMENTS['XBTUSD']
    value = instrument.lot_value(instrument.ticks_of(price))

    assert instrument.price_of(instrument.nearest_ticks(clearing.price_at_lot_value(instrument, value))) == average


def test_average_price_of_mixed_fills_has_four_decimals():
    """Fills at several prices give an average of four decimals, on the order and on the position."""
    exchange = a_market(bid=50000, ask=50000.1, size=1000)
    exchange.rest('XBTUSD', 'Sell', 500500, 1100)
    account = exchange.open_account()

    row = exchange.place(account, order('Buy', 2000))
    assert (row['cumQty'], row['avgPx']) == (2000, round(1e10 / 199900, 4))   # 199,900 satoshi a lot exactly

    row = exchange.place(account, order('Buy', 100))
    assert row['avgPx'] == 50050.1   # 199,800 satoshi; the nearest tick
    held = exchange.rows('position', account)[0]
    assert held['unrealisedCost'] == -(10 * 200000 + 11 * 199800)
    assert held['avgEntryPrice'] == round(1e10 / 199895, 4)   # 199,895.24 satoshi a lot, against the holder


@pytest.mark.parametrize('amount, rate, fee', [
    (969900000, -0.00025, -242475),   # recorded maker fill of 2019
    (4840000, -0.00025, -1210),
    (212875, 0.0005, 106),            # 106.4375 gave 106
    (19350000, 0.0009, 17415),
    (9495200, 0.0009, 8545),          # 8545.68 gave 8545 in 2025
    (1102500, 0.00075, 826),          # 826.875 gave 826 in 2020
    (861700, -0.00025, -215),         # 215.425
    (1999, 0.0005, 0), (1999, -0.0005, 0),
])
def test_fees_are_cut_off_below_a_unit(amount, rate, fee):
    """execComm is the cost times the rate, in whole units; a rebate is negative."""
    assert clearing.portion(amount, scaled(rate)) == fee


@pytest.mark.parametrize('symbol, quantity, entry, leave, profit', [
    ('XBTUSD', 10000, 50000, 55000, 1818200),             # contract guide
    ('ETHUSD', 1000, 2300, 2400, 10000000),
    ('XBTUSDT', 100000, 78000, 79000, 100000000),
])
def test_realised_profit(symbol, quantity, entry, leave, profit):
    """Closing a long pays the difference of the values; a short the opposite; the row of the fill and the wallet
    agree.
    """
    for side, sign in (('Buy', 1), ('Sell', -1)):
        exchange = an_exchange((symbol,), fees=(0, 0))
        instrument = exchange.instruments[symbol]
        account = exchange.open_account(balances={instrument.currency: 10 ** 13})
        wallet = account.purse(instrument.currency)
        before = wallet.wallet
        for price, mine, other in ((entry, side, 'Sell' if sign > 0 else 'Buy'),
                                   (leave, 'Sell' if sign > 0 else 'Buy', side)):
            exchange.set_mark(symbol, price)
            handle = exchange.rest(symbol, other, instrument.ticks_of(price), quantity)
            assert exchange.place(account, order(mine, quantity, symbol=symbol))['ordStatus'] == 'Filled'
            exchange.withdraw(handle)
        last = exchange.history('execution', account)[-1]

        assert last['realisedPnl'] == sign * profit
        assert wallet.wallet - before == sign * profit
        assert exchange.history('transact', account)[-1]['amount'] == sign * profit


def test_reductions_keep_the_average_and_what_is_left_closes_it():
    """Average-cost accounting: a reduction realises its share, the rest keeps its price, closing leaves nothing."""
    position = a_position(quantity=1000, cost=-2000003)

    first = clearing.apply_fill(position, -300, 590001)
    second = clearing.apply_fill(position, -700, 1410000)

    assert (position.quantity, position.cost) == (0, 0)
    assert first + second == 2000003 - 590001 - 1410000


def test_a_fill_through_zero_closes_and_opens():
    """A fill larger than the position closes it and opens the other side at the fill's price."""
    position = a_position(quantity=200, cost=-400000)

    result = clearing.apply_fill(position, -500, 5 * 210000)

    assert result == -(-400000 + 2 * 210000)
    assert (position.quantity, position.cost) == (-300, 3 * 210000)


def test_liquidation_price_of_an_isolated_linear_long():
    """Bankruptcy at (cost - posInit) / quantity, liquidation where margin less maintenance is lost, on the safe
    tick.
    """
    position = a_position('XBTUSDT', quantity=100000, cost=7800000000, mark=78000, isolated=True, leverage=10.0)
    exact = (7800000000 - (position.pos_margin - position.pos_maint)) / 100000.0
    bankrupt = (7800000000 - position.pos_init) / 100000.0

    assert position.pos_init == 780000000
    assert 0 <= position.liquidation_price - exact < 0.1
    assert 0 <= position.bankrupt_price - bankrupt < 0.1
    assert position.bankrupt_price < position.liquidation_price < 78000


def test_liquidation_price_of_an_isolated_inverse_short():
    """The same for an inverse short: its limits lie above, the liquidation before the bankruptcy."""
    position = a_position(quantity=-10000, cost=100 * 200000, mark=50000, isolated=True, leverage=25.0)

    assert 50000 < position.liquidation_price < position.bankrupt_price
    assert abs(position.bankrupt_price - 50000 / (1 - 0.04)) < 0.2


def test_cross_limits_come_from_the_whole_equity():
    """A cross position is carried by all free money of its currency; out of reach is the highest price there is."""
    small = a_position(quantity=10000, cost=-100 * 200000, mark=50000, wallet=10000000)
    large = a_position(quantity=-10000, cost=100 * 200000, mark=50000, wallet=XBT)

    assert abs(small.bankrupt_price - 1e12 / (20000000 + 10000000)) < 0.2
    assert small.liquidation_price > small.bankrupt_price
    assert large.liquidation_price == large.bankrupt_price == 1000000


@pytest.mark.parametrize('held, buys, sells, charged', [
    (0, 20, 15, 20), (0, 15, 20, 20), (0, 20, 0, 20), (0, 0, 15, 15),   # guide: 15 asks and 5 bids
    (-30, 20, 0, 0), (-30, 40, 0, 10), (30, 0, 20, 0), (30, 10, 40, 10), (-14, 14, 5, 5),
])
def test_only_orders_that_add_exposure_are_charged(held, buys, sells, charged):
    """Reducing orders are free, the asks count in full, the bids for what they have more."""
    position = a_position(quantity=held * 100, cost=-held * 200000, mark=50000)

    cost = clearing.order_needs(position, buys * 100, buys * 200000, 0, sells * 100, sells * 200000, 0)[0]

    assert cost == charged * 200000


@pytest.mark.parametrize('symbol, dearer', [('XBTUSD', 'buys'), ('ETHUSD', 'sells'), ('XBTUSDT', 'sells')])
def test_the_dearer_side_counts_in_full(symbol, dearer):
    """Of bids and asks the side of the greater value counts whole: the asks, but on inverse contracts the bids, as in
    the rows of 2018; each is rounded up by itself.
    """
    position = a_position(symbol)
    cost, _, init = clearing.order_needs(position, 20000, 4000004, 0, 15000, 3000001, 0)
    parts = (4000004,) if dearer == 'buys' else (3000001, 1000001)

    assert cost == sum(parts)
    assert init == sum(clearing.portion_up(part, position.order_rate) for part in parts)
    cost, _, init = clearing.order_needs(position, 15000, 3000001, 0, 20000, 4000004, 0)
    parts = (3000001, 1000001) if dearer == 'buys' else (4000004,)
    assert (cost, init) == (sum(parts), sum(clearing.portion_up(part, position.order_rate) for part in parts))


def test_premium_is_what_an_order_would_lose_at_once():
    """A bid above the mark and an ask below it reserve the difference; the reserve follows the mark."""
    exchange = an_exchange()
    account = exchange.open_account()
    exchange.set_mark('XBTUSD', 50000)
    exchange.place(account, order('Buy', 1000, 50100))
    lot = exchange.instruments['XBTUSD'].lot_value(501000)
    row = exchange.rows('position', account)[0]
    assert row['openOrderBuyPremium'] == 10 * (200000 - lot) == exchange.rows('margin', account)[0]['grossOpenPremium']

    exchange.set_mark('XBTUSD', 49000)
    assert exchange.rows('position', account)[0]['openOrderBuyPremium'] == 10 * (204082 - lot)
    exchange.set_mark('XBTUSD', 50200)
    assert exchange.rows('position', account)[0]['openOrderBuyPremium'] == 0


def test_the_balance_error_names_what_is_missing():
    """An order beyond the balance is refused with BitMEX's coded error and the margin that it would take."""
    exchange = an_exchange()
    account = exchange.open_account(balances={'XBt': 1000000})
    exchange.set_mark('XBTUSD', 50000)
    needed = clearing.order_needs(account.position(exchange.instruments['XBTUSD']), 0, 0, 0, 1000000, 2000000000, 0)[2]

    with pytest.raises(Exception) as caught:
        exchange.place(account, order('Sell', 1000000, 50000))

    assert caught.value.body() == {'error': {
        'message': 'Account has insufficient Available Balance, {} XBt required'.format(needed),
        'name': 'CodedHTTPError', 'details': '19000'}}
    assert not account.orders and not of_table(exchange.drain(), 'order')


def test_fees_option_replaces_the_rates():
    """Fees given to the exchange are those of every contract, in its row, in commissions and in fills."""
    exchange = a_market(bid=50000, ask=50000.1, fees=(-0.0001, 0.001))
    account = exchange.open_account()

    exchange.place(account, order('Buy', 1000))

    assert exchange.instruments['XBTUSD'].row['makerFee'] == -0.0001
    fill = exchange.history('execution', account)[-1]
    assert (fill['commission'], fill['feeType'], fill['execComm']) == (0.001, 'Taker', 2000)
    assert exchange.fees['XBt'] == 2000


# -- the other numbers that BitMEX published ------------------------------------------------------------


@pytest.mark.parametrize('side, quantity, price, cost, home, foreign', [
    ('Buy', 100000, 10310.5, -969900000, 9.699, -100000),   # recorded in 2019, when a lot was one contract
    ('Sell', 500, 10330.5, 4840000, -0.0484, 500),
])
def test_signs_and_values_of_executions(side, quantity, price, cost, home, foreign):
    """A buyer of an inverse contract pays a negative cost, a seller a positive one; notionals have opposite signs."""
    exchange = an_exchange(date='2019-08-26', now=1566825361.0)
    exchange.set_mark('XBTUSD', price)
    account = exchange.open_account(balances={'XBt': 10 ** 12})
    instrument = exchange.instruments['XBTUSD']
    exchange.place(account, order(side, quantity, price))
    exchange.take('XBTUSD', 'Sell' if side == 'Buy' else 'Buy', quantity, instrument.ticks_of(price))
    row = exchange.history('execution', account)[-1]

    assert (row['execCost'], row['homeNotional'], row['foreignNotional']) == (cost, home, foreign)
    assert (row['commission'], row['execComm']) == (-0.00025, -int(abs(cost) * 0.00025))
    assert row['lastLiquidityInd'] == 'AddedLiquidity'


def test_the_margin_row_of_two_satoshis():
    """The row of an account with two satoshis and nothing else, as sent in 2024."""
    row = margin_row(an_exchange().open_account(balances={'XBt': 2}).purse('XBt'))
    sent = {'currency': 'XBt', 'riskLimit': 1000000000000, 'amount': 2, 'grossComm': 0, 'grossOpenCost': 0,
            'grossOpenPremium': 0, 'grossMarkValue': 0, 'riskValue': 0, 'initMargin': 0, 'maintMargin': 0,
            'targetExcessMargin': 2, 'realisedPnl': 0, 'unrealisedPnl': 0, 'walletBalance': 2, 'marginBalance': 2,
            'marginLeverage': 0.0, 'marginUsedPcnt': 0.0, 'excessMargin': 2, 'availableMargin': 2,
            'withdrawableMargin': 2, 'foreignMarginBalance': 0, 'foreignRequirement': 0}

    assert {name: row[name] for name in sent} == sent


@pytest.mark.parametrize('symbol, index, rate, fair, basis, yearly', [
    ('XBTUSD', 78176.66, -0.000024, 78175.02, -1.64, -0.02628),
    ('ETHUSD', 2302.03, 0.0001, 2302.23, 0.2, 0.1095),
    ('XBTUSDT', 78184.59, 0.000084, 78190.32, 5.73, 0.09198),
])
def test_fair_prices_of_perpetuals(symbol, index, rate, fair, basis, yearly):
    """Index, funding rate and the minutes until funding give the marks of 2026-05-03, 05:01:55."""
    instrument = catalogue()[symbol]
    instrument.set_funding_rate(rate)
    instrument.funding_at = 1777809600.0   # 12:00:00
    fields = fair_fields(instrument, index, 1777784515.5)

    assert (fields['fairPrice'], round(fields['fairBasis'], 2)) == (fair, basis)
    assert fields['fairBasisRate'] == pytest.approx(yearly, abs=1e-9)


@pytest.mark.parametrize('index, rate, days, basis', [(78176.66, 0.02, 236.29, 1012.19)])
def test_fair_prices_of_futures(index, rate, days, basis):
    """A yearly rate of basis for the time until expiry: XBTZ26 on 2026-05-03."""
    instrument = catalogue()['XBT7D']
    instrument.expires = 1777784515.0 + days * 86400
    instrument.row.update(fairBasisRate=rate, minTick=0.01)
    fields = fair_fields(instrument, index, 1777784515.0)

    assert fields['fairBasis'] == pytest.approx(basis, abs=0.02)
    assert fields['fairPrice'] == pytest.approx(index + basis, abs=0.02)


@pytest.mark.parametrize('limit, initial, maintenance', [
    (20000000000, 0.01, 0.005), (35000000000, 0.015, 0.01), (50000000000, 0.02, 0.015)])
def test_tiers_of_the_risk_limit(limit, initial, maintenance):
    """XBTUSD up to 200, 350 and 500 bitcoins: each step adds a base maintenance margin to both."""
    exchange = an_exchange()
    account = exchange.open_account(balances={'XBt': 10 ** 12})
    if limit > 20000000000:
        exchange.risk_limit(account, {'symbol': 'XBTUSD', 'riskLimit': limit})
    exchange.place(account, order('Buy', 100, 50000.0))
    row = exchange.rows('position', account)[0]

    assert (row['riskLimit'], row['initMarginReq'], row['maintMarginReq']) == (limit, initial, maintenance)
    assert row['leverage'] == round(1 / initial, 2)


def test_the_official_example_of_a_liquidation():
    """Long at 100 with a hundredth of margin and half of that to maintain: liquidated at 99.50, bankrupt at 99."""
    exchange = an_exchange(('XBTUSDT',), fees=(0, 0))
    instrument = exchange.instruments['XBTUSDT']
    exchange.set_funding('XBTUSDT', 0)
    exchange.set_mark('XBTUSDT', 100.0)
    position = exchange.open_account(balances={'USDt': 10 ** 12}).position(instrument)
    position.quantity, position.cost = 1000000, 1000000 * 100
    position.isolated, position.leverage = True, 100.0
    position.set_rates()
    clearing.carry(position)
    clearing.set_limits(position)

    assert (position.liquidation_price, position.bankrupt_price) == (99.5, 99.0)


def test_multipliers_of_linear_contracts_agree():
    """multiplier times contracts of an underlying are the minor units of a quote unit; a SOL that gains 1.30 earns
    what BitMEX' example says.
    """
    for instrument in catalogue().values():
        if instrument.kind == 'linear':
            row = instrument.row
            assert row['multiplier'] * row['underlyingToPositionMultiplier'] == row['quoteToSettleMultiplier']
    solana = {'symbol': 'SOLUSDT', 'settlCurrency': 'USDt', 'multiplier': 100, 'lotSize': 100, 'tickSize': 0.01}
    assert contracts.profit(solana, 10000, 83.70, 85.00) == 1300000
