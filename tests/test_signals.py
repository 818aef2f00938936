"""Signals that have to wait until the program can be interrupted."""
import os
import signal
import subprocess
import sys
import threading

import pytest

from market_maker.utils.signals import held

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
pytestmark = pytest.mark.skipif(os.name != 'posix', reason='signals are those of POSIX')
RAISING = """
import os, signal, sys
from market_maker.utils.signals import held
for number in {ignored}:
    signal.signal(number, signal.SIG_IGN)
try:
    with held():
        os.kill(os.getpid(), {number})
        print('whole', end=' ', flush=True)
    print('not interrupted', end=' ')
except KeyboardInterrupt:
    print('interrupted', end=' ')
sys.stdout.flush()
os.kill(os.getpid(), {number})
"""


def run(number, ignored=()):
    """Return what a program says to which the signal comes in such a block, and its exit code."""
    done = subprocess.run([sys.executable, '-c', RAISING.format(number=int(number), ignored=[int(n) for n in ignored])],
                          cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
    return done.stdout.decode().split(), done.returncode


def test_ctrl_c_comes_when_the_block_is_over():
    words, code = run(signal.SIGINT)

    assert words == ['whole', 'interrupted'] and code != 0


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_nobody_handles_ends_the_program_after_the_block(number):
    words, code = run(number)

    assert (words, code) == (['whole'], -number)


def test_what_is_ignored_stays_ignored():
    assert run(signal.SIGHUP, [signal.SIGHUP]) == (['whole', 'not', 'interrupted'], 0)


def test_handlers_are_as_before_and_only_the_first_signal_counts():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        handler = signal.getsignal(signal.SIGTERM)
        with held():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert came == []
        assert came == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_holds_nothing():
    handlers = []

    def look():
        with held():
            handlers.append(signal.getsignal(signal.SIGTERM))
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert handlers == [signal.getsignal(signal.SIGTERM)]
