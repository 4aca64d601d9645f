"""A photo: its faces, their apparent expression, and how near they are to sentences of yours."""

import sys
from pathlib import Path

import numpy as np

import nunbit
from nunbit.synth.actors import expression_of, sample_person
from nunbit.synth.drawn_photo import draw_photo, sample_photo


def main(out: Path) -> None:
    """Write everything below ``out``."""
    rng = np.random.default_rng(
        3
    )  # a drawn person, so that this runs anywhere; take your own photo
    photo = draw_photo(
        sample_photo(sample_person(rng), expression_of("joy", rng), "room", 480, rng)
    )

    model = nunbit.load()
    result = model.predict(photo, prompts=["환하게 웃는 얼굴", "침울한 얼굴", "무표정한 얼굴"])
    face = result[0].faces[0]
    print(f"{face.label} {face.probability[face.label]:.2f}")
    for sentence, share in zip(result.sentences, face.sentence_probabilities, strict=True):
        print(f"{sentence} {share:.2f}")
    print("wrote", result.save(out / "faces.csv"))


if __name__ == "__main__":  # nunbit works in several processes
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-photo"))
