"""Random requests made from BitMEX's official specification, and random frames: never a 500, never a silence.

The specification is read from beside the recordings.  Each of its operations is sent good and bad parameters by
schemathesis; names that mean something to the exchange are mixed in, so that requests get past the door.
"""
import copy
import json
import socket
import time
from urllib.parse import urlsplit

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')
schemathesis = pytest.importorskip('schemathesis', reason='requests are made from the specification by schemathesis')
hypothesis = pytest.importorskip('hypothesis')

import official  # noqa: E402
import reference_fields as reference  # noqa: E402
import requests  # noqa: E402
from engine_world import check_laws  # noqa: E402
from local_client import Client, Socket, auth_headers  # noqa: E402

from market_maker.auth.signing import generate_signature  # noqa: E402
from market_maker.server.local_exchange import LONGEST_LINE, running  # noqa: E402
from market_maker.server.realtime import MOST_ERRORS  # noqa: E402
from market_maker.simulator import schema  # noqa: E402

st = hypothesis.strategies
ANSWER_WITHIN = 20   # seconds, on the slowest machine
ONCE = {'deadline': None, 'database': None, 'suppress_health_check': list(hypothesis.HealthCheck)}
PEOPLE = [{'key': 'alice', 'secret': 's', 'permissions': ['order', 'withdraw']},
          {'key': 'bob', 'secret': 's'}]

# what a parameter of a name may well be, besides anything that its type allows
KNOWN = {
    'symbol': ['XBTUSD', 'xbtusd', 'ETHUSD', 'XBTUSDT', '.BXBT', 'XBT', 'XBT:perpetual', 'XBT:weekly', 'NOPE', ''],
    'side': ['Buy', 'Sell', 'buy', ''], 'ordType': ['Limit', 'Market', 'Stop', 'StopLimit', 'MarketIfTouched',
                                                    'LimitIfTouched', 'Pegged', 'Iceberg'],
    'timeInForce': ['GoodTillCancel', 'ImmediateOrCancel', 'FillOrKill', 'Day', 'AtTheClose'],
    'execInst': ['ParticipateDoNotInitiate', 'ReduceOnly', 'Close', 'LastPrice', 'MarkPrice,ReduceOnly', 'Fixed',
                 'AllOrNone', ',', 'LastPrice, LastWithinMark'],
    'pegPriceType': ['TrailingStopPeg', 'MarketPeg', 'PrimaryPeg', 'LastPeg'],
    'contingencyType': ['OneCancelsTheOther', 'OneTriggersTheOther', 'x'], 'clOrdLinkID': ['l', 'm'],
    'clOrdID': ['a', 'b', 'c', '["a", "b"]', 'a,b'], 'origClOrdID': ['a', 'b', 'c'],
    'currency': ['XBt', 'USDt', 'all', 'xbt', 'DOGE'], 'network': ['btc', 'eth'], 'binSize': ['1m', '5m', '1h', '1d'],
    'address': ['bc1', ''], 'method': ['notional', 'ROE'], 'model': ['Order', 'Trade', 'x'],
    'startTime': ['2026-05-03', '2026-05-03T05:00:00.000Z', '2100-01-01', '1'], 'endTime': ['2026', '2100-01-01'],
    'filter': ['{"open":true}', '{"symbol":"XBTUSD"}', '{"side":["Buy",null]}', '{"timestamp.time":"12:00"}',
               '{"price":"x"}', '{"a":1}', '{', '[]', '{"timestamp.hh":5}', '{"orderQty":1e400}'],
    'columns': ['["price"]', 'price,side', '["symbol"]', '[', '[1]', '{"a":1}'],
    'orderID': ['00000000-0000-0000-0000-000000000000', '[]', '["x"]', '[1]'],
    'targetAccountIds': ['*', '["*"]', '[1]', '{'], 'transactID': ['00000000-0077-1000-0000-000000000001'],
}
NUMBERS = {'orderQty': [100, -100, 300, 0, 10 ** 9], 'price': [59000, 60000.1, 61000, 0.05, 1e300],
           'stopPx': [58000, 62000], 'leverage': [0, 5, 100, 1e9], 'amount': [1000, -5, 10 ** 15],
           'riskLimit': [20000000000, 35000000000], 'displayQty': [0, 100], 'timeout': [0, 60000, 1e300],
           'leavesQty': [100, 200], 'pegOffsetValue': [-10, 10, 1e300], 'depth': [0, 1, 10 ** 9],
           'count': [0, 1, 500, 501], 'targetAccountId': [100001, 100002], 'channelID': [1, 2, 99]}


def widened(specification):
    """Return the specification with the known words allowed beside whatever it allows; JSON is any text there."""
    wide = copy.deepcopy(specification)
    for verbs in wide['paths'].values():
        for operation in verbs.values():
            for parameter in operation.get('parameters', ()):
                if parameter['name'] in KNOWN and parameter.get('type') == 'string':
                    parameter['format'] = 'known-' + parameter['name']
    return wide


class Signed(requests.auth.AuthBase):
    """Signs whatever is sent, as it is sent."""

    def __call__(self, request):
        body = request.body or ''
        body = body.decode('utf-8', 'surrogateescape') if isinstance(body, bytes) else body
        parts = urlsplit(request.url)
        path = parts.path + ('?' + parts.query if parts.query else '')
        expires = str(int(time.time()) + 60)
        request.headers.update({'api-key': 'alice', 'api-expires': expires,
                                'api-signature': generate_signature('s', request.method, path, expires, body)})
        return request


@pytest.fixture(scope='module')
def testnet():
    """An exchange on which things have happened and orders rest."""
    with running(symbols=('XBTUSD', 'ETHUSD', 'XBTUSDT'), bid=60000, ask=60000.1, accounts=PEOPLE) as testnet:
        client = Client(testnet, 'alice', 's')
        for number in range(5):
            client.place(symbol='XBTUSD', orderQty=100, price=59000 + number)
            client.place(symbol='XBTUSD', orderQty=100, ordType='Market')
        client.session.close()
        testnet.call(lambda: testnet.exchange.set_funding('XBTUSD', 0.0001, 60))
        testnet.call(lambda: testnet.server.market.step(testnet.exchange.now + 130))
        yield testnet


def check_answer(answer, verb, path, query, specification):
    """Check one answer: its status, the shape of an error, and what the specification says of a success."""
    said = '{} {} {}: {} {}'.format(verb, path, query, answer.status_code, answer.text[:300])
    assert answer.status_code in (200, 400, 403, 404), said
    if answer.headers['Content-Type'].startswith('text/csv'):
        return
    if len(answer.url) > LONGEST_LINE:
        return   # refused at the door
    assert answer.headers['Content-Type'].startswith('application/json'), said + str(answer.request.body)
    payload = answer.json()
    if answer.status_code != 200:
        assert set(payload) == {'error'} and payload['error']['message'], said
        assert payload['error']['name'] in ('HTTPError', 'CodedHTTPError'), said
        return
    wanted = official.answer_of(specification, verb, path)
    several = path in ('/user/margin', '/user/wallet') and isinstance(payload, list)   # for all currencies
    found = [fault for one in (payload if several else [payload])
             for fault in (official.faults(specification, wanted, one) if wanted else ())]
    if path == '/order' and verb == 'DELETE':
        found = [fault for fault in found if fault != 'orderID: is not a "guid"']   # the item repeats what was sent
    if 'columns' in query:
        found = [fault for fault in found if 'is a required property' not in fault]
    assert {('{} {}'.format(verb, path), fault) for fault in found} <= reference.AGAINST_THE_SPECIFICATION, said


sensible = st.fixed_dictionaries({}, optional={name: st.sampled_from(known) for name, known in NUMBERS.items()})


class Bombardment(object):
    """Sends so many good and so many bad requests to each operation; ``counts`` are the answers by status.

    ``routes`` are the (verb, path) to go to, all of the specification by default.
    """

    def __init__(self, testnet, specification, examples, routes=None, **settings):
        for name, known in KNOWN.items():
            schemathesis.openapi.format('known-' + name, st.one_of(st.sampled_from(known), st.text(max_size=8)))
        self.specification = specification
        self.base = testnet.url.rstrip('/')
        self.counts = {}
        self.routes = routes
        self.settings = hypothesis.settings(
            max_examples=examples, deadline=None, database=None, phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck), **settings)
        self.session = requests.Session()
        self.session.trust_env = False

    def run(self):
        """Go through all operations of the specification; return the counts."""
        for result in schemathesis.openapi.from_dict(widened(self.specification)).get_all_operations():
            operation = result.ok()
            if self.routes is not None and (operation.method.upper(), operation.path) not in self.routes:
                continue
            for mode in schemathesis.GenerationMode:
                try:
                    self.settings(hypothesis.given(operation.as_strategy(generation_mode=mode), sensible)(self.send))()
                except hypothesis.errors.Unsatisfiable:
                    assert not operation.definition.raw.get('parameters'), operation.label   # nothing to get wrong
        self.session.close()
        return self.counts

    def send(self, case, numbers):
        """Send one request, some of its numbers exchanged for sensible ones, and check the answer."""
        for part in (case.query, case.body):
            if isinstance(part, dict):
                part.update((name, value) for name, value in numbers.items() if name in part)
        answer = self.session.request(auth=Signed(), timeout=ANSWER_WITHIN,
                                      **case.as_transport_kwargs(base_url=self.base))
        self.counts[answer.status_code] = self.counts.get(answer.status_code, 0) + 1
        check_answer(answer, case.method, case.operation.path, case.query or {}, self.specification)


def check_afterwards(testnet):
    """No connection is left, nothing within is broken."""
    deadline = time.monotonic() + ANSWER_WITHIN
    while testnet.server.connections:
        assert time.monotonic() < deadline, '{} connections are left'.format(testnet.server.connections)
        time.sleep(0.01)
    testnet.call(lambda: check_laws(testnet.exchange))
    assert Client(testnet, 'alice', 's').get('/user')['id'] == 100001


def test_requests_from_the_specification(testnet, specification):
    """A few requests for each route: every one is answered, in shape, and some of them are carried out."""
    counts = Bombardment(testnet, specification, 2, testnet.server.api._routes, derandomize=True).run()

    assert counts[200] > 50 and counts[400] > 50, counts
    check_afterwards(testnet)


@pytest.mark.soak
def test_many_requests_from_the_specification(testnet, specification):
    """The same by the thousand, and to what is not served here too."""
    counts = Bombardment(testnet, specification, 100).run()

    assert counts[200] > 2000 and counts[400] > 3000, counts
    check_afterwards(testnet)


@pytest.mark.parametrize('verb', ['PATCH', 'HEAD', 'OPTIONS', 'TRACE', 'CONNECT', 'get', 'X'])
def test_other_verbs(testnet, verb):
    """A verb that no route has is answered by 4xx and the connection is free again."""
    with socket.create_connection(('127.0.0.1', testnet.port), ANSWER_WITHIN) as raw:
        raw.sendall('{} /api/v1/trade HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.format(verb).encode())
        answer = b''.join(iter(lambda: raw.recv(65536), b''))
    assert answer.split(b' ')[1].startswith(b'4'), answer[:200]


bytes_of_a_request = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda verb, path, headers, body: b' '.join([verb, path, b'HTTP/1.1\r\n' + headers + b'\r\n\r\n' + body]),
              st.sampled_from([b'GET', b'POST', b'\x00', b'']),
              st.sampled_from([b'/api/v1/trade?count=1', b'/', b'*', b'http://', b'/%zz', b'/api/v1/' + b'a' * 9000]),
              st.sampled_from([b'Host: x', b'Content-Length: -1', b'Content-Length: x', b': y', b'a' * 9000 + b': b',
                               b'Transfer-Encoding: chunked', b'Host: x\r\nContent-Length: 2', b'Upgrade: websocket']),
              st.sampled_from([b'', b'{}', b'zz\r\n', b'0\r\n\r\n', b'\xff\xfe'])))


def check_bytes(testnet, data):
    """Send bytes and the end of them: whatever they are, the connection ends, and not with a 5xx."""
    with socket.create_connection(('127.0.0.1', testnet.port), ANSWER_WITHIN) as raw:
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            answer = b''.join(iter(lambda: raw.recv(65536), b''))
        except OSError as error:   # it may be gone before all is said
            assert not isinstance(error, socket.timeout), 'no answer, and no end of the connection'
            answer = b''
    assert answer.split(b' ')[1:2] < [b'5'], answer[:200]


@hypothesis.settings(max_examples=40, derandomize=True, **ONCE)
@hypothesis.given(bytes_of_a_request)
def test_bytes_that_are_no_request(testnet, data):
    """Bytes of any kind."""
    check_bytes(testnet, data)


@pytest.mark.soak
@hypothesis.settings(max_examples=5000, **ONCE)
@hypothesis.given(bytes_of_a_request)
def test_many_bytes_that_are_no_request(testnet, data):
    """The same by the thousand."""
    check_bytes(testnet, data)


# -- frames ----------------------------------------------------------------------------------------

words = st.one_of(st.sampled_from(['XBTUSD', 'trade', 'order:XBTUSD', 'quote:*', 'orderBook10', 'x', '', ':', 'é']
                                  + list(schema.TABLES)), st.text(max_size=6))
anything = st.recursive(st.one_of(words, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False)),
                        lambda inner: st.one_of(st.lists(inner, max_size=3),
                                                st.dictionaries(words, inner, max_size=2)), max_leaves=5)
commands = st.fixed_dictionaries({}, optional={
    'op': st.one_of(st.sampled_from(['subscribe', 'unsubscribe', 'authKeyExpires', 'cancelAllAfter', 'help', 'logout',
                                     'authKey', 'ping']), anything),
    'args': st.one_of(st.lists(words, max_size=3), anything)})
frames = st.one_of(commands.map(json.dumps), anything.map(json.dumps), words, st.sampled_from(['help', '{', '[[[']))


some_frames = st.lists(frames.filter(lambda text: text != 'ping'), min_size=1, max_size=8)


def check_frames(testnet, texts, is_known):
    """Send frames: each is answered, nothing is answered by a 5xx, and a ping after all of them comes back."""
    with Socket(testnet.ws_url, auth_headers('alice', 's') if is_known else None) as ws:
        ws.recv()
        for text in texts:
            ws.send(text)
        ws.send('ping')
        ws.until(lambda frame: frame == 'pong')
    answers = [frame for frame in ws.frames[1:-1] if isinstance(frame, dict) and 'table' not in frame]
    assert len(answers) >= len([text for text in texts if not is_quiet(text)])
    assert not [frame for frame in answers if frame.get('status', 400) >= 500], answers


@hypothesis.settings(max_examples=60, derandomize=True, **ONCE)
@hypothesis.given(some_frames, st.booleans())
def test_frames_of_any_kind(testnet, texts, is_known):
    """Commands that make sense and others, with and without a login."""
    check_frames(testnet, texts, is_known)


@pytest.mark.soak
@hypothesis.settings(max_examples=5000, **ONCE)
@hypothesis.given(some_frames, st.booleans())
def test_many_frames_of_any_kind(testnet, texts, is_known):
    """The same by the thousand."""
    check_frames(testnet, texts, is_known)


def is_quiet(text):
    """Tell whether a frame names no topics at all, so that there is nothing to answer."""
    try:
        command = json.loads(text)
    except ValueError:
        return False
    return isinstance(command, dict) and command.get('op') in ('subscribe', 'unsubscribe') and command.get('args') == []


def test_a_session_of_nothing_but_errors_is_closed(testnet):
    """Too many refused commands end a session, as BitMEX did; the next one is welcome."""
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        for _ in range(MOST_ERRORS):
            ws.send('nonsense')
        with pytest.raises(Exception, match='closed|lost|reset'):
            while True:
                ws.recv()
    with Socket(testnet.ws_url) as ws:
        assert ws.recv()['info']
