"""Where the password of Redis comes from."""

REDIS_PASSWORD_VARIABLE = "SECONDLOOK_REDIS_PASSWORD"  # noqa: S105 - a variable's name
