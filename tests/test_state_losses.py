"""The loss watch: what it counts from, that it holds over restarts, and that it fails closed."""
import json
import os
import stat

import pytest

from market_maker.state import losses
from market_maker.state.losses import Bounds, Losses

DAY = 86400.0
NOON = 1000 * DAY + DAY / 2


def bounds(loss=None, drawdown=None, daily=None):
    return Bounds(loss, drawdown, daily, 'XBt', 10 ** 8)


def XBT(amount):
    return int(round(amount * 10 ** 8))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / losses.file_name('XBTUSD mm_'))


def test_a_loss_counts_from_the_start(path):
    watch = Losses(path)

    assert watch.check(XBT(10), bounds(loss=0.5), NOON, 0.0) == ''
    assert watch.check(XBT(12), bounds(loss=0.5), NOON, 1.0) == ''
    assert watch.check(XBT(9.50000001), bounds(loss=0.5), NOON, 2.0) == ''
    words = watch.check(XBT(9.5), bounds(loss=0.5), NOON, 3.0)

    assert words == '0.5 XBT were lost since 1972-09-27 12:00 UTC, LOSS_LIMIT is 0.5: no quotes until ' \
        '`marketmaker resume`'


def test_a_drawdown_counts_from_the_highest_balance(path):
    watch = Losses(path)
    for balance in (10, 12, 11.6):
        assert watch.check(XBT(balance), bounds(drawdown=0.5), NOON, 0.0) == ''

    assert 'DRAWDOWN_LIMIT is 0.5' in watch.check(XBT(11.5), bounds(drawdown=0.5), NOON, 0.0)


def test_a_daily_loss_counts_from_midnight(path):
    watch = Losses(path)
    assert watch.check(XBT(10), bounds(daily=0.5), NOON, 0.0) == ''
    assert watch.check(XBT(9.6), bounds(daily=0.5), NOON + 1, 0.0) == ''
    assert watch.check(XBT(9.4), bounds(daily=0.5), NOON + DAY, 0.0) == ''     # 0.6 since yesterday noon, today none

    assert 'DAILY_LOSS_LIMIT is 0.5' in watch.check(XBT(8.9), bounds(daily=0.5), NOON + DAY + 1, 0.0)


def test_a_clock_that_is_set_back_begins_no_new_day(path):
    watch = Losses(path)
    watch.check(XBT(10), bounds(daily=0.5), NOON, 0.0)
    assert watch.check(XBT(9.6), bounds(daily=0.5), NOON - DAY, 1.0) == ''

    assert watch.check(XBT(9.5), bounds(daily=0.5), NOON - DAY, 2.0)


def test_a_limit_that_was_hit_stays_hit(path):
    """When the balance recovers, on the next day, when the setting is gone, and after a restart."""
    watch = Losses(path)
    watch.check(XBT(10), bounds(loss=0.5), NOON, 0.0)
    words = watch.check(XBT(9), bounds(loss=0.5), NOON, 0.0)

    assert watch.check(XBT(20), bounds(loss=5), NOON + 2 * DAY, 5.0) == words
    assert Losses(path).check(XBT(20), bounds(drawdown=9), NOON, 0.0) == words == Losses(path).halted


def test_a_restart_does_not_begin_to_count_anew(path):
    """A bot that crashes and is restarted by a supervisor cannot lose its limit again and again."""
    Losses(path).check(XBT(10), bounds(loss=0.5), NOON, 0.0)

    assert Losses(path).check(XBT(9.4), bounds(loss=0.5), NOON, 0.0)


def test_a_resume_from_outside_reaches_the_running_bot(path):
    """It counts from the balance of that moment on."""
    watch = Losses(path)
    watch.check(XBT(10), bounds(loss=0.5), NOON, 0.0)
    assert watch.check(XBT(9), bounds(loss=0.5), NOON, 1.0)

    assert 'LOSS_LIMIT' in Losses(path).resume()
    assert watch.check(XBT(9), bounds(loss=0.5), NOON, 2.0) == ''
    assert watch.check(XBT(8.6), bounds(loss=0.5), NOON, 3.0) == ''
    assert watch.check(XBT(8.5), bounds(loss=0.5), NOON, 4.0)


def test_nothing_to_resume_changes_nothing(path):
    watch = Losses(path)
    watch.check(XBT(10), bounds(loss=0.5), NOON, 0.0)

    assert Losses(path).resume() == ''
    assert Losses(path).check(XBT(9.4), bounds(loss=0.5), NOON, 0.0)


def test_an_unknown_balance_allows_nothing_for_as_long_as_it_is_unknown(path):
    watch = Losses(path)

    assert 'not known' in watch.check(None, bounds(loss=0.5), NOON, 0.0)
    assert watch.check(XBT(10), bounds(loss=0.5), NOON, 1.0) == ''


@pytest.mark.parametrize('text', ['{', '[1]', '{"start": 1}', '"halted"', '{"start": "a", "peak": 1, "day_start": 1}',
                                  '{"start": 1, "peak": 1, "day_start": 1, "currency": "XBt", "day": "", "start_at": ""'
                                  '}'])
def test_a_file_that_cannot_be_read_allows_nothing_until_somebody_resumes(path, text):
    with open(path, 'w') as file:
        file.write(text)

    words = Losses(path).check(XBT(10), bounds(loss=0.5), NOON, 0.0)

    assert path in words and 'marketmaker resume' in words
    assert Losses(path).resume() == words
    assert Losses(path).check(XBT(10), bounds(loss=0.5), NOON, 0.0) == ''


def test_a_file_that_is_taken_away_is_no_resume(path):
    watch = Losses(path)
    watch.check(XBT(10), bounds(loss=0.5), NOON, 0.0)
    watch.check(XBT(9), bounds(loss=0.5), NOON, 1.0)
    os.remove(path)

    assert watch.check(XBT(9), bounds(loss=0.5), NOON, 10.0)
    assert Losses(path).halted


def test_a_file_that_cannot_be_written_is_said_once_and_memory_serves(tmp_path):
    said = []
    path = str(tmp_path / 'no-such-folder' / 'losses.json')
    watch = Losses(path, lambda level, text, *args: said.append(text % args))
    for now in (0.0, 10.0, 20.0):
        assert watch.check(XBT(10) + int(now), bounds(loss=0.5), NOON, now) == ''
    assert watch.check(XBT(9), bounds(loss=0.5), NOON, 30.0)

    assert watch.check(XBT(9), bounds(loss=0.5), NOON, 40.0)
    assert len(said) == 1 and 'cannot be written' in said[0]


def test_without_a_folder_it_is_kept_in_memory():
    watch = Losses(None)
    watch.check(XBT(10), bounds(loss=0.5), NOON, 0.0)

    assert watch.check(XBT(9), bounds(loss=0.5), NOON, 0.0) and watch.resume()
    assert watch.check(XBT(9), bounds(loss=0.5), NOON, 0.0) == ''


def test_a_new_peak_is_not_written_at_every_look(path):
    """The file is renewed every few seconds at the most, and at once when a limit is hit."""
    watch = Losses(path)
    watch.check(XBT(10), bounds(drawdown=0.5), NOON, 0.0)
    watch.check(XBT(11), bounds(drawdown=0.5), NOON, 1.0)
    with open(path) as file:
        assert json.load(file)['peak'] == XBT(10)
    watch.check(XBT(11.2), bounds(drawdown=0.5), NOON, losses.SAVE_EVERY)
    with open(path) as file:
        assert json.load(file)['peak'] == XBT(11.2)


@pytest.mark.skipif(os.name != 'posix', reason='modes are those of POSIX')
def test_the_file_is_its_users_own(path):
    Losses(path).check(XBT(10), bounds(loss=0.5), NOON, 0.0)

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_bots_have_files_of_their_own():
    names = {losses.file_name(bot) for bot in ('XBTUSD mm_', 'XBTUSD mm_2_', 'ETHUSD mm_', 'XBTUSD m/m_')}

    assert len(names) == 4 and not any('/' in name for name in names)
