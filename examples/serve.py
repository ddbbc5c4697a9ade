"""Clean dirty records, fit once, train a model, and serve it one record at a time with the very same numbers.

python examples/serve.py
"""

import tempfile
from pathlib import Path

import polars as pl
import torch
from torch import nn

import headrace as hr

RAW = Path(__file__).parent / "census" / "raw"
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
CATEGORIES = ["workclass", "marital_status", "occupation", "relationship", "sex", "native_country"]
BUCKETS = 64  # of embeddings, more than any of the categories has values


class Income(nn.Module):
    """Whether somebody earns more than 50,000 dollars, as a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(BUCKETS, 4) for _ in CATEGORIES)
        self.layers = nn.Sequential(
            nn.Linear(len(NUMBERS) + 4 * len(CATEGORIES), 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Return logits of shape [n]."""
        embedded = [embed(categories[:, place]) for place, embed in enumerate(self.embed)]
        return self.layers(torch.cat([numbers, *embedded], 1)).squeeze(1)


def make_pipeline() -> hr.Pipeline:
    """Spaces before each text, "?" for what is missing, a dot behind half of the labels."""
    return hr.Pipeline(
        [
            hr.Strip(),
            hr.Replace({"?": None}),
            hr.RegexReplace(r"\.$", "", columns="income"),
            hr.Cast("float64", columns=NUMBERS),
            hr.ClipOutliers("quantile", limits=(0.0, 0.999), columns=NUMBERS),
            hr.FillMissing("median", columns=NUMBERS),
            hr.StandardScaler(columns=NUMBERS),
            hr.OrdinalEncoder(columns=[*CATEGORIES, "income"], min_frequency=20),
        ]
    )


def train(ds: hr.Dataset, model: nn.Module) -> float:
    """Two epochs; returns the last loss."""
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss = torch.tensor(0.0)
    with ds.loader(256, shuffle=True, seed=0) as loader:
        for _ in range(2):
            for batch in loader:
                target = (batch["income"] == 3).float()  # known labels count from 2, in their sorted order
                logits = model(batch["numbers"], batch["categories"])
                loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return float(loss.detach())


def main() -> None:
    torch.manual_seed(0)
    ds = hr.open(RAW / "*.parquet")
    parts = ds.split(train=0.8, test=0.2, seed=0)
    pipe = make_pipeline().fit(parts["train"])
    print(pipe)
    report = pipe.report(ds)
    print(report.filter(pl.col("step").str.contains("Replace")))

    layout = {"numbers": NUMBERS, "categories": CATEGORIES, "income": "income"}
    model = Income()
    loss = train(parts["train"].prepare(pipe).pack(**layout), model)
    model.eval()

    test = parts["test"].prepare(pipe).pack(**layout)
    batch = next(iter(test.loader(len(parts["test"]))))
    with torch.no_grad():
        logits = model(batch["numbers"], batch["categories"])
    right = ((logits > 0) == (batch["income"] == 3)).float().mean()
    print(f"loss {loss:.3f}, {right:.1%} of {len(logits):,} others right")

    with tempfile.TemporaryDirectory() as folder:
        pipe.save(Path(folder) / "incomes.json")
        served = hr.Pipeline.load(Path(folder) / "incomes.json")
    rows = parts["test"].drop(["income"]).head(200)
    alone: list[float] = []
    with torch.no_grad():
        for row in rows.iter_rows(named=True):
            ready = served.transform(row, columns=[*NUMBERS, *CATEGORIES])
            numbers = torch.tensor([[ready[name] for name in NUMBERS]])
            categories = torch.tensor([[ready[name] for name in CATEGORIES]])
            alone.append(float(model(numbers, categories)))
        batched = [
            float(model(batch["numbers"][k : k + 1], batch["categories"][k : k + 1]))
            for k in range(len(alone))
        ]
    print("the same logits, one record at a time:", alone == batched)


if __name__ == "__main__":
    main()
