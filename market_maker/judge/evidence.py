"""What the judge is handed: what the exchange saw of one account, in order, and what is known of the bot itself.

Moments are seconds of one monotonic clock, which the exchange and the bot share: they run on one machine.
"""
from __future__ import absolute_import

import re
from collections import namedtuple
from typing import Any, Dict, Iterable, List, Optional, Tuple  # noqa: F401

# Events, as the exchange saw them

Request = namedtuple('Request', 'at number key verb path fields')
Request.__doc__ = """A signed request arrives: its number, its API key, verb, path below /api/v1, and its parameters."""

Reply = namedtuple('Reply', 'at number status wait text is_delivered is_charged is_limited rows')
Reply.__doc__ = """A request ends: the status that was sent (0: none).

``wait`` are the seconds of silence that it asks for, or None; ``text`` the error in its body; ``is_delivered`` False
when the answer was lost on its way; ``is_charged`` tells that the exchange's limits counted the request, ``is_limited``
that they, and no fault, refused it; ``rows`` are the orders in the answer that were done as asked or looked up, as
(orderID, clOrdID).
"""

OrderRow = namedtuple('OrderRow', 'at cause row')
OrderRow.__doc__ = """An order was accepted or has changed: its whole row afterwards.

``cause`` is the number of the request that was being carried out, or None: a fill, a timer, somebody else.
"""

Execution = namedtuple('Execution', 'at cause row')
Execution.__doc__ = """An execution row of the account, of whatever execType."""

Opened = namedtuple('Opened', 'at session key topics')
Opened.__doc__ = """A WebSocket of an API key is open; ``topics`` are the tables of which it awaits an image."""

Closed = namedtuple('Closed', 'at session')
Closed.__doc__ = """It is closed, by whichever side."""

Frame = namedtuple('Frame', 'at session table action ids touch is_symbol')
Frame.__doc__ = """A message was delivered: a table's ('' for any other sign of life).

``ids`` are the orderIDs of an order message, ``touch`` is (bid, ask) of a quote or instrument message that shows them,
or None, and ``is_symbol`` tells that a row of the quoted contract is in it.
"""

# What is known of the bot

Wanted = namedtuple('Wanted', 'began ended buys sells')
Wanted.__doc__ = """One call of ``converge_orders``: what the strategy asked for, as (price, contracts) a side.

``ended`` is None when the call never returned.
"""

Trouble = namedtuple('Trouble', 'began ended words')
Trouble.__doc__ = """A fault of the exchange, from when to when."""

Process = namedtuple('Process', 'starts died code stopped killed gone')
Process.__doc__ = """The bot's process.

``starts`` are the moments at which it began (a restart in place is a second one); ``died`` tells when it ended by
itself, ``stopped`` when it was told to, ``killed`` when it was killed, each None if it was not; ``gone`` when it had
ended, and ``code`` is its exit code.
"""

Command = namedtuple('Command', 'kind clOrdID orderID state age')
Command.__doc__ = """A row of the bot's ledger at the end; ``age`` in seconds since it was written, until the end."""

BotFill = namedtuple('BotFill', 'execID side quantity price fee')
BotFill.__doc__ = """A fill as the bot has booked it; ``fee`` in minor units."""

Summary = namedtuple('Summary', 'fills bought sold position realised')
Summary.__doc__ = """The bot's closing words: fills, contracts bought and sold, position, result in minor units."""

Contract = namedtuple('Contract', 'symbol kind multiplier lot tick')
Contract.__doc__ = """The quoted contract: ``kind`` is inverse, linear or quanto, ``multiplier`` has no sign.

``tick`` is the largest that was in force.
"""

Rules = namedtuple('Rules', 'key prefix lowest highest relist heartbeat stale_after echo_timeout pull_within '
                            'deadman certain minute second')
Rules.__doc__ = """What the bot promises under the settings of this run.

``lowest`` and ``highest`` bound the position (contracts, or None); ``relist`` is a fraction of the price;
``heartbeat``, ``stale_after`` and ``echo_timeout`` are the seconds after which it calls its data stale, ``pull_within``
those that taking the quotes back may then need; ``deadman`` are those of the dead man's switch, ``certain`` those after
which an order of unknown fate is known to be absent; ``minute`` and ``second`` are the exchange's limits, None without.
"""

Books = namedtuple('Books', 'quantity wallet_change')
Books.__doc__ = """What the exchange's books say at the end: the position in the quoted contract, and by how much the
wallet of its settlement currency has changed."""

Evidence = namedtuple('Evidence', 'events wanted names own_names troubles process commands fills summary books '
                                  'contract neighbours rules start_quantity start_cost')
Evidence.__doc__ = """Everything there is on one run.

``events`` are in order; ``names`` are the clOrdIDs that came out of ``converge_orders``, ``own_names`` those that the
bot sent at all; ``commands``, ``fills`` and ``summary`` may be None where there is no such thing.  ``neighbours`` are
the other contracts that are settled in the same currency, without a position at the beginning; ``start_quantity`` and
``start_cost`` (signed minor units) are those of the position in the quoted one.
"""

Finding = namedtuple('Finding', 'letter title is_kept words')
Finding.__doc__ = """What came out for one invariant; ``words`` name the first offence, '' for none."""

ENDED = ('Canceled', 'Filled', 'Rejected', 'Expired', 'DoneForDay')
RANDOM_PART = re.compile(r'[A-Za-z0-9+/]{22}\Z')


def is_own(row: Dict[str, Any], evidence: Evidence) -> bool:
    """Tell whether an order is the bot's: a name of its making, or one that it was seen to send."""
    name = row.get('clOrdID') or ''
    if name in evidence.own_names:
        return True
    prefix = evidence.rules.prefix
    return name.startswith(prefix) and RANDOM_PART.match(name[len(prefix):]) is not None


def is_open(row: Dict[str, Any]) -> bool:
    """Tell whether an order still works, or waits to."""
    return row.get('ordStatus') not in ENDED and (row.get('leavesQty') or 0) > 0


def requests_of(evidence: Evidence) -> List[Request]:
    """Return the bot's requests."""
    return [event for event in evidence.events if isinstance(event, Request) and event.key == evidence.rules.key]


def replies_of(evidence: Evidence) -> Dict[int, Reply]:
    """Return the reply to each request by its number; one that never ended has none."""
    return {event.number: event for event in evidence.events if isinstance(event, Reply)}


def named_in(value: Any) -> List[str]:
    """Return the ids in a parameter that is one id, a list of them, or text with commas."""
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return [word for word in str(value).split(',') if word] if value else []


def in_words(request: Optional[Request], since: float) -> str:
    """Return a request as the table shows it: its number, when it came, and what it asked for."""
    if request is None:
        return 'no request'
    fields = ' '.join('{}={}'.format(name, request.fields[name]) for name in sorted(request.fields))
    text = '#{} at {:.2f} s: {} {} {}'.format(request.number, request.at - since, request.verb, request.path, fields)
    text = text.rstrip()
    return text if len(text) <= 200 else text[:197] + '...'


def start_of(evidence: Evidence) -> float:
    """Return the moment from which the table counts."""
    return evidence.events[0].at if evidence.events else 0.0
