"""Numbers on their grid, dicts with dots, and the diary."""
import copy
import logging
import os
import pickle
import stat
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_maker.utils import constants, errors, log, math
from market_maker.utils.dotdict import dotdict
from market_maker.utils.math import toNearest

TICKS = ['0.01', '0.5', '0.1', '0.05', '0.00000001', '0.0001', '1', '100', '0.25', '2.5', '1000']


@pytest.mark.parametrize('num, tick, nearest', [
    (388.614, 0.01, 388.61), (388.62, 0.01, 388.62), (0.1 + 0.2, 0.1, 0.3), (3892.5, 5, 3890.0), (7, 1, 7.0),
    (0.25, 0.1, 0.2), (0.35, 0.1, 0.4), (0.15, 0.1, 0.2), (-1.25, 0.5, -1.0), (100000.05, 0.1, 100000.0),
    (6500.3, 0.5, 6500.5), (0.000123456, 0.00000001, 0.00012346)])
def test_to_nearest_returns_the_multiple_and_ties_go_to_the_even_one(num, tick, nearest):
    """What strategies call for every price."""
    assert toNearest(num, tick) == nearest
    assert isinstance(toNearest(num, tick), float)
    assert repr(toNearest(num, tick)) == repr(nearest)


@given(st.integers(-10 ** 7, 10 ** 7), st.sampled_from(TICKS))
def test_a_price_on_the_grid_stays_where_it_is(count, tick):
    """Rounding, flooring and raising leave a multiple of the tick alone, and it is the float that its decimals name."""
    price = float(Decimal(count) * Decimal(tick))
    step = float(tick)

    assert toNearest(price, step) == math.floor_to(price, step) == math.ceil_to(price, step) == price
    assert math.ticks(price, step) == count


@given(st.decimals('-999999', '999999', places=4), st.sampled_from(TICKS))
def test_rounding_agrees_with_decimal_arithmetic(number, tick):
    """The floats are those that exact decimal arithmetic gives."""
    exact = float((number / Decimal(tick)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN) * Decimal(tick))

    assert toNearest(float(number), float(tick)) == exact


@given(st.floats(0.0001, 1e6), st.sampled_from(['0.01', '0.5', '0.1', '1', '100']))
def test_floor_and_ceil_never_cross_the_price(price, tick):
    """A floored bid is not above the wanted price, a raised ask not below it, and neither is a whole step away."""
    step = float(tick)

    assert math.floor_to(price, step) <= price + 1e-8 * step
    assert math.ceil_to(price, step) >= price - 1e-8 * step
    assert math.ticks(math.ceil_to(price, step), step) - math.ticks(math.floor_to(price, step), step) in (0, 1)


def test_decimals_of_a_step():
    """How many digits prices are printed with."""
    assert [math.decimals(step) for step in (0.5, 0.01, 1e-8, 1, 100, 0.05)] == [1, 2, 8, 0, 0, 2]


def test_int_ticks_and_other_kinds_of_numbers():
    """Whole-number ticks and Decimals are as good as floats."""
    assert toNearest(Decimal('10.26'), Decimal('0.5')) == 10.5
    assert toNearest(17, 5) == 15.0


def test_constants_have_the_names_that_strategies_use():
    """Satoshis are counted in ints."""
    assert constants.XBt_TO_XBT == 100000000 and isinstance(constants.XBt_TO_XBT, int)
    assert constants.VERSION.count('.') == 2


def test_dotdict_reads_missing_keys_as_none():
    """Attributes are the keys."""
    row = dotdict({'price': 1.5})

    row.side = 'Buy'
    del row.price

    assert row == {'side': 'Buy'}
    assert row.price is None
    assert copy.deepcopy(row) == row and pickle.loads(pickle.dumps(row)) == row


@pytest.fixture
def fresh_logger():
    """A logger name of its own, without handlers afterwards."""
    name = 'test-diary'
    yield name
    logger = logging.getLogger(name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def test_logger_gets_one_handler_however_often_it_is_set_up(fresh_logger, capsys):
    """Same name, same logger, no line twice."""
    first = log.setup_custom_logger(fresh_logger)
    second = log.setup_custom_logger(fresh_logger, log_level=logging.WARNING)

    second.propagate = False
    second.warning('once')

    assert first is second is logging.getLogger(fresh_logger)
    assert capsys.readouterr().err.count('once') == 1


def test_line_has_time_level_module_and_message(fresh_logger, capsys):
    """The format that people's scripts cut apart."""
    logger = log.setup_custom_logger(fresh_logger)
    logger.propagate = False

    logger.info('Using symbol %s.', 'XBTUSD')

    line = capsys.readouterr().err.strip().split(' - ')
    assert line[1:] == ['INFO', 'test_utils', 'Using symbol XBTUSD.']
    assert len(line[0]) == len('2016-01-28 17:29:31,054')


def test_root_is_the_package_logger():
    """logging.getLogger('root') is what log lines go through."""
    assert log.under('market_maker').logger is logging.getLogger('root')


def test_under_names_another_module(fresh_logger, tmp_path):
    """Lines of exchange_interface stand under market_maker, where users look for them; tracebacks come along."""
    path = tmp_path / 'bot.log'
    logger = log.setup_custom_logger(fresh_logger, log_file=str(path))
    logger.propagate = False
    speaker = log.under('market_maker', fresh_logger)

    speaker.info('Sell %s @ %.2f', 100, 389.88)
    speaker.debug('not at this level')
    try:
        raise KeyError('x')
    except KeyError:
        speaker.exception('it failed')

    text = path.read_text()
    assert ' - INFO - market_maker - Sell 100 @ 389.88\n' in text
    assert ' - ERROR - market_maker - it failed\n' in text and 'KeyError' in text
    assert 'not at this level' not in text


def test_log_file_is_written_once_and_rotated(fresh_logger, tmp_path, monkeypatch):
    """Setting it up twice writes each line once; a full file moves aside and only so many are kept."""
    monkeypatch.setattr(log, 'FILE_BYTES', 2000)
    path = tmp_path / 'bot.log'
    log.setup_custom_logger(fresh_logger, logging.INFO, str(path))
    logger = log.setup_custom_logger(fresh_logger, logging.INFO, str(path))
    logger.propagate = False

    for number in range(1000):
        logger.info('line %d', number)

    names = sorted(os.listdir(str(tmp_path)))
    assert names == ['bot.log'] + ['bot.log.{}'.format(number) for number in range(1, log.FILE_BACKUPS + 1)]
    assert sum(path.read_text().count('line {}\n'.format(number)) for number in range(999, 1000)) == 1


@pytest.mark.parametrize('path', ['/nowhere/at/all/bot.log', '.'])
def test_unwritable_log_file_is_one_line(fresh_logger, path):
    """The error names the file, the cause and the way out."""
    with pytest.raises(errors.SettingsError) as caught:
        log.setup_custom_logger(fresh_logger, log_file=path)

    assert 'LOG_FILE' in str(caught.value) and 'None' in str(caught.value) and '\n' not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_log_file_that_fails_under_way_is_reported_once(fresh_logger, tmp_path, capsys):
    """With a full disk the diary on the terminal goes on, and the trouble is told once."""
    logger = log.setup_custom_logger(fresh_logger, log_file=str(tmp_path / 'bot.log'))
    logger.propagate = False
    handler, = [handler for handler in logger.handlers if isinstance(handler, log.LogFile)]

    class Full(object):
        def write(self, text):
            raise OSError(28, 'No space left on device')

        def flush(self):
            pass

        def close(self):
            pass

        def seek(self, *args):
            pass

        def tell(self):
            return 0
    handler.stream.close()
    handler.stream = Full()
    for number in range(3):
        logger.info('line %d', number)

    printed = capsys.readouterr().err
    assert printed.count('can no longer be written') == 1
    assert [number for number in range(3) if 'line {}'.format(number) in printed] == [0, 1, 2]
    assert stat.S_ISREG(os.stat(str(tmp_path / 'bot.log')).st_mode)
