"""How well we know: the fit, published figures, and how far the estimates have been off."""
