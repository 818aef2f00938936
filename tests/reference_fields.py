"""The fields of BitMEX's rows as it last sent them, and where the local exchange differs.

Field names are facts; they were taken down from the exchange's documentation, its specification and recorded rows of
2024 to 2026.  docs/local-exchange.md tells the differences with their reasons; a test holds the page to this file.
"""
from collections import OrderedDict

# -- columns: all that a table may hold ------------------------------------------------------------

ORDER = (
    'orderID clOrdID clOrdLinkID account symbol strategy side orderQty price displayQty stopPx pegOffsetValue '
    'pegPriceType currency settlCurrency ordType timeInForce execInst contingencyType ordStatus triggered '
    'workingIndicator ordRejReason leavesQty cumQty avgPx text transactTime timestamp pool destination maxSlippagePct '
    'algoOrderDetails parentOrderID error expiryTime')
TRADE_OF_ORDER = (
    'execID lastQty lastPx lastLiquidityInd execType commission feeType brokerCommission brokerExecComm '
    'tradePublishIndicator trdMatchID execCost execComm homeNotional foreignNotional realisedPnl trdType execCommCcy '
    'tradePool')
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
    'withdrawableMargin systemWithdrawableMargin makerFeeDiscount takerFeeDiscount foreignMarginBalance '
    'foreignRequirement timestamp')
WALLET = ('account currency deposited withdrawn transferIn transferOut amount pendingCredit pendingDebit '
          'confirmedDebit timestamp')
TRANSACT = ('transactID account currency network transactType amount walletBalance fee transactStatus address tx '
            'orderID text transactTime timestamp memo subType')
INSTRUMENT = (
    'symbol rootSymbol instrumentID state typ listing front expiry settle listedSettle underlying quoteCurrency '
    'settlCurrency positionCurrency underlyingSymbol referenceSymbol reference lotSize tickSize minTick multiplier '
    'underlyingToPositionMultiplier underlyingToSettleMultiplier quoteToSettleMultiplier isInverse isQuanto '
    'maxOrderQty maxPrice minPrice limitUpPrice limitDownPrice limit initMargin maintMargin riskLimit riskStep '
    'makerFee takerFee settlementFee fundingRate indicativeFundingRate fundingTimestamp fundingInterval '
    'fundingBaseRate fundingQuoteRate fundingBaseSymbol fundingQuoteSymbol fundingPremiumSymbol prevClosePrice '
    'openingTimestamp closingTimestamp prevTotalVolume prevTotalTurnover volume volume24h turnover turnover24h '
    'totalVolume totalTurnover homeNotional24h foreignNotional24h lastPrice lastPriceProtected lastTickDirection '
    'lastChangePcnt prevPrice24h vwap highPrice lowPrice bidPrice midPrice askPrice impactBidPrice impactMidPrice '
    'impactAskPrice hasLiquidity openInterest openValue fairMethod fairBasisRate fairBasis fairPrice markMethod '
    'markPrice indicativeSettlePrice settledPrice settledPriceAdjustmentRate taxed deleverage instantPnl capped pool '
    'nearLegSymbol farLegSymbol referencePrice publishInterval publishTime calcInterval relistInterval '
    'rebalanceTimestamp rebalanceInterval timestamp')
BOOK = 'symbol id side size price timestamp transactTime pool'
QUOTE = 'timestamp symbol bidSize bidPrice askPrice askSize pool'
TRADE = ('timestamp symbol side size price tickDirection trdMatchID grossValue homeNotional foreignNotional trdType '
         'pool')
BIN = ('timestamp symbol open high low close trades volume vwap lastSize turnover homeNotional foreignNotional '
       'pool')
SIZES = ('1m', '5m', '1h', '1d')

COLUMNS = OrderedDict([
    ('order', ORDER), ('execution', ORDER + ' ' + TRADE_OF_ORDER), ('position', POSITION), ('margin', MARGIN),
    ('wallet', WALLET), ('transact', TRANSACT), ('instrument', INSTRUMENT), ('orderBookL2', BOOK),
    ('orderBookL2_25', BOOK), ('orderBookL2_100', BOOK), ('orderBook10', 'symbol bids asks timestamp pool'),
    ('quote', QUOTE), ('trade', TRADE),
    ('funding', 'timestamp symbol fundingInterval fundingRate fundingRateDaily'),
    ('settlement', 'timestamp symbol settlementType settledPrice optionStrikePrice optionUnderlyingPrice bankrupt '
                   'taxBase taxRate'),
    ('insurance', 'currency timestamp walletBalance'), ('liquidation', 'orderID symbol side price leavesQty')])
COLUMNS.update(('quoteBin' + size, QUOTE) for size in SIZES)
COLUMNS.update(('tradeBin' + size, BIN) for size in SIZES)

KEYS = dict.fromkeys(COLUMNS, '')
KEYS.update({
    'order': 'orderID', 'position': 'account symbol strategy', 'margin': 'account currency',
    'wallet': 'account currency', 'transact': 'transactID', 'instrument': 'symbol', 'orderBookL2': 'symbol id side',
    'orderBookL2_25': 'symbol id side', 'orderBookL2_100': 'symbol id side', 'orderBook10': 'symbol',
    'funding': 'timestamp symbol', 'settlement': 'timestamp symbol', 'insurance': 'currency timestamp',
    'liquidation': 'orderID'})

# -- rows: what each kind of row carries, empty fields left out ------------------------------------

_ACCEPTED = (
    'account clOrdID cumQty currency leavesQty ordStatus ordType orderID orderQty settlCurrency side strategy symbol '
    'text timeInForce timestamp transactTime workingIndicator pool')
_FILL = (
    'avgPx brokerCommission brokerExecComm commission execComm execCommCcy execCost execID execType feeType '
    'foreignNotional homeNotional lastLiquidityInd lastPx lastQty realisedPnl tradePool tradePublishIndicator '
    'trdMatchID trdType')
_CASH = (
    'account avgPx commission cumQty currency execComm execCost execID execType foreignNotional homeNotional lastPx '
    'lastQty leavesQty ordStatus ordType orderQty price settlCurrency symbol text timeInForce timestamp transactTime '
    'trdMatchID workingIndicator')
_HELD = (
    'account avgCostPrice avgEntryPrice bankruptPrice breakEvenPrice commission crossMargin currency currentComm '
    'currentCost currentQty deleveragePercentile foreignNotional grossOpenPremium homeNotional initMargin '
    'initMarginReq isOpen leverage liquidationPrice maintMargin maintMarginReq markPrice markValue openOrderBuyCost '
    'openOrderBuyPremium openOrderBuyQty openOrderRealisedPnl openOrderSellCost openOrderSellPremium openOrderSellQty '
    'posComm posCost posCross posInit posLoss posMaint posMargin prevRealisedPnl quoteCurrency realisedCost '
    'realisedPnl rebalancedPnl riskLimit riskValue strategy symbol timestamp underlying unrealisedCost unrealisedPnl '
    'unrealisedPnlPcnt unrealisedRoePcnt')
_PRICES = ('avgCostPrice avgEntryPrice bankruptPrice breakEvenPrice deleveragePercentile liquidationPrice markPrice')
_CONTRACT = (
    'symbol rootSymbol state typ listing front underlying quoteCurrency underlyingSymbol reference referenceSymbol '
    'maxOrderQty minPrice maxPrice lotSize tickSize multiplier settlCurrency isQuanto isInverse initMargin '
    'maintMargin riskLimit riskStep taxed deleverage makerFee takerFee settlementFee openingTimestamp '
    'closingTimestamp prevClosePrice prevTotalVolume totalVolume volume volume24h prevTotalTurnover totalTurnover '
    'turnover turnover24h homeNotional24h foreignNotional24h prevPrice24h vwap highPrice lowPrice lastPrice '
    'lastPriceProtected lastTickDirection lastChangePcnt bidPrice midPrice askPrice impactBidPrice impactMidPrice '
    'impactAskPrice hasLiquidity openInterest openValue fairMethod fairBasisRate fairBasis fairPrice markMethod '
    'markPrice indicativeSettlePrice instantPnl minTick pool instrumentID capped timestamp')
_FUNDED = (
    'fundingBaseSymbol fundingQuoteSymbol fundingPremiumSymbol fundingBaseRate fundingQuoteRate fundingTimestamp '
    'fundingInterval fundingRate indicativeFundingRate')
_INDEX = (
    'symbol rootSymbol state typ underlying quoteCurrency reference referenceSymbol publishInterval minPrice tickSize '
    'isQuanto isInverse taxed deleverage lastPrice lastTickDirection lastChangePcnt hasLiquidity openValue markMethod '
    'markPrice instantPnl instrumentID timestamp')
_MARGIN = (
    'account currency riskLimit amount grossComm grossOpenCost grossOpenPremium grossMarkValue riskValue initMargin '
    'maintMargin targetExcessMargin realisedPnl unrealisedPnl walletBalance marginBalance marginLeverage '
    'marginUsedPcnt excessMargin availableMargin withdrawableMargin timestamp foreignMarginBalance foreignRequirement')
_MONEY = ('account address amount currency fee transactID transactStatus transactTime transactType timestamp '
          'walletBalance')

ROWS = OrderedDict([
    ('order: limit', _ACCEPTED + ' price'),
    ('order: still open, by GET /order', _ACCEPTED + ' price execID execType'),
    ('order: market', _ACCEPTED),
    ('order: market, filled', _ACCEPTED + ' avgPx'),
    ('order: stop', _ACCEPTED + ' stopPx execInst'),
    ('order: trailing stop', _ACCEPTED + ' stopPx pegPriceType pegOffsetValue'),
    ('order: post-only', _ACCEPTED + ' price execInst'),
    ('order: close', _ACCEPTED + ' execInst'),
    ('order: close, filled', _ACCEPTED + ' avgPx execInst'),
    ('order: iceberg', _ACCEPTED + ' price displayQty'),
    ('order: linked', _ACCEPTED + ' price clOrdLinkID contingencyType'),
    ('order: triggered', _ACCEPTED + ' stopPx pegPriceType pegOffsetValue triggered avgPx'),
    ('cancel that failed', 'account error orderID timestamp transactTime workingIndicator'),
    ('execution: New, limit', _ACCEPTED + ' price execID execType'),
    ('execution: New, market', _ACCEPTED + ' execID execType'),
    ('execution: Replaced', _ACCEPTED + ' price execID execType'),
    ('execution: Canceled', _ACCEPTED + ' price execID execType'),
    ('execution: TriggeredOrActivatedBySystem',
     _ACCEPTED + ' stopPx pegPriceType pegOffsetValue triggered execID execType'),
    ('execution: Trade, taker', _ACCEPTED + ' ' + _FILL),
    ('execution: Trade, maker', _ACCEPTED + ' price ' + _FILL),
    ('execution: CancelReject', 'account execID execType ordRejReason ordStatus orderID text timestamp transactTime '
                                'workingIndicator'),
    ('execution: Funding', _CASH),
    ('execution: Settlement', _CASH),
    ('execution: Liquidation', _ACCEPTED + ' price ' + _FILL),
    ('position: open', _HELD),
    ('position: closed', ' '.join(sorted(set(_HELD.split()) - set(_PRICES.split())))),
    ('margin', _MARGIN),
    ('wallet', WALLET),
    ('transaction: RealisedPNL', _MONEY + ' orderID'),
    ('transaction: Funding', _MONEY),
    ('transaction: Deposit', _MONEY),
    ('transaction: Transfer', _MONEY),
    ('transaction: Withdrawal', _MONEY + ' network memo text'),
    ('transaction: UnrealisedPNL', _MONEY + ' marginBalance'),
    ('instrument: inverse perpetual', _CONTRACT + ' ' + _FUNDED + ' positionCurrency underlyingToSettleMultiplier'),
    ('instrument: quanto perpetual', _CONTRACT + ' ' + _FUNDED + ' quoteToSettleMultiplier'),
    ('instrument: linear perpetual', _CONTRACT + ' ' + _FUNDED + ' positionCurrency underlyingToPositionMultiplier '
                                                                'quoteToSettleMultiplier'),
    ('instrument: dated future', _CONTRACT + ' expiry settle listedSettle positionCurrency '
                                             'underlyingToSettleMultiplier'),
    ('instrument: index', _INDEX),
    ('orderBookL2', BOOK),
    ('orderBookL2_25', BOOK),
    ('orderBookL2_100', BOOK),
    ('orderBook10', 'symbol bids asks timestamp pool'),
    ('quote', QUOTE),
    ('quoteBin', QUOTE),
    ('trade: Regular', TRADE),
    ('trade: Referential', 'timestamp symbol side size price tickDirection trdType'),
    ('tradeBin', BIN),
    ('funding', 'timestamp symbol fundingInterval fundingRate fundingRateDaily'),
    ('settlement', 'timestamp symbol settlementType settledPrice'),
    ('insurance', 'currency timestamp walletBalance'),
    ('liquidation', 'orderID symbol side price leavesQty'),
    ('user', 'id username email created lastUpdated preferences TFAEnabled country geoipCountry typ isRestricted '
             'roles'),
    ('commission', 'maxFee makerFee takerFee settlementFee'),
    ('asset', 'asset currency majorCurrency name currencyType scale enabled isMarginCurrency minDepositAmount '
              'minWithdrawalAmount maxWithdrawalAmount memoRequired networks'),
    ('network of an asset', 'asset depositEnabled withdrawalEnabled withdrawalFee minFee maxFee'),
    ('key', 'id name nonce cidr permissions enabled userId created'),
    ('composite index', 'timestamp symbol indexSymbol reference lastPrice logged'),
    ('stats', 'rootSymbol currency volume24h turnover24h openInterest openValue'),
    ('announcement', 'id link title content date')])

# -- changes: what an update or a delete always carries --------------------------------------------

CHANGES = OrderedDict([
    (('order', 'update'), 'orderID clOrdID account symbol timestamp'),
    (('position', 'update'), 'account symbol strategy currency currentQty timestamp'),
    (('margin', 'update'), 'account currency timestamp'),
    (('wallet', 'update'), 'account currency timestamp'),
    (('instrument', 'update'), 'symbol timestamp'),
    (('orderBookL2', 'update'), 'symbol id side size price timestamp transactTime'),
    (('orderBookL2', 'delete'), 'symbol id side price timestamp transactTime'),
    (('orderBookL2_25', 'update'), 'symbol id side size price timestamp transactTime'),
    (('orderBookL2_25', 'delete'), 'symbol id side price timestamp transactTime'),
    (('orderBookL2_100', 'update'), 'symbol id side size price timestamp transactTime'),
    (('orderBookL2_100', 'delete'), 'symbol id side price timestamp transactTime'),
    (('orderBook10', 'update'), 'symbol bids asks timestamp pool'),
    (('liquidation', 'delete'), 'orderID symbol')])

# -- differences -----------------------------------------------------------------------------------

# kind of row, or the columns of a table -> fields that are missing here, fields that are more here
DEVIATIONS = OrderedDict([
    ('order columns', ('algoOrderDetails destination error expiryTime maxSlippagePct parentOrderID', '')),
    ('execution columns', ('algoOrderDetails destination error expiryTime maxSlippagePct parentOrderID', '')),
    ('instrument columns', ('farLegSymbol nearLegSymbol rebalanceInterval rebalanceTimestamp referencePrice', '')),
    ('order: still open, by GET /order', ('execID execType', '')),
    ('execution: CancelReject', ('', 'clOrdID')),
    ('execution: Funding', ('', 'clOrdID strategy')),
    ('execution: Settlement', ('', 'clOrdID realisedPnl side strategy')),
    ('position: open', ('', 'marginCallPrice openingQty prevUnrealisedPnl')),
    ('position: closed', ('', 'openingQty prevUnrealisedPnl')),
    ('margin', ('', 'grossExecCost isolatedUnrealisedPnl prevRealisedPnl systemWithdrawableMargin')),
    ('instrument: dated future', ('', 'relistInterval')),
    ('user', ('', 'accountName isUser')),
])

# table or route -> what the official specification has against its rows
AGAINST_THE_SPECIFICATION = {
    ('execution', ': "symbol" is a required property'),   # a CancelReject of an unknown order
    ('GET /execution', ': "symbol" is a required property'),
    ('GET /apiKey', ': "secret" is a required property'),
    ('GET /apiKey', 'permissions: "order" is not of type "object"'),
    ('GET /apiKey', 'permissions: "withdraw" is not of type "object"'),
    ('GET /userEvent', ': is not of type "array"'),
}
