"""``marketmaker demo``: a project in a temporary folder, a lively local market, and the bot on it."""
from __future__ import absolute_import, print_function

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any, Optional  # noqa: F401

from market_maker.commands.setup import scaffold
from market_maker.utils.errors import SettingsError

HELP = 'Watch the bot at work: a temporary project on a lively local market. Leaves nothing behind.'
EXAMPLES = """
marketmaker demo                 until Ctrl-C
marketmaker demo --seconds 20    for twenty seconds
"""

GRACE = 20.0  # seconds that the bot has for cancelling its orders and its summary before it is killed

# A port of its own: a demo beside a running bot disturbs nothing. And a market whose history is known to be a good one.
DEMO_BLOCK = '''
BASE_URL = "http://127.0.0.1:{port}/api/v1/"
LOCAL_SEED = 7
'''


def add_arguments(parser: Any) -> None:
    """Add the length of the demo and the contract."""
    parser.add_argument('symbol', nargs='?', default='XBTUSD', metavar='SYMBOL', help='the contract to quote (XBTUSD)')
    parser.add_argument('--seconds', type=float, metavar='N', help='end after N seconds (default: at Ctrl-C)')


def main(args: Any) -> int:
    """Run the demo and return the bot's exit code."""
    if args.seconds is not None and not args.seconds > 0:
        raise SettingsError('--seconds {:g}: a demo lasts more than 0 seconds'.format(args.seconds))
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        folder = tempfile.mkdtemp(prefix='marketmaker-demo-')
    except OSError as error:
        raise SettingsError('no temporary folder for the demo: {}; set TMPDIR to one with room'.format(error.strerror))
    try:
        scaffold(folder)
        with open(os.path.join(folder, 'settings.py'), 'a') as file:
            file.write(DEMO_BLOCK.format(port=_free_port()))
        return _watch(_start(folder, args.symbol.upper()), args.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder, symbol):
    # type: (str, str) -> subprocess.Popen
    """Start the bot as a user would, in a session of its own: only we pass Ctrl-C on to it, and only once."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith('BITMEX_')}
    environment['XDG_STATE_HOME'] = os.path.join(folder, 'state')   # nothing is left behind at home either
    sys.stdout.flush()
    return subprocess.Popen([sys.executable, '-u', '-m', 'market_maker', symbol], cwd=folder, env=environment,
                            stdin=subprocess.DEVNULL, start_new_session=True)


def _watch(bot, seconds):
    # type: (subprocess.Popen, Optional[float]) -> int
    """Wait for the bot, or for the end of its time, or for Ctrl-C; return its exit code."""
    try:
        bot.wait(seconds)
    except subprocess.TimeoutExpired:
        print('The demo ends after {:g} seconds.'.format(seconds or 0))
    except KeyboardInterrupt:
        pass
    return _stop(bot)


def _stop(bot):
    # type: (subprocess.Popen) -> int
    if bot.poll() is None:
        bot.send_signal(signal.SIGINT)
    try:
        code = bot.wait(GRACE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        bot.kill()
        bot.wait()
        raise SettingsError('the demo did not end by itself within {:g} seconds and was killed'.format(GRACE))
    return code if code >= 0 else 128 - code


def _free_port():
    # type: () -> int
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def _interrupt(signum, frame):
    # type: (int, Any) -> None
    raise KeyboardInterrupt()
