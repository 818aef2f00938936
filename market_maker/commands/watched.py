"""The bot as ``marketmaker chaos`` runs it: the user's settings and strategy, with a diary of what it wanted.

``python -m market_maker.commands.watched`` takes the arguments of a run.  The environment variable WATCHED holds, as
JSON, the path of the diary and what to change in the settings.  The diary gets one JSON object a line, each written
before what it tells of is done: the start of the process, the settings that count, every ladder that a strategy hands
to ``converge_orders``, and the names of the orders that come out of it and past it.
"""
from __future__ import absolute_import

import functools
import importlib
import json
import os
import runpy
import threading
import time
from typing import Any, Dict, List  # noqa: F401

VARIABLE = 'WATCHED'
TOLD = ('ORDERID_PREFIX', 'MIN_POSITION', 'MAX_POSITION', 'RELIST_INTERVAL', 'HEARTBEAT', 'STALE_AFTER', 'ECHO_TIMEOUT',
        'DEADMAN_TIMEOUT', 'LOOP_INTERVAL', 'AUDIT_INTERVAL')


class Diary(object):
    """A file of JSON lines; a line that was written survives whatever ends this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """Write one line with the moment (monotonic seconds)."""
        line = json.dumps(dict(facts, what=what, at=time.monotonic()), default=float)
        os.write(self._file, line.encode('utf-8') + b'\n')


def main() -> None:
    """Run the bot under watch, as ``python -m market_maker`` does; ends with SystemExit."""
    from market_maker.settings import settings
    order = json.loads(os.environ[VARIABLE])
    diary = Diary(order['diary'])
    diary.note('start', pid=os.getpid())
    settings.update(limits(settings, order['lot']))
    settings.update({name: value for name, value in order['settings'].items() if name in settings})
    if order.get('certain'):
        scale_looks(order['certain'])
    watch(diary)
    diary.note('settings', **{name: settings[name] for name in TOLD if name in settings})
    runpy.run_module('market_maker', run_name='__main__')


def limits(settings: Any, lot: int) -> Dict[str, Any]:
    """Return position limits of twice the innermost order, and what else a trial asks of any settings."""
    inner = int(settings.MAX_ORDER_SIZE if settings.RANDOM_ORDER_SIZE else settings.ORDER_START_SIZE)
    inner = max(lot, -(-inner // lot) * lot)
    return {'CHECK_POSITION_LIMITS': True, 'MAX_POSITION': 2 * inner, 'MIN_POSITION': -2 * inner, 'DRY_RUN': False,
            'LOG_FILE': None, 'WATCHED_FILES': []}


def scale_looks(certain: float) -> None:
    """Let an order of unknown fate be certainly absent after so many seconds, instead of a minute."""
    ledger = importlib.import_module('market_maker.state.ledger')  # type: Any
    factor = certain / ledger.CERTAIN
    ledger.LOOKS = tuple(look * factor for look in ledger.LOOKS)
    ledger.CERTAIN = certain


def watch(diary: Diary) -> None:
    """Let the diary see what is wanted and what is named, and change nothing else."""
    manager = importlib.import_module('market_maker.market_maker').OrderManager  # type: Any
    interface = importlib.import_module('market_maker.exchange_interface').ExchangeInterface  # type: Any
    inside = threading.local()
    converge, create = manager.converge_orders, interface.create_orders

    @functools.wraps(converge)
    def converge_orders(self, buy_orders, sell_orders):
        # type: (Any, Any, Any) -> Any
        began = time.monotonic()
        diary.note('wanted', began=began, buys=_ladder(buy_orders), sells=_ladder(sell_orders))
        inside.depth = getattr(inside, 'depth', 0) + 1
        try:
            return converge(self, buy_orders, sell_orders)
        finally:
            inside.depth -= 1
            diary.note('done', began=began)

    @functools.wraps(create)
    def create_orders(self, orders):
        # type: (Any, Any) -> Any
        # A name that is given here is the one that is sent: reserve() writes it into each order.
        named = [order if order.get('clOrdID') or self.is_closing else self.reserve(order) for order in orders]
        diary.note('names', converged=getattr(inside, 'depth', 0) > 0, names=[order.get('clOrdID') for order in named])
        is_named = all(one is other for one, other in zip(named, orders))
        return create(self, orders if is_named else named)   # a list of the loop's also says what to tell when
    manager.converge_orders = converge_orders
    interface.create_orders = interface.create_bulk_orders = create_orders


def _ladder(orders):
    # type: (Any) -> List[Any]
    return [(order.get('price'), abs(order.get('orderQty') or 0)) for order in orders]


if __name__ == '__main__':
    main()
