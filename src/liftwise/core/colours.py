"""Colours of every picture."""

PALETTE = ("#2f6fde", "#e07a3f", "#3aa17e", "#9b5de5", "#d64562", "#c9a227", "#5c6b7a", "#17a2b8")
QUIET, LIGHT = "#9aa5b1", "#e4e8ee"
