"""Bots that are killed, and bots that share an account: nothing is lost, doubled, left behind, or touched by others."""
import random
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from trials import log_of, project, running, verdict  # noqa: E402

from market_maker.commands import trial  # noqa: E402
from market_maker.judge import cleanness  # noqa: E402
from market_maker.judge.evidence import Execution  # noqa: E402
from market_maker.judge.verdict import judge  # noqa: E402

TIMEOUT = trial.SCALED['DEADMAN_TIMEOUT']   # seconds


def kill_often(folder, times, seed):
    """Kill a bot at random moments of its start and its life, start it again each time, and judge all of it."""
    rng = random.Random('kill {}'.format(seed))
    with running(folder, seed=seed, by_hand=True) as one:
        for _ in range(times):
            one.go_on(rng.uniform(0.0, 2.0))
            one.kill()
            one.testnet.call(lambda: one.hit(one.rng))   # a fill that no bot sees
            one.wait(lambda: False, rng.uniform(0.0, 0.5))
            one.start(waits=rng.random() < 0.7)
            one.wait(lambda: False, rng.uniform(0.0, 1.0))
        one.wait(lambda: one.cycles() > 0 and one.lines()[-1]['what'] == 'done', trial.START_WITHIN)
        evidence = verdict(one)
    assert len(evidence.process.starts) == 1
    return evidence


@pytest.mark.soak
def test_fifty_kills_lose_nothing(tmp_path):
    """SIGKILL at fifty random moments, then a restart: no duplicate, no orphan, no lost fill."""
    evidence = kill_often(tmp_path, 50, 1)

    fills = [event for event in evidence.events if isinstance(event, Execution) and event.row['execType'] == 'Trade']
    assert len(fills) > 25   # about one a life, where it has come to quote


@pytest.mark.soak
def test_a_few_kills_lose_nothing(tmp_path):
    """The same, three times."""
    kill_often(tmp_path, 3, 2)


@pytest.mark.slow
@pytest.mark.parametrize('moment', [0.9] + [pytest.param(at, marks=pytest.mark.soak) for at in (0.0, 1.7, 5.0)])
def test_a_killed_bot_leaves_nothing_once_its_switch_is_over(tmp_path, moment):
    """DEADMAN_TIMEOUT after SIGKILL no order of the bot's rests."""
    with running(tmp_path, seed=3) as one:
        one.wait(lambda: False, moment)
        resting = one.testnet.call(lambda: len(one.account.orders))
        one.kill()
        killed = time.monotonic()
        assert one.wait(lambda: not one.testnet.call(lambda: len(one.account.orders)), TIMEOUT + 2.0), log_of(one)
        took = time.monotonic() - killed
        evidence = one.evidence()

    assert resting > 0
    assert cleanness.armed_until(evidence, evidence.process.killed) is not None
    assert took < TIMEOUT + 1.5
    assert [finding.words for finding in judge(evidence) if finding.letter == 'g'] == ['']


@pytest.mark.soak
def test_two_bots_with_prefixes_that_begin_alike_and_a_human(tmp_path):
    """`mm_` and `mm_2_` on one account, beside orders by hand: nobody touches another's, also not when one stops, is
    killed, starts again, or cancels everything."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    first.mkdir()
    second.mkdir()
    with running(first, seed=4, by_hand=True, settings=dict(trial.SCALED, ORDERID_PREFIX='mm_'),
                 exchange={'rate_limits': False}) as one:
        plan = trial.a_plan('XBTUSD', seed=5, settings=dict(trial.SCALED, ORDERID_PREFIX='mm_2_'))
        with trial.Trial(plan, str(second), project(second, INTERVAL=0.0007), beside=one) as two:
            two.start()
            assert two.cycles() > 0, log_of(two)
            by_hand = one.testnet.call(lambda: one.place_by_hand('XBTUSD', 'Buy', clOrdID='mm_by hand'))
            one.go_on(4.0)
            one.kill()
            one.wait(lambda: False, 0.5)
            one.start()
            one.go_on(3.0)
            two.end()
            evidences = [two.evidence()]
            one.go_on(1.0)
            one.end()
            evidences.append(one.evidence())
            left = one.testnet.call(lambda: [order.row['clOrdID'] for order in one.account.orders.values()])

    assert by_hand['clOrdID'] in left and len(left) == 5   # two by hand on each of two contracts, and that one
    for evidence in evidences:
        broken = [(finding.letter, finding.words) for finding in judge(evidence) if not finding.is_kept]
        assert broken == []
        assert len(evidence.names) > 5
