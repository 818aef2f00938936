"""BitMEX's official specification at work: which rows it defines, and what it says against a value."""
import re

import pytest
from reference_fields import SIZES

DEFINITIONS = {
    'order': 'Order', 'execution': 'Execution', 'position': 'Position', 'margin': 'Margin', 'wallet': 'Wallet',
    'transact': 'Transaction', 'instrument': 'Instrument', 'orderBookL2': 'OrderBookL2',
    'orderBookL2_25': 'OrderBookL2', 'orderBookL2_100': 'OrderBookL2', 'quote': 'Quote', 'trade': 'Trade',
    'funding': 'Funding',
    'settlement': 'Settlement', 'insurance': 'Insurance', 'liquidation': 'Liquidation', 'affiliate': 'Affiliate',
    'announcement': 'Announcement'}
DEFINITIONS.update(('quoteBin' + size, 'Quote') for size in SIZES)
DEFINITIONS.update(('tradeBin' + size, 'TradeBin') for size in SIZES)
GUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')
TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$')


def faults(specification, schema_, value):
    """Return what the specification says against a value: where in the value, and what is wrong."""
    jsonschema_rs = pytest.importorskip('jsonschema_rs', reason='the specification is applied with jsonschema-rs')
    whole = dict(schema_, definitions=specification['definitions'])
    formats = {'guid': lambda text: bool(GUID.match(text)), 'date-time': lambda text: bool(TIME.match(text))}
    validator = jsonschema_rs.Draft4Validator(whole, formats=formats, validate_formats=True)
    return ['{}: {}'.format('/'.join(str(part) for part in error.instance_path if not isinstance(part, int)),
                            re.sub(r'^\{.*\} |^".*" (?=is not a "guid")', '', error.message, flags=re.DOTALL))
            for error in validator.iter_errors(value)]


def answer_of(specification, verb, path):
    """Return the schema of an answer with status 200, None where the specification has none."""
    return specification['paths'][path][verb.lower()]['responses']['200'].get('schema')
