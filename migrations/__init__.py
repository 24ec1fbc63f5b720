"""Numbered migrations of the schema `notifier`, run by `notifier migrate`."""
