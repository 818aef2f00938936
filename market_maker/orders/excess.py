"""What a strategy sends by itself, held against the limits.  Pure.

The ladder that ``converge`` plans was held against them before; orders that a strategy creates or amends past it are
taken one after the other, beside what works already, and those beyond a limit are left out.
"""
from __future__ import absolute_import

from typing import Any, Dict, List, Tuple  # noqa: F401

from market_maker.orders import converge, limits, risk
from market_maker.utils.errors import LimitReached


def beyond_limits(orders, resting, working, bounds, instrument):
    # type: (List[Dict[str, Any]], Dict[str, Any], risk.Working, Dict[str, Any], Dict[str, Any]) -> List[Tuple[Any, Any]]
    """Return those orders, each with its LimitReached, that the limits do not allow beside what works.

    ``resting`` is empty for creates; for amends it is what ``by_name`` returns.  An amend of no order that is in it is
    let pass: the exchange will say so.  ``bounds`` are the settings by name (``limits.NAMES``).  ``working`` is stepped
    on by what is allowed.
    """
    checks = {side: limits.checker(side, bounds, instrument) for side in converge.SIDES}
    most = bounds['ORDER_COUNT_LIMIT']
    places = limits.ANY if most is None else most - working.count
    refused = []  # type: List[Tuple[Any, Any]]
    for order in orders:
        row = resting.get(order.get('orderID') or order.get('origClOrdID') or order.get('clOrdID') or '')
        if resting and row is None:
            continue
        words = _fault(order, row or {}, checks, working)
        if not words and row is None:
            places -= 1
            words = 'ORDER_COUNT_LIMIT {} is reached'.format(most) if places < 0 else ''
        if words:
            refused.append((order, LimitReached('not sent: ' + words)))
    return refused


def by_name(rows):
    # type: (List[Dict[str, Any]]) -> Dict[str, Dict[str, Any]]
    """Return order rows by each name that an amend may give them."""
    named = {row['clOrdID']: row for row in rows if row.get('clOrdID')}
    named.update((row['orderID'], row) for row in rows)
    return named


def _fault(order, row, checks, working):
    # type: (Dict[str, Any], Dict[str, Any], Dict[str, Any], risk.Working) -> str
    """Return why a create, or an amend of ``row``, is not sent, or '' and count it as sent."""
    wanted = limits.with_numbers(dict(row, **order))
    side = wanted.get('side') or ('Sell' if str(wanted.get('orderQty')).startswith('-') else 'Buy')   # the API's rule
    if side not in checks:
        return ''   # the exchange will say so
    if row and order.get('leavesQty') is not None:
        wanted['orderQty'] = wanted['leavesQty']
    elif row and isinstance(wanted.get('orderQty'), (int, float)):
        wanted['orderQty'] -= row.get('cumQty') or 0
    fault = checks[side](wanted)
    if fault:
        return str(fault[1])
    grows_by = 0 if risk.only_reduces(wanted) else (converge.quantity(wanted) or 0) - (row.get('leavesQty') or 0)
    words = working.refusal(side, None, grows_by)
    if not words:
        working.step(side, None, grows_by)
    return words
