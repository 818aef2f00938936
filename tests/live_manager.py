"""An OrderManager in this process on a local exchange of this process, over real sockets, and hands that meddle."""
import contextlib
import functools
import logging
import threading
import time

from market_maker.market_maker import OrderManager, log
from market_maker.server.local_exchange import running
from market_maker.settings import settings

KEY, SECRET = 'guarded-key-1234567890ab', 'guarded-secret'
QUICK = {'ORDER_PAIRS': 2, 'LOOP_INTERVAL': 0.05, 'HEARTBEAT': 1.0, 'STALE_AFTER': 2.0, 'ECHO_TIMEOUT': 1.0,
         'AUDIT_INTERVAL': 0, 'DEADMAN_TIMEOUT': 0,
         'TIMEOUT': 2, 'API_REST_INTERVAL': 0.5, 'WATCHED_FILES': [], 'RELIST_INTERVAL': 0.0001,
         'API_KEY': KEY, 'API_SECRET': SECRET, 'INTERVAL': 0.001, 'MIN_SPREAD': 0.0005}


def until(is_there, seconds=20.0, what='it did not happen'):
    """Poll until something is true and return it."""
    deadline = time.monotonic() + seconds
    while True:
        value = is_there()
        if value:
            return value
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.01)


class Live(object):
    """A manager whose loop runs in a thread of its own."""

    def __init__(self, testnet, manager):
        self.testnet, self.manager = testnet, manager
        self.exchange, self.bitmex = manager.exchange, manager.exchange.bitmex
        self.guard = manager._mm_guard
        self.ended = None
        self._thread = None

    def loop(self):
        """Let the loop run."""
        self._thread = threading.Thread(target=self._run, name='the loop')
        self._thread.start()
        return self

    def _run(self):
        try:
            self.manager.run_loop()
        except BaseException as error:
            self.ended = error

    def stop(self):
        """End the loop, whatever it does, and clean up."""
        if self.manager._mm_is_leaving and self.ended is not None:
            return
        self.manager._mm_signals += 1
        if self._thread is not None:
            self._thread.join(30)
            assert not self._thread.is_alive(), 'the loop does not end'
        else:
            with contextlib.suppress(SystemExit):
                self.manager.exit()

    def resting(self):
        """The open orders of the account, anybody's, as the exchange has them: (clOrdID, side, price, leavesQty)."""
        account = self.account()
        return self.testnet.call(lambda: sorted((order.client_id, order.side, order.price_ticks, order.leaves)
                                                for order in account.orders.values()))

    def account(self):
        return self.testnet.exchange.account_of(KEY)

    def own(self):
        """Those of the open orders that bear our prefix."""
        return [order for order in self.resting() if order[0].startswith(settings.ORDERID_PREFIX)]

    def place(self, **fields):
        """Place an order on the account by somebody else's hand; return its row."""
        return self.testnet.call(lambda: self.testnet.exchange.place(
            self.account(), dict({'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 50000}, **fields)))

    def switch(self):
        """When the exchange will cancel everything of the account (its Unix time), or None."""
        return self.account().cancel_at

    def ladder_is_there(self):
        return len(self.resting()) == 2 * settings.ORDER_PAIRS

    @contextlib.contextmanager
    def answering(self, answer):
        """Let ``answer(request, send)`` stand between the bot and the exchange's REST."""
        transport = self.bitmex._transport
        send = transport.send
        transport.send = lambda request: answer(request, send)
        try:
            yield
        finally:
            transport.send = send


@contextlib.contextmanager
def beating(testnet):
    """Publish a mark every few tenths of a second: the exchange does so every five at least, too slow for a test."""
    over = threading.Event()

    def beat():
        mark = 60000.0
        while not over.wait(0.2):
            mark = 120000.5 - mark
            try:
                testnet.call(functools.partial(testnet.exchange.set_mark, 'XBTUSD', mark))
            except RuntimeError:   # the exchange has ended before the test
                return
    thread = threading.Thread(target=beat, name='marks')
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def live(monkeypatch, strategy=OrderManager, testnet=None, **names):
    """A manager of this class on a fresh still market, under quick settings; it is ended at the end of the block."""
    monkeypatch.setattr(OrderManager, '_mm_be_ready_to_stop', lambda self: None)
    monkeypatch.setattr(log, 'setup_custom_logger', lambda *args: logging.getLogger('root').setLevel(logging.INFO))
    with contextlib.ExitStack() as stack:
        if testnet is None:
            testnet = stack.enter_context(running(bid=60000, ask=60000.5))
        stack.enter_context(beating(testnet))
        with settings.override(**dict(QUICK, BASE_URL=testnet.url, **names)):
            one = Live(testnet, strategy())
            stack.callback(one.stop)
            try:
                yield one
            finally:
                stack.pop_all().close()
