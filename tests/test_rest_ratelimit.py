"""Our local view of the exchange's limits: how long to wait, without asking."""
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_maker.rest.ratelimit import Bucket, RateLimiter
from market_maker.rest.retry import AMEND, CANCEL, CREATE, READ


def headers(limit=None, remaining=None, second=None, second_limit=None):
    values = {'x-ratelimit-limit': limit, 'x-ratelimit-remaining': remaining, 'x-ratelimit-remaining-1s': second,
              'x-ratelimit-limit-1s': second_limit}
    return {name: str(value) for name, value in values.items() if value is not None}


def heard(limiter, now, path='/order', status=200, **names):
    limiter.sent(now, path)
    limiter.heard(now, path, status, headers(**names))


def burst(limiter, now, kind, path='/order', most=1000):
    """Return how many requests of a kind go out at once."""
    count = 0
    while limiter.wait(now, kind, path) == 0 and count < most:
        limiter.sent(now, path)
        count += 1
    return count


def test_nothing_is_known_at_first():
    """Without an answer yet, reads are free and orders keep to the ten a second that BitMEX documents."""
    assert burst(RateLimiter(), 0.0, READ, '/instrument') == 1000
    assert burst(RateLimiter(), 0.0, CREATE) == 9     # the tenth is the cancels'
    assert burst(RateLimiter(), 0.0, CANCEL) == 10


def test_exchange_without_limits_is_not_slowed_down():
    """An answer without the headers means that there is no such limit."""
    limiter = RateLimiter()
    heard(limiter, 0.0)
    assert burst(limiter, 0.0, AMEND) == 1000


def test_errors_without_headers_change_nothing():
    """Authentication errors come without the headers; what we knew stays."""
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=120, remaining=12)
    heard(limiter, 0.0, status=401)
    assert limiter.wait(0.0, READ, '/position') > 0


def test_minute_is_shared_with_others_of_the_account():
    """What is left according to the exchange counts, not what we sent; a tenth of the bucket is kept for cancels."""
    limiter = RateLimiter()
    heard(limiter, 100.0, path='/instrument', limit=120, remaining=15)
    assert burst(limiter, 100.0, READ, '/instrument') == 3
    assert limiter.wait(100.0, READ, '/instrument') == pytest.approx(0.5)     # two a second come back
    assert limiter.wait(100.5, READ, '/instrument') == 0
    assert limiter.wait(100.0, CANCEL, '/order') == 0


def test_cancels_beyond_the_limit_are_not_forgotten():
    """The exchange lets them through and its header stays at 0; who goes on at once is one too many."""
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=120, remaining=2)
    for _ in range(6):
        assert limiter.wait(0.0, CANCEL, '/instrument') == 0
        heard(limiter, 0.0, path='/instrument', limit=120, remaining=0)
    assert limiter.wait(0.0, CREATE, '/order/cancelAllAfter') == pytest.approx(3.0)   # it may use the reserve
    assert limiter.wait(0.0, READ, '/instrument') == pytest.approx(9.0)
    heard(limiter, 1.0, path='/instrument', limit=120, remaining=5)     # it has forgotten them, we have not
    assert limiter.wait(1.0, CREATE, '/order/cancelAllAfter') == pytest.approx(2.5)


def test_what_never_went_out_is_taken_back():
    """An hour without a connection, with an attempt every second, leaves the budget as it was."""
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=120, remaining=50)
    before = burst(limiter, 0.0, READ, '/instrument')
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=120, remaining=50)
    for _ in range(1000):
        limiter.sent(0.0, '/order')
        limiter.unsent(0.0, '/order')
    assert burst(limiter, 0.0, READ, '/instrument') == before and limiter.flying() == (before, 0)


def test_second_layer_refills_ten_a_second():
    """After the burst one order goes out each tenth of a second, and a cancel at once from the reserve."""
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=120, remaining=119, second=9)
    assert burst(limiter, 0.0, CREATE) == 8
    assert limiter.wait(0.0, CREATE, '/order') == pytest.approx(0.1)
    assert limiter.wait(0.0, CANCEL, '/order') == 0
    assert limiter.wait(0.0, READ, '/instrument') == 0   # reads do not draw from it


def test_limit_of_the_second_layer_may_be_told():
    """The header of today names the limit."""
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=120, remaining=119, second=29, second_limit=30)
    assert burst(limiter, 0.0, CREATE) == 26


def test_requests_in_the_air_are_counted():
    """An answer that left the exchange before our later requests arrived does not give their tokens back."""
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=60, remaining=40)
    for _ in range(5):
        limiter.sent(0.0, '/instrument')
    limiter.heard(0.0, '/instrument', 200, headers(limit=60, remaining=39))
    assert burst(limiter, 0.0, READ, '/instrument') == 39 - 4 - 6


@pytest.mark.parametrize('cancels_too, cancel_waits', [(False, 0.0), (True, 3.0)])
def test_silence_is_kept(cancels_too, cancel_waits):
    """A pause that the exchange imposed holds for its whole length, for cancels only where it is meant for them."""
    limiter = RateLimiter()
    limiter.hold(10.0, 3.0, cancels_too)
    assert limiter.wait(10.0, CREATE, '/order') == 3.0
    assert limiter.wait(12.9, READ, '/order') == pytest.approx(0.1)
    assert limiter.wait(13.0, READ, '/order') == 0
    assert limiter.wait(10.0, CANCEL, '/order') == cancel_waits


def test_shorter_silence_does_not_end_a_longer_one():
    """The later end counts."""
    limiter = RateLimiter()
    limiter.hold(0.0, 10.0, True)
    limiter.hold(1.0, 1.0, True)
    assert limiter.wait(5.0, CANCEL, '/order') == 5.0


@pytest.mark.parametrize('remaining', ['-5', '1e9', 'many', ''])
def test_odd_headers_do_no_harm(remaining):
    """Whatever stands there, an answer comes back."""
    limiter = RateLimiter()
    heard(limiter, 0.0, limit=120, remaining=remaining, second=remaining)
    assert 0 <= limiter.wait(0.0, CREATE, '/order') < 60


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2 ** 32), others=st.floats(0, 0.9))
def test_exchanges_bucket_is_never_overdrawn(seed, others):
    """Whoever waits as told never finds the exchange's own buckets empty, even when other clients draw from them
    between our requests."""
    rng = random.Random(seed)
    minute, second = Bucket(60, 60.0, 0.0), Bucket(10, 1.0, 0.0)
    limiter, now, refused = RateLimiter(), 0.0, 0
    for _ in range(300):
        kind = rng.choice([CREATE, AMEND, READ])
        path = '/instrument' if kind == READ else '/order'
        wait = limiter.wait(now, kind, path)
        if wait:
            now += wait + 1e-6
            continue
        limiter.sent(now, path)
        if rng.random() < others and minute.tokens(now) >= 8:
            minute.set(minute.tokens(now) - 1, now)   # another client of the account, while our request is under way
        ours = [minute] + ([second] if path == '/order' else [])
        refused += any(bucket.tokens(now) < 1 - 1e-6 for bucket in ours)
        for bucket in ours:
            bucket.set(bucket.tokens(now) - 1, now)
        limiter.heard(now, path, 200,
                      headers(60, int(minute.tokens(now)), int(second.tokens(now)) if path == '/order' else None))
        now += rng.random() * 0.05
    assert refused == 0


@pytest.mark.parametrize('start', [0.0, 1.8e9])
def test_a_wait_ends_whatever_the_clock_shows(start):
    """On a clock that shows the Unix time the shortest waits are shorter than its steps."""
    limiter = RateLimiter()
    heard(limiter, start, limit=120, remaining=0)
    waits = []
    while len(waits) < 9 and limiter.wait(start + sum(waits), READ, '/instrument'):
        waits.append(limiter.wait(start + sum(waits), READ, '/instrument'))
    assert len(waits) < 9 and 6.4 < sum(waits) < 6.6
