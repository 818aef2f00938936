"""What a newcomer does: an empty folder, ``marketmaker setup``, ``marketmaker XBTUSD``, and an end by signal."""
import os
import signal
import socket
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import requests  # noqa: E402

from bot import Bot, until  # noqa: E402

from market_maker import local  # noqa: E402
from market_maker.auth import APIKeyAuthWithExpires  # noqa: E402

pytestmark = pytest.mark.skipif(os.name == 'nt', reason='signals of this kind are POSIX')

class Project(Bot):
    """A folder that ``marketmaker setup`` fills, the bot that runs in it, and a look at the exchange from outside."""

    @property
    def port(self):
        return int(self.url.split(':')[2].split('/')[0])

    def open_orders(self):
        """Return the rows that rest at the exchange, or None while nobody answers there."""
        auth = APIKeyAuthWithExpires(local.LOCAL_API_KEY, local.LOCAL_API_SECRET)
        try:
            answer = requests.get(self.url + 'order', params={'filter': '{"open": true}', 'count': 500}, auth=auth,
                                  timeout=5)
        except requests.ConnectionError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def ladder(self):
        """Return the rows of twelve orders that rest, or None while there are not so many."""
        rows = self.open_orders() or ()
        return rows if len(rows) == 12 else None

    def is_up(self):
        """Tell whether somebody listens on the port, without being a client of his."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', self.port))
            except OSError:
                return True
        return False


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path)
    yield made
    made.kill()


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGTERM])
def test_two_commands_quote_and_a_signal_leaves_nothing_behind(project, ending):
    made = project.run('setup')
    assert made.returncode == 0, made.stdout
    started = time.time()
    project.start('XBTUSD')
    rows = until(project.ladder, 15, project.text, 0.2)
    assert time.time() - started < 5, 'twelve orders rested only after {:.1f} s'.format(time.time() - started)
    assert sorted(row['side'] for row in rows) == ['Buy'] * 6 + ['Sell'] * 6
    assert max(row['price'] for row in rows if row['side'] == 'Buy') < min(
        row['price'] for row in rows if row['side'] == 'Sell')

    with socket.create_connection(('127.0.0.1', project.port)):   # a client that keeps the exchange alive
        assert project.stop(ending) == 0, project.text()
        assert project.open_orders() == []
    text = project.text()
    assert 'Traceback' not in text
    assert 'Creating 12 orders:' in text

    until(lambda: not project.is_up(), 30, 'the exchange outlived its starter and its clients')


def test_a_second_bot_shares_the_exchange(project, tmp_path):
    assert project.run('setup').returncode == 0
    project.start('XBTUSD')
    until(project.ladder, 15, project.text, 0.2)
    folder = tmp_path / 'second'
    folder.mkdir()
    second = Project(folder, project.url)
    assert second.run('setup').returncode == 0
    with open(str(folder / 'settings.py'), 'a') as settings:
        settings.write('\nORDERID_PREFIX = "second_"\n')
    second.start('XBTUSDT')
    try:
        until(lambda: {row['symbol'] for row in project.open_orders() or ()} == {'XBTUSD', 'XBTUSDT'}, 15, second.text,
              0.2)
        assert project.stop() == 0, project.text()
        left = until(project.open_orders, 5, second.text, 0.2)
        assert {row['symbol'] for row in left} == {'XBTUSDT'}
    finally:
        assert second.stop() == 0, second.text()
