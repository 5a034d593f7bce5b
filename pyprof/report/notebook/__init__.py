"""Results as a notebook shows them: a compact table each, in HTML without scripts, where every text is escaped."""
