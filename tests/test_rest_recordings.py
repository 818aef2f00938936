"""What BitMEX answered when it was there, as recorded, against the table."""
import glob
import json
import os

import pytest

from market_maker.rest import retry
from market_maker.rest.transport import Response

RECORDINGS = os.environ.get('RECORDINGS', '')
EXPECTED = {  # recordings of errors, by the end of their name -> outcome of their last exchange
    'request__error_bad_request.json': 'rejected', 'request__error_invalid_signature.json': 'key refused',
    'request__error_not_found.json': 'not found', 'request__error_rate_limited.json': 'limited',
    'orders__create_insufficient_balance.json': 'funds', 'create_order_insufficient_balance.json': 'funds',
    'create_order_overloaded.json': 'shed', 'amend_rate_limited_error.json': 'limited',
    'cancel_rate_limited_error.json': 'limited', 'create_order_unhandled.json': 'rejected',
}
FILES = sorted(path for folder in ('ex_bitmex', 'tai_orders', 'tai_accounts')
               for path in glob.glob(os.path.join(RECORDINGS, 'rest', folder, '*.json'))) if RECORDINGS else []


def exchanges(path):
    """Return [(kind, Response)] of a recording; those that recorded no answer are left out."""
    with open(path) as recording:
        entries = json.load(recording)
    return [(retry.kind_of(entry['request']['method'].upper(), entry['request']['url'].partition('/api/v1')[2]),
             Response(entry['response']['status_code'], entry['response']['headers'], entry['response']['body']))
            for entry in entries if entry['response'].get('status_code')]


@pytest.mark.skipif(not FILES, reason='RECORDINGS names no folder with recorded REST exchanges')
def test_recorded_answers_have_their_outcomes():
    """Every recorded answer is classified as its name says, and a good one is handed on."""
    seen = 0
    for path in FILES:
        name = os.path.basename(path)
        for number, (kind, response) in enumerate(reversed(exchanges(path))):
            expected = EXPECTED.get(name, 'answered') if number == 0 else 'answered'
            assert retry.outcome_of(response) == expected, (path, response.text)
            assert response.headers.get('x-ratelimit-limit') or expected == 'key refused'
            seen += 1
            if expected == 'limited':   # recorded with a reset three weeks off, and Retry-After: 1
                policy = retry.Policy('', '', '', lambda: 0.0)
                step = retry.after(policy, kind, 'x', response, retry.Attempt(1, None, 0, False), 1549536132.0)
                assert step.seconds == 1.0
            if expected == 'answered':
                assert retry.server_time(response) > 1.5e9
    assert seen > 30
