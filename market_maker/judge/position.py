"""(b) position and working quantity within what was allowed and wanted; (d) every fill booked once, to the satoshi."""
from __future__ import absolute_import

from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.judge import money
from market_maker.judge.evidence import (Contract, Evidence, Execution, OrderRow, in_words, is_own,  # noqa: F401
                                         start_of)
from market_maker.judge.walk import SIDES, Walk, most_wanted, quantity


MOVES = ('Trade', 'Liquidation', 'Settlement')   # executions that change a position
FUNDING = 'Funding'
KNOWN_WITHIN = 1.0   # seconds within which the bot can know of what somebody else traded on the account


def overreach(evidence: Evidence) -> str:
    """Return the first fill beyond the position's limits or the first growth beyond what was wanted; '' for none.

    What somebody else trades on the account counts for the position, but an order that was placed before the bot could
    know of it is not held against the bot.
    """
    walk, position = Walk(evidence), evidence.start_quantity
    others = []   # type: List[Tuple[float, int]]   # trades of somebody else: when, signed contracts
    grown = {}    # type: Dict[str, float]   # orderID -> when the bot last asked for it to be so large
    for event in evidence.events:
        if isinstance(event, Execution) and _is_ours(event.row, evidence):
            change = _signed(event.row)
            position += change
            if not is_own(event.row, evidence):
                others.append((event.at, change))
            else:
                since = grown.get(event.row['orderID'], event.at)
                fault = _beyond(evidence, change, position - _traded(others, since, change))
                if fault:
                    maker = walk.makers.get(event.row['orderID']) or walk.requests.get(event.cause)
                    return '{} by a fill of {}'.format(fault, in_words(maker, start_of(evidence)))
        before_row = walk.step(event)
        if isinstance(event, OrderRow) and event.cause in walk.requests:
            grown[event.row['orderID']] = walk.requests[event.cause].at
            fault = _growth(evidence, walk, event, before_row, position, others)
            if fault:
                return fault
    return ''


def _traded(others, since, direction):
    # type: (List[Tuple[float, int]], float, int) -> int
    """Return what others have traded in a direction since the bot could know of it."""
    return sum(change for at, change in others if at > since - KNOWN_WITHIN and (change > 0) == (direction > 0))


def _beyond(evidence, change, position):
    # type: (Evidence, int, int) -> str
    rules = evidence.rules
    if rules.highest is not None and change > 0 and position > rules.highest:
        return 'position {} above its limit {}'.format(position, rules.highest)
    if rules.lowest is not None and change < 0 and position < rules.lowest:
        return 'position {} below its limit {}'.format(position, rules.lowest)
    return ''


def _growth(evidence, walk, event, before, position, others):
    # type: (Evidence, Walk, OrderRow, Optional[Dict[str, Any]], int, List[Tuple[float, int]]) -> str
    """Return what is wrong with an order that a request made larger; '' where nothing is, or nothing grew."""
    row, request = event.row, walk.requests.get(event.cause)
    grown = (row.get('leavesQty') or 0) - ((before or {}).get('leavesQty') or 0)
    if request is None or request.key != evidence.rules.key or grown <= 0:
        return ''
    if row.get('clOrdID') not in evidence.names or row.get('symbol') != evidence.contract.symbol:
        return ''
    side = row['side']
    working = quantity(walk.working(side))
    wanted = most_wanted(evidence, side, request.at, event.at)
    where = in_words(request, start_of(evidence))
    if wanted is None or working > wanted:
        return '{} contracts work on the {} side, wanted were {}, after {}'.format(working, side, wanted or 0, where)
    rules = evidence.rules
    position -= _traded(others, request.at, 1 if side == 'Buy' else -1)
    if side == 'Buy' and rules.highest is not None and position + working > rules.highest:
        return 'position {} and bids of {} can exceed {}, after {}'.format(position, working, rules.highest, where)
    if side == 'Sell' and rules.lowest is not None and position - working < rules.lowest:
        return 'position {} and asks of {} can exceed {}, after {}'.format(position, working, rules.lowest, where)
    return ''


def miscount(evidence: Evidence) -> str:
    """Return the first difference between the exchange's executions, its books, and what the bot has booked.

    What other contracts settled in the same currency earn and cost goes through the same wallet, so it counts for the
    result, whoever traded them.
    """
    contracts = {one.symbol: one for one in evidence.neighbours + (evidence.contract,)}
    accounts = {symbol: money.Account() for symbol in contracts}
    accounts[evidence.contract.symbol] = money.Account(evidence.start_quantity, evidence.start_cost)
    ours = []   # type: List[Dict[str, Any]]
    for event in evidence.events:
        if not isinstance(event, Execution) or event.row.get('symbol') not in contracts:
            continue
        row = event.row
        fault = _booked(contracts[row['symbol']], accounts[row['symbol']], row)
        if fault:
            return fault
        if _is_ours(row, evidence) and is_own(row, evidence):
            ours.append(row)
    sums = accounts[evidence.contract.symbol].quantity, sum(account.result for account in accounts.values())
    return _books(evidence, sums) or _ledger(evidence, ours) or _words(evidence, ours, sums)


def _booked(contract, account, row):
    # type: (Contract, money.Account, Dict[str, Any]) -> str
    """Book an execution by the judge's own arithmetic; return where the exchange's row says something else."""
    kind = row.get('execType')
    if kind not in MOVES + (FUNDING,):
        return ''
    size, price = row['lastQty'], row['lastPx']
    fee = money.fee(contract, size, price, row['commission'])
    if kind == FUNDING:
        account.pay(fee)
        said, true = 'Funding of {} @ {} is {}'.format(size, price, fee), (fee,)   # type: str, Tuple[int, ...]
    else:
        cost = money.cost(contract, row['side'], size, price)
        account.trade(_signed(row), cost, fee)
        said, true = '{} {} @ {} cost {} and {} in fees'.format(row['side'], size, price, cost, fee), (cost, fee)
    theirs = (row['execCost'], row['execComm'])[-len(true):]
    if theirs != true:
        return 'execution {}: {}, by the exchange {}'.format(row['execID'], said, ' and '.join(map(str, theirs)))
    return ''


def _books(evidence, mine):
    # type: (Evidence, Tuple[int, int]) -> str
    """Return where the exchange's books differ from the sum of its executions, a position and a result."""
    theirs = evidence.books.quantity, evidence.books.wallet_change
    if mine != theirs:
        return 'the executions add up to a position of {} and a result of {}, the books say {} and {}'.format(
            *(mine + theirs))
    return ''


def _ledger(evidence, ours):
    # type: (Evidence, List[Dict[str, Any]]) -> str
    """Return the first execution of an own order that the bot has not booked exactly once as it was."""
    if evidence.fills is None:
        return ''
    booked = {}   # type: Dict[str, Any]
    for fill in evidence.fills:
        if fill.execID in booked:
            return 'fill {} was booked twice'.format(fill.execID)
        booked[fill.execID] = fill
    for row in ours:
        fill = booked.pop(row['execID'], None)
        true = (row['side'], row['lastQty'], row['lastPx'], row['execComm'])
        if fill is None:
            return 'fill {} ({} {} @ {} of {}) was never booked'.format(row['execID'], row['side'], row['lastQty'],
                                                                         row['lastPx'], row.get('clOrdID'))
        if tuple(fill[1:]) != true:
            return 'fill {} is booked as {}, and was {}'.format(row['execID'], tuple(fill[1:]), true)
    for name in booked:
        return 'fill {} was booked and never happened'.format(name)
    return ''


def _words(evidence, ours, sums):
    # type: (Evidence, List[Dict[str, Any]], Tuple[int, int]) -> str
    """Return where the bot's closing words differ."""
    said = evidence.summary
    if said is None:
        return ''
    bought, sold = [sum(row['lastQty'] for row in ours if row['side'] == side) for side in SIDES]
    true = (len(ours), bought, sold) + sums
    if tuple(said) != true:
        return ('the bot sums up {} fills, {} bought, {} sold, position {}, result {}; true are {}, {}, {}, {}, {}'
                .format(*(tuple(said) + true)))
    return ''


def _is_ours(row, evidence):
    # type: (Dict[str, Any], Evidence) -> bool
    return row.get('execType') == 'Trade' and row.get('symbol') == evidence.contract.symbol


def _signed(row):
    # type: (Dict[str, Any]) -> int
    return row['lastQty'] if row['side'] == 'Buy' else -row['lastQty']  # type: ignore[no-any-return]
