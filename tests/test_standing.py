"""A ladder that stands is known to stand without being laid, and only then."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_exchange import make
import settings_base
from market_maker import exchange_interface
from market_maker.market_maker import OrderManager, settings
from market_maker.orders import converge, levels
from market_maker.orders.standing import Standing, is_harmless

TICK = 0.5


def ladder(start_buy, start_sell, pairs, interval, maintain=True):
    buys, sells = levels.ladder(pairs, start_buy, start_sell, interval, maintain, TICK, 100, 100, 100)
    return buys + sells


def rows_of(wanted):
    return [dict(order, orderID='id-{}'.format(number), clOrdID='name-{}'.format(number), leavesQty=order['orderQty'],
                 cumQty=0, ordType='Limit', timeInForce='GoodTillCancel', execInst='')
            for number, order in enumerate(wanted)]


def stands(resting, wanted, tolerance):
    return converge.plan(resting, wanted, tolerance) is converge.STANDS


@given(st.data())
def test_what_stands_at_two_starts_stands_between_them(data):
    """The law behind it all: no order needs a request anywhere between two start prices at which none does."""
    pairs = data.draw(st.integers(1, 12))
    interval = data.draw(st.sampled_from([0, 0.00001, 0.0005, 0.005, 0.05]))
    tolerance = data.draw(st.sampled_from([0, 0.0001, 0.01]))
    where = st.floats(1000, 1020).map(lambda value: value / data.draw(st.sampled_from([1, 100])))
    middle = data.draw(where)
    resting = rows_of(ladder(middle - 1, middle + 1, pairs, interval))
    near = st.floats(-2 * tolerance - 0.001, 2 * tolerance + 0.001)
    starts = sorted(middle * (1 + data.draw(near)) for _ in range(3))
    low, between, high = [ladder(start - 1, start + 1, pairs, interval) for start in starts]
    if stands(resting, low, tolerance) and stands(resting, high, tolerance):
        assert stands(resting, between, tolerance)


@given(st.data())
def test_standing_is_told_truly(data):
    """Where it is told that a ladder stands, no level of it differs from its order."""
    resting = rows_of(ladder(999.0, 1001.0, 5, 0.005))
    places = st.floats(0.985, 1.015)
    wanted = ladder(999.0 * data.draw(places), 1001.0 * data.draw(places), 5, 0.005)
    if data.draw(st.booleans()):
        wanted[0]['orderQty'] += 100
    differs = any(converge.differs(order, target, 0.01) for order, target in zip(resting, wanted))
    assert stands(resting, wanted, 0.01) == (not differs)
    assert not stands(resting, wanted[1:], 0.01) and not stands(resting[1:], wanted, 0.01)


def test_another_key_forgets_all():
    """What was learnt counts for one state of everything else only."""
    standing = Standing()
    assert not standing.covers('a', 5, 6)
    standing.learn('a', 5.0, 6.0)
    standing.learn('a', 5.5, 6.5)
    assert standing.covers('a', 5.2, 6.2) and not standing.covers('b', 5.2, 6.2)
    assert not standing.covers('a', 4.9, 6.2) and not standing.covers('a', 5.2, 6.6)
    standing.learn('b', 5.1, 6.1)
    assert standing.covers('b', 5.1, 6.1) and not standing.covers('a', 5.2, 6.2) and not standing.covers(None, 5.1, 6.1)


@pytest.mark.parametrize('buy, sell, bid, ask, highest, lowest, good', [
    (99, 102, 100, 101, 110, 90, True), (99, 102, 101, 100, 110, 90, False), (101, 102, 100, 101, 110, 90, False),
    (99, 100, 100, 101, 110, 90, False), (99, 102, 100, 101, 98, 90, False), (99, 102, 100, 101, 110, 103, False),
    (100.9, 100.8, 100, 101.5, 110, 90, False), (100.8, 102, 100, 101, 110, 90, False)])
def test_doubtful_quotes_are_not_harmless(buy, sell, bid, ask, highest, lowest, good):
    """Crossed markets, quotes at the other side's price, quotes that meet each other, quotes out of the band."""
    assert is_harmless(buy, sell, bid, ask, TICK, lowest, highest) is good


class Counting(object):
    """Counts the whole passes of a manager."""

    def __init__(self, monkeypatch, **values):
        self.manager, self.fake = make(monkeypatch, OrderManager, **values)
        self.whole = 0
        lay = self.manager._mm_ladder

        def counted():
            self.whole += 1
            return lay()
        # Beneath the methods that decide whether a pass is the built-in one.
        monkeypatch.setattr(OrderManager, '_mm_is_built_in', lambda manager: True)
        self.manager._mm_ladder = counted

    def look(self, bid=None):
        """Make a quiet pass; return whether it was a whole one."""
        if bid is not None:
            self.fake.quote(bid, bid + 0.5)
        before = self.whole
        self.manager._mm_quiet_pass()
        return self.whole > before


def test_a_quiet_pass_that_finds_nothing_is_short(monkeypatch):
    """Once it is known to stand at two touches, the touch may wander between them for nothing."""
    bot = Counting(monkeypatch)
    assert bot.look(50000.0) and bot.look(50010.0)
    del bot.fake.requests[:]
    assert not any(bot.look(50000.0 + step) for step in (0, 5, 10, 2.5, 7))
    assert bot.look(50011.0) and not bot.look(50010.5)
    assert bot.fake.sent('POST', 'PUT', 'DELETE') == 0
    assert bot.look(52000.0) and bot.fake.sent('PUT') > 0


def test_whatever_changes_makes_a_pass_whole_again(monkeypatch):
    """An order, a setting, the contract, the market, a limit that bites: each is looked at by a whole pass."""
    bot = Counting(monkeypatch)
    fake, manager = bot.fake, bot.manager

    def rest():
        bot.look(50000.0)
        bot.look(50000.0)
        assert not bot.look(50000.0)
    rest()
    fake.fill(next(iter(fake.rows.values())), 100)
    assert bot.look() and fake.sent('POST')
    rest()
    settings.ORDER_PAIRS += 1
    assert bot.look()
    rest()
    with settings.override(INTERVAL=0.002):
        assert bot.look()
    rest()
    fake.row['tickSize'] = 0.25
    assert bot.look()
    fake.row['tickSize'] = 0.5
    rest()
    manager.exchange.limits.biting['MOVE_LIMIT'] = 'a word'
    assert bot.look()
    manager.exchange.limits.biting.clear()
    rest()
    fake.row['state'] = 'Closed'
    bot.look()
    assert not fake.resting()
    fake.row['state'] = 'Open'
    bot.look()
    assert fake.resting()
    rest()
    fake.echo = False
    fake.place('mm_bitmex_another', price=48000.0)
    fake.catch_up()
    assert bot.look()


def test_every_limit_that_needs_a_look_gets_it(monkeypatch):
    """With a limit set that depends on more than orders, prices and sizes, no pass is short."""
    named = {name for name in vars(settings_base) if 'LIMIT' in name} - {'ORDER_SIZE_LIMIT', 'ORDER_COUNT_LIMIT'}
    assert named == set(exchange_interface.WATCHFUL)
    bot = Counting(monkeypatch)
    for name in sorted(named):
        with settings.override(**{name: 10 ** 6 if name not in ('FREE_MARGIN_LIMIT', 'LIQUIDATION_LIMIT') else 1e-9}):
            bot.look(50000.0)
            assert bot.look(50000.0), name


def test_a_strategy_of_ones_own_is_always_asked(monkeypatch):
    """Who has replaced a part of a pass, in a class or on the object, has it called each time."""
    calls = []

    class Mine(OrderManager):
        def place_orders(self):
            calls.append('place_orders')
            OrderManager.place_orders(self)

    manager, fake = make(monkeypatch, Mine)
    for _ in range(4):
        manager._mm_quiet_pass()
    assert len(calls) == 5
    manager, fake = make(monkeypatch, OrderManager)
    inner = manager.get_price_offset
    manager.get_price_offset = lambda index: calls.append(index) or inner(index)
    del calls[:]
    for _ in range(3):
        manager._mm_quiet_pass()
    assert len(calls) >= 6
