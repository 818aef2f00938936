"""The tables of the exchange: their keys, columns and types, as partials and ``GET /schema`` tell them."""
from collections import OrderedDict
from typing import Any, Dict, List, Tuple  # noqa: F401

GUIDS = 'execID orderID trdMatchID transactID'
TIMES = ('timestamp transactTime listing front expiry settle listedSettle fundingTimestamp openingTimestamp '
         'closingTimestamp date created logged')
SPANS = 'relistInterval calcInterval publishInterval publishTime fundingInterval'
FLAGS = ('workingIndicator isQuanto isInverse taxed deleverage hasLiquidity instantPnl capped crossMargin isOpen')
WHOLE = (
    'account orderQty displayQty leavesQty cumQty lastQty execCost execComm brokerExecComm realisedPnl size grossValue '
    'bidSize askSize trades volume lastSize turnover id maxOrderQty lotSize multiplier '
    'underlyingToPositionMultiplier underlyingToSettleMultiplier quoteToSettleMultiplier riskLimit riskStep '
    'prevTotalVolume totalVolume volume24h prevTotalTurnover totalTurnover turnover24h openInterest openValue '
    'instrumentID rebalancedPnl prevRealisedPnl prevUnrealisedPnl openingQty openOrderBuyQty openOrderBuyCost '
    'openOrderBuyPremium openOrderSellQty openOrderSellCost openOrderSellPremium openOrderRealisedPnl currentQty '
    'currentCost currentComm realisedCost unrealisedCost grossOpenPremium markValue riskValue posCost posCross posComm '
    'posLoss posMargin posMaint posInit initMargin maintMargin unrealisedPnl amount grossComm grossOpenCost '
    'grossExecCost grossMarkValue targetExcessMargin isolatedUnrealisedPnl walletBalance marginBalance excessMargin '
    'availableMargin withdrawableMargin systemWithdrawableMargin foreignMarginBalance foreignRequirement deposited '
    'withdrawn transferIn transferOut pendingCredit pendingDebit confirmedDebit fee bankrupt taxBase').split()
WORDS = (
    'symbol strategy side lastLiquidityInd pegPriceType currency settlCurrency execType ordType timeInForce execInst '
    'contingencyType ordStatus triggered feeType tradePublishIndicator trdType tickDirection rootSymbol state typ '
    'positionCurrency underlying quoteCurrency underlyingSymbol reference referenceSymbol fundingBaseSymbol '
    'fundingQuoteSymbol fundingPremiumSymbol lastTickDirection fairMethod markMethod pool tradePool posState '
    'settlementType indexSymbol network transactType transactStatus execCommCcy').split()
TEXTS = 'clOrdID clOrdLinkID text ordRejReason bids asks address tx memo subType link title content message'.split()
# Where liquidity is, since 2026: in the one pool that there is here.  Books, quotes and orders show all pools together.
PRIMARY_POOL, ALL_POOLS = 'Primary', 'Aggregated'

INSTRUMENT_FLOATS = ('initMargin', 'maintMargin')  # rates there, money elsewhere

ORDER = (
    'orderID clOrdID clOrdLinkID account symbol strategy side orderQty price displayQty stopPx pegOffsetValue '
    'pegPriceType currency settlCurrency ordType timeInForce execInst contingencyType ordStatus triggered '
    'workingIndicator ordRejReason leavesQty cumQty avgPx text transactTime timestamp pool')
EXECUTION = (
    'execID orderID clOrdID clOrdLinkID account symbol strategy side lastQty lastPx lastLiquidityInd orderQty price '
    'displayQty stopPx pegOffsetValue pegPriceType currency settlCurrency execType ordType timeInForce execInst '
    'contingencyType ordStatus triggered workingIndicator ordRejReason leavesQty cumQty avgPx commission '
    'brokerCommission feeType tradePublishIndicator text trdMatchID execCost execComm brokerExecComm homeNotional '
    'foreignNotional transactTime timestamp realisedPnl trdType execCommCcy pool tradePool')
POSITION = (
    'account symbol strategy currency underlying quoteCurrency commission initMarginReq maintMarginReq riskLimit '
    'leverage crossMargin deleveragePercentile rebalancedPnl prevRealisedPnl prevUnrealisedPnl openingQty '
    'openOrderBuyQty openOrderBuyCost openOrderBuyPremium openOrderSellQty openOrderSellCost openOrderSellPremium '
    'openOrderRealisedPnl currentQty currentCost currentComm realisedCost unrealisedCost grossOpenPremium isOpen '
    'markPrice markValue riskValue homeNotional foreignNotional posState posCost posCross posComm posLoss posMargin '
    'posMaint posInit initMargin maintMargin realisedPnl unrealisedPnl unrealisedPnlPcnt unrealisedRoePcnt '
    'avgCostPrice avgEntryPrice breakEvenPrice marginCallPrice liquidationPrice bankruptPrice timestamp')
MARGIN = (
    'account currency riskLimit state amount prevRealisedPnl grossComm grossOpenCost grossOpenPremium grossExecCost '
    'grossMarkValue riskValue initMargin maintMargin targetExcessMargin realisedPnl unrealisedPnl '
    'isolatedUnrealisedPnl walletBalance marginBalance marginLeverage marginUsedPcnt excessMargin availableMargin '
    'withdrawableMargin systemWithdrawableMargin makerFeeDiscount takerFeeDiscount timestamp foreignMarginBalance '
    'foreignRequirement')
INSTRUMENT = (
    'symbol rootSymbol state typ listing front expiry settle listedSettle relistInterval positionCurrency underlying '
    'quoteCurrency underlyingSymbol reference referenceSymbol calcInterval publishInterval publishTime maxOrderQty '
    'minPrice maxPrice lotSize tickSize multiplier settlCurrency underlyingToPositionMultiplier '
    'underlyingToSettleMultiplier quoteToSettleMultiplier isQuanto isInverse initMargin maintMargin riskLimit riskStep '
    'limit taxed deleverage makerFee takerFee settlementFee fundingBaseSymbol fundingQuoteSymbol fundingPremiumSymbol '
    'fundingBaseRate fundingQuoteRate fundingTimestamp fundingInterval fundingRate indicativeFundingRate '
    'openingTimestamp closingTimestamp prevClosePrice limitDownPrice limitUpPrice prevTotalVolume totalVolume volume '
    'volume24h prevTotalTurnover totalTurnover turnover turnover24h homeNotional24h foreignNotional24h prevPrice24h '
    'vwap highPrice lowPrice lastPrice lastPriceProtected lastTickDirection lastChangePcnt bidPrice midPrice askPrice '
    'impactBidPrice impactMidPrice impactAskPrice hasLiquidity openInterest openValue fairMethod fairBasisRate '
    'fairBasis fairPrice markMethod markPrice indicativeSettlePrice settledPriceAdjustmentRate settledPrice instantPnl '
    'minTick pool instrumentID capped timestamp')
BOOK = 'symbol id side size price timestamp transactTime pool'
QUOTE = 'timestamp symbol bidSize bidPrice askPrice askSize pool'
TRADE = ('timestamp symbol side size price tickDirection trdMatchID grossValue homeNotional foreignNotional trdType '
         'pool')
BIN = ('timestamp symbol open high low close trades volume vwap lastSize turnover homeNotional foreignNotional '
       'pool')
TRANSACTION = (
    'transactID account currency network transactType amount walletBalance fee transactStatus address tx orderID text '
    'transactTime timestamp memo subType')
WALLET = (
    'account currency deposited withdrawn transferIn transferOut amount pendingCredit pendingDebit confirmedDebit '
    'timestamp')

_KINDS = dict(
    [(name, 'guid') for name in GUIDS.split()] + [(name, 'timestamp') for name in TIMES.split()] +
    [(name, 'timespan') for name in SPANS.split()] + [(name, 'boolean') for name in FLAGS.split()] +
    [(name, 'long') for name in WHOLE] + [(name, 'symbol') for name in WORDS] + [(name, '') for name in TEXTS])


def types_of(columns: str, name: str = '') -> Dict[str, str]:
    """Return column -> type of the columns of a table, in order."""
    kinds = OrderedDict((column, _KINDS.get(column, 'float')) for column in columns.split())
    if name == 'instrument':
        for column in INSTRUMENT_FLOATS:
            kinds[column] = 'float'
    return kinds


def _table(name: str, keys: str, columns: str, private: bool = False, by_symbol: bool = True) -> Tuple[str, Any]:
    return name, (keys.split(), types_of(columns, name), private, by_symbol)


# name -> (keys, column types, private, kept by symbol)
TABLES = OrderedDict([
    _table('instrument', 'symbol', INSTRUMENT),
    _table('orderBookL2', 'symbol id side', BOOK),
    _table('orderBookL2_25', 'symbol id side', BOOK),
    _table('orderBookL2_100', 'symbol id side', BOOK),
    _table('orderBook10', 'symbol', 'symbol bids asks timestamp pool'),
    _table('quote', '', QUOTE),
    _table('trade', '', TRADE)] + [
    _table(table + size, '', columns) for table, columns in (('quoteBin', QUOTE), ('tradeBin', BIN))
    for size in ('1m', '5m', '1h', '1d')] + [
    _table('funding', 'timestamp symbol', 'timestamp symbol fundingInterval fundingRate fundingRateDaily'),
    _table('settlement', 'timestamp symbol', 'timestamp symbol settlementType settledPrice optionStrikePrice '
           'optionUnderlyingPrice bankrupt taxBase taxRate'),
    _table('insurance', 'currency timestamp', 'currency timestamp walletBalance', by_symbol=False),
    _table('liquidation', 'orderID', 'orderID symbol side price leavesQty'),
    _table('order', 'orderID', ORDER, True),
    _table('execution', '', EXECUTION, True),
    _table('position', 'account symbol strategy', POSITION, True),
    _table('margin', 'account currency', MARGIN, True, False),
    _table('wallet', 'account currency', WALLET, True, False),
    _table('transact', 'transactID', TRANSACTION, True, False),
    _table('affiliate', 'account currency', 'account currency prevPayout prevTurnover prevComm prevTimestamp '
           'execTurnover execComm totalReferrals totalTurnover totalComm payoutPcnt pendingPayout timestamp', True,
           False),
    # BitMEX lists it, and nobody recorded a row of it: always empty here.
    _table('account', 'account', 'account', True, False),
    _table('announcement', 'id', 'id link title content date', by_symbol=False),
    _table('chat', 'id', 'id date user message html fromBot channelID', by_symbol=False),
    _table('connected', 'id', 'id users bots', by_symbol=False),
    _table('publicNotifications', 'id', 'id date title body ttl type closable persist waitForVisibility sound',
           by_symbol=False),
    _table('privateNotifications', 'id', 'id date title body ttl type closable persist waitForVisibility sound', True,
           False),
])  # type: OrderedDict[str, Tuple[List[str], Dict[str, str], bool, bool]]

# what GET /schema calls the tables
MODELS = OrderedDict([
    ('Instrument', 'instrument'), ('OrderBookL2', 'orderBookL2'), ('Quote', 'quote'), ('Trade', 'trade'),
    ('TradeBin', 'tradeBin1m'), ('Funding', 'funding'), ('Settlement', 'settlement'), ('Insurance', 'insurance'),
    ('Liquidation', 'liquidation'), ('Order', 'order'), ('Execution', 'execution'), ('Position', 'position'),
    ('Margin', 'margin'), ('Wallet', 'wallet'), ('Transaction', 'transact'), ('Affiliate', 'affiliate'),
    ('Announcement', 'announcement'), ('Chat', 'chat')])

PUBLIC = ['announcement', 'connected', 'chat', 'publicNotifications', 'instrument', 'settlement', 'funding',
          'insurance', 'liquidation', 'orderBookL2', 'orderBookL2_25', 'orderBookL2_100', 'orderBook10', 'quote',
          'trade', 'quoteBin1m', 'quoteBin5m', 'quoteBin1h', 'quoteBin1d', 'tradeBin1m', 'tradeBin5m',
          'tradeBin1h', 'tradeBin1d']
PRIVATE = ['privateNotifications', 'account', 'wallet', 'affiliate', 'margin', 'position', 'transact', 'order',
           'execution']

WEBSOCKET_HELP = {
    'info': 'See https://www.bitmex.com/app/wsAPI and https://www.bitmex.com/explorer for more documentation.',
    'usage': 'Send a message in the format: {"op": string, "args": Array<string>}',
    'ops': ['authKey', 'authKeyExpires', 'cancelAllAfter', 'subscribe', 'unsubscribe'],
    'subscribe': 'To subscribe, send: {"op": "subscribe", "args": [subscriptionTopic, ...]}.',
    'subscriptionSubjects': {'authenticationRequired': PRIVATE, 'public': PUBLIC},
}


def model(name: str) -> Dict[str, Any]:
    """Return the keys and types of a model of GET /schema."""
    keys, types = TABLES[MODELS[name]][:2]
    return {'keys': keys, 'types': types}
