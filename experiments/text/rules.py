"""Rules of thumb that name a label by looking at the text alone, or say nothing. Written from general knowledge, before any policy was trained.

A rule is a function text -> the word of a label, or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Rule = Callable[[str], str | None]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


# ---------------------------------------------------------------------- topic

_TOPICS = {
    "world": _set(
        "iraq iraqi baghdad falluja fallujah israel israeli gaza palestinian palestinians arafat iran nuclear korea afghan afghanistan sudan darfur "
        "troops army military soldiers soldier rebels rebel militants militant insurgents bomb bombs bombing bomber blast attack attacks killed kills "
        "kill dead dies death hostage hostages kidnapped war peace talks minister president prime parliament election elections vote votes voters "
        "government opposition un nations treaty embassy refugees crisis quake earthquake typhoon hurricane police court trial protest protesters "
        "cleric bush kerry blair putin sharon karzai musharraf annan castro pope terror terrorism terrorist aid eu"
    ),
    "sports": _set(
        "game games season team teams coach coaches league cup champions championship championships title final finals semifinals match matches tournament "
        "open masters olympic olympics athens medal gold player players quarterback pitcher goal goals football soccer baseball basketball nba nfl nhl "
        "mlb ncaa hockey tennis golf cricket rugby boxing race racing driver prix nascar marathon sox yankees mets cubs cardinals dodgers astros braves "
        "giants eagles patriots jets bears lakers pacers pistons knicks manchester arsenal chelsea liverpool real madrid test innings wicket striker "
        "manager signs defeat rout victory injury injured draft inning homer touchdown bowl playoff playoffs series premiership ryder"
    ),
    "business": _set(
        "stocks stock shares share market markets wall street profit profits earnings quarter sales revenue economy economic growth jobs jobless inflation "
        "rates rate fed greenspan bank banks banking investors investor fund funds oil crude prices price dollar euro yen trade deficit merger takeover "
        "bid buy buys deal sell sells sale ipo airline airlines airways bankruptcy retail retailer retailers consumer consumers company firm ceo "
        "chief executive insurer insurance pension tax mortgage lawsuit settle settlement sec accounting fraud cut cuts jobs factory orders exports "
        "output outlook forecast analysts boeing delta gm ford fannie mae merck pfizer yukos opec"
    ),
    "technology": _set(
        "microsoft windows google yahoo apple ipod itunes ibm intel amd linux software computer computers pc pcs internet web online net browser firefox "
        "explorer virus viruses worm spam hackers hacker security patch phone phones mobile wireless wi fi broadband cell chip chips server servers "
        "search engine download downloads music digital video games gaming xbox playstation nintendo sony halo napster camera cameras tv dvd nasa "
        "space shuttle mars moon saturn titan cassini satellite probe planet scientists science researchers study species climate fossil dna stem cells "
        "technology tech data email mail messaging voip oracle peoplesoft sun hp dell nokia motorola blog blogs site sites user users open source"
    ),
}


def keywords(text: str) -> str | None:
    """The topic that most of the words speak for, if no other has as many."""
    counts = sorted(
        ((sum(word in known for word in _words(text)), topic) for topic, known in _TOPICS.items()), reverse=True
    )
    return counts[0][1] if counts[0][0] > counts[1][0] else None


def outlet(text: str) -> str | None:
    named = re.search(r"\(([^()]*)\)\s*$", text)
    if named is None:
        return "sports" if text.strip() == "SI.com" else None
    name = named[1].lower()
    if re.search(r"space\.com|pc world|maccentral|newsfactor|ziff davis|techweb|cnet|infoworld|nasa", name):
        return "technology"
    return "world" if name == "afp" else None


_COUNTRIES = re.compile(
    r"\b(iraqi?|iran(ian)?|israeli?|palestinians?|afghan(istan)?|pakistani?|indian?|chin(a|ese)|japan(ese)?|koreans?|korea|russian?|chechen|ukrain(e|ian)|"
    r"turk(ey|ish)|germany?|french|france|britain|british|uk|ital(y|ian)|spain|spanish|austral(ia|ian)|indonesian?|thai(land)?|philippines?|sudan(ese)?|"
    r"nigerian?|kenyan?|congo|haitian?|cuban?|venezuelan?|mexic(o|an)|colombian?|saudi|syrian?|lebanon|egypt(ian)?|nepal|darfur|gaza|baghdad|europe(an)?)\b",
    re.IGNORECASE,
)


def country(text: str) -> str | None:
    return "world" if _COUNTRIES.search(text) else None


def money(text: str) -> str | None:
    found = re.search(
        r"[$€£]|\b(billion|million|percent|pct|bln|mln|dollars?|euros?|profits?|earnings|prices?|shares?|stocks?)\b|\d%",
        text.lower(),
    )
    return "business" if found else None


def result(text: str) -> str | None:
    found = re.search(
        r"\b\d{1,3}-\d{1,3}\b|\b(beats?|wins?|won|lose[sd]?|lost|leads?|tops?|downs?|routs?|edges?|advances?|upsets?|holds? off)\b",
        text.lower(),
    )
    return "sports" if found else None


# ---------------------------------------------------------------------- sentiment

_PRAISE = _set(
    "good great best better fine finest excellent superb brilliant wonderful delightful charming charm fun funny hilarious enjoyable entertaining engaging "
    "engrossing moving touching powerful beautiful beautifully gorgeous lovely smart clever witty intelligent fascinating compelling gripping fresh "
    "original inventive imaginative thoughtful provocative satisfying rewarding memorable rich warm tender sweet honest heartfelt solid strong strongly "
    "perfect masterpiece masterful triumph pleasure pleasures delight love loves enjoy enjoyed recommend worth winning winner remarkable stunning "
    "impressive exciting thrilling suspenseful amusing uplifting inspiring refreshing refreshingly vivid lively subtle graceful elegant poignant "
    "hypnotic mesmerizing dazzling stylish skillful skillfully effective pleasant likable appealing affecting exhilarating"
)
_BLAME = _set(
    "bad worst worse poor poorly awful terrible horrible dull boring bored bore tedious tiresome slow plodding lame silly stupid dumb inane pointless "
    "mediocre flat bland predictable formulaic cliched cliche clichés cliches contrived forced pretentious shallow empty hollow lifeless uninspired "
    "unfunny unoriginal derivative stale tired messy mess muddled confusing confused incoherent disjointed overlong disappointing disappointment "
    "disappoints fails failed failure fail waste wasted wastes wasting weak thin sloppy clumsy awkward annoying irritating grating ugly unpleasant "
    "depressing painful painfully excruciating ridiculous ludicrous absurd laughable nonsense junk garbage trash mindless manipulative sentimental "
    "sappy heavy-handed obvious lacking lacks mess problem problems trouble flawed flaw unfortunately sadly barely hardly ordeal endless interminable "
    "superficial amateurish generic numbing vapid dreary trite banal hackneyed repetitive"
)  # fmt: skip
_NEGATION = _set(
    "no not never n't nor neither without hardly barely nothing isn't doesn't didn't wasn't can't won't don't"
)


def lexicon(text: str) -> str | None:
    """Words of praise less words of blame; one of the three words before turns a word into its opposite if it negates."""
    words = text.lower().split()
    total = 0
    for place, word in enumerate(words):
        value = (word in _PRAISE) - (word in _BLAME)
        total += -value if any(before in _NEGATION for before in words[max(0, place - 3) : place]) else value
    return None if total == 0 else "positive" if total > 0 else "negative"


def turn(text: str) -> str | None:
    parts = re.split(r"\b(?:but|yet|though|however|nevertheless|still)\b", text.lower())
    return lexicon(parts[-1]) if len(parts) > 1 else None


def lacks(text: str) -> str | None:
    found = re.search(
        r"\b(too|without|lacks?|lacking|never|nothing|no|not|hardly|barely|little|supposed|instead|should have|could have|would have|if only)\b|n't",
        text.lower(),
    )
    return "negative" if found else None


def craft(text: str) -> str | None:
    found = re.search(
        r"\b(performances?|portrait|portrayal|cinematography|photography|documentary|heart|soul|humanity|human|grace|wit|humor|depth|insight|emotional|richly|"
        r"beauty|art|artist|craft|journey|celebration|imagination|passion|tale|intimate)\b",
        text.lower(),
    )
    return "positive" if found else None


TOPIC: dict[str, Rule] = {"keywords": keywords, "outlet": outlet, "country": country, "money": money, "result": result}
SENTIMENT: dict[str, Rule] = {"lexicon": lexicon, "turn": turn, "lacks": lacks, "craft": craft}
