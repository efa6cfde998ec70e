"""The cache's errors.

CacheError
├── InvalidKey          a public key that no image or text has
├── SecretUnavailable   the hash secret can be neither read nor kept
├── StoreUnavailable    a store cannot be opened where it was configured
├── JournalUnavailable  the journal cannot be reached, is full, or did not answer in time
└── LeaderGone          the call that computed a shared miss ended without an answer
"""


class CacheError(Exception):
    """Root of everything that `cache` raises on its own account."""


class InvalidKey(CacheError):
    """Raised for a public key which is not `i:` or `t:` and the hex form of a digest."""


class SecretUnavailable(CacheError):
    """Raised when the deployment's hash secret can be neither read nor created."""


class StoreUnavailable(CacheError):
    """Raised when a connection or a directory cannot be had, or was lost; stores turn it into misses."""


class JournalUnavailable(CacheError):
    """Raised when the journal cannot be reached, is full, or did not answer in time; a write may have been done."""


class LeaderGone(CacheError):
    """Raised in the waiters of a miss whose leader ended without resolving or failing it."""
