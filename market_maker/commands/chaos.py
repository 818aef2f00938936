"""``marketmaker chaos``: your settings and your strategy against a local exchange that misbehaves, and a verdict."""
from __future__ import absolute_import, print_function

import os
import random
import shutil
import signal
import tempfile
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker import local
from market_maker.commands.run import split_strategy
from market_maker.settings import settings, validate
from market_maker.utils import errors
from market_maker.utils.errors import SettingsError

HELP = 'Show that your bot survives a bad day: your settings and strategy, a misbehaving local exchange, a verdict.'
EXAMPLES = """
marketmaker chaos                                  one minute of everything
marketmaker chaos XBTUSD --strategy my_strategy.py --seed 7 --seconds 120
marketmaker chaos --profile flaky-network --seed 1 2 3 4
marketmaker chaos --list
"""

DEFAULT_PROFILE = 'survivable'
NO_FAULTS = 'none'
MARKETS = ('simulated', 'lively', 'still')
SHORTEST = 5.0    # seconds: a bot has hardly begun before


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add('symbol', nargs='?', metavar='SYMBOL', help='the contract to quote (default: SYMBOL of settings.py)')
    add('--strategy', metavar='FILE[:CLASS]', help='run this subclass of OrderManager')
    add('--profile', metavar='NAME', default=DEFAULT_PROFILE,
        help='which faults: see --list (default: %(default)s); none plays no faults at all')
    add('--seed', metavar='N', type=int, nargs='+', help='same seed, same faults; several make a run each')
    add('--seconds', metavar='N', type=float, default=60.0, help='how long the faults last (default: %(default)g)')
    add('--market', choices=MARKETS, default='lively', help='who trades besides you (default: %(default)s)')
    add('--own-timers', action='store_true',
        help='keep LOOP_INTERVAL, HEARTBEAT and the like of your settings; the default is to scale them to a short run')
    add('--keep', metavar='FOLDER', help="keep each run's logs, ledger and diary in this folder")
    add('--list', action='store_true', help='list the profiles and leave')


def main(args: Any) -> int:
    """Make the runs, print the table, and return EXIT_OK, or EXIT_BROKEN when an invariant was."""
    local.need_extra()
    from market_maker.server.faults import PROFILES
    if args.list:
        for name in PROFILES:
            print('{:<16}{}'.format(name, PROFILES[name].about))
        print('{:<16}no faults at all: what the bot does on a good day'.format(NO_FAULTS))
        return errors.EXIT_OK
    if args.profile != NO_FAULTS and args.profile not in PROFILES:
        raise SettingsError('--profile {}: there is no such profile; there are {}'.format(
            args.profile, ', '.join(list(PROFILES) + [NO_FAULTS])))
    if not args.seconds >= SHORTEST:
        raise SettingsError('--seconds {:g}: {:g} are the least'.format(args.seconds, SHORTEST))
    if args.strategy and not os.path.isfile(split_strategy(args.strategy)[0]):
        raise SettingsError('--strategy {}: there is no such file'.format(args.strategy))
    validate(strict=args.strategy is None)
    symbol = (args.symbol or settings.SYMBOL).upper()
    seeds = args.seed or [random.SystemRandom().randrange(10 ** 6)]
    signal.signal(signal.SIGTERM, _interrupt)   # so that the bot ends with us, as at Ctrl-C
    is_kept = True
    for seed in seeds:
        is_kept = _run(args, symbol, seed) and is_kept
    return errors.EXIT_OK if is_kept else errors.EXIT_BROKEN


def _run(args, symbol, seed):
    # type: (Any, str, int) -> bool
    """Make one run, print what came of it, and tell whether every invariant was kept."""
    from market_maker.commands import trial
    from market_maker.judge.verdict import is_kept
    folder = _folder(args.keep, seed)
    words = ('--strategy', args.strategy) if args.strategy else ()
    # Somebody trades by hand beside every second bot; beside the others the dead man's switch is armed.
    plan = trial.a_plan(symbol, words=words, profile=None if args.profile == NO_FAULTS else args.profile,
                        seed=seed, seconds=args.seconds, market=args.market, by_hand=seed % 2 == 0)
    if args.own_timers:
        plan = plan._replace(settings={}, certain=None)
    print('Seed {}, profile {}, {:g} s{}:'.format(seed, args.profile, args.seconds, '' if args.keep is None else
                                                  ', kept in {}'.format(folder)), flush=True)
    try:
        outcome = trial.run(plan, folder, os.getcwd())
    finally:
        if args.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print('\n'.join(table(outcome)), flush=True)
    return is_kept(outcome.findings)


def table(outcome: Any) -> List[str]:
    """Return the lines of one run: an invariant a line, with the first offence below it, and what happened at all."""
    lines = []   # type: List[str]
    for finding in outcome.findings:
        lines.append('  ({})  {:<72} {}'.format(finding.letter, finding.title, 'pass' if finding.is_kept else 'FAIL'))
        if not finding.is_kept:
            lines.append('         ' + finding.words)
    figures = outcome.figures
    return lines + ['  {} faults, {} connections, {} requests, {} fills, {} calls of converge_orders'.format(
        figures['faults'], figures['sockets'], figures['requests'], figures['fills'], figures['cycles'])]


def _folder(keep, seed):
    # type: (Optional[str], int) -> str
    try:
        if keep is None:
            return tempfile.mkdtemp(prefix='marketmaker-chaos-')
        path = os.path.join(os.path.abspath(keep), 'seed-{}'.format(seed))
        os.makedirs(path)
        return path
    except FileExistsError:
        raise SettingsError('--keep {}: {} is there already; name a new folder'.format(keep, path))
    except OSError as error:
        raise SettingsError('--keep {}: {}'.format(keep, error.strerror))


def _interrupt(signum, frame):
    # type: (int, Any) -> None
    raise KeyboardInterrupt()
