"""The papers' statements as programs that measure whether they hold."""
