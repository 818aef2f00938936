"""The life of a run: its loop, its troubles, its end."""
import logging
import signal
import threading

import pytest

from fake_exchange import FakeBitMEX, make
from market_maker import exchange_interface, market_maker
from market_maker.market_maker import OrderManager, settings
from market_maker.utils import errors


class Told(OrderManager):
    """Writes down which of its methods the loop calls, and ends after some passes."""

    passes = 3

    def __init__(self):
        self.calls = []
        super(Told, self).__init__()

    def check_file_change(self):
        self.calls.append('check_file_change')

    def check_connection(self):
        self.calls.append('check_connection')
        return True

    def sanity_check(self):
        self.calls.append('sanity_check')

    def print_status(self):
        self.calls.append('print_status')

    def place_orders(self):
        self.calls.append('place_orders')
        if self.calls.count('place_orders') > self.passes:
            raise SystemExit('enough')


def run_loop(manager):
    with pytest.raises(SystemExit) as end:
        manager.run_loop()
    return end.value


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_the_loop_takes_its_steps_in_order(monkeypatch, capsys):
    manager, _ = make(monkeypatch, Told, LOOP_INTERVAL=0)
    assert manager.calls == ['sanity_check', 'print_status', 'place_orders']
    del manager.calls[:]
    manager.passes = 1

    run_loop(manager)

    steps = ['check_file_change', 'check_connection', 'sanity_check', 'print_status', 'place_orders']
    assert manager.calls == steps * 2
    assert capsys.readouterr().out.count('-----\n') == 2


def test_the_end_that_a_strategy_asks_for_is_kept_after_cleaning_up(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    strategy = type('S', (OrderManager,), {'check_file_change': lambda self: raise_(SystemExit(7))})
    manager, bitmex = make(monkeypatch, strategy)

    assert run_loop(manager).code == 7

    assert bitmex.resting() == [] and bitmex.exits == 1
    assert 'Shutting down. All open orders will be cancelled.' in lines(caplog)


def raise_(error):
    raise error


def test_the_closing_summary_tells_what_the_run_did(monkeypatch, caplog):
    manager, bitmex = make(monkeypatch)
    inner = max((row for row in bitmex.rows.values() if row['side'] == 'Buy'), key=lambda row: row['price'])
    bitmex.fill(inner, 40)
    bitmex.margin['walletBalance'] += 25
    bitmex.position_row['unrealisedPnl'] = -3
    caplog.set_level(logging.INFO)

    with pytest.raises(SystemExit) as end:
        manager.exit()

    told = lines(caplog)
    told = told[told.index('Shutting down. All open orders will be cancelled.'):]
    assert end.value.code == errors.EXIT_OK
    assert told[1].startswith('Run time: 0:00:0')
    assert told[2:] == [
        'Orders: 12 created, 0 amended, 12 cancelled',
        'Fills: 1, volume 40 contracts (40 bought, 0 sold)',
        'Fees paid: 0.00000005 XBT, funding paid: 0.00000000 XBT',
        'Position: 40 contracts at 49750.0',
        'Result: realised +0.00000025 XBT (after fees and funding), unrealised -0.00000003 XBT',
    ]


def test_exit_may_be_called_twice(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    manager, bitmex = make(monkeypatch)

    for _ in range(2):
        with pytest.raises(SystemExit):
            manager.exit()

    assert lines(caplog).count('Shutting down. All open orders will be cancelled.') == 1
    assert bitmex.exits == 1


def test_nothing_is_placed_after_the_end_has_begun(monkeypatch):
    """Another thread of the strategy's may still be converging when the orders are cancelled."""
    manager, bitmex = make(monkeypatch)
    with pytest.raises(SystemExit):
        manager.exit()

    manager.place_orders()
    assert manager.exchange.create_bulk_orders([{'side': 'Buy', 'price': 49000.0, 'orderQty': 100}]) == []
    assert bitmex.resting() == []


def test_orders_that_cannot_be_cancelled_are_reported_loudly(monkeypatch, caplog):
    manager, bitmex = make(monkeypatch)
    manager.exchange.cancel_everything = lambda: (12, 'no answer')

    with pytest.raises(SystemExit) as end:
        manager.exit()

    assert end.value.code == errors.EXIT_FAILURE
    assert '12 of our orders may still rest at the exchange (no answer).' in caplog.text


def test_an_order_whose_create_was_cut_off_is_found_and_cancelled(monkeypatch):
    """A stop may come between a create and its answer: the exchange is asked for the order by its name."""
    manager, bitmex = make(monkeypatch, type('S', (OrderManager,), {'place_orders': lambda self: None}))

    def cut_off(verb, order):
        if verb == 'POST':
            bitmex.place(order['clOrdID'], order['side'], order['price'], order['orderQty'])
            raise SystemExit(0)

    bitmex.refuse = cut_off
    with pytest.raises(SystemExit):
        manager.converge_orders([{'side': 'Buy', 'price': 49000.0, 'orderQty': 100}], [])

    assert manager.exchange.cancel_everything() == (0, '')
    assert bitmex.resting() == []


def test_a_create_that_arrives_late_is_waited_for(monkeypatch):
    """The request was on its way when the stop came; the order shows up while the exchange is already being asked."""
    manager, bitmex = make(monkeypatch, type('S', (OrderManager,), {'place_orders': lambda self: None}))
    late = []
    bitmex.refuse = lambda verb, order: late.append(dict(order)) or raise_(SystemExit(0))
    with pytest.raises(SystemExit):
        manager.converge_orders([{'side': 'Buy', 'price': 49000.0, 'orderQty': 100}], [])
    timer = threading.Timer(0.4, lambda: bitmex.place(late[0]['clOrdID'], 'Buy', 49000.0, 100))
    timer.start()

    assert manager.exchange.cancel_everything() == (0, '')
    timer.join()
    assert bitmex.resting() == [] and bitmex.rows


def test_a_create_that_certainly_was_not_sent_is_not_waited_for(monkeypatch):
    """A stop that comes while an order waits for its turn costs no second at the end."""
    manager, bitmex = make(monkeypatch, type('S', (OrderManager,), {'place_orders': lambda self: None}))
    bitmex.refuse = lambda verb, order: raise_(SystemExit(0))
    with pytest.raises(SystemExit):
        manager.converge_orders([{'side': 'Buy', 'price': 49000.0, 'orderQty': 100}], [])
    bitmex.in_doubt = []
    monkeypatch.setattr(exchange_interface, 'PAUSE', 60.0)

    assert manager.exchange.cancel_everything(seconds=120.0) == (0, '')


def test_a_create_that_never_reached_the_exchange_does_not_hold_up_the_end(monkeypatch):
    manager, bitmex = make(monkeypatch, type('S', (OrderManager,), {'place_orders': lambda self: None}))
    bitmex.refuse = lambda verb, order: raise_(SystemExit(0))
    with pytest.raises(SystemExit):
        manager.converge_orders([{'side': 'Buy', 'price': 49000.0, 'orderQty': 100}], [])

    assert manager.exchange.cancel_everything(seconds=5.0) == (0, '')


# Signals


@pytest.fixture
def signals():
    """The handlers of before, put back afterwards."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before):
        signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_strategys_own_sleep_and_cleans_up(monkeypatch, signals, number):
    class Sleeper(OrderManager):
        sleeps = False

        def place_orders(self):
            OrderManager.place_orders(self)
            if self.sleeps:
                threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, number]).start()
                threading.Event().wait(60)

    if not hasattr(signal, 'pthread_kill'):
        pytest.skip('no signals to send here')
    manager, bitmex = make(monkeypatch, Sleeper, LOOP_INTERVAL=0)
    manager.sleeps = True
    signal.signal(number, manager._mm_on_signal)

    end = run_loop(manager)

    assert end.code == errors.EXIT_OK
    assert bitmex.resting() == [] and bitmex.exits == 1


def test_ctrl_c_is_what_handlers_of_it_catch_and_ends_without_a_traceback():
    stop = market_maker.Stopped()

    assert isinstance(stop, KeyboardInterrupt) and isinstance(stop, SystemExit)
    assert stop.code == 0


def test_a_swallowed_signal_is_obeyed_at_the_next_turn_of_the_loop(monkeypatch):
    class Swallower(OrderManager):
        def place_orders(self):
            OrderManager.place_orders(self)
            try:
                self._mm_signals or self._mm_on_signal(signal.SIGINT, None)
            except BaseException:
                self.swallowed = True

    manager, bitmex = make(monkeypatch, Swallower, LOOP_INTERVAL=0)

    assert run_loop(manager).code == 0
    assert manager.swallowed and bitmex.resting() == []


def test_told_again_while_cleaning_up_it_makes_one_attempt_and_leaves(monkeypatch, caplog):
    manager, bitmex = make(monkeypatch)
    attempts = []

    def slow():
        raise market_maker.Stopped()

    manager.exchange.cancel_everything = slow
    cancel_once = manager.exchange.cancel_once
    manager.exchange.cancel_once = lambda: attempts.append(1) or cancel_once()

    with pytest.raises(SystemExit):
        manager.exit()

    assert attempts == [1] and bitmex.resting() == []


# Trouble


def test_an_exception_in_the_strategy_pulls_the_quotes_and_the_loop_goes_on(monkeypatch, caplog):
    """It is logged once, with file and line; when it stops failing the quotes come back."""
    class Clumsy(OrderManager):
        fails = False
        passes = 0

        def place_orders(self):
            self.passes += 1
            if self.passes > 6:
                raise SystemExit(0)
            if 2 <= self.passes <= 4:
                {}['missing']
            self.resting_before = OrderManager.place_orders(self)

    manager, bitmex = make(monkeypatch, Clumsy, LOOP_INTERVAL=0)
    caplog.set_level(logging.INFO)
    seen = []
    check = manager.check_connection
    manager.check_connection = lambda: seen.append(len(bitmex.resting())) or check()

    run_loop(manager)

    assert seen == [12, 0, 0, 0, 12, 12]
    failures = [line for line in lines(caplog) if line.startswith('The strategy failed at ')]
    assert len(failures) == 1 and 'test_manager_run.py:' in failures[0] and "KeyError: 'missing'" in failures[0]
    assert lines(caplog).count('Quoting again.') == 1


@pytest.mark.parametrize('trouble, words', [
    (lambda row: row.update(state='Closed'), 'XBTUSD does not trade now: its state is Closed'),
    (lambda row: row.update(midPrice=None), 'the order book of XBTUSD has no price to quote around'),
    (lambda row: row.update(bidPrice=50002.0), 'the best bid 50002.0 is not below the best ask 50001.0')])
def test_a_market_that_cannot_be_quoted_is_waited_for(monkeypatch, caplog, trouble, words):
    manager, bitmex = make(monkeypatch)
    before = dict(bitmex.row)
    trouble(bitmex.row)

    manager._mm_guarded(manager._mm_pass)
    manager._mm_guarded(manager._mm_pass)
    assert bitmex.resting() == []
    assert caplog.text.count(words) == 1

    bitmex.row.update(before)
    manager._mm_guarded(manager._mm_pass)
    assert len(bitmex.resting()) == 12


def test_a_market_that_is_closed_at_the_start_is_waited_for(monkeypatch):
    bitmex = FakeBitMEX()
    bitmex.row['state'] = 'Closed'

    manager, _ = make(monkeypatch, connector=bitmex)
    assert bitmex.resting() == []

    bitmex.row['state'] = 'Open'
    manager._mm_guarded(manager._mm_pass)
    assert len(bitmex.resting()) == 12


@pytest.mark.parametrize('error', [errors.ConnectionLost('gone'), errors.Overloaded('busy', status=503),
                                   errors.RateLimited('slow down', 5.0), errors.OutcomeUnknown('who knows')])
def test_trouble_that_passes_leaves_the_loop_running(monkeypatch, error):
    manager, bitmex = make(monkeypatch)
    monkeypatch.setattr(bitmex, 'amend_orders', lambda orders: raise_(error))
    bitmex.quote(60000.0, 60001.0)

    manager._mm_guarded(manager._mm_pass)

    assert len(bitmex.resting()) == 12


def test_a_refused_key_ends_the_run(monkeypatch):
    manager, bitmex = make(monkeypatch, LOOP_INTERVAL=0)
    bitmex.quote(60000.0, 60001.0)
    monkeypatch.setattr(bitmex, 'amend_orders', lambda orders: raise_(market_maker.bitmex.KeyRefused('no such key')))

    with pytest.raises(errors.AuthenticationError):
        manager.run_loop()


def test_a_lost_connection_pulls_the_quotes_waits_and_goes_on(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    manager, bitmex = make(monkeypatch)
    waits = []

    def wait(seconds):
        waits.append(len(bitmex.resting()))
        bitmex.ws.connected = len(waits) > 2
        return bitmex.ws.connected

    bitmex.ws.connected = False
    bitmex.ws.wait_until_ready = wait

    assert manager.check_connection() is True
    assert waits == [0, 0, 0]
    assert 'The live data is back.' in lines(caplog)


def test_a_connection_that_is_given_up_restarts_the_program(monkeypatch):
    manager, bitmex = make(monkeypatch, LOOP_INTERVAL=0)
    monkeypatch.setattr(market_maker, 'RECONNECT_TIMEOUT', 0.0)
    calls = []
    monkeypatch.setattr(market_maker.os, 'execv', lambda *arguments: calls.append(arguments) or raise_(SystemExit(0)))
    bitmex.ws.connected = False

    run_loop(manager)

    assert calls[0][1][0] == market_maker.sys.executable
    assert bitmex.resting() == []


def test_a_changed_file_restarts_the_program(monkeypatch, tmp_path):
    watched = tmp_path / 'settings.py'
    watched.write_text('')
    manager, bitmex = make(monkeypatch, WATCHED_FILES=[str(watched), str(tmp_path / 'missing.py')])
    calls = []
    manager.restart = lambda: calls.append(1)

    manager.check_file_change()
    assert calls == []
    market_maker.os.utime(str(watched), (2 ** 32, 2 ** 32))
    manager.check_file_change()
    assert calls == [1]


def test_quotes_follow_a_change_at_once_when_asked_to(monkeypatch, caplog):
    """Between two status lines nothing is logged but what is done."""
    manager, bitmex = make(monkeypatch, QUOTE_ON_CHANGE=True, MIN_LOOP_INTERVAL=0.0, LOOP_INTERVAL=0.5)
    caplog.set_level(logging.INFO)
    caplog.clear()
    bitmex.quote(60000.0, 60001.0)
    bitmex.ws.changed.set()

    manager._mm_wait()

    assert min(price for price, side, _ in bitmex.resting() if side == 'Sell') > 60000
    assert {line.split()[0] for line in lines(caplog)} == {'Amending'}


def test_shadowed_methods_are_left_alone(monkeypatch):
    """Strategies keep values under the names of methods that the running loop must not need."""
    manager, bitmex = make(monkeypatch, Told, LOOP_INTERVAL=0)
    manager.reset, manager.restart = True, False

    run_loop(manager)


def test_version_line_comes_first(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    connector = FakeBitMEX()
    make(monkeypatch, connector=connector)
    caplog.clear()
    settings.LOOP_INTERVAL = 0

    with pytest.raises(SystemExit):
        market_maker.run(Told)

    assert lines(caplog)[0] == 'BitMEX Market Maker Version: {}'.format(market_maker.constants.VERSION)
