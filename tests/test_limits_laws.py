"""What holds of every ladder that passes the limits, whatever a strategy wants and whatever is set."""
from hypothesis import given, settings
from hypothesis import strategies as some

from market_maker.orders import risk
from market_maker.orders.limits import ANY, Limits
from test_limits import ROW, bounds

PRICES = some.one_of(some.none(), some.integers(800, 1200).map(lambda ticks: ticks * 50.0),
                     some.sampled_from([0, -50.0, float('nan'), float('inf'), 'x', 5000.0, 900000.0]))
SIZES = some.one_of(some.integers(0, 1500), some.integers(1, 15).map(lambda lots: lots * 100.0),
                    some.sampled_from([None, -300, '200', float('nan'), float('inf'), 'many', 10 ** 9]))
ORDERS = some.lists(some.fixed_dictionaries({
    'price': PRICES, 'orderQty': SIZES, 'side': some.sampled_from([None, 'Buy', 'Sell']),
    'ordType': some.sampled_from(['Limit', 'Stop', None]),
    'execInst': some.sampled_from(['', 'ReduceOnly', 'ParticipateDoNotInitiate'])}), max_size=8)
ROOMS = some.sampled_from([ANY, 0, 1, 99, 100, 1000])
BOUNDS = some.builds(bounds, ORDER_SIZE_LIMIT=some.sampled_from([None, 1, 250, 1000]),
                     ORDER_COUNT_LIMIT=some.sampled_from([None, 1, 2, 5, 200]),
                     PRICE_BAND=some.sampled_from([None, 0.01, 0.1]))


@settings(max_examples=150, deadline=None)
@given(ORDERS, ORDERS, ROOMS, ROOMS, BOUNDS)
def test_what_passes_the_limits_keeps_them(buys, sells, buy_room, sell_room, limits):
    """Room, size, count, band, and no trade with ourselves; nothing is made up, nothing of the caller's changed."""
    before = [dict(order) for order in buys + sells]
    rooms = {'Buy': buy_room, 'Sell': sell_room}

    passed = Limits().admitted(buys, sells, rooms, limits, ROW)

    assert repr(buys + sells) == repr(before)
    assert len(passed) <= (limits['ORDER_COUNT_LIMIT'] or ANY)
    for side in rooms:
        ours = [order for order in passed if order['side'] == side]
        growing = [order for order in ours if order['orderQty'] is not None and not risk.only_reduces(order)]
        assert sum(abs(int(order['orderQty'])) for order in growing) <= rooms[side]
        for order in ours:
            size = order['orderQty']
            assert size is None or abs(int(size)) <= min(ROW['maxOrderQty'], limits['ORDER_SIZE_LIMIT'] or ANY)
            assert order['price'] is None or 0 < order['price'] < ANY
            if limits['PRICE_BAND'] and risk.is_plain_limit(order):
                assert side == 'Sell' or order['price'] <= 50010.0 * (1 + limits['PRICE_BAND'])
                assert side == 'Buy' or order['price'] >= 50000.0 * (1 - limits['PRICE_BAND'])
    bids, asks = ([order['price'] for order in passed if order['side'] == side and risk.is_plain_limit(order)]
                  for side in ('Buy', 'Sell'))
    assert not bids or not asks or max(bids) < min(asks)


@settings(max_examples=100, deadline=None)
@given(some.lists(some.integers(900, 999), unique=True, max_size=6), some.lists(some.integers(1001, 1100), unique=True,
                                                                               max_size=6))
def test_an_ordinary_ladder_passes_untouched(bids, asks):
    """No limit that is on by default changes what makes sense."""
    buys = [{'price': ticks * 50.0, 'orderQty': 100, 'side': 'Buy'} for ticks in bids]
    sells = [{'price': ticks * 50.0, 'orderQty': 200, 'side': 'Sell'} for ticks in asks]
    limits = Limits()

    assert limits.admitted(buys, sells, {'Buy': ANY, 'Sell': ANY}, bounds(), ROW) == buys + sells
    assert limits.take_news() == []
