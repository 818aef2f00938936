"""Orders: what one is, and how a request becomes one.  Requests are read and checked here by themselves, before any
look at book or money.

Texts of refusals are BitMEX's.  Numbers may come as text; empty text and None count as not sent; unknown parameters
are ignored.  Pure.
"""
from functools import lru_cache
from math import isinf, isnan
from typing import Any, Callable, Dict, Optional, Tuple  # noqa: F401

from market_maker.simulator.account import Position
from market_maker.simulator.instruments import Instrument
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.schema import ALL_POOLS, PRIMARY_POOL

BUY, SELL = 'Buy', 'Sell'
SUBMITTED = 'Submitted via API.'
CANCELED_VIA_API = 'Canceled via API.'

NO_ID = '00000000-0000-0000-0000-000000000000'  # stands where a row needs an id and there is none
CLIENT_ID_LIMIT = 36       # characters of a clOrdID
TEXT_LIMIT = 1000          # characters of an annotation; longer ones are cut
HUGE = 10 ** 15            # no quantity, price or amount reaches this

STOP_TYPES = ('Stop', 'StopLimit', 'MarketIfTouched', 'LimitIfTouched')
AT_ANY_PRICE = frozenset(('Market', 'Stop', 'MarketIfTouched'))
LIMIT_TYPES = ('Limit', 'StopLimit', 'LimitIfTouched', 'Pegged')
TYPES = ('Market', 'Limit', 'Pegged') + STOP_TYPES
TIMES_IN_FORCE = ('Day', 'GoodTillCancel', 'ImmediateOrCancel', 'FillOrKill')
TRIGGERS = ('MarkPrice', 'IndexPrice', 'LastPrice')
INSTRUCTIONS = ('ParticipateDoNotInitiate', 'MarkPrice', 'IndexPrice', 'LastPrice', 'Close', 'ReduceOnly', 'Fixed',
                'LastWithinMark')
KNOWN = frozenset(INSTRUCTIONS)
PEGS = ('MarketPeg', 'PrimaryPeg', 'TrailingStopPeg')
# parameters of 2026 that would change what an order does -> the values under which they change nothing here
UNSUPPORTED = {'strategy': ('OneWay',), 'pool': (ALL_POOLS, PRIMARY_POOL), 'maxSlippagePct': (), 'algoOrderDetails': ()}
# parameters that plain orders do not have
SPECIAL = frozenset(('simpleOrderQty', 'stopPx', 'pegPriceType', 'displayQty', 'contingencyType', 'clOrdLinkID')
                    + tuple(UNSUPPORTED))
CONTINGENCIES = ('OneCancelsTheOther', 'OneTriggersTheOther')

NEW, PARTIALLY_FILLED, FILLED, CANCELED = 'New', 'PartiallyFilled', 'Filled', 'Canceled'


class Order(object):
    """An order in the engine.  ``row`` is its live row, None for orders of the market's own hand."""

    __slots__ = (
        'account', 'position', 'instrument', 'side', 'is_buy', 'price_ticks', 'quantity', 'leaves', 'filled', 'shown',
        'display',
        'cost', 'first_ticks', 'is_mixed', 'open_cost', 'premium', 'premium_epoch', 'is_counted', 'is_hidden', 'row',
        'order_id', 'client_id',
        'kind', 'time_in_force', 'post_only', 'reduce_only', 'close', 'is_final', 'finished_at', 'stop_ticks',
        'trigger', 'is_armed',
        'is_told', 'peg', 'peg_offset', 'link', 'contingency', 'is_held', 'is_liquidation', 'within_mark', 'is_whole',
        'waits_for_rise', 'ticket', 'level', 'prev', 'next')

    def __init__(self, account: Any, position: Any, instrument: Instrument, side: str, price_ticks: Optional[int],
                 quantity: int) -> None:
        self.account = account
        self.position = position         # None on the market's own orders
        self.instrument = instrument
        self.side = side
        self.is_buy = side == BUY
        self.price_ticks = price_ticks  # type: Any  # None: at any price
        self.quantity = quantity         # orderQty: all of it, filled or not
        self.leaves = quantity
        self.shown = quantity            # of leaves, what the book shows
        self.filled = 0                  # cumQty
        self.cost = 0                    # value of what is filled, minor units
        self.first_ticks = 0             # price of the first fill
        self.is_mixed = False            # filled at more than one price
        self.display = None              # type: Any  # displayQty
        self.row = None                  # type: Any
        self.order_id = ''
        self.client_id = ''
        self.kind = 'Limit'
        self.time_in_force = 'GoodTillCancel'
        self.post_only = False
        self.reduce_only = False
        self.close = False
        self.is_hidden = False
        self.is_final = False            # filled, canceled: nothing more will happen to it
        self.is_counted = False          # its size stands in the sums of the position
        self.is_told = False             # its insert has been told
        self.open_cost = 0               # its value in those sums
        self.premium = 0
        self.premium_epoch = 0
        self.finished_at = 0.0
        self.stop_ticks = None           # type: Optional[int]
        self.trigger = ''
        self.is_armed = False            # waits for its trigger
        self.peg = ''
        self.peg_offset = None           # type: Optional[int]  # ticks
        self.waits_for_rise = False      # which way the reference must go to trigger it
        self.is_whole = False            # a Close without quantity: whatever the position is when it works
        self.link = ''
        self.contingency = ''
        self.is_held = False             # waits until the order that it is linked to has filled
        self.is_liquidation = False
        self.within_mark = False
        self.ticket = 0                  # its place among all that joined the book
        self.level = self.prev = self.next = None  # type: Any  # its place in the book

    def __repr__(self) -> str:
        return '<Order {} {} {} at {} ticks, {} left>'.format(self.instrument.symbol, self.side, self.quantity,
                                                              self.price_ticks, self.leaves)


# -- values of a request ---------------------------------------------------------------------------


def given(value: Any) -> bool:
    """Tell whether a parameter was sent at all."""
    return value is not None and value != ''


def whole(value: Any, message: str) -> int:
    """Return a whole number sent as number or text; refuse anything else with ``message``."""
    number = real(value, message)
    if number != int(number):
        raise Refusal(400, message)
    return int(number)


def real(value: Any, message: str) -> float:
    """Return a finite number sent as number or text; refuse anything else with ``message``."""
    if type(value) is bool or not isinstance(value, (int, float, str)):
        raise Refusal(400, message)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Refusal(400, message)
    if isnan(number) or isinf(number) or abs(number) > HUGE:
        raise Refusal(400, message)
    return number


def flag(value: Any, message: str) -> bool:
    """Return a truth value sent as such or as text; refuse anything else with ``message``."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ('true', 'false', '1', '0'):
        return value.lower() in ('true', '1')
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    raise Refusal(400, message)


def words(value: Any, message: str) -> Tuple[str, ...]:
    """Return a comma list (blanks around the commas allowed), or a list of text, as a tuple."""
    if isinstance(value, (list, tuple)):
        parts = list(value)
    elif isinstance(value, str):
        parts = value.split(',')
    else:
        raise Refusal(400, message)
    if not all(isinstance(part, str) for part in parts):
        raise Refusal(400, message)
    return tuple(part.strip() for part in parts if part.strip())


@lru_cache(maxsize=256)
def instructions_of(text: str) -> Tuple[str, ...]:
    """Return the words of an execInst; what was asked for lately is known at once."""
    return words(text, 'Invalid execInst')


def text_of(value: Any, message: str, limit: int) -> str:
    """Return a short text; refuse other types and what is longer than ``limit`` characters."""
    if not isinstance(value, str) or len(value) > limit:
        raise Refusal(400, message)
    return value


# -- a new order -----------------------------------------------------------------------------------


def price_to_ticks(instrument: Instrument, value: Any, message: str, tick_message: str) -> int:
    """Return a price of a request in ticks, refused when it is none or lies off the grid or out of the contract's
    range.
    """
    price = value if type(value) is float or type(value) is int else real(value, message)
    if not 0 < price <= instrument.row['maxPrice']:
        raise Refusal(400, message)
    ticks = instrument.ticks_of(price)
    if ticks is None or ticks % instrument.grain:
        raise Refusal(400, tick_message)
    if not ticks:
        raise Refusal(400, message)
    return ticks


def lots_only(instrument: Instrument, quantity: int) -> int:
    """Return a quantity that is a positive multiple of the lot and not above the contract's maximum; refuse any
    other.
    """
    if quantity <= 0 or quantity > instrument.max_quantity:
        raise Refusal(400, 'Invalid orderQty')
    if quantity % instrument.order_lot:
        raise Refusal(400, 'Order quantity must be a multiple of lot size: {}'.format(instrument.order_lot))
    return quantity


def read_order(account: Any, instrument: Instrument, fields: Dict[str, Any]) -> Order:
    """Return the order that a request asks for, its parameters checked; its row is not made yet.

    Defaults as BitMEX': side Buy, or Sell when orderQty is negative; ordType from the prices that are there, Market
    for a Close without price, else Limit (so a bare symbol and quantity is a limit order without price, and refused).
    """
    get = fields.get
    position = account.position(instrument)
    execution = get('execInst')
    instructions = ()  # type: Tuple[str, ...]
    if execution:
        instructions = instructions_of(execution) if type(execution) is str else words(execution, 'Invalid execInst')
    side, quantity = read_side(get('side'), get('orderQty'), 'Close' in instructions, position, fields)
    price, kind = get('price'), get('ordType')
    if price == '':
        price = None
    if kind is None or kind == '':
        kind = default_type(fields, price, instructions)
    elif not isinstance(kind, str) or kind not in TYPES:
        raise Refusal(400, 'Unsupported ordType')
    is_plain = SPECIAL.isdisjoint(fields)
    if not is_plain:
        for name in UNSUPPORTED:
            if name in fields and given(fields[name]) and fields[name] not in UNSUPPORTED[name]:
                raise Refusal(400, 'Unsupported {}'.format(name))
        if given(get('simpleOrderQty')):
            raise Refusal(400, 'Invalid simpleOrderQty')
    quantity = lots_only(instrument, quantity)
    if kind in AT_ANY_PRICE:
        ticks = None
    elif price is None:
        ticks = None
        if kind != 'Pegged':
            raise Refusal(400, 'Invalid price')
    else:
        ticks = price_to_ticks(instrument, price, 'Invalid price', 'Invalid price tickSize')
    order = Order(account, position, instrument, side, ticks, quantity)
    order.kind = kind
    order.is_whole = get('orderQty') in (None, '')
    client_id = get('clOrdID')
    if client_id:
        if type(client_id) is not str or len(client_id) > CLIENT_ID_LIMIT:
            raise Refusal(400, 'Invalid clOrdID')
        if client_id in account.by_client:
            raise Refusal(400, 'Duplicate clOrdID')
        order.client_id = client_id
    time_in_force = get('timeInForce')
    if kind in AT_ANY_PRICE:
        order.time_in_force = 'ImmediateOrCancel'  # and so BitMEX shows them
    if time_in_force:
        if not isinstance(time_in_force, str) or time_in_force not in TIMES_IN_FORCE:
            raise Refusal(400, 'Unsupported timeInForce')
        if kind not in AT_ANY_PRICE or time_in_force == 'FillOrKill' or time_in_force == 'Day' and kind != 'Market':
            order.time_in_force = time_in_force
    if instructions:
        read_instructions(order, instructions)
    if kind in STOP_TYPES or kind == 'Pegged' or not is_plain and (given(get('stopPx')) or given(get('pegPriceType'))):
        read_trigger(order, fields, instructions)
    if not is_plain:
        if given(get('displayQty')):
            read_display(order, whole(get('displayQty'), 'Invalid displayQty'))
        if get('contingencyType') or get('clOrdLinkID'):
            read_contingency(order, fields)
    return order


def read_side(side: Any, quantity: Any, is_close: bool, position: Position,
              fields: Dict[str, Any]) -> Tuple[str, int]:
    """Return (side, quantity) of a request; a Close may leave out either: the whole position, the side against it.

    One that waits for a price and names its side may do so before there is a position, and shows one lot until then.
    """
    if quantity is None or quantity == '':
        if not is_close:
            raise Refusal(400, 'Invalid orderQty')
        held = position.quantity
        waits = given(side) and (given(fields.get('stopPx')) or fields.get('pegPriceType') == 'TrailingStopPeg')
        if not given(side):
            side = BUY if held < 0 else SELL
        if side not in (BUY, SELL):
            raise Refusal(400, 'Invalid side')
        if waits:
            return side, abs(held) or position.instrument.order_lot
        if not held or (held > 0) == (side == BUY):
            raise Refusal(400, against_position('Close', side, held))
        return side, abs(held)
    count = quantity if type(quantity) is int else whole(quantity, 'Invalid orderQty')
    if side == BUY or side == SELL:
        return side, abs(count)
    if given(side):
        raise Refusal(400, 'Invalid side')
    if is_close and position.quantity:
        return (BUY if position.quantity < 0 else SELL), abs(count)
    return (BUY, count) if count >= 0 else (SELL, -count)


def against_position(instruction: str, side: str, held: int) -> str:
    """Return BitMEX's text for an order that should reduce a position but would not."""
    return 'Order had execInst of {} and side of {} but current position is {}'.format(instruction, side, held)


def default_type(fields: Dict[str, Any], price: Any, instructions: Tuple[str, ...]) -> str:
    """Return the ordType that BitMEX assumes where none is sent."""
    if given(fields.get('pegPriceType')):
        return 'Pegged'
    if given(fields.get('stopPx')):
        return 'Stop' if price is None else 'StopLimit'
    if price is None and 'Close' in instructions:
        return 'Market'
    return 'Limit'


def read_instructions(order: Order, instructions: Tuple[str, ...]) -> None:
    """Take over execInst, checked against the order's type."""
    if not KNOWN.issuperset(instructions):
        if 'allornone' in [word.lower() for word in instructions]:
            raise Refusal(400, 'Unsupported execInst')
        raise Refusal(400, 'Invalid execInst')
    triggers = len([word for word in instructions if word in TRIGGERS])
    if triggers > 1:
        raise Refusal(400, 'Invalid execInst')
    order.post_only = 'ParticipateDoNotInitiate' in instructions
    order.close = 'Close' in instructions
    order.reduce_only = order.close or 'ReduceOnly' in instructions
    order.within_mark = 'LastWithinMark' in instructions
    if order.post_only and order.kind not in LIMIT_TYPES:
        raise Refusal(400, 'Invalid ordType for execInst')
    if order.post_only and order.time_in_force in ('ImmediateOrCancel', 'FillOrKill'):
        raise Refusal(400, 'Invalid ordType or timeInForce for execInst')
    if triggers and order.kind not in STOP_TYPES and order.kind != 'Pegged' or \
            'Fixed' in instructions and order.kind != 'Pegged':
        raise Refusal(400, 'Invalid ordType for execInst')
    if order.within_mark and 'LastPrice' not in instructions:
        raise Refusal(400, 'Invalid execInst')


def read_display(order: Order, display: int) -> None:
    """Take over displayQty: 0 hides the order, a smaller part than the whole makes an iceberg."""
    if display < 0 or display % order.instrument.lot or order.price_ticks is None and order.kind != 'Pegged':
        raise Refusal(400, 'Invalid displayQty')
    order.display = display
    order.is_hidden = display == 0
    order.shown = min(display, order.leaves)


def read_trigger(order: Order, fields: Dict[str, Any], instructions: Tuple[str, ...]) -> None:
    """Take over what an order waits for or hangs on: stopPx and its reference price, or a peg and its offset.

    Without an instruction the mark price triggers.  A sell stop and a buy-if-touched wait for a fall, the other two
    for a rise.
    """
    stop, peg, offset = fields.get('stopPx'), fields.get('pegPriceType'), fields.get('pegOffsetValue')
    if given(peg):
        read_peg(order, peg, offset, instructions)
    elif given(offset):
        raise Refusal(400, 'Invalid pegOffsetValue for pegPriceType')
    elif order.kind == 'Pegged':
        raise Refusal(400, 'Invalid pegPriceType for ordType')
    trails = order.peg == 'TrailingStopPeg'
    if order.kind == 'Pegged':
        order.price_ticks = None  # fixed on arrival, or at any price when it triggers
    if order.kind not in STOP_TYPES and not trails:
        if given(stop):
            raise Refusal(400, 'Invalid stopPx for ordType')
        return
    order.is_armed = True
    order.waits_for_rise = order.is_buy if order.kind in ('Stop', 'StopLimit') else not order.is_buy
    if trails:
        order.waits_for_rise = offset_of(order) > 0
    order.trigger = next((word for word in instructions if word in TRIGGERS), 'MarkPrice')
    if given(stop) and not trails:
        order.stop_ticks = price_to_ticks(order.instrument, stop, 'Invalid stopPx for ordType',
                                          'Invalid stopPx tickSize')
    elif not trails:
        raise Refusal(400, 'Invalid stopPx for ordType')


def offset_of(order: Order) -> int:
    """Return the distance of a pegged order from its reference, in ticks, signed; 0 without one."""
    return order.peg_offset or 0


def read_peg(order: Order, peg: Any, offset: Any, instructions: Tuple[str, ...]) -> None:
    """Take over a peg: a trailing stop, or a limit order whose price is fixed on arrival relative to the book's best
    prices.
    """
    if peg not in PEGS:
        raise Refusal(400, 'Unsupported pegPriceType')
    if peg == 'TrailingStopPeg':
        if order.kind not in STOP_TYPES and order.kind != 'Pegged':
            raise Refusal(400, 'Invalid pegPriceType for ordType')
    elif order.kind != 'Pegged':
        raise Refusal(400, 'Invalid pegPriceType for ordType')
    elif 'Fixed' not in instructions:
        raise Refusal(400, 'Invalid execInst')
    order.peg = peg
    order.peg_offset = peg_offset(order, offset)


def peg_offset(order: Order, offset: Any) -> int:
    """Return a peg's offset in ticks; a trailing stop's is negative when it waits for a fall, positive when for a
    rise.
    """
    message = 'Invalid pegOffsetValue for pegPriceType'
    value = real(offset, message) if given(offset) else 0.0
    ticks = order.instrument.ticks_of(value)
    if ticks is None:
        raise Refusal(400, 'Invalid pegOffsetValue tickSize')
    if abs(ticks) > order.instrument.max_ticks:
        raise Refusal(400, message)
    if order.peg == 'TrailingStopPeg':
        falls = order.is_buy == (order.kind in ('MarketIfTouched', 'LimitIfTouched'))
        if not ticks or (ticks < 0) != falls:
            raise Refusal(400, message)
    return ticks


def read_contingency(order: Order, fields: Dict[str, Any]) -> None:
    """Take over how an order is linked to others: by a clOrdLinkID, and, on the one that acts, a contingencyType."""
    link, kind = fields.get('clOrdLinkID'), fields.get('contingencyType')
    if given(kind) and (not isinstance(kind, str) or kind not in CONTINGENCIES):
        raise Refusal(400, 'Unsupported contingencyType')
    if not given(link):
        raise Refusal(400, 'Invalid clOrdLinkID for contingencyType')
    order.link = text_of(link, 'Invalid clOrdLinkID for contingencyType', CLIENT_ID_LIMIT)
    order.contingency = kind or ''


# -- rows ------------------------------------------------------------------------------------------


def new_row(order: Order, fields: Dict[str, Any], stamp: str) -> Dict[str, Any]:
    """Return the row of an order as it arrives: the fields that every order has, then those that this one has
    besides.
    """
    static = order.instrument.row
    text = fields.get('text')
    row = {
        'account': order.account.id, 'clOrdID': order.client_id, 'cumQty': 0, 'currency': static['quoteCurrency'],
        'leavesQty': order.leaves,
        'ordStatus': 'New', 'ordType': order.kind, 'orderID': order.order_id, 'orderQty': order.quantity,
        'settlCurrency': order.instrument.currency, 'side': order.side, 'strategy': 'OneWay',
        'symbol': order.instrument.symbol,
        'text': SUBMITTED if not text else str(text)[:TEXT_LIMIT], 'timeInForce': order.time_in_force,
        'timestamp': stamp,
        'transactTime': stamp, 'workingIndicator': True, 'pool': ALL_POOLS,
    }  # type: Dict[str, Any]
    if order.price_ticks is not None:
        row['price'] = order.instrument.price_of(order.price_ticks)
    execution = fields.get('execInst')
    if execution:
        instructions = instructions_of(execution) if type(execution) is str else words(execution, 'Invalid execInst')
        row['execInst'] = ','.join(instructions)
    if order.display is not None:
        row['displayQty'] = order.display
    if order.stop_ticks is not None:
        row['stopPx'] = order.instrument.price_of(order.stop_ticks)
    if order.peg:
        row['pegPriceType'] = order.peg
        row['pegOffsetValue'] = order.instrument.price_of(offset_of(order))
    if order.link:
        row['clOrdLinkID'] = order.link
        if order.contingency:
            row['contingencyType'] = order.contingency
    if order.is_armed or order.is_held:
        row['workingIndicator'] = False
    return row
