"""English words by what they tell of a sentence's worth: data for the checks of knowledge bases."""

# ruff: noqa: SIM905 - quoted, comma-separated words would fill pages

from __future__ import annotations

import re

# Words that carry no content: left out when sentences are compared.
STOP_WORDS = frozenset(
    """a about above across after all along also always among an and any are around as at be been before behind being
    below beneath beside between both but by can each either every few for from had has have he her his how if in into
    is it its itself just like many may more most much near nor not of off often on one only onto or other others out
    over own per same she so some sometimes such than that the their them then there these they this those through to
    too two under until up upon usually very was were what when where which while who whose will with within without
    you your""".split()
)

# Words that fit every class: a sentence of nothing else says nothing.
GENERIC_WORDS = frozenset(
    """animal appearance available beautiful called class come common commonly country different distinctive easily
    everyday everywhere example familiar famous find found general good great home important interesting item kind
    known look looks lovely made make nice object objects part people person picture photo photograph place places
    popular recognisable recognizable see seen several shape size sort special species thing things type typical
    typically unique use used useful variety various vehicle way well widely world""".split()
)

# Purpose, history, opinion and the senses other than sight; and a chat's own talk.
INVISIBLE = re.compile(
    r"\b(used (for|to|as|by|in)|known (for|as)|symboli[sz]es?|symbol of|invented|history|historically|originat\w+"
    r"|popular|popularity|famous|beloved|important|essential|smells?|scents?|odou?rs?|aroma|tast(e|es|y)|delicious"
    r"|sounds?|noisy|loud|noises?|purr\w*|bark(s|ing)|meow\w*|roar\w*|expensive|cheap|affordable|friendly|loyal"
    r"|intelligent|useful|helps? (people|us|to)|provides?|as an ai|language model|i('m| am) sorry|i cannot|i can't"
    r"|here (are|is)|sure,|certainly)(?!\w)",
    re.IGNORECASE,
)

# What a thing does or is there for; a warning where nothing visible is named.
PURPOSE = re.compile(
    r"^(?:it|they|this|these)?\s*(?:can\s+|may\s+)?(?:is|are)?\s*(?:meant|designed|intended|built|made) (?:for|to) "
    r"|^(?:it|they|this|these)?\s*(?:also |often |usually |mainly |mostly )?"
    r"(?:allows?|enables?|lets|serves?|protects?|prevents?|transports?|entertains?|feeds?|warms|cools|cleans"
    r"|lifts|moves|delivers|stores|records|tells the time|makes it easy|keeps \w+ (?:warm|cool|cold|dry|safe|fresh))\b"
    r"|\b(?:carr(?:y|ies|ying)|lifts?|moves?|hauls?|transports?|stores?) (?:\w+ ){0,2}"
    r"(?:loads?|goods|cargo|passengers|people|freight|things) "
    r"(?:for|to|from|between|over) ",
    re.IGNORECASE,
)

# Words of what can be seen. One of them excuses a sentence that also says what a thing is for.
VISIBLE_WORDS = frozenset(
    """amber angular arched arms back band bars base beige belly black blade blades blue body bottom box boxy branches
    brass brick bright bronze brown bulging bumps button buttons cables canvas ceramic chrome circular cloth clear
    coat colour coloured colours color colored colors cone conical copper corners cover covered cream cube curved
    curves cylinder cylindrical dark diagonal dials dome dots dotted dull ears edge edges elongated eyes fabric face
    feathers feet fibres flat floor four frame fringe front fur furry glass gleaming glossy gold golden green grey gray
    grid grooves hair hairy hand handle handles head heads high hollow holes horizontal horns hubs inside iron jagged
    knob knobs large lattice lean leather leaves legs lens lenses levers lid lights lines lip long loop looped lower
    low matte metal metallic mouth narrow neck net nose orange outline oval paint painted pale panel panels patches
    patterned pattern pink pipes plastic plate plates pointed pointy pole poles polished porcelain purple rectangular
    red ribbed ribs ridges rim ring rings rods rough round rounded rows rubber rust rusty scales screen seams shaft
    shaped sharp shell shiny short sides silhouette silver skin sleek slender slim slats slots small smooth snout spiky
    spikes spines spiral spokes spots spotted square stalk steel stem stone straps straw striped stripes surface
    tail tall tan tapered tapering tapers teeth textured thick thin tiny tip tips top toothed translucent transparent
    triangular trunk tube tubes tubular tufts twisted upper upright vertical wall walls wheels white wide window
    windows wings wire wires wood wooden wool woven wrinkled yellow""".split()
)

# Class names that are colours too; their mention in another class is doubtful, not wrong.
COLOUR_NAMES = frozenset(
    "chocolate copper coral cream gold lime mustard olive orange peach plum rose ruby salmon silver violet".split()
)

IRREGULAR_PLURALS = {
    "child": "children", "foot": "feet", "goose": "geese", "leaf": "leaves", "man": "men", "mouse": "mice",
    "ox": "oxen", "person": "people", "tooth": "teeth", "woman": "women",
}  # fmt: skip

# What text looks like after it was read in the wrong encoding.
DAMAGED = re.compile(r"[\ufffd\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]|\u00e2\u20ac|\u00c3[\u0080-\u00bf\u20ac\u2122]")
