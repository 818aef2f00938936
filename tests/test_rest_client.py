"""Limiter, policy and waits around the round trips: over real sockets, on a clock that is moved by hand."""
import json
import logging
import random
import signal
import threading
import time

import pytest

import http_server
from market_maker.rest import transport
from market_maker.rest.client import Client, encoded, to_json
from market_maker.rest.transport import Response, Transport
from market_maker.utils.clock import Clock, ManualClock
from market_maker.utils.errors import (APIError, AuthenticationError, ConnectionLost, OrderRejected, OutcomeUnknown,
                                       Overloaded,
                                       RateLimited)

KEY, SECRET = 'LAqUlngMIQkIUjXMUreyu3qn', 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'
OVERLOADED = 'The system is currently overloaded. Please try again later.'


class Diary(list):
    """What was reported, as (level, text)."""

    def __call__(self, level, text, *args):
        self.append((level, text % args))

    def warnings(self):
        return [text for level, text in self if level == logging.WARNING]


class Case(object):
    """A client of a scripted server, whose waits take no time but are counted."""

    def __init__(self, server, **options):
        self.clock = ManualClock(time.time())
        self.diary = Diary()
        self.client = Client(Transport(server.url, KEY, SECRET), where='http://exchange.test', way_out='',
                             key='LAqU...', clock=self.clock,
                             rng=random.Random(1), report=self.diary, timeout=0.3, **options)
        self.request = self.client.request
        self._began = self.clock.monotonic()

    @property
    def waited(self):
        return self.clock.monotonic() - self._began


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture
def case(server):
    return Case(server)


def test_query_and_body_are_written_once(server, case):
    """Nested values are JSON; the time-out is the request's own; the expiry lies just behind it."""
    case.request('GET', 'order', {'filter': {'symbol': 'XBTUSD'}, 'count': 5, 'reverse': True, 'start': None})
    case.request('POST', '/order', body={'price': 219.0, 'symbol': 'XBTM15'})

    assert server.seen[0].path == '/api/v1/order?count=5&filter=%7B%22symbol%22%3A%22XBTUSD%22%7D&reverse=true'
    assert server.seen[1].data == {'price': 219.0, 'symbol': 'XBTM15'}
    assert 0 < int(server.seen[0].headers['api-expires']) - case.clock.time() < 5


@pytest.mark.parametrize('query, text', [
    (None, ''), ({}, ''), ({'a': None}, ''),
    ({'filter': '{"a": 1}'}, '?filter=%7B%22a%22%3A+1%7D'),
    ({'symbol': 'XBT:quarterly'}, '?symbol=XBT%3Aquarterly'),
    ([('b', 1), ('a', 2)], '?b=1&a=2'),
    ({'filter': {'clOrdID': ['mm_a/b+c']}}, '?filter=%7B%22clOrdID%22%3A%5B%22mm_a%2Fb%2Bc%22%5D%7D')])
def test_queries(query, text):
    """Text that is JSON already is left alone; slashes and plus signs of names survive."""
    assert encoded(query) == text


def test_numbers_of_numpy_are_numbers():
    """What looks like a number of numpy or of decimal is sent as one; what is none is refused."""
    import decimal

    class Numpys(object):
        def item(self):
            return 150
    assert to_json({'orderQty': Numpys(), 'price': decimal.Decimal('1.5')}) == '{"orderQty":150,"price":1.5}'
    for bad in (float('nan'), float('inf')):
        with pytest.raises(ValueError):
            to_json({'price': bad})
    with pytest.raises(TypeError):
        to_json({'price': object()})


def test_read_survives_trouble(server, case):
    """A 502 page, a reset, a stall, an overload and a body that is no JSON, one after the other: the fifth answer
    counts."""
    server.script = [http_server.html(502, '502 Bad Gateway'), http_server.reset, http_server.stall,
                     http_server.error(503, OVERLOADED),
                     http_server.answer([1])]
    assert case.request('GET', '/order') == [1]
    assert len(server.seen) == 5 and 2 < case.waited < 15
    assert len(case.diary.warnings()) == 4
    assert case.diary.warnings()[0].startswith('GET /order: 502 502 Bad Gateway; again in ')


def test_read_gives_up_in_the_end(server, case):
    """After five attempts the last outcome is raised."""
    server.default = http_server.reset
    with pytest.raises(ConnectionLost):
        case.request('GET', '/order')
    assert len(server.seen) == 5
    server.default = http_server.error(500, 'Server Error')
    with pytest.raises(APIError) as caught:
        case.request('GET', '/order', max_retries=0)
    assert len(server.seen) == 6 and caught.value.status == 500 and caught.value.response.text


@pytest.mark.parametrize('step', [http_server.reset, http_server.hang_up, http_server.half, http_server.stall,
                                  http_server.html(502, '502 Bad Gateway'), http_server.error(500, 'Server Error'),
                                  http_server.error(503, 'Service unavailable'), http_server.html(504, '504'),
                                  http_server.raw('<html>', 200)])
@pytest.mark.parametrize('verb', ['POST', 'PUT'])
def test_order_of_unknown_fate_is_sent_once(server, case, step, verb):
    """Whatever leaves it open whether an order was carried out, it is not sent again; the error names the order."""
    server.default = step
    with pytest.raises(OutcomeUnknown) as caught:
        case.request(verb, '/order', body={'clOrdID': 'mm_1'}, clOrdIDs=['mm_1'])
    assert len(server.seen) == 1 and caught.value.clOrdIDs == ['mm_1'] and '\n' not in str(caught.value)


def test_withdrawal_of_unknown_fate_is_sent_once(server, case):
    """So it is for anything that may happen once only."""
    server.default = http_server.reset
    with pytest.raises(OutcomeUnknown):
        case.request('POST', '/user/requestWithdrawal', body={'amount': 1})
    assert len(server.seen) == 1


def test_cancel_is_repeated_until_it_is_answered(server, case):
    """A cancel does no harm twice: seven failures are survived, quickly."""
    server.script = [http_server.reset, http_server.html(502, 'x'), http_server.stall, http_server.error(500, 'x'),
                     http_server.half,
                     http_server.error(503, OVERLOADED), http_server.error(503, 'Service unavailable'),
                     http_server.answer([{'orderID': '1'}])]
    assert case.request('DELETE', '/order', body={'orderID': '1'}) == [{'orderID': '1'}]
    assert case.waited < 13


def test_cancel_of_a_gone_order_returns_none(server, case):
    """404 is as good as done."""
    server.default = http_server.error(404, 'Not Found')
    assert case.request('DELETE', '/order', body={'orderID': '1'}) is None


def test_overload_is_waited_out(server, case):
    """An order that never reached the engine is sent again after half a second at least, three times in all."""
    server.script = [http_server.error(503, OVERLOADED)]
    server.default = http_server.answer({'orderID': '1'})
    assert case.request('POST', '/order', body={'clOrdID': 'a'}) == {'orderID': '1'}
    assert case.waited >= 0.5
    server.default = http_server.error(503, OVERLOADED)
    with pytest.raises(Overloaded):
        case.request('POST', '/order', body={'clOrdID': 'a'})
    assert len(server.seen) == 2 + 3


def test_rate_limit_with_retry_after_alone(server, case):
    """The wait is what Retry-After says, to the second, and everybody's: other calls keep silent as long, cancels do
    not."""
    server.script = [http_server.error(429, 'Rate limit exceeded', Retry_After='3')]
    assert case.request('POST', '/order', body={}) == []
    assert case.waited == pytest.approx(3, abs=0.01)

    server.script = [http_server.error(429, 'Rate limit exceeded', Retry_After='20')]
    with pytest.raises(RateLimited) as caught:
        case.request('POST', '/order', body={})
    assert caught.value.reset - case.client.now() == pytest.approx(20, abs=0.01)
    before = len(server.seen)
    with pytest.raises(RateLimited) as caught:
        case.request('PUT', '/order', body={})     # would have to wait longer than a price lives: not even sent
    assert len(server.seen) == before and 'another 20 s' in str(caught.value)
    assert case.request('GET', '/order') == []      # a read waits for it
    assert case.waited == pytest.approx(23, abs=0.01)


def test_what_is_tried_once_waits_no_longer_for_its_turn_than_for_its_answer(server, case):
    """Whoever asks again soon must not be held up by a long silence; a cancel waits for its own."""
    server.script = [http_server.error(429, 'Rate limit exceeded', Retry_After='30')]
    with pytest.raises(RateLimited):
        case.request('GET', '/order', max_retries=0, timeout=2.0)
    before, waited = len(server.seen), case.waited
    for verb, path in (('GET', '/order'), ('POST', '/order/cancelAllAfter')):
        with pytest.raises(RateLimited) as caught:
            case.request(verb, path, body={}, max_retries=0, timeout=2.0)
        assert 'another 30 s' in str(caught.value)
    assert len(server.seen) == before and case.waited == waited

    case.clock.advance(28.5)
    assert case.request('GET', '/order', max_retries=0, timeout=2.0) == []
    assert case.waited - waited == pytest.approx(30, abs=0.01)   # 28.5 of them by our own hand


def test_rate_limit_of_others_does_not_stop_cancels(server, case):
    """While orders have to be silent, a cancel goes out at once."""
    server.script = [http_server.error(429, 'Rate limit exceeded', Retry_After='30')]
    with pytest.raises(RateLimited):
        case.request('POST', '/order', body={}, max_retries=0)
    assert case.request('DELETE', '/order', body={'orderID': '1'}) == []
    assert case.waited == 0 and len(server.seen) == 2
    with pytest.raises(RateLimited):
        case.request('POST', '/order', body={})
    assert len(server.seen) == 2


def test_locked_out_address_keeps_silent(server, case):
    """After a page with 403 nothing is sent for a minute, cancels included, and each call says so in one line."""
    server.script = [http_server.html(403, '403 Forbidden')]
    with pytest.raises(RateLimited) as caught:
        case.request('GET', '/order')
    assert caught.value.status == 403 and 'locked out' in str(caught.value)
    with pytest.raises(RateLimited):
        case.request('POST', '/order', body={})
    assert len(server.seen) == 1
    assert case.request('DELETE', '/order', body={'orderID': '1'}) == []
    assert case.waited == pytest.approx(60, abs=0.01) and len(server.seen) == 2


def test_refused_key_ends_at_once(server, case):
    """401 is not repeated; the line shows the beginning of the key and never the secret."""
    server.default = http_server.error(401, 'Signature not valid.')
    with pytest.raises(AuthenticationError) as caught:
        case.request('GET', '/position')
    assert len(server.seen) == 1 and 'LAqU...' in str(caught.value)
    assert KEY not in str(caught.value) and SECRET not in str(caught.value)


@pytest.mark.parametrize('verb, path, body', [('GET', '/position', None), ('DELETE', '/order', {'orderID': '1'}),
                                              ('POST', '/order/cancelAllAfter', {'timeout': 60000})])
def test_an_exchange_that_was_started_anew_is_asked_again_once_it_knows_us(server, case, verb, path, body):
    server.script = [http_server.error(401, 'Invalid API Key.')]
    server.default = http_server.answer([])
    case.client.introduce = lambda: 'another'
    assert case.request(verb, path, body=body) == []
    assert len(server.seen) == 2 and case.waited == 0


@pytest.mark.parametrize('verb', ['POST', 'PUT'])
def test_an_order_for_a_market_that_is_gone_is_not_sent_to_the_next(server, case, verb):
    """Nothing was carried out, and the key is not to blame."""
    server.default = http_server.error(401, 'Invalid API Key.')
    case.client.introduce = lambda: 'another'
    with pytest.raises(ConnectionLost, match='{} /order is not carried out: .* was started anew'.format(verb)):
        case.request(verb, '/order', body={'clOrdID': 'a'})
    assert len(server.seen) == 1


@pytest.mark.parametrize('name, sent', [('', 1), ('another', 2)])
def test_a_key_that_is_refused_all_the_same_is_refused(server, case, name, sent):
    """By the exchange that we know, and by another one that we have been introduced to."""
    server.default = http_server.error(401, 'Invalid API Key.')
    case.client.introduce = lambda: name
    with pytest.raises(AuthenticationError):
        case.request('GET', '/position')
    assert len(server.seen) == sent


def test_wrong_clock_is_corrected(server, case):
    """A request that the exchange finds expired is sent once more with the exchange's time, and later ones have it
    from the start."""
    there = time.time() + 30
    message = 'This request has expired - `expires` is in the past. Current time: {}'.format(int(there))
    server.script = [http_server.raw(json.dumps({'error': {'message': message}}), 400, date=there)]
    server.default = http_server.raw('[]', date=there)
    assert case.request('POST', '/order', body={}) == []
    assert case.client.skew == pytest.approx(30, abs=2) and case.waited == 0
    assert 0 < int(server.seen[1].headers['api-expires']) - there < 6


def test_clock_is_corrected_before_it_hurts(server, case):
    """The Date header of any answer is enough; a second of doubt is left alone."""
    server.script = [http_server.raw('[]', date=time.time() + 0.9), http_server.raw('[]', date=time.time() - 3600),
                     http_server.raw('[]', date=time.time())]
    skews = []
    for _ in range(3):
        case.request('GET', '/order')
        skews.append(case.client.skew)
    assert skews[0] == 0 and skews[1] == pytest.approx(-3600, abs=2) and skews[2] == 0


def test_request_that_expires_again_fails(server, case):
    """Correcting the clock is tried once."""
    server.default = http_server.error(400,
                                       'This request has expired - `expires` is in the past. Current time: 1516534870')
    with pytest.raises(APIError):
        case.request('POST', '/order', body={})
    assert len(server.seen) == 2


def test_duplicate_after_a_repetition_is_looked_up(server, case):
    """The second attempt is told that the name exists: the first has arrived after all, and the order must be looked
    up."""
    server.script = [http_server.error(503, OVERLOADED), http_server.error(400, 'Duplicate clOrdID')]
    with pytest.raises(OutcomeUnknown) as caught:
        case.request('POST', '/order', body={'clOrdID': 'mm_1'}, clOrdIDs=['mm_1'])
    assert caught.value.clOrdIDs == ['mm_1']
    server.script = [http_server.error(400, 'Duplicate clOrdID')] * 2
    with pytest.raises(OrderRejected):
        case.request('POST', '/order', body={'clOrdID': 'mm_1'}, clOrdIDs=['mm_1'])
    with pytest.raises(OutcomeUnknown):
        case.request('POST', '/order', body={'clOrdID': 'mm_1'}, clOrdIDs=['mm_1'], sent_before=True)


def test_limits_in_the_headers_slow_us_down(server, case):
    """Ten orders a second go out, one kept for cancels, and none is refused."""
    server.default = http_server.answer({},
                                        **{'x-ratelimit-limit': '120', 'x-ratelimit-remaining': '100',
                                           'x-ratelimit-remaining-1s': '2'})
    for _ in range(3):
        case.request('POST', '/order', body={})
    assert case.waited < 0.3
    server.default = http_server.answer({},
                                        **{'x-ratelimit-limit': '120', 'x-ratelimit-remaining': '0',
                                           'x-ratelimit-remaining-1s': '0'})
    case.request('GET', '/order')
    before = case.waited
    case.request('GET', '/order')
    assert case.waited - before == pytest.approx(6.5, abs=0.1)   # 12 of 120 a minute are the cancels', one is ours


def test_stop_ends_a_wait_at_once(server):
    """A call that waits to repeat a request gives up when the stop comes, with the error that it was about to
    repair."""
    stop = threading.Event()
    diary = Diary()
    client = Client(Transport(server.url), stop=stop, timeout=1, report=diary)
    server.default = http_server.error(429, 'Rate limit exceeded', Retry_After='9')
    threading.Thread(target=lambda: http_server.wait_for(diary.warnings) or stop.set()).start()
    began = time.monotonic()
    with pytest.raises(RateLimited):
        client.request('POST', '/order', body={})
    assert time.monotonic() - began < 5


def test_calls_made_after_the_stop_still_wait_and_repeat(server):
    """Cleaning up happens after the stop: its cancels are repeated as ever."""
    stop = threading.Event()
    stop.set()
    clock = ManualClock(time.time())
    client = Client(Transport(server.url), stop=stop, clock=clock, timeout=1)
    server.script = [http_server.error(503, 'Service unavailable'), http_server.answer([{'orderID': '1'}])]
    assert client.request('DELETE', '/order', body={'orderID': '1'}) == [{'orderID': '1'}]


@pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='this system has no timer signals')
def test_signal_handler_ends_a_wait_and_a_round_trip(server):
    """SystemExit raised by a signal's handler in the main thread passes through, and the client can be used again."""
    def leave(*_):
        raise SystemExit(5)
    client = Client(Transport(server.url), timeout=20)
    before = signal.signal(signal.SIGALRM, leave)
    try:
        for step in (http_server.stall, http_server.error(429, 'slow down', Retry_After='9')):
            server.script = [step]
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(SystemExit):
                client.request('GET', '/order')
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    server.script = []
    assert client.request('DELETE', '/order', body={'orderID': '1'}) == []


def test_transport_can_be_exchanged():
    """Whatever has send() can stand in for HTTP, such as a backtest."""
    class Simulated(object):
        def send(self, request):
            assert (request.verb, request.path, request.body) == ('PUT', '/order?a=1', '{"x":1}')
            return Response(200, {}, '{"orderID":"7"}')
    assert Client(Simulated()).request('PUT', '/order', {'a': 1}, {'x': 1}) == {'orderID': '7'}


def test_nothing_secret_is_reported(server):
    """At DEBUG, with failures of all sorts, neither secret nor signature nor one-time password nor key is in any
    line or error."""
    diary = Diary()
    client = Client(Transport(server.url, KEY, SECRET), key='LAqU...', report=diary, timeout=0.2,
                    clock=ManualClock(time.time()))
    server.script = [http_server.reset, http_server.stall, http_server.error(500, 'x'),
                     http_server.error(401, 'Signature not valid.'),
                     http_server.error(400, 'Invalid otpToken'), http_server.html(403, '403')]
    texts = []
    for verb, path, body in (('GET', '/order', None),
                             ('POST', '/user/requestWithdrawal', {'otpToken': '271828', 'amount': 1}),
                             ('GET', '/position', None)):
        try:
            client.request(verb, path, body=body)
        except Exception as error:
            texts.append('{} {!r}'.format(error, error))
    texts += [text for _, text in diary]
    assert len(texts) >= 8 and any('"amount": 1' in text for text in texts)
    for seen in server.seen:
        for secret in (SECRET, KEY, seen.headers['api-signature'], '271828'):
            assert not any(secret in text for text in texts)


def test_debug_lines_are_not_made_when_they_are_off(server):
    """A body is rendered for the log only if somebody reads it."""
    rendered = []
    client = Client(Transport(server.url), report=lambda level, text, *args: rendered.append((level, args)))
    client.request('POST', '/order', body={'price': 1})
    assert rendered[0][0] == logging.DEBUG and str(rendered[0][1][2]) == '{"price":1}'


def test_real_clock_is_the_default():
    """Without a clock the machine's own is used."""
    assert isinstance(Client(None).clock, Clock) and transport.UNSENT


def test_slow_answers(server, case):
    """An answer within the time-out is waited for; a call may have a time-out of its own."""
    server.script = [http_server.after(0.15, http_server.answer([1])), http_server.after(0.45, http_server.answer([2]))]
    assert case.request('GET', '/order') == [1]
    assert case.request('GET', '/order', timeout=5) == [2]
    server.script = [http_server.after(0.45, http_server.answer([3]))]
    with pytest.raises(OutcomeUnknown):
        case.request('PUT', '/order', body={})
