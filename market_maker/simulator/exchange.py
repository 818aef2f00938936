"""A whole BitMEX in memory: instruments, books, accounts, matching, margin and tables behind one object.

Time and randomness are handed in: ``advance`` moves the clock, ids come from the generator given to the constructor,
so the same calls give the same bytes.  No socket, thread, clock, file or log in here; the same engine runs the local
exchange and a backtest.

Who reads the tables: ``drain`` returns what changed since the last time, in order.  ``rows`` returns the image of a
table with every change that was made so far; whoever hands images to new subscribers therefore first drains and hands
the changes to the old ones.
"""
from collections import OrderedDict, deque
from heapq import heappop, heappush, merge
from operator import itemgetter
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Tuple  # noqa: F401

from market_maker.simulator import clearing, journal, queries, schema, statistics
from market_maker.simulator.account import DEFAULT_BALANCES, Account, Key, Position, Purse
from market_maker.simulator.amends import REVIVAL_SECONDS, Amender
from market_maker.simulator.book import BUY, Book
from market_maker.simulator.desk import Desk
from market_maker.simulator.funding import Funding
from market_maker.simulator.instruments import Instrument
from market_maker.simulator.journal import Change, Journal, filled
from market_maker.simulator.liquidation import LIQUIDATOR_ACCOUNT, Liquidation
from market_maker.simulator.margins import MarginDesk
from market_maker.simulator.marks import Marker
from market_maker.simulator.matching import Matcher
from market_maker.simulator.orders import TEXT_LIMIT, Order, given, real
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.tables import SHORT_DEPTHS, Tape
from market_maker.simulator.timestamps import DAY, HOUR, MINUTE, Stamper, iso, next_multiple
from market_maker.simulator.triggers import Trigger
from market_maker.simulator.wallets import Banker

__all__ = ['Change', 'Exchange', 'Refusal']

MARKET_ACCOUNT = 0
FIRST_CURRENCY = 'XBt'
FIRST_ACCOUNT = 100001
INSURANCE_FUND = (('XBt', 3500000000000), ('USDt', 2000000000000))  # what the fund holds at the start, minor units

INDEX_DECIMALS = 2
MARK_INTERVAL = 1.0    # seconds between two published marks
PRICE_INTERVAL = 0.5   # seconds between two refreshes of bid and ask in the instrument row
SHORT_INTERVAL = 0.1   # seconds between two messages of the short book views
TIME, ARRIVAL = itemgetter('timestamp'), itemgetter('transactTime')
LONGEST_SWITCH = 10 ** 11  # milliseconds of a cancelAllAfter, three years
RANDOM_BITS, VERSION_BITS = 0xffffffffffff0fff3fffffffffffffff, 0x40008000000000000000   # of a guid of version 4
ROWS_KEPT = 2000       # of index prints, funding, insurance and settlement rows each


class Exchange(object):
    """The exchange.  Instruments are those of ``instruments.catalogue``; ``now`` is in Unix seconds; ``rng`` a
    random.Random.

    ``fees`` (maker, taker) replaces the rates of all contracts.  ``skipped`` names tables that nobody will read and
    that are therefore not told: 'orderBookL2_25' and 'orderBook10' cost a backtest more than they are worth.
    """

    def __init__(self, instruments: 'OrderedDict[str, Instrument]', now: float, rng: Any,
                 fees: Optional[Tuple[float, float]] = None):
        self.now = now
        self.rng = rng
        self.instruments = instruments
        self.skipped = frozenset()           # type: Any
        self._stamper = Stamper()
        self._stamped = None                 # type: Optional[float]  # the moment that _stamp is the text of
        self._stamp = ''
        self._executions = 0
        self._agenda = []                    # type: List[Tuple[float, int, Callable[[float], None], float]]
        self._agenda_count = 0
        self._due = now
        self.accounts = OrderedDict()        # type: OrderedDict[int, Account]
        self._by_key = {}                    # type: Dict[str, Account]
        self.journal = Journal()
        self.fees = {}                       # type: Dict[str, int]  # collected so far, minor units
        self.index_prints = deque(maxlen=ROWS_KEPT)   # type: Deque[Dict[str, Any]]
        self.funding_rows = deque(maxlen=ROWS_KEPT)   # type: Deque[Dict[str, Any]]
        self.insurance_rows = deque(maxlen=ROWS_KEPT)  # type: Deque[Dict[str, Any]]
        self.settlement_rows = deque(maxlen=ROWS_KEPT)  # type: Deque[Dict[str, Any]]
        self.announcements = statistics.announcements(now)
        self.liquidations = OrderedDict()    # type: OrderedDict[str, Dict[str, Any]]  # by orderID
        self._index_moved = OrderedDict()    # type: OrderedDict[str, float]  # prices not published yet
        self._index_shown = {}               # type: Dict[str, float]  # when each index was published last
        self.books = OrderedDict()           # type: OrderedDict[str, Book]
        self.tapes = OrderedDict()           # type: OrderedDict[str, Tape]
        self.holders = {}                    # type: Dict[str, Any]  # symbol -> open positions by account number
        self.premiums = {}                   # type: Dict[str, Any]  # symbol -> positions with orders beyond the mark
        self.banker = Banker(self)
        self.matcher = Matcher(self)
        self.marker = Marker(self)
        self.trigger = Trigger(self)
        self.funding = Funding(self)
        self.liquidation = Liquidation(self)
        self.desk = Desk(self)
        self.amender = Amender(self)
        self.margin_desk = MarginDesk(self)
        self.market = Account(MARKET_ACCOUNT)  # the market's own hand
        self.market.is_market = True
        self.liquidator = Account(LIQUIDATOR_ACCOUNT)  # the liquidation engine; its purses are the insurance fund
        self.endowment = dict(INSURANCE_FUND)   # what the insurance fund began with, minor units by currency
        for currency, amount in INSURANCE_FUND:
            self.liquidator.purse(currency).wallet = amount
        for instrument in instruments.values():
            self._list(instrument, fees)
        for currency in self.fees:
            self.tell_insurance(currency)
        self._start_clocks()
        self.journal.outbox = []

    def _list(self, instrument: Instrument, fees: Optional[Tuple[float, float]]) -> None:
        instrument.begin(self.now)
        if instrument.is_index:
            return
        if fees is not None:
            instrument.set_fees(*fees)
        symbol = instrument.symbol
        self.books[symbol] = book = Book(instrument)
        self.tapes[symbol] = tape = Tape(instrument, book, self.journal, self.stamp())
        self.holders[symbol] = OrderedDict()
        self.premiums[symbol] = OrderedDict()
        self.fees.setdefault(instrument.currency, 0)
        self.funding.start(tape)
        self.marker.publish(tape, self.now)
        tape.changes = {}
        instrument.row['timestamp'] = self.stamp()

    # -- ids and times -----------------------------------------------------------------------------

    def stamp(self) -> str:
        """Return the present as text."""
        if self.now != self._stamped:
            self._stamped = self.now
            self._stamp = self._stamper.text(self.now)
        return self._stamp

    def set_skew(self, seconds: float) -> None:
        """Let every time stamp from now on be wrong by so many seconds; what is due stays due when it was."""
        self._stamper.skew = seconds
        self._stamped = None

    def new_order_id(self) -> str:
        """Return a random guid of version 4."""
        digits = '%032x' % (self.rng.getrandbits(128) & RANDOM_BITS | VERSION_BITS)
        return '-'.join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def new_execution_id(self) -> str:
        """Return the next execID or trdMatchID: a counter in the form of BitMEX'."""
        self._executions += 1
        return '00000000-006d-1000-0000-%012x' % self._executions

    def numbers(self) -> List[int]:
        """Return how many ids of executions, and of transactions, were given out."""
        return [self._executions, self.banker.count]

    def go_on_from(self, numbers: List[int]) -> None:
        """Give out ids after those that an exchange before this one gave out."""
        self._executions, self.banker.count = numbers

    # -- the clock ---------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Move the clock to ``now`` (never back) and do all that falls due on the way, each at its own time."""
        if now >= self._due:
            agenda = self._agenda
            while agenda and agenda[0][0] <= now:
                due, _, action, interval = heappop(agenda)
                if interval:
                    # what is done ten times a second is not made up for after a jump of hours
                    following = due + interval
                    if interval < MINUTE and following <= now:
                        following += (now - following) // interval * interval
                    self._schedule(following, action, interval)
                if due > self.now:
                    self.now = due
                action(due)
            self._due = agenda[0][0]
        if now > self.now:
            self.now = now

    def at(self, when: float, action: Callable[[float], None]) -> None:
        """Do ``action(when)`` once, when the clock gets there."""
        self._schedule(when, action, 0)

    def _schedule(self, when: float, action: Callable[[float], None], interval: float) -> None:
        self._agenda_count += 1
        heappush(self._agenda, (when, self._agenda_count, action, interval))
        if when < self._due:
            self._due = when

    def _start_clocks(self) -> None:
        now = self.now
        self._schedule(next_multiple(now, MARK_INTERVAL), self._publish_marks, MARK_INTERVAL)
        self._schedule(next_multiple(now, PRICE_INTERVAL), self._refresh_prices, PRICE_INTERVAL)
        self._schedule(next_multiple(now, SHORT_INTERVAL), self._tell_short_views, SHORT_INTERVAL)
        self._schedule(next_multiple(now, MINUTE), self._close_minute, MINUTE)
        self._schedule(next_multiple(now, HOUR), self._close_session, HOUR)
        self._schedule(next_multiple(now, DAY), self._close_day, DAY)
        self._schedule(next_multiple(now, DAY, DAY / 2), self._publish_insurance, DAY)
        self._due = self._agenda[0][0]

    def _publish_marks(self, due: float) -> None:
        for symbol in list(self._index_moved):
            self._publish_index(symbol)
        for tape in self.tapes.values():
            if tape.instrument.row['state'] == 'Open':
                self.marker.publish(tape, due)
                self.trigger.follow(tape)
                self.liquidation.set_percentiles(tape.symbol)
        self._after_marks()

    def _after_marks(self) -> None:
        """Do what new marks may call for: set off waiting orders, liquidate."""
        for tape in self.tapes.values():
            self.trigger.check(tape, 'MarkPrice', 'IndexPrice')
            self.after(tape)
        self.liquidation.check()

    def _refresh_prices(self, due: float) -> None:
        self.refresh_prices()

    def _tell_short_views(self, due: float) -> None:
        for tape in self.tapes.values():
            if tape.book.dirty:
                tape.settle(self.stamp())
            tape.tell_short_views(self.stamp(), self.skipped)

    def _close_minute(self, due: float) -> None:
        for tape in self.tapes.values():
            for table, size, row in tape.bins.close_minute(due, tape.quotes[-1]):
                self.journal.tell(table + size, 'insert', [row], None, tape.symbol)
            if not tape.instrument.parked:
                tape.set_day()
            self.marker.refresh_basis(tape)
            self.funding.sample(tape)

    def _close_session(self, due: float) -> None:
        for tape in self.tapes.values():
            tape.close_session(iso(due), iso(due + HOUR))
            for position in self.holders[tape.symbol].values():
                position.opening_qty = position.quantity
                self.journal.mark_all(position)

    def _close_day(self, due: float) -> None:
        """End the orders that were good for a day."""
        for account in list(self.accounts.values()):
            self.desk.cancel_all(account, lambda row: row['timeInForce'] == 'Day',
                                 'Canceled: Order had timeInForce of Day')
            self.trigger.act_on_links()

    def _publish_insurance(self, due: float) -> None:
        for currency in self.fees:
            self.tell_insurance(currency)

    def tell_insurance(self, currency: str) -> None:
        """Tell what the insurance fund holds in a currency."""
        row = {'currency': currency, 'timestamp': self.stamp(), 'walletBalance': self.liquidator.purse(currency).wallet}
        self.insurance_rows.append(row)
        self.journal.tell('insurance', 'insert', [row])

    # -- accounts ----------------------------------------------------------------------------------

    def open_account(self, key: Optional[str] = None, secret: Optional[str] = None,
                     balances: Optional[Dict[str, int]] = None, positions: Iterable[Dict[str, Any]] = (),
                     permissions: Iterable[str] = ('order', 'withdraw'), cidr: Optional[str] = None) -> Account:
        """Open an account and return it.

        ``balances`` are minor units by currency (default: DEFAULT_BALANCES); ``positions`` dicts with symbol,
        currentQty and avgEntryPrice, whose other side the market's account takes.  ValueError for a quantity that is
        no multiple of the lot, or a key that is taken.
        """
        account = Account(FIRST_ACCOUNT + len(self.accounts), self.stamp())
        if key is not None:
            self.add_key(account, key, secret or '', permissions, cidr)
        self.accounts[account.id] = account
        self.journal.accounts[account.id] = account
        given_balances = dict(DEFAULT_BALANCES if balances is None else balances)
        # clients take the first row of the margin table for the one in bitcoin
        self.journal.mark_purse(account.purse(FIRST_CURRENCY))
        for currency in sorted(given_balances, key=lambda name: (name != FIRST_CURRENCY, name)):
            self.banker.deposit(account.purse(currency), given_balances[currency])
        for wanted in positions:
            self._give(account, wanted)
        self.journal.settle(self.stamp())
        return account

    def add_key(self, account: Account, key: str, secret: str, permissions: Iterable[str] = ('order', 'withdraw'),
                cidr: Optional[str] = None) -> None:
        """Give an account a further API key; ValueError when somebody has it already."""
        if key in self._by_key:
            raise ValueError('API key {}... belongs to an account already'.format(key[:4]))
        account.keys.append(Key(key, secret, permissions, cidr, self.stamp()))
        self.journal.accounts[account.id] = account
        self._by_key[key] = account

    def remove_key(self, account: Account, key: Key) -> None:
        """Forget an API key of an account."""
        account.keys.remove(key)
        self.journal.accounts[account.id] = account
        del self._by_key[key.key]

    def account_of(self, key: str) -> Optional[Account]:
        """Return the account that an API key belongs to, None when nobody has it."""
        return self._by_key.get(key)

    def _give(self, account: Account, wanted: Dict[str, Any]) -> None:
        """Hand an account a position at a price, the market taking the other side."""
        instrument = self.instruments[wanted['symbol']]
        quantity, price = int(wanted['currentQty']), float(wanted['avgEntryPrice'])
        if quantity % instrument.lot:
            raise ValueError('a position of {} contracts of {} is no multiple of its lot {}'.format(quantity,
                                                                                                    instrument.symbol,
                                                                                                    instrument.lot))
        if not quantity:
            return
        tape = self.tapes[instrument.symbol]
        cost = quantity // instrument.lot * instrument.lot_value_at(price) * instrument.buy_sign
        self.matcher.book_fill(account.position(instrument), quantity, cost, 0, tape)
        other = self.market.position(instrument)
        before = other.quantity
        other.purse.wallet += clearing.apply_fill(other, -quantity, -cost)
        tape.long_interest += max(0, other.quantity) - max(0, before)
        clearing.carry(other)

    def note_holder(self, position: Position) -> None:
        """Keep track of who holds a contract."""
        holders = self.holders[position.instrument.symbol]
        if position.quantity:
            holders[position.account.id] = position
        else:
            holders.pop(position.account.id, None)

    def note_premium(self, position: Position) -> None:
        """Keep track of who has orders beyond the mark."""
        self.premiums[position.instrument.symbol][position.account.id] = position

    # -- customers ---------------------------------------------------------------------------------

    def instrument_of(self, symbol: Any) -> Optional[Instrument]:
        """Return the instrument of a symbol in any case, None when there is none."""
        if not isinstance(symbol, str):
            return None
        return self.instruments.get(symbol) or self.instruments.get(symbol.upper())

    def tradable(self, symbol: Any) -> Instrument:
        """Return the open contract of a symbol; refuse what cannot be traded."""
        instrument = self.instruments.get(symbol) if type(symbol) is str else None
        if instrument is None:
            if not given(symbol):
                raise Refusal(400, "'symbol' is a required arg.")
            instrument = self.instrument_of(symbol)
        if instrument is None:
            raise Refusal(400, 'Invalid symbol')
        state = instrument.row['state']
        if state == 'Open':
            return instrument
        if state == 'Settled':
            raise Refusal(400, 'Instrument expired')
        raise Refusal(400, 'Instrument not listed for trading yet' if state == 'Unlisted' else 'Market is not open')

    def place(self, account: Account, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Place an order (POST /order) and return its row, which may already be filled or canceled; Refusal when it is
        not accepted.
        """
        order = self.desk.place(account, fields)
        account.activity.note_quote(self.now, order.instrument.symbol)
        self.after(self.tapes[order.instrument.symbol])
        return dict(order.row)  # type: ignore[arg-type]

    def amend(self, account: Account, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Amend an order (PUT /order) and return its row."""
        order = self.amender.amend(account, fields)
        account.activity.note_quote(self.now, order.instrument.symbol)
        self.after(self.tapes[order.instrument.symbol])
        return dict(order.row)  # type: ignore[arg-type]

    def cancel(self, account: Account, fields: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Cancel orders by orderID or clOrdID (DELETE /order); one row an item, with ``error`` in it where it could
        not be canceled.
        """
        rows = self.desk.cancel(account, fields)
        if self.trigger.to_link:
            self.trigger.act_on_links()
        return rows

    def cancel_all(self, account: Account, fields: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Cancel all open orders (DELETE /order/all), of one ``symbol``, or those whose rows meet ``filter``."""
        tests = []  # type: List[Callable[[Dict[str, Any]], bool]]
        if given(fields.get('symbol')):
            named = queries.symbols_of(fields['symbol'], self.instruments)
            tests.append(lambda row: named(row['symbol']))
        if given(fields.get('filter')):
            tests.extend(queries.conditions(queries.read_filter(fields['filter']), schema.TABLES['order'][1]))
        text = fields.get('text')
        return self.desk.cancel_all(account, lambda row: all(test(row) for test in tests),
                                    'Canceled\n{}'.format(text[:TEXT_LIMIT]) if text
                                    and isinstance(text, str) else None)

    def cancel_all_after(self, account: Account, timeout_ms: Any) -> Dict[str, Any]:
        """Arm the dead man's switch of an account (milliseconds; 0 disarms it): all its orders are canceled when the
        time is up.
        """
        timeout = real(timeout_ms, 'timeout is invalid')
        if not 0 <= timeout <= LONGEST_SWITCH:
            raise Refusal(400, 'timeout is invalid')
        self.journal.accounts[account.id] = account
        if not timeout:
            account.cancel_at = None
            return {'now': self.stamp(), 'cancelTime': 0}
        when = self.now + timeout / 1000.0
        self.arm_switch(account, when)
        return {'now': self.stamp(), 'cancelTime': self._stamper.text(when)}

    def arm_switch(self, account: Account, when: float) -> None:
        """Cancel all orders of an account at ``when`` (Unix seconds), unless it is put off until then."""
        account.cancel_at = when
        # One look at the clock at a time is enough, however often the switch is armed again.
        if account.switch_at is None or when < account.switch_at:
            self._watch_switch(account, when)

    def close_position(self, account: Account, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Close the whole position (POST /order/closePosition), at the market or at ``price``; return the order's
        row.
        """
        wanted = {'symbol': fields.get('symbol'), 'price': fields.get('price'), 'execInst': 'Close',
                  'text': 'Position Close via API.'}
        return self.place(account, wanted)

    def leverage(self, account: Account, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Set a position's leverage (POST /position/leverage) and return its row; 0 is cross margin."""
        return self._position_row(self.margin_desk.leverage(account, fields))

    def isolate(self, account: Account, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Switch between isolated and cross margin (POST /position/isolate); return the position's row."""
        return self._position_row(self.margin_desk.isolate(account, fields))

    def risk_limit(self, account: Account, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Set a position's risk limit (POST /position/riskLimit); return its row."""
        return self._position_row(self.margin_desk.risk_limit(account, fields))

    def transfer_margin(self, account: Account, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Move margin in or out of an isolated position (POST /position/transferMargin); return its row."""
        return self._position_row(self.margin_desk.transfer_margin(account, fields))

    def _position_row(self, position: Position) -> Dict[str, Any]:
        self.settle()
        return filled(position.row)

    def _watch_switch(self, account: Account, when: float) -> None:
        account.switch_at = when
        self.at(when, lambda due: self._switch(account, due))

    def _switch(self, account: Account, due: float) -> None:
        """Cancel the orders of an account if its time is up, else look again when it will be."""
        if account.switch_at == due:
            account.switch_at = None
        if account.cancel_at is None:
            return
        if account.cancel_at > due:
            if account.switch_at is None:
                self._watch_switch(account, account.cancel_at)
        else:
            account.cancel_at = None
            self.journal.accounts[account.id] = account
            self.desk.cancel_all(account, lambda row: True, 'Canceled: Cancel All After\nCanceled via API.')

    def after(self, tape: Tape) -> None:
        """Do what an event on a contract may call for, then tell its quote."""
        to_trim = self.matcher.to_trim
        if tape.has_traded:
            self.trigger.check(tape, 'LastPrice')
        while to_trim or self.trigger.to_link:
            if to_trim:
                position = to_trim.pop()
                self.matcher.trim(position, self.tapes[position.instrument.symbol])
            else:
                self.trigger.act_on_links()
        tape.check_quote(self.stamp())
        if tape.has_traded:
            self.liquidation.check()

    # -- the market's own hand ---------------------------------------------------------------------

    def rest(self, symbol: str, side: str, price_ticks: int, quantity: int) -> Optional[Order]:
        """Rest an order of the market and return it (.leaves, .price_ticks, .side); None when it would match.

        No margin, fee or private row; all such orders belong to one account.  ``quantity`` is a multiple of the lot.
        """
        tape = self.tapes[symbol]
        instrument = tape.instrument
        if instrument.grain > 1:
            # never better than asked for
            price_ticks -= price_ticks % instrument.grain if side == BUY else -(-price_ticks % instrument.grain)
        if side == BUY:
            opposite = tape.book.asks.prices
            crosses = opposite and price_ticks >= -opposite[-1]
        else:
            opposite = tape.book.bids.prices
            crosses = opposite and price_ticks <= opposite[-1]
        if crosses:
            return None
        if quantity <= 0 or quantity % instrument.lot or price_ticks <= 0:
            raise ValueError('{} {} at {} ticks: need a positive multiple of the lot {} and a positive price'
                             .format(quantity, symbol, price_ticks, instrument.lot))
        order = Order(self.market, None, instrument, side, price_ticks, quantity)
        instrument.parked = False
        stamp = self.stamp()
        tape.book.add(order, stamp)
        tape.check_quote(stamp)
        return order

    def take(self, symbol: str, side: str, quantity: int, limit_ticks: Optional[int] = None) -> int:
        """Let the market take up to ``quantity`` at once, no further than ``limit_ticks``; return how much was
        filled.
        """
        tape = self.tapes[symbol]
        instrument = tape.instrument
        if quantity <= 0 or quantity % instrument.lot:
            raise ValueError('{} {}: need a positive multiple of the lot {}'.format(quantity, symbol, instrument.lot))
        order = Order(self.market, None, instrument, side, limit_ticks, quantity)
        instrument.parked = False
        self.matcher.match(order, tape, limit_ticks)
        filled_quantity = quantity - order.leaves
        if filled_quantity:
            self.after(tape)
        return filled_quantity

    def withdraw(self, handle: Order) -> None:
        """Take a resting order of the market out of the book; nothing happens when it is gone already."""
        if handle.level is not None:
            tape = self.tapes[handle.instrument.symbol]
            stamp = self.stamp()
            tape.book.remove(handle, stamp)
            handle.leaves = handle.shown = 0
            tape.check_quote(stamp)

    def reduce(self, handle: Order, quantity: int, from_back: bool = True) -> None:
        """Make a resting order of the market smaller by ``quantity`` (all of it: withdraw).

        It keeps its place in the line, so what was behind the taken part moves up; with ``from_back`` False the rest
        goes to the end.
        """
        if handle.level is None or quantity <= 0:
            return
        if quantity >= handle.leaves:
            self.withdraw(handle)
            return
        tape = self.tapes[handle.instrument.symbol]
        stamp = self.stamp()
        level = handle.level
        tape.book.shrink(level, quantity, 0, stamp)
        handle.leaves -= quantity
        handle.shown = handle.leaves
        if not from_back:
            tape.book.leave(handle)
            tape.book.join(level, handle)
        tape.check_quote(stamp)

    def touch(self, symbol: str) -> Tuple[Optional[int], Optional[int], Optional[int], Optional[int]]:
        """Return (bid ticks, bid size, ask ticks, ask size), None where a side is empty."""
        return self.books[symbol].touch()

    def depth(self, symbol: str, side: str, levels: int) -> List[Tuple[int, int]]:
        """Return (ticks, size) of the best ``levels`` of a side, best first; 0 gives all."""
        return [(level.ticks, level.quantity) for level in self.books[symbol].side(side).top(levels)]

    def set_index(self, symbol: str, price: float, at_once: bool = False) -> None:
        """Move an index (or the index of a contract), and with it indicative settle price, fair price and mark.

        Published at once, or, when the index was published less than a second ago and ``at_once`` is not asked for,
        with the next marks.
        """
        instrument = self.instruments[symbol]
        if not instrument.is_index:
            instrument = self.instruments[instrument.index_symbol]
        self._index_moved[instrument.symbol] = max(instrument.tick, round(price, INDEX_DECIMALS))
        if at_once or self._index_shown.get(instrument.symbol, 0) <= self.now - MARK_INTERVAL:
            self._publish_index(instrument.symbol)
            for tape in self.tapes.values():
                if tape.instrument.index_symbol == instrument.symbol and tape.instrument.row['state'] == 'Open':
                    self.marker.publish(tape, self.now)
            self._after_marks()

    def _publish_index(self, symbol: str) -> None:
        self._index_shown[symbol] = self.now
        self.marker.publish_index(self.instruments[symbol], self._index_moved.pop(symbol))

    def set_mark(self, symbol: str, price: Optional[float]) -> None:
        """Pin the mark price of a contract, at once; None lets it follow its rule again."""
        tape = self.tapes[symbol]
        tape.instrument.mark_pinned = price
        self.marker.publish(tape, self.now)
        self._after_marks()

    def refresh_prices(self) -> None:
        """Let bid, ask and impact prices of all instrument rows be those of the books now, ahead of their timer."""
        for tape in self.tapes.values():
            tape.set_prices()

    def set_funding(self, symbol: str, rate: Optional[float] = None, interval: Optional[float] = None) -> None:
        """Set the rate that is due next on a perpetual, or the seconds from one payment to the next."""
        tape = self.tapes[symbol]
        if rate is not None:
            tape.set('fundingRate', rate)
            tape.instrument.set_funding_rate(rate)
            self.funding.recarry(tape)
        if interval is not None:
            self.funding.set_interval(tape, interval)

    def set_state(self, symbol: str, state: str) -> None:
        """Open or close the trading of a contract, or settle it at its index."""
        tape = self.tapes[symbol]
        if state == 'Settled':
            self.funding.settle(tape, self.instruments[tape.instrument.index_symbol].row['lastPrice'])
        elif state in ('Open', 'Closed'):
            tape.set('state', state)
        else:
            raise ValueError('no such state of a contract: {}'.format(state))

    def set_tick(self, symbol: str, tick: float) -> None:
        """Make the tick of a contract coarser while it trades: a multiple of the one that it was listed with.

        Resting orders stay where they are, off the new tick or not; the market's own move on to it.  ValueError for a
        tick that is no such multiple.
        """
        tape = self.tapes[symbol]
        instrument = tape.instrument
        grain = instrument.ticks_of(tick)
        if not grain or grain < 1:
            raise ValueError('a tick of {} is no multiple of {}, the tick that {} was listed with'.format(
                tick, instrument.tick, symbol))
        instrument.grain = grain
        tape.set('tickSize', instrument.price_of(grain))
        for side in (tape.book.bids, tape.book.asks):
            off = [order for level in side.walk() if level.ticks % grain for order in level
                   if order.account is self.market]
            for order in off:
                self.withdraw(order)

    def set_fees(self, symbol: str, maker: Optional[float] = None, taker: Optional[float] = None) -> None:
        """Change the fee rates of a contract (fractions, negative is a rebate); None leaves one as it is."""
        tape = self.tapes[symbol]
        instrument = tape.instrument
        instrument.set_fees(instrument.maker_fee if maker is None else maker,
                            instrument.taker_fee if taker is None else taker)
        tape.changes['makerFee'], tape.changes['takerFee'] = instrument.maker_fee, instrument.taker_fee
        for account in self.accounts.values():
            position = account.positions.get(symbol)
            if position is not None:
                position.set_rates()
                clearing.carry(position)
                clearing.recharge(position)
                self.journal.mark_all(position)

    def set_lot(self, symbol: str, lot: int) -> None:
        """Make the lot of a contract larger while it trades: a multiple of the one that it was listed with.

        New orders and amends must be multiples of it; what rests or is held stays.  ValueError for a lot that is no
        such multiple.
        """
        instrument = self.tapes[symbol].instrument
        if lot <= 0 or lot % instrument.lot:
            raise ValueError('a lot of {} is no multiple of {}, the lot that {} was listed with'.format(
                lot, instrument.lot, symbol))
        instrument.order_lot = lot
        self.tapes[symbol].set('lotSize', lot)

    # -- tables ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring all rows up to date and put what changed into the outbox."""
        stamp = self.stamp()
        for tape in self.tapes.values():
            if tape.new_quotes or tape.book.dirty or tape.changes or tape.has_traded or tape.new_trades:
                tape.settle(stamp)
        if self.journal.purses:
            self.journal.settle(stamp)

    def drain(self) -> List[Change]:
        """Return what changed since the last drain, in order."""
        self.settle()
        outbox = self.journal.outbox
        self.journal.outbox = []
        return outbox

    def rows(self, table: str, account: Optional[Account] = None, symbol: Optional[str] = None) -> List[Dict[str, Any]]:
        """Return the image of a table as BitMEX' WebSocket sends it, of one symbol or of all; KeyError for an unknown
        table.

        Orders: the open ones, and those filled within the last minute, which an amend may still revive.  Trades,
        quotes, bins, funding: the last row of each symbol.  Executions: none.  Private tables need the account. The
        rows are live or shared: do not change them.
        """
        self.settle()
        if schema.TABLES[table][2]:
            return self._private_rows(table, account, symbol)
        if table == 'instrument':
            return [instrument.row for instrument in self.instruments.values() if symbol in (None, instrument.symbol)]
        if table in ('funding', 'settlement', 'insurance', 'liquidation'):
            return self._event_rows(table, symbol)
        tapes = [tape for tape in self.tapes.values() if symbol in (None, tape.symbol)]
        if table == 'orderBookL2':
            return [row for tape in tapes for row in tape.book_rows(0)]
        if table in SHORT_DEPTHS:
            return [row for tape in tapes for row in tape.short_view(table, self.stamp())]
        if table == 'orderBook10':
            return [tape.ten_row for tape in tapes]
        if table == 'quote':
            return [tape.quotes[-1] for tape in tapes]
        if table == 'trade':
            last = OrderedDict((row['symbol'], row) for row in self.index_prints if symbol in (None, row['symbol']))
            return [tape.trades[-1] for tape in tapes] + list(last.values())
        if table[:8] in ('tradeBin', 'quoteBin'):
            bins = [self._bins(tape, table) for tape in tapes]
            return [rows[-1] for rows in bins if rows]
        if table == 'announcement':
            return self.announcements
        if table in schema.TABLES:
            return []
        raise KeyError(table)

    @staticmethod
    def _bins(tape: Tape, table: str) -> Deque[Dict[str, Any]]:
        return (tape.bins.trade_rows if table[:5] == 'trade' else tape.bins.quote_rows)[table[8:]]

    def _private_rows(self, table: str, account: Any, symbol: Optional[str]) -> List[Dict[str, Any]]:
        if table == 'order':
            return [order.row
                    for order in account.recently_filled(self.now - REVIVAL_SECONDS) + list(account.orders.values())
                    if symbol in (None, order.instrument.symbol)]
        if table == 'position':
            return [filled(position.row) for position in account.positions.values()
                    if position.row and symbol in (None, position.instrument.symbol)]
        if table == 'margin':
            return [purse.row for purse in account.purses.values() if purse.row]
        if table == 'wallet':
            return [purse.wallet_row for purse in account.purses.values() if purse.wallet_row]
        if table == 'affiliate':
            return [statistics.affiliate_row(account)]
        return []

    def _event_rows(self, table: str, symbol: Optional[str]) -> List[Dict[str, Any]]:
        if table == 'liquidation':
            return [row for row in self.liquidations.values() if symbol in (None, row['symbol'])]
        source = {'funding': self.funding_rows, 'settlement': self.settlement_rows,
                  'insurance': self.insurance_rows}[table]
        key = 'currency' if table == 'insurance' else 'symbol'
        last = OrderedDict((row[key], row) for row in source if symbol is None or row.get('symbol') in (None, symbol))
        return list(last.values())

    def empty_row(self, table: str, account: Account, currency: str) -> Dict[str, Any]:
        """Return the margin or wallet row of a currency that the account has nothing in."""
        purse = Purse(account, currency)
        return dict(journal.margin_row(purse) if table == 'margin' else journal.wallet_row(purse),
                    timestamp=self.stamp())

    def history(self, table: str, account: Optional[Account] = None) -> List[Dict[str, Any]]:
        """Return all rows that are kept of a table, oldest first, finished orders and past rows included."""
        return list(self.stream(table, account))

    def stream(self, table: str, account: Optional[Account] = None, named: Optional[Callable[[Any], bool]] = None,
               newest_first: bool = False, only_open: bool = False) -> Iterator[Dict[str, Any]]:
        """Go through those rows, without a look at more than is asked for: at least those of symbols that ``named``
        accepts, and with ``only_open`` those of orders that are not finished.

        This is what REST queries search; the exchange must not change meanwhile.
        """
        self.settle()
        runs = self._runs(table, account, named, only_open)
        if newest_first:
            runs = [reversed(run) for run in reversed(runs)]   # so that rows of one moment, too, come the other way
        return iter(runs[0]) if len(runs) == 1 else merge(*runs, key=TIME, reverse=newest_first)

    def _runs(self, table: str, account: Any, named: Optional[Callable[[Any], bool]], only_open: bool) -> List[Any]:
        """Return sequences that together hold the rows of a table, each oldest first."""
        if table == 'order':
            rows = [] if only_open else [order.row for order in account.finished.values()]
            return [sorted(rows + [order.row for order in account.orders.values()], key=ARRIVAL)]
        if table == 'execution':
            return [account.executions]
        if table == 'transact':
            return [account.transactions]
        tapes = [tape for tape in self.tapes.values() if named is None or named(tape.symbol)]
        if table == 'trade':
            return [self.index_prints] + [tape.trades for tape in tapes]
        if table == 'quote':
            return [tape.quotes for tape in tapes]
        if table[:8] in ('tradeBin', 'quoteBin'):
            return [self._bins(tape, table) for tape in tapes]
        if table in ('funding', 'settlement', 'insurance'):
            return [{'funding': self.funding_rows, 'settlement': self.settlement_rows,
                     'insurance': self.insurance_rows}[table]]
        return [self.rows(table, account)]
