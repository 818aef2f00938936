"""The dead man's switch, and several bots of one account: what each of them leaves to the others."""
import contextlib
import signal
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from bot import Bot, until   # noqa: E402
from live_manager import KEY, SECRET, live   # noqa: E402
from live_manager import until as soon   # noqa: E402
from market_maker.deadman import DeadMansSwitch   # noqa: E402
from market_maker.rest.client import Client   # noqa: E402
from market_maker.server.local_exchange import running   # noqa: E402
from market_maker.settings import settings   # noqa: E402
from market_maker.state.ledger import Ledger, Order   # noqa: E402
from market_maker.state.lock import Neighbour   # noqa: E402
from market_maker.utils.errors import ConnectionLost   # noqa: E402

QUICK = {'ORDER_PAIRS': 2, 'LOOP_INTERVAL': 0.2, 'API_KEY': KEY, 'API_SECRET': SECRET, 'DEADMAN_TIMEOUT': 2,
         'WATCHED_FILES': [], 'AUDIT_INTERVAL': 1, 'ECHO_TIMEOUT': 3}


@pytest.fixture
def testnet():
    with running(bid=60000, ask=60000.5) as exchange:
        yield exchange


@pytest.fixture
def launch(testnet, tmp_path):
    """Start bots in processes of their own; whatever is left of them ends with the test."""
    bots = []

    def launch(name='bot', **names):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        bot = Bot(folder, testnet.url, dict(QUICK, **names))
        bots.append(bot)
        bot.start('XBTUSD')
        return bot
    yield launch
    for bot in bots:
        bot.kill()


def open_orders(testnet):
    """(clOrdID, price in ticks) of each open order of the account, as the exchange has them."""
    account = testnet.exchange.account_of(KEY)
    if account is None:
        return []
    return testnet.call(lambda: [(order.client_id, order.price_ticks) for order in account.orders.values()])


def armed(testnet):
    account = testnet.exchange.account_of(KEY)
    return account is not None and account.cancel_at is not None


def place(testnet, **fields):
    return testnet.call(lambda: testnet.exchange.place(testnet.exchange.account_of(KEY), dict(
        {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 50000}, **fields)))


# In the small


class Wire(object):
    """A connector that notes what the switch sends."""

    def __init__(self, ledger=None):
        self.sent, self.orders, self.ledger, self.fails = [], [], ledger, False

    def cancel_all_after(self, seconds):
        if self.fails:
            raise ConnectionLost('out of reach')
        self.sent.append(seconds)

    def account_orders(self):
        return self.orders


class Lock(object):
    """The lock of a bot with such neighbours."""

    def __init__(self, *neighbours):
        self.others, self.facts = list(neighbours), {}

    def note(self, **facts):
        self.facts.update(facts)

    def neighbours(self):
        return self.others

    def bury(self):
        self.others = [other for other in self.others if other.alive]


def a_switch(wire, lock=None, seconds=60, despite_foreign=False, said=None):
    def report(level, text, *args):
        if said is not None:
            said.append(text % args)
    return DeadMansSwitch(seconds, wire, lock or Lock(), lambda row: row['clOrdID'] == 'mine', despite_foreign, report)


def an_order(name):
    return {'symbol': 'XBTUSD', 'clOrdID': name, 'side': 'Buy', 'price': 1, 'leavesQty': 1}


def test_it_is_refreshed_four_times_in_its_span_and_disarmed_at_the_end():
    wire = Wire()
    switch = a_switch(wire)
    for now in range(0, 61):
        switch.tend(float(now))
    assert wire.sent == [60] * 5

    switch.stand_down(True)
    switch.stand_down(True)
    assert wire.sent[5:] == [0]


def test_without_seconds_there_is_none():
    wire = Wire()
    switch = a_switch(wire, seconds=0)
    switch.rely()
    switch.tend(0.0)
    switch.stand_down(True)
    assert wire.sent == []


def test_foreign_orders_keep_it_off_and_turn_it_off_which_is_said_once():
    wire, said = Wire(), []
    switch = a_switch(wire, said=said)
    wire.orders = [an_order('mine'), an_order('yours')]
    for now in (0.0, 20.0):
        switch.tend(now)
    assert wire.sent == [] and len(said) == 1 and 'yours' in said[0]

    wire.orders.pop()
    switch.tend(40.0)
    assert wire.sent == [60]

    assert not switch.see([an_order('mine'), an_order('')])
    assert wire.sent == [60, 0] and len([line for line in said if 'is off' in line]) == 2
    switch.see([an_order('mine')])
    switch.tend(41.0)
    assert wire.sent == [60, 0, 60]


def test_whoever_accepts_the_risk_keeps_it_on():
    wire = Wire()
    switch = a_switch(wire, despite_foreign=True)
    wire.orders = [an_order('yours')]
    switch.tend(0.0)
    assert switch.see(wire.orders) and wire.sent == [60]


def test_orders_of_bots_that_rely_on_it_too_are_not_foreign(tmp_path):
    """Those of a bot that does not, or that has ended and left orders behind, are."""
    path = str(tmp_path / 'ledger.db')
    ally = Ledger(path, 'ETHUSD mm_')
    ally.begin('create', [Order('ally-1', '', 'ETHUSD', {})], 0.0)
    loner = Ledger(path, 'ETHUSD alone_')
    loner.begin('create', [Order('loner-1', '', 'ETHUSD', {})], 0.0)
    wire = Wire(Ledger(path, 'XBTUSD mm_'))
    switch = a_switch(wire, Lock(Neighbour('ETHUSD mm_', 1, True, True), Neighbour('ETHUSD alone_', 2, True, False)))

    assert switch.see([an_order('mine'), an_order('ally-1')])
    assert not switch.see([an_order('mine'), an_order('ally-1'), an_order('loner-1')])


def test_the_last_bot_disarms_it():
    wire = Wire()
    lock = Lock(Neighbour('ETHUSD mm_', 1, True, True))
    first, last = a_switch(wire, lock), a_switch(wire)
    first.tend(0.0)
    last.tend(0.0)

    first.stand_down(True)
    assert wire.sent == [60, 60] and lock.facts == {'switch': False}
    last.stand_down(True)
    assert wire.sent == [60, 60, 0]


def test_the_last_bot_disarms_what_another_has_armed():
    """It may just have been kept from arming it itself."""
    wire = Wire()
    lock = Lock(Neighbour('ETHUSD mm_', 1, True, True))
    last = a_switch(wire, lock)
    wire.orders = [an_order('yours')]
    last.tend(0.0)
    lock.others = []

    last.stand_down(True)
    assert wire.sent == [0]


def test_it_stays_armed_when_orders_may_be_left():
    wire, said = Wire(), []
    switch = a_switch(wire, said=said)
    switch.tend(0.0)
    switch.stand_down(False)
    assert wire.sent == [60] and 'stays armed' in said[-1]


def test_a_killed_bot_makes_the_others_let_it_fire():
    wire = Wire()
    lock = Lock(Neighbour('ETHUSD mm_', 1, False, True))
    switch = a_switch(wire, lock)
    switch.tend(0.0)
    for now in range(15, 90):
        switch.tend(float(now))
    assert wire.sent == [60]      # nobody refreshes it for its whole span
    switch.tend(91.0)
    assert wire.sent == [60, 60] and lock.others == []


def test_a_refresh_that_fails_is_repeated_soon_and_told_of_once():
    wire, said = Wire(), []
    switch = a_switch(wire, said=said)
    switch.tend(0.0)
    wire.fails = True
    for now in (15.0, 15.5, 16.0, 17.0):
        with contextlib.suppress(ConnectionLost):
            switch.tend(now)
    wire.fails = False
    switch.tend(18.0)
    assert wire.sent == [60, 60] and len(said) == 2   # armed; could not be refreshed


# On an exchange


@pytest.mark.slow
def test_it_guards_the_orders_of_a_killed_bot(testnet, launch):
    """Nothing is left DEADMAN_TIMEOUT after SIGKILL; the next start takes over the lock and quotes."""
    bot = launch()
    until(lambda: len(open_orders(testnet)) == 4 and armed(testnet), 20, bot.text)

    bot.process.send_signal(signal.SIGKILL)
    bot.process.wait(10)
    killed = time.monotonic()
    until(lambda: not open_orders(testnet), 15, 'the orders of the dead stay')
    assert time.monotonic() - killed < 2 * QUICK['DEADMAN_TIMEOUT'] + 1

    again = launch()
    until(lambda: len(open_orders(testnet)) == 4, 20, again.text)
    assert again.stop() == 0
    assert open_orders(testnet) == [] and not armed(testnet)


def test_a_manual_order_disarms_it_and_is_never_touched(monkeypatch, caplog):
    with live(monkeypatch, DEADMAN_TIMEOUT=2, AUDIT_INTERVAL=0.3) as one:
        one.loop()
        soon(lambda: one.ladder_is_there() and one.switch())

        manual = one.place(clOrdID='by hand')['orderID']
        soon(lambda: one.switch() is None, what=lambda: caplog.text)
        words = "The dead man's switch is off: it would cancel 1 orders of this account that are not this bot's"
        soon(lambda: words in caplog.text, what=lambda: caplog.text)
        soon(lambda: len(one.own()) == 4)

        one.testnet.call(lambda: one.testnet.exchange.cancel(one.account(), {'orderID': manual}))
        soon(one.switch, what=lambda: caplog.text)
        one.place(clOrdID='another')
        one.stop()
        assert [name for name, _, _, _ in one.resting()] == ['another']


@pytest.mark.slow
def test_it_is_armed_before_the_first_order(monkeypatch):
    """Who is killed right after his first order leaves none."""
    asked = []
    send = Client._send

    def note(self, verb, path, route, *more):
        asked.append((verb, route))
        return send(self, verb, path, route, *more)
    monkeypatch.setattr(Client, '_send', note)
    with live(monkeypatch, DEADMAN_TIMEOUT=30) as one:
        one.loop()
        soon(one.ladder_is_there)
        assert one.switch()

    assert asked.index(('POST', '/order/cancelAllAfter')) < asked.index(('POST', '/order'))


@pytest.mark.parametrize('fault', ['lost-reply', 'lost-request'])
def test_a_cancel_without_an_answer_at_the_end_leaves_nothing_in_doubt(monkeypatch, caplog, fault):
    """What became of it shows: nothing rests, nothing stays unknown, and the switch is disarmed."""
    with live(monkeypatch, DEADMAN_TIMEOUT=30) as one:
        one.loop()
        soon(one.ladder_is_there)
        soon(one.switch)
        monkeypatch.setattr(one.exchange, 'resolve', lambda: None)   # the guard's next look comes too late
        with one.testnet.faults(fault, verbs='DELETE', count=1) as struck:
            one.stop()

        assert struck.hits == 1 and one.resting() == []
        assert one.switch() is None, caplog.text
        states = {record.state for record in Ledger(one.bitmex.ledger.path, one.bitmex.ledger.bot).commands()}
    assert 'stays armed' not in caplog.text and states == {'done'}


def test_two_bots_share_it_and_their_prefixes_keep_them_apart(testnet, launch):
    """`mm_` and `mm_2_`: each cancels its own only, and the last to end disarms the switch."""
    first = launch('first', ORDERID_PREFIX='mm_')
    until(lambda: len(open_orders(testnet)) == 4, 20, first.text)
    second = launch('second', ORDERID_PREFIX='mm_2_', INTERVAL=0.02)
    until(lambda: len(open_orders(testnet)) == 8 and armed(testnet), 20, second.text)
    manual = place(testnet, clOrdID='mm_by hand')['orderID']
    until(lambda: 'switch is off' in first.text() or 'switch is off' in second.text(), 20, second.text)
    testnet.call(lambda: testnet.exchange.cancel(testnet.exchange.account_of(KEY), {'orderID': manual}))
    until(lambda: armed(testnet), 30, second.text)

    assert first.stop() == 0
    names = [name for name, _ in open_orders(testnet)]
    assert len(names) == 4 and all(name.startswith('mm_2_') for name in names)
    assert armed(testnet)
    assert second.stop() == 0
    assert open_orders(testnet) == [] and not armed(testnet)


def test_a_second_bot_of_the_kind_is_refused_and_touches_nothing(testnet, launch):
    first = launch('first')
    until(lambda: len(open_orders(testnet)) == 4, 20, first.text)
    before = sorted(open_orders(testnet))

    second = launch('second')

    assert second.process.wait(20) == 2
    assert 'another bot (process {}'.format(first.process.pid) in second.text()
    assert 'Traceback' not in second.text()
    assert sorted(open_orders(testnet)) == before


def test_orders_that_are_kept_are_taken_over_by_the_next_start(testnet, launch):
    """The same orders, untouched; the switch is off meanwhile, for it would take them."""
    bot = launch(KEEP_ORDERS_ON_EXIT=True)
    until(lambda: len(open_orders(testnet)) == 4 and armed(testnet), 20, bot.text)
    before = sorted(open_orders(testnet))

    assert bot.stop(signal.SIGTERM) == 0
    assert not armed(testnet) and sorted(open_orders(testnet)) == before

    again = launch(KEEP_ORDERS_ON_EXIT=True)
    until(lambda: 'Taking over 4 orders' in again.text() and '-----' in again.text(), 20, again.text)
    until(lambda: armed(testnet), 20, again.text)
    assert sorted(open_orders(testnet)) == before
    assert again.stop() == 0


def test_what_is_local_has_one_and_what_is_not_has_none(monkeypatch):
    with live(monkeypatch, DEADMAN_TIMEOUT=None) as one:
        assert one.guard._new_switch().seconds == 60
        with settings.override(BASE_URL='https://example.org/api/v1/'):
            assert one.guard._new_switch().seconds == 0


