"""Requests with everything around them: the limiter before, the policy after, and waits that a stop ends at once.

It sends what it is told and does what ``retry`` says; it knows no order and no setting, and it logs through ``report``
only.  Any thread may call it.
"""
from __future__ import absolute_import

import itertools
import json
import logging
import random
import threading
from typing import Any, Callable, Iterable, Optional  # noqa: F401
from urllib.parse import urlencode

from market_maker.rest import ratelimit, retry, transport
from market_maker.rest.ratelimit import RateLimiter
from market_maker.rest.retry import Answer, Attempt, Fail, LookUp
from market_maker.rest.transport import Request
from market_maker.utils import clock as clocks
from market_maker.utils.errors import (APIError, ConnectionLost, MarketMakerError, OutcomeUnknown,  # noqa: F401
                                       RateLimited)

# seconds beyond the time-out after which the exchange must refuse a request that is still under way
LIFETIME = 3
# seconds by which our clock and the exchange's may differ before it counts: the Date header is cut to the second
CLOCK_NOISE = 2.0
LEASE = 0.05     # seconds for which requests are counted ahead, by a bot that shares its limits with nobody else now
GLANCE = 0.005   # seconds between two looks at a limit that the answers under way may lift
SLICE = 0.1      # seconds after which a wait that two events can end looks for the second
UNLOGGED = ('otpToken', 'secret', 'password')  # values in a body that no log may show


class Client(object):
    """Send requests until they are answered, refused or hopeless.

    ``transport`` has ``send(request) -> Response``; ``report(level, text, *args)`` writes a log line; ``stop`` is an
    Event that ends waits (a call that waits while it is set raises what it was waiting to repair; calls begun later,
    which clean up, wait again).  ``introduce``, where it is set, is asked when the key is not known: it returns the
    name of an exchange that was started anew and knows it from now on, '' when there is no such thing.
    """

    def __init__(self, transport, where='the exchange', way_out='', key='', clock=None, rng=None, stop=None,
                 report=None, timeout=7, budget=None):
        # type: (Any, str, str, str, Any, Any, Optional[threading.Event], Optional[Callable[..., None]], float, Any) -> None
        self.transport = transport
        self.clock = clocks.REAL if clock is None else clock
        self.stop = threading.Event() if stop is None else stop
        self.timeout = timeout
        self.budget = budget   # a state.budget.Budget, through which bots of one account share their limits, or None
        self.introduce = None  # type: Optional[Callable[[], str]]
        self.skew = 0.0   # seconds that the exchange's clock is ahead of ours
        self._report = (lambda level, text, *args: None) if report is None else report
        self._policy = retry.Policy(where, way_out, key, (random.SystemRandom() if rng is None else rng).random)
        self._limiter = RateLimiter()
        self._ahead = 0           # requests that are counted ahead in the shared budget, and not sent yet
        self._ahead_until = 0.0   # until when: before that nothing is read or written there
        # For the limiter and the skew, and never held while waiting or sending.  A signal's handler that cancels our
        # orders may interrupt the main thread while it holds this lock: so the same thread may take it again.
        self._lock = threading.RLock()
        self._date = ''   # the last Date header looked at

    def request(self, verb, path, query=None, body=None, timeout=None, max_retries=None, clOrdIDs=(),
                sent_before=False, has_turn=False, halt=None, written=None, gate=None):
        # type: (str, str, Any, Any, Optional[float], Optional[int], Iterable[str], bool, bool, Any, Any, Any) -> Any
        """Return the decoded answer (None where an order to cancel is already gone), or raise what came of it.

        ``path`` begins after /api/v1; ``query`` is a dict, whose dicts and lists are sent as JSON; ``body`` is a dict
        or list.  ``timeout`` is in seconds; ``max_retries`` replaces the policy's own bound (0: send once, and unless
        it is a cancel wait no longer for its turn than for its answer: whoever asks does so again).
        ``clOrdIDs`` names the orders that the request is about and ``sent_before`` tells that one of them may be at the
        exchange already.  ``has_turn`` tells that ``take_turn`` was called for it; ``halt`` is an Event after which it
        is not sent again (the call then ends with the error of the last attempt); ``written`` is called when it has
        gone out, each time; ``gate`` is asked at the last moment before each sending, and unless it returns '' its
        words are why the request is not sent: ConnectionLost.  Raise OutcomeUnknown, with those clOrdIDs, for an order
        that may have been carried out: the caller looks it up.
        """
        path = '/' + path.lstrip('/') + encoded(query)
        kind = retry.kind_of(verb, path)
        route = path.partition('?')[0]
        label = '{} {}'.format(verb, route)
        try:
            text = '' if body is None else to_json(body)
        except (TypeError, ValueError):
            if has_turn:
                self._give_back(route)
            raise
        timeout = self.timeout if timeout is None else timeout
        limit = None if max_retries is None else max_retries + 1
        resends = 0
        met = ''
        for number in itertools.count(1):
            if not has_turn or number > 1:
                self.take_turn(kind, route, label, halt, timeout if limit == 1 and kind != retry.CANCEL else None)
            fault = '' if gate is None else gate()
            if fault:
                self._give_back(route)
                raise ConnectionLost('{} is not sent: {}'.format(label, fault))
            response = self._send(verb, path, route, text, timeout, written)
            attempt = Attempt(number, limit, resends, sent_before)
            step = retry.after(self._policy, kind, label, response, attempt, self.now())
            if isinstance(step, Answer):
                return step.data
            if isinstance(step, LookUp):
                raise OutcomeUnknown('{}; it may have been carried out'.format(step.error), clOrdIDs)
            if response.status == 401 and self.introduce is not None and not met:
                met = self.introduce()
                if met and kind in (retry.CREATE, retry.AMEND, retry.ONCE):   # meant for a market that is gone
                    raise ConnectionLost('{} is not carried out: {} was started anew'.format(label, self._policy.where))
                if met:
                    continue
            if isinstance(step, Fail):
                self._hold(step.hold, kind == retry.CANCEL or response.status != 429)
                raise step.error
            if response.status == 429:
                self._hold(step.seconds, kind == retry.CANCEL)
            resends += step.seconds == 0
            self._report(logging.WARNING, '%s; again in %.1f s', step.reason, step.seconds)
            self.wait(step.seconds, step.error, halt)

    def share(self, budget: Any) -> None:
        """Share our limits with other bots through this state.budget.Budget from now on (None: with nobody)."""
        with self._lock:
            before, self.budget = self.budget, budget
            self._ahead = 0
            self._ahead_until = 0.0
            if before is not None and before is not budget:
                before.leave()

    def now(self) -> float:
        """Return the exchange's time in Unix seconds, as well as we know it."""
        return self.clock.time() + self.skew

    def wait(self, seconds: float, error: MarketMakerError, halt: Any = None) -> None:
        """Wait; raise ``error`` when a stop, or ``halt``, comes meanwhile."""
        stop = self.stop if halt is None else halt
        was_stopped = self.stop.is_set()
        deadline = self.clock.monotonic() + seconds
        while seconds > 0:
            if halt is None and was_stopped:
                self.clock.sleep(seconds)
            elif self.clock.wait(stop, seconds if halt is None else min(seconds, SLICE)) or (
                    self.stop.is_set() and not was_stopped):
                raise error
            seconds = deadline - self.clock.monotonic()

    def take_turn(self, kind, route, label='', halt=None, patience=None):
        # type: (str, str, str, Any, Optional[float]) -> None
        """Wait until the limiter lets a request go, and count it; raise RateLimited where that takes longer than
        ``patience`` seconds, or than anybody should wait."""
        while True:
            with self._lock:
                now = self.clock.monotonic()
                is_ahead = self._ahead > 0 and now < self._ahead_until
                limiter = self._limiter if is_ahead else self._open(now)
                try:
                    seconds = limiter.wait(now, kind, route)
                    if seconds <= 0:
                        limiter.sent(now, route)
                        self._ahead -= is_ahead
                    is_guess = limiter.flying()[1] > 0 and not limiter.is_known
                finally:
                    if not is_ahead:
                        self._close(now)
            if seconds <= 0:
                return
            text = '{} is not sent: the exchange asked for silence for another {:.0f} s'.format(label, seconds)
            error = RateLimited(text, self.now() + seconds, status=429)
            if seconds > (retry.PATIENCE[kind] if patience is None else min(patience, retry.PATIENCE[kind])):
                raise error
            # the answers under way may tell that there is no such limit
            self.wait(min(seconds, GLANCE) if is_guess else seconds, error, halt)

    def seconds_to_wait(self, kind: str, route: str) -> float:
        """Return how long a request of that kind would have to wait for its turn now."""
        with self._lock:
            now = self.clock.monotonic()
            try:
                return self._open(now).wait(now, kind, route)
            finally:
                self._close(now)

    def _open(self, now):
        # type: (float) -> RateLimiter
        """Return the limiter, up to date with the other bots of the account, who wait until ``_close``."""
        if self.budget is not None:
            shared = self.budget.open(ratelimit.NUMBERS)
            if shared is not None:
                self._limiter.adopt(*shared)
                if shared[0] is not None:
                    self._limiter.give_back(now, self._ahead, self._ahead_until)
            self._ahead = 0
        return self._limiter

    def _close(self, now):
        # type: (float) -> None
        """Let the others in; with nobody else there, count a few requests ahead."""
        if self.budget is None:
            return
        limiter = self._limiter
        ahead, until = limiter.ahead(now) if self.budget.is_alone else 0, now + LEASE
        if ahead:
            minute, second = limiter.flying()
            is_written = self.budget.close(limiter.numbers(now, ahead, until), (minute + ahead, second + ahead), until)
        else:
            is_written = self.budget.close(limiter.numbers(), limiter.flying())
        self._ahead, self._ahead_until = (ahead, until) if ahead and is_written else (0, 0.0)

    def _send(self, verb, path, route, text, timeout, written):
        # type: (str, str, str, str, float, Any) -> Any
        """Carry out one round trip and learn from it what the limiter and the clock need."""
        self._report(logging.DEBUG, 'sending req %s %s %s', verb, path, Loggable(text))
        request = Request(verb, path, text, int(self.now() + timeout) + LIFETIME, timeout, written)
        answered = False
        try:
            response = self.transport.send(request)
            answered = True
        finally:
            with self._lock:
                now = self.clock.monotonic()
                is_ahead = self._ahead > 0 and now < self._ahead_until
                limiter = self._limiter if is_ahead else self._open(now)
                limits = limiter.limits()
                try:
                    if answered and response.error in transport.UNSENT:
                        limiter.unsent(now, route)
                    elif answered:
                        limiter.heard(now, route, response.status, response.headers)
                        self._set_skew(response)
                    else:  # a signal ended the call: nothing is in the air any more
                        limiter.heard(now, route, 0, {})
                finally:
                    if not is_ahead:
                        self._close(now)
                if is_ahead and limiter.limits() != limits:   # for all to know
                    self._open(now)
                    self._close(now)
        return response

    def _give_back(self, route):
        # type: (str) -> None
        """Note that a request whose turn it was is not sent after all."""
        with self._lock:
            now = self.clock.monotonic()
            try:
                self._open(now).unsent(now, route)
            finally:
                self._close(now)

    def _set_skew(self, response):
        # type: (Any) -> None
        """Correct our idea of the exchange's time; a slow answer says too little about it, except when it complains."""
        date = response.headers.get('date', '')
        complains = response.status in (400, 401)
        if (date == self._date or response.elapsed > CLOCK_NOISE) and not complains:
            return
        self._date = date
        theirs = retry.server_time(response)
        if theirs is not None:
            skew = theirs - (self.clock.time() - response.elapsed / 2)
            if abs(skew - self.skew) > CLOCK_NOISE:
                self.skew = skew if abs(skew) > CLOCK_NOISE else 0.0

    def _hold(self, seconds, cancels_too):
        # type: (float, bool) -> None
        if seconds > 0:
            with self._lock:
                now = self.clock.monotonic()
                try:
                    self._open(now).hold(now, seconds, cancels_too)
                finally:
                    self._close(now)


class Loggable(object):
    """The text of a body for a log line; made only if the line is written, and without one-time passwords."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        if not any(name in self.text for name in UNLOGGED):
            return self.text
        body = json.loads(self.text)
        return json.dumps({name: '***' if name in UNLOGGED else value for name, value in body.items()})


def encoded(query: Any) -> str:
    """Return '?...' for a dict, with what is no text or number as JSON and without None; '' for an empty one."""
    if not query:
        return ''
    items = sorted(query.items()) if isinstance(query, dict) else query
    pairs = [(name, _plain(value)) for name, value in items if value is not None]
    return '?' + urlencode(pairs) if pairs else ''


def to_json(body: Any) -> str:
    """Return a body as JSON text; numbers of numpy are understood, NaN and infinity raise ValueError."""
    return _encode(body)


def _plain(value):
    # type: (Any) -> Any
    return value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else to_json(value)


def _number(value):
    # type: (Any) -> Any
    """Return a number of numpy, or of decimal, as one of Python's."""
    if hasattr(value, 'item'):
        return value.item()
    if hasattr(value, '__float__'):
        return float(value)
    raise TypeError('{!r} cannot be sent to the exchange'.format(value))


_encode = json.JSONEncoder(separators=(',', ':'), allow_nan=False, default=_number).encode
