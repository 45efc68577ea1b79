"""What drawings show besides their class: which sentences of the knowledge base hold of which kind of drawing, which
parts it has and where, and texts without any class name that several classes share.

A kind is the view or variety that a drawing shows (`drawings.CLASS_KINDS`, `icons.csv`): a cat's head or the whole cat.
"""

from __future__ import annotations

# For every class the places of sentences in kb/voc.json and the kinds they are true of ('*': of all). A sentence that
# is not listed is about what drawings do not show (materials, places, sizes) and is matched by its class alone.
_SENTENCES = {
    "aeroplane": "0* 1* 2:top,take 4* 5:small,biplane 9* 10:top,jet 11:jet 13:jet 16:biplane",
    "bicycle": "0* 2* 3* 5* 9* 10*",
    "bird": "0* 1:song,duck,owl,hen,swan 2:song,hen,flamingo 3* 4:peacock,turkey,hen 5:duck 6:eagle,owl "
            "7:swan,flamingo 8:dove,eagle 9:song,hen,owl 10:song 12:parrot 13:song 14:dove 15* 18:song,owl,parrot "
            "19:duck,swan,flamingo",
    "boat": "0* 1:sail,old 2:sail,old 3:motor 4:row 5:motor,ferry,front 9:row 10:row 11:ferry 12:motor 14:row",
    "bottle": "0:wine,beer,plastic,milk 1:wine,beer 2:wine 3:beer 4:wine 5:plastic 7:lotion 8:baby 9* 12:wine 13:beer "
              "14:milk,baby 15:wine 16:plastic",
    "bus": "0:front 1:side,trolley,van 2:side,trolley 3:front 4:front 6:side,trolley,van 9* 10:front",
    "car": "0:side,suv 1:front 2* 3:front 4:front 6:side,suv 8:front 9:side 10:side,suv 11:race 13:taxi 17*",
    "cat": "0* 1:head 2:head 3:head 4:side,sit 5:sit 6:head 10:sit 15*",
    "chair": "0:plain,stool 1:plain 2:arm,seat 3:plain,stool 4:office 5:rocking 6:folding 8:arm 9:plain,seat 10:seat "
             "11:plain 12:plain 16:office",
    "cow": "0:head 1:head,ox 2:head 3:side 4:side,ox 5:side,ox 8:head 9:side,ox 12:side 13:ox 15* 17:side,ox",
    "diningtable": "0:table,round 1:plate 2:plate 8:round 10:table,picnic 11:plate 12:table",
    "dog": "0* 1:head 2:head 4:side,poodle,sit 5:side 8:head 9:side 11:sit 15:poodle",
    "horse": "0* 1:head 2:side,toy 3:side,toy 4:head 6:toy 7:head 8:side 9:side 10:side",
    "motorbike": "0:bike 1:bike 2:bike 3:bike 4* 5:bike 6:bike,scooter 7:front,scooter 10:bike 12:scooter 13:bike",
    "person": "0:head,old,beard 1:body,walk,run,dance,old 2:head,bust 3:body,walk,run,dance 4:old 6:beard 7:head "
              "9:body,bust 13:body,walk 15:body,walk,dance",
    "pottedplant": "0:leaf 1:leaf,flower 7:cactus 9:leaf 12:flower 15:leaf",
    "sheep": "0* 1* 3:ram 4* 9:side 13* 16*",
    "sofa": "0* 1* 2* 4* 9*",
    "train": "0:carriage 1:carriage,steam,tram 2:tram 3:front 4:carriage,tram 5:steam 6:steam 7:front 8:steam 9:fast "
             "12:fast,carriage",
    "tvmonitor": "0* 1:monitor,computer 2:monitor,computer 3:tv 4:tv 9:tv 10:monitor 12:tv 15:computer",
}  # fmt: skip
# Sentences that hold where the background shows one of these words.
PLACES = {
    ("aeroplane", 18): "sky", ("bicycle", 19): "road street", ("boat", 17): "water", ("bus", 19): "street road",
    ("car", 19): "road street", ("cow", 18): "grass", ("dog", 18): "grass", ("sheep", 18): "grass mountain",
    ("train", 18): "railway",
}  # fmt: skip

# Parts by name: the classes and kinds that show them, and where in the drawing's box: top, left, bottom, right.
_PARTS = {
    "wheels": {
        "bicycle": "* 0.45 0 1 1", "bus": "side,trolley,van,front 0.7 0 1 1", "car": "* 0.6 0 1 1",
        "motorbike": "bike,scooter 0.5 0 1 1", "train": "steam,carriage,tram 0.7 0 1 1",
    },
    "handlebars": {"bicycle": "* 0 0.5 0.5 1", "motorbike": "bike,scooter 0 0.5 0.5 1"},
    "windows": {
        "bus": "side,trolley,van 0.15 0 0.55 1", "train": "carriage,fast,tram,front 0.15 0 0.55 1",
        "car": "side,suv,taxi 0.1 0.1 0.55 0.9",
    },
    "a windscreen": {"bus": "front 0.1 0 0.6 1", "car": "front,police 0.05 0 0.55 1", "train": "front 0.1 0 0.55 1"},
    "headlamps": {"bus": "front 0.6 0 0.95 1", "car": "front 0.45 0 0.85 1", "train": "front 0.55 0 0.9 1"},
    "wings": {"aeroplane": "top,jet,biplane,small 0.25 0 0.75 1", "bird": "dove,eagle 0 0 0.6 1"},
    "ears": {
        "cat": "head 0 0 0.4 1", "dog": "head 0 0 0.5 1", "cow": "head 0 0 0.45 1", "horse": "head 0 0 0.35 1",
        "sheep": "ram 0 0 0.5 0.6",
    },
    "a muzzle": {"cat": "head 0.5 0.15 1 0.85", "dog": "head 0.45 0.15 1 0.85", "cow": "head 0.5 0.15 1 0.85"},
    "legs": {
        "cat": "side 0.6 0 1 1", "dog": "side,poodle 0.6 0 1 1", "cow": "side,ox 0.6 0 1 1",
        "horse": "side,toy 0.55 0 1 1",
        "sheep": "side,ram 0.65 0 1 1", "person": "body,walk,run,dance 0.55 0 1 1",
        "bird": "song,hen,flamingo 0.7 0 1 1", "chair": "plain,stool 0.6 0 1 1",
        "diningtable": "table,picnic 0.4 0 1 1",
        "sofa": "* 0.75 0 1 1",
    },
    "a beak": {"bird": "duck,song,owl,hen,flamingo,swan 0 0 0.4 1"},
    "sails": {"boat": "sail,old 0 0 0.65 1"},
    "a hull": {"boat": "* 0.6 0 1 1"},
    "a neck with a cap": {"bottle": "wine,beer,plastic,milk,lotion,baby 0 0 0.4 1"},
    "a back rest": {"chair": "plain,office,rocking,arm 0 0 0.5 1", "sofa": "* 0 0 0.5 1"},
    "green leaves": {"pottedplant": "leaf,flower 0 0 0.55 1"},
    "a pot": {"pottedplant": "leaf,flower 0.6 0 1 1"},
    "a screen": {"tvmonitor": "monitor,computer 0 0 0.7 1"},
    "an aerial": {"tvmonitor": "tv 0 0 0.35 1"},
    "a face": {"person": "head,old,beard 0.2 0.1 1 0.9"},
    "a chimney": {"train": "steam 0 0 0.6 0.6"},
}  # fmt: skip
# Texts about views, that hold of the kinds named whatever the class.
VIEWS = {
    "seen from the side": "side van trolley suv sit bike scooter steam fast carriage motor row sail ox poodle take",
    "seen from the front": "front",
    "only the head of an animal": "cat:head dog:head cow:head horse:head",
    "a whole animal on its legs": "cat:side dog:side cow:side cow:ox horse:side sheep:side sheep:ram dog:poodle",
    "a person from head to foot": "person:body person:walk person:run person:dance",
}


def _kinds(text: str) -> frozenset[str] | None:
    return None if text == "*" else frozenset(text.split(","))


def _read_sentences() -> dict[str, dict[int, frozenset[str] | None]]:
    table: dict[str, dict[int, frozenset[str] | None]] = {}
    for name, text in _SENTENCES.items():
        own = table[name] = {}
        for entry in text.split():
            place, _, kinds = entry.rstrip("*").partition(":")
            own[int(place)] = _kinds(kinds or "*")
    return table


SENTENCES = _read_sentences()
Box = tuple[float, float, float, float]
PARTS: dict[str, dict[str, tuple[frozenset[str] | None, Box]]] = {
    part: {
        name: (_kinds(spec.split()[0]), tuple(float(v) for v in spec.split()[1:]))  # type: ignore[misc]
        for name, spec in owners.items()
    }
    for part, owners in _PARTS.items()
}  # fmt: skip


def holds(name: str, sentence: int, kinds: set[str], shown: set[str]) -> bool | None:
    """Whether a class's sentence is true of a scene that shows it in these kinds, before a background that shows these
    words; None where drawings cannot tell."""
    if (name, sentence) in PLACES:
        return bool(shown & set(PLACES[name, sentence].split()))
    if sentence not in SENTENCES[name]:
        return None
    wanted = SENTENCES[name][sentence]
    return wanted is None or bool(wanted & kinds)


def parts_of(name: str, kind: str) -> dict[str, Box]:
    """Parts that a drawing shows, and the share of its box they are in."""
    return {
        part: owners[name][1]
        for part, owners in PARTS.items()
        if name in owners and (owners[name][0] is None or kind in owners[name][0])  # type: ignore[operator]
    }


def view_holds(view: str, name: str, kind: str) -> bool:
    """Whether a text of `VIEWS` is true of a drawing."""
    return bool({kind, f"{name}:{kind}"} & set(VIEWS[view].split()))
