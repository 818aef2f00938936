"""Finding and starting the local exchange: strangers on its port, missing parts, and the life of the child."""
import http.server
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from market_maker import local
from market_maker.utils.errors import AuthenticationError, LocalExchangeError, SettingsError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
has_extra = pytest.mark.skipif(sys.version_info < (3, 9) or local.importlib.util.find_spec('aiohttp') is None,
                               reason='the local exchange needs the testnet extra')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def url_of(port):
    return 'http://127.0.0.1:{}/api/v1/'.format(port)


def introduction(port):
    """Return what answers the handshake there, or None when nothing listens."""
    try:
        with urllib.request.urlopen('http://127.0.0.1:{}/local-exchange'.format(port), timeout=5) as answer:
            return json.loads(answer.read().decode('utf-8'))
    except (urllib.error.URLError, ConnectionError):
        return None


def wait_until(true, seconds=15):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, 'not within {} s'.format(seconds)
        time.sleep(0.01)


@contextmanager
def stranger(serve):
    """Run serve(connection) on every connection to a free port."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(8)
    held = []

    def accept():
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            held.append(connection)
            serve(connection)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in held:
            connection.close()


@pytest.mark.parametrize('url, verdict', [
    ('http://127.0.0.1:8765/api/v1/', True), ('http://localhost/api/v1/', True), ('http://LOCALHOST:1/', True),
    ('http://[::1]:8765/api/v1/', True), ('http://127.8.9.10:8765/', True), ('http://[::ffff:127.0.0.1]:1/', True),
    ('https://www.bitmex.com/api/v1/', False), ('http://10.0.0.1:8765/', False),
    ('http://127.0.0.1.example.com/', False), ('', False), ('nonsense', False),
])
def test_only_loopback_is_local(url, verdict):
    assert local.is_local(url) is verdict


@pytest.mark.parametrize('url, words', [
    ('https://127.0.0.1:8765/api/v1/', 'speaks http'), ('http://10.1.2.3:8765/', 'not on this machine'),
    ('http://127.0.0.1:99999/', 'no valid port'),
])
def test_an_address_that_cannot_be_served_is_one_line(url, words):
    with pytest.raises(SettingsError) as caught:
        local.ensure(url)
    assert words in str(caught.value) and repr(url) in str(caught.value) and '\n' not in str(caught.value)


def test_half_a_key_is_refused_before_anything_starts():
    with pytest.raises(SettingsError) as caught:
        local.ensure(url_of(free_port()), api_key='mine')
    assert str(caught.value).startswith('API_KEY is set and API_SECRET is not')


def test_a_web_server_on_the_port_is_named():
    class Silent(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            """Say nothing on stderr."""

    server = http.server.HTTPServer(('127.0.0.1', 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(LocalExchangeError) as caught:
            local.ensure(url_of(server.server_port))
    finally:
        server.shutdown()
        server.server_close()
    text = str(caught.value)
    assert 'port {} of 127.0.0.1'.format(server.server_port) in text
    assert 'HTTP 501' in text and 'BaseHTTP' in text and 'BASE_URL' in text and '\n' not in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize('serve, words', [
    (lambda connection: connection.sendall(b'SSH-2.0-OpenSSH_9.2\r\n'), 'does not speak HTTP'),
    (lambda connection: connection.close(), 'closes connections'),
    (lambda connection: None, 'does not answer'),
    (lambda connection: connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]'), 'HTTP 200'),
])
def test_any_other_program_on_the_port_is_named(monkeypatch, serve, words):
    monkeypatch.setattr(local, 'PROBE_TIMEOUT', 0.3)
    with stranger(serve) as port:
        with pytest.raises(LocalExchangeError) as caught:
            local.ensure(url_of(port))
    assert 'port {} of 127.0.0.1'.format(port) in str(caught.value) and words in str(caught.value)


@pytest.mark.skipif(sys.version_info >= local.OLDEST, reason='a Python that can run the local exchange')
def test_an_old_python_says_where_to_start_the_exchange():
    with pytest.raises(SettingsError) as caught:
        local.ensure(url_of(free_port()))
    assert 'Python 3.9 or newer' in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.skipif(sys.version_info < local.OLDEST, reason='a Python that cannot run the local exchange')
def test_without_aiohttp_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.setattr(local.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SettingsError) as caught:
        local.ensure(url_of(free_port()))
    assert 'pip install "bitmex-market-maker[testnet]"' in str(caught.value) and '\n' not in str(caught.value)
    assert caught.value.exit_code == 2


# The child

def starter(port, then='', **arguments):
    """Return a process that ensures an exchange on the port, says so, does ``then`` and waits to be told to end."""
    code = textwrap.dedent('''
        import sys
        from market_maker import local
        pair = local.ensure({url!r}, **{arguments!r})
        print("ready", *pair, flush=True)
        {then}
        sys.stdin.readline()
    ''').format(url=url_of(port), arguments=arguments, then=then)
    return subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE,
                            universal_newlines=True, env=dict(os.environ, PYTHONPATH=ROOT))


def finish(process):
    """Let a starter end in good order."""
    out, errors = process.communicate('\n', timeout=30)
    assert process.returncode == 0, errors
    return out, errors


@pytest.fixture
def port():
    """A free port; whatever exchange is there in the end is gone a moment after its last client."""
    port = free_port()
    yield port
    wait_until(lambda: introduction(port) is None)


@has_extra
def test_a_child_in_good_order(port):
    """It knows the key without its being seen, is out of reach of the terminal's Ctrl-C, and ends with its starter."""
    process = starter(port, api_key='the-key', api_secret='the-secret')
    assert process.stdout.readline().split() == ['ready', 'the-key', 'the-secret']
    assert introduction(port)['name'] == local.NAME

    child = subprocess.check_output(['ps', '-o', 'pgid=,args=', '--ppid', str(process.pid)], universal_newlines=True)
    assert len(child.splitlines()) == 1 and 'testnet' in child and 'the-secret' not in child and 'the-key' not in child
    # The terminal signals the whole group in the foreground: not this child, so that orders can be cancelled first.
    assert int(child.split()[0]) != os.getpgid(process.pid)

    started = time.monotonic()
    finish(process)
    assert introduction(port) is None
    assert time.monotonic() - started < 3


@has_extra
def test_a_starter_that_is_killed_takes_its_exchange_along(port):
    process = starter(port)
    process.stdout.readline()

    process.kill()
    process.communicate()

    wait_until(lambda: introduction(port) is None)


@has_extra
def test_an_exchange_stays_for_another_client(port):
    process = starter(port)
    process.stdout.readline()
    instance = introduction(port)['instance']
    guest = socket.create_connection(('127.0.0.1', port))
    try:
        process.kill()
        process.communicate()
        # Longer than the grace that a restarting starter gets.
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert introduction(port)['instance'] == instance
            time.sleep(0.2)
    finally:
        guest.close()


@has_extra
def test_two_starters_at_once_share_one_exchange(port):
    then = 'print(local._probe("127.0.0.1", {})["instance"], flush=True)'.format(port)
    processes = [starter(port, then), starter(port, then, api_key='second', api_secret='pair'), starter(port, then)]
    lines = [[process.stdout.readline().split(), process.stdout.readline()] for process in processes]

    assert [line[0][0] for line in lines] == ['ready'] * 3
    assert lines[1][0][1:] == ['second', 'pair']
    assert len({line[1] for line in lines}) == 1
    for process in processes:
        finish(process)


@has_extra
def test_a_key_is_registered_with_an_exchange_that_is_there_already(port):
    first = starter(port)
    first.stdout.readline()
    second = starter(port, api_key='other', api_secret='other-secret', symbols=['xbtusd'])
    assert second.stdout.readline().split() == ['ready', 'other', 'other-secret']
    finish(second)
    assert introduction(port) is not None
    finish(first)


@has_extra
def test_why_a_child_did_not_start_is_the_cause_of_the_error():
    with pytest.raises(LocalExchangeError) as caught:
        local.ensure('http://127.0.0.1:{}/api/v1/'.format(free_port()), market='no such market')
    assert 'no such market' in str(caught.value) and '\n' not in str(caught.value)


@has_extra
def test_an_exchange_with_its_own_accounts_wants_one_of_them():
    from market_maker.server.local_exchange import running
    with running(accounts=[{'key': 'mine', 'secret': 's'}]) as testnet:
        assert local.ensure(testnet.url, 'mine', 's') == ('mine', 's')
        assert local.ensure(testnet.url, 'unknown', 's') == ('unknown', 's')
        with pytest.raises(AuthenticationError) as caught:
            local.ensure(testnet.url)
    assert 'API_KEY' in str(caught.value) and caught.value.exit_code == 3


@has_extra
def test_release_ends_what_this_process_started(port):
    pair = local.ensure(url_of(port), market='still')
    assert pair == (local.LOCAL_API_KEY, local.LOCAL_API_SECRET)
    assert local.ensure(url_of(port), symbols=['XBTUSD', 'xbt7d']) == pair
    with pytest.raises(SettingsError) as caught:
        local.ensure(url_of(port), symbols=['BXTUSD'])
    assert 'did you mean XBTUSD?' in str(caught.value) and '\n' not in str(caught.value)

    local.release()
    local.release()

    wait_until(lambda: introduction(port) is None)
