"""Finding and starting the local exchange: strangers on its port, missing parts, and the life of the child."""
import http.server
import json
import os
import signal
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
    ('https://www.bitmex.com/api/v1/', False), ('http://10.0.0.1:8765/', False), ('http://127.0.0.1.example.com/', False),
    ('', False), ('nonsense', False),
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


def test_without_aiohttp_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.setattr(local.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SettingsError) as caught:
        local.ensure(url_of(free_port()))
    assert 'pip install "bitmex-market-maker[testnet]"' in str(caught.value) and '\n' not in str(caught.value)
    assert caught.value.exit_code == 2
