"""Strategies written the way users have written them for years, each a whole script; and what must come to rest when it
runs.

``SCRIPTS`` maps a name to (source, orders): the orders as (side, price, size), all of which rest at some moment of the
run.  The market is 50000 bid, 50001 asked.  They end at Ctrl-C.
"""

PLACE_ORDERS_ONLY = '''
import sys

from market_maker.market_maker import OrderManager


class CustomOrderManager(OrderManager):
    """A sample order manager for implementing your own custom strategy"""

    def place_orders(self) -> None:
        buy_orders = []
        sell_orders = []
        buy_orders.append({'price': 49000.0, 'orderQty': 100, 'side': "Buy"})
        buy_orders.append({'price': 49500.0, 'orderQty': 100, 'side': "Buy"})
        sell_orders.append({'price': 51000.0, 'orderQty': 100, 'side': "Sell"})
        sell_orders.append({'price': 51500.0, 'orderQty': 100, 'side': "Sell"})
        self.converge_orders(buy_orders, sell_orders)


def run() -> None:
    order_manager = CustomOrderManager()
    order_manager.init()
    try:
        order_manager.run_loop()
    except (KeyboardInterrupt, SystemExit):
        sys.exit()

run()
'''

PRICES_OF_ITS_OWN = '''
from market_maker.market_maker import OrderManager, settings, logger, XBt_to_XBT


class Offsets(OrderManager):
    def __init__(self, *args, **kwargs):
        self.skew = 500
        super(Offsets, self).__init__(*args, **kwargs)

    def get_ticker(self):
        ticker = super().get_ticker()
        self.start_position_buy = 49600.0
        self.start_position_sell = 50400.0
        self.start_position_mid = ticker['mid']
        logger.info('balance %s', XBt_to_XBT(self.exchange.get_margin()['walletBalance']))
        return ticker

    def get_price_offset(self, index):
        start = self.start_position_buy if index < 0 else self.start_position_sell
        return start + (index + (1 if index < 0 else -1)) * self.skew

    def prepare_order(self, index, factor=2):
        return {'price': self.get_price_offset(index), 'orderQty': settings.ORDER_START_SIZE * factor,
                'side': "Buy" if index < 0 else "Sell"}


if __name__ == '__main__':
    settings.ORDER_PAIRS = 2
    OrderManager.init
    Offsets().run_loop()
'''

LOOP_OF_ITS_OWN = '''
import sys
from time import sleep
from market_maker.market_maker import OrderManager, settings, logger, errors


class Looper(OrderManager):
    rounds = 0

    def place_orders(self):
        return self.converge_orders([{'price': 49000 - self.rounds, 'orderQty': 100.0, 'side': 'Buy'}], [])

    def exit(self):
        logger.info('my own exit')
        OrderManager.exit(self)

    def run_loop(self):
        while True:
            sys.stdout.write("-----\\n")
            sys.stdout.flush()
            self.check_file_change()
            sleep(settings.LOOP_INTERVAL)
            if not self.check_connection():
                logger.error("Realtime data connection unexpectedly closed, restarting.")
                self.restart()
            try:
                self.sanity_check()
                self.print_status()
                self.place_orders()
                self.rounds += 1000 if self.rounds < 2000 else 0
            except errors.MarketClosedError:
                logger.info('closed')


Looper().run_loop()
'''

STAR_IMPORT = '''
from market_maker.market_maker import *


class Star(OrderManager):
    def place_orders(self):
        instrument = self.exchange.get_instrument()
        price = math.toNearest(49123.456, instrument['tickSize'])
        worth = cost(instrument, 100, price), margin(instrument, 100, price)
        assert worth[0] > worth[1] > 0 and XBt_to_XBT(constants.XBt_TO_XBT) == 1
        assert isinstance(self.start_time, datetime) and watched_files_mtimes is not None
        assert log and errors and sys and os and sleep and getmtime and random and requests and atexit and signal
        assert bitmex.BitMEX and ExchangeInterface and settings.ORDER_PAIRS and run and logger
        self.converge_orders([{'price': price, 'orderQty': 100, 'side': 'Buy'}], [])


Star().run_loop()
'''

BULK_NAMES = '''
from market_maker.market_maker import OrderManager


class Bulk(OrderManager):
    placed = None

    def place_orders(self):
        if self.placed is None:
            self.placed = [{'price': 49000.0, 'orderQty': 100, 'side': 'Buy'},
                           {'price': 51000.0, 'orderQty': 100, 'side': 'Sell'},
                           {'price': 52000.0, 'orderQty': 100, 'side': 'Sell', 'execInst': 'ParticipateDoNotInitiate'}]
            rows = self.exchange.create_bulk_orders(self.placed)
            assert rows[0]['orderID'] and rows[0]['ordStatus'] == 'New'
            assert all(order['clOrdID'].startswith('mm_bitmex_') for order in self.placed)
            assert all(order['symbol'] == 'XBTUSD' for order in self.placed)
        elif len(self.exchange.get_orders()) == 3:
            by_name = {order['clOrdID']: order for order in self.exchange.get_orders()}
            mine = by_name[self.placed[0]['clOrdID']]
            self.exchange.amend_bulk_orders([{'orderID': mine['orderID'], 'orderQty': mine['orderQty'] + 100}])
            self.exchange.amend_bulk_orders([{'clOrdID': self.placed[1]['clOrdID'], 'price': 51500.0, 'side': 'Sell'}])
            self.exchange.cancel_bulk_orders([by_name[self.placed[2]['clOrdID']]])


if __name__ == '__main__':
    Bulk().run_loop()
'''

IN_A_THREAD = '''
import threading
import time
from market_maker.market_maker import OrderManager


class Threaded(OrderManager, threading.Thread):
    def __init__(self):
        threading.Thread.__init__(self)
        self.daemon = True
        self.orders = []
        self.position = 0
        self.going = True
        OrderManager.__init__(self)

    def run(self):
        while self.going:
            self.converge_orders(list(self.orders), [])
            time.sleep(0.05)

    def place_orders(self):
        self.orders = [{'price': 48000.0 + 100 * level, 'orderQty': 100, 'side': 'Buy'} for level in range(5)]


manager = Threaded()
manager.start()
try:
    manager.run_loop()
finally:
    manager.going = False
    manager.join(5)
'''

NAMES_AND_KINDS_OF_ITS_OWN = '''
import uuid
from market_maker.market_maker import OrderManager


class Own(OrderManager):
    names = ['mm_bitmex_' + str(uuid.uuid4())[:20] for _ in range(3)]

    def place_orders(self):
        buys = [{'price': 49000.0, 'orderQty': 100, 'side': 'Buy', 'clOrdID': self.names[0]},
                {'price': 49400.0, 'stopPx': 49500.0, 'orderQty': 100, 'side': 'Buy', 'ordType': 'LimitIfTouched',
                 'execInst': 'LastPrice', 'clOrdID': self.names[1]}]
        sells = [{'price': 48900.0, 'stopPx': 49000.0, 'orderQty': 100, 'side': 'Sell', 'ordType': 'StopLimit',
                  'execInst': 'LastPrice', 'clOrdID': self.names[2]}]
        self.converge_orders(buys, sells)
        known = {order['clOrdID']: order for order in self.exchange.get_orders()}
        assert set(known) == set(self.names), known
        assert known[self.names[2]]['ordType'] == 'StopLimit' and known[self.names[2]]['stopPx'] == 49000.0


if __name__ == '__main__':
    Own().run_loop()
'''

SETTINGS_AT_RUN_TIME = '''
from market_maker.market_maker import OrderManager
from market_maker.settings import settings

settings.MIN_SPREAD = 0.02
settings.ORDER_PAIRS = 1


class Setter(OrderManager):
    def reset(self):
        settings.ORDER_START_SIZE = 300
        self.exchange.cancel_all_orders()
        super().reset()

    def get_ticker(self):
        self.start_position_buy = 49000.0
        self.start_position_sell = 51000.0
        return self.exchange.get_ticker()


Setter().run_loop()
'''

SCRIPTS = {
    'place_orders only': (PLACE_ORDERS_ONLY, {('Buy', 49000.0, 100), ('Buy', 49500.0, 100), ('Sell', 51000.0, 100),
                                              ('Sell', 51500.0, 100)}),
    'prices of its own': (PRICES_OF_ITS_OWN, {('Buy', 49600.0, 200), ('Buy', 49100.0, 200), ('Sell', 50400.0, 200),
                                              ('Sell', 50900.0, 200)}),
    'loop of its own': (LOOP_OF_ITS_OWN, {('Buy', 47000.0, 100)}),
    'star import': (STAR_IMPORT, {('Buy', 49123.5, 100)}),
    'bulk names': (BULK_NAMES, {('Buy', 49000.0, 200), ('Sell', 51500.0, 100)}),
    'in a thread': (IN_A_THREAD, {('Buy', 48000.0 + 100 * level, 100) for level in range(5)}),
    'names and kinds of its own': (NAMES_AND_KINDS_OF_ITS_OWN, {('Buy', 49000.0, 100), ('Buy', 49400.0, 100),
                                                                ('Sell', 48900.0, 100)}),
    'settings at run time': (SETTINGS_AT_RUN_TIME, {('Buy', 49000.0, 300), ('Sell', 51000.0, 300)}),
}
