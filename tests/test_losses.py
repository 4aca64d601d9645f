"""The loss over distinct captions equals the naive loss over one caption per image."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

from nunbit.training.losses import Pairs, class_weights, contrastive_loss  # noqa: E402

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
