"""Which limits bite, what they leave, and that each says so once: rows, settings and moments are handed in."""
import pytest

from market_maker.orders.limits import ANY, Facts, Limits

BOUNDS = {'CHECK_POSITION_LIMITS': False, 'MIN_POSITION': -1000, 'MAX_POSITION': 1000, 'ORDER_SIZE_LIMIT': None,
          'ORDER_COUNT_LIMIT': 200, 'PRICE_BAND': 0.1, 'FREE_MARGIN_LIMIT': 0, 'LIQUIDATION_LIMIT': 0,
          'FILLED_LIMIT': None, 'FILLED_WINDOW': 60, 'MOVE_LIMIT': None, 'MOVE_WINDOW': 10}
ROW = {'symbol': 'XBTUSD', 'lotSize': 100, 'maxOrderQty': 10000000, 'markPrice': 50000.0, 'lastPrice': 50010.0}
FREE = {'Buy': ANY, 'Sell': ANY}
CLOSED = {'Buy': 0, 'Sell': 0}


def facts(**values):
    known = dict(now=0.0, low=0, high=0, position={}, margin={}, price=50000.0, bought=0, sold=0, loss='')
    return Facts(**dict(known, **values))


def bounds(**values):
    return dict(BOUNDS, **values)


def want(price, size=100, **more):
    return dict({'price': price, 'orderQty': size}, **more)


def admitted(limits, buys=(), sells=(), rooms=None, row=None, **values):
    orders = limits.admitted(list(buys), list(sells), rooms or FREE, bounds(**values), row or ROW)
    return [(order['side'], order.get('price'), order.get('orderQty')) for order in orders]


def test_nothing_limits_by_default():
    limits = Limits()

    assert limits.rooms(facts(low=10 ** 9, high=10 ** 9, margin={}, bought=10 ** 9), BOUNDS) == FREE
    assert admitted(limits, [want(100.0), want(49999.5, 5000)], [want(900000.0)]) == [
        ('Buy', 100.0, 100), ('Buy', 49999.5, 5000), ('Sell', 900000.0, 100)]
    assert limits.take_news() == []


def test_position_limits_count_from_both_ends_of_what_is_known():
    on = bounds(CHECK_POSITION_LIMITS=True)

    assert Limits().rooms(facts(low=-100, high=300), on) == {'Buy': 700, 'Sell': 900}


# Brakes


def test_a_side_that_traded_too_much_is_closed_until_the_window_has_passed():
    limits, on = Limits(), bounds(FILLED_LIMIT=500)
    assert limits.rooms(facts(now=0.0), on) == FREE
    assert limits.rooms(facts(now=30.0, bought=400, sold=100), on) == FREE

    assert limits.rooms(facts(now=40.0, bought=500, sold=100), on) == {'Buy': 0, 'Sell': ANY}
    assert limits.rooms(facts(now=89.0, bought=500, sold=100), on) == {'Buy': 0, 'Sell': ANY}
    assert limits.rooms(facts(now=91.0, bought=500, sold=100), on) == FREE   # 400 of them were a minute ago
    assert limits.take_news() == [
        (True, '500 contracts bought within 60 s, FILLED_LIMIT is 500: no bids for now'), (False, 'FILLED_LIMIT Buy')]


def test_what_was_filled_before_the_limit_was_set_does_not_count():
    assert Limits().rooms(facts(bought=9000), bounds(FILLED_LIMIT=500)) == FREE


def test_a_fast_move_closes_both_sides_until_it_is_over():
    limits, on = Limits(), bounds(MOVE_LIMIT=0.01)
    assert limits.rooms(facts(now=0.0, price=50000.0), on) == FREE
    assert limits.rooms(facts(now=1.0, price=50500.0), on) == FREE    # one per cent is not more than one

    assert limits.rooms(facts(now=2.0, price=50510.0), on) == CLOSED
    assert limits.rooms(facts(now=10.9, price=50510.0), on) == CLOSED
    assert limits.rooms(facts(now=11.1, price=50510.0), on) == FREE
    assert [bites for bites, _ in limits.take_news()] == [True, False]


def test_a_fall_counts_like_a_rise_and_a_missing_price_like_none():
    limits, on = Limits(), bounds(MOVE_LIMIT=0.01)
    limits.rooms(facts(now=0.0, price=50000.0), on)
    limits.rooms(facts(now=1.0, price=None), on)

    assert limits.rooms(facts(now=2.0, price=49000.0), on) == CLOSED


# The account


@pytest.mark.parametrize('held, low, high, rooms', [
    (80, 0, 0, FREE), (81, 0, 0, CLOSED), (81, 300, 300, {'Buy': 0, 'Sell': 300}),
    (81, -300, -200, {'Buy': 200, 'Sell': 0}), (81, -100, 200, CLOSED)])
def test_a_thin_margin_leaves_only_what_closes_the_position(held, low, high, rooms):
    """Whatever of the position is certain may be closed, and no more: else it would be opened on the other side."""
    margin = {'marginBalance': 100, 'maintMargin': held}

    assert Limits().rooms(facts(low=low, high=high, margin=margin), bounds(FREE_MARGIN_LIMIT=0.2)) == rooms


def test_an_unknown_margin_closes_and_an_empty_account_too():
    assert Limits().rooms(facts(), bounds(FREE_MARGIN_LIMIT=0.2)) == CLOSED
    assert Limits().rooms(facts(margin={'marginBalance': 0, 'maintMargin': 0}), bounds(FREE_MARGIN_LIMIT=0.2)) == CLOSED


def test_a_limit_of_the_margin_does_not_flutter():
    limits, on = Limits(), bounds(FREE_MARGIN_LIMIT=0.2)
    for held in (79, 81, 79, 81, 79):
        limits.rooms(facts(margin={'marginBalance': 100, 'maintMargin': held}), on)
    assert len(limits.take_news()) == 1

    limits.rooms(facts(margin={'marginBalance': 100, 'maintMargin': 77}), on)
    assert limits.take_news() == [(False, 'FREE_MARGIN_LIMIT')]


@pytest.mark.parametrize('quantity, price, rooms', [
    (500, 44000.0, FREE), (500, 47000.0, {'Buy': 0, 'Sell': 500}), (-500, 53000.0, {'Buy': 500, 'Sell': 0}),
    (0, 49999.0, FREE), (500, None, FREE)])
def test_a_near_liquidation_leaves_only_what_closes_the_position(quantity, price, rooms):
    position = {'currentQty': quantity, 'liquidationPrice': price, 'markPrice': 50000.0}

    assert Limits().rooms(facts(low=quantity, high=quantity, position=position), bounds(LIQUIDATION_LIMIT=0.1)) == rooms


def test_a_loss_closes_both_sides():
    limits = Limits()

    assert limits.rooms(facts(loss='all is lost'), BOUNDS) == CLOSED
    assert limits.rooms(facts(loss='all is lost still'), BOUNDS) == CLOSED
    assert limits.take_news() == [(True, 'all is lost')]


# Single orders


def test_a_large_order_is_cut_down_to_the_lot():
    limits = Limits()

    assert admitted(limits, [want(49000.0, 900)], [want(51000.0, 250)], ORDER_SIZE_LIMIT=250) == [
        ('Buy', 49000.0, 200), ('Sell', 51000.0, 250)]
    assert limits.take_news() == [
        (True, '900 contracts in one order are more than ORDER_SIZE_LIMIT 250: it is cut down')]


def test_more_than_the_exchange_takes_is_cut_down_without_a_setting():
    assert admitted(Limits(), [want(49000.0, 20000000)]) == [('Buy', 49000.0, 10000000)]


@pytest.mark.parametrize('side, price, is_sent', [
    ('Buy', 55011.0, True), ('Buy', 55011.5, False), ('Sell', 45000.0, True), ('Sell', 44999.5, False),
    ('Buy', 1.0, True), ('Sell', 999999.0, True)])
def test_a_price_far_on_the_wrong_side_of_mark_and_last_is_not_sent(side, price, is_sent):
    """Ten per cent from the one that is further away; an order that stands far from the market hurts nobody."""
    orders = {'buys' if side == 'Buy' else 'sells': [want(price)]}

    assert bool(admitted(Limits(), **orders)) == is_sent
    assert admitted(Limits(), PRICE_BAND=None, **orders)


def test_stops_may_stand_where_plain_orders_may_not():
    stop = want(40000.0, stopPx=48000.0, ordType='StopLimit', execInst='Close')

    assert admitted(Limits(), [], [stop]) == [('Sell', 40000.0, 100)]


@pytest.mark.parametrize('price, size', [
    (float('nan'), 100), (float('inf'), 100), (-5.0, 100), (0, 100), ('cheap', 100), (49000.0, float('nan')),
    (49000.0, float('inf')), (49000.0, 'many')])
def test_nonsense_is_left_out_and_the_rest_stands(price, size):
    limits = Limits()

    assert admitted(limits, [want(price, size), want(48000.0)]) == [('Buy', 48000.0, 100)]
    (bites, words), = limits.take_news()
    assert bites and 'makes no sense' in words


@pytest.mark.parametrize('size', [100, 100.0, -100, '100', None])
def test_sizes_may_come_in_many_forms(size):
    assert admitted(Limits(), [want(49000.0, size)]) == [('Buy', 49000.0, 100 if size == '100' else size)]


def test_bids_and_asks_that_would_meet_are_both_left_out():
    limits = Limits()

    assert admitted(limits, [want(49000.0), want(50100.0)], [want(50050.0), want(51000.0)]) == [
        ('Buy', 49000.0, 100), ('Sell', 51000.0, 100)]
    assert limits.take_news() == [
        (True, 'our bid at 50100.0 would trade with our ask at 50050.0: both are left out')]


@pytest.mark.parametrize('buys, sells, kept', [(8, 8, (2, 2)), (8, 1, (3, 1)), (1, 8, (1, 3)), (0, 8, (0, 4)),
                                               (2, 2, (2, 2))])
def test_the_inner_levels_stay_when_there_are_too_many(buys, sells, kept):
    bids = [want(49000.0 + level) for level in range(buys)]
    asks = [want(51000.0 + level) for level in range(sells)]

    orders = admitted(Limits(), bids, asks, ORDER_COUNT_LIMIT=4)

    assert [price for side, price, _ in orders if side == 'Buy'] == [order['price'] for order in bids][buys - kept[0]:]
    assert [price for side, price, _ in orders if side == 'Sell'] == [order['price'] for order in asks][:kept[1]]


def test_a_limit_tells_once_when_it_bites_and_once_when_it_lets_go():
    limits = Limits()
    for price in (60000.0, 60001.0, 60002.0, 49000.0, 49001.0):
        admitted(limits, [want(price)])

    assert [(bites, words.split()[0]) for bites, words in limits.take_news()] == [(True, 'a'), (False, 'PRICE_BAND')]
    assert limits.take_news() == [] and limits.biting == {}


def test_what_only_reduces_is_never_held_back():
    close = want(51000.0, 500, execInst='ReduceOnly')

    assert admitted(Limits(), [want(49000.0)], [close, want(51001.0)], CLOSED) == [('Sell', 51000.0, 500)]


def test_an_order_counts_on_its_own_side_whatever_list_it_comes_in():
    """Some strategies hand in everything in one list; tuples and generators do too."""
    both = (want(49000.0, side='Buy'), want(51000.0, side='Sell'), want(52000.0, 200, side='Sell'))

    assert admitted(Limits(), both) == [('Buy', 49000.0, 100), ('Sell', 51000.0, 100), ('Sell', 52000.0, 200)]
    assert admitted(Limits(), [], (dict(order) for order in both), {'Buy': 0, 'Sell': 100}) == [('Sell', 51000.0, 100)]
    limits = Limits()
    assert limits.admitted(tuple(both[:1]), both[1:], FREE, BOUNDS, ROW) == list(both) and not limits.biting


def test_the_callers_orders_stay_as_they_are():
    buys = [want(49000.0, 900), want(90000.0)]
    before = [dict(order) for order in buys]

    admitted(Limits(), buys, ORDER_SIZE_LIMIT=100)

    assert buys == before
