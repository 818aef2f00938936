"""(f) nothing is quoted while a table is stale or not yet there again.

What the bot could know is what was delivered to it; from that follow the spans in which it had no right to quote.
"""
from __future__ import absolute_import

from collections import namedtuple
from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.judge.evidence import (Closed, Evidence, Frame, Opened, Reply, Request, in_words,  # noqa: F401
                                         replies_of, requests_of, start_of)
from market_maker.judge.walk import SIDES, Walk

Span = namedtuple('Span', 'began ended words')
Span.__doc__ = """A stretch of time in which the bot's data could not be trusted, and why."""

RACE = 2.0         # seconds by which quote and instrument may be ahead of each other: tables come in any order
CUT_GRACE = 0.75   # seconds to notice that a socket is cut, and for what was sent by then to arrive
TIMED_GRACE = 1.5  # seconds to notice that time is up


def stale_spans(evidence: Evidence) -> List[Span]:
    """Return the spans in which the data that was delivered to the bot was stale or incomplete, in order."""
    spans = (_without_images(evidence) + _silence(evidence) + _echoless(evidence) + _disagreement(evidence))
    return sorted(spans)


def quoted_on_stale_data(evidence: Evidence) -> str:
    """Return the first create or amend that came while the data was stale, or order that was left resting then."""
    since = start_of(evidence)
    for span in stale_spans(evidence):
        grace = CUT_GRACE if span.words.startswith('no ') else TIMED_GRACE
        for request in requests_of(evidence):
            if (span.began + grace < request.at < span.ended and request.verb in ('POST', 'PUT')
                    and request.path == '/order' and not _reduces(request)):
                return '{} came {:.2f} s after {}'.format(in_words(request, since), request.at - span.began, span.words)
        fault = _left_resting(evidence, span, span.began + grace + evidence.rules.pull_within)
        if fault:
            return fault
    return ''


def _reduces(request):
    # type: (Request) -> bool
    """Tell whether a request can only make a position smaller."""
    execution = str(request.fields.get('execInst') or '')
    return 'ReduceOnly' in execution or 'Close' in execution


def _left_resting(evidence, span, deadline):
    # type: (Evidence, Span, float) -> str
    """Return an order that was not taken back within a stale span, although the exchange took cancels."""
    if span.ended <= deadline or (evidence.process.stopped or evidence.process.killed or deadline) < deadline:
        return ''
    if any(trouble.began < deadline and trouble.ended > span.began and trouble.words.startswith('rest')
           for trouble in evidence.troubles) or _was_refused(evidence, span.began, deadline):
        return ''
    walk = Walk(evidence)
    for event in evidence.events:
        if event.at > deadline:
            break
        walk.step(event)
    for side in SIDES:
        for row in walk.working(side):
            return '{} {} @ {} ({}) still rested {:.2f} s after {}; it came with {}'.format(
                side, row.get('leavesQty'), row.get('price'), row.get('clOrdID'), deadline - span.began, span.words,
                in_words(walk.makers.get(row['orderID']), start_of(evidence)))
    return ''


def _was_refused(evidence, since, until):
    # type: (Evidence, float, float) -> bool
    """Tell whether the exchange left a request without a good answer, or imposed silence, between two moments."""
    for event in evidence.events:
        if isinstance(event, Reply):
            ended = event.at + (event.wait or 0)
            if event.at < until and ended > since and (not event.is_delivered or event.status >= 500 or
                                                       event.status in (0, 403, 429)):
                return True
    return False


def _end(evidence):
    # type: (Evidence) -> float
    process = evidence.process
    ends = [moment for moment in (process.stopped, process.killed, process.died) if moment is not None]
    return min(ends) if ends else evidence.events[-1].at if evidence.events else 0.0


def _mine(evidence):
    # type: (Evidence) -> List[Any]
    """Return the events of the bot's own sockets, up to the end."""
    sessions = {event.session for event in evidence.events if isinstance(event, Opened)
                and event.key == evidence.rules.key}
    end = _end(evidence)
    return [event for event in evidence.events if isinstance(event, (Opened, Closed, Frame))
            and event.session in sessions and event.at <= end]


def _without_images(evidence):
    # type: (Evidence) -> List[Span]
    """Return the spans without a connection, or without an image of every table."""
    spans, missing = [], set()   # type: List[Span], set
    current = None   # type: Any      # the newest session
    broken = None    # type: Optional[float]   # since when there was no complete set of tables
    why = ''
    for event in _mine(evidence):
        if isinstance(event, Opened):
            is_first = current is None
            current, missing = event.session, set(event.topics)
            if broken is None and not is_first:
                broken = event.at
            why = why or 'no connection'
        elif event.session != current:
            continue
        elif isinstance(event, Closed):
            if broken is None:
                broken, why = event.at, 'no connection'
        elif event.action == 'partial' and event.table in missing:
            missing.discard(event.table)
            if not missing and broken is not None:
                spans.append(Span(broken, event.at, why))
                broken, why = None, ''
    if broken is not None:
        spans.append(Span(broken, _end(evidence), why))
    return spans


def _silence(evidence):
    # type: (Evidence) -> List[Span]
    """Return the spans in which nothing had come for two heartbeats, or no row of the contract for too long."""
    rules, spans = evidence.rules, []   # type: Any, List[Span]
    heard = shown = None   # type: Optional[float]
    for event in _mine(evidence):
        if isinstance(event, Opened):
            heard = shown = event.at
            continue
        if heard is None or shown is None:
            continue
        if event.at - heard > 2 * rules.heartbeat:
            spans.append(Span(heard + 2 * rules.heartbeat, event.at, 'silence of the socket'))
        if isinstance(event, Closed):
            heard = None
            continue
        heard = event.at
        if event.table == 'instrument' and event.is_symbol:
            if event.at - shown > rules.stale_after:
                spans.append(Span(shown + rules.stale_after, event.at, 'silence about the instrument'))
            shown = event.at
    end = _end(evidence)
    if heard is not None and shown is not None:
        if end - heard > 2 * rules.heartbeat:
            spans.append(Span(heard + 2 * rules.heartbeat, end, 'silence of the socket'))
        if end - shown > rules.stale_after:
            spans.append(Span(shown + rules.stale_after, end, 'silence about the instrument'))
    return spans


def _echoless(evidence):
    # type: (Evidence) -> List[Span]
    """Return the spans in which an accepted command had not shown in the order table for too long."""
    spans, patience = [], evidence.rules.echo_timeout   # type: List[Span], float
    replies = replies_of(evidence)
    echoes = {}   # type: Dict[str, List[float]]
    images = []   # type: List[float]
    for event in _mine(evidence):
        if isinstance(event, Frame) and event.table == 'order':
            if event.action == 'partial':
                images.append(event.at)
            for order_id in event.ids:
                echoes.setdefault(order_id, []).append(event.at)
    end = _end(evidence)
    for request in requests_of(evidence):
        reply = replies.get(request.number)
        if (reply is None or not reply.is_delivered or reply.status != 200 or request.path != '/order'
                or request.verb == 'GET'):
            continue
        for order_id, _ in reply.rows:
            seen = [at for at in echoes.get(order_id, []) + images if at >= request.at]
            mirrored = min(seen) if seen else end
            if mirrored - reply.at > patience:
                spans.append(Span(reply.at + patience, mirrored, 'silence about {} {}'.format(
                    request.verb, order_id)))
    return spans


def _disagreement(evidence):
    # type: (Evidence) -> List[Span]
    """Return the spans in which quote and instrument had shown different prices for too long."""
    spans = []   # type: List[Span]
    shown = {'quote': [], 'instrument': []}   # type: Dict[str, List[Tuple[float, Any]]]   # touches with their times
    differ = None   # type: Optional[float]
    patience = evidence.rules.stale_after
    for event in _mine(evidence):
        if isinstance(event, (Opened, Closed)):
            shown, differ = {'quote': [], 'instrument': []}, None
            continue
        if event.touch is None or event.table not in shown or not event.is_symbol:
            continue
        other = shown['instrument' if event.table == 'quote' else 'quote']
        shown[event.table] = shown[event.table][-200:] + [(event.at, event.touch)]
        if not other:
            continue
        agrees = other[-1][1] == event.touch or any(touch == event.touch and event.at - _until(other, place) <= RACE
                                                    for place, (_, touch) in enumerate(other))
        if not agrees and differ is None:
            differ = event.at
        elif agrees and differ is not None:
            if event.at - differ > patience + RACE:
                spans.append(Span(differ + patience + RACE, event.at, 'quote and instrument disagree'))
            differ = None
    if differ is not None and _end(evidence) - differ > patience + RACE:
        spans.append(Span(differ + patience + RACE, _end(evidence), 'quote and instrument disagree'))
    return spans


def _until(touches, place):
    # type: (List[Tuple[float, Any]], int) -> float
    """Return the last moment at which a touch was the newest one."""
    return touches[place + 1][0] if place + 1 < len(touches) else touches[place][0]
