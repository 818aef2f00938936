"""``marketmaker flatten``: close the whole position of a symbol at the market, with orders that can only reduce."""
from __future__ import absolute_import, print_function

import sys
from typing import Any

from market_maker.commands import account
from market_maker.commands.account import Account, opened, price
from market_maker.commands.cancel import warn_of
from market_maker.utils.errors import EXIT_FAILURE, EXIT_OK, APIError, OutcomeUnknown, SettingsError

HELP = "Cancel the bot's own orders of a symbol and close the whole position in it at the market."
EXAMPLES = """
marketmaker flatten XBTUSD          asks first
marketmaker flatten XBTUSD --yes    does not ask
"""
EXIT_CODES = """
0  the position is closed
1  it is not, or the answer was no
2  nobody was there to answer: add --yes
"""

ATTEMPTS = 5   # a thin book may take several


def add_arguments(parser: Any) -> None:
    """Add the account's arguments and the answer."""
    account.add_arguments(parser)
    parser.add_argument('--yes', action='store_true', help='do not ask')


def main(args: Any) -> int:
    """Ask, cancel, close, look, and return the exit code: 0 when the position is closed, else 1."""
    with opened() as mine:
        instrument = mine.instrument()
        position = mine.position()
        quantity = position.get('currentQty') or 0
        own = [order for order in mine.open_orders() if mine.is_own(order)]
        if not quantity and not own:
            print('{} has no position and no orders of the bot: nothing to do.'.format(mine.symbol))
            return EXIT_OK
        print('{}: {} contracts at {}, mark {}; {} orders of the bot.'.format(
            mine.symbol, quantity, price(position.get('avgEntryPrice'), instrument),
            price(instrument.get('markPrice'), instrument), len(own)))
        if not args.yes and not _agrees(quantity, len(own), mine.symbol):
            print('Nothing was done.')
            return EXIT_FAILURE
        left = mine.cancel(own)
        if left:
            print('{} orders of the bot are still open; the position was left alone.'.format(len(left)))
            return EXIT_FAILURE
        quantity, fault = close(mine, quantity)
        pid = mine.running_bot()
    if quantity:
        print('{} contracts of {} are still open{}.'.format(quantity, mine.symbol, fault and ' ({})'.format(fault)))
    else:
        print('{} is flat, {} orders cancelled.'.format(mine.symbol, len(own)))
    warn_of(pid)
    return EXIT_FAILURE if quantity else EXIT_OK


def close(mine: Account, quantity: int) -> Any:
    """Send market orders that can only reduce until the position is closed; return (what is left, why).

    An order of unknown fate needs no look-up: whatever comes of it, it can close only what is still open.
    """
    fault = ''
    for _ in range(ATTEMPTS):
        if not quantity:
            break
        before = quantity
        try:
            row = mine.bitmex.place_order(-quantity, None, ordType='Market', execInst='ReduceOnly')
            fault = str(row.get('text') or '').partition('\n')[0]
        except (APIError, OutcomeUnknown) as error:
            fault = str(error)
        quantity = mine.position().get('currentQty') or 0
        if quantity == before and fault:
            break
    return quantity, fault


def _agrees(quantity, orders, symbol):
    # type: (int, int, str) -> bool
    """Ask; raise SettingsError where nobody can answer."""
    what = ['cancel {} orders'.format(orders)] if orders else []
    if quantity:
        what.append('{} {} contracts at the market'.format('sell' if quantity > 0 else 'buy', abs(quantity)))
    if sys.stdin is None or not sys.stdin.isatty():
        raise SettingsError('flatten {} asks before it acts, and nobody is there to answer: add --yes'.format(symbol))
    sys.stdout.write('{}? [y/N] '.format(' and '.join(what).capitalize()))
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ('y', 'yes')
