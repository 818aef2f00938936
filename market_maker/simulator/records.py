"""The customers of an exchange as plain data, and back: what must be known to go on after a restart.

A record holds what cannot be derived: of an order all its attributes and its place in the line, of a position quantity,
cost and margin mode, of a purse its money.  Sums, margins and results at the mark are computed again.  The market and
the liquidation engine are nobody's customers: after a restart the market holds the other side of every position and
whatever money makes the books balance, and the insurance fund has what it had.  Contracts begin as they are listed, at
the prices that they had.

Pure; records are made of what JSON knows.
"""
from typing import Any, Dict, Iterable, List, Tuple  # noqa: F401

from market_maker.simulator import clearing, laws
from market_maker.simulator.account import Account
from market_maker.simulator.orders import Order

KEY = ('key', 'secret', 'permissions', 'cidr', 'enabled', 'created')
PURSE = ('wallet', 'deposited', 'withdrawn', 'transferred_in', 'transferred_out', 'pending_debit', 'prev_realised')
POSITION = ('quantity', 'cost', 'rebalanced', 'prev_realised', 'isolated', 'leverage', 'risk_limit', 'pos_cross',
            'opening_qty')
ORDER = ('side', 'price_ticks', 'quantity', 'leaves', 'shown', 'filled', 'cost', 'first_ticks', 'is_mixed', 'display',
         'order_id', 'client_id', 'kind', 'time_in_force', 'post_only', 'reduce_only', 'close', 'is_hidden', 'is_final',
         'is_told', 'finished_at', 'stop_ticks', 'trigger', 'is_armed', 'peg', 'peg_offset', 'waits_for_rise',
         'is_whole', 'link', 'contingency', 'is_held', 'within_mark', 'ticket', 'row')


SKIPPED = 100000    # ids of executions and transactions that are left out at a restart


class Unfit(ValueError):
    """Records that this exchange cannot take over, as it was started."""


def account_record(account: Any) -> Dict[str, Any]:
    """Return what an account is, without its money, positions and orders."""
    return {'id': account.id, 'opened': account.opened, 'restricted': account.restricted,
            'cancel_at': account.cancel_at,
            'keys': [{name: getattr(key, name) for name in KEY} for key in account.keys]}


def purse_record(purse: Any) -> List[Any]:
    """Return the money of an account in one currency."""
    return [getattr(purse, name) for name in PURSE]


def position_record(position: Any) -> List[Any]:
    """Return what an account holds of a contract, and in which margin mode."""
    return [getattr(position, name) for name in POSITION]


def order_record(order: Any) -> Dict[str, Any]:
    """Return an order."""
    record = {name: getattr(order, name) for name in ORDER}
    record['symbol'] = order.instrument.symbol
    record['rests'] = order.level is not None
    return record


def house_record(exchange: Any) -> Dict[str, Any]:
    """Return what belongs to nobody: prices, grids, the insurance fund, the numbers that are given out next."""
    fund = {}
    for purse in exchange.liquidator.purses.values():
        held = [one for one in exchange.liquidator.positions.values() if one.purse is purse]
        fund[purse.currency] = purse.wallet + sum(laws.value_of(one) - one.cost for one in held)
    return {
        'prices': {symbol: one.row.get('markPrice') or one.row.get('lastPrice')
                   for symbol, one in exchange.instruments.items()},
        'grids': {symbol: [tape.instrument.tick, tape.instrument.lot] for symbol, tape in exchange.tapes.items()},
        'fund': fund, 'numbers': exchange.numbers()}


def park(instruments: Dict[str, Any], house: Dict[str, Any]) -> None:
    """Give instruments that no exchange lists yet the prices of a house record."""
    for symbol, price in house['prices'].items():
        if symbol in instruments and price:
            instruments[symbol].park(price)


def restore(exchange: Any, house: Dict[str, Any], accounts: Iterable[Dict[str, Any]],
            purses: Iterable[Tuple[int, str, List[Any]]], positions: Iterable[Tuple[int, str, List[Any]]],
            orders: Iterable[Tuple[int, Dict[str, Any]]], executions: Iterable[Tuple[int, Dict[str, Any]]],
            transactions: Iterable[Tuple[int, Dict[str, Any]]]) -> None:
    """Let an exchange without customers go on with those of the records; rows come oldest first.

    Raise Unfit when it does not list what they hold.
    """
    for record in accounts:
        _restore_account(exchange, record)
    for number, currency, values in purses:
        purse = exchange.accounts[number].purse(currency)
        _set(purse, PURSE, values)
        exchange.journal.mark_purse(purse)
    for number, symbol, values in positions:
        _restore_position(exchange, exchange.accounts[number], symbol, values, house)
    for number, row in executions:
        exchange.accounts[number].executions.append(row)
    for number, row in transactions:
        exchange.accounts[number].transactions.append(row)
    # Open orders are listed as they came (0.0), finished ones as they ended, resting ones queue by their tickets.
    resting = []   # type: List[Order]
    for number, record in sorted(orders, key=lambda one: one[1]['finished_at']):
        resting += _restore_order(exchange, exchange.accounts[number], record, house)
    for order in sorted(resting, key=lambda one: one.ticket):
        _rest(exchange, order)
    # The house may have been noted a moment before the last ids were given out.
    exchange.go_on_from([number + SKIPPED for number in house['numbers']])
    for currency, amount in house['fund'].items():
        exchange.liquidator.purse(currency).wallet = amount
    _balance(exchange)
    exchange.settle()


def _set(one: Any, names: Tuple[str, ...], values: List[Any]) -> None:
    if len(names) != len(values):
        raise ValueError('{} values where {} are needed'.format(len(values), len(names)))
    for name, value in zip(names, values):
        setattr(one, name, value)


def _restore_account(exchange: Any, record: Dict[str, Any]) -> None:
    account = Account(record['id'], record['opened'])
    account.restricted = record['restricted']
    exchange.accounts[account.id] = account
    for key in record['keys']:
        exchange.add_key(account, key['key'], key['secret'], key['permissions'], key['cidr'])
        added = account.keys[-1]
        added.enabled, added.created = key['enabled'], key['created']
    if record['cancel_at'] is not None:
        exchange.arm_switch(account, record['cancel_at'])


def _instrument(exchange: Any, symbol: str, house: Dict[str, Any]) -> Any:
    if symbol not in exchange.tapes:
        raise Unfit('holds positions or orders in {}, which is not traded here'.format(symbol))
    instrument = exchange.instruments[symbol]
    if [instrument.tick, instrument.lot] != house['grids'][symbol]:
        raise Unfit('was made when tick and lot of {} were {} and {}, not {} and {}'.format(
            symbol, *(house['grids'][symbol] + [instrument.tick, instrument.lot])))
    return instrument


def _restore_position(exchange: Any, account: Any, symbol: str, values: List[Any], house: Dict[str, Any]) -> None:
    if symbol not in exchange.tapes and not values[0]:
        return
    position = account.position(_instrument(exchange, symbol, house))
    _set(position, POSITION, values)
    position.set_rates()
    clearing.carry(position)
    exchange.note_holder(position)
    exchange.tapes[symbol].long_interest += max(0, position.quantity)
    exchange.journal.mark_all(position)


def _restore_order(exchange: Any, account: Any, record: Dict[str, Any], house: Dict[str, Any]) -> List[Order]:
    """Give an account its order back; return it when it has to go into the book, which is left to the caller."""
    symbol = record['symbol']
    if record['is_final'] and symbol not in exchange.tapes:
        return []
    instrument = _instrument(exchange, symbol, house)
    tape, position = exchange.tapes[symbol], account.position(instrument)
    order = Order(account, position, instrument, record['side'], record['price_ticks'], record['quantity'])
    for name in ORDER:
        setattr(order, name, record[name])
    if order.is_final:
        account.finished[order.order_id] = order
        if order.client_id:
            account.finished_by_client[order.client_id] = order
        return []
    account.orders[order.order_id] = order
    if order.client_id:
        account.by_client[order.client_id] = order
    position.open_orders += 1
    if order.link:
        account.links.setdefault(order.link, []).append(order)
    if order.is_armed and not order.is_held:
        exchange.trigger.arm(order, tape)
    return [order] if record['rests'] else []


def _rest(exchange: Any, order: Order) -> None:
    exchange.matcher.rest(order, exchange.tapes[order.instrument.symbol])
    if order.reduce_only:
        order.position.reducers.append(order)


def _balance(exchange: Any) -> None:
    """Let the market hold the other side of all positions, and the money that makes everything add up."""
    sums = {}   # type: Dict[str, List[int]]
    for account in exchange.accounts.values():
        for symbol, position in account.positions.items():
            total = sums.setdefault(symbol, [0, 0])
            total[0] += position.quantity
            total[1] += position.cost
    for symbol, (quantity, cost) in sums.items():
        other = exchange.market.position(exchange.instruments[symbol])
        other.quantity, other.cost = -quantity, -cost
        exchange.tapes[symbol].long_interest += max(0, other.quantity)
        clearing.carry(other)
    for currency, surplus in laws.money(exchange).items():
        exchange.market.purse(currency).wallet -= surplus
