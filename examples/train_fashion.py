"""A small network learns to tell clothes from images that are changed at random, and is stopped midway.

    python examples/train_fashion.py

What is drawn for an image depends on the seed, the epoch and the image, never on the order of calls. So a
training that goes on from a saved state sees the images that it would have seen, and ends with the same
weights, bit by bit.
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import headrace as hr
from headrace import augment

IMAGES = Path(__file__).parents[1] / "tests" / "data" / "fashion-mnist" / "t10k-*"
EPOCHS, BATCH = 2, 64
NORMALIZE = augment.Normalize("image", mean=0.286, std=0.353)  # uint8 to float32, the last change of all


class Training:
    """A model, its optimiser and its data: all that a checkpoint holds."""

    def __init__(self, samples: hr.Dataset) -> None:
        """Begin with the same weights every time."""
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Conv2d(1, 12, 5, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(24 * 5 * 5, 10),
        )  # fmt: skip
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)
        changed = samples.augment(
            augment.RandomCrop("image", size=28, padding=2),
            augment.HorizontalFlip("image"),
            augment.Brightness("image", brightness=0.3),
            augment.RandomErasing("image", p=0.3),
            NORMALIZE,
        )
        self.loader = changed.loader(batch_size=BATCH, shuffle=True, seed=7)

    def run(self, stop_at: tuple[int, int] | None = None) -> None:
        """Train to the end, or until so many batches of an epoch are done."""
        while self.loader.epoch < EPOCHS:
            epoch = self.loader.epoch
            for step, batch in enumerate(self.loader, start=1):
                scores = self.model(batch["image"].unsqueeze(1))
                loss = nn.functional.cross_entropy(scores, batch["label"].long())
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                if stop_at == (epoch, step):
                    return

    def save(self, path: Path) -> None:
        """Write a checkpoint, between any two batches."""
        parts = {"model": self.model, "optimizer": self.optimizer, "loader": self.loader}
        torch.save({name: part.state_dict() for name, part in parts.items()}, path)

    def load(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        saved = torch.load(path)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.loader.load_state_dict(saved["loader"])


def right(model: nn.Module, samples: hr.Dataset) -> float:
    """Return the share of samples that are told rightly; they are normalised and not changed at random."""
    loader = samples.augment(NORMALIZE).loader(batch_size=500)
    with torch.no_grad():
        hits = [model(batch["image"].unsqueeze(1)).argmax(1) == batch["label"] for batch in loader]
    return float(torch.cat(hits).float().mean())


def main() -> None:
    """Train twice, once with an interruption, and compare."""
    some = hr.open(IMAGES).sample(fraction=0.3, seed=1)  # so that it takes seconds
    parts = some.split(train=0.8, test=0.2, seed=1)

    whole = Training(parts["train"])
    whole.run()
    print(f"trained without interruption: {right(whole.model, parts['test']):.1%} right")

    with tempfile.TemporaryDirectory() as folder:
        stopped = Training(parts["train"])
        stopped.run(stop_at=(1, 20))
        stopped.save(Path(folder) / "checkpoint.pt")
        resumed = Training(parts["train"])
        resumed.load(Path(folder) / "checkpoint.pt")
        resumed.run()
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    print(f"stopped and resumed, the same weights: {all(torch.equal(one, other) for one, other in pairs)}")

    sample = int(parts["train"].sample_ids[0])
    print(f"\n{whole.loader.peek(sample, epoch=1)}")


if __name__ == "__main__":
    main()
