"""All vendors. A provider is one file here, found by `notifier.channels.registry`."""
