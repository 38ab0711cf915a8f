"""Research: from bars to labels, from labels to a model that says honestly what it is worth."""
