"""The ``zfut`` command; installed as the package ``zfut_cli``."""
