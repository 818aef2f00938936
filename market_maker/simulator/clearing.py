"""What a fill, a mark and an open order do to positions and purses: all money of the exchange, in whole minor units.

Rounding, where BitMEX published none, follows the recorded rows of 2018 to 2025: fees and rebates are cut off below a
unit, margins are rounded up, prices that a lot's value gives are rounded against the holder.  Chosen here: funding as
fees, the cost that leaves with a reduced position down.  Every unit that a rounding moves stays somewhere (position,
fees or insurance fund), so money is conserved.  Formulas: BitMEX's margin guide of the cross-margin system of March
2024, checked against published rows.
"""
from typing import Any, Tuple  # noqa: F401

from market_maker import contracts
from market_maker.simulator.account import Position
from market_maker.simulator.instruments import RATE_SCALE


def portion(amount: int, rate: int) -> int:
    """Return a non-negative amount times a scaled rate (which may be negative), what is below a unit cut off."""
    if rate < 0:
        return -(amount * -rate // RATE_SCALE)
    return amount * rate // RATE_SCALE


def portion_up(amount: int, rate: int) -> int:
    """Return a non-negative amount times a non-negative scaled rate, rounded up."""
    return -(-amount * rate // RATE_SCALE)


# -- open orders -----------------------------------------------------------------------------------


def order_needs(position: Position, buy_qty: int, buy_cost: int, buy_premium: int, sell_qty: int, sell_cost: int,
                sell_premium: int) -> Tuple[int, int, int]:
    """Return (cost that adds exposure, premium, initial margin) of open orders with these sums, all non-negative.

    Orders that only reduce the position are free.  Of what is left the dearer side counts in full and the other for
    what it has more: on linear contracts the asks (BitMEX, margin guide: 20 bids and 15 asks count as 15 asks and 5
    bids), on inverse ones, where a lower price makes the greater value, the bids (rows recorded in 2018).  A side that
    adds in part counts in proportion; each side is rounded up by itself.  The premium is what an order would lose at
    once at the mark price.
    """
    held = position.quantity
    if held > 0:
        buying, selling = buy_qty, sell_qty - held
    else:
        buying, selling = buy_qty + held, sell_qty
    cost = premium = init = 0
    rate = position.order_rate
    if buying > 0:
        premium = buy_premium if buying == buy_qty else buy_premium * buying // buy_qty
        if position.instrument.buy_sign > 0 and selling > 0:
            more = buying - selling
        else:
            more = buying
        if more > 0:
            cost = buy_cost if more == buy_qty else -(-buy_cost * more // buy_qty)
            init = -(-cost * rate // RATE_SCALE)
    if selling > 0:
        premium += sell_premium if selling == sell_qty else sell_premium * selling // sell_qty
        if position.instrument.buy_sign < 0 and buying > 0:
            more = selling - buying
        else:
            more = selling
        if more > 0:
            part = sell_cost if more == sell_qty else -(-sell_cost * more // sell_qty)
            cost += part
            init -= -part * rate // RATE_SCALE
    return cost, premium, init + premium


def recharge(position: Position) -> None:
    """Bring the margin of the open orders up to date after their sums or the position's quantity changed."""
    cost, premium, init = order_needs(position, position.buy_qty, position.buy_cost, position.buy_premium,
                                      position.sell_qty, position.sell_cost, position.sell_premium)
    purse = position.purse
    purse.init += init - position.init
    purse.open_cost += cost - position.open_cost
    purse.open_premium += premium - position.open_premium
    position.init = init
    position.open_cost = cost
    position.open_premium = premium


def premium_of_lot(instrument: Any, is_buy: bool, lot_value: int) -> int:
    """Return what one lot bought (or sold) at that value would lose at once at the mark, 0 if nothing."""
    worse = lot_value - instrument.mark_lot_value
    if is_buy == (instrument.buy_sign < 0):
        worse = -worse
    return worse if worse > 0 else 0


# -- positions -------------------------------------------------------------------------------------


def apply_fill(position: Position, change: int, cost: int) -> int:
    """Book a fill of ``change`` contracts (signed) at a signed cost; return the realised result before fees.

    Average-cost accounting: what leaves the position takes its share of the entry cost along.
    """
    held = position.quantity
    if not held or (held > 0) == (change > 0):
        position.quantity = held + change
        position.cost += cost
        return 0
    reduced, total = abs(change), abs(held)
    if reduced < total:
        share = position.cost * reduced // total if position.cost > 0 else -(-position.cost * reduced // total)
        position.quantity = held + change
        position.cost -= share
        return -(share + cost)
    closing = cost * total // reduced  # exact: a fill's cost is lots times the value of a lot
    result = -(position.cost + closing)
    position.quantity = held + change
    position.cost = cost - closing
    return result


def carry(position: Position) -> None:
    """Bring value, unrealised result and maintenance margin up to date after quantity, cost, mark, funding rate or
    margin mode changed.
    """
    instrument, purse = position.instrument, position.purse
    before = position.mark_value
    purse.mark_value -= before if before > 0 else -before
    purse.upnl -= position.upnl
    purse.maint -= position.maint
    if position.isolated:
        purse.isolated_upnl -= position.upnl
    quantity = position.quantity
    if not quantity:
        position.mark_value = position.upnl = position.maint = 0
        position.pos_init = position.pos_comm = position.pos_cross = position.pos_margin = position.pos_maint = 0
        return
    value = quantity // instrument.lot * instrument.mark_lot_value * instrument.buy_sign
    position.mark_value = value
    position.upnl = upnl = value - position.cost
    cost = position.cost if position.cost > 0 else -position.cost
    reserve = instrument.funding_scaled
    if quantity < 0:
        reserve = -reserve
    if position.isolated:
        position.pos_init = portion_up(cost, position.init_rate)
        behind = position.pos_init + position.pos_cross
        if quantity < 0 and instrument.buy_sign < 0 and behind >= cost:
            position.pos_comm = position.pos_maint = 0  # no price is high enough to use it up
        else:
            position.pos_comm = portion_up(cost + behind, instrument.commission_rate)
            position.pos_maint = position.pos_comm + portion_up(cost, position.maint_rate
                                                                + (reserve if reserve > 0 else 0))
        position.pos_margin = behind + position.pos_comm
        maint = position.pos_margin + upnl
        purse.isolated_upnl += upnl
    else:
        maint = -(-cost * position.maint_rate // RATE_SCALE)
        if reserve > 0:
            maint -= -cost * reserve // RATE_SCALE
        position.pos_margin = position.pos_maint = maint
    position.maint = maint
    purse.maint += maint
    purse.upnl += upnl
    purse.mark_value += value if value > 0 else -value


def price_at_lot_value(instrument: Any, lot_value: float) -> float:
    """Return the unrounded price at which one lot is worth that much."""
    return instrument.lot_size / lot_value if instrument.kind == 'inverse' else lot_value / instrument.lot_size


def price_of_result(position: Position, result: int) -> Any:
    """Return the price, on the tick, at which the unrealised result is about ``result``; against the holder, so not a
    satoshi better.

    The value of a lot is rounded to a whole unit first, then the price to the tick, both against the holder (rows
    recorded in 2020).  None when the position is flat; the contract's highest price where none can be reached (BitMEX
    shows 1000000 then).
    """
    quantity, instrument = position.quantity, position.instrument
    if not quantity:
        return None
    # uPnL = markValue - cost, and |markValue| = lots * value of a lot; what costs the holder: a long linear and a short
    # inverse position are worth less then, the others more
    worth = position.cost + result
    if quantity > 0:
        lots = quantity // instrument.lot
        lot_value = -(-worth // lots) if instrument.buy_sign > 0 else -worth // lots
    else:
        lots = -quantity // instrument.lot
        lot_value = -worth // lots if instrument.buy_sign > 0 else -(-worth // lots)
    highest = instrument.row['maxPrice']
    if lot_value <= 0:
        return highest if instrument.kind == 'inverse' else instrument.tick
    # a long falls to its liquidation, a short rises to it: the earlier tick is the safe one for the exchange
    ticks = instrument.ticks_of_value(lot_value, quantity > 0)
    if ticks < 1:
        return instrument.tick
    return instrument.price_of(ticks) if ticks < instrument.max_ticks else highest


def average_entry(position: Position) -> Any:
    """Return avgEntryPrice and avgCostPrice, None when flat: the price of the cost of a lot, against the holder.

    On inverse contracts to the tick while that cost is a whole unit, as after fills at one price; else to four decimals
    (rows recorded in 2018 to 2026).
    """
    quantity, instrument = position.quantity, position.instrument
    if not quantity:
        return None
    lots = abs(quantity) // instrument.lot
    sign = instrument.buy_sign if quantity > 0 else -instrument.buy_sign
    cost = sign * position.cost
    lot_value = max(1, -(-cost // lots) if sign > 0 else cost // lots)
    price = price_at_lot_value(instrument, lot_value)
    if instrument.kind == 'inverse' and lot_value * lots == cost:
        return instrument.price_of(instrument.nearest_ticks(price))
    return round(price, contracts.AVERAGE_PRICE_DECIMALS)


def set_limits(position: Position) -> None:
    """Derive the liquidation and bankruptcy prices from the money that stands behind the position.

    Isolated: its own margin.  Cross: the whole free equity of the purse, at the present marks of the other contracts.
    """
    if not position.quantity:
        position.liquidation_price = position.bankrupt_price = None
        return
    if position.isolated:
        behind, kept = position.pos_margin - position.pos_comm, position.pos_margin - position.pos_maint
        position.bankrupt_price = price_of_result(position, -behind)
        position.liquidation_price = price_of_result(position, -kept)
        return
    purse = position.purse
    others = purse.maint - position.maint
    behind = purse.wallet + purse.upnl - position.upnl - others
    position.bankrupt_price = price_of_result(position, -behind)
    position.liquidation_price = price_of_result(position, -(behind - position.pos_maint))


def break_even(position: Position) -> Any:
    """Return the price at which closing would make good what the position has realised; None when flat."""
    return price_of_result(position, -position.rebalanced)
