"""One round trip over real sockets: what goes out, what comes back, and how each failure is named."""
import hashlib
import hmac
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import requests
import urllib3

import http_server
from market_maker.rest import direct, transport
from market_maker.rest.transport import Request, Response, Transport
from market_maker.utils.errors import SettingsError

KEY, SECRET = 'LAqUlngMIQkIUjXMUreyu3qn', 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture(params=[Transport, direct.DirectTransport])
def kind(request):
    """Both transports promise the same."""
    if request.param is direct.DirectTransport and direct.httptools is None:
        pytest.skip('httptools, of the extra speed, is not installed')
    return request.param


@pytest.fixture
def ours(server, kind):
    made = kind(server.url, KEY, SECRET)
    yield made
    made.close()


def get(path='/order', timeout=5):
    return Request('GET', path, '', 1518064236, timeout)


def post(body='{"symbol":"XBTUSD"}', timeout=5):
    return Request('POST', '/order', body, 1518064238, timeout)


def test_request_is_signed_over_what_is_sent(server, ours):
    """Verb, path with its query as encoded, expiry and body are signed; the answer is decoded."""
    server.default = http_server.answer({'orderID': '1'}, Retry_After='3')

    response = ours.send(post())
    ours.send(get('/instrument?filter=%7B%22symbol%22%3A+%22XBTM15%22%7D'))

    assert (response.status, response.data, response.headers['retry-after'], response.error) == (200, {'orderID': '1'},
                                                                                                 '3', None)
    for seen in server.seen:
        message = seen.verb + seen.path + seen.headers['api-expires'] + seen.body
        assert seen.headers['api-signature'] == hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).hexdigest()
        assert seen.headers['api-key'] == KEY
    assert server.seen[0].headers['content-type'] == 'application/json'
    assert server.seen[0].body == '{"symbol":"XBTUSD"}'
    assert server.seen[1].path == '/api/v1/instrument?filter=%7B%22symbol%22%3A+%22XBTM15%22%7D'
    assert response.elapsed > 0 and response.status_code == 200 and response.json() == response.data


def test_without_a_key_nothing_is_signed(server, kind):
    """Public data needs no key."""
    kind(server.url).send(get())
    assert not any(name.startswith('api-') for name in server.seen[0].headers)


def test_base_url_with_and_without_slash(server, kind):
    """Both give the same path."""
    for url in (server.url, server.url.rstrip('/')):
        kind(url).send(get())
    assert {seen.path for seen in server.seen} == {'/api/v1/order'}


def test_one_connection_serves_many_calls(server, ours):
    """Connections are kept alive, whatever the verb and the answer: no more than there are calls at once."""
    server.script = [http_server.answer({}), http_server.error(400, 'no'), http_server.html(502, 'Bad Gateway'),
                     http_server.raw('', 503)]
    for number in range(30):
        ours.send([get(), post(), Request('DELETE', '/order', '{"orderID":"1"}', 1, 5)][number % 3])

    def other():
        for _ in range(10):
            ours.send(get())
    threads = [threading.Thread(target=other) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(server.seen) == 60 and server.connections <= 4


def test_short_lived_threads_share_a_connection(server, ours):
    """A strategy that starts a timer again and again opens no connection for each of them."""
    for _ in range(20):
        thread = threading.Thread(target=lambda: ours.send(get()))
        thread.start()
        thread.join()
    assert len(server.seen) == 20 and server.connections == 1


def test_connection_closed_while_idle_is_replaced(server, ours):
    """A server that hung up between two calls costs neither of them."""
    def farewell(exchange):
        http_server.answer(1)(exchange)
        exchange.sock.shutdown(socket.SHUT_RDWR)
        raise http_server.Over()
    server.script = [farewell]
    assert ours.send(get()).data == 1
    http_server.wait_for(lambda: urllib3.util.wait_for_read(_socket_of(ours), 0))
    assert ours.send(get()).status == 200
    assert server.connections == 2


def _socket_of(sender):
    if isinstance(sender, direct.DirectTransport):
        return sender._idle[-1]._sock
    pool = sender._idle[-1].get_adapter(sender._root)._pool
    connection = pool.pool.get()
    pool.pool.put(connection)
    return connection.sock


@pytest.mark.parametrize('step, error', [(http_server.reset, transport.RESET), (http_server.hang_up, transport.RESET),
                                        (http_server.half, transport.RESET),
                                        (http_server.stall, transport.LOST_TIMEOUT)])
def test_loss_after_sending(server, ours, step, error):
    """The request went out and no whole answer came: the exchange may have carried it out."""
    server.script = [step]
    response = ours.send(post(timeout=0.2))
    assert (response.status, response.error) == (0, error)
    assert response.detail and '\n' not in response.detail and 'argument' not in response.detail
    assert ours.send(post()).status == 200   # the next call gets a fresh connection


def test_break_before_reading(server, ours):
    """A connection that was accepted and then reset may have delivered the request, unless it broke before it was
    used."""
    server.refuse_before_reading = 1
    assert ours.send(post()).error in (transport.RESET, transport.REFUSED)
    assert server.seen == []


def test_answer_that_drips_is_cut_off(server, ours):
    """A server that sends a byte now and then does not hold a call beyond twice its time-out."""
    def drip(exchange):
        exchange.sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n')
        while not server.over.wait(0.1):
            exchange.sock.sendall(b' ')
    server.default = drip
    began = time.monotonic()
    response = ours.send(get(timeout=0.3))
    assert 0.5 < time.monotonic() - began < 1.5
    assert response.error == transport.LOST_TIMEOUT
    server.default = http_server.answer([1])
    assert ours.send(get()).data == [1]


def sent(*pieces):
    """A step: these bytes, one after the other."""
    def step(exchange):
        for piece in pieces:
            exchange.sock.sendall(piece)
    return step


@pytest.mark.parametrize('step', [
    sent(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[1, \r\n', b'2\r\n2]\r\n0\r\n\r\n'),
    sent(b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n[1, 2]'),
    sent(b'HTTP/1.1 200 OK\r\nCONTENT-', b'LENGTH:6\r\n', b'\r\n[1', b', 2]')])
def test_answers_in_any_shape(server, ours, step):
    """Chunked, after a 100, in small pieces: the body is the same, and the connection serves on."""
    server.script = [step]
    assert ours.send(post()).data == [1, 2]
    assert ours.send(post()).status == 200 and server.connections == 1


@pytest.mark.parametrize('length', [b'', b'Content-Length: 6\r\n'])
def test_answer_that_ends_with_its_connection(server, ours, length):
    """Without a length the end of the connection is the end of the body; the next call opens another one."""
    def until_the_end(exchange):
        exchange.sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n' + length + b'\r\n[1, 2]')
        exchange.sock.shutdown(socket.SHUT_RDWR)
        raise http_server.Over()
    server.script = [until_the_end]
    assert ours.send(get()).data == [1, 2]
    assert ours.send(get()).status == 200 and server.connections == 2


def test_what_is_not_http_may_have_been_carried_out(server, ours):
    """An answer that cannot be read says nothing about the order; its connection is not used again."""
    server.script = [sent(b'SSH-2.0-OpenSSH_9.2\r\n')]
    assert ours.send(post(timeout=1)).error == transport.RESET
    assert ours.send(post()).status == 200 and server.connections == 2


def test_a_request_is_never_sent_twice(server, ours):
    """A kept-alive connection that breaks under a request costs an answer, never a second order."""
    ours.send(post())
    server.script = [http_server.hang_up]
    assert ours.send(post()).error == transport.RESET
    assert len(server.seen) == 2


def test_words_of_the_moment_of_sending(server, ours):
    """Whoever wants to know is told when the request has gone out, before its answer is there."""
    told = []
    server.script = [lambda exchange: (told.append('answering'), http_server.answer({})(exchange))]
    ours.send(Request('POST', '/order', '{}', 1, 5, lambda: told.append('written')))
    assert sorted(told) == ['answering', 'written']


def test_a_signal_does_not_leave_half_an_answer(server, ours):
    """What ends a call in its middle ends its connection: the next call must not read the first one's answer."""
    def stop():
        raise SystemExit(0)
    server.script = [http_server.answer('first')]
    with pytest.raises(SystemExit):
        ours.send(Request('POST', '/order', '{}', 1, 5, stop))
    http_server.wait_for(lambda: not server.script)
    server.script = [http_server.answer('second')]
    assert ours.send(get()).data == 'second'


@pytest.mark.skipif(not shutil.which('openssl'), reason='openssl, which makes a certificate, is not on this machine')
def test_certificates_are_checked(tmp_path, monkeypatch, kind):
    """A stranger's certificate is refused before anything is sent; one of REQUESTS_CA_BUNDLE is good."""
    bundle, key = str(tmp_path / 'cert.pem'), str(tmp_path / 'key.pem')
    subprocess.check_output(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', bundle,
                             '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
                            stderr=subprocess.STDOUT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, key)
    with http_server.running() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        url = server.url.replace('http://127.0.0.1', 'https://localhost')
        response = kind(url, KEY, SECRET).send(post())
        assert (response.error, server.seen) == (transport.TLS, [])
        monkeypatch.setenv('REQUESTS_CA_BUNDLE', bundle)
        trusting = kind(url, KEY, SECRET)
        assert [trusting.send(post()).status for _ in range(3)] == [200, 200, 200]
        assert server.connections == 2
        trusting.close()


def test_certificates_that_cannot_be_read(monkeypatch):
    """A bundle that is not there is told at the door."""
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', '/a/bundle')
    with pytest.raises(SettingsError) as caught:
        direct.trusting('/a/bundle')
    assert '/a/bundle' in str(caught.value) and 'REQUESTS_CA_BUNDLE' in str(caught.value)


def test_the_fastest_way_is_taken(monkeypatch):
    """httptools where it is installed and no proxy stands in between, requests elsewhere."""
    monkeypatch.setattr(direct, 'httptools', direct.httptools or object())
    assert type(direct.fastest('http://127.0.0.1:1/api/v1/')) is direct.DirectTransport
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:2')
    assert type(direct.fastest('http://exchange.test/api/v1/')) is Transport
    monkeypatch.setattr(direct, 'httptools', None)
    assert type(direct.fastest('http://127.0.0.1:1/api/v1/')) is Transport


def test_nobody_listens(kind):
    """A refused connection is certain: nothing was sent."""
    with socket.socket() as reserved:
        reserved.bind(('127.0.0.1', 0))
        response = kind('http://127.0.0.1:{}/api/v1/'.format(reserved.getsockname()[1])).send(get())
    assert response.error == transport.REFUSED and response.detail == os.strerror(111)


def test_host_without_an_address(monkeypatch, kind):
    """A name that cannot be resolved is certain too."""
    def no_address(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
    monkeypatch.setattr(socket, 'getaddrinfo', no_address)
    response = kind('http://testnet.example/api/v1/').send(get())
    assert (response.error, response.detail) == (transport.DNS, 'Name or service not known')


def test_connection_that_is_never_made(monkeypatch, kind):
    """A time-out while connecting is certain as well."""
    def too_slow(*args, **kwargs):
        raise socket.timeout('timed out')
    monkeypatch.setattr(urllib3.util.connection, 'create_connection', too_slow)
    monkeypatch.setattr(socket, 'create_connection', too_slow)
    assert kind('http://127.0.0.1:9/api/v1/').send(get(timeout=0.1)).error == transport.UNSENT_TIMEOUT


def test_no_tls_at_the_other_end(server, kind):
    """A handshake that fails sent nothing."""
    def babble(exchange):
        exchange.sock.sendall(b'hello')
    server.default = babble
    response = kind(server.url.replace('http:', 'https:')).send(get(timeout=0.5))
    assert response.error in (transport.TLS, transport.RESET, transport.LOST_TIMEOUT, transport.UNSENT_TIMEOUT)
    assert response.status == 0


@pytest.mark.parametrize('error, name', [
    (requests.exceptions.ProxyError('x'), transport.PROXY),
    (requests.exceptions.ConnectTimeout('x'), transport.UNSENT_TIMEOUT),
    (requests.exceptions.ReadTimeout('x'), transport.LOST_TIMEOUT),
    (requests.exceptions.SSLError('certificate verify failed: self signed certificate'), transport.TLS),
    (requests.exceptions.SSLError('decryption failed or bad record mac'), transport.RESET),
    (requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError('Connection aborted.',
                                                                          OSError(104, 'reset'))), transport.RESET),
    (requests.exceptions.ConnectionError('whatever'), transport.RESET),
    (urllib3.exceptions.IncompleteRead(1, 2), transport.RESET),
    (urllib3.exceptions.DecodeError('bad gzip'), transport.RESET),
    (OSError(24, 'Too many open files'), transport.RESET)])
def test_doubt_counts_as_sent(error, name):
    """Only what certainly happened before the first byte is named so."""
    assert transport.failure(error)[0] == name


def test_compressed_answers_are_unpacked(server, ours):
    """Long tables come as gzip."""
    import gzip
    server.script = [http_server.raw(gzip.compress(b'[1, 2]'), content_type='application/json',
                                     Content_Encoding='gzip')]
    assert ours.send(get()).data == [1, 2]


def test_body_that_is_no_json(server, ours):
    """The text is kept, and decoding it raises ValueError only when somebody asks."""
    server.script = [http_server.html(502, '502 Bad Gateway'), http_server.raw(b'\xff\xfe', 200)]
    response = ours.send(get())
    assert response.status == 502 and '502 Bad Gateway' in response.text and not response.is_json
    with pytest.raises(ValueError):
        response.json()
    assert not ours.send(get()).is_json


def test_response_can_be_made_by_hand():
    """What stands in for HTTP builds the same thing: headers in any case, body as text or bytes."""
    response = Response(200, {'X-RateLimit-Limit': '120'}, '{"a": 1.0E-4}')
    assert response.headers == {'x-ratelimit-limit': '120'} and response.data == {'a': 0.0001}
    assert repr(response) == '<Response 200>' and repr(Response(error='dns')) == '<Response dns>'


ONCE = '''
import os, sys
import http_server
from market_maker.rest.transport import Request, Transport
with http_server.running() as proxy:
    for name in ('http_proxy', 'no_proxy', 'NO_PROXY'):
        os.environ.pop(name, None)
    os.environ.update(HTTP_PROXY=proxy.url.replace('/api/v1/', ''), REQUESTS_CA_BUNDLE='/a/bundle')
    abroad = Transport('http://exchange.test/api/v1/', 'key', 'secret')
    at_home = Transport(proxy.url)
    os.environ.clear()
    assert abroad._verify == '/a/bundle'
    for _ in range(3):
        assert abroad.send(Request('GET', '/order?a=1', '', 1, 5)).status == 200
    at_home.send(Request('GET', '/order', '', 1, 5))
    paths = [seen.path for seen in proxy.seen]
    assert paths == ['http://exchange.test/api/v1/order?a=1'] * 3 + ['/api/v1/order'], paths
    assert proxy.connections == 2
    assert abroad._idle[0].trust_env is False
print('fine')
'''


def test_environment_is_read_once():
    """Proxy and CA bundle are those of the start; a loopback address is never asked for through a proxy."""
    environ = dict(os.environ,
                   PYTHONPATH=os.pathsep.join([os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]))
    output = subprocess.check_output([sys.executable, '-c', ONCE], env=environ, stderr=subprocess.STDOUT, timeout=60)
    assert output.decode().strip() == 'fine'


@pytest.mark.parametrize('url', ['', 'localhost:8765', 'ftp://host/', 'http:///api', 'wss://host/realtime'])
def test_base_url_must_be_one(url, kind):
    """What is no http address is refused at the door, with its value."""
    with pytest.raises(SettingsError) as caught:
        kind(url)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize('key, secret',
                         [('key\n', SECRET), (KEY, 'sec ret'), (KEY, 'secr\u00e9t'), (KEY + '\r\nX: 1', SECRET)])
def test_keys_that_cannot_be_sent_are_not_shown(key, secret):
    """A key with a line end would break the request open; the message names the setting and not its value."""
    with pytest.raises(SettingsError) as caught:
        Transport('http://127.0.0.1:1/', key, secret)
    assert key not in str(caught.value) and secret not in str(caught.value) and 'API_' in str(caught.value)


def test_close_may_come_twice_and_a_later_call_reconnects(server, ours):
    """Closing gives the connections back; nothing is broken by it."""
    ours.send(get())
    ours.close()
    ours.close()
    assert ours.send(get()).status == 200 and server.connections == 2


def test_head_and_body_travel_together(kind):
    """On a connection that is open a request arrives in one piece: the exchange wakes once for it."""
    pieces, answer = [], b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]'
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)

        def serve():
            connection = listener.accept()[0]
            with connection:
                for _ in range(3):
                    data = [connection.recv(65536)]
                    while not data[-1].endswith(b'}'):
                        data.append(connection.recv(65536))
                    pieces.append(data)
                    connection.sendall(answer)
        thread = threading.Thread(target=serve)
        thread.start()
        ours = kind('http://127.0.0.1:{}/api/v1/'.format(listener.getsockname()[1]), KEY, SECRET)
        written = []
        for _ in range(3):
            assert ours.send(post()._replace(written=lambda: written.append(len(pieces)))).data == []
        thread.join(10)
        ours.close()
    assert [len(data) for data in pieces[1:]] == [1, 1] and len(written) == 3
    assert all(b''.join(data).endswith(b'{"symbol":"XBTUSD"}') for data in pieces)
