"""The machine that measurements run on: what it is, what disturbs it, and how to keep to some of its cores."""
