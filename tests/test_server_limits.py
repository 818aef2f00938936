"""The token buckets of the local exchange: who is counted where, what is refused, what the headers say."""
from market_maker.server.limits import Bucket, Limits, refusal_text

NOON = 1700000000.25


def spend(limits, count, verb='GET', path='/position', account=7, now=NOON):
    return [limits.request(verb, path, account, '127.0.0.1', now) for _ in range(count)]


def test_an_account_may_send_120_requests_at_once_and_2_more_each_second():
    limits = Limits()

    verdicts = spend(limits, 121)

    assert [verdict.allowed for verdict in verdicts] == [True] * 120 + [False]
    assert verdicts[0].headers['x-ratelimit-limit'] == '120'
    assert verdicts[0].headers['x-ratelimit-remaining'] == '119'
    assert verdicts[0].headers['x-ratelimit-reset'] == '1700000001'
    assert [v.allowed for v in spend(limits, 3, now=NOON + 1)] == [True, True, False]


def test_a_refusal_says_when_to_come_back():
    verdict = spend(Limits(minute=1), 2)[1]

    assert not verdict.allowed
    assert verdict.message == 'Rate limit exceeded, retry in 60 seconds.'
    assert verdict.headers == {'x-ratelimit-limit': '1', 'x-ratelimit-remaining': '0', 'Retry-After': '60',
                               'x-ratelimit-reset': str(1700000001 + 60)}


def test_refused_requests_cost_nothing():
    limits = Limits()
    spend(limits, 500)

    assert spend(limits, 1, now=NOON + 0.5)[0].allowed


def test_unsigned_requests_are_counted_by_address():
    limits = Limits()

    assert [v.allowed for v in spend(limits, 31, account=None)] == [True] * 30 + [False]
    assert limits.request('GET', '/trade', None, '127.0.0.2', NOON).allowed
    assert spend(limits, 1)[0].headers['x-ratelimit-remaining'] == '119'


def test_accounts_do_not_share_buckets():
    limits = Limits()
    spend(limits, 120, account=1)

    assert not spend(limits, 1, account=1)[0].allowed
    assert spend(limits, 1, account=2)[0].allowed


def test_order_routes_share_ten_a_second():
    limits = Limits()

    verdicts = spend(limits, 5, 'POST', '/order') + spend(limits, 5, 'PUT', '/order')
    verdicts += spend(limits, 1, 'POST', '/position/leverage')

    assert [v.allowed for v in verdicts] == [True] * 10 + [False]
    assert verdicts[0].headers['x-ratelimit-remaining-1s'] == '9'
    assert verdicts[0].headers['x-ratelimit-limit-1s'] == '10'
    assert verdicts[10].headers['Retry-After'] == '1'
    assert spend(limits, 1, 'GET', '/order')[0].allowed
    assert 'x-ratelimit-remaining-1s' not in spend(limits, 1, 'GET', '/order')[0].headers
    assert spend(limits, 1, 'POST', '/order', now=NOON + 0.1)[0].allowed


def test_cancels_are_counted_but_not_refused_by_the_limit_a_minute():
    limits = Limits()
    spend(limits, 120)

    verdict = spend(limits, 1, 'DELETE', '/order/all')[0]

    assert verdict.allowed
    assert verdict.headers['x-ratelimit-remaining'] == '0'
    assert [v.allowed for v in spend(limits, 10, 'DELETE', '/order')] == [True] * 9 + [False]


def test_switched_off_nothing_is_refused_and_the_headers_stay():
    limits = Limits(enabled=False)

    verdicts = spend(limits, 1000, 'POST', '/order')

    assert all(v.allowed for v in verdicts)
    assert verdicts[-1].headers['x-ratelimit-remaining'] == '120'
    assert verdicts[-1].headers['x-ratelimit-remaining-1s'] == '10'


def test_connections_are_counted_by_the_hour():
    limits = Limits(connections=2)

    assert limits.connection('127.0.0.1', NOON).allowed
    assert limits.connections_left('127.0.0.1', NOON) == 1
    assert limits.connection('127.0.0.1', NOON).allowed
    refused = limits.connection('127.0.0.1', NOON)
    assert not refused.allowed
    assert refused.message == 'Rate limit exceeded, retry in 30 minutes.'
    assert limits.connection('127.0.0.1', NOON + 1800).allowed
    assert Limits(enabled=False).connections_left('127.0.0.1', NOON) is None


def test_a_clock_that_goes_back_gives_no_tokens():
    bucket = Bucket(10, 1.0, NOON)
    for _ in range(10):
        bucket.take()
    bucket.refill(NOON - 100)

    assert bucket.remaining() == 0
    bucket.refill(NOON - 99.9)
    assert bucket.remaining() == 1


def test_full_buckets_of_strangers_are_forgotten():
    limits = Limits()
    for number in range(10000):
        limits.request('GET', '/trade', None, str(number), NOON + number)

    assert len(limits._buckets) <= 4096


def test_the_sentence_counts_in_minutes_when_that_is_shorter():
    assert refusal_text(29) == 'Rate limit exceeded, retry in 29 seconds.'
    assert refusal_text(16 * 60) == 'Rate limit exceeded, retry in 16 minutes.'
