"""``marketmaker cancel``: the bot's own orders of a symbol, and only those."""
from __future__ import absolute_import, print_function

from typing import Any

from market_maker.commands import account
from market_maker.commands.account import opened
from market_maker.utils.errors import EXIT_FAILURE, EXIT_OK

HELP = "Cancel the bot's own orders of a symbol; yours and those of other bots stay."
EXAMPLES = """
marketmaker cancel           of SYMBOL of settings.py
marketmaker cancel XBTUSD    of XBTUSD, by the ORDERID_PREFIX of settings.py
"""
EXIT_CODES = """
0  none of the bot's orders is open any more
1  some are still open
"""


def add_arguments(parser: Any) -> None:
    """Add the account's arguments."""
    account.add_arguments(parser)


def main(args: Any) -> int:
    """Cancel, look that they are gone, and return the exit code: 0 when none of them is left, else 1."""
    with opened() as mine:
        orders = mine.open_orders()
        own = [order for order in orders if mine.is_own(order)]
        left = mine.cancel(own)
        pid = mine.running_bot()
    print('{} orders of {} with the prefix {!r} cancelled{}; {} others stay.'.format(
        len(own) - len(left), mine.symbol, mine.prefix, ', {} are still open'.format(len(left)) if left else '',
        len(orders) - len(own)))
    warn_of(pid)
    return EXIT_FAILURE if left else EXIT_OK


def warn_of(pid: Any) -> None:
    """Say that a running bot goes on."""
    if pid is not None:
        print('The bot runs (process {}) and will place orders again: end it to stay without.'.format(pid))
