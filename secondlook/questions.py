"""Questions for the demonstration: pictures that the models have never seen, and texts that are nearly true."""

import io
from dataclasses import dataclass

import numpy as np

from demo.captions import Wording, hard_negatives, random_negatives, sample_claim, say
from demo.scenes import Split, render, sample_scene

HARD = 4
RANDOM = 3


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A picture, the texts offered, and which of them is true."""

    image: bytes
    texts: tuple[str, ...]
    true: int

    @property
    def caption(self) -> str:
        """What the picture shows."""
        return self.texts[self.true]


def draw_question(seed: int) -> DemoQuestion:
    """Draw a picture of a composition that was held out of training; equal seeds give equal questions."""
    generator = np.random.default_rng(seed)
    scene = sample_scene(generator, Split.HELD_OUT)
    claim, wording = sample_claim(scene, generator), Wording.sample(generator)
    caption = say(claim, wording)
    wrong = [one.text for one in hard_negatives(scene, claim, wording, generator, count=HARD)]
    wrong += [one.text for one in random_negatives(scene, generator, count=RANDOM, taken=[caption, *wrong])]
    true = int(generator.integers(len(wrong) + 1))
    texts = (*wrong[:true], caption, *wrong[true:])
    file = io.BytesIO()
    render(scene).save(file, format="PNG")
    return DemoQuestion(file.getvalue(), texts, true)
