"""One test for each promise that the bot has always made and that is still true, on real sockets against the local
exchange.

What time has overtaken, and by what it was replaced, stands in a table in the docs.
"""
import ast
import inspect
import logging
import os
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from market_maker import local  # noqa: E402
from market_maker.bitmex import BitMEX  # noqa: E402
from market_maker.commands.setup import scaffold  # noqa: E402
from market_maker.market_maker import OrderManager, log, settings  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402

BID, ASK = 50000.0, 50001.0


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it did not come to pass'
        time.sleep(0.01)


class World(object):
    """A local exchange, a bot on it and the tests' own hand in the market."""

    def __init__(self, testnet, monkeypatch):
        self.testnet = testnet
        self.managers, self.connectors = [], []
        settings.update(BASE_URL=testnet.url, API_KEY=testnet.key, API_SECRET=testnet.secret, LOOP_INTERVAL=0.05,
                        API_REST_INTERVAL=0.5)
        monkeypatch.setattr(OrderManager, '_mm_be_ready_to_stop', lambda manager: self.managers.append(manager))
        monkeypatch.setattr(log, 'setup_custom_logger', lambda *args: logging.getLogger('root').setLevel(logging.INFO))

    def manager(self, cls=OrderManager, **names):
        settings.update(**names)
        return cls()

    def connector(self, **more):
        connector = BitMEX(self.testnet.url, 'XBTUSD', self.testnet.key, self.testnet.secret, **more)
        self.connectors.append(connector)
        return connector

    def requests(self, connector):
        """A list that grows with every REST request of this connector: (verb, path)."""
        sent = []
        send = connector._transport.send
        connector._transport.send = lambda request: sent.append((request.verb, request.path)) or send(request)
        return sent

    def account(self):
        return self.testnet.exchange.account_of(self.testnet.key)

    def resting(self):
        """Open orders as the exchange has them: (side, price, size), sorted by price."""
        rows = self.testnet.call(lambda: [dict(row) for row in self.testnet.exchange.rows('order', self.account())])
        return sorted(((row['side'], row['price'], row['leavesQty']) for row in rows if row.get('leavesQty')),
                      key=lambda order: order[1])

    def trade(self, side, price, size):
        """Let somebody trade against the book as far as this price."""
        ticks = int(round(price / 0.1))
        return self.testnet.call(lambda: self.testnet.exchange.take('XBTUSD', side, size, ticks))

    def close(self):
        for manager in self.managers:
            with pytest.raises(SystemExit):
                manager.exit()
        for connector in self.connectors:
            connector.exit()


@pytest.fixture
def world(monkeypatch):
    with running(market='still', bid=BID, ask=ASK, symbols=('XBTUSD',), rate_limits=False) as testnet:
        world = World(testnet, monkeypatch)
        yield world
        world.close()


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


# What the package provides


def test_one_object_wraps_both_apis(world):
    """The same connector reads the live feed and sends orders over REST."""
    connector = world.connector()

    row = connector.buy(100, 49000)

    assert connector.ws.ready() and row['ordStatus'] == 'New'
    wait_until(lambda: [order['orderID'] for order in connector.open_orders()] == [row['orderID']])


def test_market_and_account_are_read_from_the_live_feed_without_a_request(world):
    connector = world.connector()
    sent = world.requests(connector)

    assert connector.ticker_data()['buy'] == BID and connector.ticker_data()['sell'] == ASK
    assert connector.instrument()['symbol'] == 'XBTUSD'
    assert connector.funds()['marginBalance'] > 0
    assert connector.position('XBTUSD')['currentQty'] == 0
    assert connector.open_orders() == [] and isinstance(connector.recent_trades(), list)

    assert sent == []


def test_orders_can_be_created_queried_and_cancelled(world):
    connector = world.connector()

    bought, sold = connector.buy(100, 49000), connector.sell(200, 51000)
    wait_until(lambda: len(connector.open_orders()) == 2)
    found = {(order['side'], order['orderQty']) for order in connector.http_open_orders()}
    assert found == {('Buy', 100), ('Sell', 200)}
    assert connector.cancel(bought['orderID'])[0]['ordStatus'] == 'Canceled'
    assert connector.cancel([sold['orderID']])[0]['ordStatus'] == 'Canceled'

    wait_until(lambda: connector.open_orders() == [])
    assert world.resting() == []


def test_a_withdrawal_is_only_requested(world):
    """It stays open until it is confirmed by other ways, and the answer says so."""
    connector = world.connector()
    before = connector.funds()['walletBalance']

    row = connector.withdraw(10000000, 10000, '3BMEXqGpG4FxBA1KWhRFufXfSTRgzfDBhJ', network='btc')

    assert (row['transactType'], row['transactStatus']) == ('Withdrawal', 'Pending')
    assert connector.funds()['walletBalance'] in (before, before - abs(row['amount']))


def test_a_lost_connection_is_reopened_and_quoting_goes_on(world):
    manager = world.manager()
    reconnects = manager.exchange.bitmex.ws.reconnects

    assert world.testnet.drop_sockets() == 1
    wait_until(lambda: not manager.exchange.is_open() or manager.exchange.bitmex.ws.reconnects > reconnects)
    assert manager.check_connection() is True
    manager._mm_guarded(manager._mm_pass)

    assert len(world.resting()) == 12


def test_an_api_key_is_all_it_takes_to_log_in_and_a_wrong_secret_is_refused(world):
    assert world.connector().funds()['currency'] == 'XBt'

    with pytest.raises(SystemExit) as refusal:
        BitMEX(world.testnet.url, 'XBTUSD', world.testnet.key, 'not-the-secret')
    assert 'password' not in inspect.signature(BitMEX).parameters
    assert world.testnet.secret not in str(refusal.value)


def test_out_of_the_box_both_sides_of_the_market_are_quoted(world):
    world.manager()

    sides = [side for side, _, _ in world.resting()]
    assert sides == ['Buy'] * 6 + ['Sell'] * 6


def test_index_data_can_be_used(world):
    manager = world.manager()
    index = manager.instrument['referenceSymbol']

    ticker = manager.exchange.get_ticker(index)

    assert ticker['last'] == ticker['buy'] == ticker['sell'] == ticker['mid'] > 0


# Getting started


def test_setup_makes_the_settings_and_a_copy_of_the_package(tmp_path):
    scaffold(str(tmp_path))

    assert (tmp_path / 'settings.py').exists() and (tmp_path / 'market_maker' / 'market_maker.py').exists()
    ast.parse((tmp_path / 'settings.py').read_text())


def test_a_dry_run_shows_cost_and_spread_and_trades_nothing(world, caplog):
    caplog.set_level(logging.INFO)

    world.manager(DRY_RUN=True)

    assert world.resting() == []
    told = '\n'.join(lines(caplog))
    assert 'Creating 12 orders:' in told and 'held as margin' in told and 'spread' in told


def test_settings_tune_the_ladder(world):
    world.manager(ORDER_PAIRS=2, ORDER_START_SIZE=300, ORDER_STEP_SIZE=200)

    assert sorted(size for _, _, size in world.resting()) == [300, 300, 500, 500]


# How it works


def test_quoting_starts_from_the_last_bid_and_ask(world, caplog):
    caplog.set_level(logging.INFO)

    world.manager(MIN_SPREAD=0.0)

    assert 'XBTUSD Ticker: Buy: 50000.0, Sell: 50001.0' in lines(caplog)
    assert 'Start Positions: Buy: 50000.1, Sell: 50000.9, Mid: 50000.5' in lines(caplog)


def test_with_maintained_spreads_it_starts_inside_the_market_and_works_outwards(world):
    world.manager(MIN_SPREAD=0.0, INTERVAL=0.001, ORDER_PAIRS=2)

    assert [price for _, price, _ in world.resting()] == [49950.1, 50000.1, 50000.9, 50050.9 + 0.1]


def test_without_maintained_spreads_the_intervals_make_the_spread(world):
    world.manager(MIN_SPREAD=0.0, INTERVAL=0.001, ORDER_PAIRS=1, MAINTAIN_SPREADS=False)

    assert [price for _, price, _ in world.resting()] == [49950.1, 50051.0]


@pytest.mark.parametrize('limit, side', [({'MAX_POSITION': 0}, 'Sell'), ({'MIN_POSITION': 0}, 'Buy')])
def test_beyond_a_position_limit_that_side_is_not_quoted(world, limit, side):
    world.manager(CHECK_POSITION_LIMITS=True, **limit)

    assert {its for its, _, _ in world.resting()} == {side}


def test_what_can_be_amended_is_amended_what_is_missing_created_and_what_is_spare_cancelled(world):
    class Steps(OrderManager):
        def place_orders(self):
            self.converge_orders([{'price': 49000, 'orderQty': 100, 'side': 'Buy'}],
                                 [{'price': 51000, 'orderQty': 100, 'side': 'Sell'},
                                  {'price': 52000, 'orderQty': 100, 'side': 'Sell'}])

    manager = world.manager(Steps)
    sent = world.requests(manager.exchange.bitmex)

    manager.converge_orders([{'price': 48000, 'orderQty': 100, 'side': 'Buy'},
                             {'price': 47000, 'orderQty': 100, 'side': 'Buy'}],
                            [{'price': 51000, 'orderQty': 100, 'side': 'Sell'}])

    assert sorted(verb for verb, _ in sent) == ['DELETE', 'POST', 'PUT']
    assert world.resting() == [('Buy', 47000.0, 100), ('Buy', 48000.0, 100), ('Sell', 51000.0, 100)]


def test_contracts_traded_ticker_and_delta_are_printed(world, caplog):
    caplog.set_level(logging.INFO)
    manager = world.manager(ORDER_PAIRS=1, INTERVAL=0.001, MIN_SPREAD=0.001)
    inner = [price for side, price, _ in world.resting() if side == 'Buy'][0]
    world.trade('Sell', inner, 10 ** 9)
    wait_until(lambda: manager.exchange.get_delta() == 100)
    caplog.clear()

    manager._mm_pass()

    told = lines(caplog)
    assert any(line.startswith('XBTUSD Ticker: Buy: ') for line in told)
    assert 'Contracts Traded This Run: 100' in told
    assert any(line.startswith('Total Contract Delta: 0.00') and line.endswith(' XBT') for line in told)


def test_executions_are_logged_as_they_come(world, caplog):
    caplog.set_level(logging.INFO)
    world.manager(ORDER_PAIRS=1, MIN_SPREAD=0.001)
    inner = [price for side, price, _ in world.resting() if side == 'Sell'][0]

    world.trade('Buy', inner, 10 ** 9)

    wait_until(lambda: 'Execution: Sell 100 Contracts of XBTUSD at {:.1f}'.format(inner) in lines(caplog))


# Own strategies


def test_a_strategy_is_a_subclass_that_overrides_place_orders(world):
    class Custom(OrderManager):
        def place_orders(self) -> None:
            buy_orders = [{'price': 998.0, 'orderQty': 100, 'side': 'Buy'},
                          {'price': 999.0, 'orderQty': 100, 'side': 'Buy'}]
            sell_orders = [{'price': 51000.0, 'orderQty': 100, 'side': 'Sell'}]
            self.converge_orders(buy_orders, sell_orders)

    world.manager(Custom)

    assert world.resting() == [('Buy', 998.0, 100), ('Buy', 999.0, 100), ('Sell', 51000.0, 100)]


def test_the_loop_runs_until_it_is_interrupted_and_takes_its_orders_along(world):
    class Interrupted(OrderManager):
        passes = 0

        def place_orders(self):
            OrderManager.place_orders(self)
            self.passes += 1
            if self.passes == 5:
                raise KeyboardInterrupt

    manager = world.manager(Interrupted)
    with pytest.raises(SystemExit):
        manager.run_loop()

    assert manager.passes == 5 and world.resting() == []


def test_there_is_an_example_strategy_that_works(world):
    from market_maker.custom_strategy import CustomOrderManager

    world.manager(CustomOrderManager)

    assert len(world.resting()) == 6


# Rate limits and compatibility


def test_a_steady_market_costs_no_requests(world):
    manager = world.manager()
    sent = world.requests(manager.exchange.bitmex)

    for _ in range(10):
        manager._mm_pass()

    assert sent == []


def test_the_local_exchange_is_what_a_new_settings_file_trades_on(tmp_path):
    scaffold(str(tmp_path))
    names = {}
    exec((tmp_path / 'settings.py').read_text(), names)

    assert local.is_local(names['BASE_URL'])


def test_the_package_needs_three_others_and_python_3_5():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, 'setup.py')) as file:
        text = file.read()

    for name in ('requests', 'websocket-client', 'future'):
        assert name in text
    assert '3.5' in text
