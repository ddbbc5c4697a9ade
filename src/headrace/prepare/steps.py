"""The steps that a saved pipeline can name, and the file that each of them lives in."""

STEPS: dict[str, str] = {
    "Casefold": "text",
    "Cast": "clean",
    "Cross": "features",
    "Cyclic": "cycles",
    "DateParts": "cycles",
    "DropConstant": "constant",
    "Expression": "features",
    "FixInconsistent": "rules",
    "FunctionStep": "functions",
    "Lag": "windows",
    "ParseDates": "dates",
    "Polynomial": "features",
    "RegexReplace": "text",
    "Replace": "clean",
    "Rolling": "windows",
    "StandardScaler": "scale",
    "Strip": "text",
}
