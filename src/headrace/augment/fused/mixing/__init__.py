"""The compiled stages of mixes."""
