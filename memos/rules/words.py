"""Closed lists of English words that the reading rules share: common verbs, and words that start sentences.

Rules without a part-of-speech tagger need to know a verb when they see one. Grammar gives most of it (the word after a
pronoun or an auxiliary is a verb); this list covers the rest. It names everyday verbs only: an unknown verb after a
name is still recognised by its ending.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from memos.rules.english import irregular_forms

_VERBS: Final = """
    accept achieve acquire act add adopt advise affect agree aim allow announce answer appear apply appreciate argue
    arrange arrive ask assemble attend avoid bake base battle become begin believe belong bike bind bleed boil book
    borrow bounce break breed brew bring build buy call camp cancel capture care carry catch cause celebrate change
    chase check choose claim clean climb close coach collect combine come command commute compete complete compose
    concern conduct connect consider contact contain continue contribute convert cook cope cost cover craft create
    cross cultivate cut cycle dance date deal debut decide decorate defeat defend delete deliver depend deploy describe
    design destroy develop die dig direct discover discuss dislike divorce donate draw dream dress drink drive drop earn
    eat edit educate employ enable encounter encourage end engage enjoy enrol enroll ensure enter establish exchange
    exercise exhibit exist expand expect experience explain explore express fail fall feature feed feel fight fill film
    find finish fire fit fix fly focus follow forget form found gain garden gather get give go grab graduate grow guide
    handle hang happen hate head heal hear help hike hire hit hold host hug hunt hurt identify improve include inform
    injure inspire install intend interview introduce invent invest invite involve issue jog join journal juggle jump
    keep kick kill know lack land laugh launch lead learn leave lend let lie lift like list listen live locate look
    lose love make manage marry master mean measure meditate meet mention mentor merge migrate miss mix move name need
    notice obtain occur offer open operate order organise organize own pack paint park participate pass pay perform
    photograph pick plan plant play pop post practice practise prefer prepare present prevent produce promote propose
    protect prove provide publish pull purchase push put quit race raise reach read realise realize receive recommend
    record recover reduce refer refuse register reject relate relax release relocate rely remain remember remind
    remove renew renovate rent repair repeat replace report represent rescue research reside resign resolve respond
    rest restore retire return reveal review ride rise roast roll run sail save say schedule score search see seek seem
    sell send separate serve set settle share shift shoot shop show shut sign sing sit skate ski sketch sleep smoke snowboard
    solve speak spend split sponsor stand start stay steal stick stop store stretch struggle study submit succeed suffer
    suggest supply support surf surprise swap swim switch take talk taste teach team tell test thank think throw tidy
    touch tour train transfer transition translate travel treat trek try turn understand update upgrade upload use vary
    view visit volunteer vote wait wake walk want warn wash watch wear weigh welcome win wish witness wonder work worry wrap
    write yell
"""


def word_set(text: str, separator: str | None = None) -> frozenset[str]:
    """The words of a plainly written list, or its phrases when a separator is given."""
    return frozenset(" ".join(word.split()) for word in text.split(separator) if word.strip())


SENTENCE_STARTERS: Final = word_set(
    """
    absolutely actually additionally afterwards all also although always amazing and another anyway anyways
    anytime anything any appreciate are as at awesome aww because been being believe besides best beautiful
    both btw but bye can check cheers clearly come congrats congratulations cool could curious dear
    definitely despite did do does don during each earlier either enjoy eventually every everyone everything
    exactly excited fantastic finally fingers first for fortunately from fun further furthermore gonna good
    goodbye got gotta glad great guess haha hang happy have having hello here hey hi hmm honestly hooray hope
    hopefully how however i if imagine in incredible indeed instead interesting is it just keep kudos last
    lately later let life like lol long look looking looks lots love lovely lucky make making many maybe me
    meanwhile might mine moreover most much music my naturally nah never next nice no nope not nothing now
    obviously of oh ok okay omg on once one only ooh oops or other our over overall people perfect perhaps
    personally phew please plus possibly previously probably proud quite rather really recently right sadly
    same seeing seems several she should similarly since so some someone something sometimes somewhere soon
    sorry sounds speaking still such super sure surely taking talk tbh thank thanks that the their then there
    therefore these they thing things this those though through thus to today together tomorrow tonight too
    totally true truly trust try trying two under unfortunately until used usually very wait wanna was way we
    welcome well were what whatever when where which while whoa who why will wish with wonderful woo woohoo
    working would wow ya yay yeah yep yes yesterday yet yikes you your yup
    """
)
"""Words whose capital letter at the start of a sentence says nothing."""

NOT_NAMES: Final = word_set(
    """
    i i'm i've i'd i'll i'ma im ok okay btw lol omg fyi asap tbh idk imo imho rn aka diy faq pdf url api json
    html am pm january february march april may june july august september october november december jan feb
    mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue
    tues wed thu thur thurs fri sat sun mr mrs ms dr mom mum dad grandma grandpa god
    """
)
"""Capitalised by habit: times, chat shorthand, forms of address."""


EMPTY_VERBS: Final = word_set(
    """
    think guess mean know hope wonder feel hear believe agree understand appreciate remember say tell ask
    thank wish bet suppose imagine forget see look sound seem let help happen reckon admit swear
    realize realise notice concern care wait miss check try need come
    """
)
"""Verbs of thinking, politeness and small talk: what follows them is no fact about their subject."""


def verb_base(word: str) -> str | None:
    """The base form of a common verb in any form ("plays" is "play", "went" is "go"), or nothing for other words."""
    return _forms().get(word.lower())


@lru_cache(maxsize=1)
def _forms() -> dict[str, str]:
    """Every form of every verb of the list; built on first use. An irregular past wins over a rarer base ("found")."""
    verbs = _VERBS.split()
    irregular = {form: base for form, base in irregular_forms().items() if base in set(verbs)} | {"left": "leave"}
    forms = {form: verb for verb in reversed(verbs) for form in _regular_forms(verb)}
    return forms | irregular | {verb: verb for verb in verbs if verb not in irregular}


def _regular_forms(verb: str) -> set[str]:
    """The regular inflections, with and without doubling: a form that does not exist does no harm."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return {f"{verb[:-1]}ies", f"{verb[:-1]}ied", f"{verb}ing"}
    if verb.endswith("ie"):
        return {f"{verb}s", f"{verb}d", f"{verb[:-2]}ying"}
    if verb.endswith("e"):
        return {f"{verb}s", f"{verb}d", f"{verb[:-1]}ing"}
    doubled = verb + verb[-1]
    ending = "es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else "s"
    return {f"{verb}{ending}", f"{verb}ed", f"{verb}ing", f"{doubled}ed", f"{doubled}ing"}
