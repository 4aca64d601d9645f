"""Settings of a training run, and which of them the paper states.

The paper prints its model (CLIP ViT-B/32), that both encoders are updated, and the five templates;
it says that same-emotion pairs attract, but prints neither a formula nor a hyperparameter. A mark,
'paper' or 'assumed', therefore stands beside every value in the recipe and in ``RUN/config.toml``.
Torch-free.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w

from nunbit.config import Seed, Workers, read_settings, settings_to_dict
from nunbit.errors import SettingsError
from nunbit.preset import stated_by_paper

AUTO: Literal["auto"] = "auto"

RUN_FILE = "run.json"
"""What makes a folder a run."""

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
    """Everything that decides what a run computes, and how it is kept.

    Attributes:
        init: Starting weights: ``tiny``, ``lite``, a weight file of OpenAI or open_clip, a folder
            with a Hugging Face dual encoder, a hub id, or the folder of an earlier run.
        activation: Of a weight file: OpenAI's models have ``quick_gelu``, most of open_clip's
            ``gelu``; ``auto`` = as the file or the open_clip_config.json beside it tells.
        tokenizer: Of a weight file: where CLIP's vocabulary is; ``auto`` = search.
        prompts: Template set of the captions, by name or TOML file.
        captions: ``one`` draws one template per image and step, ``all`` pairs every image with
            all templates of its label; ``classes`` moreover sets every image against all prompts
            of all classes, also of those that the batch lacks.
        descriptions: Of ``captions = classes``: sentences about the faces of each class, which
            join the prompts as captions: ``fer7`` or a TOML file; empty = none.
        captions_per_class: Of ``captions = classes``: how many captions of each class a step
            draws; 0 = all. Few make a text encoder that learns affordable.
        logit_adjustment: Of ``captions = classes``: how far the softmax accounts for how frequent
            a class is in training, so that prompts answer without that prior: 1 fully (best mean
            recall), 0 not at all (best accuracy). Menon et al. 2021, arXiv:2007.07314.
        loss: ``paper`` draws same-emotion pairs together and others apart, our reading of the
            paper's sentence; ``infonce`` treats every other pair of the batch as a negative and
            fits the sentence as well; ``siglip`` judges each pair by itself, by
            a sigmoid with a learned bias, same emotion being positive.
        label_set: Merge the data's classes into those of this label set (``dep2`` or a TOML file);
            empty = the classes the data were prepared with.
        vote_weight: Share of the annotators' vote distribution in an image's target; the rest is
            its label.
        class_balance: ``sampler`` draws every class equally often, ``loss`` weights rare classes.
        image_size: Side of the model's input in pixels; ``auto`` = the starting point's own.
        grey: Train and infer on luminance only.
        epochs: Passes over the training images; ``auto`` = the starting point's own.
        max_steps: Stop after this many steps; 0 = no limit.
        batch_size: Images a step, of all processes together; ``auto`` = the starting point's own.
        accumulate: Micro-batches that a batch is divided into where memory is short. The loss is
            that of the whole batch; each image is embedded twice. Batch norms see micro-batches.
        precision: ``bf16`` computes the towers in bfloat16, ``auto`` where that is faster: on GPUs
            that have it, on CPUs that have it for transformers. Weights, loss and validation stay
            float32.
        lr: Peak learning rate of AdamW; ``auto`` = the starting point's own.
        text_lr: Rate of a pretrained text encoder as a share of ``lr``; 0 locks it; ``auto`` = the
            starting point's own. Projections learn at ``lr``.
        layer_decay: Each block learns at this share of the rate of the block above it; 1 = all
            alike.
        weight_decay: Decoupled; not applied to gains, biases and the logit scale.
        schedule: ``cosine`` falls to zero after the warm-up, ``constant`` stays.
        warmup: Share of all steps in which the rate rises from zero.
        grad_clip: Largest gradient norm; 0 = no clipping.
        logit_scale_max: The learned logit scale is kept below this.
        ema: Decay of the moving average of the weights that is judged, kept and exported instead
            of the weights themselves: 0.999 averages over a thousand steps; 0 = off.
        average_with_start: Share of the starting weights in the weights that are exported (1 -
            alpha of WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903), or several of which the best
            on the selection split is taken; 0 = off. Of ``lite`` its pretrained towers only.
        flip: Probability of mirroring a crop.
        rotate: Largest rotation, degrees.
        zoom: Largest relative change of size.
        shift: Largest shift, share of the side.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
        erase: Probability of covering a random rectangle.
        degrade: Probability of making a crop worse as cameras and files do: blurred, of lower
            resolution, or compressed, one of the three at random.
        holdout: Share of train that is kept apart by person where the data set has no test split.
        eval_every: Steps between evaluations; 0 = once an epoch.
        patience: Evaluations without improvement after which the run stops; 0 = never.
        select_by: Metric on the selection split that picks the best checkpoint.
        seed: Of initial weights, order, augmentation and template choice.
        log_every: Steps between lines of ``metrics.jsonl``.
        checkpoint_minutes: Longest time between checkpoints.
        keep_checkpoints: How many of the newest checkpoints stay.
        num_workers: Processes that read and augment crops; 0 = in the training process.
        threads: Threads of torch; 0 = the cores this process may use.
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
    "clip": {"image_size": 224, "epochs": 10, "batch_size": 64, "lr": 1e-5, "text_lr": 1.0},
}

#: Settings that may differ when a run is resumed: they change speed or what is kept, not results.
_FREE = frozenset({"checkpoint_minutes", "keep_checkpoints", "num_workers", "threads"})


def recipe_path(name_or_path: str) -> Path:
    """Where a recipe is: ``paper`` inside the package, or the user's own TOML file.

    Raises:
        SettingsError: There is no such recipe or file.
    """
    folder = Path(__file__).parent.parent / "recipes"
    inside = folder / f"{name_or_path}.toml"
    if "/" not in name_or_path and inside.is_file():
        return inside
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
        raise SettingsError(
            en=f"recipe '{name_or_path}' is neither one of {known} nor a TOML file",
            ko=f"레시피 '{name_or_path}'은(는) {known} 중 하나도, TOML 파일도 아닙니다",
        )
    return path


def start_kind(init: str) -> Literal["tiny", "lite", "clip", "run"]:
    """Which kind of starting point an INIT names."""
    if init == "tiny":
        return "tiny"
    if init == "lite":
        return "lite"
    return "run" if (Path(init) / RUN_FILE).is_file() else "clip"


def resolve_auto(
    settings: TrainSettings, image_size: int | None = None, kind: str | None = None
) -> TrainSettings:
    """Replace every ``auto`` by what it means for the starting point.

    Args:
        settings: As the user gave them.
        image_size: The input side that the loaded weights ask for, if they do.
        kind: ``tiny``, ``lite`` or ``clip``; None = that which ``init`` names.
    """
    defaults = _AUTO[kind or start_kind(settings.init)] | (
        {} if image_size is None else {"image_size": image_size}
    )
    chosen = {k: v for k, v in defaults.items() if getattr(settings, k) == AUTO}
    return dataclasses.replace(settings, **chosen)


def resumed_settings(stored: TrainSettings, given: TrainSettings, where: Path) -> TrainSettings:
    """The settings a resumed run goes on with: the stored ones.

    A given value counts as asked for where it is neither ``auto`` nor the default; such a value
    must agree with the stored one, except for settings that change no result.

    Raises:
        SettingsError: A given setting disagrees.
    """
    plain = TrainSettings()
    changed: dict[str, Any] = {}
    for f in dataclasses.fields(TrainSettings):
        old, new = getattr(stored, f.name), getattr(given, f.name)
        if new in (AUTO, getattr(plain, f.name), old):
            continue
        if f.name not in _FREE:
            raise SettingsError(
                en=f"{where}: this run has {f.name} = {old}, now {new} was given; resume without "
                f"changing {f.name}, or train into a new --out",
                ko=f"{where}: 이 학습은 {f.name} = {old} 인데 {new} 이(가) 주어졌습니다. "
                f"{f.name}을(를) 바꾸지 말고 이어 가거나 새 --out에 학습하십시오",
            )
        changed[f.name] = new
    return dataclasses.replace(stored, **changed)


def config_toml(settings: TrainSettings) -> str:
    """Effective settings as TOML, every line marked 'paper' or 'assumed'.

    A value that departs from one the paper states says so.
    """
    plain = TrainSettings()
    values = settings_to_dict(settings)
    lines = []
    for f in dataclasses.fields(TrainSettings):
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
