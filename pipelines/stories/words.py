"""What the clusterer knows of the language of news: outlets, opposites, the calendar, words that say little.

Small closed lists: a word that is missing costs a match or lets one through. Nothing is learned from the stream, so
that a restart forgets nothing. Every word is written as `text.fold` leaves it: no capitals, no accents.
"""

from typing import Final


def _set(words: str, between: str | None = None) -> frozenset[str]:
    """The words of some lines; `between`: what parts them on a line, blanks if nothing else."""
    return frozenset(word.strip() for line in words.strip().splitlines() for word in line.split(between))


OUTLETS: Final = _set(
    """
    reuters|thomson reuters|ap|ap news|associated press|the associated press|afp|agence france-presse|bloomberg news
    bloomberg.com|dow jones|dow jones newswires|financial times|the financial times|ft|ft.com|cnbc|cnn business|bbc
    bbc news|the guardian|guardian|wsj|wall street journal|the wall street journal|new york times|the new york times
    washington post|the washington post|marketwatch|barron's|barrons|fortune|business insider|insider|yahoo
    yahoo finance|msn|seeking alpha|benzinga|zacks|the economist|nikkei|nikkei asia|xinhua|kyodo|dpa|dpa-afx|efe|ansa
    tass|interfax|upi|pti|ians|ani|npr|axios|politico|sky news|fox business|fox news|al jazeera|handelsblatt|les echos
    le monde|business wire|pr newswire|globenewswire|marketwired|rns|aap|pa media|evening standard|city a.m.|city am
    techcrunch|the verge|wired|usa today|abc news|cbs news|nbc news|新华社|路透|路透社|彭博|ロイター|共同通信|時事通信
    日本経済新聞|bloomberg|cnn|economist|forbes|nyt|prnewswire|semafor|time|日経
    """,
    "|",
)
OUTLET_WORDS: Final = _set(
    """
    news times post journal herald tribune gazette daily press magazine observer chronicle telegraph mirror tv radio
    wire newswire newswires online weekly courier dispatch globe standard inquirer examiner bulletin zeitung blog
    """
)
COMPANY: Final = _set(
    """
    plc inc corp corporation ltd limited llc co sa ag nv se spa gmbh trust fund etf reit
    """
)
MARKS: Final = (
    r"updated?|refiled?|refiling|corrected(?:[ -]\(official\))?|correction|rpt|repeats?|repeating|recasts?"
    r"|breaking(?: news)?|exclusive|live(?: updates?| blog)?|just in|developing(?: story)?|urgent|flash|news ?flash"
    r"|(?:news )?alert|watch|video|reg|amended|wrapup|eilmeldung|eil|urgente?|ultima hora|última hora|exclusif"
    r"|exclusiva|exklusiv|en direct|en directo|korrektur|alerte|更新|速報|独家|快讯|重发|更正|срочно"
)
UPDATING: Final = ("updat", "correct", "recast", "amend", "live", "developing", "wrapup", "更新", "更正", "korrektur")

STOP: Final = _set(
    """
    a an the of in on at to for from by with without as and or but nor if than then that this these those is are was
    were be been being am do does did has have had having will would could should can may might must shall it its he
    she they them his her their we our you your i my who whom which what where when how why there here so such into
    onto over under about amid among against between through during per via also just more most some any all each
    other another while says say said told tells tell saying according report reports reported reporting plc inc corp
    corporation ltd llc co company holdings sa ag nv spa gmbh der die das den dem des ein eine einer eines einem einen
    und oder im zu zum zur von vom mit auf aus bei fur ist sind war wird werden sich als auch nach le la les un une du
    de et ou en dans pour par sur avec est sont au aux ce cette qui que il elle se ses el los las una unos unas y o
    del al con por para es son su sus lo gli uno e di da nel nella che si dei della delle os um uma dos na nos nas em
    ao com het een van op te met voor zijn
    """
)
NOT: Final = _set(
    """
    not no never none nothing denies deny denied rejects reject rejected refuses refuse refused unlikely false cannot
    nicht kein keine dementiert pas jamais nunca nega niega desmente нет не 不 没 未 否
    """
)

# Both sides of an opposition, word by word.
POSITIVE: Final = _set(
    """
    rise gain climb jump surge soar rally advance rebound increase grow higher up raise hike lift boost beat exceed
    top approve win accept open start launch buy upgrade resume arrest agree confirm hire join gainer bull bullish
    best strong stronger improve improvement profit profitable expand expansion ease calm surplus growth high recover
    recovery accelerate enter reopen restart success succeed support back begin steigt steigen hausse sube suben
    aumenta gewinn 上涨 上升 涨 升 増 買
    """
)
NEGATIVE: Final = _set(
    """
    fall drop decline slip slide dip sink tumble plunge slump lower down cut slash reduce trim miss lose loss block
    close halt end stop sell downgrade suspend release dispute fire leave bear bearish worst weak weaker worsen shrink
    contract contraction deficit low delay cancel withdraw decelerate slow exit shut fail failure oppose quit scrap
    abandon recede retreat deteriorate faellt fallt fallen sinkt baisse cae caen scende scendono cala verlust 下跌
    下降 跌 降 減 売
    """
)

CALENDAR: Final = _set(
    """
    january february march april june july august september october november december jan feb mar apr jun jul aug sep
    sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri sat
    sun first second third fourth half-year full-year quarter q1 q2 q3 q4 h1 h2 1q 2q 3q 4q 1h 2h morning afternoon
    evening midday januar februar marz juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag
    sonntag janvier fevrier mars avril juin juillet aout septembre octobre novembre decembre lundi mardi mercredi
    jeudi vendredi samedi dimanche enero febrero abril mayo junio julio agosto septiembre octubre noviembre diciembre
    lunes martes miercoles jueves viernes sabado domingo gennaio febbraio aprile maggio giugno luglio settembre
    ottobre dicembre
    """
)

# One word for several, so that an edit between them is none. The first of a line stands for the line.
_SAME: Final = """
    rise gain climb jump surge soar advance rally up
    fall drop decline slip slide dip sink tumble plunge slump down
    raise hike lift boost increase
    cut slash reduce trim
    percent pct prozent
    million mln mn millionen
    billion bln bn milliarden
    thousand k
    dollar usd
    buy acquire purchase
    kill dead die death
   profit earning
    talk negotiation
    quit resign
    layoff redundancy
    q1 1q first-quarter
    q2 2q second-quarter
    q3 3q third-quarter
    q4 4q fourth-quarter
    see expect
    plan aim
    warn caution
    probe investigate investigation inquiry
    share stock
    chief ceo
    sue lawsuit
    government govt gov
    international intl
    central-bank cenbank
    january jan
    february feb
    april apr
    august aug
    september sep sept
    october oct
    november nov
    december dec
"""
SAME: Final = {word: line.split()[0] for line in _SAME.strip().splitlines() for word in line.split()}

# Headlines that come again every day or week in the same words.
RECURRING: Final = _set(
    """
    stock share market wall street index future bond treasury forex yen rupee rand peso ruble gold oil crude copper
    nav net asset value diary calendar factor brief briefing newsletter daily weekly today tonight morning evening
    midday close open closing premarket podcast wordle quordle heardle crossword horoscope weather lottery hint recap
    preview digest roundup summary schedule highlight snapshot ticker notice holding transaction own form disclosure
    rate fix variable redemption repurchase rating table portfolio margin test message service auction result quarter
    director pdmr shareholding announce dividend conference call parent group forecast appointment blocklist issue
    """
)

# Summaries that speak of the outlet and not of the news.
BOILERPLATE: Final = (
    "subscribe", "sign up", "newsletter", "click here", "read more", "follow us", "all rights reserved",
    "read the full", "continue reading", "log in", "photographer", "file photo", "getty images", "is seen", "are seen",
    "is pictured", "our website", "terms of", "cookies", "latest news", "this article", "join us", "download our",
    "watch live", "your inbox", "stay up to date", "free trial", "register", "podcast", "is your guide", "week ahead",
    "abonnieren", "abonnez", "suscri", "inside story", "breaking news", "full story", "more details", "what’s news",
    "what's news",
)  # fmt: skip
