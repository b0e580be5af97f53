"""Texts to record traces on when the user gives none: written for this project."""

__all__ = ["ENGLISH", "LONG_ENGLISH"]

#: Over 120 tokens of MiniLM.
ENGLISH = (
    "The lighthouse keeper wrote down the weather every evening, even after the lamp had been "
    "replaced by an automatic one and nobody asked for the notes any more. On calm days the page "
    "held little: wind from the west, a fishing boat, two seals on the rocks. On other days the "
    "sea came over the wall and the words ran across the margin in a hurry. When a young engineer "
    "arrived to repair the radio, she read forty years of it in one night. By morning she knew "
    "which storms had really mattered, and that most of the lines could have been left out without "
    "losing the story. She copied only those few into her own notebook, thanked the old man, and "
    "took the first ferry back to the city."
)

#: Over 320 tokens of SmolLM2.
LONG_ENGLISH = (
    ENGLISH + "\n\n"
    "Years later, when she designed a machine for reading long documents, she remembered the "
    "keeper's book. A reader that weighs every word against every other does honest work, but it "
    "spends most of its effort on pairs that change nothing. The difficult part is not to skip "
    "them; anyone can skip words. The difficult part is to know, before the work is done, which "
    "ones may be skipped. Her first machine guessed, and it guessed badly on the short notes that "
    "named a ship or a date. Her second machine looked at a few leading digits of each number, "
    "stopped as soon as the outcome could no longer change, and went on to the next pair. It was "
    "slower on paper, because it started more work than it finished. In the workshop it was three "
    "times faster, and it never lost the name of a ship.\n\n"
    "She tested it on the keeper's pages first. The machine kept the storms, the wrecks, the one "
    "visit of a bishop and the winter in which the well froze. It dropped the seals. She thought "
    "about that for a while, and then she added a rule: whatever the scores say, keep the first "
    "lines and the newest lines of every page. The keeper, she was sure, would have agreed. He "
    "always began with the wind, and he always ended with the light."
)
