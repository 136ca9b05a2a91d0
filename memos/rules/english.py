"""English closed word classes: words too common to search for, and irregular inflections.

A suffix stemmer maps "walked" to "walk" but cannot know that "went" belongs to "go"; questions ask in
one tense ("where did she go") and memories answer in another ("I went to"). Both lists are ours and small.
"""

from __future__ import annotations

from typing import Final

# Contractions stand without their apostrophe, as the tokenizer leaves them. "May" is missing on purpose: it
# is a month more often than a wish; so are "ill" and "id", which only contract with an apostrophe.
_STOP_WORD_LIST: Final = """
    a an the this that these those i me my mine myself we us our ours ourselves you your yours yourself
    yourselves he him his himself she her hers herself it its itself they them their theirs themselves
    who whom whose which what when where why how am is are was were be been being do does did doing done
    have has had having will would shall should can could might must ought and or but nor so if then
    else than because as until while although though of at by for with about against between into
    through during before after above below to from up down in out on off over under again further once
    here there all any both each few more most other some such no not only own same too very just also
    ever even still yet im ive youre youve youd youll hes shes theyre theyve theyd theyll weve isnt
    arent wasnt werent dont doesnt didnt havent hasnt hadnt wont wouldnt shouldnt cant couldnt mustnt
    thats whats whos wheres heres theres lets aint cannot oh ah um uh hey hi hello ok okay yeah yes yep
    wow
"""
STOP_WORDS: Final[frozenset[str]] = frozenset(_STOP_WORD_LIST.split())

_IRREGULAR_FORMS: Final[str] = """
    arise arose arisen|awake awoke awoken|bear bore borne|beat beaten|become became|begin began begun
    bend bent|bind bound|bite bit bitten|bleed bled|blow blew blown|break broke broken|breed bred
    bring brought|build built|burn burnt|buy bought|catch caught|choose chose chosen|cling clung
    come came|creep crept|deal dealt|dig dug|draw drew drawn|dream dreamt|drink drank drunk
    drive drove driven|eat ate eaten|fall fell fallen|feed fed|feel felt|fight fought|find found
    flee fled|fly flew flown|forbid forbade forbidden|forget forgot forgotten|forgive forgave forgiven
    freeze froze frozen|get got gotten|give gave given|go went gone goes|grind ground|grow grew grown
    hang hung|hear heard|hide hid hidden|hold held|keep kept|kneel knelt|know knew known|lay laid
    lead led|lean leant|leap leapt|learn learnt|lend lent|light lit|lose lost|make made|mean meant
    meet met|overcome overcame|pay paid|prove proven|ride rode ridden|ring rang rung|rise rose risen
    run ran|say said|see saw seen|seek sought|sell sold|send sent|sew sewn|shake shook shaken
    shine shone|shoot shot|show shown|shrink shrank shrunk|sing sang sung|sink sank sunk|sit sat
    sleep slept|slide slid|smell smelt|speak spoke spoken|speed sped|spend spent|spill spilt|spin spun
    spring sprang sprung|stand stood|steal stole stolen|stick stuck|sting stung|strike struck
    strive strove striven|swear swore sworn|sweep swept|swim swam swum|swing swung|take took taken
    teach taught|tear tore torn|tell told|think thought|throw threw thrown|understand understood
    undertake undertook undertaken|wake woke woken|wear wore worn|weave wove woven|weep wept|win won
    wind wound|withdraw withdrew withdrawn|write wrote written|child children|foot feet|goose geese
    man men|mouse mice|tooth teeth|woman women|person people|wife wives|knife knives|leaf leaves
    shelf shelves|wolf wolves|half halves|life lives|loaf loaves|thief thieves|good better best
    bad worse worst
"""


def irregular_forms() -> dict[str, str]:
    """Map each irregular form to its base form ("went" to "go"); the caller keeps the result."""
    forms: dict[str, str] = {}
    for group in _IRREGULAR_FORMS.replace("\n", "|").split("|"):
        base, *inflected = group.split() or [""]
        forms.update(dict.fromkeys(inflected, base))
    return forms
