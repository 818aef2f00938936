"""One bot of a kind at a time, and what the bots of an account know of each other."""
import os
import signal
import subprocess
import sys

import pytest

from market_maker.state import lock as locks
from market_maker.state.lock import InstanceLock, Neighbour
from market_maker.utils.errors import SettingsError

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOLDER = '''
import sys
from market_maker.state.lock import InstanceLock
lock = InstanceLock(sys.argv[1], sys.argv[2])
lock.acquire()
lock.note(switch=True)
print('held', flush=True)
sys.stdin.read()
lock.release()
'''


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


@pytest.fixture
def start(folder):
    started = []

    def start(bot):
        """Have another process hold the lock of a bot."""
        process = subprocess.Popen([sys.executable, '-c', HOLDER, folder, bot], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=CHECKOUT))
        started.append(process)
        assert process.stdout.readline().strip() == b'held'
        return process
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        if not process.stdin.closed:
            process.communicate()


def test_a_second_bot_of_the_kind_is_refused_with_a_way_out(folder, start):
    process = start('XBTUSD mm_')

    with pytest.raises(SettingsError) as error:
        InstanceLock(folder, 'XBTUSD mm_').acquire()

    words = str(error.value)
    assert 'process {}'.format(process.pid) in words and "XBTUSD with the prefix 'mm_'" in words
    assert 'ORDERID_PREFIX' in words
    InstanceLock(folder, 'XBTUSD mm_2_').acquire()
    InstanceLock(folder, 'ETHUSD mm_').acquire()


def test_a_stale_lock_is_taken_over(folder, start):
    process = start('XBTUSD mm_')
    process.send_signal(getattr(signal, 'SIGKILL', signal.SIGTERM))
    process.wait(30)

    lock = InstanceLock(folder, 'XBTUSD mm_')
    lock.acquire()

    assert lock.neighbours() == []
    lock.release()


def test_the_same_process_may_have_it_again(folder):
    """A program that builds its bot anew after trouble is not kept out by what it left behind."""
    first, second = InstanceLock(folder, 'XBTUSD mm_'), InstanceLock(folder, 'XBTUSD mm_')
    first.acquire()
    second.acquire()
    first.release()
    first.release()

    with open(second.path) as file:
        assert str(os.getpid()) in file.read()
    second.release()
    assert os.path.getsize(second.path) == 0


def test_neighbours_that_run_that_were_killed_and_that_ended_well(folder, start):
    living, killed, ended = start('XBTUSD a'), start('XBTUSD b'), start('XBTUSD c')
    killed.kill()
    killed.wait(30)
    ended.communicate()
    mine = InstanceLock(folder, 'XBTUSD d')
    mine.acquire()

    wanted = [Neighbour('XBTUSD a', living.pid, True, True), Neighbour('XBTUSD b', killed.pid, False, True)]
    assert sorted(mine.neighbours()) == wanted
    mine.bury()
    assert mine.neighbours() == wanted[:1]
    mine.release()


def test_nothing_is_locked_where_nothing_can_be_kept(tmp_path):
    said = []
    for folder in (None, str(tmp_path / 'missing')):
        lock = InstanceLock(folder, 'XBTUSD mm_', lambda *words: said.append(words))
        lock.acquire()
        lock.note(switch=True)
        lock.release()
    assert InstanceLock(None, 'XBTUSD mm_').neighbours() == []
    assert len(said) == 1


# Windows


class Msvcrt(object):
    """Locks of Windows: of bytes from the place where a file is, one owner each."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self):
        self.owners = {}   # (file, byte) -> descriptor

    def locking(self, descriptor, mode, count):
        assert count == 1
        byte = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
        owner = self.owners.get(byte)
        if owner is not None and owner != descriptor or (mode == self.LK_UNLCK and owner is None):
            raise OSError(13, 'Permission denied')
        self.owners[byte] = descriptor if mode == self.LK_NBLCK else None


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(locks, 'fcntl', None)
    monkeypatch.setattr(locks, 'msvcrt', Msvcrt(), raising=False)


def test_on_windows_what_a_locked_file_says_can_be_read(windows, folder):
    """The byte that is locked lies far behind; whoever finds it locked still learns by whom."""
    first = InstanceLock(folder, 'XBTUSD mm_')
    first.acquire()
    first.note(switch=True)
    del locks._held[first.path]   # as another process sees it
    second = InstanceLock(folder, 'XBTUSD mm_2_')
    second.acquire()

    assert second.neighbours() == [Neighbour('XBTUSD mm_', os.getpid(), True, True)]
    with pytest.raises(SettingsError) as error:
        InstanceLock(folder, 'XBTUSD mm_').acquire()
    assert 'process {}'.format(os.getpid()) in str(error.value)

    locks.unlock_file(first._file)   # it was killed
    assert second.neighbours() == [Neighbour('XBTUSD mm_', os.getpid(), False, True)]
    second.bury()
    assert second.neighbours() == []
    second.release()
    assert os.path.getsize(second.path) == 0
    first._file.close()
