"""What to do after a round trip: one table from outcome and kind of request to the next step.  Pure.

The question that the table answers is whether the exchange can have carried the request out.  What it certainly did not
carry out may be sent again; what it may have carried out is sent again only where a second time does no harm, and is
looked up otherwise.

Kinds of request::

    read      GET
    create    POST /order
    amend     PUT /order
    cancel    DELETE
    set       POST that puts something into a state (leverage, isolation, the dead man's switch): twice is like once
    once      every other POST or PUT, such as a withdrawal: never repeated when in doubt

Outcomes, and the steps (TABLE)::

    outcome       what came back                                   read    create   amend    cancel  set     once
    answered      2xx with JSON                                    answer  answer   answer   answer  answer  answer
    unsent        no connection: refused, no address, time-out     retry   retry    retry    retry   retry   retry
    untrusted     the server's certificate is not trusted          fail    fail     fail     fail    fail    fail
    lost          time-out or broken connection after sending      retry   look up  look up  retry   retry   unknown
    garbled       2xx, but no JSON                                 retry   look up  look up  retry   retry   unknown
    broken        5xx, but for the next one                        retry   look up  look up  retry   retry   unknown
    shed          503 "overloaded": never reached the engine       retry   retry    retry    retry   retry   retry
    limited       429                                              obey    obey     obey     obey    obey    obey
    banned        403 without a message of the API                 hold    hold     hold     hold    hold    hold
    key refused   401; 403 with a message of the API               fail    fail     fail     fail    fail    fail
    expired       400 "expires is in the past"                     resend  resend   resend   resend  resend  resend
    conflict      409                                              retry   fail     fail     retry   retry   fail
    not found     404; 400 "Invalid orderID", "Invalid origClOrdID"  fail  fail     fail     gone    fail    fail
    finished      400 "Invalid ordStatus": the order rests no more  fail   fail     fail     gone    fail    fail
    duplicate     400 "Duplicate clOrdID"                          fail    adopt    fail     fail    fail    fail
    funds         400 "insufficient Available Balance"             fail    fail     fail     fail    fail    fail
    rejected      every other 4xx                                  fail    fail     fail     fail    fail    fail
    redirected    3xx                                              fail    fail     fail     fail    fail    fail

Steps::

    answer   hand the answer on
    gone     the order to cancel rests no more: as good as cancelled, the answer is None
    retry    wait with growing, jittered pauses (after an overload half a second at least), at most ATTEMPTS times,
             then fail
    obey     wait as long as Retry-After or x-ratelimit-reset say; fail at once with RateLimited beyond PATIENCE
    hold     fail with RateLimited, and send nothing at all for that long
    resend   correct our clock by the server's and send once more
    look up  ask the exchange for the order by its clOrdID before anything else; OutcomeUnknown if that settles nothing
    adopt    look up where we may have sent this clOrdID before, or drew it at random (the order is there), else fail
    unknown  fail with OutcomeUnknown
    fail     raise the error of the outcome
"""
from __future__ import absolute_import

import math
import re
from calendar import timegm
from collections import OrderedDict, namedtuple
from email.utils import parsedate_tz
from typing import Any, Optional, Tuple  # noqa: F401

from market_maker.rest import transport
from market_maker.rest.transport import Response
from market_maker.utils.errors import (APIError, AuthenticationError, ConnectionLost, InsufficientFunds,  # noqa: F401
                                       MarketMakerError, OrderNotFound, OrderRejected, OutcomeUnknown, Overloaded,
                                       RateLimited)

READ, CREATE, AMEND, CANCEL, SET, ONCE = KINDS = ('read', 'create', 'amend', 'cancel', 'set', 'once')

TABLE = OrderedDict([
    # outcome        read      create     amend      cancel    set       once
    ('answered',    ('answer', 'answer',  'answer',  'answer', 'answer', 'answer')),
    ('unsent',      ('retry',  'retry',   'retry',   'retry',  'retry',  'retry')),
    ('untrusted',   ('fail',   'fail',    'fail',    'fail',   'fail',   'fail')),
    ('lost',        ('retry',  'look up', 'look up', 'retry',  'retry',  'unknown')),
    ('garbled',     ('retry',  'look up', 'look up', 'retry',  'retry',  'unknown')),
    ('broken',      ('retry',  'look up', 'look up', 'retry',  'retry',  'unknown')),
    ('shed',        ('retry',  'retry',   'retry',   'retry',  'retry',  'retry')),
    ('limited',     ('obey',   'obey',    'obey',    'obey',   'obey',   'obey')),
    ('banned',      ('hold',   'hold',    'hold',    'hold',   'hold',   'hold')),
    ('key refused', ('fail',   'fail',    'fail',    'fail',   'fail',   'fail')),
    ('expired',     ('resend', 'resend',  'resend',  'resend', 'resend', 'resend')),
    ('conflict',    ('retry',  'fail',    'fail',    'retry',  'retry',  'fail')),
    ('not found',   ('fail',   'fail',    'fail',    'gone',   'fail',   'fail')),
    ('finished',    ('fail',   'fail',    'fail',    'gone',   'fail',   'fail')),
    ('duplicate',   ('fail',   'adopt',   'fail',    'fail',   'fail',   'fail')),
    ('funds',       ('fail',   'fail',    'fail',    'fail',   'fail',   'fail')),
    ('rejected',    ('fail',   'fail',    'fail',    'fail',   'fail',   'fail')),
    ('redirected',  ('fail',   'fail',    'fail',    'fail',   'fail',   'fail')),
])

ATTEMPTS = {READ: 5, CREATE: 3, AMEND: 3, CANCEL: 8, SET: 5, ONCE: 3}  # sends of one request, the first one included
# Seconds that one call waits for a limit at most: a price is stale long before a minute is over.
PATIENCE = {READ: 60, CREATE: 10, AMEND: 10, CANCEL: 60, SET: 60, ONCE: 60}
FIRST_PAUSE = 0.5      # seconds before the second attempt, before jitter; doubles from attempt to attempt
LONGEST_PAUSE = 8.0    # seconds ...
LONGEST_CANCEL_PAUSE = 2.0  # ... and for cancels, which may not wait long
LEAST_AFTER_OVERLOAD = 0.5  # seconds (BitMEX, REST API guide: wait half a second at least after a 503)
LEAST_AFTER_LIMIT = 1.0     # seconds to wait after a 429 that does not say how long
BAN_PAUSE = 60         # seconds of silence after a ban that does not say how long it lasts (an hour as a rule)
LOOKS = (0.0, 0.3, 0.7, 1.5)  # seconds before each look for an order whose fate is unknown

Answer = namedtuple('Answer', 'data')
Answer.__doc__ = """The call is over and returns ``data``."""
Wait = namedtuple('Wait', 'seconds reason error')
Wait.__doc__ = """Send the same request again after ``seconds``; raise ``error`` instead if that is not possible."""
Fail = namedtuple('Fail', 'error hold')
Fail.__doc__ = """Raise ``error``; send nothing at all for ``hold`` seconds (0: no such rule)."""
LookUp = namedtuple('LookUp', 'error')
LookUp.__doc__ = """It may have been carried out: look the order up; ``error`` says what is known until then."""

Attempt = namedtuple('Attempt', 'number limit resends sent_before')
Attempt.__doc__ = """How far one call has come.

``number`` counts its sends from 1; ``limit`` is how many there may be (None: ATTEMPTS); ``resends`` counts those after
a correction of the clock; ``sent_before`` tells that an earlier call may have sent the same clOrdID.
"""

Policy = namedtuple('Policy', 'where way_out key random')
Policy.__doc__ = """What error texts and pauses need to know.

``where`` names the exchange ('http://127.0.0.1:8765'); ``way_out`` is what a user can do when it is out of reach, or
''; ``key`` is the beginning of the key ('LAqU...'), or ''; ``random`` is a callable that returns a float in [0, 1).
"""

_SETTERS = ('/position/isolate', '/position/leverage', '/position/riskLimit', '/position/crossLeverage',
            '/order/cancelAllAfter', '/user/marginingMode', '/user/positionMode')


def kind_of(verb: str, path: str) -> str:
    """Return the kind of a request; ``path`` begins after /api/v1 with a slash and may carry a query."""
    path = path.partition('?')[0].rstrip('/')
    if verb == 'GET':
        return READ
    if verb == 'DELETE':
        return CANCEL
    if path == '/order':
        return CREATE if verb == 'POST' else AMEND
    return SET if path in _SETTERS else ONCE


def after(policy: Any, kind: str, label: str, response: Response, attempt: Any, now: float) -> Any:
    """Return the step that follows: Answer, Wait, Fail or LookUp.

    ``label`` names the request in error texts ('POST /order'), ``now`` is the exchange's time in Unix seconds.
    """
    outcome = outcome_of(response)
    action = TABLE[outcome][KINDS.index(kind)]
    if action == 'answer':
        return Answer(response.data)
    if action == 'gone':
        return Answer(None)
    error = _error(policy, outcome, kind, label, response, now)
    if action == 'retry':
        return _retry(policy, outcome, kind, response, attempt, error)
    if action == 'obey':
        return _obey(kind, attempt, error, now)
    if action == 'hold':
        return Fail(error, hold=error.reset - now)
    if action == 'resend':
        return Wait(0.0, 'our clock was corrected', error) if attempt.resends == 0 else Fail(error, 0)
    if action == 'look up' or action == 'adopt' and (attempt.sent_before or attempt.number > 1):
        return LookUp(error)
    if action == 'unknown':
        return Fail(OutcomeUnknown('{}; it may have been carried out: check before you repeat it'.format(error)), 0)
    return Fail(error, 0)


def outcome_of(response: Response) -> str:
    """Return the outcome's name, a key of TABLE."""
    if response.error is not None:
        if response.error == transport.TLS:
            return 'untrusted'
        return 'unsent' if response.error in transport.UNSENT else 'lost'
    status = response.status
    if 200 <= status < 300:
        return 'answered' if response.is_json else 'garbled'
    if 300 <= status < 400:
        return 'redirected'
    name, message = error_of(response)
    if status >= 500:
        return 'shed' if status == 503 and 'overloaded' in message.lower() else 'broken'
    if status == 403 and not message:
        return 'banned'
    for statuses, words, outcome in _REFUSALS:
        if status in statuses and words in message.lower():
            return outcome
    return 'rejected'


# First match wins: statuses, words of the message in lower case, outcome (BitMEX, REST API message format).
_REFUSALS = (
    ((429,), '', 'limited'),
    ((400, 401), 'expires` is in the past', 'expired'),
    ((401, 403), '', 'key refused'),
    ((404,), '', 'not found'),
    ((409,), '', 'conflict'),
    ((400,), 'duplicate clordid', 'duplicate'),
    ((400,), 'invalid ordstatus', 'finished'),
    ((400,), 'invalid orderid', 'not found'),
    ((400,), 'invalid origclordid', 'not found'),
    ((400,), 'insufficient available balance', 'funds'),
)


def error_of(response: Response) -> Tuple[str, str]:
    """Return (name, message) of BitMEX's error body; two empty strings for any other body, such as a gateway's HTML."""
    try:
        error = response.data['error']
        if isinstance(error, str):
            return '', error
        return str(error.get('name', '')), str(error.get('message', ''))
    except (ValueError, LookupError, TypeError, AttributeError):
        return '', ''


def seconds_to_wait(response: Response, now: float) -> float:
    """Return how long a 429 or a ban asks us to wait, in seconds; 0 where it does not say.

    Retry-After is a span and therefore free of clock errors; x-ratelimit-reset, a moment, is read only where that is
    missing.
    """
    for value in (response.headers.get('retry-after'), _group(r'retry in (\d+)', error_of(response)[1])):
        try:
            return max(0.0, float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
    try:
        return max(0.0, float(response.headers['x-ratelimit-reset']) - now)
    except (KeyError, ValueError):
        return 0.0


def server_time(response: Response) -> Optional[float]:
    """Return the exchange's time when it answered, in Unix seconds, or None.

    It stands in the complaint about ours, or in the Date header; both are cut to the second, so half of one is added.
    """
    current = _group(r'current time: (\d+)', error_of(response)[1].lower()) if response.status in (400, 401) else None
    if current:
        return float(current) + 0.5
    date = parsedate_tz(response.headers.get('date') or '')
    return timegm(date[:9]) - (date[9] or 0) + 0.5 if date else None  # type: ignore[arg-type]


def is_applied(row: Any, amendment: Any) -> bool:
    """Tell whether an order row shows what an amendment asked for (of leavesQty nobody can: fills change it too)."""
    fields = [name for name in ('orderQty', 'price', 'stopPx', 'pegOffsetValue') if amendment.get(name) is not None]
    same = all(_same(row.get(name), amendment[name]) for name in fields)
    return same and bool(fields) and 'leavesQty' not in amendment


def is_finished(row: Any) -> bool:
    """Tell whether an order row is terminated: it rests no more and never will."""
    return row.get('ordStatus') in ('Filled', 'Canceled', 'Rejected', 'Expired', 'DoneForDay')


def pause(policy: Any, kind: str, outcome: str, number: int) -> float:
    """Return the seconds between attempt ``number`` and the next: doubled each time, and scattered."""
    longest = LONGEST_CANCEL_PAUSE if kind == CANCEL else LONGEST_PAUSE
    seconds = min(longest, FIRST_PAUSE * 2 ** (number - 1))
    if outcome == 'shed':
        return max(LEAST_AFTER_OVERLOAD, seconds) * (1 + 0.5 * policy.random())
    return seconds * (0.5 + 0.5 * policy.random())


def _retry(policy, outcome, kind, response, attempt, error):
    # type: (Any, str, str, Response, Any, MarketMakerError) -> Any
    if attempt.number >= (ATTEMPTS[kind] if attempt.limit is None else attempt.limit):
        return Fail(error, 0)
    seconds = pause(policy, kind, outcome, attempt.number)
    asked = seconds_to_wait(response, math.inf)  # Retry-After alone: the reset header says nothing of an outage
    return Wait(max(seconds, min(asked, PATIENCE[kind])), str(error), error)


def _obey(kind, attempt, error, now):
    # type: (str, Any, Any, float) -> Any
    seconds = error.reset - now
    limit = ATTEMPTS[kind] if attempt.limit is None else attempt.limit
    if seconds > PATIENCE[kind] or attempt.number >= limit:
        return Fail(error, hold=seconds)
    return Wait(seconds, str(error), error)


def _error(policy, outcome, kind, label, response, now):
    # type: (Any, str, str, str, Response, float) -> Any
    """Return the error that a call ends with where nothing better comes of it: one line, cause and way out."""
    name, message = error_of(response)
    facts = dict(status=response.status or None, name=name, message=message, response=response)  # type: Any
    said = '{}: {} {}'.format(label, response.status, message or _title(response)).strip()
    if outcome in ('unsent', 'untrusted'):
        text = 'cannot reach {} ({})'.format(policy.where, response.detail or response.error)
        return ConnectionLost(_and(policy.way_out, text))
    if outcome == 'lost':
        text = '{}: no answer from {} ({})'.format(label, policy.where, response.detail or response.error)
        return ConnectionLost(_and(policy.way_out, text))
    if outcome == 'key refused':
        return AuthenticationError('{} refuses the key {}({}); check API_KEY, API_SECRET, and that the key belongs to '
                                   'this exchange and may do this'.format(policy.where, policy.key and policy.key + ' ',
                                                                          said))
    if outcome == 'limited':
        return RateLimited(said, now + (seconds_to_wait(response, now) or LEAST_AFTER_LIMIT), **facts)
    if outcome == 'banned':
        hold = seconds_to_wait(response, now) or BAN_PAUSE
        return RateLimited('{}: this address is locked out, for an hour as a rule, after too many refused requests; '
                           'nothing is sent for {:.0f} s'.format(said, hold), now + hold, **facts)
    if outcome == 'redirected':
        location = response.headers.get('location', 'nowhere')
        text = '{} to {}: set BASE_URL to the address that answers'.format(said, location)
        return APIError(_and(policy.way_out, text), **facts)
    if outcome == 'garbled':
        text = '{}: {} answers {!r}, which is no JSON: is BASE_URL the address of its API?'.format(
            label, policy.where, response.text[:40])
        return APIError(_and(policy.way_out, text), **facts)
    if outcome == 'expired':
        return APIError(said + ' (the request took too long, or the clock of this machine jumped)', **facts)
    return _class_of(outcome, kind)(said, **facts)


def _class_of(outcome, kind):
    # type: (str, str) -> Any
    if outcome == 'shed':
        return Overloaded
    if outcome == 'not found' and kind == AMEND:
        return OrderNotFound
    if outcome == 'funds':
        return _insufficient_funds
    if outcome in ('rejected', 'duplicate', 'conflict') and kind in (CREATE, AMEND):
        return OrderRejected
    return APIError


def _insufficient_funds(said, **facts):
    # type: (str, **Any) -> InsufficientFunds
    """Return the error with the numbers of '..., 5929700 XBt required'.

    ``required`` is in minor units, or None; ``currency`` is 'XBt', 'USDt', or ''.
    """
    error = InsufficientFunds(said, **facts)  # type: Any
    match = re.search(r'(\d+) (\w+) required', error.message)
    error.required, error.currency = (int(match.group(1)), match.group(2)) if match else (None, '')
    return error


def _and(way_out, text):
    # type: (str, str) -> str
    return '{}: {}'.format(text, way_out) if way_out else text


def _title(response):
    # type: (Response) -> str
    """Return what a gateway's HTML page is called, or the first words of its text."""
    title = _group(r'(?is)<title>\s*(.*?)\s*</title>', response.text[:2000])
    return ' '.join((title or re.sub(r'<[^>]*>', ' ', response.text[:500])).split())[:80]


def _group(pattern, text):
    # type: (str, str) -> Optional[str]
    match = re.search(pattern, text)
    return match.group(1) if match else None


def _same(one, other):
    # type: (Any, Any) -> bool
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-12)
    except (TypeError, ValueError):
        return False


def unix_time(timestamp: Optional[str]) -> float:
    """Return Unix seconds of '2024-11-24T08:26:22.356Z'; infinity for None, so that a row without a time is new."""
    match = re.match(r'(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(\.\d+)?Z$', timestamp or '')
    if not match:
        return math.inf
    return timegm(tuple(int(part) for part in match.groups()[:6]) + (0, 0, 0)) + float(match.group(7) or 0)
