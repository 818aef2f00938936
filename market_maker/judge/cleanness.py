"""(g) no order of the bot's rests that it does not want: two cycles after trouble, after a stop, after its death."""
from __future__ import absolute_import

from typing import Any, Dict, List, Optional, Set, Tuple  # noqa: F401

from market_maker.judge.conduct import is_doubtful
from market_maker.judge.evidence import (Evidence, Frame, OrderRow, Reply, Request, in_words, is_own,  # noqa: F401
                                         replies_of, requests_of, start_of)
from market_maker.judge.freshness import stale_spans
from market_maker.judge.walk import SIDES, Walk

CYCLES = 2           # whole calls of converge_orders that the bot has to put its orders right
LATE_TIMER = 1.0     # seconds by which the exchange's dead man's switch may be late
RESERVE = 0.1        # part of the minute's allowance that the bot keeps for cancels
LOOK = 2.0           # seconds that the last look for an order of unknown fate may have to wait for its turn
HUNG = 60.0          # seconds without a cycle, and without a trouble, after which the bot hangs


def left_behind(evidence: Evidence) -> str:
    """Return the first order that rested where it was not wanted any more; '' for none."""
    return _off_the_ladder(evidence) or _after_the_end(evidence)


# While it runs

def _off_the_ladder(evidence):
    # type: (Evidence) -> str
    """Return the first order that two undisturbed cycles did not put right.

    An order of unknown fate is excused itself, and excuses no other.
    """
    calls = [call for call in evidence.wanted if call.ended is not None]
    restless, doubts = restless_spans(evidence), _doubts(evidence)
    walk, place = Walk(evidence), 0
    for number in range(CYCLES, len(calls)):
        moment = calls[number].began
        while place < len(evidence.events) and evidence.events[place].at < moment:
            walk.step(evidence.events[place])
            place += 1
        cycles = calls[number - CYCLES:number]
        if any(began < moment and ended > cycles[0].began for began, ended in restless):
            continue
        unknown = {name for name, began, ended in doubts if began < moment and ended > cycles[0].began}
        for side in SIDES:
            fault = _unwanted(evidence, walk, side, cycles, unknown)
            if fault:
                return '{:.2f} s: {}'.format(moment - start_of(evidence), fault)
    return _hung(evidence, sorted(restless + [(began, ended) for _, began, ended in doubts]))


def _unwanted(evidence, walk, side, cycles, unknown):
    # type: (Evidence, Walk, str, List[Any], Set[str]) -> str
    """Return the order that no ladder of these cycles has, or the one that is too many; ``unknown`` are the names of
    those that count for neither."""
    ladders = [call.buys if side == 'Buy' else call.sells for call in cycles]
    resting = [row for row in walk.working(side) if unknown.isdisjoint((row['orderID'], row.get('clOrdID')))]
    for row in resting:
        price = row.get('price')
        if price is None:
            continue
        room = evidence.rules.relist * price + evidence.contract.tick / 2.0
        if not any(abs(wanted - price) <= room for ladder in ladders for wanted, _ in ladder if wanted is not None):
            return '{} {} @ {} ({}) is in no ladder of the last {} cycles; it came with {}'.format(
                side, row.get('leavesQty'), price, row.get('clOrdID'), CYCLES,
                in_words(walk.makers.get(row['orderID']), start_of(evidence)))
    most = max(len(ladder) for ladder in ladders)
    if len(resting) > most:
        return '{} orders rest on the {} side, wanted were {} at most'.format(len(resting), side, most)
    return ''


def _hung(evidence, restless):
    # type: (Evidence, List[Tuple[float, float]]) -> str
    """Return where the bot, undisturbed, made no cycle for long."""
    ends = [moment for moment in (evidence.process.stopped, evidence.process.killed, evidence.process.died)
            if moment is not None] or [event.at for event in evidence.events[-1:]]
    moments = [call.began for call in evidence.wanted] + ends[:1]
    for before, after in zip(moments, moments[1:]):
        quiet = before
        for began, ended in restless:
            if began < after and ended > quiet:
                if began - quiet > HUNG:
                    break
                quiet = max(quiet, ended)
        if after - quiet > HUNG:
            return 'no cycle from {:.2f} s on for {:.1f} s, with nothing in the way'.format(
                quiet - start_of(evidence), after - quiet)
    return ''


def restless_spans(evidence: Evidence) -> List[Tuple[float, float]]:
    """Return the spans in which the bot could not be expected to put its orders right: faults, what the exchange asked
    for or had not answered, data that was stale, an allowance that was used up."""
    spans = [(trouble.began, trouble.ended) for trouble in evidence.troubles]
    spans += [(span.began, span.ended) for span in stale_spans(evidence)]
    return sorted(spans + _silences(evidence) + _used_up(evidence))


def _silences(evidence):
    # type: (Evidence) -> List[Tuple[float, float]]
    """Return when a request was without a good answer, and for how long silence was asked for."""
    ours = {request.number: request for request in requests_of(evidence)}
    return [(ours[event.number].at, event.at + (event.wait or 0.0)) for event in evidence.events
            if isinstance(event, Reply) and event.number in ours and (event.wait or event.status != 200 or
                                                                      not event.is_delivered)]


def _doubts(evidence):
    # type: (Evidence) -> List[Tuple[str, float, float]]
    """Return the names and ids of orders with a command of unknown fate, and from when to when it was.

    It ends when the bot is shown what became of it; a command that was not carried out shows nothing, so of that it
    lasts until it is certain.
    """
    spans = []                  # type: List[Tuple[str, float, float]]
    open_since = {}             # type: Dict[str, Tuple[Request, float]]   # -> and until when at the longest
    requests, carried_out = {}, set()   # type: Dict[int, Request], Set[int]
    names = {}                  # type: Dict[str, str]   # orderID -> clOrdID
    for event in evidence.events:
        shown = ()              # type: Tuple[str, ...]
        if isinstance(event, Request) and event.key == evidence.rules.key:
            requests[event.number] = event
        elif isinstance(event, OrderRow):
            names[event.row['orderID']] = event.row.get('clOrdID') or ''
            if event.cause in requests:
                carried_out.add(event.cause)
        elif isinstance(event, Frame) and event.table == 'order':
            shown = tuple(event.ids) + tuple(names.get(order_id, '') for order_id in event.ids)
        elif isinstance(event, Reply) and event.number in requests and requests[event.number].path == '/order':
            request, fields = requests[event.number], requests[event.number].fields
            if request.verb == 'GET' and event.is_delivered:
                shown = tuple(name for row in event.rows for name in row)
            elif request.verb in ('POST', 'PUT') and (not event.is_delivered or is_doubtful(event)):
                for name in (fields.get('clOrdID'), fields.get('orderID'), fields.get('origClOrdID')):
                    known = open_since.get(name or '')
                    if known is not None and known[1] < request.at:   # that one is certain by now
                        spans.append((name, known[0].at, known[1]))
                    if name and (known is None or known[1] < request.at):
                        open_since[name] = request, event.at + evidence.rules.certain + LOOK
        for name in shown:
            if name in open_since and (open_since[name][0].verb == 'POST' or open_since[name][0].number in carried_out):
                spans.append((name, open_since.pop(name)[0].at, event.at))
    return spans + [(name, request.at, until) for name, (request, until) in open_since.items()]


def _used_up(evidence):
    # type: (Evidence) -> List[Tuple[float, float]]
    """Return when the minute's allowance was down to the part that is kept for cancels."""
    limit = evidence.rules.minute
    if limit is None:
        return []
    spans, tokens, at = [], float(limit), start_of(evidence)   # type: List[Tuple[float, float]], float, float
    least = limit * RESERVE + 2
    replies = replies_of(evidence)
    for event in evidence.events:
        if not isinstance(event, Request) or event.number not in replies or not replies[event.number].is_charged:
            continue
        tokens, at = min(float(limit), tokens + (event.at - at) * limit / 60.0) - 1, event.at
        if tokens < least:
            spans.append((event.at - 1.0, event.at + (least - tokens) * 60.0 / limit))
    return spans


# After its end

def _after_the_end(evidence):
    # type: (Evidence) -> str
    """Return an order that still rested when the bot had stopped, or when the dead man's switch had to be over."""
    process = evidence.process
    if process.stopped is not None and process.gone is not None:
        return _resting_at(evidence, process.gone, 'after the bot had stopped')
    if process.killed is not None:
        until = armed_until(evidence, process.killed)
        if until is not None:
            return _resting_at(evidence, until + LATE_TIMER, "after the dead man's switch of the killed bot")
    return ''


def armed_until(evidence: Evidence, moment: float) -> Optional[float]:
    """Return when the dead man's switch that the bot had armed by a moment goes off; None when it was not armed."""
    asked, until = {}, None   # type: Dict[int, Any], Optional[float]
    for event in evidence.events:
        if event.at > moment:
            break
        if isinstance(event, Request) and event.key == evidence.rules.key and event.path == '/order/cancelAllAfter':
            asked[event.number] = event.fields.get('timeout')
        elif isinstance(event, Reply) and event.number in asked and event.status == 200:
            seconds = float(asked[event.number] or 0) / 1000.0
            until = event.at + seconds if seconds else None
    return until if until is not None and until > moment else None


def _resting_at(evidence, moment, when):
    # type: (Evidence, float, str) -> str
    walk = Walk(evidence)
    for event in evidence.events:
        if event.at > moment:
            break
        walk.step(event)
    for row in walk.own():
        if row.get('clOrdID') in evidence.names:
            return '{} {} @ {} ({}) rested {}; it came with {}'.format(
                row.get('side'), row.get('leavesQty'), row.get('price'), row.get('clOrdID'), when,
                in_words(walk.makers.get(row['orderID']), start_of(evidence)))
    return ''
