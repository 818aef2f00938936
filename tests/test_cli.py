"""The command line as its users meet it: real processes, their exit codes, and every word on stderr."""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time

import pytest

from market_maker import cli
from market_maker.commands import run as run_command
from market_maker.commands import setup as setup_command
from market_maker.utils import errors
from market_maker.utils.constants import VERSION

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STRATEGY = '''
from market_maker.market_maker import OrderManager


class Base(OrderManager):
    pass


class Mine(Base):
    pass
'''


class Result(object):
    """How a process ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def complaint(self):
        """The one line on stderr, without the program's name."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith('marketmaker: '), self.err
        return lines[0][len('marketmaker: '):]


def environment(**extra):
    """Return an environment in which this checkout is what `import market_maker` finds."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith('BITMEX_')}
    return dict(kept, PYTHONPATH=ROOT, PYTHONDONTWRITEBYTECODE='1', **extra)


def console(*arguments, **options):
    """Run the console script's program in a folder (`cwd`) and return the Result; it must end by itself.

    Like a console script, and unlike `python -m`, it does not have the folder on its path.
    """
    program = 'import sys; del sys.path[0]\n' + options.pop('program', 'from market_maker import run; run()')
    process = subprocess.Popen([sys.executable, '-c', program] + list(arguments), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                               env=environment(**options.pop('env', {})), **options)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return Result(process.returncode, out, err)


@pytest.fixture
def folder(tmp_path):
    """An empty folder."""
    place = tmp_path / 'bot'
    place.mkdir()
    return place


def test_version(folder):
    """The same by console script and by module."""
    assert console('--version', cwd=str(folder)).out == 'marketmaker {}\n'.format(VERSION)
    output = subprocess.check_output([sys.executable, '-m', 'market_maker', '--version'], env=environment(),
                                     cwd=str(folder))
    assert output.decode().strip() == 'marketmaker {}'.format(VERSION)


def test_version_imports_next_to_nothing(folder):
    """It answers at once: neither requests nor the bot is loaded for it."""
    result = console('--version', cwd=str(folder), program=(
        'import sys, market_maker\n'
        'try:\n    market_maker.run()\n'
        'finally:\n    print(sorted(set(sys.modules) & {"requests", "websocket", "logging", "asyncio"}))'))

    assert (result.code, result.out.splitlines()[1:]) == (0, ['[]'])


def test_help_tells_commands_examples_and_exit_codes(folder):
    """All that a newcomer needs on one page, and the codes are those of the error tree."""
    text = console('--help', cwd=str(folder)).out

    for word in ('setup', 'demo', 'testnet', '--strategy', '--local', '--dry-run', '--base-url', 'examples:',
                 'marketmaker XBTUSD', 'exit codes:'):
        assert word in text, word
    codes = sorted({value for name, value in vars(errors).items() if name.startswith('EXIT_')})
    assert [int(line.split()[0]) for line in cli.EXIT_CODES.splitlines()[1:]] == codes
    assert (cli.EXIT_FAILURE, cli.EXIT_USAGE) == (errors.EXIT_FAILURE, errors.EXIT_USAGE)


@pytest.mark.parametrize('command', cli.COMMANDS)
def test_help_of_a_command_has_examples(folder, command):
    """`marketmaker COMMAND --help` and `marketmaker help COMMAND` show how it is used."""
    result = console(command, '--help', cwd=str(folder))

    assert result.code == 0 and 'examples:' in result.out and 'marketmaker ' + command in result.out
    assert console('help', command, cwd=str(folder)).out == result.out
    assert 'exit codes:' in result.out or command in ('setup', 'demo', 'testnet', 'chaos')


@pytest.mark.parametrize('arguments, words', [
    (['setpu'], "did you mean `marketmaker setup`"), (['tesnet'], "did you mean `marketmaker testnet`"),
    (['XBT/USD'], 'neither a command nor a symbol'), (['--dry-run', 'setup'], 'the command comes first'),
    (['XBTUSD', 'ETHUSD'], 'unrecognized arguments: ETHUSD'), (['--strateg', 'x.py'], '--strateg'),
    (['testnet', '--port', 'many'], '--port'), (['XBTUSD', '--strategy', 'none.py'], 'no such file')])
def test_wrong_arguments_are_one_line(folder, arguments, words):
    """With the nearest right ones, and exit code 2."""
    result = console(*arguments, cwd=str(folder))

    assert result.code == 2
    assert words in result.err.splitlines()[-1] and 'Traceback' not in result.err


def test_setup_makes_a_project(folder):
    """settings.py for its owner's eyes, a copy of the package with its own defaults, and words about both."""
    result = console('setup', cwd=str(folder))

    assert result.code == 0 and result.err == ''
    assert sorted(os.listdir(str(folder))) == ['market_maker', 'settings.py']
    assert 'settings.py' in result.out and 'market_maker/' in result.out and 'marketmaker XBTUSD' in result.out
    assert 'custom_strategy.py' in result.out
    text = (folder / 'settings.py').read_text()
    assert text.startswith((folder / 'market_maker' / '_settings_base.py').read_text())
    with open(os.path.join(ROOT, 'settings_base.py')) as page:
        assert text.startswith(page.read())
    if os.name == 'posix':
        assert stat.S_IMODE((folder / 'settings.py').stat().st_mode) == 0o600
    copied = {name for _, folders, files in os.walk(str(folder / 'market_maker')) for name in folders + files}
    assert {'market_maker.py', 'bitmex.py', 'custom_strategy.py', 'ws_thread.py', 'py.typed'} <= copied
    assert '__pycache__' not in copied and not any(name.endswith('.pyc') for name in copied)


def test_deleting_the_local_block_restores_the_defaults(folder):
    """The block at the end is all that differs from the classic settings, and only on this machine."""
    console('setup', cwd=str(folder))
    text = (folder / 'settings.py').read_text()
    block = text.index('LOCAL EXCHANGE: these lines are in force')
    defaults, lively, elsewhere = {}, {}, {}
    exec(text[:block], defaults)
    exec(text, lively)
    exec(text.replace('BASE_URL = "http://127', 'BASE_URL = "https://x.127', 1), elsewhere)

    def numbers(names):
        return {name: value for name, value in names.items() if name.isupper() and name != 'BASE_URL'}
    assert lively['LOCAL_MARKET'] == 'lively' and lively['LOOP_INTERVAL'] < defaults['LOOP_INTERVAL']
    assert lively['MIN_SPREAD'] < defaults['MIN_SPREAD'] and lively['INTERVAL'] < defaults['INTERVAL']
    assert numbers(elsewhere) == numbers(defaults)


def test_setup_never_overwrites(folder):
    """What is there stays as it is; what is missing is made."""
    (folder / 'settings.py').write_text('MINE = 1\n')

    result = console('setup', cwd=str(folder))

    assert result.code == 0 and 'left as it was' in result.out
    assert (folder / 'settings.py').read_text() == 'MINE = 1\n'
    (folder / 'market_maker' / 'own.txt').write_text('mine')
    shutil.rmtree(str(folder / 'market_maker' / 'ws'))
    os.remove(str(folder / 'settings.py'))

    assert console('setup', cwd=str(folder)).code == 0
    assert (folder / 'settings.py').exists() and not (folder / 'market_maker' / 'ws').exists()


@pytest.mark.skipif(os.name != 'posix', reason='rights are those of POSIX')
def test_setup_in_a_folder_without_write_permission():
    """One line, exit code 2, nothing made.  (Root gives its exemption from rights away first.)"""
    folder = tempfile.mkdtemp()  # not below pytest's folder, which only its owner may enter
    os.chmod(folder, 0o555)
    program = ('import os\nimport market_maker.cli\nfrom market_maker import run\nimport market_maker.commands.setup\n'
               'if os.getuid() == 0:\n    os.seteuid(65534)\nrun()')

    result = console('setup', cwd=folder, program=program)

    left = os.listdir(folder)
    shutil.rmtree(folder)
    assert (result.code, left) == (2, [])
    assert folder in result.complaint and 'Permission denied' in result.complaint
    assert 'use a folder that you may write to' in result.complaint


@pytest.mark.skipif(os.name != 'posix', reason='limits are those of POSIX')
def test_setup_on_a_full_disk_leaves_nothing_half_made(folder):
    """A limit on the size of files stands for the disk without room."""
    import resource
    import signal

    def no_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    result = console('setup', cwd=str(folder), preexec_fn=no_room)

    assert result.code == 2 and 'nothing was made' in result.complaint
    assert os.listdir(str(folder)) == []


def test_setup_moves_back_what_it_had_placed(folder, monkeypatch):
    """When the second of two moves fails, the first is undone."""
    real = os.rename
    monkeypatch.setattr(os, 'rename', lambda a, b: real(a, b) if not b.endswith(os.path.join('bot', 'settings.py'))
                        else (_ for _ in ()).throw(OSError(28, 'No space left on device')))

    with pytest.raises(errors.SettingsError) as caught:
        setup_command.scaffold(str(folder))

    assert 'No space left' in str(caught.value) and os.listdir(str(folder)) == []


@pytest.mark.parametrize('text, words', [
    ('ORDER_PAIRS = = 3\n', 'settings.py:1: invalid syntax'),
    ('MIN_POSITION = 5\nMAX_POSITION = 1\n', 'settings.py:1: MIN_POSITION 5 is greater than MAX_POSITION 1'),
    ('ORDERID_PREFIX = "market_maker_1_"\n', "settings.py:1: ORDERID_PREFIX is 'market_maker_1_'"),
    ('LOG_FILE = "/nowhere/bot.log"\n', "LOG_FILE '/nowhere/bot.log' cannot be written (No such file"),
    ('MIN_SPRED = 0.1\n', 'settings.py:1: MIN_SPRED is no setting; did you mean MIN_SPREAD?'),
    ('BASE_URL = "https://testnet.bitmex.com/api/v1/"\n', 'API_KEY is empty')])
def test_unusable_settings_end_the_run_before_anything_connects(folder, text, words):
    """File, line, value and way out in one line, exit code 2."""
    (folder / 'settings.py').write_text(text)

    result = console('XBTUSD', cwd=str(folder))

    assert result.code == 2
    lines = [line for line in result.err.splitlines() if line.startswith('marketmaker: ')]
    assert lines and words in lines[0] and 'Traceback' not in result.err


def copy_of_the_package(folder, version):
    """Put a project's copy with another version number into the folder."""
    setup_command.scaffold(str(folder))
    path = folder / 'market_maker' / 'utils' / 'constants.py'
    path.write_text(path.read_text().replace("VERSION = '{}'".format(VERSION), "VERSION = '{}'".format(version)))


@pytest.mark.parametrize('program', ['from market_maker import run; run()',
                                     'import runpy; runpy.run_module("market_maker", run_name="__main__")'])
def test_a_projects_own_copy_wins(folder, program):
    """Started in its folder, the copy runs although the installed package was imported first."""
    copy_of_the_package(folder, '2.0.0+mine')

    result = console('--version', cwd=str(folder), program=program)

    assert result.out == 'marketmaker 2.0.0+mine\n' and result.code == 0


def test_the_copy_brings_its_own_defaults_and_the_log_says_that_it_runs(folder):
    """What is shown comes from the copy's page of defaults, not from the installed one."""
    copy_of_the_package(folder, '2.0.0+mine')
    os.remove(str(folder / 'settings.py'))
    page = folder / 'market_maker' / '_settings_base.py'
    page.write_text(page.read_text().replace('ORDER_PAIRS = 6', 'ORDER_PAIRS = 17'))
    (folder / 'market_maker' / 'market_maker.py').write_text(
        'from market_maker.settings import settings\n\n\nclass OrderManager(object):\n    pass\n\n\n'
        'def run(manager=None):\n    print("PAIRS", settings.ORDER_PAIRS)\n')

    result = console('xbtusd', cwd=str(folder))

    assert result.code == 0 and 'PAIRS 17' in result.out
    assert 'Running the copy of market_maker in this folder, version 2.0.0+mine (installed: {})'.format(VERSION) \
        in result.err
    module = subprocess.Popen([sys.executable, '-m', 'market_maker'], cwd=str(folder), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=environment(), universal_newlines=True)
    out, err = module.communicate(timeout=60)
    assert 'PAIRS 17' in out and 'Running the copy of market_maker in this folder' in err


def test_a_copy_of_the_classic_bot_still_runs(folder):
    """It has no command line: its own run() is called, and one line says how to renew it."""
    (folder / 'market_maker').mkdir()
    (folder / 'market_maker' / '__init__.py').write_text('')
    (folder / 'market_maker' / 'market_maker.py').write_text(
        'import sys\n\n\ndef run():\n    print("old", sys.argv[1])\n')

    result = console('XBTUSD', cwd=str(folder))

    assert result.out == 'old XBTUSD\n' and 'marketmaker setup' in result.complaint


def test_a_folder_that_only_has_the_name_is_no_copy(folder):
    """Somebody's data in a folder called market_maker disturbs nothing."""
    (folder / 'market_maker').mkdir()

    assert console('--version', cwd=str(folder)).code == 0


def test_a_copy_that_its_owner_broke_is_one_line(folder):
    """File and line of the mistake."""
    copy_of_the_package(folder, '2.0.0+mine')
    (folder / 'market_maker' / 'market_maker.py').write_text('def run(:\n')

    result = console('XBTUSD', cwd=str(folder))

    assert result.code == 2 and 'market_maker.py:1: ' in result.err and 'Traceback' not in result.err


@pytest.mark.parametrize('words, path, name', [
    ('a.py', 'a.py', None), ('a.py:Mine', 'a.py', 'Mine'), ('C:\\bots\\a.py', 'C:\\bots\\a.py', None),
    ('C:\\bots\\a.py:Mine', 'C:\\bots\\a.py', 'Mine'), ('a', 'a', None)])
def test_a_strategy_is_a_file_and_perhaps_a_class(words, path, name):
    """The colon of a drive letter separates nothing."""
    assert run_command.split_strategy(words) == (path, name)


@pytest.fixture
def strategy(folder, monkeypatch):
    """strategy(text) writes a strategy file and returns its path; its import leaves no trace."""
    monkeypatch.chdir(str(folder))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    before = set(sys.modules)

    def write(text):
        path = folder / 'my_strategy.py'
        path.write_text(text)
        return str(path)
    yield write
    for name in set(sys.modules) - before:
        if not name.startswith('market_maker'):
            del sys.modules[name]


def test_the_only_strategy_of_a_file_needs_no_name(strategy):
    """Its own base classes do not count."""
    path = strategy(STRATEGY)

    assert run_command.load_strategy(path).__name__ == 'Mine'
    assert run_command.load_strategy(path + ':Base').__name__ == 'Base'
    assert run_command.load_strategy(path[:-len('.py')]).__name__ == 'Mine'


def test_the_example_strategy_is_found(strategy):
    """`--strategy market_maker/custom_strategy.py` is what setup recommends."""
    path = os.path.join(ROOT, 'market_maker', 'custom_strategy.py')

    assert issubclass(run_command.load_strategy(path), run_command.load_strategy(path).__mro__[1])


@pytest.mark.parametrize('text, suffix, words', [
    ('X = 1\n', '', 'the file has none'), (STRATEGY + '\n\nclass Other(OrderManager):\n    pass\n', '', 'Mine, Other'),
    (STRATEGY, ':Nothing', 'Nothing is no strategy class'), ('X = 1\n', ':X', 'X is no strategy class'),
    ('1 / 0\n', '', 'my_strategy.py:1: ZeroDivisionError'), ('def f(:\n', '', 'my_strategy.py:1: ')])
def test_a_strategy_that_cannot_be_used_is_one_line(strategy, text, suffix, words):
    """Which file, what is wrong with it."""
    with pytest.raises(errors.SettingsError) as caught:
        run_command.load_strategy(strategy(text) + suffix)

    assert words in str(caught.value) and '\n' not in str(caught.value)


def test_the_symbol_comes_first_in_argv_whatever_the_order(folder):
    """Settings, strategies and a restart find it where it always was; options stay for the restart."""
    program = ('import sys, types\nfrom market_maker import cli\nfrom market_maker.commands import run\n'
               'run.main = lambda args: print(args.symbol, sys.argv[1:], args.dry_run)\n'
               'cli.main()')

    result = console('--dry-run', 'xbtusd', '--base-url', 'http://127.0.0.1:1/', cwd=str(folder), program=program)

    assert result.out.strip() == "XBTUSD ['XBTUSD', '--dry-run', '--base-url', 'http://127.0.0.1:1/'] True"


@pytest.mark.skipif(os.name != 'posix', reason='pipes are those of POSIX')
def test_a_reader_that_leaves_brings_no_traceback(folder):
    """marketmaker --help | head -1."""
    process = subprocess.Popen([sys.executable, '-c', 'from market_maker import run; run()', '--help'], cwd=str(folder),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    process.stdout.close()

    assert process.stderr.read() == b''
    assert process.wait(60) in (0, 1)
    process.stderr.close()


def test_an_interrupt_outside_a_run_is_one_line(folder):
    """No traceback for Ctrl-C."""
    program = ('from market_maker import cli\nfrom market_maker.commands import setup\n'
               'def interrupted(args):\n    raise KeyboardInterrupt()\nsetup.main = interrupted\n'
               'import sys; sys.exit(cli.main())')

    result = console('setup', cwd=str(folder), program=program)

    assert (result.code, result.complaint) == (1, 'interrupted')


def test_a_working_folder_that_is_gone_is_one_line(folder):
    """It happens in terminals that were left open."""
    program = 'import os\nos.rmdir(os.getcwd())\nfrom market_maker import run\nrun()'

    result = console('XBTUSD', cwd=str(folder), program=program)

    assert result.code == 2 and 'working folder is gone' in result.complaint


def test_a_bug_of_ours_keeps_its_traceback(folder):
    """Only errors that users can do something about are shortened."""
    program = ('from market_maker import cli\nfrom market_maker.commands import setup\n'
               'def broken(args):\n    raise KeyError("x")\nsetup.main = broken\ncli.main()')

    result = console('setup', cwd=str(folder), program=program)

    assert result.code == 1 and 'Traceback' in result.err


@pytest.mark.slow
def test_version_answers_within_the_time_of_an_interpreter_start_and_little_more(folder):
    """Median of several: what it costs beyond an empty Python stays under 0.15 seconds."""
    def median(arguments):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.check_call([sys.executable] + arguments, cwd=str(folder), env=environment(),
                                  stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return sorted(times)[3]

    assert median(['-c', 'from market_maker import run; run()', '--version']) - median(['-c', '']) < 0.15
