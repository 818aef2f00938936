"""Mixtures of faults under one name: some that last, and others that come by turns."""
import collections
from typing import Any, Dict, List, NamedTuple, Tuple  # noqa: F401

Named = List[Tuple[str, Dict[str, Any]]]

Profile = NamedTuple('Profile', [('about', str), ('steady', Named), ('turns', Named), ('calm', Tuple[float, float]),
                                 ('length', Tuple[float, float])])
Profile.__doc__ = """``steady`` faults are on all along; of ``turns`` one at a time is drawn: after ``calm`` seconds
without, it is on for ``length`` seconds (each drawn between the two bounds)."""

_WRITES = 'POST+PUT+DELETE'

OVERLOAD = Profile(
    'a busy exchange: shed orders, errors of the gateway, late answers, late data',
    [('overloaded', {'rate': 0.3}), ('slow-reply', {'rate': 0.1, 'delay': 0.5})],
    [('rotating-errors', {}), ('stall', {'rate': 0.3}), ('lag', {'delay': 1.0}), ('gateway-timeout', {'rate': 0.5}),
     ('unavailable', {'rate': 0.5, 'executed': True}), ('rate-limited', {'rate': 0.5})],
    (1.0, 4.0), (1.0, 3.0))

RALLY = Profile(
    'a fast market: orders that are over when they are answered, amends that come too late, shed orders',
    [('overloaded', {'rate': 0.2})],
    [('filled-at-once', {'rate': 0.5}), ('canceled-at-once', {'rate': 0.5}), ('invalid-ordstatus', {'rate': 0.7}),
     ('cancel-errors', {}), ('lag', {'delay': 2.0}), ('reordered', {}), ('manual-trade', {'side': 'either'})],
    (1.0, 3.0), (1.0, 3.0))

FLAKY_NETWORK = Profile(
    'a bad line: lost requests and answers, resets, dropped and silent sockets',
    [('lost-reply', {'rate': 0.05}), ('lost-request', {'rate': 0.05})],
    [('reset-before', {'rate': 0.5}), ('reset-after', {'rate': 0.5}), ('truncated', {'rate': 0.5}),
     ('stall', {'rate': 0.5}), ('dropped-sockets', {}), ('dropped-sockets', {'close': True}), ('silent-sockets', {}),
     ('lag', {'delay': 1.0}), ('slow-reply', {'delay': 0.5}), ('refused-upgrade', {})],
    (1.0, 4.0), (1.0, 3.0))

MAINTENANCE = Profile(
    'a day of work at the exchange: closed markets, restarts, everything down, clocks that jump',
    [],
    [('outage', {}), ('market-closed', {}), ('restart', {'down': 0.5}),
     ('restart', {'down': 0.5, 'books': 'canceled'}), ('dropped-sockets', {'close': True}),
     ('refused-upgrade', {'status': '429'}), ('unavailable-html', {}), ('clock-skew', {'offset': 10}),
     ('forbidden', {}), ('ban', {})],
    (2.0, 5.0), (1.0, 4.0))

# Everything that leaves a bot something to go on with: a contract that has settled does not come back.
EVERYTHING = Profile(
    'all of it, one after the other',
    [('lost-reply', {'rate': 0.02, 'verbs': _WRITES}), ('overloaded', {'rate': 0.05})],
    OVERLOAD.turns + RALLY.turns + FLAKY_NETWORK.turns + MAINTENANCE.turns + [
        ('late-create', {'rate': 0.5, 'delay': 4.0}), ('not-json', {'rate': 0.5}),
        ('not-json', {'rate': 0.5, 'executed': True}), ('unknown-error', {'rate': 0.5}),
        ('duplicate-clordid', {'rate': 0.5}), ('duplicate-clordid', {'rate': 0.5, 'executed': True}),
        ('cancel-not-found', {'always': True, 'rate': 0.5}), ('internal-error', {'executed': True, 'rate': 0.5}),
        ('unauthorized', {'rate': 0.5}), ('silent-table', {'tables': 'quote'}), ('silent-table', {'tables': 'order'}),
        ('silent-table', {'tables': 'instrument'}), ('silent-table', {'tables': 'execution'}),
        ('silent-table', {'tables': 'position'}), ('duplicate-inserts', {}), ('crossed-book', {}), ('empty-book', {}),
        ('tick-size', {}), ('missing-partial', {}), ('doubled-partial', {'delay': 0.5}),
        ('late-partial', {'delay': 1.0}), ('early-deltas', {'delay': 0.5}),
        ('slow-request', {'delay': 0.5, 'rate': 0.5})],
    (0.5, 2.0), (0.5, 2.5))

# A refused key ends a bot by right, and so does a ban that does not say how long it lasts, for the length of a short
# run.  Tables are silent for longer here than anybody should believe them.
_DEADLY = ('unauthorized', 'forbidden', 'ban')
SURVIVABLE = Profile(
    'everything that a bot has to come through in one process; what `marketmaker chaos` plays',
    EVERYTHING.steady,
    [turn for turn in EVERYTHING.turns if turn[0] not in _DEADLY + ('silent-table',)] + [
        ('ban', {'retry_after': 2})] + [
        ('silent-table', {'tables': table, 'seconds': 5.0})
        for table in ('quote', 'order', 'instrument', 'execution', 'position')],
    EVERYTHING.calm, EVERYTHING.length)

PROFILES = collections.OrderedDict([
    ('overload', OVERLOAD), ('rally', RALLY), ('flaky-network', FLAKY_NETWORK), ('maintenance', MAINTENANCE),
    ('everything', EVERYTHING), ('survivable', SURVIVABLE)])  # type: collections.OrderedDict[str, Profile]
