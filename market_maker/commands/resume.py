"""``marketmaker resume``: let the bot quote again after a loss limit was hit."""
from __future__ import absolute_import, print_function

from typing import Any

from market_maker.commands import account
from market_maker.commands.account import opened
from market_maker.state import losses
from market_maker.utils.errors import EXIT_OK, SettingsError

HELP = 'Let the bot quote again after a loss limit was hit; losses count anew from then on.'
EXAMPLES = """
marketmaker resume XBTUSD    beside the running bot, or before its next start
"""
EXIT_CODES = """
0  the bot may quote, also when nothing had stopped it
"""


def add_arguments(parser: Any) -> None:
    """Add the account's arguments."""
    account.add_arguments(parser)


def main(args: Any) -> int:
    """Resume, say what had stopped the bot, and return the exit code."""
    with opened() as mine:
        watch = mine.losses()
        try:
            stopped = watch.resume()
        except OSError as error:
            raise SettingsError('the loss watch {} cannot be written ({}): make room, or give yourself the right to'
                                .format(watch.path, error.strerror or error))
    if stopped:
        reason = stopped.replace(losses.UNTIL, '')
        print('{} may be quoted again. It was stopped because {}.'.format(mine.symbol, reason))
    else:
        print('No loss limit of {} with the prefix {!r} was hit: nothing to resume.'.format(mine.symbol, mine.prefix))
    return EXIT_OK
