"""Cost, fees and result of trades in exact whole minor units, worked out for the judge alone.

Sources: BitMEX's contract guides (value of an inverse, a linear and a quanto contract) and its note on lot sizes: the
value of one lot is rounded to a whole minor unit, and a trade's is that of its lots.  Of fees, rebates, and the cost
that leaves with a reduced position, what is below a unit is cut off (docs/local-exchange.md).
"""
from __future__ import absolute_import

from fractions import Fraction
from typing import Any

from market_maker.judge.evidence import Contract


def exact(number: Any) -> Fraction:
    """Return a price or a rate as the decimal number that was meant, not as the float nearest to it."""
    return Fraction(repr(number))


def nearest(amount: Fraction) -> int:
    """Round to a whole unit, halves away from zero."""
    doubled = 2 * abs(amount) + 1
    whole = doubled.numerator // (2 * doubled.denominator)
    return whole if amount >= 0 else -whole


def value(contract: Contract, quantity: int, price: Any) -> int:
    """Return what a number of contracts is worth at a price: lots times the rounded value of a lot; not negative."""
    multiplier, lots = Fraction(contract.multiplier), Fraction(abs(quantity), contract.lot)
    if lots.denominator != 1:
        raise ValueError('{} contracts of {} are no whole lots of {}'.format(quantity, contract.symbol, contract.lot))
    of_lot = multiplier * contract.lot / exact(price) if contract.kind == 'inverse' else (
        multiplier * contract.lot * exact(price))
    return nearest(of_lot) * int(lots)


def cost(contract: Contract, side: str, quantity: int, price: Any) -> int:
    """Return a trade's cost with the sign of BitMEX's rows: buying an inverse contract counts negative, a linear one
    positive."""
    amount = value(contract, quantity, price)
    return amount if (side == 'Buy') == (contract.kind != 'inverse') else -amount


def fee(contract: Contract, quantity: int, price: Any, rate: Any) -> int:
    """Return a trade's fee at a rate such as -0.0001; paid is positive."""
    return int(value(contract, quantity, price) * exact(rate))


class Account(object):
    """A position with its average cost, and what it has realised."""

    def __init__(self, quantity: int = 0, entry_cost: int = 0) -> None:
        self.quantity = quantity     # contracts, signed
        self.cost = entry_cost       # minor units, signed
        self.realised = 0            # before fees
        self.fees = 0                # funding included

    def pay(self, amount: int) -> None:
        """Book what was paid (negative: received) for holding it."""
        self.fees += amount

    def trade(self, change: int, trade_cost: int, trade_fee: int) -> None:
        """Book a signed number of contracts at their signed cost."""
        self.fees += trade_fee
        held = self.quantity
        self.quantity = held + change
        if held == 0 or (held > 0) == (change > 0):
            self.cost += trade_cost
            return
        closed = min(abs(change), abs(held))
        leaves = abs(self.cost) * closed // abs(held)       # of the entry cost
        leaves = leaves if self.cost > 0 else -leaves
        closing = Fraction(trade_cost * closed, abs(change))
        assert closing.denominator == 1, 'a trade of whole lots'
        self.realised -= leaves + int(closing)
        self.cost = self.cost - leaves + trade_cost - int(closing)

    @property
    def result(self) -> int:
        """Realised, after fees and funding."""
        return self.realised - self.fees
