"""An example to start from: quote around the middle of the market, and lean against the position.

    python custom_strategy.py XBTUSD
    marketmaker XBTUSD --strategy custom_strategy.py

Copy this file beside your settings.py and change ``place_orders``.  It is called once a loop (every LOOP_INTERVAL
seconds) and says which orders should rest from now on; ``converge_orders`` creates, amends and cancels whatever it
takes to get there.
"""
from market_maker import market_maker
from market_maker.market_maker import OrderManager, settings
from market_maker.utils import math


class CustomOrderManager(OrderManager):
    """Three orders a side; holding contracts moves all of them towards the prices that get rid of these."""

    LEVELS = 3
    HALF_SPREAD = 0.0005       # from the middle of the market to our innermost order (fraction of the price)
    STEP = 0.0005              # from one order to the next (fraction of the price)
    FULL_POSITION = 3000       # contracts at which the quotes have moved by a whole HALF_SPREAD

    def __init__(self) -> None:
        """Prepare, then connect."""
        # The parent's constructor calls place_orders for the first time: whatever that needs comes before it.
        # A price that is off by less than RELIST_INTERVAL stays; ours are closer together than the default of 1 %.
        settings.RELIST_INTERVAL = min(settings.RELIST_INTERVAL, self.STEP / 4)
        super().__init__()

    def place_orders(self) -> None:
        """Say which orders should rest now."""
        ticker = self.exchange.get_ticker()          # last, buy, sell, mid
        position = self.exchange.get_delta()         # contracts; negative when short
        tick = self.instrument['tickSize']           # one field of the contract's row, which is always current

        # A long position quotes lower, so that our asks fill before our bids do; a short one higher.
        lean = self.HALF_SPREAD * max(-1, min(1, position / self.FULL_POSITION))
        middle = ticker['mid'] * (1 - lean)

        buy_orders, sell_orders = [], []
        for level in range(self.LEVELS):
            distance = self.HALF_SPREAD + level * self.STEP
            # Stay inside the market: a price at or beyond the other side would trade at once, and cost the taker's fee.
            bid = min(middle * (1 - distance), ticker['sell'] - tick)
            ask = max(middle * (1 + distance), ticker['buy'] + tick)
            size = settings.ORDER_START_SIZE + level * settings.ORDER_STEP_SIZE
            buy_orders.append({'price': math.floor_to(bid, tick), 'orderQty': size, 'side': 'Buy'})
            sell_orders.append({'price': math.ceil_to(ask, tick), 'orderQty': size, 'side': 'Sell'})

        self.converge_orders(buy_orders, sell_orders)


def run() -> None:
    """Quote until Ctrl-C."""
    market_maker.run(CustomOrderManager)


if __name__ == '__main__':
    run()
