"""English word lists of the guards and of eligibility: data only."""

from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STOP_WORDS: Final = _set(
    """a about all also am an and any are aren't as at be because been being both but by can could did do does
    doing done during each either else ever every few for from further get gets getting give go going got had has
    have having he he'd he'll he's her here here's hers herself him himself his how how'd how's i i'd i'll i'm
    i've if in into is it it'd it'll it's its itself just let let's like made make many may me might more most
    much must my myself of off on once one only onto or other ought our ours ourselves out over own per please
    quite rather really same shall she she'd she'll she's should so some such than that that's that'd the their
    theirs them themselves then there there's these they they'd they'll they're they've this those though through
    to too under until up upon us very via was we we'd we'll we're we've were what what'd what's whats when
    when's where where's whether which while who who'd who's whom whose why why's will with within would yet you
    you'd you'll you're you've your yours yourself yourselves tell explain know want need help thing things way
    ways ok okay hi hello hey thanks thank"""
)

ENGLISH: Final = _set(
    """the what what's how how's which when where where's who who's why whose is are do does did can could should
    would of to for with from and my your i you i'm i've it if there between about have has give tell explain list
    show find make get use need want please don't doesn't isn't can't"""
)
"""Words that hardly occur in another language written in Latin letters; one of them makes a text English."""

PRONOUNS: Final = _set(
    """it its it's this that that's these those they them their they're he she him her his hers he's she's one
    ones there here such former latter same"""
)
"""Words that may point at something said before."""

NEGATORS: Final = _set(
    """not no never none nothing without cannot neither nor avoid except stop non unable nobody nowhere
    dont doesnt didnt isnt arent wasnt werent wont wouldnt couldnt shouldnt cant mustnt neednt havent hasnt hadnt
    aint"""
)

CARDINALS: Final = {
    "zero": "0",
    "two": "2",
    "twice": "2",
    "double": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "eleven": "11",
    "twelve": "12",
    "thirteen": "13",
    "fourteen": "14",
    "fifteen": "15",
    "sixteen": "16",
    "seventeen": "17",
    "eighteen": "18",
    "nineteen": "19",
    "twenty": "20",
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "billion": "1000000000",
}
"""Not `one`, `once` and `half`, which English also uses where nothing is counted."""

ORDINALS: Final = {
    "1st": "first",
    "2nd": "second",
    "3rd": "third",
    "fourth": "4th",
    "fifth": "5th",
    "sixth": "6th",
    "seventh": "7th",
    "eighth": "8th",
    "ninth": "9th",
    "tenth": "10th",
    "eleventh": "11th",
    "twelfth": "12th",
    "thirteenth": "13th",
    "fourteenth": "14th",
    "fifteenth": "15th",
    "sixteenth": "16th",
    "seventeenth": "17th",
    "eighteenth": "18th",
    "nineteenth": "19th",
    "twentieth": "20th",
    "thirtieth": "30th",
    "hundredth": "100th",
}
"""One form for each: from the fourth on the one that counts as a number; first to third are also said idly."""

DEMONYMS: Final = {
    "american": "usa",
    "americans": "usa",
    "america": "usa",
    "british": "uk",
    "britain": "uk",
    "israeli": "israel",
    "israelis": "israel",
    "indian": "india",
    "indians": "india",
    "pakistani": "pakistan",
    "pakistanis": "pakistan",
    "iraqi": "iraq",
    "iraqis": "iraq",
    "saudis": "saudi",
    "german": "germany",
    "germans": "germany",
    "french": "france",
    "spanish": "spain",
    "italian": "italy",
    "italians": "italy",
    "russian": "russia",
    "russians": "russia",
    "chinese": "china",
    "japanese": "japan",
    "korean": "korea",
    "koreans": "korea",
    "canadian": "canada",
    "canadians": "canada",
    "australian": "australia",
    "australians": "australia",
    "mexican": "mexico",
    "mexicans": "mexico",
    "brazilian": "brazil",
    "brazilians": "brazil",
    "turkish": "turkey",
    "greek": "greece",
    "greeks": "greece",
    "dutch": "netherlands",
    "swedish": "sweden",
    "norwegian": "norway",
    "danish": "denmark",
    "finnish": "finland",
    "polish": "poland",
    "ukrainian": "ukraine",
    "ukrainians": "ukraine",
    "swiss": "switzerland",
    "austrian": "austria",
    "irish": "ireland",
    "scottish": "scotland",
    "egyptian": "egypt",
    "iranian": "iran",
    "iranians": "iran",
    "african": "africa",
    "africans": "africa",
    "european": "europe",
    "europeans": "europe",
    "asian": "asia",
    "vietnamese": "vietnam",
    "thai": "thailand",
    "portuguese": "portugal",
}

MONTHS: Final = {
    "january": "january", "jan": "january",
    "february": "february", "feb": "february",
    "march": "march", "april": "april", "apr": "april", "may": "may",
    "june": "june", "jun": "june", "july": "july", "jul": "july",
    "august": "august", "aug": "august",
    "september": "september", "sept": "september", "sep": "september",
    "october": "october", "oct": "october",
    "november": "november", "nov": "november",
    "december": "december", "dec": "december",
    "monday": "monday", "mon": "monday",
    "tuesday": "tuesday", "tue": "tuesday", "tues": "tuesday",
    "wednesday": "wednesday", "wed": "wednesday",
    "thursday": "thursday", "thu": "thursday", "thurs": "thursday",
    "friday": "friday", "fri": "friday",
    "saturday": "saturday", "sat": "saturday",
    "sunday": "sunday", "sun": "sunday",
}  # fmt: skip
"""Months and weekdays by their names and short forms."""

ALSO_COMMON: Final = _set("march may august mon wed sat sun jan mar dec")
"""Names of months and days that are ordinary words too: a date only with a capital inside a sentence."""

CONVERSION: Final = _set(
    """convert converting conversion convertor converter translate translating translation translator travel
    travelling traveling fly flying flight flights drive driving train bus route distance move moving migrate
    migrating migration switch switching transfer transferring exchange upgrade upgrading port porting"""
)
"""With one of these in the prompt, `X to Y` has a direction."""

_PAIRS: Final = """
    tuple(pair.split("/")) best/worst better/worse good/bad good/evil buy/sell before/after
    enable/disable minimum/maximum min/max increase/decrease more/less most/least high/low higher/lower
    highest/lowest long/short longer/shorter longest/shortest big/small bigger/smaller biggest/smallest
    large/little large/small larger/smaller largest/smallest fast/slow faster/slower fastest/slowest
    early/late earlier/later earliest/latest old/new older/newer oldest/newest old/young older/younger
    oldest/youngest hot/cold hotter/colder warm/cool warmer/cooler open/close opened/closed start/stop
    start/end start/finish begin/end first/last first/second first/third second/third win/lose won/lost
    add/remove add/subtract add/delete create/delete create/destroy insert/delete insert/remove
    install/uninstall connect/disconnect lock/unlock log/unlog login/logout signin/signout
    subscribe/unsubscribe follow/unfollow block/unblock mute/unmute encrypt/decrypt encode/decode
    compress/decompress zip/unzip pack/unpack import/export input/output upload/download push/pull
    send/receive give/take give/receive lend/borrow accept/reject accept/refuse
    accept/decline allow/deny allow/forbid allow/prevent permit/forbid approve/reject agree/disagree
    like/dislike love/hate gain/lose gain/loss profit/loss income/expense asset/liability credit/debit
    deposit/withdraw deposit/withdrawal save/spend earn/spend rise/fall rising/falling raise/lower
    up/down upward/downward left/right top/bottom upper/lower front/back forward/backward inside/outside
    in/out indoor/outdoor internal/external inner/outer interior/exterior north/south east/west
    northern/southern eastern/western above/below over/under on/off true/false yes/no right/wrong
    correct/incorrect correct/wrong safe/dangerous safe/unsafe legal/illegal possible/impossible
    positive/negative advantage/disadvantage advantages/disadvantages pros/cons benefit/drawback
    benefits/drawbacks benefit/risk benefits/risks strength/weakness strengths/weaknesses strong/weak
    stronger/weaker easy/hard easy/difficult easier/harder simple/complex cheap/expensive cheaper/dearer
    cheapest/dearest rich/poor male/female man/woman men/women boy/girl boys/girls father/mother
    son/daughter brother/sister husband/wife uncle/aunt king/queen day/night morning/evening am/pm
    summer/winter spring/autumn success/failure succeed/fail pass/fail alive/dead life/death birth/death
    live/die build/demolish attack/defend offense/defense friend/enemy war/peace love/hatred happy/sad
    happiest/saddest healthy/unhealthy thick/thin wide/narrow deep/shallow heavy/light heavier/lighter
    wet/dry clean/dirty full/empty public/private domestic/foreign domestic/international local/remote
    local/global static/dynamic sync/async synchronous/asynchronous client/server
    parent/child ancestor/descendant ascending/descending horizontal/vertical row/column rows/columns
    prefix/suffix head/tail temporary/permanent voluntary/mandatory optional/mandatory optional/required
    include/exclude including/excluding with/without activate/deactivate attach/detach freeze/unfreeze
    freeze/thaw hire/fire employ/dismiss employer/employee teacher/student doctor/patient
    landlord/tenant buyer/seller lender/borrower plaintiff/defendant arrive/depart
    arrival/departure enter/exit entrance/exit inbound/outbound incoming/outgoing inhale/exhale
    expand/contract expand/shrink grow/shrink multiply/divide plus/minus odd/even acid/base freeze/melt
    freezing/boiling freeze/boil solid/liquid sender/recipient single/married single/double
    introvert/extrovert liberal/conservative democrat/republican democrats/republicans
    catholic/protestant beginner/expert junior/senior amateur/professional renewable/nonrenewable
    organic/inorganic metal/nonmetal antonym/synonym antonyms/synonyms android/iphone android/ios
    mac/windows macos/windows linux/windows
"""
ANTONYMS: Final = tuple((x, y) for x, _, y in (pair.partition("/") for pair in _PAIRS.split()))
"""Pairs of which a question about one is answered wrongly by an answer about the other."""

COMPARATIVES: Final = _set("more less better worse rather other greater fewer further")
