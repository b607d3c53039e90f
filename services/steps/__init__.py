"""The steps of a journey: each a function over a set of journeys, safe to run twice, at once with itself, or half-way."""
