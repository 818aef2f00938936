"""Carries a plan out: cancels first, then amends, then creates, each told in the log and held against the limits.

What cannot go now waits: for another order of the same plan to get out of its way, or, once refused, longer each time.
It decides nothing about quoting, asks no strategy, and sends nothing but what the plan says.  The plan is
``orders/converge.py``'s; how requests travel is ``rest/``'s.
"""
from __future__ import absolute_import

import time
from collections import namedtuple
from typing import Any, Dict, Iterable, List, Tuple  # noqa: F401

from market_maker import bitmex
from market_maker.contracts import cost, kind, margin, settle_scale
from market_maker.exchange_interface import Checked, ExchangeInterface
from market_maker.orders import converge, risk
from market_maker.orders.commands import Patience  # noqa: F401
from market_maker.settings import settings
from market_maker.utils import errors, log

logger = log.under('market_maker')   # these lines are the market maker's, as they always were

PASSING_ERRORS = (errors.ConnectionLost, errors.OutcomeUnknown, errors.RateLimited, errors.Overloaded)

Create = namedtuple('Create', 'level order')
Create.__doc__ = """An order of a plan to create, and its level: side and rank, 0 the innermost."""

Rows = Dict[str, Any]


class Carrier(object):
    """Carries one plan out through ``exchange``, an ExchangeInterface or what stands in for one.

    ``patience`` remembers what was refused, over all plans.  ``resting`` are our live rows that the plan was made from,
    ``creates`` what it wants created, each with a place reserved; ``unsent`` are those of them that were not sent.
    """

    def __init__(self, exchange, patience, resting, creates):
        # type: (Any, Patience, List[Rows], List[Create]) -> None
        self.unsent = creates
        self._exchange = exchange
        self._patience = patience
        self._rows = {order['orderID']: order for order in resting}

    def carry_out(self, plan, doubtful):
        # type: (converge.Plan, Iterable[Rows]) -> None
        """Send what the plan says; ``doubtful`` rows, which nobody knows the price of, are cancelled."""
        stuck = self._stuck(plan.amend)
        stuck.update((order['orderID'], order) for order in doubtful)
        self._cancel([order for order in plan.cancel if order['orderID'] not in stuck] + list(stuck.values()))
        self._amend([change for change in plan.amend if change['orderID'] not in stuck])
        self._create()

    def _cancel(self, orders):
        # type: (List[Rows]) -> None
        if not orders:
            return
        logger.info('Canceling %d orders:', len(orders))
        for order in orders:
            logger.info('%s', self._exchange.describe(order))
        self._exchange.cancel_orders(orders)

    def _stuck(self, changes):
        # type: (List[Rows]) -> Dict[str, Rows]
        """Return, by orderID, the orders that stand where they are not wanted and cannot be moved for now."""
        now, stuck = time.monotonic(), {}   # type: float, Dict[str, Rows]
        for change in changes:
            order = self._rows[change['orderID']]
            if self._patience.must_wait(order['orderID'], now) and _is_off(change, order, 0):
                stuck[order['orderID']] = order
        return stuck

    # Amends

    def _amend(self, changes):
        # type: (List[Rows]) -> None
        """Send the amends, in as many rounds as it takes: one that has to wait for another goes into the next."""
        now = time.monotonic()
        changes = [change for change in changes if not self._patience.must_wait(change['orderID'], now)]
        while changes:
            working = self._working()
            faults = [self._fault_of_amend(change, working) for change in changes]
            ready = [change for change, fault in zip(changes, faults) if not fault]
            if not ready:
                for change, fault in zip(changes, faults):
                    logger.info('Not amending %s: %s.', self._words_of_amend(change, self._rows[change['orderID']]),
                                fault)
                self._cancel(self._held_up(changes))
                return
            self._send_amends(ready)
            changes = [change for change, fault in zip(changes, faults) if fault]

    def _fault_of_amend(self, change, working):
        # type: (Rows, risk.Working) -> str
        """Return why an amend has to wait, or '' and count it as sent."""
        order = self._rows[change['orderID']]
        price = change.get('price') if converge.kind(order) == 'Limit' else None   # a stop may stand on the other side
        grows_by = _growth(change, order)
        fault = working.refusal(change['side'], price, grows_by)
        if not fault:
            working.step(change['side'], price, grows_by)
        return fault

    def _held_up(self, changes):
        # type: (List[Rows]) -> List[Rows]
        """Return the orders that stand where they are not wanted and wait for nothing but a create of unknown fate: it
        may take a minute until that is certain."""
        known = risk.Working(self._exchange.get_orders(), self._exchange.rooms())
        return [self._rows[change['orderID']] for change in changes
                if _is_off(change, self._rows[change['orderID']], settings.RELIST_INTERVAL)
                and not self._fault_of_amend(change, known)]

    def _send_amends(self, changes):
        # type: (List[Rows]) -> None
        before = [dict(self._rows[change['orderID']]) for change in changes]   # rows are live

        def tell():
            # type: () -> None
            for change, order in zip(changes, before):
                logger.info('Amending %s', self._words_of_amend(change, order))
        answer = self._send(self._exchange.amend_orders, [Checked(change) for change in changes], tell)
        self._note_refusals([(change['orderID'], change) for change in changes], answer, 'orderID')

    def _words_of_amend(self, change, order):
        # type: (Rows, Rows) -> str
        """Return an amend as the log shows it: ``Sell: 99 @ 389.88 to 100 @ 389.88 (+0.00)``."""
        before = self._exchange.describe(order)
        wanted = dict(order, **change)
        if change.get('orderQty') is not None:
            wanted['leavesQty'] = change['orderQty'] - (order.get('cumQty') or 0)
        words = '{}:{} to{}'.format(before[:4], before[4:], self._exchange.describe(wanted)[4:])
        if order.get('price') is None or wanted.get('price') is None:
            return words
        return '{} ({:+.{}f})'.format(words, wanted['price'] - order['price'], self._exchange.tick_log())

    # Creates

    def _create(self):
        # type: () -> None
        """Send the creates, but for levels that were refused a short while ago."""
        if not self.unsent:
            return
        now = time.monotonic()
        working = self._working()
        allowed, held = [], []   # type: List[Create], List[Create]
        for create in self.unsent:
            if self._patience.must_wait(create.level, now):
                held.append(create)
                continue
            fault = self._fault_of_create(create.order, working)
            if fault:
                logger.info('Not creating %s: %s.', self._exchange.describe(create.order), fault)
            (held if fault else allowed).append(create)
        if allowed:
            self._send_creates(allowed)
        self.unsent = held

    def _fault_of_create(self, order, working):
        # type: (Rows, risk.Working) -> str
        """Return why an order is not created now, or '' and count it as placed."""
        size = 0 if risk.only_reduces(order) else converge.quantity(order) or 0
        price = order.get('price') if converge.kind(order) == 'Limit' else None   # a stop may stand on the other side
        fault = working.refusal(order['side'], price, size)
        if not fault:
            working.step(order['side'], price, size)
        return fault

    def _send_creates(self, creates):
        # type: (List[Create]) -> None
        orders = [create.order for create in creates]

        def tell():
            # type: () -> None
            logger.info('Creating %d orders:', len(orders))
            for side in ('Sell', 'Buy'):
                for order in orders:
                    if order['side'] == side:
                        logger.info('%s', self._exchange.describe(order))
            if settings.DRY_RUN:
                self._report_cost(orders)
        answer = self._send(self._exchange.create_orders, orders, tell)
        self._note_refusals(creates, answer, 'clOrdID')

    def _report_cost(self, orders):
        # type: (List[Rows]) -> None
        """Say what the orders of a dry run would be worth, hold as margin, and leave between bid and ask."""
        instrument = self._exchange.get_instrument()
        priced = [order for order in orders if order.get('price') and converge.quantity(order)]
        if not priced or kind(instrument) in ('index', 'spot'):
            return
        currency = instrument.get('settlCurrency') or 'XBt'
        scale = float(settle_scale(currency))
        value = sum(cost(instrument, converge.quantity(order), order['price']) for order in priced) / scale
        held = sum(margin(instrument, converge.quantity(order), order['price']) for order in priced) / scale
        logger.info('Dry run: nothing is sent. Worth %.4f %s, held as margin %.4f %s, balance %.4f XBT.',
                    value, currency.upper(), held, currency.upper(), settings.DRY_BTC)
        bids = [order['price'] for order in priced if order['side'] == 'Buy']
        asks = [order['price'] for order in priced if order['side'] == 'Sell']
        if bids and asks:
            gap = min(asks) - max(bids)
            logger.info('Dry run: spread %.*f (%.2f %%).', self._exchange.tick_log(), gap, 100.0 * gap / max(bids))

    # Both

    def _send(self, send, orders, tell):
        # type: (Any, List[Any], Any) -> Any
        """Send orders and say so: the first goes out before the lines about all are written, for they take longer."""
        if type(self._exchange) is not ExchangeInterface or self._exchange.dry_run:
            tell()
            return send(orders)
        news = [tell]   # told once

        def begun():
            # type: () -> None
            if news:
                news.pop()()
        try:
            return send(bitmex.Announced(orders, begun))
        finally:
            begun()   # where a strategy has put another way of sending in between

    def _note_refusals(self, sent, answer, field):
        # type: (List[Any], Any, str) -> None
        """Let what was refused wait longer each time; ``sent`` are (name, order), ``field`` tells the orders apart."""
        faults = {order.get(field): error for order, error in getattr(answer, 'errors', ())}
        passing = [error for error in faults.values() if isinstance(error, PASSING_ERRORS)]
        if passing:
            logger.warning('%d of these orders had no answer: %s', len(passing), passing[0])
        for name, order in sent:
            error = faults.get(order.get(field))
            if error is None:
                self._patience.served(name)
            elif not isinstance(error, PASSING_ERRORS):
                seconds = self._patience.refused(name, time.monotonic())
                words = self._exchange.describe(order).strip()
                logger.info('Refused for now, next attempt in %d s: %s (%s)', seconds, words, error)

    def _working(self):
        # type: () -> risk.Working
        """Return what works now; our own reservations of this plan do not yet."""
        ours = {create.order.get('clOrdID') for create in self.unsent}
        flying = [order for order in self._exchange.in_flight() if order['clOrdID'] not in ours]
        return risk.Working(self._exchange.get_orders() + flying, self._exchange.rooms())


def _is_off(change, order, tolerance):
    # type: (Rows, Rows, float) -> bool
    """Tell whether an order stands where it is not wanted: its price is off by more than a fraction, or it is too
    large."""
    before, after = order.get('price'), change.get('price')
    moves = after is not None and before is not None and abs(after - before) > tolerance * before
    return moves or _growth(change, order) < 0


def _growth(change, order):
    # type: (Rows, Rows) -> int
    """Return how many contracts more an amend leaves at work."""
    if change.get('orderQty') is None or risk.only_reduces(order):
        return 0
    return change['orderQty'] - (order.get('cumQty') or 0) - (order.get('leavesQty') or 0)
