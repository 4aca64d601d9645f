"""The loss over distinct captions equals the naive loss over one caption per image."""

from __future__ import annotations

import math
from typing import Literal

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn

from nunbit.training.losses import LogitBias, Pairs, class_weights, contrastive_loss

pytestmark = pytest.mark.train

N_CLASSES, N_TEMPLATES, BATCH, SIZE = 4, 3, 12, 8


class Batch:
    """Random images, labels and templates, with repeated captions."""

    def __init__(self, seed: int, captions: int = 1, soft: bool = False, balanced: bool = False):
        draw = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, N_CLASSES, (BATCH,), generator=draw)
        self.labels[:3] = 1
        if captions == 1:
            chosen = torch.randint(0, N_TEMPLATES, (BATCH, 1), generator=draw)
        else:
            chosen = torch.arange(N_TEMPLATES).repeat(BATCH, 1)
        self.captions = self.labels[:, None] * N_TEMPLATES + chosen  # (B, captions) text codes
        self.targets = torch.eye(N_CLASSES)[self.labels]
        if soft:
            votes = torch.rand(BATCH, N_CLASSES, generator=draw)
            votes = votes / votes.sum(dim=1, keepdim=True)
            self.targets = 0.6 * self.targets + 0.4 * votes
        counts = torch.tensor([1, 5, 2, 8])
        self.class_weight = class_weights(counts) if balanced else torch.ones(N_CLASSES)
        self.images = torch.randn(BATCH, SIZE, generator=draw)
        self.scale = 7.0

    def pairs(self) -> tuple[Pairs, Tensor]:
        """The pairs, and the code of each distinct text."""
        codes = self.captions.unique()
        own = (self.captions[:, :, None] == codes).sum(dim=1).float()
        return Pairs(own, codes // N_TEMPLATES, self.targets, self.class_weight), codes


def naive_loss(logits: Tensor, batch: Batch, kind: str) -> Tensor:
    """Cross-entropy both ways over B x C logits, C = all captions of all images, row by row."""
    n, columns = logits.shape
    owner = torch.arange(columns) // (columns // n)
    column_class = batch.labels[owner]
    terms = []
    for rows, axis_logits in (("image", logits), ("text", logits.T)):
        log_probability = axis_logits.log_softmax(dim=1)
        total, weights = torch.tensor(0.0), torch.tensor(0.0)
        for i in range(len(axis_logits)):
            if rows == "image":
                hits = (owner == i).float()
                wanted = batch.targets[i, column_class] if kind == "paper" else hits
                weight = (batch.targets[i] * batch.class_weight).sum()
            else:
                hits = (torch.arange(n) == owner[i]).float()
                wanted = batch.targets[:, column_class[i]] if kind == "paper" else hits
                weight = batch.class_weight[column_class[i]]
            total = total - weight * (wanted / wanted.sum() * log_probability[i]).sum()
            weights = weights + weight
        terms.append(total / weights)
    return (terms[0] + terms[1]) / 2


@pytest.mark.parametrize("kind", ["paper", "siglip"])
def test_an_image_that_weighs_twice_counts_like_two(kind: Literal["paper", "siglip"]) -> None:
    generator = torch.Generator().manual_seed(4)
    logits, classes = torch.randn(3, 4, generator=generator), torch.arange(4)
    targets = torch.rand(3, 4, generator=generator)
    targets = targets / targets.sum(dim=1, keepdim=True)
    own, ones = torch.full((3, 4), 0.25), torch.ones(4)
    copies = torch.tensor([1.0, 0.5, 2.0, 1.0])

    def loss(rows: list[int], weight: list[float] | None) -> Tensor:
        given = None if weight is None else torch.tensor(weight)
        pairs = Pairs(own[rows], classes, targets[rows], ones, copies, given)
        return contrastive_loss(logits[rows], pairs, kind)

    every, even = [0, 1, 2], [1.0, 1.0, 1.0]
    torch.testing.assert_close(loss(every, even), loss(every, None))
    assert loss(every, [1.0, 2.0, 1.0]) != loss(every, None)
    # Only the ratio counts.
    torch.testing.assert_close(loss(every, [2.0, 4.0, 2.0]), loss(every, [1.0, 2.0, 1.0]))
    # The softmax over images has all of them as negatives, whatever they weigh.
    if kind == "siglip":
        torch.testing.assert_close(loss(every, [1.0, 2.0, 1.0]), loss([0, 1, 1, 2], None))
        torch.testing.assert_close(loss(every, [1.0, 0.0, 1.0]), loss([0, 2], None))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("paper", {}),
        ("paper", {"soft": True}),
        ("paper", {"balanced": True}),
        ("paper", {"soft": True, "balanced": True}),
        ("paper", {"captions": 3, "soft": True}),
        ("infonce", {}),
        ("infonce", {"balanced": True}),
    ],
)
def test_encoding_distinct_texts_once_gives_the_naive_loss_and_gradient(
    kind: str, options: dict[str, object]
) -> None:
    for seed in range(3):
        batch = Batch(seed, **options)  # type: ignore[arg-type]
        pairs, codes = batch.pairs()
        losses, gradients = [], []
        for once in (True, False):
            torch.manual_seed(seed)
            tower = nn.Sequential(
                nn.Embedding(N_CLASSES * N_TEMPLATES, SIZE), nn.Linear(SIZE, SIZE)
            )
            images = batch.images.clone().requires_grad_()
            texts = tower(codes if once else batch.captions.flatten())
            logits = batch.scale * images @ texts.T / SIZE
            loss = (
                contrastive_loss(logits, pairs, kind)  # type: ignore[arg-type]
                if once
                else naive_loss(logits, batch, kind)
            )
            loss.backward()
            losses.append(loss.detach())
            gradients.append([images.grad, *(p.grad for p in tower.parameters())])
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def one_point_per_class(batch: Batch, scale: float) -> tuple[Tensor, Pairs]:
    """Logits of a model that puts each class, images and captions, on one point."""
    pairs, codes = batch.pairs()
    same = batch.labels[:, None] == (codes // N_TEMPLATES)[None, :]
    return scale * same.float(), pairs


def test_a_perfect_classifier_reaches_the_floor_of_paper_but_not_of_infonce() -> None:
    batch = Batch(0)
    logits, pairs = one_point_per_class(batch, 60.0)
    paper = contrastive_loss(logits, pairs, "paper")
    # The floor: the target of an image is spread over the n images of its class.
    counts = torch.bincount(batch.labels)[batch.labels].float()
    assert float(paper) == pytest.approx(float(counts.log().mean()), abs=1e-4)
    sharper = contrastive_loss(logits * 2, pairs, "paper")
    assert float(sharper) == pytest.approx(float(paper), abs=1e-4)

    def pull_on_own_class(kind: str) -> float:
        """How the loss changes when image 0 comes nearer to its class's other captions."""
        moved = logits.clone().requires_grad_()
        contrastive_loss(moved, pairs, kind).backward()  # type: ignore[arg-type]
        others = (pairs.text_class == batch.labels[0]) & (pairs.own[0] == 0)
        return float(moved.grad[0, others].sum())

    assert pull_on_own_class("paper") == pytest.approx(0.0, abs=1e-6)
    assert pull_on_own_class("infonce") > 1e-3  # same emotion, other caption: pushed apart


def test_infonce_counts_an_equal_caption_of_another_image_as_a_negative() -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    pairs = Pairs(
        own=torch.ones(2, 1),  # both images have the one text
        text_class=labels[:1],
        targets=torch.eye(2)[labels],
        class_weight=torch.ones(2),
    )
    loss = contrastive_loss(torch.zeros(2, 1), pairs, "infonce")
    assert float(loss) == pytest.approx(math.log(2))  # two equal columns, one of them right


def test_soft_targets_pull_towards_the_classes_voted_for() -> None:
    labels = torch.tensor([0, 1, 2])
    targets = torch.eye(3)
    targets[0] = torch.tensor([0.6, 0.4, 0.0])
    pairs = Pairs(torch.eye(3), labels, targets, torch.ones(3))
    logits = torch.zeros(3, 3, requires_grad=True)
    contrastive_loss(logits, pairs, "paper").backward()
    assert logits.grad is not None
    assert float(logits.grad[0, 0]) < float(logits.grad[0, 1]) < 0 < float(logits.grad[0, 2])


def test_an_image_whose_votes_are_all_on_absent_classes_adds_nothing() -> None:
    labels = torch.tensor([0, 1])
    targets = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    pairs = Pairs(torch.eye(2), labels, targets, torch.ones(3))
    logits = torch.tensor([[3.0, -1.0], [0.5, 2.0]], requires_grad=True)
    loss = contrastive_loss(logits, pairs, "paper")
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    # As a row it has no target; as a column, text 0 has no image that shows its class.
    expected = -(logits[1].log_softmax(0)[1] + logits[:, 1].log_softmax(0)[1]) / 2
    torch.testing.assert_close(loss, expected)


def test_class_weights_make_every_class_count_the_same() -> None:
    counts = torch.tensor([10, 40, 50])
    weights = class_weights(counts)
    assert torch.allclose(weights * counts, (weights * counts).mean().expand(3))
    assert float((weights * counts).sum()) == pytest.approx(100.0)


def test_with_a_prior_over_classes_cosines_answer_without_it() -> None:
    """Menon et al. 2021: at the optimum, logit + log prior is the log posterior."""
    prior = torch.tensor([4.0, 1.0])
    votes = torch.tensor([[0.8, 0.2]])  # among such images, as frequent as the classes are
    pairs = Pairs(torch.tensor([[1.0, 0.0]]), torch.tensor([0, 1]), votes, torch.ones(2), prior)
    posterior = votes.log() - prior.log()  # equal in both classes: 0.8 / 4 = 0.2 / 1
    logits = posterior.clone().requires_grad_()
    row = logits + prior.log()
    torch.testing.assert_close(row.softmax(dim=1), votes)
    contrastive_loss(logits, pairs, "paper").backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(1, 2), atol=1e-6, rtol=0)


# ---------------------------------------------------------------- siglip


@pytest.mark.parametrize("options", [{}, {"soft": True}, {"captions": 3}, {"balanced": True}])
def test_the_sigmoid_loss_over_distinct_texts_is_the_one_over_all_pairs(
    options: dict[str, object],
) -> None:
    """Zhai et al. 2023, algorithm 1, with pairs of one class as positives."""
    batch = Batch(1, **options)  # type: ignore[arg-type]
    pairs, codes = batch.pairs()
    torch.manual_seed(1)
    table = torch.randn(N_CLASSES * N_TEMPLATES, SIZE)
    bias, gradients, losses = torch.tensor(-2.0), [], []
    for once in (True, False):
        texts = table.clone().requires_grad_()
        columns = codes if once else batch.captions.flatten()
        logits = batch.scale * batch.images @ texts[columns].T / SIZE + bias
        if once:
            loss = contrastive_loss(logits, pairs, "siglip")
        else:
            total, weights = torch.tensor(0.0), 0.0
            for i in range(BATCH):
                for j, code in enumerate(columns):
                    same = batch.targets[i, code // N_TEMPLATES]
                    weight = batch.class_weight[batch.labels[i]]
                    weight = weight * batch.class_weight[code // N_TEMPLATES]
                    if options.get("soft"):
                        weight = torch.tensor(1.0)
                    cost = same * nn.functional.logsigmoid(logits[i, j])
                    cost = cost + (1 - same) * nn.functional.logsigmoid(-logits[i, j])
                    total, weights = total - weight * cost, weights + float(weight)
            loss = total / weights * len(columns)
        loss.backward()
        losses.append(loss.detach())
        gradients.append(texts.grad)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_the_sigmoid_loss_judges_each_pair_by_itself() -> None:
    """What softmax losses cannot do: a pair's gradient does not depend on the other pairs."""
    batch = Batch(2)
    pairs, _ = batch.pairs()
    gradients: dict[str, list[Tensor]] = {"siglip": [], "paper": []}
    for kind, found in gradients.items():
        for shift in (0.0, 3.0):
            logits = torch.zeros_like(pairs.own)
            logits[0, 1] = shift
            logits.requires_grad_()
            contrastive_loss(logits, pairs, kind).backward()  # type: ignore[arg-type]
            assert logits.grad is not None
            found.append(logits.grad[0, 0])
    assert gradients["siglip"][0] == gradients["siglip"][1]
    assert gradients["paper"][0] != gradients["paper"][1]


def test_with_a_prior_sigmoid_logits_answer_without_it() -> None:
    prior = torch.tensor([4.0, 1.0])
    votes = torch.tensor([[0.8, 0.2]])
    pairs = Pairs(torch.tensor([[1.0, 0.0]]), torch.tensor([0, 1]), votes, torch.ones(2), prior)
    odds = (votes / (1 - votes)).log() - prior.log()
    logits = odds.clone().requires_grad_()
    contrastive_loss(logits, pairs, "siglip").backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(1, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("level", [0.0, 25.0, -3.0])
def test_the_bias_begins_where_an_undecided_model_has_the_odds_of_a_positive(level: float) -> None:
    batch = Batch(3)
    pairs, _ = batch.pairs()
    head = LogitBias()
    logits = head(torch.full_like(pairs.own, level), pairs)
    same = batch.labels[:, None] == batch.labels[None, :]
    assert float(logits.detach()[0, 0].sigmoid()) == pytest.approx(float(same.float().mean()))
    one_class = Pairs(torch.ones(2, 1), torch.tensor([0]), torch.ones(2, 1), torch.ones(1))
    assert torch.isfinite(LogitBias()(torch.zeros(2, 1), one_class)).all()
