"""(a) one process; (c) every order in the ledger, none sent twice in doubt; (e) the limits; (h) foreign orders."""
from __future__ import absolute_import

import re
from typing import Any, Dict, List, Optional, Set, Tuple  # noqa: F401

from market_maker.judge.evidence import (Evidence, Frame, OrderRow, Reply, Request, in_words, is_open, is_own, named_in,
                                         replies_of, requests_of, start_of)
from market_maker.judge.walk import Walk

SHED = 'overloaded'        # in the text of a 503 that never reached the engine (BitMEX, "Load shedding")
IN_FLIGHT = 0.5            # seconds that what was sent already may need to arrive
EARLY = 0.05               # seconds by which a wait may be cut: clocks are read at both ends
LATE_LOOK = 2.0            # seconds that the last look for an order of unknown fate may have to wait for its turn
SLACK = 0.5                # tokens by which two clocks may differ about a bucket
CLOCK = 'clock-skew'       # in the words for a fault of the exchange's clock ...
AGAIN = 'every='           # ... that jumps again and again
OFFSET = re.compile(r'offset=(-?[\d.]+)')   # seconds by which that clock is off
FORGIVEN = 'DELETE'        # the minute's limit is counted, but never refuses a cancel
VERBS = {'create': 'POST', 'amend': 'PUT', 'cancel': 'DELETE'}
OPEN_STATES = ('sent', 'unknown')
NEVER_STATES = ('refused', 'absent')


# (a)

def not_the_same(evidence: Evidence) -> str:
    """Return how the bot's process did not live from its start until it was told to end."""
    process, since = evidence.process, start_of(evidence)
    requests = requests_of(evidence)
    if not process.starts:
        return 'the bot never started'
    if len(process.starts) > 1:
        before = [request for request in requests if request.at < process.starts[1]]
        return 'the bot started {} times, again at {:.2f} s, after {}'.format(
            len(process.starts), process.starts[1] - since, in_words(before[-1] if before else None, since))
    if process.died is not None:
        return 'the bot ended by itself at {:.2f} s with exit code {}, after {}'.format(
            process.died - since, process.code, in_words(requests[-1] if requests else None, since))
    if process.stopped is not None and process.code != 0:
        return 'the bot was told to stop and ended with exit code {}'.format(process.code)
    return ''


# (c)

def lost_track(evidence: Evidence) -> str:
    """Return the first order that the ledger lost, command that stayed open, or request that was sent in doubt."""
    return _sent_in_doubt(evidence) or _not_in_ledger(evidence) or _unresolved(evidence)


def _sent_in_doubt(evidence):
    # type: (Evidence) -> str
    """Return the first create or amend that was sent while an earlier one for the same order was of unknown fate."""
    doubts = {}   # type: Dict[str, Request]   # name or id of an order -> the request that left it in doubt
    flying = {}   # type: Dict[str, Request]   # name or id -> the request under way
    accepted = {}  # type: Dict[str, Request]  # clOrdID -> the request that created the order
    replies, since = replies_of(evidence), start_of(evidence)
    requests = {}   # type: Dict[int, Request]
    for event in evidence.events:
        if isinstance(event, Request) and event.key == evidence.rules.key:
            requests[event.number] = event
            if event.verb in ('POST', 'PUT') and event.path == '/order':
                name = _name(event)
                if name in flying:
                    return '{} was sent while {} was under way'.format(in_words(event, since),
                                                                       in_words(flying[name], since))
                if name in doubts:
                    return '{} was sent while nobody knew what became of {}'.format(
                        in_words(event, since), in_words(doubts[name], since))
                if event.verb == 'POST' and name in accepted:
                    return '{} used a name again that {} had used'.format(in_words(event, since),
                                                                          in_words(accepted[name], since))
                reply = replies.get(event.number)
                if reply is None or not reply.is_delivered or is_doubtful(reply):
                    doubts[name] = event      # nothing may be sent before it is looked up
                elif name:
                    flying[name] = event
        elif isinstance(event, OrderRow) and event.cause in requests and requests[event.cause].verb == 'POST':
            accepted.setdefault(event.row.get('clOrdID') or '', requests[event.cause])
        elif isinstance(event, Reply) and event.number in requests:
            request = requests[event.number]
            if flying.get(_name(request)) is request:
                del flying[_name(request)]
            if request.verb == 'GET' and request.path == '/order' and event.is_delivered and event.status == 200:
                for names in event.rows:
                    _clear(doubts, names)
        elif isinstance(event, Frame) and event.table == 'order':
            _clear(doubts, event.ids)
    return ''


def _clear(doubts, names):
    # type: (Dict[str, Request], Any) -> None
    for name in names:
        doubts.pop(name, None)


def _name(request):
    # type: (Request) -> str
    """Return what a create or an amend calls its order."""
    fields = request.fields
    if request.verb == 'POST':
        return str(fields.get('clOrdID') or '')
    return str(fields.get('orderID') or fields.get('origClOrdID') or '')


def is_doubtful(reply: Reply) -> bool:
    """Tell whether a reply leaves open whether the request was carried out."""
    if reply.status == 200:
        return False
    return reply.status == 0 or (reply.status >= 500 and not (reply.status == 503 and SHED in reply.text))


def _not_in_ledger(evidence):
    # type: (Evidence) -> str
    """Return the first order of the bot's that its ledger does not have, or has as never accepted."""
    if evidence.commands is None:
        return ''
    known = {command.clOrdID: command for command in evidence.commands if command.kind == 'create'}
    walk, accepted = Walk(evidence), set()   # type: Walk, set
    for event in evidence.events:
        before = walk.step(event)
        if not isinstance(event, OrderRow) or before is not None:
            continue
        request = walk.requests.get(event.cause)
        if request is None or request.key != evidence.rules.key or request.verb != 'POST':
            continue
        name = event.row.get('clOrdID') or ''
        accepted.add(name)
        words = in_words(request, start_of(evidence))
        if name not in known:
            return 'the ledger does not have {}'.format(words)
        if known[name].state in NEVER_STATES:
            return 'the ledger has as {} what was accepted: {}'.format(known[name].state, words)
    for name, command in known.items():
        if command.state == 'done' and name not in accepted:
            return 'the ledger has as done an order that was never accepted: {}'.format(name)
    return ''


def _unresolved(evidence):
    # type: (Evidence) -> str
    """Return the first command that is still open although its fate was long certain, or clearly answered."""
    answered = None   # type: Optional[Set[Tuple[str, str]]]
    for command in evidence.commands or ():
        if command.state not in OPEN_STATES:
            continue
        if command.age > evidence.rules.certain + LATE_LOOK:
            return 'the {} of {} is still {} after {:.1f} s'.format(
                command.kind, command.clOrdID or command.orderID, command.state, command.age)
        answered = _clearly_answered(evidence) if answered is None else answered
        names = [name for name in (command.clOrdID, command.orderID) if name]
        if names and any((VERBS.get(command.kind), name) in answered for name in names):
            return 'the {} of {} is still {}, and was answered'.format(command.kind, names[0], command.state)
    return ''


def _clearly_answered(evidence):
    # type: (Evidence) -> Set[Tuple[str, str]]
    """Return (verb, name or id of an order) of which every request had a clear answer before the end was near.

    A stop in the middle of an answer, and a death, leave behind what only the next start can find out.
    """
    ends = [moment for moment in (evidence.process.stopped, evidence.process.killed, evidence.process.died)
            if moment is not None]
    replies, clear, doubtful = replies_of(evidence), set(), set()   # type: Dict[int, Reply], Set[Any], Set[Any]
    for request in requests_of(evidence):
        if request.path != '/order':
            continue
        reply = replies.get(request.number)
        is_clear = reply is not None and reply.is_delivered and not is_doubtful(reply) and all(
            reply.at < end - IN_FLIGHT or request.at > end for end in ends)
        named = {(request.verb, name) for field in ('clOrdID', 'orderID', 'origClOrdID')
                 for name in named_in(request.fields.get(field))}
        (clear if is_clear else doubtful).update(named)
    return clear - doubtful


# (e)

def beyond_limits(evidence: Evidence) -> str:
    """Return the first request that the limits refused, that exceeded them, or that came within an imposed silence."""
    replies, since = replies_of(evidence), start_of(evidence)
    quiet = silent = since   # moments until which only cancels, or nothing, may come
    told = None   # type: Optional[Reply]
    minute, second = _Bucket(evidence.rules.minute, 60.0, since), _Bucket(evidence.rules.second, 1.0, since)
    is_unsure = False   # the exchange's clock jumped, and nobody has written down how far
    for event in evidence.events:
        if isinstance(event, Reply) and event.status in (403, 429) and event.wait and event.is_delivered:
            request = [one for one in requests_of(evidence) if one.number == event.number]
            if request and event.status == 429 and request[0].verb != FORGIVEN:
                quiet, told = max(quiet, event.at + event.wait), event
            elif request:
                silent, told = max(silent, event.at + event.wait), event
        if not isinstance(event, Request):
            continue
        reply, is_ours = replies.get(event.number), event.key == evidence.rules.key
        until = max(silent, quiet) if event.verb != FORGIVEN else silent
        if is_ours and told is not None and told.at + IN_FLIGHT < event.at < until - EARLY:
            return '{} came {:.2f} s after silence of {:.2f} s was asked for'.format(
                in_words(event, since), event.at - told.at, told.wait)
        if reply is not None and reply.is_limited and is_ours:
            return 'the limits refused {}'.format(in_words(event, since))
        if reply is not None and reply.is_charged and not reply.is_limited:
            skew = _skew_at(evidence, event.at)
            if skew is None or is_unsure:
                minute.fill()
                second.fill()
            is_unsure = skew is None
            for bucket, counts in ((minute, True), (second, _is_second(event))):
                if counts and not bucket.take(event.at + (skew or 0.0)) and is_ours and event.verb != FORGIVEN:
                    return '{} is one more than {} in {:.0f} s'.format(in_words(event, since), bucket.capacity,
                                                                       bucket.seconds)
    return ''


def _skew_at(evidence, moment):
    # type: (Evidence, float) -> Optional[float]
    """Return by how much the exchange's clock, which refills its buckets, is off at a moment; None: nobody knows."""
    for trouble in evidence.troubles:
        if CLOCK in trouble.words and trouble.began <= moment < trouble.ended:
            offset = OFFSET.search(trouble.words)
            return float(offset.group(1)) if offset is not None and AGAIN not in trouble.words else None
    return 0.0


def _is_second(request):
    # type: (Request) -> bool
    return request.verb != 'GET' and request.path in ('/order', '/order/all')


class _Bucket(object):
    """A token bucket as the exchange has it, full at first; None as capacity is one without a bottom."""

    def __init__(self, capacity, seconds, now):
        # type: (Optional[int], float, float) -> None
        self.capacity, self.seconds = capacity, seconds
        self._tokens, self._at = float(capacity or 0), now

    def fill(self):
        # type: () -> None
        """Let it be full."""
        self._tokens = float(self.capacity or 0)

    def take(self, now):
        # type: (float) -> bool
        """Take a token; tell whether there was one.  A clock that went back takes none away, and what goes beyond the
        limit all the same, as cancels do, is not owed."""
        if self.capacity is None:
            return True
        passed = max(0.0, now - self._at)
        tokens = min(float(self.capacity), self._tokens + passed * self.capacity / self.seconds)
        self._at = now
        self._tokens = max(0.0, tokens - 1)
        return tokens > 1 - SLACK


# (h)

def touched(evidence: Evidence) -> str:
    """Return the first request of the bot's that named or changed an order of somebody else."""
    walk, since = Walk(evidence), start_of(evidence)
    foreign = {}   # type: Dict[str, Dict[str, Any]]   # orderID and clOrdID of foreign orders -> row
    for event in evidence.events:
        before = walk.step(event)
        if isinstance(event, OrderRow):
            row, request = event.row, walk.requests.get(event.cause)
            is_theirs = request is not None and request.key == evidence.rules.key
            if before is None and is_theirs or is_own(row, evidence):
                continue
            if before is not None and is_open(before) and row.get('ordStatus') == 'Canceled' and (
                    is_theirs or 'Cancel All After' in (row.get('text') or '')):
                what = in_words(request, since) if is_theirs else "the dead man's switch"
                return 'the order {} of somebody else was ended by {}'.format(_called(row), what)
            if before is not None and is_theirs and (before.get('cumQty') or 0) == (row.get('cumQty') or 0):
                return 'the order {} of somebody else was changed by {}'.format(_called(row), in_words(request, since))
            for name in (row.get('orderID'), row.get('clOrdID')):
                if name:
                    foreign[name] = row
        elif isinstance(event, Request) and event.key == evidence.rules.key and event.verb in ('PUT', 'DELETE'):
            for field in ('orderID', 'clOrdID', 'origClOrdID'):
                for name in named_in(event.fields.get(field)):
                    if name in foreign and event.path == '/order':
                        return 'the order {} of somebody else was named by {}'.format(_called(foreign[name]),
                                                                                      in_words(event, since))
    return ''


def _called(row):
    # type: (Dict[str, Any]) -> str
    return row.get('clOrdID') or row.get('orderID') or '?'
