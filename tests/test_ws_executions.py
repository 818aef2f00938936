"""Own executions: each counted once, whatever way it is heard of."""
import pytest

from market_maker.ws import executions as module
from market_maker.ws.executions import Executions, describe


def fill(name, at=1, kind='Trade', **fields):
    """Return the row of a trade at second ``at``."""
    stamp = '2026-01-01T00:00:{:02d}.000Z'.format(at)
    return dict({'execID': name, 'execType': kind, 'symbol': 'XBTUSD', 'side': 'Buy', 'lastQty': 10, 'orderID': 'o',
                 'execComm': 3, 'settlCurrency': 'XBt', 'timestamp': stamp}, **fields)


def names(rows):
    return [row['execID'] for row in rows]


def test_the_first_image_is_the_past():
    """What happened before the start is neither news nor counted, also when it is heard again."""
    seen = Executions()

    assert seen.image([fill('a'), fill('b')]) == []
    assert names(seen.add([fill('b'), fill('c')])) == ['c']
    assert seen.fills == 1 and names(seen.rows()) == ['c']


def test_later_images_bring_what_was_missed():
    """Each once; rows from before the newest known one are old even when their names are forgotten."""
    seen = Executions()
    seen.image([])
    seen.add([fill('a', 5)])

    news = seen.image([fill('forgotten', 4), fill('a', 5), fill('same moment', 5), fill('later', 6)])

    assert names(news) == ['same moment', 'later']
    assert seen.image([fill('later', 6)]) == []


def test_a_fill_before_the_first_image_counts():
    """The image that follows shows it again, and the past with it; only the fill itself is news."""
    seen = Executions()

    assert names(seen.add([fill('a', 5)])) == ['a']
    assert seen.image([fill('old', 1), fill('a', 5)]) == []


def test_sums():
    """Contracts per side and symbol, fees and funding per currency; other kinds of executions do not count."""
    seen = Executions()
    seen.add([fill('a'), fill('b', side='Sell', lastQty=4, execComm=-1), fill('c', execComm=7, settlCurrency='USDt'),
              fill('d', symbol='ETHUSD'), fill('e', kind='Funding', execComm=-9, side=''), fill('f', kind='New'),
              fill('g', kind='Canceled'), fill('h', execComm=None, lastQty=None)])

    assert seen.fills == 5
    assert seen.bought == {'XBTUSD': 20, 'ETHUSD': 10} and seen.sold == {'XBTUSD': 4}
    assert seen.fees == {'XBt': 5, 'USDt': 7} and seen.funding == {'XBt': -9}
    assert names(seen.rows()) == ['a', 'b', 'c', 'd', 'e', 'h']


def test_rows_of_one_order():
    """fills() of an order are those with its id."""
    seen = Executions()
    seen.add([fill('a'), fill('b', orderID='p'), fill('c')])

    assert names(seen.rows('o')) == ['a', 'c'] and names(seen.rows('p')) == ['b']


def test_rows_without_a_name_are_ignored():
    """An execution without execID cannot be told from the next one."""
    assert Executions().add([fill(''), fill(None)]) == []


def test_memory_is_bounded(monkeypatch):
    """A run of weeks keeps the sums of all and the rows of the newest."""
    monkeypatch.setattr(module, 'REMEMBERED', 50)
    seen = Executions()
    for number in range(3000):
        seen.add([fill('n{}'.format(number))])

    assert seen.fills == 3000 and seen.bought['XBTUSD'] == 30000
    assert len(seen.rows()) == module.KEPT and len(seen._known) == 50


@pytest.mark.parametrize('row, order, digits, wanted', [
    ({'side': 'Sell', 'lastQty': 1, 'symbol': 'XBT7D', 'lastPx': 389.88}, None, 2,
     'Sell 1 Contracts of XBT7D at 389.88'),
    ({'side': 'Buy', 'lastQty': 100.0, 'symbol': 'XBTUSD', 'lastPx': 6350}, None, 1,
     'Buy 100 Contracts of XBTUSD at 6350.0'),
    ({'lastQty': 5, 'side': '', 'lastPx': None}, {'side': 'Sell', 'symbol': 'A', 'price': 7.5}, 1,
     'Sell 5 Contracts of A at 7.5'),
    ({}, None, 1, '? 0 Contracts of ? at ?')])
def test_the_line_of_a_trade(row, order, digits, wanted):
    """The order fills in what the execution lacks."""
    assert describe(row, order, digits) == 'Execution: ' + wanted
