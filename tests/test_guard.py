"""The guard on a real exchange: what it does about data that cannot be trusted, gaps, and orders that are not as we
believe."""
import logging
import threading

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from fake_exchange import make   # noqa: E402
from live_manager import live, until   # noqa: E402
from market_maker.guard import Guard   # noqa: E402
from market_maker.market_maker import OrderManager   # noqa: E402
from market_maker.settings import settings   # noqa: E402


class Sleeper(OrderManager):
    """Lays its ladder and then sleeps inside place_orders until it is woken.

    A running manager becomes one: ``put_to_sleep``.
    """

    def place_orders(self):
        OrderManager.place_orders(self)
        self.sleeps.set()
        self.wake.wait(60)


def put_to_sleep(manager):
    """Let a running manager sleep in its passes; return once it does."""
    manager.wake, manager.sleeps = threading.Event(), threading.Event()
    manager.__class__ = Sleeper
    assert manager.sleeps.wait(20)


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_stale_data_pull_the_quotes_although_the_strategy_sleeps_and_fresh_ones_bring_them_back(monkeypatch, caplog):
    """Why is said once, however long it lasts."""
    with live(monkeypatch) as one:
        one.loop()
        until(one.ladder_is_there)
        put_to_sleep(one.manager)

        with one.testnet.faults('silent-table', tables='instrument+quote'):
            until(lambda: not one.resting(), what=lambda: caplog.text)
            assert one.exchange.bitmex.ws.ready()
            placed = one.exchange.create_orders([{'side': 'Buy', 'price': 50000.0, 'orderQty': 100}])
            assert placed == [] and 'no row of the instrument' in str(placed.errors[0][1])
            assert sum('No quotes: no row of the instrument XBTUSD' in line for line in lines(caplog)) == 1
        one.manager.wake.set()

        until(one.ladder_is_there)
        until(lambda: 'Quoting again.' in lines(caplog))


def test_a_limit_that_bites_while_the_strategy_sleeps_takes_the_quotes_back(monkeypatch, caplog):
    """A loss needs no pass of the loop to end the quoting, and a stop that only closes a position stays."""
    with live(monkeypatch, LOSS_LIMIT=0.001) as one:
        one.loop()
        until(one.ladder_is_there)
        put_to_sleep(one.manager)   # or the pass before would take the stop for an order that nobody wants
        stop = {'side': 'Sell', 'stopPx': 100.0, 'orderQty': 100, 'ordType': 'Stop', 'execInst': 'Close,LastPrice'}
        placed = one.exchange.create_orders([stop])

        one.place(symbol='XBTUSD', side='Buy', orderQty=500000, ordType='Market')   # its fee alone is more

        until(lambda: not [order for order in one.resting() if order[2] is not None], what=lambda: caplog.text)
        if placed and 'No quotes' not in caplog.text:   # stale data, on a busy machine, take it too
            assert [order.get('stopPx') for order in one.exchange.get_orders()] == [100.0]
        assert one.exchange.create_orders([{'side': 'Buy', 'price': 40000.0, 'orderQty': 100}]).errors
        assert sum(line.startswith('Limit: ') for line in lines(caplog)) == 1, lines(caplog)
        one.manager.wake.set()


def test_an_order_table_that_shows_no_echo_is_replaced(monkeypatch, caplog):
    """Silence of `order`: what the exchange has answered does not show within ECHO_TIMEOUT, so nothing is believed."""
    with live(monkeypatch) as one:
        one.loop()
        until(one.ladder_is_there)
        with one.testnet.faults('silent-table', tables='order'):
            settings.ORDER_START_SIZE = 300
            until(lambda: 'No quotes: the live table does not show' in caplog.text)
            until(lambda: one.bitmex.ws.reconnects)
        until(lambda: sorted(leaves for _, _, _, leaves in one.own()) == [300, 300, 400, 400], what=lambda: caplog.text)
        assert one.guard.counts.gaps >= 1


def test_fills_and_cancels_of_a_gap_are_learnt_of_before_anything_is_placed(monkeypatch, caplog):
    """Everything is compared over REST first; each fill is counted once, here and in the ledger."""
    with live(monkeypatch, LOOP_INTERVAL=0.02) as one:
        one.loop()
        until(one.ladder_is_there)
        order = []
        with one.answering(lambda request, send: order.append((request.verb, request.path.partition('?')[0]))
                           or send(request)):
            with one.testnet.faults('refused-upgrade'):
                one.testnet.drop_sockets()
                until(lambda: not one.bitmex.ws.ready())
                until(lambda: not one.own(), what=lambda: caplog.text)
                del order[:]
                # By hand, for what our quotes left behind is gone: a fill of an order of ours that nobody told us of.
                name = settings.ORDERID_PREFIX + 'AAAAAAAAAAAAAAAAAAAAAA'
                one.place(clOrdID=name, price=60000.4)
                one.testnet.call(lambda: one.testnet.exchange.place(one.account(), {
                    'symbol': 'XBTUSD', 'side': 'Sell', 'orderQty': 100, 'price': 60000.4, 'clOrdID': 'by hand'}))
            until(one.ladder_is_there, what=lambda: caplog.text)
        first = [verb for verb, _ in order].index('POST')
        routes = {path for verb, path in order[:first] if verb == 'GET'}
        assert routes >= {'/order', '/position', '/execution/tradeHistory'}
        assert one.guard.counts.gaps == 1
        assert 'after a gap of' in caplog.text
        assert one.exchange.tally().fills == 1 and one.exchange.tally().bought == 100
        until(lambda: one.bitmex.ledger.totals().fills == 1)


def test_an_order_that_our_tables_do_not_show_is_found_and_dealt_with(monkeypatch, caplog):
    """A zombie: it rests under our name, and the stream has never told of it."""
    with live(monkeypatch, AUDIT_INTERVAL=0.3) as one:
        one.loop()
        until(one.ladder_is_there)
        with one.testnet.faults('silent-table', tables='order'):
            one.place(clOrdID=settings.ORDERID_PREFIX + 'AAAAAAAAAAAAAAAAAAAAAA', price=50000)
        assert len(one.own()) == 5

        until(lambda: one.guard.counts.zombies == 1, what=lambda: caplog.text)
        until(lambda: len(one.own()) == 4 and all(price != 500000 for _, _, price, _ in one.own()),
              what=lambda: caplog.text)
        assert one.guard.counts.ghosts == 0


def test_an_order_that_only_our_tables_show_is_replaced(monkeypatch, caplog):
    """A ghost: it was cancelled, and the stream has never told."""
    with live(monkeypatch, AUDIT_INTERVAL=0.3) as one:
        one.loop()
        until(one.ladder_is_there)
        with one.testnet.faults('silent-table', tables='order'):
            victim = one.exchange.get_highest_buy()['orderID']
            one.testnet.call(lambda: one.testnet.exchange.cancel(one.account(), {'orderID': victim}))
        assert len(one.own()) == 3

        until(lambda: one.guard.counts.ghosts == 1, what=lambda: caplog.text)
        until(one.ladder_is_there, what=lambda: caplog.text)


def test_a_quiet_market_is_not_stale(monkeypatch, caplog):
    """No trade, no order, no execution for longer than STALE_AFTER: the marks alone show that somebody is there."""
    with live(monkeypatch, STALE_AFTER=1.5, AUDIT_INTERVAL=0.2, RELIST_INTERVAL=0.01) as one:
        one.loop()
        until(one.ladder_is_there)
        before = one.own()
        until(lambda: one.guard.counts.audits > 12)
        assert one.own() == before
        counts = one.guard.counts
        assert (counts.ghosts, counts.zombies, counts.altered, counts.positions, counts.gaps) == (0, 0, 0, 0, 0)
        assert 'No quotes' not in caplog.text


def test_a_loop_that_is_stuck_is_told_of_and_loses_the_dead_mans_switch(monkeypatch, caplog):
    """The exchange then takes the orders that nobody looks after; when the loop is back, so are they."""
    caplog.set_level(logging.INFO)
    with live(monkeypatch, LOOP_STALL=0.5, DEADMAN_TIMEOUT=1) as one:
        one.loop()
        until(one.ladder_is_there)
        until(one.switch)
        put_to_sleep(one.manager)

        until(lambda: not one.own(), what=lambda: caplog.text)
        one.manager.wake.set()

        until(one.ladder_is_there, what=lambda: caplog.text)
        until(one.switch)
        told = [line for line in lines(caplog) if line.startswith('The loop')]
        assert told == ["The loop has been silent for 0.5 s longer than it should be: the dead man's switch is no "
                        'longer refreshed.', 'The loop is back.']
        one.stop()
        assert one.switch() is None and one.resting() == []


def test_a_step_of_the_guard_that_fails_does_not_end_the_watch(monkeypatch, caplog):
    with live(monkeypatch) as one:
        one.loop()
        until(one.ladder_is_there)
        failures = []

        def broken():
            failures.append(1)
            raise ZeroDivisionError('ours')
        monkeypatch.setattr(one.exchange, 'resolve', broken)
        until(lambda: len(failures) > 2)

        assert caplog.text.count("The guard failed in its step 'resolve'") == 1
        monkeypatch.undo()
        with one.testnet.faults('silent-table', tables='instrument+quote'):
            until(lambda: not one.resting(), what=lambda: caplog.text)


def test_no_audit_while_the_bot_closes(monkeypatch):
    """Who cleans up asks for himself, and needs what is left of the allowance."""
    manager, bitmex = make(monkeypatch, AUDIT_INTERVAL=1)
    guard = Guard(manager.exchange, lambda: 0.0)
    manager.exchange.watched_reconnects = 0
    guard._audit(0.0)
    audits, asked = guard.counts.audits, len(bitmex.requests)
    assert audits == 1 and asked

    manager.exchange.is_closing = True
    guard._audit(10.0)

    assert (guard.counts.audits, len(bitmex.requests)) == (audits, asked)


@pytest.mark.slow
def test_answers_that_do_not_come_do_not_hold_up_the_watch(monkeypatch, caplog):
    """Who asks for executions waits a moment only: stale data are seen, and the dead man's switch is refreshed."""
    with live(monkeypatch, TIMEOUT=7, AUDIT_INTERVAL=0.2, DEADMAN_TIMEOUT=6) as one:
        one.loop()
        until(one.ladder_is_there)
        until(one.switch)
        put_to_sleep(one.manager)
        with one.testnet.faults('stall', routes='/execution/tradeHistory') as fault:
            until(lambda: fault.hits > 1, what=lambda: caplog.text)
            assert one.ladder_is_there()
            with one.testnet.faults('silent-table', tables='instrument+quote'):
                until(lambda: not one.resting(), what=lambda: caplog.text)
        one.manager.wake.set()

    assert 'No quotes: no row of the instrument' in caplog.text


def test_a_fill_that_the_stream_kept_back_is_in_the_closing_summary(monkeypatch, caplog):
    """Silence of `execution` is no stale data; what was missed is asked for before the run is summed up."""
    with live(monkeypatch) as one:
        one.loop()
        until(one.ladder_is_there)
        with one.testnet.faults('silent-table', tables='execution'):
            price = max(order['price'] for order in one.exchange.get_orders() if order['side'] == 'Buy')
            ticks = int(round(price / 0.1))
            one.testnet.call(lambda: one.testnet.exchange.take('XBTUSD', 'Sell', 10000000, ticks))
            until(lambda: one.exchange.get_delta() == 100, what=lambda: caplog.text)
        assert one.bitmex.ws.executions.fills == 0
        one.stop()

    assert 'Fills: 1, volume 100 contracts (100 bought, 0 sold)' in caplog.text
    assert one.guard.counts.fills == 1


def test_an_order_whose_amend_has_vanished_is_taken_away_and_laid_anew(monkeypatch, caplog):
    """Nobody knows whether it stands at the old price or at the new one, or will: it goes, and with it the doubt."""
    with live(monkeypatch) as one:
        one.loop()
        until(one.ladder_is_there)
        before = {name for name, _, _, _ in one.own()}
        with one.testnet.faults('lost-request', verbs='PUT', count=1) as fault:
            settings.ORDER_START_SIZE = 300
            until(lambda: fault.hits)
        until(lambda: sorted(leaves for _, _, _, leaves in one.own()) == [300, 300, 400, 400], what=lambda: caplog.text)
        assert len({name for name, _, _, _ in one.own()} - before) == 1
        until(lambda: not one.bitmex.unsettled(), what=lambda: caplog.text)
