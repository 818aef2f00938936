"""Clients that other people wrote, run as they were published against a local exchange in a process of its own.

Not part of the default suite, which needs no package of theirs: ``make test-clients`` makes an environment with them
and runs this folder in it.  Nothing of a client is patched; it is told where the exchange is and which key to use.
"""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))   # where local_client stands

from exchange_process import start, stop  # noqa: E402


@pytest.fixture(scope='module')
def lively():
    """An exchange whose market trades close quotes within seconds."""
    exchange = start('--market', 'lively', '--seed', '7', '--no-rate-limits')
    yield exchange
    stop(exchange)


@pytest.fixture(scope='module')
def still():
    """An exchange on which nothing moves but what the test moves: XBTUSD stands at 60000 to 60000.5."""
    exchange = start('--market', 'still', '--bid', '60000', '--ask', '60000.5')
    yield exchange
    stop(exchange)


@pytest.fixture
def ours():
    """An exchange for one test alone, whose clock and prices it may move."""
    exchange = start('--market', 'still', '--bid', '60000', '--ask', '60000.5', '--symbol', 'XBTUSD')
    yield exchange
    stop(exchange)


@pytest.fixture
def seconds():
    """For how long streams are followed."""
    return float(os.environ.get('CLIENT_SECONDS') or 60)
