"""Estimates of one family's outcomes: cells, noise, intervals, means, maxima without luck, shrinkage and surrogates."""
