"""Trains encoders under many losses and stores what each scored."""
