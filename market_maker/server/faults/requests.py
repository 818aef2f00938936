"""Trouble with requests: wrong answers, late ones, lost ones, and answers that mean something unexpected.

Two places are open to a fault.  ``act`` stands where the API carries a request out, after signature and rate limit were
checked, so that what it refuses looks and counts like a refusal of the exchange.  ``reply`` stands where the answer is
sent, so that it may be late, cut, replaced or lost.
"""
import asyncio
import logging
import socket
import struct
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from aiohttp import web

from market_maker.server import rest, wire
from market_maker.server.checks import LONGEST, flag, number, text, whole, words
from market_maker.server.faults.fault import Fault
from market_maker.simulator.exchange import Refusal

logger = logging.getLogger('root')

LOOK = 0.05         # seconds between two looks at whether the client of a stalled request is still there
VERBS = ('GET', 'POST', 'PUT', 'DELETE')
ORDERS = ('/order',)
# BitMEX sheds these under load; cancels were exempt (BitMEX, "System overload").
SHED = ('/order', '/position/leverage', '/position/isolate', '/position/transferMargin', '/position/riskLimit')

OVERLOADED = 'The system is currently overloaded. Please try again later.'
UNAVAILABLE = 'Service unavailable'
PAGE = ('<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1>'
        '</center>\r\n</body>\r\n</html>\r\n')
REASONS = {403: 'Forbidden', 500: 'Internal Server Error', 502: 'Bad Gateway', 503: 'Service Temporarily Unavailable',
           504: 'Gateway Time-out'}

Act = Callable[..., Tuple[int, Any]]


class Call(object):
    """One request that a fault has struck: who sent what, and the ways to answer it."""

    def __init__(self, request: web.BaseRequest, target: str, door: rest.Rest) -> None:
        self.request = request
        self.target = target
        self._door = door

    async def answer(self, act: Optional[Act] = None) -> rest.Answer:
        """Carry the request out, or do ``act`` in its place, and return the answer."""
        return await self._door.answer_to(self.request, self.target, act)

    def cut(self, with_reset: bool = False) -> web.Response:
        """End the connection without an answer, in good order or by a TCP reset."""
        transport = self.request.transport
        if transport is not None:
            if with_reset:
                transport.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                              struct.pack('ii', 1, 0))
                transport.abort()
            else:
                transport.close()
        return web.Response()   # goes nowhere

    async def silence(self) -> web.Response:
        """Keep the connection open and say nothing until the client goes."""
        while self.request.transport is not None and not self.request.transport.is_closing():
            await asyncio.sleep(LOOK)
        return web.Response()

    def part(self, answer: rest.Answer) -> web.Response:
        """Send the head and the first half of the body, then end the connection."""
        head = ['HTTP/1.1 {} {}'.format(answer.status, REASONS.get(answer.status, 'OK')),
                'Content-Length: {}'.format(len(answer.body))]
        head += ['{}: {}'.format(name, value) for name, value in answer.headers.items()]
        transport = self.request.transport
        if transport is not None:
            transport.write('\r\n'.join(head).encode('latin-1') + b'\r\n\r\n' + answer.body[:len(answer.body) // 2])
        return self.cut()


class RequestFault(Fault):
    """Strikes requests with some verbs on some routes; ``executed`` says whether they are carried out all the same."""

    strikes_requests = True
    OPTIONS = {'verbs': (None, words(*VERBS)), 'routes': (None, words()), 'executed': (False, flag)}

    def concerns(self, verb: str, path: str, account: Any) -> bool:
        """Return whether a request may be struck; a route that ends in * stands for all that begin so."""
        verbs, routes = self.options['verbs'], self.options['routes']
        if verbs is not None and verb not in verbs or not self.is_for(account):
            return False
        return routes is None or any(path == route or route[-1:] == '*' and path.startswith(route[:-1])
                                     for route in routes)

    async def serve(self, call: Call) -> web.StreamResponse:
        """Answer a request that was struck, or leave it unanswered."""
        answer = await call.answer() if self.options['executed'] else None
        return await self.reply(call, answer)

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Send what the client gets; ``answer`` is what it should have been, None when nothing was carried out."""
        raise NotImplementedError


class Refused(RequestFault):
    """An error of the exchange in its own shape: status, message and name; with ``executed`` it lies."""

    OPTIONS = dict(RequestFault.OPTIONS, status=(400, whole(400, 599)), message=('Invalid request', text),
                   error=('HTTPError', text))

    async def serve(self, call: Call) -> web.StreamResponse:
        """Refuse after the signature was checked and the limits were charged."""
        return rest.response(await call.answer(self.act))

    def act(self, *request: Any) -> Tuple[int, Any]:
        """Refuse a request, perhaps after it was carried out."""
        if self.options['executed']:
            self.server.api.request(*request)
        raise self.refusal(*request)

    def refusal(self, *request: Any) -> Refusal:
        """Return what the client is told."""
        return Refusal(self.options['status'], self.options['message'], self.options['error'])


class Page(RequestFault):
    """An error of the servers in front of the exchange: a page of HTML, not counted by its limits."""

    OPTIONS = dict(RequestFault.OPTIONS, status=(502, whole(400, 599)))

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Send the page."""
        return page(self.options['status'])


class Ban(Page):
    """An address that is banned: 403 in HTML for every request, and for every WebSocket that opens."""

    strikes_upgrades = True
    OPTIONS = dict(Page.OPTIONS, retry_after=(None, whole(0, int(LONGEST))))

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Send the page."""
        return self.refuse_upgrade()

    def refuse_upgrade(self) -> web.Response:
        """Return the answer to an upgrade."""
        answer = page(self.options['status'])
        if self.options['retry_after'] is not None:
            answer.headers['Retry-After'] = str(self.options['retry_after'])
        return answer


class Outage(Refused):
    """Everything is down: 503 for each request and upgrade, and all sockets are dropped at its beginning."""

    strikes_upgrades = True

    def begin(self) -> None:
        """Drop whoever is connected."""
        for session in list(self.server.hub.sessions):
            session.abort()

    async def serve(self, call: Call) -> web.StreamResponse:
        """Refuse without looking at the request."""
        return rest.response(rest.refused(self.refusal(), {}))

    def refuse_upgrade(self) -> web.Response:
        """Return the answer to an upgrade."""
        return rest.response(rest.refused(self.refusal(), {}))


class Rotating(RequestFault):
    """500, 502 HTML, 503 overloaded, 503 unavailable, 503 HTML and 504 HTML, in turn."""

    def __init__(self, *arguments: Any) -> None:
        RequestFault.__init__(self, *arguments)
        self._turn = 0

    async def serve(self, call: Call) -> web.StreamResponse:
        """Answer with the next error; the overload text is never sent for a request that was carried out."""
        turns = (500, 502, OVERLOADED, UNAVAILABLE, 503, 504)
        if self.options['executed']:
            turns = (500, 502, UNAVAILABLE, 503, 504)   # type: ignore[assignment]
        said = turns[self._turn % len(turns)]
        self._turn += 1
        if said in (502, 503, 504):
            if self.options['executed']:
                await call.answer()
            return page(said)  # type: ignore[arg-type]
        refusal = Refusal(500, 'Internal Server Error') if said == 500 else Refusal(503, str(said))

        def act(*request: Any) -> Tuple[int, Any]:
            if self.options['executed']:
                self.server.api.request(*request)
            raise refusal
        return rest.response(await call.answer(act))


class Limited(RequestFault):
    """429 with Retry-After alone, or with ``headers`` also the x-ratelimit ones; never carried out."""

    OPTIONS = dict(RequestFault.OPTIONS, retry_after=(1, whole(0, int(LONGEST))), headers=(False, flag))

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Refuse the request as too early."""
        wait = self.options['retry_after']
        headers = {'Retry-After': str(wait)}
        if self.options['headers']:
            headers.update({'x-ratelimit-limit': '120', 'x-ratelimit-remaining': '0',
                            'x-ratelimit-reset': str(int(self.server.pace.wall()) + wait)})
        return rest.response(rest.refused(
            Refusal(429, 'Rate limit exceeded, retry in {} seconds.'.format(wait), 'RateLimitError'), headers))


class Lost(RequestFault):
    """No answer: the connection ends, before or (``executed``) after the request was carried out."""

    OPTIONS = dict(RequestFault.OPTIONS, reset=(False, flag))

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """End the connection."""
        return call.cut(self.options['reset'])


class Stall(RequestFault):
    """The request is accepted and never answered; the connection stays open."""

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Wait until the client goes."""
        return await call.silence()


class Slow(RequestFault):
    """The answer comes ``delay`` seconds late; the request is carried out at once, or (not ``executed``) at the end."""

    OPTIONS = dict(RequestFault.OPTIONS, executed=(True, flag), delay=(2.0, number(0.0, LONGEST)))

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Wait, then answer."""
        await asyncio.sleep(self.options['delay'])
        return rest.response(answer if answer is not None else await call.answer())


class LateCreate(RequestFault):
    """An order whose answer is lost, and which reaches the book only ``delay`` seconds later."""

    OPTIONS = dict(RequestFault.OPTIONS, delay=(40.0, number(0.0, LONGEST)), reset=(False, flag))

    async def serve(self, call: Call) -> web.StreamResponse:
        """Check the request, end the connection, and carry it out when the time has come."""
        answer = await call.answer(self._later)
        return call.cut(self.options['reset']) if answer.status == 200 else rest.response(answer)

    def _later(self, verb: str, path: str, query: Any, body: Any, account: Any, now: float) -> Tuple[int, Any]:
        def carry_out() -> None:
            try:
                self.server.api.request(verb, path, query, body, account, self.server.advance())
            except Refusal as refusal:
                logger.info('Fault %s: the late %s %s is refused: %s', self.name, verb, path, refusal)
            self.server.hub.flush()
        asyncio.get_running_loop().call_later(self.options['delay'], carry_out)
        return 200, {}


class NotJson(RequestFault):
    """200 with a body that is no JSON."""

    OPTIONS = dict(RequestFault.OPTIONS, body=('<html><body>Please wait...</body></html>', text))

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Send the body with a status that promises more."""
        return web.Response(status=200, text=self.options['body'], content_type='text/html')


class Truncated(RequestFault):
    """The body breaks off in the middle, and the connection with it; or (``complete``) the cut text is sent as whole.
    """

    OPTIONS = dict(RequestFault.OPTIONS, executed=(True, flag), complete=(False, flag))

    async def reply(self, call: Call, answer: Optional[rest.Answer]) -> web.StreamResponse:
        """Send half of it."""
        answer = answer or rest.refused(Refusal(500, 'Internal Server Error'), {})
        if self.options['complete']:
            return rest.response(answer._replace(body=answer.body[:len(answer.body) // 2]))
        return call.part(answer)


class CancelErrors(RequestFault):
    """Some items of a cancel are not canceled, and their rows say so; at least one (``share`` of them)."""

    OPTIONS = dict(RequestFault.OPTIONS, share=(0.5, number(0.0, 1.0)),
                   message=('Unable to cancel order', text))

    async def serve(self, call: Call) -> web.StreamResponse:
        """Cancel the others."""
        return rest.response(await call.answer(self._some))

    def _some(self, verb: str, path: str, query: Any, body: Any, account: Any, now: float) -> Tuple[int, Any]:
        name, ids = ids_of(query, body)
        if not ids:
            return self.server.api.request(verb, path, query, body, account, now)  # type: ignore[no-any-return]
        kept = set(self.rng.sample(ids, max(1, int(round(len(ids) * self.options['share'])))))
        rows = []
        for one in ids:
            if one in kept:
                rows.append({'account': account.id, 'error': self.options['message'], name: one,
                             'timestamp': self.server.exchange.stamp()})
            else:
                rows += self.server.api.request(verb, path, {}, dict(body, **dict(query, **{name: one})), account,
                                                now)[1]
        return 200, rows


class CancelNotFound(RequestFault):
    """404 for a whole cancel when one of its orders is not open; ``executed`` cancels the others all the same."""

    OPTIONS = dict(RequestFault.OPTIONS, always=(False, flag))

    async def serve(self, call: Call) -> web.StreamResponse:
        """Look for the orders first."""
        return rest.response(await call.answer(self._all_or_none))

    def _all_or_none(self, verb: str, path: str, query: Any, body: Any, account: Any, now: float) -> Tuple[int, Any]:
        name, ids = ids_of(query, body)
        known = account.orders if name == 'orderID' else account.by_client
        missing = self.options['always'] or any(one not in known for one in ids)
        if not missing or self.options['executed']:
            answer = self.server.api.request(verb, path, query, body, account, now)
            if not missing:
                return answer  # type: ignore[no-any-return]
        raise Refusal(404, 'Not Found')


class AtOnce(RequestFault):
    """A new order is over when its answer comes: canceled as a post-only order that would have traded, or filled."""

    OPTIONS = {'verbs': (None, words(*VERBS)), 'routes': (None, words()), 'filled': (False, flag)}
    TEXT = 'Canceled: Order had execInst of ParticipateDoNotInitiate'

    async def serve(self, call: Call) -> web.StreamResponse:
        """Place the order, end it, and answer with its last row."""
        return rest.response(await call.answer(self._end))

    def _end(self, verb: str, path: str, query: Any, body: Any, account: Any, now: float) -> Tuple[int, Any]:
        status, row = self.server.api.request(verb, path, query, body, account, now)
        exchange = self.server.exchange
        order = account.orders.get(row['orderID'])
        if order is None:
            return status, row
        if self.options['filled']:
            self._fill(exchange, order)
        else:
            exchange.desk.cancel_all(account, lambda one: one['orderID'] == row['orderID'], self.TEXT)
        return status, {name: order.row[name] for name in sorted(order.row)}

    @staticmethod
    def _fill(exchange: Any, order: Any) -> None:
        """Let the market trade down to the order's price, until nothing is left of it."""
        if order.price_ticks is None or order.level is None:
            return
        symbol = order.instrument.symbol
        taker = 'Sell' if order.side == 'Buy' else 'Buy'
        sign = 1 if order.side == 'Buy' else -1
        ahead = sum(size for ticks, size in exchange.depth(symbol, order.side, 0)
                    if (ticks - order.price_ticks) * sign >= 0)
        exchange.take(symbol, taker, max(ahead, order.leaves), order.price_ticks)


def ids_of(query: Dict[str, Any], body: Dict[str, Any]) -> Tuple[str, List[str]]:
    """Return which kind of id a cancel uses, and the ids."""
    params = dict(query, **body)
    name = 'orderID' if params.get('orderID') else 'clOrdID'
    value = params.get(name) or []
    if isinstance(value, str) and value.startswith('['):
        value = wire.loads(value)
    many = value if isinstance(value, list) else str(value).split(',')
    return name, [one for one in many if isinstance(one, str)]


def page(status: int) -> web.Response:
    """Return an error page as the servers in front of the exchange send it."""
    reason = REASONS.get(status, 'Error')
    return web.Response(status=status, text=PAGE.format(status=status, reason=reason), content_type='text/html')
