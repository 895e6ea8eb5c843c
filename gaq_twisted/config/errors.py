"""The error for settings that cannot be used."""


class ConfigError(Exception):
    """Raised for settings that cannot be used.

    Args:
        faults: one line per fault, with the key, what is wrong and what is allowed.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
