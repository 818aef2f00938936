"""What every test gets: a world without the developer's command line, keys and settings, and an end when it hangs."""
import faulthandler
import itertools
import json
import logging
import os
import signal
import sys
import threading

import pytest

from market_maker.utils.clock import ManualClock

DEADLINE = 180  # seconds for one test; then every thread's stack is printed and the run ends
SOAK_DEADLINE = 5400  # the same for one that is meant to run for minutes

_numbers = itertools.count(1)
_state = {}  # 'stderr': the real one, for pytest replaces it while a test runs


def pytest_configure(config):
    """Keep the real stderr for the watchdog; hand on no ignored signals to the bots that tests start and stop.

    Whoever runs the suite under nohup or in a script's background ignores some, and a bot respects that.  A handler
    that does nothing keeps the suite as deaf as it was, and does not outlive the start of another program.
    """
    _state['stderr'] = os.fdopen(os.dup(2), 'w')
    for number in (signal.SIGINT, getattr(signal, 'SIGHUP', None)):
        if number and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """End the whole run when one test hangs: a hanging test is a bug, and a run without an end tells nothing."""
    seconds = SOAK_DEADLINE if item.get_closest_marker('soak') else DEADLINE
    faulthandler.dump_traceback_later(seconds, exit=True, file=_state['stderr'])
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope='session')
def state_root(tmp_path_factory):
    """The folder of all state folders: none is made in the home of whoever runs the tests."""
    return str(tmp_path_factory.mktemp('state'))


@pytest.fixture(autouse=True)
def own_world(monkeypatch, state_root):
    """Give each test an empty command line, no keys in the environment, a state folder of its own, and settings that
    nobody touched before."""
    monkeypatch.setattr(sys, 'argv', ['pytest'])
    monkeypatch.setenv('XDG_STATE_HOME', os.path.join(state_root, str(next(_numbers))))
    for name in ('BITMEX_API_KEY', 'BITMEX_API_SECRET', 'BITMEX_BASE_URL'):
        monkeypatch.delenv(name, raising=False)
    yield
    _end_guards()
    settings = sys.modules.get('market_maker.settings')
    if settings is not None:
        settings.forget()


def _end_guards():
    """End the watches of managers that a test left behind: they would read the settings of the tests that follow."""
    for thread in threading.enumerate():
        watch = getattr(thread, '_target', None)   # gone once it has ended
        if thread.name == 'bitmex-guard' and watch is not None:
            watch.__self__.stop()


@pytest.fixture
def clock():
    """A clock that only the test moves."""
    return ManualClock()


@pytest.fixture(scope='session')
def recordings():
    """The folder of recorded traffic, which the environment variable RECORDINGS names."""
    folder = os.environ.get('RECORDINGS')
    if not folder:
        pytest.skip('RECORDINGS names no folder of recorded traffic')
    assert os.path.isdir(folder), 'RECORDINGS names {!r}, which is no folder'.format(folder)
    return folder


@pytest.fixture(scope='session')
def specification(recordings):
    """BitMEX's official specification of REST, which stands beside the folder of recordings."""
    path = os.path.join(recordings, '..', 'reference', 'swagger.json')
    if not os.path.isfile(path):
        pytest.skip('the official specification is not beside the folder that RECORDINGS names')
    with open(path) as source:
        return json.load(source)


@pytest.fixture
def own_log():
    """Take away, at the end, the handlers that a test's command line has added, and give the logger its level back."""
    logger = logging.getLogger('root')
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
