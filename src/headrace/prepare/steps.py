"""The steps that a saved pipeline can name, and the file that each of them lives in."""

STEPS: dict[str, str] = {
    "Bucketize": "bins",
    "ClipOutliers": "clip",
    "FillMissing": "fill",
    "KBinsDiscretizer": "bins",
    "Log": "transforms",
    "MaxAbsScaler": "scale",
    "MinMaxScaler": "scale",
    "MissingIndicator": "fill",
    "Normalizer": "normalize",
    "PowerTransformer": "transforms",
    "QuantileTransformer": "transforms",
    "RobustScaler": "scale",
    "StandardScaler": "scale",
}
