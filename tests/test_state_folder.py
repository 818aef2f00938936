"""The state folder: where it is, how it is called, who may read it, and what happens where there can be none."""
import logging
import os
import stat
import time

import pytest

from market_maker.state import folder
from market_maker.state.folder import StateFolder, folder_name, state_root

URL, KEY = 'http://127.0.0.1:8765/api/v1/', 'LAqUlngMIQkIUjXMUreyu3qn'


@pytest.mark.parametrize('environ, root', [
    ({'XDG_STATE_HOME': '/a'}, '/a/bitmex-market-maker'),
    ({'XDG_STATE_HOME': '/a', 'LOCALAPPDATA': '/b'}, '/a/bitmex-market-maker'),
    ({'LOCALAPPDATA': '/b'}, '/b/bitmex-market-maker'),
    ({'XDG_STATE_HOME': 'relative', 'LOCALAPPDATA': ''}, None), ({}, None)])
def test_root(environ, root):
    """XDG_STATE_HOME, LOCALAPPDATA, else ~/.local/state; a relative path is no answer."""
    home = os.path.join(os.path.expanduser('~'), '.local', 'state', 'bitmex-market-maker')
    assert state_root(environ) == (root or home)


def test_name_tells_accounts_apart():
    """Another address, key or exchange is another folder; a slash or the case of a host makes no difference."""
    names = {folder_name(*each) for each in [
        (URL, KEY, ''), (URL, KEY, 'x'), (URL, 'other', ''), ('https://www.bitmex.com/api/v1/', KEY, ''),
        ('https://testnet.bitmex.com/api/v1/', KEY, '')]}
    assert len(names) == 5 and all(len(name) == 32 and KEY not in name for name in names)
    assert folder_name('https://WWW.bitmex.com/api/v1', KEY, '') in names


@pytest.mark.skipif(os.name != 'posix', reason='modes of files are those of POSIX')
def test_only_its_user_reads_it(tmp_path):
    """0700 and 0600, whatever the umask and whatever was there before; the whole key stands nowhere."""
    root = str(tmp_path / 'state')
    before = os.umask(0)
    try:
        os.makedirs(root, 0o777)
        made = StateFolder(URL, KEY, root=root)
        path = made.file('ledger.db')
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(root).st_mode) == stat.S_IMODE(os.stat(made.path).st_mode) == 0o700
    assert {stat.S_IMODE(os.stat(each).st_mode) for each in (path, os.path.join(made.path, 'about.json'))} == {0o600}
    with open(os.path.join(made.path, 'about.json')) as about:
        text = about.read()
    assert KEY not in text and 'LAqU...' in text and URL in text


def test_what_is_there_stays(tmp_path):
    """Opened again, the files are as they were."""
    with open(StateFolder(URL, KEY, root=str(tmp_path)).file('x'), 'w') as file:
        file.write('kept')
    with open(StateFolder(URL, KEY, root=str(tmp_path)).file('x')) as file:
        assert file.read() == 'kept'


def test_where_nothing_can_be_written(tmp_path):
    """Memory serves, and one line says so with the way out."""
    (tmp_path / 'file').write_text('in the way')
    said = []
    made = StateFolder(URL, KEY, root=str(tmp_path / 'file' / 'x'), report=lambda *args: said.append(args))
    assert made.path is None and made.file('a') is None and made.file('b') is None
    assert len(said) == 1 and said[0][0] == logging.WARNING and 'XDG_STATE_HOME' in said[0][1]


def test_folder_that_goes_away(tmp_path):
    """A folder that was taken away under the bot is said once as well."""
    said = []
    made = StateFolder(URL, KEY, root=str(tmp_path / 'a'), report=lambda *args: said.append(args))
    os.remove(os.path.join(made.path, 'about.json'))
    os.rmdir(made.path)
    assert made.file('x') is None and made.file('y') is None and len(said) == 1


def test_folders_of_ended_local_exchanges_go(tmp_path):
    """Those of other instances of the same address, a week old; nobody else's."""
    root, week = str(tmp_path), time.time() - (folder.KEEP_DAYS + 1) * 86400
    old, young, bitmex = (StateFolder(url, KEY, instance, root=root) for url, instance in (
        (URL, 'old'), (URL, 'young'), ('https://www.bitmex.com/api/v1', '')))
    (tmp_path / 'strange').mkdir()
    for each in (old, bitmex):
        os.utime(os.path.join(each.path, 'about.json'), (week, week))
    StateFolder(URL, KEY, 'new', root=root)
    assert not os.path.exists(old.path)
    assert all(os.path.exists(each.path) for each in (young, bitmex)) and (tmp_path / 'strange').exists()
