"""The compiled stages of tokens, padded and ragged."""
