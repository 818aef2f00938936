"""The ladder: start prices, levels, sizes."""
import random

import pytest

from market_maker.orders import levels, risk


def ticker(buy, sell):
    return {'buy': buy, 'sell': sell, 'mid': (buy + sell) / 2, 'last': buy}


def start(buy, sell, tick=0.5, maintain=True, spread=0.0, own_buy=None, own_sell=None):
    return levels.start_prices(ticker(buy, sell), tick, maintain, spread, own_buy, own_sell)


def test_quotes_begin_one_tick_inside_the_market():
    assert start(388.61, 389.89, tick=0.01, spread=0.003) == (pytest.approx(388.62), pytest.approx(389.88), 389.25)


def test_a_best_price_that_is_our_own_is_kept():
    found = start(388.62, 389.88, tick=0.01, spread=0.003, own_buy=388.62, own_sell=389.88)

    assert (found.buy, found.sell) == (388.62, 389.88)


def test_our_own_best_price_is_bettered_without_maintain_spreads():
    assert start(100.0, 110.0, maintain=False, own_buy=100.0).buy == 100.5


def test_start_prices_closer_than_min_spread_are_pushed_apart():
    found = start(100.0, 101.0, spread=0.01)

    assert found.buy == pytest.approx(100.5 * 0.995)
    assert found.sell == pytest.approx(100.5 * 1.005)


@pytest.mark.parametrize('gap', [0.5, 1.0])
def test_a_market_without_room_is_joined_not_crossed(gap):
    """One tick between bid and ask leaves no price inside, and two ticks would let our own quotes meet."""
    found = start(100.0, 100.0 + gap)

    assert (found.buy, found.sell) == (100.0, 100.0 + gap)


@pytest.mark.parametrize('index, price', [(-1, 388.62), (-2, 388.23), (1, 389.88), (2, 390.27)])
def test_levels_of_the_documented_run(index, price):
    assert levels.level_price(index, 388.62, 389.88, 0.001, True, 0.01) == price


@pytest.mark.parametrize('index, price', [(-1, 99.5), (-2, 99.0), (1, 102.0), (2, 102.5)])
def test_without_maintain_spreads_the_first_level_is_an_interval_away(index, price):
    assert levels.level_price(index, 100.0, 101.0, 0.005, False, 0.5) == price


def test_crossed_start_prices_swap_sides_without_maintain_spreads():
    assert levels.level_price(-1, 101.0, 100.0, 0.005, False, 0.5) == 99.5
    assert levels.level_price(1, 101.0, 100.0, 0.005, False, 0.5) == 102.0


def test_a_bid_is_never_rounded_up_and_an_ask_never_down():
    rng = random.Random(7)
    for _ in range(2000):
        tick = rng.choice([0.01, 0.05, 0.1, 0.5, 1, 0.0001])
        buy, interval, level = rng.uniform(10, 90000), rng.uniform(0, 0.02), rng.randint(1, 20)
        sell = buy * 1.001

        bid = levels.level_price(-level, buy, sell, interval, True, tick)
        ask = levels.level_price(level, buy, sell, interval, True, tick)

        assert bid <= buy * (1 + interval) ** (1 - level) * (1 + 1e-9)
        assert ask >= sell * (1 + interval) ** (level - 1) * (1 - 1e-9)
        assert bid < ask


def test_a_whole_ladder_is_what_its_levels_are_one_by_one():
    rng = random.Random(11)
    for _ in range(1000):
        tick, lot = rng.choice([0.01, 0.05, 0.1, 0.5, 1, 0.0001, 0.00001]), rng.choice([1, 100, 1000])
        buy = rng.choice([rng.uniform(0.1, 90000), round(rng.uniform(10, 900), 2), 100.0])
        sell, interval = buy * rng.choice([1.0, 1.001, 0.999]), rng.choice([0.0, 0.005, 0.001, rng.random() / 50])
        maintain, pairs = rng.random() < 0.5, rng.randint(1, 8)
        start, step = rng.choice([100, 150]), rng.choice([0, 100])

        buys, sells = levels.ladder(pairs, buy, sell, interval, maintain, tick, start, step, lot)

        for orders, sign in ((buys, -1), (sells, 1)):
            assert orders == [{'price': levels.level_price(sign * level, buy, sell, interval, maintain, tick),
                               'orderQty': levels.level_size(level, start, step, lot),
                               'side': 'Buy' if sign < 0 else 'Sell'} for level in range(pairs, 0, -1)]


@pytest.mark.parametrize('index, lot, size', [(1, 1, 100), (-3, 1, 300), (2, 100, 200), (2, 150, 150), (1, 1000, 1000)])
def test_sizes_grow_by_the_step_and_lie_on_the_lot(index, lot, size):
    assert levels.level_size(index, 100, 100, lot) == size


def test_random_sizes_lie_between_the_bounds_and_on_the_lot():
    rng = random.Random(3)

    sizes = {levels.random_size(150, 480, 100, rng.randint) for _ in range(200)}

    assert sizes == {200, 300, 400}


def test_a_random_size_has_at_least_one_lot():
    assert levels.random_size(10, 20, 100, random.Random(1).randint) == 100


@pytest.mark.parametrize('position, lot, sizes', [
    (0, 100, [100, 200]), (9700, 100, [100, 200]), (9750, 100, [100, 100]), (9850, 100, [100]), (9999, 100, []),
    (9999, 1, [1]),
    (10400, 100, [])])
def test_bids_are_cut_to_the_room_below_the_limit(position, lot, sizes):
    """Position 9999 of 10000 leaves room for one contract, which is none where the lot is 100."""
    ladder = [{'side': 'Buy', 'price': 99.0, 'orderQty': 200}, {'side': 'Buy', 'price': 100.0, 'orderQty': 100}]

    cut = risk.cut_to_room(ladder, 'Buy', risk.room('Buy', position, -10000, 10000), lot)

    assert sorted(order['orderQty'] for order in cut) == sizes
    assert [order['orderQty'] for order in ladder] == [200, 100]


def test_asks_are_cut_to_the_room_above_the_lower_limit():
    assert risk.room('Sell', 50, -100, 100) == 150
    assert risk.room('Sell', -130, -100, 100) == 0


def test_orders_that_only_reduce_take_no_room():
    stop = {'side': 'Sell', 'stopPx': 90.0, 'orderQty': 500, 'execInst': 'LastPrice, Close'}

    assert risk.cut_to_room([stop], 'Sell', 0, 100) == [stop]


@pytest.mark.parametrize('buy, sell, bid, ask, word', [
    (100.0, 101.0, 99.5, 101.5, ''), (101.5, 102.0, 99.5, 101.5, 'take the best ask'),
    (99.0, 99.5, 99.5, 101.5, 'take the best bid'),
    (99.0, 103.0, 101.5, 101.5, 'not below'), (None, None, 99.0, 100.0, '')])
def test_crossing_quotes_are_named(buy, sell, bid, ask, word):
    answer = risk.crossing(buy, sell, ticker(bid, ask))

    assert bool(answer) == bool(word)
    assert word in answer
