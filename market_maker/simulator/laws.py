"""What must always hold on an exchange: nobody's contracts come from nowhere, and neither does money.

Pure; reads an exchange and changes nothing.  Cost grows with the number of accounts, so these are for looking, not for
every order.
"""
from typing import Any, Dict, List  # noqa: F401


def everybody(exchange: Any) -> List[Any]:
    """Return all customers, the market and the liquidation engine."""
    return list(exchange.accounts.values()) + [exchange.market, exchange.liquidator]


def positions(exchange: Any) -> Dict[str, int]:
    """Return the sum of all positions by contract: 0, for each long has its short."""
    sums = dict.fromkeys(exchange.tapes, 0)
    for account in everybody(exchange):
        for symbol, position in account.positions.items():
            sums[symbol] += position.quantity
    return sums


def money(exchange: Any) -> Dict[str, int]:
    """Return by currency, in minor units, how much more there is than came in: 0.

    There are wallets, results at the mark and collected fees; in came deposits and the insurance fund's beginning, less
    what was withdrawn.
    """
    sums = {currency: exchange.fees.get(currency, 0) - amount for currency, amount in exchange.endowment.items()}
    for account in everybody(exchange):
        for purse in account.purses.values():
            more = purse.wallet - purse.deposited + purse.withdrawn
            sums[purse.currency] = sums.get(purse.currency, 0) + more
        for position in account.positions.values():
            sums[position.instrument.currency] += value_of(position) - position.cost
    return sums


def value_of(position: Any) -> int:
    """Return the signed value of a position at the mark, minor units."""
    instrument = position.instrument
    return position.quantity // instrument.lot * instrument.mark_lot_value * instrument.buy_sign  # type: ignore


def crossed(exchange: Any) -> List[str]:
    """Return the contracts whose book rests crossed: none."""
    return [symbol for symbol, book in exchange.books.items()
            if book.bids.prices and book.asks.prices and book.bids.prices[-1] >= -book.asks.prices[-1]]
