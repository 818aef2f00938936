"""One request budget for several bots: what they see of each other, and what a killed or stuck one leaves behind."""
import logging
import os
import random
import subprocess
import sys

import pytest
from jitter import Jitter

from market_maker.rest import ratelimit, retry
from market_maker.rest.client import Client
from market_maker.rest.ratelimit import NUMBERS, RateLimiter
from market_maker.rest.transport import Response
from market_maker.state import budget as room
from market_maker.state.budget import Budget
from market_maker.state.lock import lock_file
from market_maker.utils.clock import ManualClock
from market_maker.utils.errors import RateLimited

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'budget')


class Answers(object):
    """A transport whose exchange allows so many requests a minute, whoever they come from."""

    def __init__(self, clock, limit=20):
        self.clock, self.limit, self.sent = clock, limit, []

    def send(self, request):
        self.sent.append(self.clock.monotonic())
        left = self.limit - len(self.sent)
        assert left >= 0, 'beyond the limit'
        return Response(200, {'x-ratelimit-limit': str(self.limit), 'x-ratelimit-remaining': str(left)}, '[]')


def client(transport, clock, path):
    one = Client(transport, clock=clock)
    one.share(Budget(path, NUMBERS, clock.monotonic))
    return one


def test_two_bots_draw_from_one_budget(path, clock):
    """Together they send no more than one may; the limit that one has learnt holds for the other at once."""
    exchange = Answers(clock)
    clock.advance(1000)
    bots = [client(exchange, clock, path) for _ in range(2)]

    for number in range(18):    # a tenth is kept for cancels
        bots[number % 2].request('GET', 'order')

    assert clock.monotonic() == 1000   # so far nobody had to wait
    exchange.limit += 100
    bots[0].request('GET', 'order')
    assert clock.monotonic() > 1000


def test_what_the_other_has_under_way_counts(path, clock):
    clock.advance(1000)
    one, other = Budget(path, NUMBERS, clock.monotonic), Budget(path, NUMBERS, clock.monotonic)
    limiter = RateLimiter()
    one.open(NUMBERS)
    one.close(limiter.numbers(), (2, 1))

    assert other.open(NUMBERS)[1] == (2, 1)
    other.close(limiter.numbers(), (0, 0))
    assert one.open(NUMBERS)[1] == (0, 0)
    one.close(limiter.numbers(), (2, 1))
    clock.advance(room.FORGET + 1)   # it was killed
    assert other.open(NUMBERS)[1] == (0, 0)
    other.close(limiter.numbers(), (0, 0))


def test_a_pause_that_one_was_told_to_make_is_everybodys(path, clock):
    clock.advance(1000)
    one, other = [client(Answers(clock), clock, path) for _ in range(2)]
    one._hold(30, True)

    assert other.seconds_to_wait(retry.CANCEL, '/order') == pytest.approx(30)


@pytest.mark.parametrize('spoil', [lambda file: file.truncate(10), lambda file: file.write(b'x' * 40),
                                   lambda file: file.truncate(0)])
def test_a_file_that_makes_no_sense_is_begun_anew(path, clock, spoil):
    one = Budget(path, NUMBERS, clock.monotonic)
    one.open(NUMBERS)
    one.close(RateLimiter().numbers(), (1, 1))
    with open(path, 'r+b') as file:
        spoil(file)

    assert one.open(NUMBERS) is None
    one.close(RateLimiter().numbers(), (0, 0))
    assert one.open(NUMBERS) is not None
    one.close(RateLimiter().numbers(), (0, 0))


def test_a_budget_from_before_the_machine_was_started_is_forgotten(path):
    late, early = ManualClock(5000), ManualClock(10)
    before = Budget(path, NUMBERS, late.monotonic)
    limiter = RateLimiter()
    limiter.hold(5000, 60, True)
    before.open(NUMBERS)
    before.close(limiter.numbers(), (0, 0))

    assert Budget(path, NUMBERS, early.monotonic).open(NUMBERS) is None


def test_a_bot_that_was_stopped_in_the_middle_is_not_waited_for(path, clock):
    """SIGSTOP, a debugger: the others go by their own count, and say so once."""
    said = []
    one = Budget(path, NUMBERS, clock.monotonic, lambda level, text, *args: said.append((level, text % args)))
    with open(path, 'r+b') as held:
        assert lock_file(held)
        for _ in range(3):
            assert one.open(NUMBERS) is None
            one.close(RateLimiter().numbers(), (0, 0))

    assert len(said) == 1 and said[0][0] == logging.WARNING and 'does not move' in said[0][1]
    assert one.open(NUMBERS) is None   # nobody has written anything
    one.close(RateLimiter().numbers(), (0, 0))
    assert one.open(NUMBERS) is not None


def test_a_signals_handler_on_top_leaves_it_locked(path, clock):
    one = Budget(path, NUMBERS, clock.monotonic)
    one.open(NUMBERS)
    one.open(NUMBERS)
    one.close(RateLimiter().numbers(), (0, 0))

    with open(path, 'r+b') as other:
        assert not lock_file(other)
        one.close(RateLimiter().numbers(), (0, 0))
        assert lock_file(other)


def test_a_bot_that_leaves_gives_its_place_back(path, clock):
    one, other = Budget(path, NUMBERS, clock.monotonic), Budget(path, NUMBERS, clock.monotonic)
    for _ in range(2):
        one.open(NUMBERS)
        one.close(RateLimiter().numbers(), (3, 3))

    one.leave()
    one.leave()

    assert one.open(NUMBERS) is None
    one.close(RateLimiter().numbers(), (3, 3))
    assert other.open(NUMBERS)[1] == (0, 0)


PROGRAM = '''
import sys, time
from market_maker.rest.client import Client
from market_maker.rest.ratelimit import NUMBERS
from market_maker.rest.transport import Response
from market_maker.state.budget import Budget

class Echo(object):
    def send(self, request):
        print(time.monotonic())
        return Response(200, {'x-ratelimit-remaining-1s': '5'}, '{}')

client = Client(Echo())
client.share(Budget(sys.argv[1], NUMBERS))
for _ in range(int(sys.argv[2])):
    client.request('PUT', 'order', body={'orderID': 'a', 'price': 1})
'''


def test_processes_together_keep_to_ten_a_second(path):
    """Three processes, five amends each: no second, whenever it begins, sees more than ten."""
    environment = dict(os.environ, PYTHONPATH=CHECKOUT)
    with Jitter() as jitter:
        bots = [subprocess.Popen([sys.executable, '-c', PROGRAM, path, '5'], env=environment, stdout=subprocess.PIPE,
                                 universal_newlines=True) for _ in range(3)]
        moments = sorted(float(line) for bot in bots for line in bot.communicate(timeout=60)[0].split())

    assert len(moments) == 15 and [bot.returncode for bot in bots] == [0, 0, 0]
    second = ratelimit.SECOND - 0.02 - jitter.worst
    most = max(sum(1 for other in moments if 0 <= other - moment < second) for moment in moments)
    assert most <= ratelimit.SECOND_LIMIT


def test_what_nobody_else_has_touched_is_not_read_again(path, clock):
    """A bot alone keeps its own count; as soon as another one was there, its numbers come along."""
    one, other = (Budget(path, NUMBERS, clock.monotonic) for _ in range(2))
    numbers = RateLimiter().numbers()
    one.open(NUMBERS)
    one.close(numbers, (1, 1))
    assert one.open(NUMBERS) == (None, (0, 0))
    one.close(numbers, (0, 0))
    clock.advance(1.0)
    assert other.open(NUMBERS) == (tuple(numbers), (0, 0))
    other.close(numbers, (2, 0))
    assert one.open(NUMBERS) == (tuple(numbers), (2, 0))


def visits(budget, monkeypatch):
    """Return a list that grows whenever the file is opened."""
    seen, plain = [], budget.open
    monkeypatch.setattr(budget, 'open', lambda size: seen.append(size) or plain(size))
    return seen


ROOMY = {'x-ratelimit-limit': '6000', 'x-ratelimit-remaining': '5999', 'x-ratelimit-limit-1s': '1000',
         'x-ratelimit-remaining-1s': '999'}


def amend(bot):
    return bot.request('PUT', 'order', body={'orderID': 'a', 'price': 1})


class Roomy(object):
    """A transport whose exchange has room for many."""

    def send(self, request):
        return Response(200, ROOMY, '{}')


def test_a_bot_alone_counts_a_few_requests_ahead(path, clock, monkeypatch):
    """So it comes to the file once in a while; whoever else comes finds them counted, and what was not sent is given
    back as soon as the first one comes again."""
    clock.advance(1000)
    one = client(Roomy(), clock, path)
    amend(one)
    seen = visits(one.budget, monkeypatch)
    for _ in range(32):
        amend(one)
    assert 0 < len(seen) <= 8

    other = client(Roomy(), clock, path)
    ahead, until, minute = one._ahead, one._ahead_until, 6000 - 33
    assert 0 < ahead <= ratelimit.AHEAD
    other._open(clock.monotonic())
    assert other._limiter._minute.tokens(clock.monotonic()) == minute - ahead
    assert list(other._limiter._recent).count(until) == ahead
    other._close(clock.monotonic())
    del seen[:]
    clock.advance(0.06)   # its time is over
    amend(one)
    assert len(seen) == 2 and one._ahead == 0     # with another one there it comes for every request
    assert until not in one._limiter._recent
    assert one._limiter._minute.tokens(clock.monotonic()) >= minute - 1 - 0.01 * 100


def test_what_a_killed_bot_had_counted_ahead_comes_back_like_what_was_sent(path, clock):
    clock.advance(1000)
    killed = client(Roomy(), clock, path)
    amend(killed)
    amend(killed)
    assert killed._ahead
    other = client(Roomy(), clock, path)
    clock.advance(0.05 + room.LINGER + 0.01)
    other._open(clock.monotonic())
    assert other._limiter._others == {'minute': 0, 'second': 0}
    assert other._limiter._minute.tokens(clock.monotonic()) > 5995
    other._close(clock.monotonic())


def test_a_small_limit_is_hardly_counted_ahead(clock):
    """With ten a second it is two at most, of a minute's last requests none."""
    limiter = RateLimiter()
    headers = {'x-ratelimit-limit': '60', 'x-ratelimit-remaining': '50', 'x-ratelimit-remaining-1s': '9'}
    limiter.sent(1.0, '/order')
    limiter.heard(1.0, '/order', 200, headers)
    assert limiter.ahead(1.0) == 2
    limiter.heard(1.0, '/order', 200, dict(headers, **{'x-ratelimit-remaining': '10'}))
    assert limiter.ahead(1.0) == 0


class Strict(object):
    """A transport whose exchange counts: sixty a minute, ten in any second; while an answer is on its way
    another bot may send."""

    def __init__(self, clock, rng):
        self.clock, self.rng, self.minute, self.came, self.between = clock, rng, 60.0, [], None
        self.at = clock.monotonic()

    def send(self, request):
        now = self.clock.monotonic()
        self.minute, self.at = min(60.0, self.minute + now - self.at) - 1, now
        assert self.minute > -0.001, 'beyond the limit of the minute'
        self.came = [at for at in self.came if at > now - 1.0] + [now]
        assert len(self.came) <= 10, 'beyond ten in a second'
        answer = Response(200, {'x-ratelimit-limit': '60', 'x-ratelimit-remaining': str(int(self.minute)),
                                'x-ratelimit-remaining-1s': str(10 - len(self.came))}, '{}')
        if self.between is not None and self.rng.random() < 0.5:
            other, self.between = self.between, None   # one at a time
            other()
        return answer


@pytest.mark.parametrize('seed', range(20))
def test_bots_that_come_go_and_are_killed_never_exceed_the_limits_together(tmp_path, clock, seed):
    """Also where one has counted ahead, another one comes, and the first goes on with what it has."""
    rng, path = random.Random(seed), str(tmp_path / 'budget')
    clock.advance(1000)
    exchange = Strict(clock, rng)
    bots = [client(exchange, clock, path)]
    for _ in range(300):
        chance = rng.random()
        if chance < 0.04 and len(bots) < 4:
            bots.append(client(exchange, clock, path))
        elif chance < 0.06 and len(bots) > 1:
            bot = bots.pop(rng.randrange(len(bots)))
            if rng.random() < 0.5:
                bot.share(None)   # else it was killed
        one, other = rng.choice(bots), rng.choice(bots)
        exchange.between = (lambda other=other: amend(other)) if other is not one else None
        try:
            amend(one)
        except RateLimited:
            clock.advance(rng.uniform(1, 20))
        if rng.random() < 0.4:
            clock.advance(rng.choice([0.001, 0.01, 0.06, 0.3, 2.0]))
