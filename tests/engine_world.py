"""A small exchange for tests of the engine, and what every test asks of it: laws, replayed tables, shorthand orders."""
import random

from market_maker.simulator import clearing
from market_maker.simulator.exchange import Exchange, Refusal
from market_maker.simulator.instruments import catalogue
from market_maker.simulator.schema import TABLES

NOW = 1777784515.5   # 2026-05-03T05:01:55.500Z
XBT = 100000000


def an_exchange(symbols=('XBTUSD',), seed=1, now=NOW, fees=None, date=None):
    """Return an exchange with these contracts and nobody in it."""
    return Exchange(catalogue(date, symbols), now, random.Random(seed), fees)


def a_market(symbol='XBTUSD', bid=None, ask=None, size=100000, **options):
    """Return an exchange whose market rests one large order on each side of a contract, the mark pinned between
    them.
    """
    exchange = an_exchange((symbol,), **options)
    instrument = exchange.instruments[symbol]
    bid = instrument.row['bidPrice'] if bid is None else bid
    ask = instrument.price_of(instrument.ticks_of(bid) + 1) if ask is None else ask
    exchange.set_index(symbol, (bid + ask) / 2)
    exchange.rest(symbol, 'Buy', instrument.ticks_of(bid), size)
    exchange.rest(symbol, 'Sell', instrument.ticks_of(ask), size)
    exchange.set_mark(symbol, (bid + ask) / 2)
    exchange.drain()
    return exchange


def order(side='Buy', quantity=100, price=None, symbol='XBTUSD', **more):
    """Return the fields of an order; without a price a market order."""
    fields = dict(symbol=symbol, side=side, orderQty=quantity, **more)
    if price is not None:
        fields['price'] = price
    elif 'ordType' not in fields:
        fields['ordType'] = 'Market'
    return fields


def refusal(action, *arguments):
    """Return the message of the Refusal that a call raises."""
    try:
        action(*arguments)
    except Refusal as error:
        assert error.status == 400, (error.status, error.message)
        return error.message
    raise AssertionError('{} was not refused'.format(arguments[1:]))


def of_table(changes, table, action=None):
    """Return the rows of all changes of a table, flat."""
    return [row for change in changes if change.table == table and action in (None, change.action)
            for row in change.rows]


class Mirror(object):
    """Keeps the tables of a subscriber by applying changes: partial, insert, update, delete, and nothing else."""

    def __init__(self, exchange, table, account=None, symbol=None):
        self.table, self.account, self.symbol = table, account, symbol
        self.keys = TABLES[table][0]
        self.rows = {}
        self.order = []
        for row in exchange.rows(table, account, symbol):
            self._put(dict(row))

    def _key(self, row):
        return tuple(row[name] for name in self.keys)

    def _put(self, row):
        if not self.keys:
            self.order.append(row)
            return
        key = self._key(row)
        assert key not in self.rows, '{} inserted twice: {}'.format(self.table, key)
        self.rows[key] = row

    def apply(self, change):
        """Apply one change if it is of this table, account and symbol."""
        if change.table != self.table or self.symbol not in (None, change.symbol):
            return
        if change.account_id != (self.account.id if self.account else None):
            return
        for row in change.rows:
            if change.action == 'insert':
                assert None not in row.values(), (change.table, row)
                self._put(dict(row))
            elif change.action == 'update':
                known = self.rows[self._key(row)]
                known.update(row)
                for name in [name for name, value in known.items() if value is None]:
                    del known[name]
            else:
                assert change.action == 'delete'
                del self.rows[self._key(row)]


def check_laws(exchange, money_before=None):
    """Check what must hold after any history: positions, books, incremental sums."""
    for symbol, tape in exchange.tapes.items():
        everybody = list(exchange.accounts.values()) + [exchange.market, exchange.liquidator]
        held = [one.positions[symbol] for one in everybody if symbol in one.positions]
        assert sum(position.quantity for position in held) == 0, symbol
        assert tape.long_interest == sum(max(0, position.quantity) for position in held), symbol
        check_book(tape.book)
    for account in exchange.accounts.values():
        check_account(exchange, account)


def check_book(book):
    """The book is not crossed, its levels are sorted and add up."""
    for side in (book.bids, book.asks):
        assert side.prices == sorted(side.levels), side.name
        assert side.invisible == sum(1 for level in side.levels.values() if not level.quantity)
        for key, level in side.levels.items():
            resting = list(level)
            assert resting and level.key == key and level.ticks == key * side.sign
            assert level.quantity == sum(one.shown for one in resting)
            assert level.quantity + level.hidden == sum(one.leaves for one in resting)
            assert all(one.level is level and one.leaves > 0 and one.price_ticks == level.ticks for one in resting)
    if book.bids.prices and book.asks.prices:
        assert book.bids.prices[-1] < -book.asks.prices[-1], 'crossed'


def check_account(exchange, account):
    """The sums that the engine keeps with every change are those that a count from the beginning gives."""
    sums = {}
    for position in account.positions.values():
        instrument = position.instrument
        resting = [one for one in account.orders.values() if one.position is position and one.is_counted]
        for is_buy, quantity, cost, premium in ((True, position.buy_qty, position.buy_cost, position.buy_premium),
                                                (False, position.sell_qty, position.sell_cost, position.sell_premium)):
            mine = [one for one in resting if one.is_buy == is_buy]
            assert quantity == sum(one.leaves for one in mine)
            assert cost == sum(one.leaves // instrument.lot * instrument.lot_value(one.price_ticks) for one in mine)
            assert premium == sum(one.leaves // instrument.lot * clearing.premium_of_lot(
                instrument, is_buy, instrument.lot_value(one.price_ticks)) for one in mine)
        assert position.open_orders == len([one for one in account.orders.values() if one.position is position])
        assert position.stops == len([one for one in account.orders.values()
                                      if one.position is position and one.is_armed and not one.is_held])
        needs = clearing.order_needs(position, position.buy_qty, position.buy_cost, position.buy_premium,
                                     position.sell_qty, position.sell_cost, position.sell_premium)
        assert (position.open_cost, position.open_premium, position.init) == needs
        value = position.quantity // instrument.lot * instrument.mark_lot_value * instrument.buy_sign
        assert position.mark_value == value
        assert position.upnl == (value - position.cost if position.quantity else 0)
        assert position.quantity or not position.cost
        total = sums.setdefault(position.purse.currency, [0, 0, 0, 0, 0])
        for place, amount in enumerate((position.init, position.maint, position.upnl, abs(position.mark_value),
                                        position.upnl if position.isolated else 0)):
            total[place] += amount
    for purse in account.purses.values():
        expected = sums.get(purse.currency, [0, 0, 0, 0, 0])
        assert [purse.init, purse.maint, purse.upnl, purse.mark_value, purse.isolated_upnl] == expected
    for one in account.orders.values():
        assert not one.is_final and one.filled + one.leaves == one.quantity, one
    for one in account.finished.values():
        assert one.is_final and one.level is None
        assert one.row['cumQty'] + one.row['leavesQty'] == one.row['orderQty'] or \
            one.row['ordStatus'] in ('Canceled', 'Rejected'), one.row


def money(exchange):
    """Return currency -> everything there is: wallets, unrealised results, collected fees; less what came from
    outside.
    """
    totals = {}
    for account in list(exchange.accounts.values()) + [exchange.market, exchange.liquidator]:
        for purse in account.purses.values():
            totals[purse.currency] = totals.get(purse.currency, 0) + purse.wallet - purse.deposited
        for position in account.positions.values():
            instrument = position.instrument
            value = position.quantity // instrument.lot * instrument.mark_lot_value * instrument.buy_sign
            totals[instrument.currency] = totals.get(instrument.currency, 0) + value - position.cost
    for currency, amount in exchange.fees.items():
        totals[currency] = totals.get(currency, 0) + amount
    return totals
