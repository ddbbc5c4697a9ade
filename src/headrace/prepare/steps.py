"""The steps that a saved pipeline can name, and the file that each of them lives in."""

STEPS: dict[str, str] = {
    "HashEncoder": "encode",
    "MultiHot": "onehot",
    "OneHotEncoder": "onehot",
    "OrdinalEncoder": "encode",
    "IncrementalPCA": "reduce",
    "LinearDiscriminantAnalysis": "reduce",
    "PCA": "reduce",
    "StandardScaler": "scale",
    "TargetEncoder": "target",
}
