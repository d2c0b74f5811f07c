"""Phones of several languages as six common vowels, and consonants.

The authors' exact table is not public; `TABLE` is ours. Phones are mapped
through it, never letter by letter: MFA's Mandarin p is pinyin's b.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from lam_sb.errors import UserError

VOWELS = ("a", "ɛ", "ə", "i", "o", "u")
CONSONANT = "consonant"
OTHER_VOWEL = "vowel"
# Phones of each set by class, without tone, stress (but for AH0), length and
# the release of IPA_SETS' consonants.
TABLE: dict[str, dict[str, str]] = {
    "arpa": {
        "a": "AA",
        "ɛ": "EH",
        "ə": "AH0",
        "i": "IY",
        "o": "OW",
        "u": "UW",
        OTHER_VOWEL: "AE AH AO AW AY ER EY IH OY UH",
        CONSONANT: "P B T D K G CH JH F V TH DH S Z SH ZH HH M N NG L R W Y",
    },
    "mfa_english": {
        "a": "ɑ",
        "ɛ": "ɛ",
        "ə": "ə",
        "i": "i",
        "o": "ow",
        "u": "ʉ u",
        OTHER_VOWEL: "a e o æ ɐ ɒ ɔ ɜ ɝ ɚ ɪ ʊ ʌ aj aw ej ɔj əw",
        CONSONANT: "p b t d t̪ d̪ ʈ ɖ c ɟ k ɡ kp ɡb ʔ tʃ dʒ f v θ ð s z ʃ ʒ ç h "
        "m ɱ n ɲ ŋ l ɫ ʎ ɹ ɾ ɾ̃ ʋ w j m̩ n̩ ɫ̩",
    },
    "mfa_mandarin": {
        "a": "a",
        "ɛ": "e",
        "ə": "ə o",  # but o after w or Cʷ
        "i": "i",
        "u": "u",
        OTHER_VOWEL: "y z̩ ʐ̩ aj aw ej ow ai au ei ou",
        CONSONANT: "p t k ʔ ts tɕ ʈʂ f s ɕ ʂ x ʐ ɻ m n ɲ ŋ l ʎ w j ɥ m̩ n̩ ŋ̍",
    },
    # Of finals without their coda, va only stands before n, ue before n or ng.
    "pinyin": {
        "a": "a an ang ia iang ua uan uang",
        "ɛ": "ie ve üe yue ian van üan yuan va üa yua",
        "ə": "e en eng ue uen un ueng",
        "i": "i in ing",
        "o": "o uo",
        "u": "u ong iong",
        OTHER_VOWEL: "ê ai ei ao ou er iai iao io iou iu uai uei ui "
        "v ü yu vn ün yun ii iii ir",
        CONSONANT: "b p m f d t n l g k h j q x zh ch sh r z c s w y ng",
    },
    # All that eSpeak NG writes in English, German, Italian and Mandarin, whose
    # finals are classed as those of pinyin: o- is e, ts. is zh.
    "espeak": {
        "a": "a ɑ iɑ ua uɑ",
        "ɛ": "ɛ iɛ yɛ yæ",
        "ə": "ə o- uə",
        "i": "i",
        "o": "o oʊ uo",
        "u": "u onɡ",
        OTHER_VOWEL: "æ ɐ e ɔ ɜ ɚ ɪ ᵻ ʊ ʌ y ʏ ø œ ɑ̃ œ̃ ɔ̃ i. i̪ "
        "aɪ aʊ eɪ ɛɪ ɔɪ oɪ uɪ eʊ iʊ ɔø iə aɪə aɪɚ iɐ ʊɐ "
        "ai ei ou ɑu iɑu io iou uai uei yə yi yu ər "
        "əl ɑɹ ɔɹ oɹ ɛɹ ɪɹ ʊɹ əɹ ʌɹ",
        CONSONANT: "p b t d t̪ d̪ c ɟ k ɡ q ʔ pf ts dz tʃ dʒ tɕ dʑ f v β θ ð "
        "s ss z ʃ ʒ ɕ ʑ ʂ ʐ ç ʝ x ɣ χ ʁ h m n ɲ ɳ ŋ l ɫ ɭ ʎ r ɾ ɹ ʀ ʋ ʍ w j "
        "m̩ n̩ ŋ̩ l̩ r̩ ŋ- ph th kh tɕh tsh ts. ts.h s.",
    },
}
PHONE_SETS = tuple(TABLE)
# Its phones are found by their tier's name: by their letters alone, English
# ones of MFA would be of two sets.
ESPEAK = "espeak"
DETECTED = tuple(name for name in PHONE_SETS if name != ESPEAK)
CLASSES = {
    phone_set: {p: name for name, ps in table.items() for p in ps.split()}
    for phone_set, table in TABLE.items()
}
# Initials of pinyin, the letters of finals after them, and what those mean.
RESPELLED = {
    (initial, written): meant
    for initials, finals, meanings in (
        ("j q x y", "u ue ua uan un", "v ve va van vn"),
        ("y", "e a an", "ie ia ian"),
        ("zh ch sh r z c s", "i", "ii"),
    )
    for initial in initials.split()
    for written, meant in zip(finals.split(), meanings.split(), strict=True)
}
TONE = re.compile("[˥˦˧˨˩0-9]+$")
IPA_SETS = ("mfa_english", "mfa_mandarin")
RELEASES = "ʰʷʲ"
STRESS = "ˈˌ"
PAUSE = 0.01  # seconds; a shorter gap between phones is rounding
LISTED = 20


def phone_classes(labels: Sequence[str], phone_set: str) -> list[str]:
    """Class of each phone of an utterance, in its context.

    Arguments
    ---------
    labels : Sequence[str]
        Phones that follow each other without a pause.
    phone_set : str
        One of `PHONE_SETS`.

    Returns
    -------
    list[str]
        One of `VOWELS`, ``vowel`` (any other), ``consonant``, or the empty
        string for what is no phone of the set.

    Example
    -------
    >>> phone_classes(["DH", "AH0", "K", "AH1", "P"], "arpa")
    ['consonant', 'ə', 'consonant', 'vowel', 'consonant']
    >>> phone_classes(["t", "ia1", "n", "l", "ia3"], "pinyin")
    ['consonant', 'ɛ', 'consonant', 'consonant', 'a']
    """
    classes = [phone_class(label, phone_set) for label in labels]
    phones = [_bare(label) for label in labels]
    if phone_set == "mfa_mandarin":
        return _mandarin_classes(phones, classes)
    if phone_set == "pinyin":
        return _pinyin_classes(phones, classes)
    return classes


@cache
def phone_class(label: str, phone_set: str) -> str:
    """Class of a phone, as in `phone_classes`, by its label alone.

    Example
    -------
    >>> phone_class("kʷ", "mfa_mandarin"), phone_class("kʷ", "pinyin")
    ('consonant', '')
    """
    table, bare = CLASSES[phone_set], _bare(label)
    if phone_set == ESPEAK:
        bare = bare.lstrip(STRESS)
    for phone in (label, bare):  # AH0 before AH
        if phone in table:
            return table[phone]
    if phone_set in IPA_SETS and table.get(bare.rstrip(RELEASES)) == CONSONANT:
        return CONSONANT
    return ""


@cache
def _bare(label: str) -> str:
    """Label without tone, stress and length."""
    return TONE.sub("", label).replace("ː", "")


def _mandarin_classes(phones: list[str], classes: list[str]) -> list[str]:
    """Tell the o of 多 t w o from that of 的 t o, which is ə."""
    rounded = [p == "w" or p.endswith("ʷ") for p in ["", *phones]]
    return [
        "o" if phone == "o" and after_w else name
        for phone, name, after_w in zip(phones, classes, rounded, strict=False)
    ]


def _pinyin_classes(phones: list[str], classes: list[str]) -> list[str]:
    """Look each final up with its coda, as its initial has it read."""
    is_vowel = [name not in ("", CONSONANT) for name in classes]
    is_vowel += [False, False]
    padded = ["", *phones, ""]
    table, refined = CLASSES["pinyin"], list(classes)
    for n, phone in enumerate(phones):
        if is_vowel[n]:
            final = RESPELLED.get((padded[n], phone), phone)
            coda = padded[n + 2]
            # Before a vowel n and r begin its syllable; ng never does.
            if coda in ("n", "r") and is_vowel[n + 2]:
                coda = ""
            refined[n] = table.get(final + coda, table[final])
    return refined


def phone_spans(phones: Iterable[Sequence], phone_set: str) -> list[list]:
    """Classes of an utterance's phones, with their times in seconds.

    What is no phone of the set is left out. Without phones the set may be
    anything, as in manifests.

    Example
    -------
    >>> phone_spans([["S", 0.1, 0.2], ["IY1", 0.2, 0.3]], "arpa")
    [['consonant', 0.1, 0.2], ['i', 0.2, 0.3]]
    """
    return [
        [name, start, end]
        for run in _unbroken(phones)
        for name, (_, start, end) in zip(
            phone_classes([label for label, _, _ in run], phone_set),
            run,
            strict=True,
        )
        if name
    ]


def _unbroken(phones: Iterable[Sequence]) -> Iterator[list[Sequence]]:
    """Cut at pauses: what stands after one is no neighbour."""
    run: list[Sequence] = []
    for phone in phones:
        if run and phone[1] - run[-1][2] > PAUSE:
            yield run
            run = []
        run.append(phone)
    if run:
        yield run


def detect_phone_set(labels: Iterable[str]) -> str:
    """Say which of `DETECTED` all phones of a corpus belong to.

    Raises
    ------
    UserError
        None of them has all phones, or several have.

    Example
    -------
    >>> detect_phone_set(["SH", "IY1"]), detect_phone_set(["sh", "iii4"])
    ('arpa', 'pinyin')
    """
    labels = sorted(set(labels))
    foreign = {
        phone_set: [p for p in labels if not phone_class(p, phone_set)]
        for phone_set in DETECTED
    }
    fitting = [phone_set for phone_set in DETECTED if not foreign[phone_set]]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        problem = f"the phones are of {' and '.join(fitting)} alike"
        listed = labels
    else:
        closest = min(DETECTED, key=lambda phone_set: len(foreign[phone_set]))
        problem = (
            "the phones are of no single set; the closest is "
            f"{closest}, which does not have"
        )
        in_none = set.intersection(*map(set, foreign.values()))
        listed = sorted(foreign[closest], key=lambda p: (p not in in_none, p))
    more = f", ... ({len(listed)} in all)" if len(listed) > LISTED else ""
    raise UserError(
        f"{problem}: {', '.join(listed[:LISTED])}{more}. Name the set with the "
        f"option phone_set: {', '.join(PHONE_SETS)}."
    )
