"""Errors of jobs.

JobError
├── QuestionsRefused   questions that can't be read or asked
├── CatalogueRefused   a catalogue of texts that can't be read, or that has none
├── CacheFailed        embeddings that can't be found in, or written to, the shared cache
└── ServiceFailed      the service does not answer as a job needs it to
"""


class JobError(Exception):
    """Root of what jobs raise; the message is for a person."""


class QuestionsRefused(JobError):
    """Raised when questions can't be read; the message says where."""


class CatalogueRefused(JobError):
    """Raised when a catalogue can't be read as a whole; a row that can't be read is no error."""


class CacheFailed(JobError):
    """Raised when the shared cache can't be had, or does not keep what it is given."""


class ServiceFailed(JobError):
    """Raised when the service can't be reached, or answers with an error."""
