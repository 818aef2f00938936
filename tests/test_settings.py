"""The settings: where they come from, how they behave, and what is said about them before anything connects."""
import logging
import os
import subprocess
import sys
import threading

import pytest

import market_maker
from market_maker import _settings_base
from market_maker import settings as settings_module
from market_maker.settings import command_line, import_path, settings, validate
from market_maker.utils.errors import SettingsError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty working folder; project(text) writes its settings.py, project(name=..., text) another file."""
    folder = tmp_path / 'outer' / 'bot'
    folder.mkdir(parents=True)
    monkeypatch.chdir(str(folder))
    for name in [name for name in sys.modules if name == 'settings' or name.startswith('settings-')]:
        monkeypatch.delitem(sys.modules, name)

    def write(text, name='settings.py', mode=0o600):
        path = folder / name
        path.write_text(text)
        path.chmod(mode)
        settings_module.forget()
        return path
    write.folder = folder
    yield write
    for name in [name for name in sys.modules if name == 'settings' or name.startswith('settings-')]:
        del sys.modules[name]


def fault(**values):
    """Return the text of the error that these settings bring."""
    with settings.override(**values), pytest.raises(SettingsError) as caught:
        validate()
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_user_settings_lie_over_the_defaults(project):
    """What settings.py does not name keeps its default."""
    project('ORDER_PAIRS = 2\nmy_own = {"a": 1}\nimport math\n')

    assert settings.ORDER_PAIRS == 2
    assert settings.INTERVAL == _settings_base.INTERVAL
    assert settings.my_own == {'a': 1} and settings.math.pi > 3
    assert settings.__file__ == str(project.folder / 'settings.py')


def test_the_package_attribute_is_the_module():
    """market_maker.settings is the module, not the object in it."""
    assert market_maker.settings is settings_module


def test_importing_reads_nothing(project):
    """Only the first read runs the user's file."""
    project('open("was-read", "w").close()\n')

    subprocess.check_call([sys.executable, '-c', 'from market_maker.settings import settings, import_path'],
                          env=dict(os.environ, PYTHONPATH=ROOT))

    assert not os.path.exists('was-read')


def test_unknown_name_reads_as_none_and_is_warned_of_once(project, caplog):
    """The warning names the nearest known setting; other libraries' probes are not warned of."""
    project('A = 1\n')

    assert settings.ORDER_PAIR is None
    assert settings.ORDER_PAIR is None
    assert settings.__wrapped__ is None and settings._private is None

    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 1 and 'ORDER_PAIR ' in warned[0] and 'ORDER_PAIRS' in warned[0]


def test_assignments_are_seen_by_everybody_by_attribute_and_by_key(project):
    """One object for all: what a strategy assigns is what every later read gives."""
    project('ORDER_START_SIZE = 300\n')

    settings.ORDER_START_SIZE = 700
    settings['their_own'] = 5

    assert settings['ORDER_START_SIZE'] == settings.get('ORDER_START_SIZE') == 700
    assert settings.their_own == 5 and 'their_own' in settings
    del settings.their_own
    assert 'their_own' not in settings
    assert dict(settings)['ORDER_START_SIZE'] == 700


def test_an_assignment_before_the_first_read_survives_it(project):
    """A key set before the manager is built is not lost when the files are read."""
    project('API_KEY = "from-the-file"\nORDER_PAIRS = 3\n')

    settings.API_KEY = 'from-the-program'

    assert (settings.API_KEY, settings.ORDER_PAIRS) == ('from-the-program', 3)


@pytest.mark.parametrize('read', [len, list, dict, lambda s: s.items(), lambda s: s == {}, lambda s: 'SYMBOL' in s])
def test_every_way_of_reading_loads(project, read):
    """A dict method is as good a first read as an attribute."""
    project('FROM_FILE = 1\n')

    read(settings)

    assert dict.__contains__(settings, 'FROM_FILE')


def test_symbol_settings_of_the_working_folder_win_over_the_parent(project, monkeypatch, capsys):
    """settings-SYMBOL.py is looked for here first, then one folder up; the classic lines are printed."""
    monkeypatch.setattr(sys, 'argv', ['bot', 'XBTUSD'])
    (project.folder.parent / 'settings-XBTUSD.py').write_text('ORDER_PAIRS = 21\nFROM = "parent"\n')
    project('ORDER_PAIRS = 2\nINTERVAL = 0.25\n')

    assert (settings.ORDER_PAIRS, settings.INTERVAL, settings.FROM) == (21, 0.25, 'parent')
    assert capsys.readouterr().out == 'Importing symbol settings for XBTUSD...\n'

    project('ORDER_PAIRS = 22\n', name='settings-XBTUSD.py')

    assert (settings.ORDER_PAIRS, settings.INTERVAL) == (22, 0.25)


def test_missing_symbol_settings_are_told_on_stdout(project, monkeypatch, capsys):
    """The two lines that users know."""
    monkeypatch.setattr(sys, 'argv', ['bot', 'ethusd'])
    project('A = 1\n')

    assert settings.A == 1
    assert capsys.readouterr().out == ('Importing symbol settings for ETHUSD...\n'
                                       'Unable to find settings-ETHUSD.py.\n')


def test_missing_and_empty_settings_run_on_the_defaults_and_say_so(project, caplog):
    """Nobody wonders which settings are in force."""
    assert settings.ORDER_PAIRS == _settings_base.ORDER_PAIRS
    assert 'No settings.py in' in caplog.text and 'marketmaker setup' in caplog.text

    caplog.clear()
    project('# nothing yet\n')

    assert settings.ORDER_PAIRS == _settings_base.ORDER_PAIRS
    assert 'sets nothing' in caplog.text


def test_keys_and_address_may_come_from_the_environment(project, monkeypatch):
    """The environment wins over the files."""
    project('API_KEY = "a"\nAPI_SECRET = "b"\nBASE_URL = "https://testnet.bitmex.com/api/v1/"\n')
    monkeypatch.setenv('BITMEX_API_KEY', 'key')
    monkeypatch.setenv('BITMEX_API_SECRET', 'secret')
    monkeypatch.setenv('BITMEX_BASE_URL', 'http://127.0.0.1:1234/api/v1/')

    assert (settings.API_KEY, settings.API_SECRET) == ('key', 'secret')
    assert settings.BASE_URL == 'http://127.0.0.1:1234/api/v1/'


@pytest.mark.parametrize('file_url, arguments, url', [
    ('https://testnet.bitmex.com/api/v1/', ['--local'], 'http://127.0.0.1:8765/api/v1/'),
    ('http://127.0.0.1:9999/api/v1/', ['--local'], 'http://127.0.0.1:9999/api/v1/'),
    ('http://127.0.0.1:9999/api/v1/', ['--base-url', 'http://localhost:7/api/'], 'http://localhost:7/api/'),
    ('http://127.0.0.1:9999/api/v1/', ['--base-url=http://localhost:7/api/'], 'http://localhost:7/api/')])
def test_the_command_line_overrides_the_address_for_scripts_too(project, monkeypatch, file_url, arguments, url):
    """--local keeps a local address of the user's own."""
    monkeypatch.setattr(sys, 'argv', ['custom_strategy.py', 'XBTUSD'] + arguments)
    project('BASE_URL = {!r}\n'.format(file_url))

    assert settings.BASE_URL == url


@pytest.mark.parametrize('argv, symbol', [
    (['x', 'XBTUSD'], 'XBTUSD'), (['x', 'xbtusd'], 'XBTUSD'), (['x', '.BXBT'], '.BXBT'),
    (['x', 'XBT_USDT'], 'XBT_USDT'),
    (['x'], None), ([], None), (['x', '--local'], None), (['x', 'app:server'], None), (['x', 'tests/test_a.py'], None)])
def test_symbol_of_the_command_line(monkeypatch, argv, symbol):
    """The first argument, unless it cannot be one."""
    monkeypatch.setattr(sys, 'argv', argv)

    assert command_line().symbol == symbol


def test_override_puts_back_what_was(project):
    """For tests and backtests: changed for a block, also when it raises, new names gone afterwards."""
    project('ORDER_PAIRS = 3\n')

    with pytest.raises(ZeroDivisionError), settings.override(ORDER_PAIRS=9, NEW=1):
        assert (settings.ORDER_PAIRS, settings.NEW) == (9, 1)
        raise ZeroDivisionError()

    assert settings.ORDER_PAIRS == 3 and 'NEW' not in settings


def test_settings_may_read_the_settings_while_they_load(project):
    """A settings.py that imports the settings sees what is there so far instead of hanging."""
    project('from market_maker.settings import settings\nDOUBLE = settings.ORDER_PAIRS * 2\n')

    assert settings.DOUBLE == 2 * _settings_base.ORDER_PAIRS


@pytest.mark.parametrize('words', ['import market_maker._settings_base as base\nPAIRS = base.ORDER_PAIRS\n',
                                   'from market_maker._settings_base import *\nPAIRS = ORDER_PAIRS\n'])
def test_settings_may_import_the_defaults(project, words):
    """As old settings files do."""
    project(words)

    assert settings.PAIRS == _settings_base.ORDER_PAIRS


def test_threads_read_while_the_settings_load(project):
    """Whoever comes second waits for the first and sees the same."""
    project('import time\ntime.sleep(0.05)\nSLOW = 1\n')
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(settings.SLOW)) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert seen == [1, 1, 1, 1]


def test_plain_import_finds_the_file_that_was_loaded(project):
    """`import settings` in a strategy gives the user's file, loaded once."""
    project('COUNT = [1]\n')
    first = settings.COUNT

    import settings as plain

    assert plain.COUNT is first


def test_import_path_runs_a_file_again_and_lets_it_import_its_neighbours(project):
    """With or without .py; whoever imported it before sees the new values."""
    project('VALUE = 1\n', name='neighbour.py')
    project('import neighbour\nVALUE = neighbour.VALUE + 1\n', name='other.py')
    module = import_path(str(project.folder / 'other'))
    assert module.VALUE == 2 and module.__name__ == 'other'

    project('VALUE = 7\n', name='other.py')

    assert import_path('other.py') is module and module.VALUE == 7
    del sys.modules['other'], sys.modules['neighbour']


@pytest.mark.parametrize('text, place', [
    ('A = 1\nORDER_PAIRS = = 3\n', 'settings.py:2: '), ('A = 1\n\nB = nothing\n', 'settings.py:3: NameError'),
    ('def f():\n    return 1 / 0\nf()\n', 'settings.py:2: ZeroDivisionError'), ('import no_such\n', 'settings.py:1: '),
    ('A = "\0"\n', 'settings.py')])
def test_a_broken_settings_file_is_one_line_with_its_place(project, text, place):
    """File and line, and nothing half-read: the next read says it again."""
    project(text)

    for _ in range(2):
        with pytest.raises(SettingsError) as caught:
            settings.ORDER_PAIRS  # noqa: B018
        assert str(caught.value).startswith(place) and '\n' not in str(caught.value)


def test_a_syntax_error_in_the_line_of_a_secret_does_not_show_it(project):
    """Secrets stay out of error messages."""
    project('API_SECRET = "hunter2\n')

    with pytest.raises(SettingsError) as caught:
        settings.API_SECRET  # noqa: B018

    assert 'hunter2' not in str(caught.value) and 'settings.py:1' in str(caught.value)


def test_no_cached_copy_of_the_settings_is_left_behind(project):
    """A compiled copy would hold the secret too."""
    project('API_SECRET = "s"\n')

    assert settings.API_SECRET == 's'
    assert os.listdir(str(project.folder)) == ['settings.py']


def test_repr_hides_the_secret(project):
    """Printing the settings is safe."""
    project('API_KEY = "abcdefgh"\nAPI_SECRET = "hunter2"\n')

    assert 'hunter2' not in repr(settings) and 'abcdefgh' not in repr(settings) and 'ORDER_PAIRS=6' in repr(settings)


@pytest.mark.skipif(os.name != 'posix', reason='modes are those of POSIX')
@pytest.mark.parametrize('mode, warned', [(0o600, False), (0o644, True), (0o640, True)])
def test_a_secret_that_others_can_read_is_warned_of(project, caplog, mode, warned):
    """With the command that mends it."""
    project('API_SECRET = "s"\n', mode=mode)

    assert settings.API_SECRET == 's'
    assert ('chmod 600 settings.py' in caplog.text) is warned


def test_the_defaults_are_valid():
    """Nothing to say about settings that nobody touched."""
    validate()


@pytest.mark.parametrize('name, value', [
    ('ORDER_PAIRS', 0), ('ORDER_PAIRS', 1.5), ('ORDER_PAIRS', 'six'), ('ORDER_PAIRS', None), ('ORDER_PAIRS', True),
    ('ORDER_START_SIZE', -100), ('ORDER_STEP_SIZE', -1), ('INTERVAL', 1.0), ('INTERVAL', -0.1),
    ('INTERVAL', float('nan')), ('MIN_SPREAD', '1%'), ('RELIST_INTERVAL', 5), ('LOOP_INTERVAL', -1), ('TIMEOUT', 0),
    ('TIMEOUT', float('inf')), ('MAINTAIN_SPREADS', 'no'), ('POST_ONLY', 2), ('DRY_RUN', None), ('BASE_URL', None),
    ('BASE_URL', 'testnet.bitmex.com'), ('BASE_URL', 'http://127.0.0.1:99999/api/v1/'), ('LOG_LEVEL', 'LOUD'),
    ('LOG_FILE', 3), ('SYMBOL', ''), ('CONTRACTS', 'XBTUSD'), ('WATCHED_FILES', 'settings.py'),
    ('ORDERID_PREFIX', ''), ('ORDERID_PREFIX', 'market_maker_1_'),
    ('API_KEY', 17), ('LOCAL_MARKET', 'wild'), ('LOCAL_SEED', 'x'), ('DRY_BTC', -1), ('MAX_POSITION', 'many'),
    ('ORDER_SIZE_LIMIT', 0), ('ORDER_COUNT_LIMIT', 2.5), ('PRICE_BAND', 0), ('PRICE_BAND', 10), ('LOSS_LIMIT', 0),
    ('DRAWDOWN_LIMIT', '10%'), ('DAILY_LOSS_LIMIT', -0.1), ('FREE_MARGIN_LIMIT', None), ('LIQUIDATION_LIMIT', 1),
    ('FILLED_LIMIT', 0), ('FILLED_WINDOW', 0), ('MOVE_LIMIT', 1.5), ('MOVE_WINDOW', None)])
def test_a_value_that_cannot_be_used_is_one_line(name, value):
    """It names the setting, the value and what is wanted."""
    text = fault(**{name: value})

    assert text.startswith(name + ' is ') and 'must be' in text and '\n' not in text
    assert name == 'API_KEY' or repr(value) in text


@pytest.mark.parametrize('name, value', [
    ('ORDER_START_SIZE', 100.0), ('LOOP_INTERVAL', 0), ('POST_ONLY', 1), ('LOG_LEVEL', 'DEBUG'),
    ('LOG_LEVEL', logging.DEBUG), ('BASE_URL', 'http://localhost:8765/api/v1'), ('CONTRACTS', ('XBTUSD',)),
    ('BASE_URL', 'http://[::1]:8765/api/v1/'),
    ('ORDERID_PREFIX', 'x' * 13), ('LOCAL_SEED', 5), ('SYMBOL', '.BXBT'), ('ORDER_STEP_SIZE', 0), ('MIN_SPREAD', 0),
    ('PRICE_BAND', None), ('LOSS_LIMIT', 0.001), ('ORDER_COUNT_LIMIT', None)])
def test_values_that_work_are_left_alone(name, value):
    """No nagging."""
    with settings.override(**{name: value}):
        validate()


def test_the_fault_names_file_and_line(project):
    """The last line that assigns the name, in a file that is named as the user would type it."""
    project('ORDER_PAIRS = 6\nA = 1\nORDER_PAIRS = 0  # none\n')

    with pytest.raises(SettingsError) as caught:
        validate()

    assert str(caught.value) == 'settings.py:3: ORDER_PAIRS is 0; it must be a whole number, 1 or more'


def test_contradictory_limits(project):
    """MIN_POSITION above MAX_POSITION is refused with both values."""
    project('MIN_POSITION = 500\nMAX_POSITION = 100\n')

    with pytest.raises(SettingsError) as caught:
        validate()

    assert str(caught.value).startswith('settings.py:1: MIN_POSITION 500 is greater than MAX_POSITION 100')


def test_several_faults_are_a_line_each():
    """Mend them all at once."""
    assert len(fault(ORDER_PAIRS=0, INTERVAL=2, MIN_ORDER_SIZE=9, MAX_ORDER_SIZE=3).splitlines()) == 3


def test_a_misspelt_name_is_an_error_under_the_built_in_strategy_only(project, caplog):
    """Under a user's strategy it is a warning: he may have settings of his own."""
    project('MAX_POSITON = 5\nimport math\nORDER_PAIRSS = math\nmy_name = 1\n')

    with pytest.raises(SettingsError) as caught:
        validate(strict=True)
    assert str(caught.value) == 'settings.py:1: MAX_POSITON is no setting; did you mean MAX_POSITION?'

    validate(strict=False)
    assert 'did you mean MAX_POSITION?' in caplog.text


def test_a_ladder_of_the_users_own_kind_is_no_error_under_his_strategy(caplog):
    """Old strategies keep other things under these names; what the connection needs stays checked."""
    with settings.override(ORDER_PAIRS=0, MIN_POSITION=5, MAX_POSITION=1):
        validate(strict=False)
    assert 'ORDER_PAIRS' in caplog.text and 'MIN_POSITION' in caplog.text

    with settings.override(TIMEOUT=-1), pytest.raises(SettingsError):
        validate(strict=False)


def test_an_address_elsewhere_needs_keys():
    """With the ways on; neither on this machine nor for a dry run is a key needed."""
    text = fault(BASE_URL='https://testnet.bitmex.com/api/v1/')

    assert 'API_KEY' in text and 'BITMEX_API_KEY' in text and '--local' in text
    with settings.override(BASE_URL='https://testnet.bitmex.com/api/v1/', API_KEY='k', API_SECRET='s'):
        validate()
    with settings.override(BASE_URL='https://testnet.bitmex.com/api/v1/', DRY_RUN=True):
        validate()


def test_every_default_has_a_rule_and_every_rule_a_default():
    """A setting that nobody checks is a trap."""
    from market_maker.settings_rules import RULES

    assert sorted(RULES) == sorted(name for name in vars(_settings_base) if name.isupper())
