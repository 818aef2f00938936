"""Numbers and names that more than one room needs; nothing here is computed, nothing here is a setting."""

VERSION = '2.0.0'

XBt_TO_XBT = 100000000  # satoshis (XBt) in one bitcoin (XBT)

CLOSING_DATE = '23 September 2026, 04:00 UTC'  # when BitMEX and its testnet closed

LOCAL_PORT = 8765  # where the local exchange listens unless BASE_URL says otherwise
LOCAL_BASE_URL = 'http://127.0.0.1:8765/api/v1/'

ORDERID_PREFIX_LIMIT = 13  # characters; a clOrdID has 36 at most, and 22 of them are the bot's own random part
