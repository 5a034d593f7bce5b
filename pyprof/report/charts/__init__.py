"""Charts: one grammar (Vega-Lite, and Vega for trees) for the page and for paper; they format and never compute."""
