"""Each fault alone: the bot runs through it, keeps its promises, and is judged from the exchange's side.

With the marker ``soak``, at full length and all of them shortly in a row; the default suite has a short mixture of all
faults (test_chaos.py).
"""
import collections

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from trials import running, verdict  # noqa: E402

from market_maker.commands import trial  # noqa: E402


def with_fault(*faults):
    """Return an act that has faults, (name, options) each, on together for its seconds, and a calm while after it."""
    def act(one, seconds):
        on = [one.testnet.faults.on(name, **options) for name, options in faults]
        one.go_on(seconds)
        for fault in on:
            one.testnet.faults.off(fault)
        one.go_on(1.0)
    return act


def dropped_sockets(one, seconds):
    """Twenty in two minutes; in each gap the market trades with the bot, and somebody cancels one of its orders."""
    for _ in range(max(2, int(seconds // 6))):
        one.testnet.drop_sockets()
        one.testnet.call(lambda: one.hit(one.rng))
        one.testnet.call(lambda: cancel_one(one))
        one.go_on(seconds / max(2, seconds // 6))


def cancel_one(one):
    """Cancel an order of the bot's by hand, as its owner may."""
    orders = [order.row['orderID'] for order in one.account.orders.values() if order.row['ordStatus'] == 'New']
    if orders:
        one.testnet.exchange.cancel(one.account, {'orderID': one.rng.choice(orders)})


def lost_replies(one, seconds):
    """Fifty of them (one a second, if there is less time), before and after execution, among clean calls."""
    each = max(2, int(min(50, seconds) // 2))
    faults = [one.testnet.faults.on(name, verbs=verbs, count=count, rate=0.4)
              for name, verbs, count in (('lost-reply', 'POST+PUT', each), ('lost-request', 'PUT+DELETE+GET', each))]
    one.go_on(seconds * 6, lambda: all(fault.is_spent for fault in faults))
    for fault in faults:
        one.testnet.faults.off(fault)
    assert seconds < 60 or all(fault.is_spent for fault in faults), [fault.hits for fault in faults]


def late_order(one, seconds):
    """An order that appears long after its answer was lost."""
    fault = one.testnet.faults.on('late-create', count=1, delay=min(40.0, seconds))
    one.go_on(30.0, lambda: fault.hits)
    one.go_on(min(40.0, seconds) + 1.0)
    one.testnet.faults.off(fault)


# name -> (act, seconds in full length, seconds in the short form)
ALONE = collections.OrderedDict([
    ('rotating errors and stalls', (with_fault(('rotating-errors', {'rate': 0.8}), ('stall', {})), 60, 1.5)),
    ('dropped sockets', (dropped_sockets, 120, 1.5)),
    ('lost replies', (lost_replies, 60, 1.0)),
    ('a late order', (late_order, 40, 1.0)),
    ('silence of quote', (with_fault(('silent-table', {'tables': 'quote'})), 30, 1.0)),
    ('silence of order', (with_fault(('silent-table', {'tables': 'order'})), 30, 1.0)),
    ('lag', (with_fault(('lag', {'delay': 4.0})), 30, 1.0)),
    ('lag of order and position', (with_fault(('lag', {'delay': 4.0, 'tables': 'order+position'})), 30, 1.0)),
    ('partials missing', (with_fault(('missing-partial', {'count': 3})), 30, 1.0)),
    ('partials doubled', (with_fault(('doubled-partial', {'delay': 0.5})), 30, 1.0)),
    ('partials late', (with_fault(('late-partial', {'delay': 2.0})), 30, 1.0)),
    ('amends refused', (with_fault(('invalid-ordstatus', {})), 30, 1.0)),
    ('duplicate names', (with_fault(('duplicate-clordid', {'rate': 0.5})), 30, 0.5)),
    ('duplicate names that are not', (with_fault(('duplicate-clordid', {'rate': 0.5, 'executed': True})), 30, 0.5)),
    ('429', (with_fault(('rate-limited', {'retry_after': 2, 'rate': 0.3})), 30, 1.0)),
    ('403', (with_fault(('ban', {'retry_after': 3})), 30, 0.5)),
    ('tick size', (with_fault(('tick-size', {})), 30, 1.0)),
    ('restart', (with_fault(('restart', {'down': 2.0, 'every': 12.0})), 30, 0.5)),
    ('restart without orders', (with_fault(('restart', {'down': 2.0, 'books': 'canceled', 'every': 12.0})), 30, 0.5)),
    ('clock', (with_fault(('clock-skew', {'offset': 30.0, 'every': 5.0})), 30, 1.0)),
])


# Under the timers of a short run, data that come four seconds late are no data; under these they are quoted on.
PATIENT = dict(trial.SCALED, HEARTBEAT=5, STALE_AFTER=15, ECHO_TIMEOUT=15)


@pytest.mark.soak
@pytest.mark.parametrize('name', list(ALONE))
def test_a_fault_alone(tmp_path, name):
    """The bot comes through, and every promise is kept."""
    act, seconds, _ = ALONE[name]

    # An order of unknown fate is given a whole minute where one comes forty seconds late.
    with running(tmp_path, seed=len(name), certain=None if name == 'a late order' else 6.0,
                 settings=PATIENT if name.startswith('lag') else trial.SCALED) as one:
        act(one, seconds)
        evidence = verdict(one)

    assert len(evidence.wanted) > 20


@pytest.mark.soak
def test_all_faults_shortly(tmp_path):
    """One bot, one fault after the other, a second or so of each."""
    with running(tmp_path, seed=5, certain=3.0) as one:
        for act, _, seconds in ALONE.values():
            act(one, seconds)
            assert one.is_alive()
        evidence = verdict(one)

    assert len({trouble.words.split()[1] for trouble in evidence.troubles}) >= 12
