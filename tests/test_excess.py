"""What a strategy sends by itself, held against the limits."""
import pytest

from market_maker.orders import limits, risk
from market_maker.orders.excess import beyond_limits, by_name
from market_maker.utils.errors import LimitReached

INSTRUMENT = {'symbol': 'XBTUSD', 'tickSize': 0.5, 'lotSize': 100, 'maxOrderQty': 10 ** 7, 'markPrice': 50000.0,
              'lastPrice': 50000.0}


def row(number, side='Buy', leaves=100, cum=0):
    return {'orderID': 'id-{}'.format(number), 'clOrdID': 'name-{}'.format(number), 'side': side, 'price': 49000.0,
            'orderQty': leaves + cum, 'leavesQty': leaves, 'cumQty': cum, 'ordType': 'Limit', 'execInst': ''}


def refused(orders, rows=(), amends=False, room=1000, **bounds):
    """Return the words about each of the orders; None for one that is let pass."""
    working = risk.Working(list(rows), {'Buy': room, 'Sell': room})
    found = beyond_limits(orders, by_name(rows) if amends else {}, working,
                          dict(dict.fromkeys(limits.NAMES), **bounds), INSTRUMENT)
    assert all(isinstance(error, LimitReached) for _, error in found)
    words = {id(order): str(error) for order, error in found}
    return [words.get(id(order)) for order in orders]


def buy(size, **more):
    return dict({'side': 'Buy', 'price': 49000.0, 'orderQty': size}, **more)


def test_orders_are_taken_one_after_the_other_beside_what_works():
    """The third would pass the position limit; a smaller one after it does not."""
    first, second, third, last = refused([buy(400), buy(400), buy(400), buy(100)], rows=[row(1)])

    assert (first, second, last) == (None, None, None)
    assert third.startswith('not sent: 400 more contracts beside the 900 at work')


def test_a_quantity_below_zero_sells():
    assert refused([{'orderQty': -400, 'price': 51000.0}, {'orderQty': -700, 'price': 51000.0}])[1] is not None


def test_what_can_only_reduce_counts_for_nothing():
    assert refused([buy(5000, execInst='ReduceOnly'), buy(1000)]) == [None, None]


def test_only_so_many_orders_may_be_open():
    assert refused([buy(100), buy(100)], rows=[row(1)], ORDER_COUNT_LIMIT=2) == [
        None, 'not sent: ORDER_COUNT_LIMIT 2 is reached']


@pytest.mark.parametrize('name', [{'orderID': 'id-1'}, {'clOrdID': 'name-1'}, {'origClOrdID': 'name-1'}])
@pytest.mark.parametrize('change, is_allowed', [
    ({'orderQty': 1150}, True),     # 50 have traded: 1,100 would work, of which 100 do already
    ({'orderQty': 1151}, False),
    ({'leavesQty': 1100}, True),
    ({'leavesQty': 1101}, False),
    ({'price': 48000.0}, True),
])
def test_an_amend_counts_by_what_it_adds(name, change, is_allowed):
    assert (refused([dict(name, **change)], rows=[row(1, cum=50)], amends=True, room=1100)[0] is None) == is_allowed


def test_an_amend_of_an_order_that_nobody_knows_is_for_the_exchange_to_refuse():
    assert refused([{'orderID': 'other', 'orderQty': 10 ** 9}], rows=[row(1)], amends=True) == [None]


def test_a_side_that_there_is_not_is_for_the_exchange_to_refuse():
    assert refused([buy(10 ** 9, side='Hold')]) == [None]


def test_the_size_of_one_order_is_bounded():
    assert 'ORDER_SIZE_LIMIT' in refused([buy(300)], ORDER_SIZE_LIMIT=200)[0]
