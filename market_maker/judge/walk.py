"""The orders of the account as they were after each event: what several invariants are read from."""
from __future__ import absolute_import

from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.judge.evidence import Evidence, OrderRow, Request, is_open, is_own

SIDES = ('Buy', 'Sell')


class Walk(object):
    """Goes through the events once; ``orders`` are the rows by orderID, open and ended, as of the last event."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.orders = {}      # type: Dict[str, Dict[str, Any]]
        self.makers = {}      # type: Dict[str, Optional[Request]]   # orderID -> the request that created it
        self.requests = {}    # type: Dict[int, Request]   # by number, those that have arrived

    def step(self, event: Any) -> Optional[Dict[str, Any]]:
        """Take in an event; return what was known of the order before, when it is an order's."""
        if isinstance(event, Request):
            self.requests[event.number] = event
        elif isinstance(event, OrderRow):
            order_id = event.row['orderID']
            before = self.orders.get(order_id)
            self.orders[order_id] = event.row
            if before is None:
                self.makers[order_id] = self.requests.get(event.cause)
            return before
        return None

    def working(self, side: str) -> List[Dict[str, Any]]:
        """Return the bot's open orders of one side, on the quoted contract, that came out of ``converge_orders``."""
        names, symbol = self.evidence.names, self.evidence.contract.symbol
        return [row for row in self.orders.values() if row.get('side') == side and row.get('symbol') == symbol
                and is_open(row) and row.get('clOrdID') in names]

    def own(self) -> List[Dict[str, Any]]:
        """Return all the bot's open orders."""
        return [row for row in self.orders.values() if is_open(row) and is_own(row, self.evidence)]


def quantity(rows: List[Dict[str, Any]]) -> int:
    """Return the contracts that orders leave at work."""
    return sum(row.get('leavesQty') or 0 for row in rows)


def most_wanted(evidence: Evidence, side: str, since: float, until: float) -> Optional[int]:
    """Return the largest ladder of a side, in contracts, that was wanted at any moment of a span; None: none was."""
    most = None   # type: Optional[int]
    calls = evidence.wanted
    for place, call in enumerate(calls):
        if call.began > until:
            break
        if place + 1 < len(calls) and calls[place + 1].began <= since:
            continue
        total = sum(size for _, size in (call.buys if side == 'Buy' else call.sells))
        most = total if most is None else max(most, total)
    return most
