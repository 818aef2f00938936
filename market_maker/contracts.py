"""What a contract is worth: value, cost, margin, delta, profit, average price.

Every function takes an instrument row with BitMEX's field names and plain numbers.  Quantities are contracts (on spot:
minor units of the base currency), prices are quote units, money is an int in the minor unit of the settlement currency
(XBt, a satoshi, for contracts settled in XBT; USDt, a millionth, for those settled in USDT) unless a docstring says
otherwise.

The exchange computes a value per lot, rounds it to a whole minor unit and multiplies by the number of lots; so do we.
Sources: BitMEX's contract guides and its note on lot sizes (2021-06-08); confirmed on recorded rows of 2019 to 2026.
"""
from typing import Any, Dict, Tuple  # noqa: F401  (the names are used in type comments)

SETTLE_SCALES = {'XBt': 10 ** 8, 'USDt': 10 ** 6, 'Gwei': 10 ** 9, 'LAMp': 10 ** 9, 'BMEx': 10 ** 6}

AVERAGE_PRICE_DECIMALS = 4   # avgEntryPrice and avgCostPrice of position rows


def kind(instrument):
    # type: (Dict[str, Any]) -> str
    """Return 'index', 'inverse', 'quanto', 'spot' or 'linear'."""
    if instrument.get('symbol', '').startswith('.'):
        return 'index'
    if instrument.get('isInverse'):
        return 'inverse'
    if instrument.get('isQuanto'):
        return 'quanto'
    return 'linear' if instrument.get('settlCurrency') else 'spot'


def settle_scale(currency):
    # type: (str) -> int
    """Return the minor units in one major unit: 10**8 XBt in an XBT.  Raises KeyError for an unknown currency."""
    return SETTLE_SCALES[currency]


def _rounded(amount):
    # type: (float) -> int
    """Round a non-negative amount to a whole minor unit, halves up."""
    return int(amount + 0.5)


def lot_value(instrument, contracts, price):
    # type: (Dict[str, Any], int, float) -> int
    """Return the value of that many contracts taken as one piece: rounded once, in minor units, never negative."""
    which = kind(instrument)
    multiplier = abs(instrument['multiplier'])
    if which == 'inverse':
        return _rounded(multiplier * contracts / price)
    if which == 'spot':
        per_unit = price * instrument['quoteToSettleMultiplier'] / instrument['underlyingToPositionMultiplier']
        return _rounded(contracts * per_unit)
    return _rounded(contracts * abs(price) * multiplier)


def value(instrument, quantity, price):
    # type: (Dict[str, Any], int, float) -> int
    """Return the value of a quantity at a price, in minor units, never negative: per lot, rounded, times lots.

    An odd remainder below one lot (positions from before a change of lot size) is valued as a piece of its own.
    """
    lots, odd = divmod(abs(quantity), instrument.get('lotSize') or 1)
    total = lots * lot_value(instrument, instrument.get('lotSize') or 1, price) if lots else 0
    return total + lot_value(instrument, odd, price) if odd else total


def signed_value(instrument, quantity, price):
    # type: (Dict[str, Any], int, float) -> int
    """Return the value with the sign of BitMEX's rows: linear and quanto longs positive, inverse longs negative."""
    amount = value(instrument, quantity, price)
    long_is_negative = kind(instrument) == 'inverse'
    return -amount if (quantity > 0) == long_is_negative else amount


def profit(instrument, quantity, entry_price, exit_price):
    # type: (Dict[str, Any], int, float, float) -> int
    """Return what a position of a signed quantity earns between two prices, in minor units, before fees."""
    return signed_value(instrument, quantity, exit_price) - signed_value(instrument, quantity, entry_price)


def average_price(instrument, quantity, cost_of_position):
    # type: (Dict[str, Any], int, int) -> float
    """Return the price at which a quantity has that cost (its sign does not matter), to four decimals; 0.0 when flat.

    On inverse contracts the cost of one lot is rounded to a whole minor unit first, as in the rows that BitMEX sent.
    """
    quantity, total = abs(quantity), abs(cost_of_position)
    if not quantity or not total:
        return 0.0
    multiplier = abs(instrument['multiplier'])
    if kind(instrument) != 'inverse':
        return round(total / (quantity * multiplier), AVERAGE_PRICE_DECIMALS)
    lot = instrument.get('lotSize') or 1
    return round(multiplier * lot / max(_rounded(total * lot / quantity), 1), AVERAGE_PRICE_DECIMALS)


def cost(instrument, quantity, price):
    # type: (Dict[str, Any], float, float) -> float
    """Return the unrounded value of an order in minor units, never negative; what a dry run adds up."""
    multiplier = instrument['multiplier']
    per_contract = multiplier / price if multiplier < 0 else multiplier * price
    return abs(quantity * per_contract)


def margin(instrument, quantity, price):
    # type: (Dict[str, Any], float, float) -> float
    """Return the initial margin of an order in minor units, unrounded: its cost times ``initMargin``."""
    return cost(instrument, quantity, price) * instrument['initMargin']


def home_foreign(instrument, quantity, price):
    # type: (Dict[str, Any], int, float) -> Tuple[float, float]
    """Return (homeNotional, foreignNotional) of a public trade, neither negative.

    They are what it moves of the underlying and of the quote currency, in major units.
    """
    which, size = kind(instrument), abs(quantity)
    amount = value(instrument, size, price)
    if which == 'inverse':
        return amount / abs(instrument['underlyingToSettleMultiplier']), float(size)
    to_settle = instrument['quoteToSettleMultiplier']
    if which == 'quanto':
        return size * abs(instrument['multiplier']) / to_settle, amount / to_settle
    return size / instrument['underlyingToPositionMultiplier'], amount / to_settle


def delta_multiplier(instrument):
    # type: (Dict[str, Any]) -> float
    """Return the multiplier of the delta rule: per underlying where the row says so, else per quote unit."""
    divisor = instrument.get('underlyingToSettleMultiplier') or instrument.get('quoteToSettleMultiplier')
    return float(instrument['multiplier']) / float(divisor)  # type: ignore[arg-type]


def exposure(which, multiplier, quantity, price):
    # type: (str, float, float, float) -> float
    """Return the delta of a position in major units (XBT), signed, from its kind and delta multiplier."""
    if which == 'quanto':
        return quantity * multiplier * price
    if which == 'inverse':
        return (multiplier / price) * quantity
    return multiplier * quantity


def delta(instrument, quantity, price):
    # type: (Dict[str, Any], float, float) -> float
    """Return the delta of a signed quantity at a price, in major units (XBT)."""
    return exposure(kind(instrument), delta_multiplier(instrument), quantity, price)
