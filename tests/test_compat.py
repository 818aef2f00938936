"""What users' strategies of ten years rely on: names, shapes, arguments, and whole scripts written the old way.

Here they run on a connector without sockets, on every Python; ``test_compat_live.py`` runs the scripts against the
local exchange.
"""
import importlib
import inspect
import logging
import threading

import pytest

from fake_exchange import FakeBitMEX, make
from market_maker import exchange_interface, market_maker
from market_maker.market_maker import OrderManager, settings
from market_maker.utils import errors
from old_strategies import SCRIPTS

NAMES = {
    'market_maker.market_maker': 'OrderManager ExchangeInterface logger XBt_to_XBT watched_files_mtimes run settings',
    'market_maker.bitmex': 'BitMEX',
    'market_maker.settings': 'settings import_path',
    'market_maker._settings_base': 'ORDER_PAIRS API_KEY BASE_URL LOG_LEVEL WATCHED_FILES',
    'market_maker.custom_strategy': 'CustomOrderManager run',
    'market_maker.utils': 'log constants errors math',
    'market_maker.utils.log': 'setup_custom_logger',
    'market_maker.utils.math': 'toNearest',
    'market_maker.utils.dotdict': 'dotdict',
    'market_maker.utils.constants': 'VERSION XBt_TO_XBT',
    'market_maker.utils.errors': 'AuthenticationError MarketClosedError MarketEmptyError',
    'market_maker.auth': 'APIKeyAuthWithExpires APIKeyAuth AccessTokenAuth',
    'market_maker.auth.APIKeyAuth': 'generate_signature generate_expires',
    'market_maker.ws.ws_thread': 'BitMEXWebsocket',
}
STAR = ('OrderManager ExchangeInterface settings logger log constants errors math bitmex XBt_to_XBT cost margin run '
        'watched_files_mtimes sys os sleep datetime getmtime random requests atexit signal')


@pytest.mark.parametrize('module', sorted(NAMES))
def test_names_that_are_imported(module):
    for name in NAMES[module].split():
        if module == 'market_maker.utils':
            importlib.import_module(module + '.' + name)
        assert hasattr(importlib.import_module(module), name), name


def test_a_star_import_brings_what_it_always_brought():
    names = {}
    exec('from market_maker.market_maker import *', names)

    assert set(STAR.split()) <= set(names)
    assert names['datetime'].now() and names['sleep'](0) is None and names['getmtime'](__file__)
    assert names['math'].toNearest(1.26, 0.5) == 1.5


def test_the_three_kinds_of_authentication_are_classes():
    from market_maker.auth import AccessTokenAuth, APIKeyAuth, APIKeyAuthWithExpires

    assert all(inspect.isclass(each) for each in (APIKeyAuthWithExpires, APIKeyAuth, AccessTokenAuth))


def test_settings_in_the_package_is_the_module():
    import market_maker.settings

    assert inspect.ismodule(market_maker.settings)


def test_satoshi_become_xbt():
    assert market_maker.XBt_to_XBT(150000000) == 1.5


ARGUMENTS = {
    OrderManager: {'reset': '', 'print_status': '', 'get_ticker': '', 'get_price_offset': 'index', 'place_orders': '',
                   'prepare_order': 'index', 'converge_orders': 'buy_orders sell_orders', 'sanity_check': '',
                   'short_position_limit_exceeded': '', 'long_position_limit_exceeded': '', 'check_file_change': '',
                   'check_connection': '', 'exit': '', 'run_loop': '', 'restart': '', 'init': ''},
    market_maker.ExchangeInterface: {
        'cancel_order': 'order', 'cancel_all_orders': '', 'get_portfolio': '', 'calc_delta': '', 'get_delta': 'symbol',
        'get_instrument': 'symbol', 'get_margin': '', 'get_orders': '', 'get_highest_buy': '', 'get_lowest_sell': '',
        'get_position': 'symbol', 'get_ticker': 'symbol', 'is_open': '', 'check_market_open': '',
        'check_if_orderbook_empty': '', 'amend_orders': 'orders', 'create_orders': 'orders', 'cancel_orders': 'orders',
        'amend_bulk_orders': 'orders', 'create_bulk_orders': 'orders', 'cancel_bulk_orders': 'orders'},
    market_maker.bitmex.BitMEX: {
        'ticker_data': 'symbol', 'instrument': 'symbol', 'instruments': 'filter', 'market_depth': 'symbol', 'delta': '',
        'recent_trades': '', 'funds': '', 'position': 'symbol', 'isolate_margin': 'symbol leverage', 'open_orders': '',
        'buy': 'quantity price', 'sell': 'quantity price', 'place_order': 'quantity price', 'cancel': 'orderID',
        'create_orders': 'orders', 'amend_orders': 'orders', 'create_bulk_orders': 'orders', 'exit': '',
        'amend_bulk_orders': 'orders', 'http_open_orders': '', 'withdraw': 'amount fee address',
        '_curl_bitmex': 'path query postdict timeout verb rethrow_errors max_retries'},
}


@pytest.mark.parametrize('cls', sorted(ARGUMENTS, key=lambda cls: cls.__name__))
def test_methods_take_the_arguments_they_always_took(cls):
    for name, arguments in ARGUMENTS[cls].items():
        parameters = list(inspect.signature(getattr(cls, name)).parameters)[1:]
        assert parameters[:len(arguments.split())] == arguments.split(), name


def test_public_names_of_the_manager_leave_room_for_those_of_strategies():
    taken = {name for name in vars(OrderManager) if not name.startswith('_')}

    assert taken == set(ARGUMENTS[OrderManager]) | {'create_exchange'}


def test_attributes_of_the_manager_leave_room_for_those_of_strategies(monkeypatch):
    manager, _ = make(monkeypatch)

    public = {name for name in vars(manager) if not name.startswith('_mm_')}
    assert public == {'exchange', 'instrument', 'start_time', 'starting_qty', 'running_qty', 'start_XBt',
                      'start_position_buy', 'start_position_sell', 'start_position_mid'}


def test_everything_is_ready_when_place_orders_is_first_called(monkeypatch):
    seen = {}

    class Looker(OrderManager):
        def place_orders(self):
            seen.update(vars(self))

    make(monkeypatch, Looker)

    assert {'exchange', 'instrument', 'start_time', 'starting_qty', 'running_qty', 'start_XBt', 'start_position_buy',
            'start_position_sell', 'start_position_mid'} <= set(seen)


@pytest.mark.parametrize('name', sorted(SCRIPTS))
def test_scripts_written_the_old_way(monkeypatch, name):
    """Each script runs unchanged, what it wants comes to rest, and nothing of it is left when it has been told to
    stop."""
    source, wanted = SCRIPTS[name]
    bitmex = FakeBitMEX()
    seen = set()
    looks = []

    def ticker_data(symbol=None):
        looks.append(1)
        seen.update((side, price, size) for price, side, size in bitmex.resting())
        if len(looks) > 12 and (wanted <= seen or len(looks) > 500):
            raise SystemExit(0)
        return FakeBitMEX.ticker_data(bitmex, symbol)

    bitmex.ticker_data = ticker_data
    monkeypatch.setattr(exchange_interface.bitmex, 'BitMEX', lambda *args, **kwargs: bitmex)
    monkeypatch.setattr(OrderManager, '_mm_be_ready_to_stop', lambda self: managers.append(self))
    monkeypatch.setattr(market_maker.log, 'setup_custom_logger', lambda *args: None)
    managers = []
    settings.LOOP_INTERVAL = 0.01

    with pytest.raises(SystemExit):
        exec(compile(source, name, 'exec'), {'__name__': '__main__'})

    with pytest.raises(SystemExit):   # what atexit does where the script's own loop has left without exit()
        managers[0].exit()
    assert wanted <= seen
    assert bitmex.resting() == []


def test_overrides_may_take_more_arguments_than_the_package_gives(monkeypatch):
    class More(OrderManager):
        def prepare_order(self, index, size=100):
            return OrderManager.prepare_order(self, index)

        def converge_orders(self, buy_orders, sell_orders, careful=True):
            return OrderManager.converge_orders(self, buy_orders, sell_orders)

    _, bitmex = make(monkeypatch, More)

    assert len(bitmex.resting()) == 12


def test_a_strategy_that_needs_arguments_for_prepare_order_and_converge_orders_calls_them_itself(monkeypatch):
    """Nothing but the package's own place_orders calls either."""
    class Own(OrderManager):
        def place_orders(self):
            self.converge_orders([self.prepare_order(-1, 'x')], [self.prepare_order(1, 'x')], 'y')

        def prepare_order(self, index, tag):
            return OrderManager.prepare_order(self, index)

        def converge_orders(self, buy_orders, sell_orders, tag):
            return OrderManager.converge_orders(self, buy_orders, sell_orders)

    manager, bitmex = make(monkeypatch, Own)
    manager._mm_pass()

    assert len(bitmex.resting()) == 2


def test_overrides_call_their_parents(monkeypatch):
    class Caller(OrderManager):
        def sanity_check(self):
            super(Caller, self).sanity_check()

        def place_orders(self):
            return super(Caller, self).place_orders()

    _, bitmex = make(monkeypatch, Caller)

    assert len(bitmex.resting()) == 12


def test_place_orders_may_return_early_and_converge_more_than_once(monkeypatch):
    class Fickle(OrderManager):
        turn = 0

        def place_orders(self):
            self.turn += 1
            if self.turn == 2:
                return
            self.converge_orders([{'price': 49000, 'orderQty': 100, 'side': 'Buy'}], [])
            self.converge_orders([{'price': 48000, 'orderQty': 100, 'side': 'Buy'}], [])

    manager, bitmex = make(monkeypatch, Fickle)
    manager._mm_pass()
    assert bitmex.resting() == [(48000.0, 'Buy', 100)]
    manager._mm_pass()
    assert bitmex.resting() == [(48000.0, 'Buy', 100)]
    manager.converge_orders([], [])
    assert bitmex.resting() == []


def test_numbers_of_numpys_kind_are_taken(monkeypatch):
    class Float64(float):
        pass

    class Int64(int):
        pass

    class One(OrderManager):
        def place_orders(self):
            self.converge_orders([{'price': Float64(49000.5), 'orderQty': Int64(200), 'side': 'Buy'}],
                                 [{'price': 51000, 'orderQty': 150.0, 'side': 'Sell'}])

    manager, bitmex = make(monkeypatch, One)
    del bitmex.requests[:]
    manager._mm_pass()

    assert bitmex.requests == []
    assert bitmex.resting() == [(49000.5, 'Buy', 200), (51000, 'Sell', 150)]


def test_orders_may_be_converged_and_cancelled_from_several_threads(monkeypatch):
    """No lock is held meanwhile, nothing is doubled, and every thread comes to its end."""
    manager, bitmex = make(monkeypatch, type('S', (OrderManager,), {'place_orders': lambda self: None}))
    wanted = [{'price': 49000.0 - 100 * level, 'orderQty': 100, 'side': 'Buy'} for level in range(5)]
    failures = []

    def work():
        try:
            for _ in range(20):
                manager.converge_orders(wanted, [])
                manager.exchange.get_ticker(), manager.exchange.get_position(), manager.exchange.get_orders()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert failures == [] and not any(thread.is_alive() for thread in threads)
    assert bitmex.resting() == [(order['price'], 'Buy', 100) for order in reversed(wanted)]
    manager.exchange.cancel_all_orders()
    assert bitmex.resting() == []


def test_a_bare_except_around_converging_may_try_again_after_a_refused_key(monkeypatch):
    manager, bitmex = make(monkeypatch, type('S', (OrderManager,), {'place_orders': lambda self: None}))
    refusals = [market_maker.bitmex.KeyRefused('not this key'), None]
    create = bitmex.create_orders

    def create_orders(orders):
        error = refusals.pop(0) if refusals else None
        if error:
            raise error
        return create(orders)

    bitmex.create_orders = create_orders
    wanted = [{'price': 49000.0, 'orderQty': 100, 'side': 'Buy'}]
    try:
        manager.converge_orders(wanted, [])
        pytest.fail('the refusal was swallowed')
    except SystemExit:
        pass
    manager.exchange.resolve()
    manager.converge_orders(wanted, [])

    assert bitmex.resting() == [(49000.0, 'Buy', 100)]


def test_errors_that_strategies_catch():
    from requests.exceptions import HTTPError

    assert issubclass(errors.APIError, HTTPError)
    assert issubclass(errors.MarketClosedError, Exception) and issubclass(errors.MarketEmptyError, Exception)


def test_the_root_logger_of_the_package(monkeypatch):
    assert market_maker.logger is logging.getLogger('root')
