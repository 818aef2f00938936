"""The table from outcome and kind of request to the next step, every cell of it."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_maker.rest import retry, transport
from market_maker.rest.retry import AMEND, CANCEL, CREATE, KINDS, ONCE, READ, SET, Answer, Attempt, Fail, LookUp, Wait
from market_maker.rest.transport import Response
from market_maker.utils.errors import (APIError, AuthenticationError, ConnectionLost, InsufficientFunds, OrderNotFound,
                                       OrderRejected,
                                       OutcomeUnknown, Overloaded, RateLimited)

NOW = 1700000000.0
POLICY = retry.Policy('https://exchange.test', '', 'LAqU...', lambda: 0.0)
FIRST = Attempt(1, None, 0, False)
LAST = Attempt(99, None, 0, False)
LABELS = {READ: 'GET /order', CREATE: 'POST /order', AMEND: 'PUT /order', CANCEL: 'DELETE /order',
          SET: 'POST /position/leverage',
          ONCE: 'POST /user/requestWithdrawal'}


def said(status, message, name='HTTPError', **headers):
    return Response(status, {key.replace('_', '-'): value for key, value in headers.items()},
                    json.dumps({'error': {'message': message, 'name': name}}))


def page(status, title):
    return Response(status, {}, '<html>\r\n<head><title>{}</title></head><body>x</body></html>'.format(title))


EXAMPLES = {  # outcome -> what comes back in that case, as recorded or documented
    'answered': [Response(200, {}, '{"orderID":"1"}'), Response(200, {}, '[]')],
    'unsent': [Response(error=kind, detail='why')
               for kind in (transport.REFUSED, transport.DNS, transport.UNSENT_TIMEOUT, transport.PROXY)],
    'untrusted': [Response(error=transport.TLS, detail='self signed certificate')],
    'lost': [Response(error=transport.LOST_TIMEOUT), Response(error=transport.RESET)],
    'garbled': [Response(200, {}, '<html>maintenance</html>'), Response(200, {}, ''), Response(204, {}, '')],
    'broken': [said(500, 'Server Error'), page(502, '502 Bad Gateway'), page(504, '504 Gateway Time-out'),
               page(503, 'Service Unavailable'),
               said(503, 'Service unavailable'), page(520, 'Unknown'), Response(500)],
    'shed': [said(503, 'The system is currently overloaded. Please try again later.')],
    'limited': [said(429, 'Rate limit exceeded, retry in 1 seconds.', 'RateLimitError', retry_after='1'),
                Response(429, {}, 'slow down')],
    'banned': [page(403, '403 Forbidden'), Response(403)],
    'key refused': [said(401, 'Signature not valid.'), said(401, 'Invalid API Key.'),
                    said(401, 'Authorization Required'), page(401, '401'),
                    said(403, 'This key is disabled.'), said(403, 'Access Denied'),
                    said(403, 'This IP address is not allowed to use this key.')],
    'expired': [said(400, 'This request has expired - `expires` is in the past. Current time: 1516534870')],
    'conflict': [said(409, 'Conflict')],
    'not found': [said(404, 'Not Found'), page(404, '404'), said(400, 'Invalid orderID'),
                  said(400, 'Invalid origClOrdID')],
    'finished': [said(400, 'Invalid ordStatus'), said(400, 'Invalid ordStatus: Filled')],
    'duplicate': [said(400, 'Duplicate clOrdID'), said(400, 'duplicate clordid')],
    'funds': [said(400, 'Account has insufficient Available Balance, 575375000 XBt required', 'ValidationError'),
              said(400, 'Account has insufficient Available Balance')],
    'rejected': [said(400, 'Invalid price tickSize'), page(400, 'Bad Request'), said(405, 'Method Not Allowed'),
                 said(418, 'teapot'),
                 said(400, 'Account is restricted'), Response(101)],
    'redirected': [Response(301, {'Location': 'https://www.bitmex.com/api/v1/order'}), Response(302)],
}
CASES = [(outcome, kind, response) for outcome in EXAMPLES for response in EXAMPLES[outcome] for kind in KINDS]


def step_of(kind, response, attempt=FIRST, policy=POLICY):
    return retry.after(policy, kind, LABELS[kind], response, attempt, NOW)


@pytest.mark.parametrize('outcome, kind, response', CASES)
def test_every_cell_of_the_table_is_obeyed(outcome, kind, response):
    """Each outcome is recognised in each of its forms, and each kind of request takes the step that the table names."""
    action = retry.TABLE[outcome][KINDS.index(kind)]

    step = step_of(kind, response)

    assert retry.outcome_of(response) == outcome
    expected = {'answer': Answer, 'gone': Answer, 'retry': Wait, 'obey': Wait, 'resend': Wait, 'look up': LookUp,
                'hold': Fail,
                'unknown': Fail, 'fail': Fail, 'adopt': Fail}
    assert type(step) is expected[action]
    if action == 'unknown':
        assert isinstance(step.error, OutcomeUnknown)


@pytest.mark.parametrize('outcome, kind, response', CASES)
def test_nothing_is_repeated_for_ever(outcome, kind, response):
    """After the last attempt no cell says Wait, and the error says what happened on one line."""
    step = step_of(kind, response, Attempt(99, None, 1, False))

    assert not isinstance(step, Wait)
    if isinstance(step, (Fail, LookUp)):
        assert str(step.error) and '\n' not in str(step.error)


def test_documentation_shows_the_table_that_is_used():
    """The table in the module's words and the one in its code are the same."""
    text = retry.__doc__
    for outcome, actions in retry.TABLE.items():
        line = next(line for line in text.splitlines() if line.startswith('    ' + outcome + ' '))
        for action in reversed(actions):
            assert line.endswith(action), (outcome, line)
            line = line[:-len(action)].rstrip()


def test_table_knows_an_example_of_each_outcome():
    """The examples above leave no outcome out."""
    assert set(EXAMPLES) == set(retry.TABLE)


@pytest.mark.parametrize('verb, path, kind', [
    ('GET', '/order?filter=x', READ), ('GET', '/user/margin', READ), ('POST', '/order', CREATE),
    ('POST', '/order/', CREATE),
    ('PUT', '/order', AMEND), ('DELETE', '/order', CANCEL), ('DELETE', '/order/all?symbol=XBTUSD', CANCEL),
    ('POST', '/position/leverage', SET), ('POST', '/position/isolate', SET), ('POST', '/order/cancelAllAfter', SET),
    ('POST', '/user/requestWithdrawal', ONCE), ('POST', '/position/transferMargin', ONCE),
    ('POST', '/order/bulk', ONCE),
    ('POST', '/order/closePosition', ONCE), ('POST', '/anything', ONCE)])
def test_kind_of_request(verb, path, kind):
    """What a repetition would do decides the kind."""
    assert retry.kind_of(verb, path) == kind


def test_what_may_have_been_carried_out_is_never_repeated():
    """No outcome with a doubt repeats a create, an amend, or a request for once only."""
    for outcome in ('lost', 'garbled', 'broken'):
        for kind in (CREATE, AMEND, ONCE):
            for response in EXAMPLES[outcome]:
                assert not isinstance(step_of(kind, response), Wait)


@pytest.mark.parametrize('random', [0.0, 0.5, 0.999999])
@pytest.mark.parametrize('kind', KINDS)
def test_overload_waits_half_a_second_at_least(kind, random):
    """Each pause after an overload is half a second or more, whatever the jitter, and they grow."""
    policy = POLICY._replace(random=lambda: random)
    pauses = [step_of(kind, EXAMPLES['shed'][0], Attempt(number, None, 0, False), policy).seconds for number in (1, 2)]
    assert pauses[0] >= 0.5 and pauses[1] > pauses[0]
    assert isinstance(step_of(kind, EXAMPLES['shed'][0], LAST).error, Overloaded)


@given(number=st.integers(1, 50), random=st.floats(0, 0.999),
       outcome=st.sampled_from(['unsent', 'lost', 'shed', 'broken']),
       kind=st.sampled_from(KINDS))
def test_pauses_are_bounded(number, random, outcome, kind):
    """No pause between attempts is longer than a dozen seconds, nor, for a cancel, than three."""
    seconds = retry.pause(POLICY._replace(random=lambda: random), kind, outcome, number)
    assert 0.2 < seconds <= (3 if kind == CANCEL else 12)


def test_given_bound_replaces_the_policys_own():
    """With a limit of one attempt the first failure is final."""
    assert isinstance(step_of(READ, EXAMPLES['broken'][0], Attempt(1, 1, 0, False)), Fail)
    assert isinstance(step_of(READ, EXAMPLES['broken'][0], Attempt(9, 10, 0, False)), Wait)


@pytest.mark.parametrize('headers, message, seconds', [
    ({'Retry-After': '7'}, 'Rate limit exceeded, retry in 1 seconds.', 7.0),
    # recorded: a reset three weeks away
    ({'Retry-After': '1', 'x-ratelimit-reset': str(int(NOW) + 1764252)}, '', 1.0),
    ({'x-ratelimit-reset': str(int(NOW) + 3)}, '', 3.0),
    ({'X-RateLimit-Reset': str(int(NOW) - 3)}, '', 1.0),
    ({}, 'Rate limit exceeded, retry in 5 seconds.', 5.0),
    ({}, 'Rate-limit has been reached: usage=60, limit=60', 1.0),
    ({'Retry-After': 'soon'}, '', 1.0)])
def test_rate_limit_is_obeyed_to_the_second(headers, message, seconds):
    """Retry-After counts first, then the text, then the reset; a second where none says anything."""
    step = step_of(CREATE, Response(429, headers, json.dumps({'error': {'message': message}})))
    assert step.seconds == pytest.approx(seconds)


@pytest.mark.parametrize('kind, patience', [(CREATE, 10), (AMEND, 10), (READ, 60), (CANCEL, 60)])
def test_long_silence_is_not_waited_for(kind, patience):
    """Beyond a call's patience it fails at once with the moment of the reset, and nothing else is sent until then
    either."""
    assert isinstance(step_of(kind, Response(429, {'Retry-After': str(patience)})), Wait)
    step = step_of(kind, Response(429, {'Retry-After': str(patience + 1)}))
    assert isinstance(step.error, RateLimited) and step.error.reset == NOW + patience + 1 and step.hold == patience + 1


def test_ban_silences_everything():
    """A page of the gateway with 403 says that the address is locked out: nothing is sent for a minute, or as long
    as it says."""
    step = step_of(CANCEL, page(403, '403 Forbidden'))
    assert isinstance(step.error, RateLimited) and step.error.status == 403 and step.hold == 60
    assert 'locked out' in str(step.error) and '60 s' in str(step.error)
    assert step_of(READ, Response(403, {'Retry-After': '5'}, 'no')).hold == 5


@pytest.mark.parametrize('response', EXAMPLES['key refused'])
@pytest.mark.parametrize('kind', KINDS)
def test_refused_key_is_final(response, kind):
    """It is told with the beginning of the key, the exchange's words and what to check."""
    error = step_of(kind, response).error
    assert isinstance(error, AuthenticationError)
    assert 'LAqU...' in str(error) and 'https://exchange.test' in str(error) and 'API_SECRET' in str(error)


def test_duplicate_name_is_success_only_if_we_sent_it_before():
    """On a repetition, or when an earlier call may have sent it, the order is looked up; otherwise the order is
    refused."""
    response = EXAMPLES['duplicate'][0]
    assert isinstance(step_of(CREATE, response, Attempt(2, None, 0, False)), LookUp)
    assert isinstance(step_of(CREATE, response, Attempt(1, None, 0, True)), LookUp)
    step = step_of(CREATE, response)
    assert isinstance(step, Fail)
    assert isinstance(step.error, OrderRejected) and step.error.message == 'Duplicate clOrdID'


def test_expired_request_is_sent_once_more():
    """The clock is corrected in between; if that does not help, it fails."""
    response = EXAMPLES['expired'][0]
    assert step_of(CREATE, response).seconds == 0
    assert isinstance(step_of(CREATE, response, Attempt(2, None, 1, False)).error, APIError)
    assert retry.server_time(response) == 1516534870.5


@pytest.mark.parametrize('date, seconds',
                         [('Thu, 29 Nov 2018 05:03:17 GMT', 1543467797.5), ('', None), ('yesterday', None)])
def test_servers_time_is_read_from_its_date(date, seconds):
    """The Date header is cut to the second, so its middle is taken."""
    assert retry.server_time(Response(200, {'Date': date}, '{}')) == seconds


def test_missing_funds_come_with_their_numbers():
    """The amount and its unit can be read from the error."""
    error = step_of(CREATE, EXAMPLES['funds'][0]).error
    assert isinstance(error, InsufficientFunds) and (error.required, error.currency) == (575375000, 'XBt')
    assert error.status == 400 and error.name == 'ValidationError'
    error = step_of(CREATE, EXAMPLES['funds'][1]).error
    assert (error.required, error.currency) == (None, '')


def test_late_amend_is_told_from_a_refused_one():
    """An order that rests no more gives an APIError with the exchange's words; a bad amend is OrderRejected; an
    unknown one OrderNotFound."""
    late = step_of(AMEND, said(400, 'Invalid ordStatus: Filled')).error
    assert type(late) is APIError and late.message == 'Invalid ordStatus: Filled'
    assert type(step_of(AMEND, said(400, 'Invalid price')).error) is OrderRejected
    assert type(step_of(AMEND, said(400, 'Invalid orderID')).error) is OrderNotFound
    assert type(step_of(AMEND, said(404, 'Not Found')).error) is OrderNotFound


def test_cancel_of_a_gone_order_is_no_error():
    """404 on DELETE means that there is nothing left to cancel."""
    assert step_of(CANCEL, said(404, 'Not Found')) == Answer(None)


def test_lost_connection_names_the_exchange_and_the_way_out():
    """One line says where, why, and what to do."""
    policy = POLICY._replace(way_out='use the other one')
    error = step_of(READ, Response(error=transport.DNS, detail='Name or service not known'), LAST, policy).error
    assert isinstance(error, ConnectionLost)
    assert str(error) == 'cannot reach https://exchange.test (Name or service not known): use the other one'
    error = step_of(READ, Response(error=transport.LOST_TIMEOUT, detail='no answer in time'), LAST, policy).error
    assert str(error) == 'GET /order: no answer from https://exchange.test (no answer in time): use the other one'


def test_answers_that_are_no_json_are_shown_shortly():
    """A page where data should be is told with its beginning; a gateway's page with its title."""
    error = step_of(READ, Response(200, {}, '<html>' + 'x' * 5000), LAST).error
    assert 'no JSON' in str(error) and len(str(error)) < 200
    assert str(step_of(READ, page(502, '502 Bad Gateway'), LAST).error) == 'GET /order: 502 502 Bad Gateway'
    assert 'https://www.bitmex.com/api/v1/order' in str(step_of(READ, EXAMPLES['redirected'][0]).error)


@pytest.mark.parametrize('body',
                         [b'', b'null', b'[]', b'"text"', b'{"error":null}', b'{"error":5}', b'{"error":{}}',
                          b'\xff\xfe', b'{'])
@pytest.mark.parametrize('status', [400, 401, 403, 404, 429, 500, 503])
def test_odd_error_bodies_do_no_harm(body, status):
    """Whatever a gateway invents as a body, each kind of request finds its step."""
    for kind in KINDS:
        assert step_of(kind, Response(status, {}, body)) is not None


@pytest.mark.parametrize('row, amendment, applied', [
    ({'orderQty': 100, 'price': 5.0}, {'orderQty': 100, 'price': 5}, True),
    ({'orderQty': 100, 'price': 5.0}, {'orderQty': 200}, False),
    ({'orderQty': 100, 'price': 5.0}, {'price': 5.5}, False),
    ({'orderQty': 100}, {'price': 5.5}, False),
    ({'orderQty': 100, 'leavesQty': 50}, {'leavesQty': 50}, False),   # a fill would look the same
    ({'orderQty': 100}, {}, False)])
def test_amendment_is_recognised_in_the_row(row, amendment, applied):
    """What was asked for must be there."""
    assert retry.is_applied(row, amendment) is applied


def test_unix_time():
    """Time stamps are read to the millisecond; none counts as new."""
    assert retry.unix_time('2018-11-29T05:03:17.250Z') == 1543467797.25
    assert retry.unix_time('2018-11-29T05:03:17Z') == 1543467797
    assert retry.unix_time(None) == float('inf')
