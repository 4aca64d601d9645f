"""Settings and folder of a training run, and which settings the paper states.

The paper prints its model (CLIP ViT-B/32), that both encoders are updated, and the five templates;
it says that same-emotion pairs attract, but prints neither a formula nor a hyperparameter. A mark,
'paper' or 'assumed', therefore stands beside every value in the recipe and in ``RUN/config.toml``.
Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w

from nunbit.core.messages import InputError, SettingsError, Text, TrainingError
from nunbit.model.bundle import BUNDLE_FILE, shipped_bundles
from nunbit.runtime.claims import LOCK
from nunbit.runtime.config import Seed, Workers, read_settings, settings_to_dict, stated_by_paper
from nunbit.runtime.files import read_json, write_json, write_text, writing
from nunbit.runtime.resources import Shelf

_RECIPES = Shelf("training/recipes", Text("recipe", "레시피"), SettingsError)

AUTO: Literal["auto"] = "auto"

RUN_FILE = "run.json"
"""File that marks a folder as a run."""

#: What the paper states. Everything else is assumed by us, and marked so.
STATED_BY_PAPER = stated_by_paper("train")

_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Decay = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
_CountOrNone = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run.

    Attributes:
        init: Starting weights: ``tiny``, ``lite``, a weight file of OpenAI or open_clip, a folder
            with a Hugging Face dual encoder, a hub id, the folder of an earlier run, or a bundle
            that began with ``lite`` (its folder, or the name of a shipped one). Of a bundle only
            the image tower learns: texts, prompts, voices and the logit scale stay as they are, to
            the bit.
        activation: Of a weight file: activation function of its transformer. OpenAI's models have
            ``quick_gelu``, most of open_clip's ``gelu``; ``auto`` = as the file or the
            open_clip_config.json beside it states.
        tokenizer: Of a weight file: where CLIP's vocabulary is; ``auto`` = search for it.
        prompts: Template set of the captions, by name or TOML file.
        captions: ``one`` draws one template per image and step; ``all`` pairs every image with all
            templates of its label; ``classes`` also compares every image with the prompts of all
            classes, including those that the batch lacks.
        descriptions: Of ``captions = classes``: sentences that describe the faces of each class and
            serve as further captions: ``fer7`` or a TOML file; empty = none.
        captions_per_class: Of ``captions = classes``: captions of each class that a step draws; 0 =
            all. A few make it affordable to train the text encoder.
        logit_adjustment: Of ``captions = classes``: how much of the class frequencies in training
            the softmax removes: 1 = all (best mean recall), 0 = nothing (best accuracy). Menon et
            al. 2021, arXiv:2007.07314.
        loss: ``paper`` pulls pairs of the same emotion together and pushes all others apart, which
            is our reading of the paper's sentence; ``infonce`` treats every other pair of the batch
            as a negative, which fits the sentence as well; ``siglip`` judges each pair by itself
            with a sigmoid and a learned bias, and the same emotion is positive.
        label_set: Merge the data's classes into those of this label set (``dep2`` or a TOML file);
            empty = the classes the data were prepared with.
        vote_weight: Share of the annotators' votes in the target of an image; the rest is its
            label.
        person_balance: How much persons with many training images are weighed down: each image of a
            person with n of them counts n to the power of minus this; 1 = persons count alike, 0 =
            images do. Images whose person is unknown count 1.
        person_factor: What the images of known persons count besides, against those of unknown
            ones.
        class_balance: ``sampler`` draws every class equally often; ``loss`` gives rare classes more
            weight.
        image_size: Side of the model's input, pixels; ``auto`` = that of the starting weights.
        grey: Train and infer on luminance only.
        epochs: Passes over the training images; ``auto`` = what suits the starting weights.
        max_steps: Stop after this many steps; 0 = no limit.
        batch_size: Images a step, over all processes; ``auto`` = what suits the starting weights.
        accumulate: Micro-batches into which a batch is divided where memory is short. The loss is
            that of the whole batch; each image is embedded twice. Batch norms see micro-batches.
        precision: ``bf16`` computes the towers in bfloat16; ``auto`` does so where it is faster: on
            GPUs that support it, and on CPUs that support it for transformers. Weights, loss and
            validation stay float32.
        lr: Peak learning rate of AdamW; ``auto`` = what suits the starting weights.
        text_lr: Learning rate of a pretrained text encoder as a share of ``lr``; 0 freezes it;
            ``auto`` = what suits the starting weights. Projections learn at ``lr``.
        layer_decay: Learning rate of each block as a share of that of the block above it; 1 = the
            same for all.
        weight_decay: Decoupled weight decay; not applied to gains, biases and the logit scale.
        schedule: ``cosine`` falls to zero after the warm-up; ``constant`` stays at ``lr``.
        warmup: Share of all steps in which the learning rate rises from zero.
        grad_clip: Largest gradient norm; 0 = no clipping.
        logit_scale_max: Upper limit of the learned logit scale.
        ema: Decay of the moving average of the weights that is evaluated, kept and exported in
            place of the weights: 0.999 averages over about a thousand steps; 0 = off.
        average_with_start: Share of the starting weights in the exported weights (1 - alpha of
            WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903). Of several values the best on the
            selection split is taken; 0 = off. With ``lite`` only its pretrained towers are
            averaged.
        flip: Probability of mirroring a crop.
        rotate: Largest rotation, degrees.
        zoom: Largest relative change of size.
        shift: Largest shift, as a share of the side.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
        erase: Probability of covering a random rectangle.
        degrade: Probability of degrading a crop as cameras and files do: by blur, lower resolution
            or compression, one of the three at random.
        blur: Probability of blurring a crop besides, by 1 to 2.6 px of a face of 48 px.
        occlude: Probability of drawing a mask, a hand or glasses over a face.
        tint: Largest relative change of each colour channel, and of the colours' strength. Without
            effect where ``grey`` is on.
        holdout: Share of the train split that is held out by person where the data set has no test
            split.
        eval_every: Steps between validations; 0 = once an epoch.
        patience: Validations without improvement after which the run stops; 0 = never.
        select_by: Metric on the selection split that picks the best checkpoint.
        seed: Decides initial weights, order of images, augmentation and choice of templates.
        log_every: Steps between lines of ``metrics.jsonl``.
        checkpoint_minutes: Longest time between checkpoints.
        keep_checkpoints: How many of the newest checkpoints are kept.
        num_workers: Processes that read and augment crops; 0 = the training process does it.
        threads: Threads of torch; 0 = one for every core this process may use.
    """

    init: str = "openai/clip-vit-base-patch32"
    activation: Literal["auto", "quick_gelu", "gelu"] = AUTO
    tokenizer: str = AUTO
    prompts: str = "paper"
    captions: Literal["one", "all", "classes"] = "one"
    descriptions: str = ""
    captions_per_class: _CountOrNone = 0
    logit_adjustment: _NotNegative = 1.0
    loss: Literal["paper", "infonce", "siglip"] = "paper"
    label_set: str = ""
    vote_weight: _Share = 0.0
    person_balance: _Share = 0.0
    person_factor: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    class_balance: Literal["none", "sampler", "loss"] = "none"
    image_size: _Count | Literal["auto"] = AUTO
    grey: bool = False
    epochs: _Count | Literal["auto"] = AUTO
    max_steps: _CountOrNone = 0
    batch_size: Annotated[int, msgspec.Meta(ge=2, le=65_536)] | Literal["auto"] = AUTO
    accumulate: _Count = 1
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    lr: _Positive | Literal["auto"] = AUTO
    text_lr: _Share | Literal["auto"] = AUTO
    layer_decay: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    weight_decay: _NotNegative = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: _Share = 0.05
    grad_clip: _NotNegative = 1.0
    logit_scale_max: Annotated[float, msgspec.Meta(gt=1, le=1e4)] = 100.0
    ema: _Decay = 0.0
    average_with_start: _Share | tuple[_Share, ...] = 0.0
    flip: _Share = 0.5
    rotate: Annotated[float, msgspec.Meta(ge=0, le=180)] = 10.0
    zoom: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    shift: _Share = 0.05
    brightness: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2
    contrast: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2
    erase: _Share = 0.0
    degrade: _Share = 0.0
    blur: _Share = 0.0
    occlude: _Share = 0.0
    tint: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    holdout: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    eval_every: _CountOrNone = 0
    patience: _CountOrNone = 0
    select_by: Literal["uar", "top1", "macro_f1"] = "uar"
    seed: Seed = 0
    log_every: _Count = 10
    checkpoint_minutes: _Positive = 10.0
    keep_checkpoints: _Count = 2
    num_workers: Workers = 0
    threads: Workers = 0

    @property
    def start_shares(self) -> tuple[float, ...]:
        """``average_with_start`` as values to try, rising; empty = off."""
        given = self.average_with_start
        shares = sorted(set(given)) if isinstance(given, tuple) else [given]
        return tuple(shares) if any(shares) else ()


#: What ``auto`` means for each kind of starting point. Pretrained CLIP: FLYP (Goyal et al. 2023)
#: fine-tunes with 1e-5; the random ``tiny`` needs a rate two hundred times larger. The rate that
#: suits EfficientNet would wreck e5 within an epoch, so ``lite`` gives its text encoder 3e-5.
_AUTO: dict[str, dict[str, Any]] = {
    "tiny": {"image_size": 48, "epochs": 25, "batch_size": 64, "lr": 2e-3, "text_lr": 1.0},
    "lite": {"image_size": 96, "epochs": 10, "batch_size": 64, "lr": 6e-4, "text_lr": 0.05},
    "bundle": {"image_size": 72, "epochs": 6, "batch_size": 64, "lr": 1e-4, "text_lr": 0.0},
    "clip": {"image_size": 224, "epochs": 10, "batch_size": 64, "lr": 1e-5, "text_lr": 1.0},
}

#: Settings that may differ when a run is resumed: they change speed or what is kept, not results.
_FREE = frozenset({"checkpoint_minutes", "keep_checkpoints", "num_workers", "threads"})


def recipe_path(name_or_path: str) -> Path:
    """Where a recipe is: ``paper`` inside the package, or the user's own TOML file.

    Raises:
        SettingsError: There is no such recipe or file.
    """
    return _RECIPES.find(name_or_path)


def start_kind(init: str) -> Literal["tiny", "lite", "clip", "run", "bundle"]:
    """The kind of starting point that INIT names."""
    if init == "tiny":
        return "tiny"
    if init == "lite":
        return "lite"
    if (Path(init) / RUN_FILE).is_file():
        return "run"
    shipped = {bundle.name for bundle in shipped_bundles()}
    return "bundle" if init in shipped or (Path(init) / BUNDLE_FILE).is_file() else "clip"


def resolve_auto(
    settings: TrainSettings, image_size: int | None = None, kind: str | None = None
) -> TrainSettings:
    """Replace every ``auto`` by the value for the starting point.

    Args:
        settings: As the user gave them.
        image_size: The input side that the loaded weights ask for, if they do.
        kind: ``tiny``, ``lite`` or ``clip``; None = that which ``init`` names.
    """
    defaults = dict(_AUTO[kind or start_kind(settings.init)])
    defaults["image_size"] = image_size or defaults["image_size"]
    return replace(settings, **{k: v for k, v in defaults.items() if getattr(settings, k) == AUTO})


def resumed_settings(stored: TrainSettings, given: TrainSettings, where: Path) -> TrainSettings:
    """The settings of a resumed run: the stored ones.

    A given value that is neither ``auto`` nor the default must agree with the stored one, except
    for settings that change no result.

    Raises:
        SettingsError: A given setting disagrees.
    """
    plain = TrainSettings()
    changed: dict[str, Any] = {}
    for f in fields(TrainSettings):
        old, new = getattr(stored, f.name), getattr(given, f.name)
        if new in (AUTO, getattr(plain, f.name), old):
            continue
        if f.name not in _FREE:
            raise SettingsError(
                Text(
                    f"{where}: this run has {f.name} = {old}, now {new} was given; resume without "
                    f"changing {f.name}, or train into a new `out`",
                    f"{where}: 이 학습은 {f.name} = {old}인데 {new}이(가) 주어졌습니다. "
                    f"{f.name}을(를) 바꾸지 말고 이어 가거나 새 `out`에 학습하십시오",
                )
            )
        changed[f.name] = new
    return replace(stored, **changed)


def config_toml(settings: TrainSettings) -> str:
    """Effective settings as TOML, every line marked 'paper' or 'assumed'.

    A value that differs from the paper's is marked.
    """
    plain = TrainSettings()
    values = settings_to_dict(settings)
    lines = []
    for f in fields(TrainSettings):
        mark, stated = "assumed", getattr(plain, f.name)
        if f.name in STATED_BY_PAPER:
            mark = "paper" if values[f.name] == stated else f"not the paper's, which has {stated}"
        # tomli_w puts every member of an array on a line of its own.
        line = " ".join(tomli_w.dumps({f.name: values[f.name]}).split("\n")).strip()
        lines.append(f"{line} # {mark}")
    return "\n".join(lines) + "\n"


def read_config(path: Path) -> TrainSettings:
    """Read ``RUN/config.toml`` back.

    Raises:
        SettingsError: The file cannot be read or does not fit.
    """
    return read_settings(TrainSettings, files=[path])


# --- RUN/ -----------------------------------------------------------------------------------------

RUN_FORMAT = "nunbit-run/1"
CONFIG_FILE, METRICS_FILE = "config.toml", "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths in a run's folder; files are read on request only."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def bundle(self) -> Path:
        """Folder of the bundle that ends the run."""
        return self.path / "bundle"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / RUN_FILE).is_file()

    def check_free(self, resume: bool) -> None:
        """Raise for a folder with other files, or with a run that is not to be resumed.

        Raises:
            TrainingError: A run is here and ``resume`` is False.
            InputError: Other files are here.
        """
        if self.exists() and not resume:
            raise TrainingError(
                Text(
                    f"{self.path}: there is already a run; add `resume=True` to continue it, or "
                    "choose another `out`",
                    f"{self.path}: 이미 학습이 있습니다. 이어 가려면 `resume=True`를 더하고, "
                    "아니면 다른 `out`을 고르십시오",
                )
            )
        taken = self.path.exists() and (
            not self.path.is_dir() or any(p.name != LOCK for p in self.path.iterdir())
        )
        if taken and not self.exists():
            raise InputError(
                Text(
                    f"{self.path}: exists and is not a run; choose another `out`",
                    f"{self.path}: 이미 있고 학습 폴더가 아닙니다. 다른 `out`을 고르십시오",
                )
            )

    def begin(self, settings: TrainSettings, document: dict[str, Any]) -> None:
        """Write ``run.json``; :meth:`read` reads ``document`` back.

        ``run.json`` comes first: it makes the folder a run, which a rerun may then complete.
        """
        write_json(self.path / RUN_FILE, {"format": RUN_FORMAT, **document})
        write_text(self.path / CONFIG_FILE, config_toml(settings))

    def description(self) -> dict[str, str]:
        """``run.json`` and ``config.toml`` by name, as every checkpoint holds them."""
        return {
            name: (self.path / name).read_text(encoding="utf-8") for name in (RUN_FILE, CONFIG_FILE)
        }

    def put_back(self, description: Mapping[str, str]) -> None:
        """Write those files of :meth:`description` that were removed since."""
        for name in (RUN_FILE, CONFIG_FILE):
            if name in description and not (self.path / name).is_file():
                write_text(self.path / name, description[name])

    def read(self) -> dict[str, Any]:
        """``run.json``.

        Raises:
            InputError: It is missing or of another format.
        """
        path = self.path / RUN_FILE
        if not path.is_file():
            raise InputError(
                Text(
                    f"{self.path}: not a run ({RUN_FILE} is missing); give the folder that "
                    "`train` wrote",
                    f"{self.path}: 학습 폴더가 아닙니다({RUN_FILE} 없음). "
                    "`train`이 만든 폴더를 주십시오",
                )
            )
        document = read_json(path)
        if not isinstance(document, dict) or document.get("format") != RUN_FORMAT:
            raise InputError(
                Text(
                    f"{path}: not a run of this nunbit (format {RUN_FORMAT}); train again",
                    f"{path}: 이 nunbit의 학습 폴더가 아닙니다(형식 {RUN_FORMAT}). 다시 "
                    "학습하십시오",
                )
            )
        return document

    def settings(self) -> TrainSettings:
        """The effective settings.

        Raises:
            SettingsError: ``config.toml`` cannot be read.
        """
        return read_config(self.path / CONFIG_FILE)


class MetricsLog:
    """``metrics.jsonl`` and the same numbers for TensorBoard.

    Args:
        run: The run's folder.
        step: The step the run goes on from; TensorBoard forgets later ones.
        lines: Lines up to there; later ones are of work that was lost and will be done again.
    """

    def __init__(self, run: Path, step: int, lines: int) -> None:
        from tensorboardX import SummaryWriter

        self._path = run / METRICS_FILE
        with writing(self._path):
            kept = self._path.read_text(encoding="utf-8") if lines else ""
        write_text(self._path, "".join(kept.splitlines(keepends=True)[:lines]))
        with writing(run):
            self._board = SummaryWriter(str(run), purge_step=step + 1 if step else None)

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Append one line."""
        with writing(self._path), self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "epoch": epoch, **values}) + "\n")
        with writing(self._path.parent):
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's events.

        Raises:
            InputError: The disk is full, or the like.
        """
        with writing(self._path.parent):
            self._board.close()
