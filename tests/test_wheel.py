"""The wheel as a stranger installs it: what is in it, and the two commands in an empty folder."""
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest
import requests

from bot import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED = ('.git', '.venv', '.venvs', 'build', 'dist', '__pycache__', '.mypy_cache', '.ruff_cache', '.pytest_cache')

pytest.importorskip('setuptools', reason='a wheel is built with setuptools')
pytest.importorskip('wheel', reason='a wheel is built with wheel')

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != 'posix', reason='paths and signals are those of POSIX')]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The path of the wheel, built from a copy of the checkout without going to the network."""
    place = tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT, str(place / 'source'), ignore=lambda folder, names: [
        name for name in names if name in SKIPPED or name.endswith('.egg-info')])
    subprocess.check_call([sys.executable, '-m', 'pip', '--disable-pip-version-check', 'wheel', '--quiet', '--no-deps',
                           '--no-index', '--no-build-isolation', '--wheel-dir', str(place / 'dist'),
                           str(place / 'source')])
    name, = os.listdir(str(place / 'dist'))
    return str(place / 'dist' / name)


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The folder with the programs of a fresh environment that has the wheel and, by a path file, its requirements."""
    place = str(tmp_path_factory.mktemp('fresh') / 'venv')
    subprocess.check_call([sys.executable, '-m', 'venv', place])
    programs = os.path.join(place, 'bin')
    subprocess.check_call([os.path.join(programs, 'python'), '-m', 'pip', '--disable-pip-version-check', 'install',
                           '--quiet', '--no-deps', '--no-index', wheel])
    site, = subprocess.check_output([os.path.join(programs, 'python'), '-c',
                                     'import sysconfig; print(sysconfig.get_paths()["purelib"])']).decode().split()
    with open(os.path.join(site, 'requirements.pth'), 'w') as file:
        file.write(os.path.dirname(os.path.dirname(requests.__file__)))
    return programs


@pytest.fixture
def folder(tmp_path):
    """An empty folder."""
    place = tmp_path / 'bot'
    place.mkdir()
    return str(place)


def environment():
    """Return an environment in which nothing but the installed package can be imported."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith(('BITMEX_', 'PYTHON', 'COVERAGE'))}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    """No tests, no top-level settings_base; the defaults travel inside the package, with the licence and the types."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        defaults = archive.read('market_maker/_settings_base.py')
        metadata = archive.read([name for name in names if name.endswith('/METADATA')][0]).decode()
    with open(os.path.join(ROOT, 'settings_base.py'), 'rb') as page:
        assert defaults == page.read()

    assert {name.split('/')[0] for name in names if not name.split('/')[0].endswith('.dist-info')} == {'market_maker'}
    assert 'market_maker/py.typed' in names
    assert any(name.endswith('LICENSE') for name in names)
    assert 'Name: bitmex-market-maker\n' in metadata and 'Version: 2.0.0\n' in metadata
    required = [line.split(': ')[1] for line in metadata.splitlines() if line.startswith('Requires-Dist')]
    base = sorted(line.replace('(', '').replace(')', '').replace(' ', '') for line in required if 'extra' not in line)
    assert base == ['future', 'requests>=2.25.1', 'websocket-client>=0.59.0']
    extras = {line.split(': ')[1] for line in metadata.splitlines() if line.startswith('Provides-Extra')}
    assert extras == {'testnet', 'speed', 'test', 'docs', 'all'}


def test_the_installed_programs_start(installed, folder):
    """The console script and the module, from the installed package."""
    for command in (['marketmaker'], ['python', '-m', 'market_maker']):
        output = subprocess.check_output([os.path.join(installed, command[0])] + command[1:] + ['--version'],
                                         cwd=folder, env=environment())
        assert output.decode() == 'marketmaker 2.0.0\n'
    text = subprocess.check_output([os.path.join(installed, 'marketmaker'), '--help'], cwd=folder, env=environment())
    assert b'testnet' in text


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGTERM])
def test_two_commands_quote_on_this_machine(installed, folder, ending):
    """`marketmaker setup`, `marketmaker XBTUSD`: twelve orders within five seconds, and none after a signal."""
    pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')
    program = os.path.join(installed, 'marketmaker')
    subprocess.check_call([program, 'setup'], cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    assert sorted(os.listdir(folder)) == ['market_maker', 'settings.py']
    log = os.path.join(folder, 'output')
    with open(os.path.join(folder, 'settings.py'), 'a') as settings, open(log, 'w') as output:
        settings.write('\nBASE_URL = "http://127.0.0.1:{}/api/v1/"\n'.format(free_port()))
        settings.flush()
        start = time.monotonic()
        process = subprocess.Popen([program, 'XBTUSD'], cwd=folder, env=environment(), stdout=output,
                                   stderr=subprocess.STDOUT)
    try:
        while '-----\n' not in text_of(log):  # the loop begins when the first ladder stands
            assert process.poll() is None and time.monotonic() - start < 30, text_of(log)
            time.sleep(0.02)
        taken = time.monotonic() - start
        process.send_signal(ending)
        code = process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()

    text = text_of(log)
    assert code == 0 and 'Traceback' not in text, text
    assert 'Running the copy of market_maker in this folder, version 2.0.0 (installed: 2.0.0).' in text
    assert 'Creating 12 orders:' in text and ' cancelled' in text, text
    assert taken < 5, 'the ladder stood after {:.1f} s'.format(taken)


def text_of(path):
    """Return what a file holds now."""
    with open(path) as file:
        return file.read()
