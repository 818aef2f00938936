"""From what rests to what is wanted, with the fewest requests.  Pure: ``plan`` decides, others send.

Orders are matched by price, side by side:

1. an order whose clOrdID the strategy names is that order, whatever its price;
2. an order of the wanted size at the wanted price stays;
3. an order of the wanted size within the tolerance of the wanted price stays;
4. what is left over is amended, at an equal price first, then inner to inner;
5. what then is missing is created, and what is spare is cancelled.

Every amend, create and cancel is one request, so their number is the larger count of the two ladders less the orders
that stay: as many as can stay do.  The time grows linearly with the ladder (and a sort of prices that usually are in
order).
"""
from __future__ import absolute_import

from collections import OrderedDict, namedtuple
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.orders.risk import inner_first

Plan = namedtuple('Plan', 'amend create cancel')
Plan.__doc__ = """What to send, each list in its sending order; cancels go first, then amends, then creates.

``amend``: new dicts with orderID, side and the fields to change; reductions stand before increases and, in each, inner
levels first.
``create``: the strategy's own dicts, inner levels first.  ``cancel``: the resting rows to take away.
"""

STANDS = Plan((), (), ())   # there is nothing to do, and it is as simple as it looks

_Move = namedtuple('_Move', 'depth side order target')   # an amend to come; depth counts from the inner level

SIDES = ('Buy', 'Sell')
SAME = 1e-9                        # relative difference that is binary noise, not another price
POST_ONLY = 'ParticipateDoNotInitiate'
FIXED = (('timeInForce', 'GoodTillCancel'), ('displayQty', None), ('pegPriceType', None), ('clOrdLinkID', None),
         ('contingencyType', None))  # (field, its default): an amend cannot change these
AMENDABLE = ('stopPx', 'pegOffsetValue')   # beside price and quantity
NO_INSTRUCTIONS = frozenset()  # type: frozenset
PLAIN = ('Limit', NO_INSTRUCTIONS) + tuple(default for _, default in FIXED)   # the shape of an ordinary limit order


def plan(resting, wanted, relist_interval, shapes=None):
    # type: (List[Dict[str, Any]], List[Dict[str, Any]], float, Optional[Dict[str, Any]]) -> Plan
    """Return the Plan that turns the resting orders into the wanted ones.

    ``resting`` are order rows of the exchange.  Rows without an orderID are orders in flight: they fill their place and
    are left alone.  ``wanted`` are the strategy's dicts with side, price and orderQty (contracts), and any key that the
    API takes.
    ``shapes`` is a dict that remembers, from one call to the next, what never changes about an order.
    ``relist_interval`` is the fraction by which a resting price may differ before it is worth a request.  Neither list
    is changed.  Where every resting order serves one wanted one, level by level, the plan is STANDS itself.
    """
    moves, created, cancelled = [], [], []  # type: List[Any], List[Any], List[Any]
    shapes = {} if shapes is None else shapes
    is_simple = True
    for side in SIDES:
        ours = _inner_to_outer([order for order in resting if order.get('side') == side], side)
        targets = _inner_to_outer([target for target in wanted
                                   if target.get('side') == side and target.get('orderQty') != 0], side)
        if _stand(ours, targets, relist_interval, shapes):
            continue
        is_simple = False
        pairs, missing, spare = _match(ours, targets, relist_interval, shapes)
        depths = {id(target): depth for depth, target in enumerate(targets)}
        moves.extend(_Move(depths[id(target)], side, order, target) for order, target in pairs if order.get('orderID'))
        created.extend((depths[id(target)], target) for target in missing)
        cancelled.extend(order for order in spare if order.get('orderID'))
    if is_simple:
        return STANDS
    return Plan([amendment(move.order, move.target) for move in _in_safe_order(moves)],
                [target for _, target in sorted(created, key=lambda item: item[0])],
                cancelled)


def amendment(order, target):
    # type: (Dict[str, Any], Dict[str, Any]) -> Dict[str, Any]
    """Return the amend that gives a resting order the target's price and leaves the target's quantity working.

    BitMEX counts orderQty from the order's beginning, so what has traded already is added.
    """
    change = {'orderID': order['orderID'], 'side': order.get('side')}
    if target.get('orderQty') is not None:
        change['orderQty'] = (order.get('cumQty') or 0) + quantity(target)
    for field in ('price',) + AMENDABLE:
        if target.get(field) is not None:
            change[field] = float(target[field])
    return change


def quantity(target):
    # type: (Dict[str, Any]) -> Any
    """Return the unsigned orderQty as an int (strategies hand in 150.0 and numpy integers too), or None."""
    amount = target.get('orderQty')
    return None if amount is None else abs(int(amount))


def differs(order, target, relist_interval):
    # type: (Dict[str, Any], Dict[str, Any], float) -> bool
    """Tell whether a resting order is worth an amend: another size, or a price beyond the tolerance."""
    return (quantity(target) not in (None, order.get('leavesQty'))
            or not _near(order.get('price'), target.get('price'), relist_interval)
            or any(not _near(order.get(field), target.get(field), 0) for field in AMENDABLE))


def shape(order):
    # type: (Dict[str, Any]) -> Tuple[Any, ...]
    """Return what an amend cannot change about an order, in a form that rows and wanted dicts have in common."""
    if len(order) == 3 and order.get('price') is not None and 'orderQty' in order:
        return PLAIN   # price, orderQty and side: what most strategies want
    fixed = tuple(order.get(field) or default for field, default in FIXED)
    return (kind(order), _instructions(order.get('execInst'))) + fixed


def kind(order):
    # type: (Dict[str, Any]) -> str
    """Return the ordType, by the API's rule where the strategy leaves it out."""
    if order.get('ordType'):
        return str(order['ordType'])
    if order.get('pegPriceType'):
        return 'Pegged'
    priced = order.get('price') is not None
    if order.get('stopPx') is not None:
        return 'StopLimit' if priced else 'Stop'
    return 'Limit' if priced else 'Market'


def _stand(resting, wanted, tolerance, shapes):
    # type: (List[Any], List[Any], float, Dict[str, Any]) -> bool
    """Tell, quickly, whether plain orders stand one by one where they are wanted: the usual case."""
    if len(resting) != len(wanted):
        return False
    limit = max(tolerance, SAME)
    for order, target in zip(resting, wanted):
        form = shapes.get(order.get('orderID')) or _known_shape(order, shapes)
        if form != PLAIN or len(target) != 3 or order['leavesQty'] != target.get('orderQty'):
            return False
        price = order['price']
        if not price or abs(target['price'] / price - 1) > limit:
            return False
    return True


def _known_shape(order, shapes):
    # type: (Dict[str, Any], Dict[str, Any]) -> Any
    """Return the shape of a row or a wanted dict, worked out once for each row."""
    name = order.get('orderID')
    if not name:
        return shape(order)
    form = shapes.get(name)
    if form is None:
        form = shapes[name] = shape(order)
    return form


def _match(resting, wanted, tolerance, shapes):
    # type: (List[Any], List[Any], float, Dict[str, Any]) -> Tuple[List[Tuple[Any, Any]], List[Any], List[Any]]
    """Return (pairs to amend, orders to create, rows to cancel) of one side; both lists run from inner to outer."""
    pairs, resting, wanted = _named(resting, wanted, tolerance)
    missing, spare = [], []  # type: List[Any], List[Any]
    for ours, targets in _by_shape(resting, wanted, shapes):
        if _lie_apart(ours, targets, tolerance):   # as after a jump: there is nothing to look for
            pairs.extend(zip(ours, targets))
            missing.extend(targets[len(ours):])
            spare.extend(ours[len(targets):])
            continue
        ours, targets = _not_kept(ours, targets, tolerance)
        level, ours, targets = _paired(ours, targets, _price)
        pairs.extend(level)
        pairs.extend(zip(ours, targets))
        missing.extend(targets[len(ours):])
        spare.extend(ours[len(targets):])
    return pairs, missing, spare


def _named(resting, wanted, tolerance):
    # type: (List[Any], List[Any], float) -> Tuple[List[Tuple[Any, Any]], List[Any], List[Any]]
    """Pair the orders whose clOrdID the strategy names; return (pairs to amend, other rows, other wanted orders)."""
    if not any(target.get('clOrdID') for target in wanted):
        return [], resting, wanted
    pairs, resting, wanted = _paired(resting, wanted, _name)
    return [(order, target) for order, target in pairs if differs(order, target, tolerance)], resting, wanted


def _name(order):
    # type: (Dict[str, Any]) -> Any
    return (order['clOrdID'], shape(order)) if order.get('clOrdID') else None


def _price(order):
    # type: (Dict[str, Any]) -> Any
    return (order.get('price'), order.get('stopPx'))


def _rest(order):
    # type: (Dict[str, Any]) -> Any
    """Return what two orders of one shape have in common when nothing needs to be sent."""
    # Rows say what is left as leavesQty, strategies what they want as orderQty.
    size = quantity(order) if 'leavesQty' not in order else order['leavesQty']
    return (order.get('price'), size, order.get('stopPx'), order.get('pegOffsetValue'))


def _paired(resting, wanted, key):
    # type: (List[Any], List[Any], Callable[[Any], Any]) -> Tuple[List[Tuple[Any, Any]], List[Any], List[Any]]
    """Pair one to one the orders of equal key (None pairs with nothing); return (pairs, other rows, other wanted)."""
    free = {}  # type: Dict[Any, List[Any]]  # key -> resting orders, the outermost first
    for order in reversed(resting):
        free.setdefault(key(order), []).append(order)
    pairs, left = [], []
    for target in wanted:
        name = key(target)
        if name is not None and free.get(name):
            pairs.append((free[name].pop(), target))
        else:
            left.append(target)
    if not pairs:
        return pairs, resting, left
    used = {id(order) for order, _ in pairs}
    return pairs, [order for order in resting if id(order) not in used], left


def _lie_apart(resting, wanted, tolerance):
    # type: (List[Any], List[Any], float) -> bool
    """Tell whether no resting price can be near to any wanted one; both lists run from inner to outer."""
    if not resting or not wanted:
        return True
    ends = resting[0].get('price'), resting[-1].get('price'), wanted[0].get('price'), wanted[-1].get('price')
    if not all(ends):   # an order without a price is the outermost
        return False
    low, high, lowest, highest = sorted(ends[:2]) + sorted(ends[2:])
    return ((lowest > high and not _near(high, lowest, tolerance))
            or (highest < low and not _near(low, highest, tolerance)))


def _by_shape(resting, wanted, shapes):
    # type: (List[Any], List[Any], Dict[str, Any]) -> List[Tuple[List[Any], List[Any]]]
    """Return (resting, wanted) for each kind of order that an amend cannot turn into another."""
    groups = OrderedDict()  # type: Dict[Any, Tuple[List[Any], List[Any]]]
    for place, orders in enumerate((resting, wanted)):
        for order in orders:
            groups.setdefault(_known_shape(order, shapes), ([], []))[place].append(order)
    return list(groups.values())


def _not_kept(resting, wanted, tolerance):
    # type: (List[Any], List[Any], float) -> Tuple[List[Any], List[Any]]
    """Take away the pairs that may stay as they are, as many as there can be; return what is left of both lists.

    Equal prices are paired first and near ones by nearness, which keeps the truest ladder.  Where another pairing
    within the tolerance keeps more orders, that one is taken.
    """
    _, ours, targets = _paired(resting, wanted, _rest)
    ours, targets = _without_near(ours, targets, tolerance, nearest=True)
    if ours and targets and tolerance > 0 and len(ours) < len(resting):
        most, most_targets = _without_near(resting, wanted, tolerance, nearest=False)
        if len(most) < len(ours):
            return most, most_targets
    return ours, targets


def _without_near(resting, wanted, tolerance, nearest):
    # type: (List[Any], List[Any], float, bool) -> Tuple[List[Any], List[Any]]
    """Take away pairs of equal size whose prices are within the tolerance; return what is left, in its order."""
    classes = {}  # type: Dict[Any, Tuple[List[Any], List[Any]]]
    for place, orders in enumerate((resting, wanted)):
        for order in orders:
            classes.setdefault(_rest(order)[1:], ([], []))[place].append(order)
    used = set()
    for ours, targets in classes.values():
        for order, target in _near_pairs(ours, targets, tolerance, nearest):
            used.add(id(order))
            used.add(id(target))
    left = [order for order in resting if id(order) not in used]
    targets = [target for target in wanted if id(target) not in used]
    return _without_unsized(left, targets, tolerance)


def _without_unsized(resting, wanted, tolerance):
    # type: (List[Any], List[Any], float) -> Tuple[List[Any], List[Any]]
    """Take away wanted orders that name no quantity (a stop that closes a position) with the rows that serve them."""
    for target in [target for target in wanted if target.get('orderQty') is None]:
        order = next((order for order in resting if not differs(order, target, tolerance)), None)
        if order is not None:
            resting = [other for other in resting if other is not order]
            wanted = [other for other in wanted if other is not target]
    return resting, wanted


def _near_pairs(resting, wanted, tolerance, nearest):
    # type: (List[Any], List[Any], float, bool) -> List[Tuple[Any, Any]]
    """Pair near prices in one walk along both lists, which run from inner to outer.

    The walk pairs as many as possible.  With ``nearest`` it passes over an order of the longer list when the next one
    fits better.
    """
    pairs = []
    i = j = 0
    while i < len(resting) and j < len(wanted):
        price, goal = resting[i].get('price'), wanted[j].get('price')
        surplus = (len(resting) - i) - (len(wanted) - j)
        if not _near(price, goal, tolerance):
            i, j = (i + 1, j) if _is_inner(price, goal, wanted[j]) else (i, j + 1)
        elif nearest and surplus < 0 and _gap(price, wanted[j + 1].get('price')) < _gap(price, goal):
            j += 1
        elif nearest and surplus > 0 and _gap(resting[i + 1].get('price'), goal) < _gap(price, goal):
            i += 1
        else:
            pairs.append((resting[i], wanted[j]))
            i, j = i + 1, j + 1
    return pairs


def _near(price, goal, tolerance):
    # type: (Optional[float], Optional[float], float) -> bool
    """Tell whether a resting price is within the relative tolerance of the wanted one; None is near to None only."""
    if price is None or goal is None or price == goal:
        return price is goal or price == goal
    return price != 0 and abs(goal / price - 1) <= max(tolerance, SAME)


def _gap(price, goal):
    # type: (Optional[float], Optional[float]) -> float
    return float('inf') if price is None or goal is None else abs(price - goal)


def _is_inner(price, goal, target):
    # type: (Optional[float], Optional[float], Dict[str, Any]) -> bool
    """Tell whether a price lies nearer to the market than the target's; no price counts as outermost."""
    if price is None or goal is None:
        return goal is None
    return price > goal if target.get('side') == 'Buy' else price < goal


def _instructions(text):
    # type: (Optional[str]) -> frozenset
    """Return execInst as a set without post-only, which the connector adds by itself where POST_ONLY says so."""
    if not text or text == POST_ONLY:
        return NO_INSTRUCTIONS
    return frozenset(part.strip() for part in text.split(',')) - {POST_ONLY, ''}


def _inner_to_outer(orders, side):
    # type: (List[Dict[str, Any]], str) -> List[Dict[str, Any]]
    return [orders[place] for place in inner_first(orders, side)]


def _in_safe_order(moves):
    # type: (List[_Move]) -> List[_Move]
    """Return the amends so that no moment between two of them is worse than both ends.

    Reductions stand before increases, so margin and position limits hold throughout.  When a market jump would lay our
    new bids over our own old asks (or the other way round), the side that gets out of the way goes first.
    """
    late = _side_in_the_way(moves)
    return sorted(moves, key=lambda move: (move.side == late, _grows(move), move.depth, move.side != 'Sell'))


def _grows(move):
    # type: (_Move) -> bool
    size = quantity(move.target)
    return size is not None and size > (move.order.get('leavesQty') or 0)


def _side_in_the_way(moves):
    # type: (List[_Move]) -> Optional[str]
    """Return the side whose new prices reach the other side's old ones, or None."""
    priced = [move for move in moves if None not in (move.order.get('price'), move.target.get('price'))]
    for side, sign in (('Buy', 1), ('Sell', -1)):
        new = [sign * move.target['price'] for move in priced if move.side == side]
        old = [sign * move.order['price'] for move in priced if move.side != side]
        if new and old and max(new) >= min(old):
            return side
    return None
