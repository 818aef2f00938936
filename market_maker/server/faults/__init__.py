"""Trouble on demand: what goes wrong at an exchange, by name, on the local one.

``LocalExchange.faults`` is the board on which faults are switched on and off, in the event loop's thread.  From another
thread, with an exchange of ``local_exchange.running``:

    with testnet.faults('lost-reply', verbs='POST', count=3) as fault:
        ...
    testnet.faults.on('lag', tables='quote', delay=4)
    testnet.faults.play('everything', seed=7)
    testnet.faults.clear()

On the command line: ``marketmaker testnet --faults overload lost-reply:rate=0.1,verbs=POST+PUT``.

Every fault takes ``account`` (an API key or the number of an account; all), ``seconds`` (then it ends by itself),
``rate`` (the share that is struck; 1), ``count`` (at most so many) and ``skip`` (so many are let through first).

Faults of requests also take ``verbs``, ``routes`` (``/order``, ``/position/*``) and, but for those that say so,
``executed``: whether the request is carried out all the same.

=================== ========================================================================= =========================
fault               what happens                                                              options (default)
=================== ========================================================================= =========================
rotating-errors     500, 502 HTML, 503 overloaded, 503 unavailable, 503 HTML, 504 HTML in turn
internal-error      500 in JSON
bad-gateway         502 in HTML
overloaded          503 "overloaded" in JSON, for orders and positions; cancels pass
unavailable         503 "Service unavailable" in JSON
unavailable-html    503 in HTML
gateway-timeout     504 in HTML
refused             an error of your choice in BitMEX's shape                                 status (400), message,
                                                                                              error
unknown-error       418 with a text that nobody knows
not-found           404 in JSON
unauthorized        401 "Invalid API Key."
forbidden           403 "Access Denied" in JSON
ban                 403 in HTML, also for WebSockets that open                                retry_after (not told)
rate-limited        429 with Retry-After alone                                                retry_after (1 s), headers
outage              503 for everything, sockets dropped, none accepted
stall               accepted, never answered                                                  executed (false)
slow-reply          carried out at once, answered late                                        delay (2 s)
slow-request        carried out late, answered then                                           delay (2 s)
lost-request        not carried out, the connection ends without an answer                    reset (false)
lost-reply          carried out, the connection ends without an answer                        reset (false)
reset-before        not carried out, TCP reset
reset-after         carried out, TCP reset
late-create         the answer of an order is lost; it appears late                           delay (40 s)
not-json            200 with HTML                                                             body, executed
truncated           the body breaks off                                                       complete (false)
invalid-ordstatus   amends are refused with "Invalid ordStatus"                               message
duplicate-clordid   creates are refused with "Duplicate clOrdID"                              executed
cancel-errors       a cancel answers with an error in some items                              share (0.5), message
cancel-not-found    404 for a cancel that names an order which is not open                    always, executed
canceled-at-once    200 with an order that is canceled already (post-only)
filled-at-once      200 with an order that is filled already
dropped-sockets     all sockets are cut                                                       every (s), close (false)
silent-sockets      open sockets send nothing more, no pong either                            new (false)
silent-table        changes of tables are not sent                                            tables, symbol, keep
lag                 messages arrive late, of all tables or of some                            delay (4 s), tables
missing-partial     an image is not sent, changes are                                         tables
doubled-partial     an image is sent twice                                                    tables, delay (2 s)
late-partial        nothing of a table is sent until its late image                           tables, delay (2 s)
early-deltas        changes are sent before the late image                                    tables, delay (2 s)
duplicate-inserts   inserts are sent twice                                                    tables, actions (insert,
                                                                                              update, delete)
reordered           messages of different tables overtake each other                          tables, delay (0.05 s)
refused-upgrade     WebSockets cannot be opened                                               status (503, 429, 502)
crossed-book        bid and ask change places in the tables that show them                    symbol
market-closed       contracts are closed                                                      symbol (all)
settled             a contract settles, for good                                              symbol (XBTUSD)
empty-book          the market's orders leave the book, and it stops trading                  side (both, Buy, Sell)
tick-size           the tick becomes coarser while the contract trades                        factor (5), symbol (all)
manual-trade        an account trades by hand                                                 symbol, side, quantity,
                                                                                              every
clock-skew          the exchange's clock is off, and jumps                                    offset (30 s), every
restart             the exchange goes down and comes back on its port                         down (1 s), books (kept,
                                                                                              canceled, fresh), every
=================== ========================================================================= =========================
"""
import asyncio
import collections
import functools
import logging
import random
from difflib import get_close_matches
from typing import Any, Deque, Dict, List, Optional, Sequence, Tuple, Type, Union  # noqa: F401

from market_maker.server import rest
from market_maker.server.checks import checked
from market_maker.server.faults import events, profiles, requests, streams
from market_maker.server.faults.fault import Fault
from market_maker.simulator.timestamps import iso
from market_maker.utils.errors import SettingsError

__all__ = ['CATALOGUE', 'Fault', 'Faults', 'PROFILES', 'parse']

logger = logging.getLogger('root')

MOST_NOTED = 10000    # strikes that are remembered
PROFILES = profiles.PROFILES

_WRITE = {'verbs': ('POST', 'PUT'), 'routes': requests.SHED}
_CREATE = {'verbs': ('POST',), 'routes': requests.ORDERS}
_AMEND = {'verbs': ('PUT',), 'routes': requests.ORDERS}
_CANCEL = {'verbs': ('DELETE',), 'routes': requests.ORDERS}

# name -> class, what its options are when nobody gives them
CATALOGUE = collections.OrderedDict([
    ('rotating-errors', (requests.Rotating, {})),
    ('internal-error', (requests.Refused, {'status': 500, 'message': 'Internal Server Error'})),
    ('bad-gateway', (requests.Page, {'status': 502})),
    ('overloaded', (requests.Refused, dict(_WRITE, status=503, message=requests.OVERLOADED))),
    ('unavailable', (requests.Refused, {'status': 503, 'message': requests.UNAVAILABLE})),
    ('unavailable-html', (requests.Page, {'status': 503})),
    ('gateway-timeout', (requests.Page, {'status': 504})),
    ('refused', (requests.Refused, {})),
    ('unknown-error', (requests.Refused, {'status': 418, 'message': 'The exchange is a teapot'})),
    ('not-found', (requests.Refused, {'status': 404, 'message': 'Not Found'})),
    ('unauthorized', (requests.Refused, {'status': 401, 'message': 'Invalid API Key.'})),
    ('forbidden', (requests.Refused, {'status': 403, 'message': 'Access Denied'})),
    ('ban', (requests.Ban, {'status': 403})),
    ('rate-limited', (requests.Limited, {})),
    ('outage', (requests.Outage, {'status': 503, 'message': requests.UNAVAILABLE})),
    ('stall', (requests.Stall, {})),
    ('slow-reply', (requests.Slow, {})),
    ('slow-request', (requests.Slow, {'executed': False})),
    ('lost-request', (requests.Lost, {})),
    ('lost-reply', (requests.Lost, {'executed': True})),
    ('reset-before', (requests.Lost, {'reset': True})),
    ('reset-after', (requests.Lost, {'executed': True, 'reset': True})),
    ('late-create', (requests.LateCreate, _CREATE)),
    ('not-json', (requests.NotJson, {})),
    ('truncated', (requests.Truncated, {})),
    ('invalid-ordstatus', (requests.Refused, dict(_AMEND, message='Invalid ordStatus'))),
    ('duplicate-clordid', (requests.Refused, dict(_CREATE, message='Duplicate clOrdID'))),
    ('cancel-errors', (requests.CancelErrors, _CANCEL)),
    ('cancel-not-found', (requests.CancelNotFound, _CANCEL)),
    ('canceled-at-once', (requests.AtOnce, _CREATE)),
    ('filled-at-once', (requests.AtOnce, dict(_CREATE, filled=True))),
    ('dropped-sockets', (streams.DroppedSockets, {})),
    ('silent-sockets', (streams.SilentSockets, {})),
    ('silent-table', (streams.Silence, {})),
    ('lag', (streams.Lag, {})),
    ('missing-partial', (streams.Images, {'how': 'missing'})),
    ('doubled-partial', (streams.Images, {'how': 'doubled'})),
    ('late-partial', (streams.Images, {'how': 'late'})),
    ('early-deltas', (streams.Images, {'how': 'early-deltas'})),
    ('duplicate-inserts', (streams.Duplicates, {})),
    ('reordered', (streams.Reordered, {})),
    ('refused-upgrade', (streams.RefusedUpgrade, {})),
    ('crossed-book', (streams.Crossed, {})),
    ('market-closed', (events.MarketClosed, {})),
    ('settled', (events.Settled, {})),
    ('empty-book', (events.EmptyBook, {})),
    ('tick-size', (events.TickSize, {})),
    ('manual-trade', (events.ManualTrade, {})),
    ('clock-skew', (events.ClockSkew, {})),
    ('restart', (events.Restart, {})),
])  # type: collections.OrderedDict[str, Tuple[Any, Dict[str, Any]]]


def parse(word: str) -> Tuple[str, Dict[str, Any]]:
    """Return name and options of ``NAME`` or ``NAME:option=value,option=value``; SettingsError when it makes no sense.

    The name is that of a fault or of a profile.
    """
    name, colon, rest = word.partition(':')
    options = {}  # type: Dict[str, Any]
    for part in rest.split(',') if colon else ():
        option, equals, value = part.partition('=')
        if not (option and equals and value):
            raise SettingsError('{}: {!r} is no option=value'.format(word, part))
        options[option.strip()] = value.strip()
    if name in PROFILES:
        if set(options) - {'seed'}:
            raise SettingsError('{}: a profile takes no option but seed'.format(word))
        return name, options
    complete(name, options)
    return name, options


def complete(name: str, options: Dict[str, Any]) -> Dict[str, Any]:
    """Return all options of a fault; raise SettingsError for a name or an option that makes no sense."""
    if name not in CATALOGUE:
        nearest = get_close_matches(str(name), list(PROFILES) + list(CATALOGUE), 1)
        raise SettingsError('no fault or profile is {!r}: {}`marketmaker testnet --faults list` shows them'.format(
            name, 'did you mean {}? '.format(nearest[0]) if nearest else ''))
    kind, presets = CATALOGUE[name]
    choices = {option: (presets.get(option, default), check)
               for option, (default, check) in dict(Fault.COMMON, **kind.OPTIONS).items()}
    return checked('fault ' + name, choices, options)


def make(name: str, server: Any, options: Dict[str, Any], rng: random.Random) -> Fault:
    """Return a fault that is not switched on yet; raise SettingsError as ``complete``, and for a symbol that does not
    trade.
    """
    options = complete(name, options)
    symbol = options.get('symbol')
    if symbol is not None and symbol not in server.exchange.tapes:
        raise SettingsError('fault {}: {} does not trade here; there are {}'.format(
            name, symbol, ', '.join(server.exchange.tapes)))
    fault = CATALOGUE[name][0](server, options, rng)  # type: Fault
    fault.name = name
    return fault


class Faults(object):
    """The board of one exchange: which faults are on, and what they struck.

    Belongs to the event loop's thread.  What is switched on before the exchange has started takes effect when it does.
    """

    def __init__(self, server: Any, seed: Any = 0) -> None:
        self.requests = []   # type: List[requests.RequestFault]  # that are on
        self.upgrades = []   # type: List[Any]
        self.noted = collections.deque(maxlen=MOST_NOTED)  # type: Deque[Dict[str, Any]]  # strikes on requests
        self._server = server
        self._seed = seed
        self._made = 0
        self._on = []        # type: List[Fault]
        self._plays = []     # type: List[asyncio.Task[None]]
        self._early = []     # type: List[Any]  # what waits for the start of the exchange
        self._runs = False

    def start(self) -> None:
        """Begin with what was switched on before; called by the exchange when it serves."""
        self._runs = True
        early, self._early = self._early, []
        for begin in early:
            begin()

    def on(self, name: str, **options: Any) -> Fault:
        """Switch a fault on and return it; SettingsError for a name or an option that makes no sense."""
        self._made += 1
        fault = make(name, self._server, options, random.Random('{} {} {}'.format(self._seed, name, self._made)))
        self._on.append(fault)
        if self._runs:
            self._begin(fault)
        else:
            self._early.append(lambda: self._begin(fault))
        return fault

    def _begin(self, fault: Fault) -> None:
        if fault not in self._on:
            return
        fault.is_on = True
        self._sort()
        self._tell(fault)
        logger.info('Fault on: %s', fault.row())
        fault.begin()
        if fault.options['seconds'] is not None:
            asyncio.get_running_loop().call_later(fault.options['seconds'], self.off, fault)

    def off(self, fault: Union[Fault, str]) -> int:
        """Switch off one fault, or all of that name; return how many were on."""
        named = [one for one in self._on if one is fault or one.name == fault]
        for one in named:
            self._on.remove(one)
            if one.is_on:
                one.is_on = False
                self._sort()
                one.end()
                self._tell(one)
                logger.info('Fault off: %s after %d hits', one.name, one.hits)
        if named and self._runs:
            self._server.hub.flush()
        return len(named)

    def _tell(self, fault: Fault) -> None:
        if self._server.recorder is not None:
            self._server.recorder.trouble(fault)

    def clear(self) -> int:
        """Stop all profiles and switch everything off; return how many faults were on."""
        plays, self._plays = self._plays, []
        for task in plays:
            task.cancel()
        return sum(self.off(fault) for fault in list(self._on))

    def play(self, name: str, seed: Any = None) -> None:
        """Play a profile until ``clear``: some faults all along, others by turns; the same seed gives the same turns.
        """
        if name not in PROFILES:
            raise SettingsError('no profile is called {!r}; there are {}'.format(name, ', '.join(PROFILES)))
        rng = random.Random('{} {}'.format(self._seed if seed is None else seed, name))

        def begin() -> None:
            self._plays.append(asyncio.get_running_loop().create_task(self._play(PROFILES[name], rng)))
        if self._runs:
            begin()
        else:
            self._early.append(begin)

    async def _play(self, profile: Any, rng: random.Random) -> None:
        try:
            for name, options in profile.steady:
                self.on(name, **options)
            while profile.turns:
                await asyncio.sleep(rng.uniform(*profile.calm))
                name, options = rng.choice(profile.turns)
                length = rng.uniform(*profile.length)
                self.on(name, **dict({'seconds': length}, **options))
                await asyncio.sleep(length)
        except Exception:
            logger.exception('A profile of faults broke off.')

    def switch(self, word: str) -> None:
        """Switch on what a word of the command line names: a fault with its options, or a profile."""
        name, options = parse(word)
        if name in PROFILES:
            self.play(name, **options)
        else:
            self.on(name, **options)

    def move(self) -> None:
        """Stand before the hub that serves now."""
        self._sort()

    def rows(self) -> List[Dict[str, Any]]:
        """Return what is on, as plain data."""
        return [fault.row() for fault in self._on]

    @property
    def working(self) -> List[Fault]:
        """Return the faults that are on, in the order in which they were switched on."""
        return [fault for fault in self._on if fault.is_on]

    def _sort(self) -> None:
        """Hand each place the faults that it must ask; a place without any has nothing to ask."""
        working = self.working
        self.requests = [one for one in working if one.strikes_requests]  # type: ignore[misc]
        self.upgrades = [one for one in working if one.strikes_upgrades]
        chain = [one for one in working if one.strikes_streams]
        self._server.hub.faults = Chain(chain) if chain else None  # type: ignore[arg-type]

    async def serve(self, request: Any, target: str, path: str, door: Any) -> Any:
        """Answer a request with the first fault that strikes it, or as if there were none."""
        route = path[len('/api/v1'):]
        account = self._server.exchange.account_of(request.headers.get('api-key', ''))
        for fault in self.requests:
            if fault.concerns(request.method, route, account) and fault.strikes():
                self.noted.append({'timestamp': iso(self._server.exchange.now), 'fault': fault.name,
                                   'verb': request.method, 'path': target,
                                   'account': account.id if account is not None else None})
                return await fault.serve(requests.Call(request, target, door))
        return rest.response(await door.answer_to(request, target))

    def refuse_upgrade(self, account: Any) -> Any:
        """Return the answer to a WebSocket that may not be opened, None when it may."""
        for fault in self.upgrades:
            if fault.is_for(account) and fault.strikes():
                return fault.refuse_upgrade()
        return None


class Chain(object):
    """The faults that stand between the hub and its sessions, in the order in which they were switched on."""

    def __init__(self, faults: Sequence[streams.StreamFault]) -> None:
        self._faults = faults

    def deliver(self, session: Any, frame: streams.Frame, after: int = 0) -> None:
        """Pass a message through the faults from number ``after`` on, and to the session what is left of it."""
        while after < len(self._faults):
            fault, after = self._faults[after], after + 1
            if fault.concerns(session, frame.table, frame.symbol):
                fault.carry(session, frame, functools.partial(self.deliver, session, after=after))
                return
        session.push(frame.message)

    def subscribe(self, session: Any, topic: Any, admit: Any, follow: Any, show: Any) -> bool:
        """Let a fault subscribe a session in its way; return whether one did."""
        return any(fault.concerns(session, topic[0], topic[1]) and fault.image(session, topic, admit, follow, show)
                   for fault in self._faults)

    def admit(self, session: Any) -> None:
        """Tell the faults of a session that has just been opened."""
        for fault in self._faults:
            fault.admit(session)
