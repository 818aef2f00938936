"""An hour of market with customers in it: memory stays within the histories that are kept, the laws hold to the end.

The histories are made short for this, so that they are full early on; what grows after that is a leak.
"""
import random
import sys
import time
import tracemalloc

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from engine_world import NOW, check_laws  # noqa: E402
from local_client import Client, Socket  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.simulator import account, bins, exchange, laws, market, tables  # noqa: E402
from market_maker.simulator.instruments import catalogue  # noqa: E402

resource = pytest.importorskip('resource', reason='memory is read as Unix tells it')

SYMBOLS = ('XBTUSD', 'ETHUSD', 'XBTUSDT', 'XBT7D')
PERPETUALS = SYMBOLS[:3]


@pytest.fixture(autouse=True)
def short_histories(monkeypatch):
    """Keep few rows of everything."""
    for module, name in ((account, 'FINISHED_KEPT'), (account, 'EXECUTIONS_KEPT'), (account, 'TRANSACTIONS_KEPT'),
                         (tables, 'TRADES_KEPT'), (tables, 'QUOTES_KEPT'), (exchange, 'ROWS_KEPT')):
        assert getattr(module, name) > 50
        monkeypatch.setattr(module, name, 50)
    monkeypatch.setattr(bins, 'KEPT', dict.fromkeys(bins.KEPT, 2))


class Customer(object):
    """Quotes around the touch, amends, cancels, takes, waits with stops, and changes its margins, all by chance."""

    def __init__(self, house, number):
        self.house = house
        self.rng = random.Random(number)
        self.account = house.open_account('key {}'.format(number), 'secret', {'XBt': 5000000, 'USDt': 2000000000})

    def act(self):
        house, rng, mine = self.house, self.rng, self.account
        symbol = rng.choice([name for name in PERPETUALS if name in house.tapes])
        instrument = house.instruments[symbol]
        bid, _, ask, _ = house.touch(symbol)
        if bid is None or ask is None:
            return
        side = rng.choice(('Buy', 'Sell'))
        near = bid if side == 'Buy' else ask
        away = rng.randrange(20) * (-1 if side == 'Buy' else 1)
        size = rng.choice((1, 2, 5, 20)) * instrument.lot
        open_orders = list(mine.orders)
        fields = {'symbol': symbol, 'side': side, 'orderQty': size, 'clOrdID': 'c{}'.format(rng.getrandbits(60))}
        wish = rng.random()
        try:
            if wish < .45 or not open_orders:
                house.place(mine, dict(fields, price=instrument.price_of(near + away),
                                       execInst='ParticipateDoNotInitiate'))
            elif wish < .6:
                house.amend(mine, {'orderID': rng.choice(open_orders), 'orderQty': size})
            elif wish < .75:
                house.cancel(mine, {'orderID': open_orders[:3]})
            elif wish < .85:
                house.place(mine, dict(fields, ordType='Market'))
            elif wish < .93:
                stop = near + (200 if side == 'Buy' else -200)
                house.place(mine, dict(fields, ordType='Stop', stopPx=instrument.price_of(stop), execInst='LastPrice'))
            elif wish < .97:
                house.cancel_all(mine, {})
            else:
                house.leverage(mine, {'symbol': symbol, 'leverage': rng.choice((0, 10, 50, 100))})
        except exchange.Refusal:
            pass   # what cannot be done is not done


def play(minutes, kind='simulated', every=0.5, symbols=SYMBOLS):
    """Play so many minutes of market, everything drained as it comes and each customer acting every so many seconds;
    return the memory in use after each of them.
    """
    house = exchange.Exchange(catalogue(None, symbols), NOW, random.Random(5))
    street = market.make(kind, symbols, 5)
    street.start(house, NOW)
    customers = [Customer(house, number) for number in range(4)]
    told = 0
    measured = []
    for minute in range(minutes):
        for step in range(int(60 / every)):
            street.step(NOW + minute * 60 + step * every)
            for customer in customers:
                customer.act()
            told += len(house.drain())
        check_laws(house)
        assert not any(laws.positions(house).values()) and not any(laws.money(house).values())
        assert not laws.crossed(house)
        measured.append(memory())
    assert told > minutes * 1000
    assert all(one.executions for one in house.accounts.values())
    return measured


def memory():
    """Return the bytes that Python objects take now."""
    return tracemalloc.get_traced_memory()[0]


def grown(measured):
    """Return by how much the least of the last third is above the most of the second one, in bytes."""
    third = len(measured) // 3
    return min(measured[-third:]) - max(measured[third:-third])


def test_some_minutes_leave_memory_as_it_is():
    """After three minutes the engine takes hardly more memory than after two."""
    tracemalloc.start()
    try:
        measured = play(3, every=2.0, symbols=SYMBOLS[:1])
    finally:
        tracemalloc.stop()
    assert grown(measured) < 150000, measured


@pytest.mark.soak
@pytest.mark.parametrize('kind', ['simulated', 'lively'])
def test_an_hour_leaves_memory_as_it_is(kind):
    """The same over an hour of market, with liquidations and the next hour's session in it."""
    tracemalloc.start()
    try:
        measured = play(61, kind)
    finally:
        tracemalloc.stop()
    assert grown(measured) < 300000, measured


def live(seconds, deadline):
    """Run the local exchange at sixty times the pace, with a customer and a reader, until so many market seconds have
    passed (within ``deadline`` seconds of this machine's); return (frames that the reader got, bytes by which the
    largest memory of the process grew in the second half).
    """
    with running('simulated', symbols=list(SYMBOLS), speed=60, seed=3) as testnet:
        customer = Client(testnet)
        reader = Socket(testnet.ws_url + '?subscribe=trade,quote:XBTUSD,instrument:XBTUSD')
        began = testnet.call(lambda: testnet.exchange.now)
        until = time.monotonic() + deadline
        passed = frames = half = 0
        while passed < seconds:
            assert time.monotonic() < until, '{} of {} market seconds after {} s'.format(passed, seconds, deadline)
            for side in ('Buy', 'Sell'):
                customer.place(symbol='XBTUSD', side=side, orderQty=100, ordType='Market')
            pace = time.monotonic() + .2
            while time.monotonic() < pace:
                reader.recv()
            frames += len(reader.frames)
            del reader.frames[:]
            passed = testnet.call(lambda: testnet.exchange.now) - began
            if passed >= seconds / 2 and not half:
                half = largest_memory()
        testnet.call(lambda: check_laws(testnet.exchange))
        assert not any(testnet.call(lambda: laws.money(testnet.exchange)).values())
        assert not any(testnet.call(lambda: laws.positions(testnet.exchange)).values())
        assert customer.get('/execution/tradeHistory?count=500')
    return frames, largest_memory() - half


def largest_memory():
    """Return the most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def test_a_minute_at_sixty_times_the_pace():
    """Market time passes, traded in and read along, and the laws hold."""
    frames, _ = live(60, 100)
    assert frames > 50, frames


@pytest.mark.soak
def test_an_hour_at_sixty_times_the_pace():
    """The same for an hour of market, a minute where the machine is free: memory stays, and so do the laws."""
    frames, growth = live(3600, 1500)
    assert frames > 1000 and growth < 20000000, (frames, growth)
