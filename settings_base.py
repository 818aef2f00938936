"""Every setting of the market maker: its default, its unit and what it does.

``settings.py`` in your project begins as a copy of this page: change the values there.  ``settings-XBTUSD.py`` beside
it overrides it for one symbol.  Fractions are fractions: 0.01 is 1 %.
"""
import logging
from os.path import join

########################################################################################################################
# The exchange
########################################################################################################################

# The address of the REST API; the address of the live feed (WebSocket) follows from it.
# 127.0.0.1 is this machine: when nothing answers there, the bot starts a local exchange on that port by itself. No
# account, no money and no network are needed. The number after the colon is the port; give each independent market its
# own.
BASE_URL = "http://127.0.0.1:8765/api/v1/"

# The real addresses, for the record and for servers that speak the same language.
# BitMEX and its testnet closed on 23 September 2026, 04:00 UTC; nothing answers there any more.
# BASE_URL = "https://testnet.bitmex.com/api/v1/"  # play money
# BASE_URL = "https://www.bitmex.com/api/v1/"      # real money

# Your API key and its secret (text). Leave both empty on the local exchange: it opens an account for the bot.
# They may also come from the environment: BITMEX_API_KEY and BITMEX_API_SECRET win over what stands here.
# Keep this file to yourself (mode 0600) once a secret stands in it.
API_KEY = ""
API_SECRET = ""

# What the local exchange plays when the bot has to start it (text): "simulated" is a living market of about the pace
# of the real one, "lively" is the same in fast motion, so that quotes are hit often, "still" keeps its bid and ask
# where they are.
LOCAL_MARKET = "simulated"

# A whole number makes that market play the same history every time; None lets each run be a new one.
LOCAL_SEED = None

########################################################################################################################
# What to quote
########################################################################################################################

# The contract to quote (text) when none is named on the command line: `marketmaker XBTUSD`.
SYMBOL = "XBTUSD"

# How many orders to keep on each side of the market (a whole number of pairs, one buy and one sell each).
ORDER_PAIRS = 6

# Size of the innermost order of each side, and how much larger each order further out is (contracts).
# A size that is no multiple of the contract's lot becomes one lot.
ORDER_START_SIZE = 100
ORDER_STEP_SIZE = 100

# Distance from one order to the next on the same side (fraction of the price).
INTERVAL = 0.005

# The least distance between our best buy and our best sell (fraction of the price). A market that is tighter than this
# is quoted from further out.
MIN_SPREAD = 0.01

# True: start just inside the present bid and ask and work outwards. False: start one INTERVAL outside of them.
MAINTAIN_SPREADS = True

# A resting order stays where it is while the wanted price is no further away than this (fraction of the price). Larger
# means fewer requests and a longer wait in the queue; smaller means prices that follow the market more closely.
RELIST_INTERVAL = 0.01

# True: draw each order's size at random between the two sizes (contracts) instead of using the start and step sizes.
RANDOM_ORDER_SIZE = False
MIN_ORDER_SIZE = 100
MAX_ORDER_SIZE = 500

########################################################################################################################
# Limits and safety
########################################################################################################################

# True: stop buying at MAX_POSITION and stop selling at MIN_POSITION (contracts; a negative position is a short one).
CHECK_POSITION_LIMITS = False
MIN_POSITION = -10000
MAX_POSITION = 10000

# The largest size of one order (contracts); a larger one is cut down to it. None leaves it to the exchange's own limit.
ORDER_SIZE_LIMIT = None

# How many orders of the bot may rest at once; the outer ones are left out. BitMEX took 200 for a contract. None: no
# limit.
ORDER_COUNT_LIMIT = 200

# How much worse than both the mark price and the last trade an order may be priced: a bid above, an ask below them
# (fraction of the price). One that is worse is not sent. None: no limit.
PRICE_BAND = 0.1

# Stop quoting when this much was lost: since the bot first ran with one of these limits, since the highest balance
# after that, or since midnight UTC (in XBT, or in USDT on contracts settled in it; counted with what is unrealised;
# None: no limit). It quotes again only after `marketmaker resume`, also when it is started anew.
LOSS_LIMIT = None
DRAWDOWN_LIMIT = None
DAILY_LOSS_LIMIT = None

# The least part of the balance that positions must leave free; with less, only orders that make the position smaller
# are placed (fraction of the balance; 0: no limit).
FREE_MARGIN_LIMIT = 0

# The least distance between the mark price and the price at which the position would be liquidated; nearer, only
# orders that make the position smaller are placed (fraction of the price; 0: no limit).
LIQUIDATION_LIMIT = 0

# A side that has traded this much within the last FILLED_WINDOW seconds is not quoted until it has calmed down
# (contracts; None: no limit): somebody may know more than we do.
FILLED_LIMIT = None
FILLED_WINDOW = 60

# No quotes while the price has moved by more than this within the last MOVE_WINDOW seconds (fraction of the price;
# None: no limit).
MOVE_LIMIT = None
MOVE_WINDOW = 10

# True: orders only ever add to the book; one that would trade at once is cancelled by the exchange instead (no taker
# fees).
POST_ONLY = False

# The dead man's switch: the exchange cancels all orders of the account when nobody has told it for this long that the
# bot is alive (seconds). None: 60 on the local exchange, off elsewhere. 0: off.
DEADMAN_TIMEOUT = None

# The switch takes every order of the account, also those that you or other programs placed. False: it is off while
# there are any. True: it stays on.
DEADMAN_DESPITE_FOREIGN_ORDERS = False

# True: leave the orders in the market when the bot is told to stop; the next start takes them over instead of
# cancelling them. After an error they are cancelled all the same.
KEEP_ORDERS_ON_EXIT = False

# True: read everything, change nothing, and print what would be placed and what it would cost.
DRY_RUN = False

# The balance that a dry run pretends to have (XBT).
DRY_BTC = 50

########################################################################################################################
# Pace
########################################################################################################################

# Time between two looks at the market (seconds).
LOOP_INTERVAL = 5

# True: look again as soon as the best bid or ask, an own order or the position has changed, not only every
# LOOP_INTERVAL; but never sooner than MIN_LOOP_INTERVAL (seconds) after the last look.
QUOTE_ON_CHANGE = False
MIN_LOOP_INTERVAL = 0.05

# Pause after cancelling everything, so that the exchange's tables can follow (seconds).
API_REST_INTERVAL = 1

# Pause after the exchange answered that it is overloaded, or did not answer at all (seconds).
API_ERROR_INTERVAL = 10

# How long to wait for the answer to one request (seconds).
TIMEOUT = 7

# How long to wait at the start for the first image of every live table (seconds).
CONNECT_TIMEOUT = 30

# How long the live feed may be silent before it is asked for a sign of life (seconds).
HEARTBEAT = 5

# How old the market data may be before it is no longer believed (seconds).
STALE_AFTER = 15

# How long the live tables may take to show what the exchange has answered to a command (seconds); after that they are
# no longer believed.
ECHO_TIMEOUT = 15

# Time between two comparisons of our picture of orders and position with the exchange's (seconds). 0: none.
AUDIT_INTERVAL = 60

# How long the loop may take beyond LOOP_INTERVAL, for example in a strategy that sleeps (seconds); after that it counts
# as stuck, and the dead man's switch is no longer refreshed.
LOOP_STALL = 600

########################################################################################################################
# Diary
########################################################################################################################

# How much to tell: logging.DEBUG (every request), logging.INFO (every action), logging.WARNING (only trouble).
LOG_LEVEL = logging.INFO

# A file that gets the same lines as the terminal (text), rotated at 10 MB with five old ones kept; None writes no file.
LOG_FILE = None

########################################################################################################################
# The rest
########################################################################################################################

# Every order of the bot has a name (clOrdID) that begins with this text; by it the bot tells its own orders from yours
# and from those of other bots on the same account, which need a prefix of their own. At most 13 characters.
ORDERID_PREFIX = "mm_bitmex_"

# The bot restarts itself when one of these files changes (paths, from the folder that it runs in).
WATCHED_FILES = [join("market_maker", "market_maker.py"), join("market_maker", "bitmex.py"), "settings.py"]

# The contracts that count for the delta, the worth of all positions in bitcoin (a list of symbols).
CONTRACTS = ["XBTUSD"]
