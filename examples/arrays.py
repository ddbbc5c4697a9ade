"""Images and labels that lie in memory: train on them, then look one sample up by its id.

python examples/arrays.py
"""

import numpy as np
import torch

import headrace as hr


def make_stripes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy grey images of 16 x 16 with stripes that lie (label 0) or stand (label 1)."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, count)
    wave = 80 * np.sin(
        np.arange(16) * random.uniform(0.5, 1.5, (count, 1)) + random.uniform(0, 6, (count, 1))
    )
    lying = np.repeat(wave[:, :, None], 16, axis=2)
    images = np.where(labels[:, None, None] == 0, lying, lying.transpose(0, 2, 1))
    return (128 + images + random.normal(0, 120, images.shape)).clip(0, 255).astype(np.uint8), labels


def main() -> None:
    """Train for three epochs."""
    torch.manual_seed(0)
    images, labels = make_stripes(6_000)
    ds = hr.from_arrays({"image": images, "label": labels})  # nothing is copied
    train, test = ds.rows(range(5_000)), ds.rows(range(5_000, 6_000))

    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 5), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def score(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(batch["image"][:, None].float() / 255)  # bytes until here: a quarter of the memory

    loader = train.loader(batch_size=100, shuffle=True, seed=1)
    for _ in range(3):
        for batch in loader:
            loss = torch.nn.functional.cross_entropy(score(batch), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {loader.epoch}: loss {loss.item():.3f}")

    with torch.no_grad(), test.loader(batch_size=250, with_ids=True) as unseen:
        wrong = [batch["sample_id"][score(batch).argmax(1) != batch["label"]] for batch in unseen]
    missed = torch.cat(wrong)
    print(f"{1 - len(missed) / len(test):.1%} of {len(test)} images that it never saw are right")
    if len(missed):
        sample = ds.take([int(missed[0])])  # ids are the samples' own numbers, here as in the batch
        print(f"the first that is not: sample {sample.ids[0]}, label {sample['label'][0]}")


if __name__ == "__main__":
    main()
