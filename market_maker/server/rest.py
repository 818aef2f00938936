"""REST of the local exchange: from bytes of HTTP to ``simulator.api`` and back.

What is decided here is only what HTTP decides: the signature over the path and body exactly as they came, the forms of
a body, limits and their headers, the shape of every error.  What a request means is ``Api``'s business.
"""
import logging
from collections import namedtuple
from typing import Any, Callable, Dict, Optional, Tuple  # noqa: F401
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from market_maker.server import wire
from market_maker.server.limits import Limits
from market_maker.simulator.exchange import Refusal

logger = logging.getLogger('root')

BASE = '/api/v1'
JSON = 'application/json; charset=utf-8'
LISTS = frozenset(['orderID', 'clOrdID', 'targetAccountIds'])  # sent as JSON text within forms and queries

Answer = namedtuple('Answer', 'status headers body')
Answer.__doc__ = """One HTTP answer: status, dict of headers, bytes."""

Act = Callable[..., Tuple[int, Any]]   # carries out what a request asks for, as ``Api.request`` does


class Rest(object):
    """Answers every request below ``/api/v1``; belongs to the event loop's thread and never waits.

    ``wall()`` is the Unix time that limits and expiries are held against; ``advance()`` brings the exchange to the
    present and returns its own time, which in a replay is the recorded one; ``publish()`` sends what changed to the
    WebSockets.
    """

    def __init__(self, api: Any, limits: Limits, wall: Callable[[], float], advance: Callable[[], float],
                 publish: Callable[[], None]) -> None:
        self._api = api
        self._limits = limits
        self._wall = wall
        self._advance = advance
        self._publish = publish
        self.recorder = None  # type: Any  # see LocalExchange.record
        self.seen = {}    # type: Dict[Optional[int], float]  # account (None: unsigned) -> wall time of its last request

    async def answer_to(self, request: web.BaseRequest, target: str, act: Optional[Act] = None) -> Answer:
        """Read the body of a request and return its answer; ``act`` as in ``answer``.

        ``target`` is its path with the query, byte for byte as it was sent.
        """
        try:
            body = await request.read() if request.body_exists else b''
        except web.HTTPRequestEntityTooLarge:
            return refused(Refusal(413, 'request entity too large'), {})
        return self.answer(request.method, target, request.headers, body, request.remote or '', act)

    def answer(self, verb: str, target: str, headers: Any, body: bytes, address: str,
               act: Optional[Act] = None) -> Answer:
        """Carry out one request and return its answer.

        ``act`` stands in for the API: it gets verb, path, query, body, account and moment, once signature and limits
        were checked, and returns status and payload.  A fault of ours becomes a 500 in BitMEX's shape and a logged
        traceback.
        """
        try:
            return self._answer(verb, target, headers, body, address, act or self._api.request)
        except Exception:
            logger.exception('%s %s failed within the local exchange.', verb, target.partition('?')[0])
            return refused(Refusal(500, 'Internal Server Error'), {})

    def _answer(self, verb: str, target: str, headers: Any, body: bytes, address: str, act: Act) -> Answer:
        raw_path, _, raw_query = target.partition('?')
        path = unquote(raw_path[len(BASE):])
        now = self._wall()
        try:
            text = body.decode('utf-8')
            account = self._api.authenticate(verb, target, headers, text, now, address)
        except UnicodeDecodeError:
            return refused(Refusal(400, 'The body is not UTF-8 text.'), {})
        except Refusal as refusal:
            return refused(refusal, {})
        who = account.id if account is not None else None
        self.seen[who] = now
        verdict = self._limits.request(verb, path, who, address, now)
        if self.recorder is not None:
            self.recorder.charged(verdict)
        if not verdict.allowed:
            return refused(Refusal(429, verdict.message, name='RateLimitError'), verdict.headers)
        try:
            return self._carry_out(act, verb, path, query_of(raw_query),
                                   body_of(text, headers.get('Content-Type', '')), account, verdict.headers)
        except Refusal as refusal:
            # Whoever sent no key to a private route failed to authenticate, and such answers carry no limits.
            return refused(refusal, {} if refusal.status == 401 else verdict.headers)

    def _carry_out(self, act: Act, verb: str, path: str, query: Dict[str, Any], body: Dict[str, Any], account: Any,
                   headers: Dict[str, str]) -> Answer:
        form = query.pop('_format', None) or body.pop('_format', 'json')
        if form not in ('json', 'csv'):
            raise Refusal(400, '_format is invalid')
        now = self._advance()
        if self.recorder is not None:   # what has happened until now is not this request's doing
            self.recorder.apart(self._publish)
        try:
            status, payload = act(verb, path, query, body, account, now)
        finally:
            self._publish()
        if form == 'csv' and status == 200:
            rows = payload if isinstance(payload, list) else [payload]
            if all(isinstance(row, dict) for row in rows):
                return Answer(status, dict(headers, **{'Content-Type': 'text/csv; charset=utf-8'}), wire.to_csv(rows))
        return answered(status, payload, headers)


def response(answer: Answer) -> web.Response:
    """Return an answer as aiohttp sends it."""
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def answered(status: int, payload: Any, headers: Dict[str, str]) -> Answer:
    """Return an answer in JSON."""
    headers['Content-Type'] = JSON
    return Answer(status, headers, wire.dumps(payload))


def refused(refusal: Any, headers: Dict[str, str]) -> Answer:
    """Return the answer to a request that is refused, in BitMEX's shape."""
    if refusal.headers:
        headers.update(refusal.headers)
    return answered(refusal.status, refusal.body(), headers)


def query_of(text: str) -> Dict[str, Any]:
    """Return the parameters of a query or a form; of a repeated one the last counts, lists may come as JSON text."""
    if not text:
        return {}
    return {name: _list_or_text(name, value) for name, value in parse_qsl(text, keep_blank_values=True)}


def _list_or_text(name: str, value: str) -> Any:
    if name in LISTS and value.startswith('['):
        try:
            return wire.loads(value)
        except ValueError:
            return value
    return value


def body_of(text: str, content_type: str) -> Dict[str, Any]:
    """Return the parameters in a body that is a JSON object or a form; raise Refusal (400) for anything else."""
    if not text or text.isspace():
        return {}
    if content_type != 'application/json':
        kind = content_type.partition(';')[0].strip().lower()
        if kind == 'application/x-www-form-urlencoded' or kind != 'application/json' and text.lstrip()[0] != '{':
            return query_of(text)
    try:
        body = wire.loads(text)
    except ValueError:
        raise Refusal(400, 'The body is not valid JSON.')
    if not isinstance(body, dict):
        raise Refusal(400, 'The body is not a JSON object.')
    return body
