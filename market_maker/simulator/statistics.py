"""What is told about the exchange as a whole and about its people: turnovers, the leaderboard, events, announcements.

Everything is derived when somebody asks, from what the tables keep.  Quote currencies that stand for a dollar count as
dollars.  Pure.
"""
from collections import OrderedDict
from typing import Any, Dict, List, Tuple  # noqa: F401

from market_maker.simulator.refusal import Refusal
from market_maker.simulator.timestamps import DAY, iso, seconds_of

TOTAL = 'Total'
MOST_LEADERS = 25
ENDS = {'Canceled': 'withdrawalCanceled', 'Completed': 'withdrawalCompleted'}  # status of a withdrawal -> event
METHODS = ('notional', 'ROE')
REFERRALS = ('prevPayout', 'prevTurnover', 'prevComm', 'execTurnover', 'execComm', 'totalReferrals', 'totalTurnover',
             'totalComm', 'payoutPcnt', 'pendingPayout')

Rows = List[Dict[str, Any]]


def announcements(now: float) -> Rows:
    """Return the rows of the announcement table of an exchange that begins at ``now``."""
    return [{'id': 1, 'link': '', 'title': 'This is a local exchange', 'date': iso(now),
             'content': 'Orders here meet a simulated or recorded market, and money here is worth nothing. '
                        'BitMEX itself closed on 23 September 2026.'}]


# -- turnover --------------------------------------------------------------------------------------


def _summed(exchange: Any, values_of: Any) -> 'OrderedDict[Tuple[str, str], List[float]]':
    """Return (root symbol, currency) -> sums of what ``values_of(tape)`` gives, the totals of each currency last."""
    sums = {}  # type: Dict[Tuple[str, str], List[float]]
    for tape in exchange.tapes.values():
        row = tape.instrument.row
        currency, values = values_of(tape)
        for key in ((row['rootSymbol'], currency), (TOTAL, currency)):
            before = sums.setdefault(key, [0] * len(values))
            sums[key] = [one + other for one, other in zip(before, values)]
    order = sorted(sums, key=lambda key: (key[0] == TOTAL, key))
    return OrderedDict((key, sums[key]) for key in order)


def stats(exchange: Any) -> Rows:
    """Return the rows of GET /stats: the last 24 hours of each series in its settlement currency."""
    names = ('volume24h', 'turnover24h', 'openInterest', 'openValue')
    sums = _summed(exchange, lambda tape: (tape.instrument.row['settlCurrency'],
                                           [tape.instrument.row[name] for name in names]))
    return [dict(zip(names, values), rootSymbol=key[0], currency=key[1]) for key, values in sums.items()]


def stats_history(exchange: Any) -> Rows:
    """Return the rows of GET /stats/history: every day that is kept, the running one as far as it has come."""
    days = {}  # type: Dict[Tuple[str, str, str], List[int]]
    for tape in exchange.tapes.values():
        static = tape.instrument.row
        for row in _days_of(tape, exchange.now):
            date = iso((seconds_of(row['timestamp']) or 0) - DAY)
            for root in (static['rootSymbol'], TOTAL):
                sums = days.setdefault((date, root, static['settlCurrency']), [0, 0])
                sums[0] += row['volume']
                sums[1] += row['turnover']
    order = sorted(days, key=lambda key: (key[0], key[1] == TOTAL, key))
    return [{'date': key[0], 'rootSymbol': key[1], 'currency': key[2], 'volume': days[key][0],
             'turnover': days[key][1]} for key in order]


def _days_of(tape: Any, now: float) -> Rows:
    """Return the daily bins of a contract, the running one included."""
    return list(tape.bins.trade_rows['1d']) + [tape.bins.unfinished('1d', now)]


def _dollars(tape: Any, now: float) -> List[int]:
    """Return the turnover of a contract in dollars: of the last 24 hours, of 30 and 365 days, and of all that is
    kept.
    """
    rows = _days_of(tape, now)
    days = [row['foreignNotional'] for row in rows]
    return [int(tape.instrument.row['foreignNotional24h']), int(sum(days[-30:])), int(sum(days[-365:])),
            int(sum(days))]


TURNOVERS = ('turnover24h', 'turnover30d', 'turnover365d', 'turnover')


def stats_in_dollars(exchange: Any) -> Rows:
    """Return the rows of GET /stats/historyUSD: the turnover of each series in dollars."""
    sums = _summed(exchange, lambda tape: ('USD', _dollars(tape, exchange.now)))
    return [dict(zip(TURNOVERS, values), rootSymbol=key[0], currency=key[1]) for key, values in sums.items()]


def turnovers(exchange: Any) -> Rows:
    """Return the rows of GET /instrument/usdVolume: the same of each contract."""
    return [dict(zip(TURNOVERS, _dollars(tape, exchange.now)), symbol=tape.symbol,
                 currency=tape.instrument.row['quoteCurrency']) for tape in exchange.tapes.values()]


# -- people ----------------------------------------------------------------------------------------


def name_of(account: Any) -> str:
    """Return the name under which an account is shown to others."""
    return 'account{}'.format(account.id)


def leaderboard(exchange: Any, method: Any) -> Rows:
    """Return the best accounts by their profit in satoshi (``notional``), or by its part of what was paid in
    (``ROE``).
    """
    if method not in METHODS:
        raise Refusal(400, 'method is invalid')
    rows = []  # type: Rows
    for account in exchange.accounts.values():
        purse = account.purse('XBt')
        paid_in = purse.deposited + purse.transferred_in - purse.withdrawn - purse.transferred_out
        profit = purse.balance - paid_in  # type: float
        if method == 'ROE':
            profit = round(profit / paid_in, 4) if paid_in > 0 else 0
        rows.append({'name': name_of(account), 'isRealName': False, 'profit': profit})
    return sorted(rows, key=lambda row: -row['profit'])[:MOST_LEADERS]


def affiliate_row(account: Any) -> Dict[str, Any]:
    """Return the affiliate row of an account; nobody here was referred by anybody."""
    return dict(dict.fromkeys(REFERRALS, 0), account=account.id, currency='XBt', timestamp=account.opened)


def events(account: Any) -> Rows:
    """Return what GET /userEvent tells of an account, oldest first: its keys, its money, its liquidations."""
    found = [(key.created, 'apiKeyCreated', {'key': key.key}) for key in account.keys]  # type: List[Any]
    for row in account.transactions:
        meta = {name: row[name] for name in ('transactID', 'currency', 'amount')}
        if row['transactType'] == 'Deposit':
            found.append((row['transactTime'], 'depositConfirmed', meta))
        elif row['transactType'] == 'Transfer':
            found.append((row['transactTime'], 'transferReceived' if row['amount'] > 0 else 'transferCompleted', meta))
        elif row['transactType'] == 'Withdrawal':
            found.append((row['transactTime'], 'withdrawalRequested', meta))
            if row['transactStatus'] in ENDS:
                found.append((row['timestamp'], ENDS[row['transactStatus']], meta))
    for row in account.executions:
        if row['execType'] == 'Liquidation':
            found.append((row['timestamp'], 'positionStateLiquidated', {'symbol': row['symbol']}))
    found.sort(key=lambda event: event[0])
    return [{'id': number, 'type': kind, 'status': 'success', 'userId': account.id, 'createdById': account.id,
             'eventMeta': meta, 'created': created} for number, (created, kind, meta) in enumerate(found, 1)]
